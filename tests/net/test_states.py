"""The states of a client connection: the table in words, the table in code and what connections do are the same.

In all tests in memory a move that is not in the table raises (`harness.checked`); so no move is missing from it. The
lives below show that none is in it in vain.
"""

from collections.abc import Callable, Iterator
from itertools import pairwise

import pytest

from harness.checked import IllegalMoveError
from harness.client_side import KEEP_ALIVE, OK, SEND_TIMEOUT, WAIT, Client, ClientSide, request
from harness.quotas import Workers
from rawgate.net import states
from rawgate.net.generation import ListenerOptions
from rawgate.net.listener import ADMISSION
from rawgate.net.states import BUSY, CLOSED, TABLE

OWN, LAST = request(b"GET", b"/own"), request(b"GET", b"/own", b"Connection: close")


def in_words() -> Iterator[tuple[str, set[str]]]:
    """The table of the module's docstring: a state, and those that may follow it."""
    lines = [line[4:] for line in (states.__doc__ or "").splitlines() if line.startswith("    ")]
    starts = [number for number, line in enumerate(lines) if line[0] != " "]
    for start, stop in pairwise([*starts, len(lines)]):
        row = lines[start:stop]
        arrow = next((number for number, line in enumerate(row) if "→" in line), len(row))
        column = row[arrow].index("→") if arrow < len(row) else 0
        follow = " ".join(line[column + 1 :] for line in row[arrow:])
        yield row[0].split()[0], {name.strip() for name in follow.split(",") if name.strip()}


def test_the_table_in_words_is_the_table() -> None:
    assert dict(in_words()) == {state.name: {after.name for after in row} for state, row in TABLE.items()}


def test_a_move_that_is_not_in_the_table_is_found(side: ClientSide) -> None:
    connection = side.client().protocol
    connection._state = BUSY  # noqa: SLF001 - nothing else would do it
    with pytest.raises(IllegalMoveError, match=r"^busy after idle$"):
        side.loop.look()


def allowed(side: ClientSide) -> None:
    """What a decision waits for is here."""
    side.waiting.comes()
    side.loop.run()


# ── lives ──


def served(side: ClientSide, client: Client) -> None:
    client.get()
    side.upstream()
    client.answer()
    client.send(OWN)
    side.loop.passes(KEEP_ALIVE)


def resets_while_idle(side: ClientSide, client: Client) -> None:
    client.transport.breaks()


def resets_inside_a_head(side: ClientSide, client: Client) -> None:
    client.send(b"GET /").transport.breaks()


def says_that_it_closes(side: ClientSide, client: Client) -> None:
    client.send(LAST)


def breaks_the_rules_and_ends(side: ClientSide, client: Client) -> None:
    client.send(b"\0").send(b"")


def breaks_the_rules_and_resets(side: ClientSide, client: Client) -> None:
    client.send(b"\0").transport.breaks()


def asks_ahead(side: ClientSide, client: Client) -> None:
    client.send(OWN * 2)


def asks_ahead_and_is_cut(side: ClientSide, client: Client) -> None:
    client.transport.receives(OWN * 2)
    side.connections.abort()
    side.loop.run()


def asks_ahead_and_resets(side: ClientSide, client: Client) -> None:
    client.transport.receives(OWN * 2)
    client.protocol.connection_lost(ConnectionResetError())
    side.loop.run()


def is_full_when_all_is_written(side: ClientSide, client: Client) -> None:
    """The turn of the loop ends with its response."""
    client.send(OWN).transport.falls_behind(100_000)
    client.transport.takes()


def is_full_and_has_asked_ahead(side: ClientSide, client: Client) -> None:
    client.transport.receives(OWN * 2)
    client.transport.falls_behind(100_000)
    client.transport.takes()
    side.loop.run()


BEGINNING, REST = OWN[:5], OWN[5:]


def falls_behind(client: Client) -> None:
    """In the middle of its second head."""
    client.send(OWN).send(BEGINNING).transport.falls_behind(100_000)


def reads_late(side: ClientSide, client: Client) -> None:
    falls_behind(client)
    client.send(REST).transport.takes()


def asks_ahead_and_reads_late(side: ClientSide, client: Client) -> None:
    falls_behind(client)
    client.send(REST + OWN).transport.takes()
    side.loop.run()


def never_reads_and_is_cut(side: ClientSide, client: Client) -> None:
    falls_behind(client)
    client.send(REST)
    side.connections.abort()
    side.loop.run()


def never_reads(side: ClientSide, client: Client) -> None:
    falls_behind(client)
    client.send(REST)
    side.loop.passes(SEND_TIMEOUT)


def waits_and_is_forwarded(side: ClientSide, client: Client) -> None:
    client.get(b"/wait")
    allowed(side)


def waits_and_is_replied_to(side: ClientSide, client: Client) -> None:
    client.get(b"/wait/own")
    allowed(side)


def waits_and_asks_ahead(side: ClientSide, client: Client) -> None:
    client.get(b"/wait/own").send(OWN)
    allowed(side)


def waits_and_never_reads(side: ClientSide, client: Client) -> None:
    client.get(b"/wait/own").transport.falls_behind(100_000)
    allowed(side)


def waits_in_vain(side: ClientSide, client: Client) -> None:
    client.get(b"/wait")
    side.loop.passes(WAIT)


def waits_in_vain_with_a_body(side: ClientSide, client: Client) -> None:
    client.send(request(b"POST", b"/wait", b"Content-Length: 5"))
    side.loop.passes(WAIT)


def waits_twice(side: ClientSide, client: Client) -> None:
    client.get(b"/wait/wait")
    allowed(side)
    allowed(side)


def waits_and_ends(side: ClientSide, client: Client) -> None:
    client.get(b"/wait").send(b"")


def waits_and_resets(side: ClientSide, client: Client) -> None:
    client.get(b"/wait").transport.breaks()


def is_served_and_has_asked_ahead(side: ClientSide, client: Client) -> None:
    client.get().send(OWN)
    side.upstream()
    client.answer()


def is_behind_when_its_upstream_is_lost(side: ClientSide, client: Client) -> None:
    client.send(request(b"POST", b"/x"))
    side.upstream()
    client.transport.falls_behind(100_000)
    side.exchange.upstream_lost(side.loop.now)


def uploads_when_its_upstream_is_lost(side: ClientSide, client: Client) -> None:
    client.send(request(b"POST", b"/x", b"Content-Length: 5"))
    side.upstream()
    side.exchange.upstream_lost(side.loop.now)


def is_cut(side: ClientSide, client: Client) -> None:
    client.get()
    side.upstream()
    client.answer(OK[:-1])
    side.exchange.upstream_lost(side.loop.now)
    side.loop.run()


def resets_while_it_is_served(side: ClientSide, client: Client) -> None:
    client.get().transport.breaks()


# lives of newcomers that have to wait: another process has all connections, all of them busy


def makes_room(side: ClientSide) -> None:
    """Another process gives a slot."""
    side.connections.slots.resize(2)
    side.connections._heed_others()  # noqa: SLF001 - as the loop does
    side.loop.run()


def waits_to_be_let_in(side: ClientSide, client: Client) -> None:
    makes_room(side)


def is_let_in_and_has_asked(side: ClientSide, client: Client) -> None:
    client.send(OWN)
    makes_room(side)


def waits_to_be_let_in_in_vain(side: ClientSide, client: Client) -> None:
    side.loop.passes(ADMISSION)


def waits_to_be_let_in_until_the_end(side: ClientSide, client: Client) -> None:
    side.connections.abort()
    side.loop.run()


def resets_before_it_is_let_in(side: ClientSide, client: Client) -> None:
    client.transport.breaks()


Life = Callable[[ClientSide, Client], None]
LIVES: dict[Life, str] = {
    served: "idle head busy idle head idle closing closed",
    resets_while_idle: "idle closed",
    resets_inside_a_head: "idle head closed",
    says_that_it_closes: "idle head closing closed",
    breaks_the_rules_and_ends: "idle head linger closing closed",
    breaks_the_rules_and_resets: "idle head linger closed",
    asks_ahead: "idle head next head idle",
    asks_ahead_and_is_cut: "idle head next closing closed",
    asks_ahead_and_resets: "idle head next closed",
    is_full_when_all_is_written: "idle head idle full idle",
    is_full_and_has_asked_ahead: "idle head next full next head idle",
    reads_late: "idle head idle head full idle",
    asks_ahead_and_reads_late: "idle head idle head full next head idle",
    never_reads_and_is_cut: "idle head idle head full closing closed",
    never_reads: "idle head idle head full closed",
    waits_and_is_forwarded: "idle head pending busy",
    waits_and_is_replied_to: "idle head pending idle",
    waits_and_asks_ahead: "idle head pending next head idle",
    waits_and_never_reads: "idle head pending full",
    waits_in_vain: "idle head pending idle",
    waits_in_vain_with_a_body: "idle head pending linger",
    waits_twice: "idle head pending busy",
    waits_and_ends: "idle head pending closing closed",
    waits_and_resets: "idle head pending closed",
    is_served_and_has_asked_ahead: "idle head busy next head idle",
    is_behind_when_its_upstream_is_lost: "idle head busy full",
    uploads_when_its_upstream_is_lost: "idle head busy linger",
    is_cut: "idle head busy closing closed",
    resets_while_it_is_served: "idle head busy closed",
}
OUTSIDE: dict[Life, str] = {
    waits_to_be_let_in: "idle waiting idle",
    is_let_in_and_has_asked: "idle waiting next head idle",
    waits_to_be_let_in_in_vain: "idle waiting head linger",
    waits_to_be_let_in_until_the_end: "idle waiting closing closed",
    resets_before_it_is_let_in: "idle waiting closed",
}


@pytest.mark.parametrize("life", LIVES, ids=lambda life: life.__name__)
def test_a_life_goes_through_these_states(side: ClientSide, life: Life) -> None:
    client = side.client()
    life(side, client)
    assert [state.name for state in client.path] == LIVES[life].split()


@pytest.mark.parametrize("life", OUTSIDE, ids=lambda life: life.__name__)
def test_a_newcomer_that_waits_goes_through_these_states(make: Callable[..., ClientSide], life: Life) -> None:
    workers = Workers()
    elsewhere = workers.quotas[1].named("connections", 1)
    assert elsewhere.take()
    side = make(ListenerOptions(connections=1), quotas=workers.quotas[0])
    client = side.client()
    life(side, client)
    assert [state.name for state in client.path] == OUTSIDE[life].split()


def test_each_move_of_the_table_is_in_a_life() -> None:
    moves = {pair for path in (LIVES | OUTSIDE).values() for pair in pairwise(path.split())}
    assert moves == {(state.name, after.name) for state, row in TABLE.items() for after in row}
    assert TABLE[CLOSED] == ()
