"""The page that follows a request through the code: it says what happens, in the order in which it happens.

The page's request is sent through the real gateway, from configuration to log, on transports in memory. What the page
shows must be what was seen.
"""

import ast
import asyncio
import contextlib
import json
import os
import re
import sys
import threading
from collections.abc import Callable, Iterator
from functools import cache
from operator import attrgetter
from pathlib import Path
from pkgutil import resolve_name
from types import FrameType
from unittest import mock

import pytest
from msgspec import Struct

from harness.checked import check_states, clocked_by
from harness.fake_loop import FakeLoop, FakeTransport
from harness.tokens import SECRET, token
from harness.values import contents
from rawgate.config import model
from rawgate.errors import REASONS
from rawgate.net.client import ClientConnection
from rawgate.net.upstream import UpstreamConnection
from rawgate.observe.access_log import AccessLog
from rawgate.relay.phases import TABLE
from rawgate.serve.load import load_gate
from rawgate.serve.service import Service
from tools.core import core_modules

PAGE = (Path(__file__).parents[1] / "rawgate/life-of-a-request.md").read_text("utf-8")

BLOCKS: dict[str, str] = {
    name.strip(): text for name, text in re.findall(r"^```(\S+[^\n]*)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
}
PROSE = re.sub(r"^```.*?^```$", "", PAGE, flags=re.MULTILINE | re.DOTALL)
SECTIONS = dict(re.findall(r"^## ([^\n]+)\n(.*?)(?=^## |\Z)", PROSE, re.MULTILINE | re.DOTALL))

ROOMS = "errors|message|wire|config|policy|relay|observe|net|serve|offline|demo|cli"
NAMES = sorted(set(re.findall(rf"`((?:{ROOMS})(?:\.\w+)+)`", PROSE)))

WALL = 1795428000.0
REQUEST_ID = "5b0c1f0e9d3a47c2b8e6d1f4a7903c25"
DATE = b"Mon, 23 Nov 2026 10:00:00 GMT"
TOKEN = token({"sub": "alice", "exp": int(WALL) + 3600})
SHORTENED = TOKEN[:20] + "..."


def steps(section: str) -> list[str]:
    """The main steps of a section, in its order."""
    return re.findall(r"\*\*`([^`]+)`\*\*", section)


def shown(name: str) -> str:
    """A block of the page, the token as it really was."""
    return BLOCKS[name].replace(SHORTENED, TOKEN)


def octets(name: str) -> bytes:
    """A message of the page as it was on the wire: what follows the empty line is the body, without a line end."""
    head, _, body = shown(name).rstrip("\n").partition("\n\n")
    return head.replace("\n", "\r\n").encode() + b"\r\n\r\n" + body.encode()


class Recorder:
    """Notes rawgate's calls in the order in which they began, and what they returned; hand `note` to setprofile. A name
    is without "rawgate"; a function that another one made goes by its maker's."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self.results: dict[str, list[object]] = {}

    def note(self, frame: FrameType, event: str, argument: object) -> None:
        module = frame.f_globals.get("__name__", "")
        if event in {"call", "return"} and module.startswith("rawgate."):
            name = f"{module}.{frame.f_code.co_qualname}".removeprefix("rawgate.").partition(".<locals>")[0]
            if event == "call":
                self.names.append(name)
            else:
                self.results.setdefault(name, []).append(argument)


class Turns(FakeLoop):
    """Hands to a real loop what is to be called soon."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__()
        self._loop = loop

    def call_soon(self, callback: Callable[..., object], *arguments: object) -> None:
        self._loop.call_soon(callback, *arguments)

    def wall(self) -> float:
        self.look()
        return WALL


class Run(Struct, frozen=True):
    """What was seen of one request: calls and their results, octets on both sides, the log."""

    recorder: Recorder
    place: tuple[str, int]
    up: bytes
    down: bytes
    log: str

    def result(self, name: str, kind: str) -> object:
        """What this function returned, the value of that class."""
        return next(value for value in self.recorder.results[name] if type(value).__name__ == kind)


def send(folder: Path, request: bytes) -> Run:
    """Send this request through the gateway of the page, and answer it as the page does."""
    file = os.open(folder / "log", os.O_CREAT | os.O_WRONLY)
    log, recorder = AccessLog(file), Recorder()
    with contextlib.closing(asyncio.new_event_loop()) as loop:
        upstreams, client = loop.run_until_complete(_relay(folder, request, log, recorder))
    # The log's thread begins only now, so that its calls come in a certain order.
    threading.setprofile(recorder.note)
    log.start()
    threading.setprofile(None)
    log.close(5.0)
    os.close(file)
    ((place, connection),) = upstreams.items()
    return Run(recorder, place, connection.sent, client.sent, (folder / "log").read_text("utf-8"))


async def _relay(
    folder: Path, request: bytes, log: AccessLog, recorder: Recorder
) -> tuple[dict[tuple[str, int], FakeTransport], FakeTransport]:
    """The request and its answer. Returns the upstream connections by place, and the client's."""
    config = folder / "rawgate.toml"
    config.write_text(BLOCKS["toml"], "utf-8")
    loaded = load_gate(config, {"JWT_SECRET": SECRET}, new_id=lambda: REQUEST_ID, date=lambda: DATE)
    loop = asyncio.get_running_loop()
    turns = Turns(loop)
    dialed = asyncio.Event()
    connections: dict[tuple[str, int], FakeTransport] = {}

    async def connect(
        factory: Callable[[], UpstreamConnection], host: str, port: int
    ) -> tuple[FakeTransport, UpstreamConnection]:
        protocol = factory()
        connections[host, port] = FakeTransport(turns, protocol)
        dialed.set()
        return connections[host, port], protocol

    with (
        clocked_by(turns.clock, turns.wall),
        mock.patch.object(loop, "create_connection", connect),
    ):
        service = Service(loop, loaded, log, lambda: REQUEST_ID, lambda: DATE, look_up=lambda host: (host,))
        sys.setprofile(recorder.note)
        try:
            connection = ClientConnection(service.connections)
            check_states(connection, turns)
            client = FakeTransport(turns, connection, ("192.0.2.7", 50412))
            client.receives(request)
            await asyncio.sleep(0)  # the end of the loop's turn
            turns.now += 0.0004
            await dialed.wait()
            turns.now += 0.0027
            next(iter(connections.values())).receives(octets("http from the upstream"))
            await asyncio.sleep(0)
        finally:
            sys.setprofile(None)
        service.close()
        await service.cut()
    return connections, client


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return send(tmp_path_factory.mktemp("life"), octets("http from the client"))


@pytest.fixture(scope="module")
def detour(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """The same, with a second blank that the fast lane does not recognise."""
    request = octets("http from the client").replace(b"Host: ", b"Host:  ", 1)
    return send(tmp_path_factory.mktemp("detour"), request)


def test_the_page_is_there() -> None:
    assert len(NAMES) > 50
    assert len(BLOCKS) == 8
    assert "The other lane" in SECTIONS


@pytest.mark.parametrize("name", NAMES)
def test_a_name_exists(name: str) -> None:
    assert resolve_name(f"rawgate.{name}") is not None


def missing(wanted: list[str], calls: list[str]) -> list[str]:
    """Those of `wanted` that were not called after the one before them."""
    left = iter(calls)
    return [name for name in wanted if name not in left]


def test_the_steps_are_in_order(run: Run) -> None:
    wanted = [name for title, section in SECTIONS.items() if title != "The other lane" for name in steps(section)]
    assert len(wanted) > 30
    assert missing(wanted, run.recorder.names) == []
    assert "wire.h11_lane.parse_request" not in run.recorder.names


def test_the_core_is_what_the_request_passes_through(run: Run) -> None:
    """The list in the package's map. A request calls nothing in `errors`, in tables and in declarations of types."""
    listed = set(core_modules())
    called = {module_of(name) for name in run.recorder.names}
    assert called - listed == set()
    assert listed - called == {"errors", "relay.ports", "relay.lessee", "relay.phases", "net.states"}


def module_of(name: str) -> str:
    """The module of a function: "wire.scan" of "wire.scan.find_end"; the rooms without modules are modules
    themselves."""
    room, rest = name.split(".", 1)
    return room if room in ("errors", "message") else f"{room}.{rest.partition('.')[0]}"


def test_a_step_out_of_order_is_found() -> None:
    assert missing(["b", "a"], ["a", "b"]) == ["a"]


def test_the_other_lane(run: Run, detour: Run) -> None:
    assert missing(steps(SECTIONS["The other lane"]), detour.recorder.names) == []
    fast = run.result("wire.request.RequestReader.feed", "RequestHead")
    slow = detour.result("wire.request.RequestReader.feed", "RequestHead")
    assert {**contents(fast), "size": 0} == {**contents(slow), "size": 0}
    assert (run.up, run.down, run.log) == (detour.up, detour.down, detour.log)


@pytest.mark.parametrize(
    ("kind", "made_by"),
    [("RequestHead", "wire.request.RequestReader.feed"), ("Forward", "policy.gate.compose")],
)
def test_the_values_are_real(run: Run, kind: str, made_by: str) -> None:
    value = run.result(made_by, kind)
    said = list(_assignments(shown(f"python {kind}")))
    assert [(name, attrgetter(name)(value)) for name, _ in said] == said


def _assignments(source: str) -> Iterator[tuple[str, object]]:
    for statement in ast.parse(source).body:
        assert isinstance(statement, ast.Assign)
        yield ast.unparse(statement.targets[0]), ast.literal_eval(statement.value)


def test_the_messages_are_real(run: Run) -> None:
    assert run.up == octets("http to the upstream")
    assert run.down == octets("http to the client")
    assert "{}:{}".format(*run.place) in BLOCKS["toml"]


def test_the_log_line_is_real(run: Run) -> None:
    assert json.loads(run.log) == json.loads(BLOCKS["json"])
    assert list(json.loads(run.log)) == list(json.loads(BLOCKS["json"]))


def losses() -> list[list[str]]:
    """The rows of the table of phases."""
    rows = [line.strip("| ").split(" | ") for line in SECTIONS["When things go wrong"].splitlines() if line[:1] == "|"]
    return rows[2:]


def test_the_table_has_each_phase() -> None:
    named = {cell.strip("`") for cell, *_ in losses() if cell.startswith("`")}
    assert named == {phase.name for phase in TABLE}


@cache
def _keys() -> frozenset[str]:
    """The names of all configuration keys."""
    structs = [value for value in vars(model).values() if isinstance(value, type) and issubclass(value, Struct)]
    return frozenset(name for struct in structs for name in struct.__struct_fields__)


@pytest.mark.parametrize("row", losses(), ids=[row[0].strip("`") for row in losses()])
def test_the_table_speaks_of_reasons_and_keys_that_exist(row: list[str]) -> None:
    text = " ".join(row[1:])
    for status, word in re.findall(r"(?:(\d{3}) )?`([\w.]+)`", text):
        if status:
            assert REASONS[word].status == int(status)
        else:
            assert word in REASONS or word.rpartition(".")[2] in _keys(), word


def test_the_drawing_that_it_links_is_there() -> None:
    for target in re.findall(r"\]\(([^)]+)\)", PAGE):
        assert (Path(__file__).parents[1] / "rawgate" / target).is_file()
