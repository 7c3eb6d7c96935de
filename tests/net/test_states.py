"""The states of a client connection: the table in words, the table in code and what connections do are the same.

All tests in memory run `CheckedConnection`s, which raise at a move that is not in the table; so no move is missing from
it. The lives below show that none is in it in vain.
"""

from collections.abc import Callable, Iterator
from itertools import pairwise

import pytest

from harness.checked import CheckedConnection, IllegalMoveError
from harness.client_side import KEEP_ALIVE, OK, SEND_TIMEOUT, WAIT, Client, World, request
from rawgate.net import states
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


def test_a_move_that_is_not_in_the_table_is_found(world: World) -> None:
    connection = CheckedConnection(world.connections)
    with pytest.raises(IllegalMoveError, match=r"^busy after idle$"):
        connection._state = BUSY  # noqa: SLF001 - nothing else would do it


def allowed(world: World) -> None:
    """What a decision waits for is here."""
    world.waiting.comes()
    world.loop.run()


# ── lives ──


def served(world: World, client: Client) -> None:
    client.get()
    world.upstream()
    client.answer()
    client.send(OWN)
    world.loop.passes(KEEP_ALIVE)


def resets_while_idle(world: World, client: Client) -> None:
    client.transport.breaks()


def resets_inside_a_head(world: World, client: Client) -> None:
    client.send(b"GET /").transport.breaks()


def says_that_it_closes(world: World, client: Client) -> None:
    client.send(LAST)


def breaks_the_rules_and_ends(world: World, client: Client) -> None:
    client.send(b"\0").send(b"")


def breaks_the_rules_and_resets(world: World, client: Client) -> None:
    client.send(b"\0").transport.breaks()


def asks_ahead(world: World, client: Client) -> None:
    client.send(OWN * 2)


def asks_ahead_and_is_cut(world: World, client: Client) -> None:
    client.transport.receives(OWN * 2)
    world.connections.abort()
    world.loop.run()


def asks_ahead_and_resets(world: World, client: Client) -> None:
    client.transport.receives(OWN * 2)
    client.protocol.connection_lost(ConnectionResetError())
    world.loop.run()


def falls_behind(client: Client) -> None:
    client.send(OWN).transport.falls_behind(100_000)


def reads_late(world: World, client: Client) -> None:
    falls_behind(client)
    client.send(OWN).transport.takes()


def asks_ahead_and_reads_late(world: World, client: Client) -> None:
    falls_behind(client)
    client.send(OWN * 2).transport.takes()
    world.loop.run()


def never_reads_and_is_cut(world: World, client: Client) -> None:
    falls_behind(client)
    client.send(OWN)
    world.connections.abort()
    world.loop.run()


def never_reads(world: World, client: Client) -> None:
    falls_behind(client)
    client.send(OWN)
    world.loop.passes(SEND_TIMEOUT)


def waits_and_is_forwarded(world: World, client: Client) -> None:
    client.get(b"/wait")
    allowed(world)


def waits_and_is_replied_to(world: World, client: Client) -> None:
    client.get(b"/wait/own")
    allowed(world)


def waits_and_asks_ahead(world: World, client: Client) -> None:
    client.get(b"/wait/own").send(OWN)
    allowed(world)


def waits_and_never_reads(world: World, client: Client) -> None:
    falls_behind(client)
    client.get(b"/wait/own")
    allowed(world)


def waits_in_vain(world: World, client: Client) -> None:
    client.get(b"/wait")
    world.loop.passes(WAIT)


def waits_in_vain_with_a_body(world: World, client: Client) -> None:
    client.send(request(b"POST", b"/wait", b"Content-Length: 5"))
    world.loop.passes(WAIT)


def waits_twice(world: World, client: Client) -> None:
    client.get(b"/wait/wait")
    allowed(world)
    allowed(world)


def waits_and_ends(world: World, client: Client) -> None:
    client.get(b"/wait").send(b"")


def waits_and_resets(world: World, client: Client) -> None:
    client.get(b"/wait").transport.breaks()


def is_served_and_has_asked_ahead(world: World, client: Client) -> None:
    client.get().send(OWN)
    world.upstream()
    client.answer()


def is_behind_when_its_upstream_is_lost(world: World, client: Client) -> None:
    client.send(request(b"POST", b"/x"))
    world.upstream()
    client.transport.falls_behind(100_000)
    world.exchange.upstream_lost(world.loop.now)


def uploads_when_its_upstream_is_lost(world: World, client: Client) -> None:
    client.send(request(b"POST", b"/x", b"Content-Length: 5"))
    world.upstream()
    world.exchange.upstream_lost(world.loop.now)


def is_cut(world: World, client: Client) -> None:
    client.get()
    world.upstream()
    client.answer(OK[:-1])
    world.exchange.upstream_lost(world.loop.now)
    world.loop.run()


def resets_while_it_is_served(world: World, client: Client) -> None:
    client.get().transport.breaks()


Life = Callable[[World, Client], None]
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
    reads_late: "idle head idle head full idle",
    asks_ahead_and_reads_late: "idle head idle head full next head idle",
    never_reads_and_is_cut: "idle head idle head full closing closed",
    never_reads: "idle head idle head full closed",
    waits_and_is_forwarded: "idle head pending busy",
    waits_and_is_replied_to: "idle head pending idle",
    waits_and_asks_ahead: "idle head pending next head idle",
    waits_and_never_reads: "idle head idle head pending full",
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


@pytest.mark.parametrize("life", LIVES, ids=lambda life: life.__name__)
def test_a_life_goes_through_these_states(world: World, life: Life) -> None:
    client = world.client()
    life(world, client)
    assert [state.name for state in client.protocol.path] == LIVES[life].split()


def test_each_move_of_the_table_is_in_a_life() -> None:
    moves = {pair for path in LIVES.values() for pair in pairwise(path.split())}
    assert moves == {(state.name, after.name) for state, row in TABLE.items() for after in row}
    assert TABLE[CLOSED] == ()
