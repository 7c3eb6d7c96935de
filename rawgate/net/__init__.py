"""The asyncio shell: sockets, timers, dialing. It knows neither policy nor configuration: it is given `decide`.

    downstream  the client's side: one protocol per connection, and what all of them share
    upstream    the services' side: one protocol per connection, the sweep
    dialing     opens these: which address of which target is tried when
    names       look-ups of host names, in threads
    holdings    what all client connections together hold in memory
    intake      large uploads without a copy
    transports  what both ask of a transport

The two sides do not import each other. They meet in `relay.ports`, which both implement.
"""
