"""Anything in any order, to the whole gateway: octets, FINs, resets and stalls on both sides, dials that succeed, fail
or hang, time, and the end of the gateway. Afterwards each request has its one line, and nothing is left open.
"""

from random import Random

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from harness.deeds import DEEDS, Deed
from harness.mutation import Mutator
from harness.scenes import ANSWERS, REQUESTS
from harness.shell import Shell, clocked
from harness.verdict import findings, miscounts

CHANCE = st.randoms(use_true_random=False)


class AnyOrder(RuleBasedStateMachine):
    """One shell, and everything that may happen to it."""

    def __init__(self) -> None:
        super().__init__()
        self.shell = Shell()
        self.clock = clocked(self.shell)

    @initialize(fast=st.booleans(), connections=st.integers(1, 3), upstreams=st.integers(1, 2))
    def start(self, fast: bool, connections: int, upstreams: int) -> None:
        self.shell = Shell(fast=fast, connections=connections, upstreams=upstreams)
        self.clock = clocked(self.shell)
        self.clock.__enter__()
        self.shell.connect()

    @rule(deed=st.sampled_from(DEEDS), chance=CHANCE)
    def something_happens(self, deed: Deed, chance: Random) -> None:
        deed(self.shell, Mutator(chance))

    @invariant()
    def the_books_are_right(self) -> None:
        assert list(miscounts(self.shell)) == []

    def teardown(self) -> None:
        if not self.shell.clients:
            return
        try:
            self.shell.settle()
            assert findings(self.shell) == []
        finally:
            self.clock.__exit__(None, None, None)


def test_anything_in_any_order() -> None:
    run_state_machine_as_test(AnyOrder, settings=settings(max_examples=150, stateful_step_count=50))


# ── the judge ──


def served() -> Shell:
    """One request, answered."""
    shell = Shell()
    with clocked(shell):
        client = shell.connect()
        client.outbox = REQUESTS[4]
        client.advance(1000)
        upstream = shell.dialed(shell.dials[0])
        upstream.outbox = ANSWERS[0]
        upstream.advance(1000)
        shell.settle()
    return shell


def test_the_judge_lets_what_is_right_pass() -> None:
    shell = served()
    assert len(shell.records) == 1
    assert findings(shell) == []


GHOST = b"GET /smuggled HTTP/1.1\r\nHost: stage\r\nX-Request-Id: ghost\r\n\r\n"


@pytest.mark.parametrize(
    ("up", "down", "finding"),
    [
        ((b"", GHOST), (b"", b""), "nobody asked for"),
        ((b"PUT /a", b"PUT /b"), (b"", b""), "is not what was decided"),
        ((b"hello", b"hullo"), (b"", b""), "a body became"),
        ((b"Content-Length", b"Transfer-Encoding: chunked\r\nContent-Length"), (b"", b""), "sent what is no request"),
        ((b"", b""), (b"", b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"), "sent more than its responses"),
        ((b"", b""), (b"ok", b"on"), "became 200"),
        ((b"", b""), (b"200 OK", b"201 OK"), "the client saw 201"),
        ((b"", b""), (b"\r\n\r\nok", b"\r\n\r\no"), "cut, but not as a cut"),
        ((b"", b""), (b"X-Request-Id: 0", b"X-Request-Id: 1"), "a response to another request"),
    ],
)
def test_the_judge_finds(up: tuple[bytes, bytes], down: tuple[bytes, bytes], finding: str) -> None:
    """What did not happen: octets that were sent, with something put in place of something else."""
    shell = served()
    for end, (what, instead) in (shell.upstreams[0], up), (shell.clients[0], down):
        end.sent = end.sent.replace(what, instead, 1) if what else end.sent + instead
    assert any(finding in found for found in findings(shell)), findings(shell)


def test_the_judge_finds_what_is_left() -> None:
    shell = Shell()
    with clocked(shell):
        shell.connect()
        assert any("left open" in found for found in findings(shell))
