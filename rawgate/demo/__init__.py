"""`rawgate demo`: the gateway with services behind it, and a tour that checks what it shows.

    credentials   the demo's own secrets, and tokens signed with them
    messages      as much HTTP/1.1 as the two ends need; the gateway is between them and knows nothing of this
    services      the services behind the gateway: good, streaming, slow, dead
    client        one request through a real socket
    check         what a step expects, what came back, where they differ
    steps         the tour, as data
    tour          how a step looks on a terminal
    live_log      a finished request as one readable line
    quickstart    a token, and commands to try
    session       everything together: `play_tour`, `stay_open`

The gateway is the one that `rawgate run` serves with (`serve.service`), on the configuration that
`rawgate demo --config` prints; only the ports are others. All of it lives in one process and one event loop.
"""
