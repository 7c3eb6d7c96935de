"""The asyncio shell: sockets, timers, dialing. It knows neither policy nor configuration: it is given `decide`.

    client      the client's side: one protocol per connection
    states      the states of such a connection, and which may follow which
    inbound     the octets of a client that wait, and whether more are read
    replies     replies of our own, and each request's log record
    timer       one lazy timer per connection
    listener    the book of client connections, and what they share
    upstream    the services' side: one protocol per connection, the sweep
    dialing     opens these: which address of which target is tried when
    names       look-ups of host names, in threads
    holdings    what all client connections together hold in memory
    intake      large uploads without a copy
    transports  what both ask of a transport

The two sides do not import each other. They meet in `relay.ports`, which both implement.
"""
