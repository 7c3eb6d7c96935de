"""An API gateway: HTTP in, who may, how often, where to, HTTP out, one log line.

Rooms, in reading order. A room imports only what stands above it in this list, and only as its line says; no exception,
and `tests/test_architecture.py` holds it.

    errors      every outcome of a request: whose fault, which status, which reason code; the exceptions
    message     the values that travel between rooms

    wire/       HTTP/1.1 without I/O: octets ↔ heads, framing, chunked bodies, our own replies     errors, message
                the only door to h11
    config/     TOML or Python → frozen values, findings with file and line; the JSON Schema       errors, message
                and the samples. The only reader of configuration files and environment
    policy/     what to do with a head: route, authenticate, limit, rewrite, header rules;         errors, message,
                `gate` composes the steps, `compile` makes a gate of a configuration.              config
                The only door to cryptography
    relay/      one exchange between one client and one upstream as a table of phases;             errors, message,
                the pool of upstream connections as bookkeeping                                    wire
    observe/    the access log: one JSON line per request, written by a thread of its own          errors, message
    net/        the asyncio shell: two Protocols, dialing, timers. It is given `decide`            all above
                                                                                                   but config, policy
    serve/      wires the rooms together: `load`, `service`, `run` serve a configuration.          all above
                The only door to uvloop
    offline/    `explain`, `config_tests`, `mint` ask the same gate without serving                all above
    demo/       the gateway with services of its own, and a tour that checks what it shows         all above
    cli/        argv → a call: run, check, demo, token, explain, test, schema, version             all above

    examples/   configurations to copy, one for each usual need; they are not part of the program

Each room's own `__init__` maps its modules. `wire`, `policy` and `relay` do no I/O and read no clock: octets, time and
random numbers are handed in. That is why nearly everything here can be tested as a table or as a script of octets.

Life of a request
-----------------
`life-of-a-request.md`, beside this file, follows one through all rooms. In short:

1. `net.client.ClientConnection.data_received` hands octets to `wire.request.RequestReader.feed`, which returns a
   `message.RequestHead`, or raises `errors.RequestError`: then our own reply, and the connection ends.
2. `policy.gate.Gate.decide` looks at the head, once: `message.Forward`, `message.LocalReply`, or a `message.Pending`.
3. `relay.exchange.Exchange.start` asks `relay.pool.Pool.acquire` for a connection: idle, dialed by
   `net.dialing.Dialer`, or after a wait in the queue.
4. `relay.exchange.Exchange.leased` writes the head; `client_data` sends the body up, `upstream_data` brings the answer
   down, as they come; a full side pauses the other one. `relay/phases.svg` draws the phases.
5. `net.client.ClientConnection.finished` writes one record to `observe.access_log.AccessLog`; the next request's turn
   comes.
"""

__version__ = "0.1.0"
