"""One exchange between one client and one upstream, without I/O and without a clock.

    phases      the table: what may follow what in the life of a request
    flow        what an exchange and a tunnel share: flow control, deadlines, outcome
    exchange    one request and its response
    upload      a request's body on its way up
    guarded_exchange
                the same, where a service has a circuit breaker or retries: what may be sent again
    guard       what these ask: the two below
    breaker     a service that fails is left alone for a while; its state is shared by all processes
    retries     what is sent again, and how much at a time
    deadlines   until when an exchange waits, and for whom
    tunnel      octets both ways, after a 101
    websocket   where a frame ends, and how to say goodbye
    pace        how fast one side takes what was written to it
    pool        which connection serves which exchange
    lessee      an exchange as the pool sees it
    idle        which idle connection may serve a request
    fair_queue  who waits for a connection, and whose turn is next
    endpoints   where the upstream is, and which of its places and addresses is next
    balance     how much each place gets, and which one a request goes to
    health      whether such a place works, as far as is known
    checks      what a series of health checks says of it
    ejection    when a place whose requests fail gets none for a while
    quota       how many there may be at a time: slots, of one process
    addresses   how many client connections each address has
    shared_quota, shared_addresses, shared_quotas
                the same for several processes: in shared memory, exact and fair
    shared_counts   counts by key in such memory: of connections by address, of requests under way
    options     what the configuration says about all this
    ports       the two small doors to the world; `net` implements them, tests fake them

`phases.svg` is the table of phases, drawn.
"""
