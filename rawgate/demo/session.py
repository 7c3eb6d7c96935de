"""Runs services and gateway together, for a tour (`play_tour`) or for a person to try (`stay_open`)."""

import asyncio
import contextlib
import signal
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from time import monotonic

from msgspec import structs

from rawgate.config.load import load_content
from rawgate.config.model import Config, Listen, Target
from rawgate.config.samples import sample_text
from rawgate.demo.check import Outcome, Step, check
from rawgate.demo.client import ClientError, send
from rawgate.demo.credentials import Credentials
from rawgate.demo.live_log import LiveLog
from rawgate.demo.quickstart import show_quickstart
from rawgate.demo.services import services
from rawgate.demo.steps import tour
from rawgate.demo.tour import show_chapter, show_end, show_heading, show_step
from rawgate.net.listener import RecordSink
from rawgate.observe.line import Record
from rawgate.offline.page import Page
from rawgate.serve.alone import ShutdownSignals, until_stopped
from rawgate.serve.clock import HttpDate, RequestIds
from rawgate.serve.listening import Addresses
from rawgate.serve.load import Loaded, compile_draft
from rawgate.serve.service import Service, run_on_uvloop, serving
from rawgate.serve.telling import say

HOST = "127.0.0.1"
INTERRUPTED = 130
"""Exit status after Ctrl-C: 128 + SIGINT, as shells report it."""


def play_tour(page: Page, port: int) -> int:
    """Play and show every step. Returns the exit status: 0 when every outcome was as expected. Raises StartError."""
    return run_on_uvloop(_play(page, port))


def stay_open(page: Page, port: int) -> int:
    """Show what to try, then each finished request until a signal comes. Returns the exit status. Raises StartError."""
    return run_on_uvloop(_stay(page, port))


async def _stay(page: Page, port: int) -> int:
    signals = ShutdownSignals(asyncio.get_running_loop())
    credentials, lines = Credentials(), LiveLog(page)
    async with _open(credentials, port, lines) as (service, addresses):
        show_quickstart(page, addresses.urls[0], credentials)
        lines.heading()
        status = await until_stopped(service, addresses, signals)
    say("stopped")
    return status


async def _play(page: Page, port: int) -> int:
    task = asyncio.current_task()
    if task is not None:
        asyncio.get_running_loop().add_signal_handler(signal.SIGINT, task.cancel)
    credentials, records = Credentials(), Records()
    began = monotonic()
    results: list[bool] = []
    try:
        async with _open(credentials, port, records) as (_, addresses):
            url = addresses.urls[0]
            show_heading(page, url)
            for chapter in tour(credentials):
                show_chapter(page, chapter.title)
                results += [await _take(page, step, url, records) for step in chapter.steps]
    except asyncio.CancelledError:
        return INTERRUPTED
    show_end(page, results, monotonic() - began)
    return 0 if all(results) else 1


@contextlib.asynccontextmanager
async def _open(credentials: Credentials, port: int, log: RecordSink) -> AsyncIterator[tuple[Service, Addresses]]:
    """Run the services and the gateway in front of them while the block lasts."""
    date, new_id = HttpDate(), RequestIds()
    async with services() as ports:
        loaded = _load(credentials.variables, ports, port, new_id, date)
        addresses = Addresses(hint="choose another one with --port (0: any free one)")
        with contextlib.closing(addresses):
            addresses.add(loaded.config.gateway.listen)
            async with serving(loaded, log, addresses.of_workers([0]), new_id=new_id, date=date) as service:
                yield service, addresses


def _load(
    environ: Mapping[str, str], ports: Mapping[str, int], port: int, new_id: RequestIds, date: HttpDate
) -> Loaded:
    """The demo's configuration, with the ports that the services got."""
    draft = load_content(Path("demo.toml"), sample_text("demo").encode(), environ)
    if draft.config is not None:
        draft = structs.replace(draft, config=_moved(draft.config, ports, port))
    return compile_draft(draft, new_id=new_id, date=date)


def _moved(config: Config, ports: Mapping[str, int], port: int) -> Config:
    upstreams = {
        name: structs.replace(spec, targets=(Target(HOST, ports[name], f"{HOST}:{ports[name]}"),))
        for name, spec in config.upstreams.items()
    }
    gateway = structs.replace(config.gateway, listen=(Listen(HOST, port),))
    return structs.replace(config, gateway=gateway, upstreams=upstreams)


async def _take(page: Page, step: Step, url: str, records: "Records") -> bool:
    """Play and show one step. Returns whether its outcome was as expected."""
    statuses: list[int] = []
    try:
        for _ in step.expected.statuses:
            reply = await send(url, step.request)
            statuses.append(reply.head.status)
    except ClientError as error:
        show_step(page, step, None, [str(error)])
        return False
    record = await records.find(reply.head.fields.get("x-request-id", ""))
    outcome = Outcome(tuple(statuses), reply, record)
    faults = check(step.expected, outcome)
    show_step(page, step, outcome, faults)
    return not faults


class Records:
    """A log that keeps its records, by request id."""

    PATIENCE = 1.0
    """Seconds to wait for a record: the gateway logs after the last octet is sent, so the client may be faster."""

    def __init__(self) -> None:
        self._records: dict[str, Record] = {}
        self._news = asyncio.Event()

    def write(self, record: Record) -> None:
        self._records[record.request_id] = record
        self._news.set()

    async def find(self, request_id: str) -> Record | None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self.PATIENCE):
                while request_id not in self._records:
                    self._news.clear()
                    await self._news.wait()
        return self._records.get(request_id)
