"""One exchange between one client and one upstream, without I/O and without a clock.

    exchange  the table of phases, and all that happens in them
    pool      which connection serves which exchange: bookkeeping
    targets   which target, and which of its addresses, is next
    turns     who waits for a connection, and whose turn is next
    pace      how fast somebody takes what was written to them
    ports     the two small doors to the world; `net` implements them, tests fake them

`phases.svg` is the table, drawn.
"""
