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
                the pool of upstream connections as bookkeeping; which target is next, which       wire
                works, what is sent again
    observe/    the access log: one JSON line per request, written by a thread of its own;         errors, message
                counts and metrics, in cells that workers share. The only door to prometheus-client
    net/        the asyncio shell: two Protocols, TLS, names, dialing. It is given `decide`.       all above
                The only door to dnspython                                                         but config, policy
    serve/      wires the rooms together: `load`, `service`, `run` serve a configuration, in one   all above
                process or several; finds services, checks targets; `admin` tells of it.
                The only door to uvloop and redis-py
    offline/    `explain`, `config_tests`, `mint` ask the same gate without serving                all above
    demo/       the gateway with services of its own, and a tour that checks what it shows         all above
    cli/        argv → a call: run, reload, top, check, demo, token, explain, test, schema,         all above
                version. The only door to rich

    examples/   configurations to copy, one for each usual need; they are not part of the program

Each room's own `__init__` maps its modules. `wire`, `policy` and `relay` do no I/O and read no clock: octets, time and
random numbers are handed in. That is why nearly everything here can be tested as a table or as a script of octets.

The core
--------
What every request passes through, in reading order. All other modules are for the start, for special bodies, for
switched protocols, or for one command. `tools/core` counts the lines: it is a long evening's read.

1. The values, and what can go wrong: `errors`, `message`.
2. Octets to heads, and back: `wire.scan`, `wire.fields`, `wire.fast_lane`, `wire.request`, `wire.response`,
   `wire.body`, `wire.transfer`, `wire.write`.
3. The decision. Begin with the last, which composes the others: `policy.paths`, `policy.router`, `policy.addresses`,
   `policy.algorithms`, `policy.jwt`, `policy.credentials`, `policy.limiter`, `policy.limits`, `policy.rewrite`,
   `policy.headers`, `policy.request`, `policy.gate`.
4. The exchange: `relay.ports`, `relay.phases`, `relay.addresses`, `relay.quota`, `relay.health`, `relay.balance`,
   `relay.endpoints`, `relay.lessee`, `relay.idle`, `relay.fair_queue`, `relay.pool`, `relay.pace`, `relay.flow`,
   `relay.upload`, `relay.exchange`.
5. The client's side: `net.turn`, `net.states`, `net.timer`, `net.transports`, `net.inbound`, `net.replies`,
   `net.listener`, `net.client`.
6. The upstream's side: `net.names`, `net.dialing`, `net.upstream`.
7. The log line: `observe.line`, `observe.access_log`.

Life of a request
-----------------
`life-of-a-request.md`, beside this file, follows one through all rooms. In short:

1. `net.client.ClientConnection.data_received` gets octets. When all is read that came in this turn of the loop
   (`net.turn`), they go to `wire.request.RequestReader.feed`, which returns a `message.RequestHead`, or raises
   `errors.RequestError`: then our own reply, and the connection ends.
2. `policy.gate.Gate.decide` looks at the head, once: `message.Forward`, `message.LocalReply`, or a `message.Pending`.
3. `relay.exchange.Exchange.start` asks `relay.pool.Pool.acquire` for a connection: an idle one, one that
   `net.dialing.Dialer` dials, or the next that becomes free.
4. `relay.exchange.Exchange.leased` writes the head. `client_data` sends the body up and `upstream_data` brings the
   response down, as they come; a side that is full pauses the other one. `relay/phases.svg` draws the phases.
5. `net.client.ClientConnection.finished` writes one record to `observe.access_log.AccessLog`, and the connection waits
   for its next request.
"""

__version__ = "0.1.0"
