"""How much work a request can make: bytecodes from its octets to the decision, for each production of `tools/worst`.

The tool measures CPU time, which no test may. Bytecodes are the same in every run, but say nothing of what one call
into C costs: how long a token's JSON takes to read is for the tool alone to see.
"""

import sys
from pathlib import Path
from types import FrameType
from typing import Any, Self

import pytest

from rawgate.errors import RequestError
from rawgate.message import Peer
from rawgate.policy.gate import Gate
from rawgate.serve.load import load_gate, request_rules
from rawgate.wire import RequestReader, RequestRules
from tools.costing.configuration import ENVIRONMENT, configuration, write_keys
from tools.costing.gateway import PROXY, STRANGER
from tools.costing.grammar import FIELDS, HEAD, PLAIN, TARGET, Production, Request, productions

MOST = 24
"""Plain requests of the h11 lane, to which every odd head goes: 84,000 bytecodes, about a millisecond."""

MOST_IN_PATHS = 6
"""The same for targets. What reads them is called by `re`, octet by octet or segment by segment: each of its bytecodes
brings four times as much C along."""

_IN_PATHS = ("path", "route", "rewrite")
PRODUCTIONS = productions()


class Bench:
    """Both lanes of one configuration, and how many bytecodes a request takes of them."""

    def __init__(self, folder: Path) -> None:
        write_keys(folder)
        self._lanes = {lane: self._load(folder / f"{lane}.toml", lane) for lane in ("fast", "h11")}
        self._number = 0
        self.work(PLAIN, "h11")  # what is remembered from the first request on
        self.plain = self.work(PLAIN, "h11")

    @staticmethod
    def _load(path: Path, lane: str) -> tuple[RequestRules, Gate]:
        path.write_text(configuration(lane, 1))
        loaded = load_gate(path, ENVIRONMENT, new_id=lambda: "0" * 32, date=lambda: b"D")
        return request_rules(loaded), loaded.gate

    def work(self, request: Request, lane: str) -> int:
        """Bytecodes from the octets of a request to its decision, or to its refusal."""
        rules, gate = self._lanes[lane]
        self._number += 1
        octets = request.octets(self._number)
        reader = RequestReader(rules)
        address = PROXY if request.proxied else STRANGER
        peer = Peer(address, f"{address}:1")
        with Tally() as tally:
            try:
                head = reader.feed(octets)
                if head is not None:
                    gate.decide(head, peer, 1.0, 1_800_000_000.0)
            except RequestError:
                pass
        return tally.bytecodes


class Tally:
    """Counts the bytecodes of what is called while it lasts."""

    def __init__(self) -> None:
        self.bytecodes = 0

    def __enter__(self) -> Self:
        self._before = sys.gettrace()
        sys.settrace(self._trace)
        return self

    def __exit__(self, *_: object) -> None:
        sys.settrace(self._before)

    def _trace(self, frame: FrameType, event: str, _: object) -> Any:
        frame.f_trace_lines = False
        frame.f_trace_opcodes = True
        self.bytecodes += event == "opcode"
        return self._trace


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return Bench(tmp_path_factory.mktemp("work"))


@pytest.mark.parametrize("lane", ["fast", "h11"])
@pytest.mark.parametrize("production", PRODUCTIONS, ids=[production.name for production in PRODUCTIONS])
def test_no_part_of_a_request_makes_much_work(bench: Bench, production: Production, lane: str) -> None:
    most = MOST_IN_PATHS if production.step in _IN_PATHS else MOST
    assert bench.work(production.request, lane) <= most * bench.plain


@pytest.mark.parametrize("production", PRODUCTIONS, ids=[production.name for production in PRODUCTIONS])
def test_productions_stay_within_the_limits(production: Production) -> None:
    """Or what is measured is a refusal for size."""
    head = production.request.head(1)
    assert len(head) <= HEAD
    assert head.count(b"\r\n") - 2 <= FIELDS
    assert len(head.split(b" ", 2)[1]) <= TARGET


def test_work_is_counted_and_counts_the_same_twice(bench: Bench) -> None:
    """Or the bounds above would hold for a counter that has stopped counting."""
    assert bench.work(PLAIN, "h11") == bench.plain
    assert 500 < bench.work(PLAIN, "fast") < bench.plain
