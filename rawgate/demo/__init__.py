"""`rawgate demo`: the gateway with services behind it, and a tour that checks what it shows.

    session       `play_tour` and `stay_open`: gateway, services and client together
    steps         the tour as data
    check         a step, what it expects, and how the outcome differs
    tour          a step on a terminal
    live_log      a finished request as one line for a person
    quickstart    a token, and commands to try
    client        sends one request through a real socket
    services      the services behind the gateway: quick, streaming, slow, dead
    messages      the little HTTP/1.1 that client and services need
    credentials   secrets for one run, and tokens signed with them

The gateway is `serve.service`, as in `rawgate run`, with the configuration that `rawgate demo --config` prints; only
the ports differ. Everything runs in one process and one event loop, so the demo needs nothing installed and leaves
nothing behind.
"""
