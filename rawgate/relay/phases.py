"""The phases of an exchange, and the events that lead from one to the next.

`TABLE` has a row for each phase and a column for each event. A cell names the next phase. A missing cell is an illegal
transition, which raises. The table is consulted when the phase changes, never for each piece of a body. `phases.svg`,
beside this module, is the table as `tools/draw-phases` draws it.

    leasing    it waits for a connection: a dial is under way, or it is in the queue
    sending    the request's head is out, and its body is not complete; a 100 (Continue) may be awaited
    awaiting   the whole request is out; the final response head has not come
    relaying   the final response head has been passed on; the response's body follows
    early      as `relaying`, but the request is not complete: both bodies go on, and neither connection is used again
    uploading  the response is complete; the rest of the request goes up as long as the upstream takes it
    flushing   the response is complete; a slow client has not taken all of it yet
    tunnel     a 101 has been passed on; octets pass both ways, unread
    done       it is over, and its outcome is valid
"""

from typing import Final

from rawgate.errors import RawgateError


class Event:
    """What may happen in a phase. Events are compared and hashed by identity. A look-up by such a key takes a fifth of
    what a look-up by a member of an Enum takes."""

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


# Each is a Final of its own. Compiled ahead of time, a Final is a constant, and no name is looked up.
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
"""A loss, a deadline that is over, a refusal. `exchange` decides what becomes of the two connections; it depends on the
phase."""


class IllegalTransitionError(RawgateError):
    """An event came in a phase that cannot have it. This is a mistake in `relay` or in the shell."""


class Row(dict[Event, Phase]):
    """The events of one phase. A look-up of an event that the phase cannot have raises. The check costs nothing where
    the phase can have it."""

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
