"""The states of a client connection.

    idle      between requests; closed silently when `keep_alive` is over      → waiting, head, full, closing,
                                                                                 closed
    waiting   new, and over the limit: another process may make room; what
              comes meanwhile is held                                          → idle, next, head, closing, closed
    head      part of a request head is here; 408 when it does not end in time → idle, next, pending, busy, full,
                                                                                 linger, closing, closed
    pending   the decision waits for something, with a deadline of its own     → idle, next, busy, full, linger,
                                                                                 closing, closed
    busy      an exchange is under way, and knows what it waits for            → idle, next, full, linger, closing,
                                                                                 closed
    next      a request is over, and octets of the next one are here already;
              they are read in the loop's next turn                            → head, full, closing, closed
    full      a request is over, but the client has not taken enough of its
              responses to be served again; nothing is read meanwhile          → idle, next, closing, closed
    linger    the last response is written, with FIN behind it, but the client
              may still be sending: what comes is read and dropped             → closing, closed
    closing   no more is read; what is buffered is being sent                  → closed
    closed    the transport is gone

`TABLE` says the same. Production code does not consult it: a connection changes its state several times per request.
In tests each change is held against it (`harness.checked`).
"""

from typing import Final


class State:
    """One state. Compared by identity."""

    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        self.name = name

    def __repr__(self) -> str:
        return self.name


# One by one, and final: compiled ahead of time they are constants, and not looked up by name.
IDLE: Final = State("idle")
WAITING: Final = State("waiting")
HEAD: Final = State("head")
PENDING: Final = State("pending")
BUSY: Final = State("busy")
NEXT: Final = State("next")
FULL: Final = State("full")
LINGERING: Final = State("linger")
CLOSING: Final = State("closing")
CLOSED: Final = State("closed")

_RESTING: Final = (IDLE, NEXT, FULL)
"""Where a connection goes when a request is over and another one may follow."""

TABLE: Final[dict[State, tuple[State, ...]]] = {
    IDLE: (WAITING, HEAD, FULL, CLOSING, CLOSED),
    WAITING: (IDLE, NEXT, HEAD, CLOSING, CLOSED),
    HEAD: (*_RESTING, PENDING, BUSY, LINGERING, CLOSING, CLOSED),
    PENDING: (*_RESTING, BUSY, LINGERING, CLOSING, CLOSED),
    BUSY: (*_RESTING, LINGERING, CLOSING, CLOSED),
    NEXT: (HEAD, FULL, CLOSING, CLOSED),
    FULL: (IDLE, NEXT, CLOSING, CLOSED),
    LINGERING: (CLOSING, CLOSED),
    CLOSING: (CLOSED,),
    CLOSED: (),
}
"""State → the states that may follow it."""
