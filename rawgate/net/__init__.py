"""The asyncio shell: sockets, timers, dialing. It knows neither policy nor configuration: it is given `decide`.

    client      the client's side: one protocol per connection
    states      the states of such a connection, and which may follow which
    inbound     the octets of a client that wait, and whether more are read
    replies     replies of our own, and each request's log record
    logged_fields     request fields that the operator wants in the log
    turn        what comes in one turn of the loop is handled together, and what that writes is written together
    timer       one lazy timer per connection; far deadlines share one of the loop
    generation  all that a reload may change, as one value
    listener    the book of client connections, and what they share
    buffer_budget     what all client connections together hold in memory
    buffered_reading  large uploads without a copy, responses to slow clients in pieces

    upstream    the services' side: one protocol per connection, and the reaper of idle ones
    dialing     opens these: which address of which target is tried when
    names       look-ups of host names, in threads or by name servers
    nameservers what these say: addresses with their time to live, SRV records. The only door to dnspython
    consul      what an agent of Consul says
    instances   how such answers are read, and how long they hold

    arrival     what comes before HTTP at addresses that ask for it: the PROXY protocol, TLS
    tls         TLS on a connection of either side
    tls_contexts  what is offered, shown and believed there
    fetch       requests of the gateway's own: a document from another server, whether a service works

    transports  what both sides ask of a transport

The two sides do not import each other. They meet in `relay.ports`, which both implement.
"""
