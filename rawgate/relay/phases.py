"""The phases of an exchange, and the events that lead from one to the next.

A row of `TABLE` is a phase, a column an event; a cell is the next phase. A missing cell is an illegal transition, which
raises. The table is consulted when the phase changes, never per piece of a body. `phases.svg`, beside this module, is
the table drawn by `tools/draw-phases`.

    leasing    waiting for a connection: dialing, or in the queue
    sending    the request head is out, its body is not complete; the upstream's 100 (Continue) may be awaited
    awaiting   the request is out whole; no final response head yet
    relaying   the final response head has been passed on; the body follows
    early      the same, but the request is not complete: both go on, and neither connection is used again
    uploading  the response is complete; the rest of the request goes up as long as it is taken
    flushing   the response is complete; a slow client has not taken all of it yet
    tunnel     101: octets pass both ways, unread
    done       over; the outcome is valid
"""

from typing import Final

from rawgate.errors import RawgateError


class Event:
    """What may happen in a phase. Events are compared and hashed by identity: a table keyed by them is looked up five
    times faster than one keyed by Enum members."""

    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        self.name = name

    def __repr__(self) -> str:
        return self.name


class Phase:
    """Where an exchange stands. `moves` is the phase's own row of `TABLE`."""

    __slots__ = ("moves", "name")

    def __init__(self, name: str) -> None:
        self.name = name
        self.moves: dict[Event, Phase] = {}

    def __repr__(self) -> str:
        return self.name


# Each is a Final of its own: compiled ahead of time it is a constant, and not looked up by name.
LEASING: Final = Phase("leasing")
SENDING: Final = Phase("sending")
AWAITING: Final = Phase("awaiting")
RELAYING: Final = Phase("relaying")
EARLY: Final = Phase("early")
UPLOADING: Final = Phase("uploading")
FLUSHING: Final = Phase("flushing")
TUNNEL: Final = Phase("tunnel")
DONE: Final = Phase("done")

LEASED: Final = Event("leased")
REQUEST_END: Final = Event("request_end")
RETRY: Final = Event("retry")
FINAL_HEAD: Final = Event("final_head")
SWITCHED: Final = Event("switched")
RESPONSE_END: Final = Event("response_end")
RESPONSE_HELD: Final = Event("response_held")
RESPONSE_AHEAD: Final = Event("response_ahead")
OVER: Final = Event("over")
"""Every loss, deadline and refusal. What becomes of the two connections depends on the phase; `exchange` decides it."""


class IllegalTransitionError(RawgateError):
    """An event in a phase that cannot have it: a mistake in `relay` or in the shell."""


class Row(dict[Event, Phase]):
    """The events of one phase. Looking up an event that the phase cannot have raises; the check costs nothing else."""

    def __init__(self, phase: Phase, moves: dict[Event, Phase]) -> None:
        super().__init__(moves)
        self.phase = phase

    def __missing__(self, event: Event) -> Phase:
        raise IllegalTransitionError(f"{event} while {self.phase}")


_MOVES: dict[Phase, dict[Event, Phase]] = {
    LEASING: {LEASED: SENDING, OVER: DONE},
    SENDING: {REQUEST_END: AWAITING, FINAL_HEAD: EARLY, RETRY: LEASING, OVER: DONE},
    AWAITING: {FINAL_HEAD: RELAYING, SWITCHED: TUNNEL, RETRY: LEASING, OVER: DONE},
    RELAYING: {RESPONSE_END: DONE, RESPONSE_HELD: FLUSHING, RESPONSE_AHEAD: UPLOADING, OVER: DONE},
    EARLY: {
        REQUEST_END: RELAYING,
        RESPONSE_AHEAD: UPLOADING,
        RESPONSE_END: DONE,
        RESPONSE_HELD: FLUSHING,
        OVER: DONE,
    },
    UPLOADING: {REQUEST_END: DONE, RESPONSE_HELD: FLUSHING, OVER: DONE},
    FLUSHING: {RESPONSE_END: DONE, OVER: DONE},
    TUNNEL: {RESPONSE_END: DONE, OVER: DONE},
    DONE: {},
}
TABLE = {phase: Row(phase, moves) for phase, moves in _MOVES.items()}
for _phase, _row in TABLE.items():
    _phase.moves = _row
