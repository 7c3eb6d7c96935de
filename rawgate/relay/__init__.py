"""One exchange between one client and one upstream, without I/O and without a clock.

    phases    the table: what may follow what in the life of a request
    flow      what an exchange and a tunnel share: flow control, deadlines, outcome
    exchange  one request and its response
    tunnel    octets both ways, after a 101
    pool      which connection serves which exchange: bookkeeping
    endpoints  where the upstream is: which place, and which of its addresses, is next
    quota     so many at a time: slots that processes may share
    turns     who waits for a connection, and whose turn is next
    pace      how fast somebody takes what was written to them
    ports     the two small doors to the world; `net` implements them, tests fake them

`phases.svg` is the table of phases, drawn.
"""
