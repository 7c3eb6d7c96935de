"""Several gateways of several workers, one redis-server, and what breaks it in between.

`on_failure = "refuse"`: a request that is served was counted by the store. So whatever happens to it, no window may
have more than `max`; only a store that loses its data begins anew, and each of its lives is judged by itself.
"""

import asyncio
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from threading import Event, Thread

from harness.gateway import command
from tools.limiting.processes import ASKED, Note, Rule
from tools.limiting.verdict import Verdict
from tools.storing.crowd import Crowd
from tools.storing.server import RedisServer, redis_server, store_program

WINDOW = 1.0
CONNECTIONS = 8
"""To each gateway."""


def configuration(url: str, most: int, workers: int, on_failure: str, timeout: str) -> str:
    text = f"""[gateway]
listen = ["127.0.0.1:0"]
workers = {workers}
[store]
url = "{url}"
on_failure = "{on_failure}"
timeout = "{timeout}"
[upstreams.none]
targets = ["http://127.0.0.1:1"]
"""
    for shared in ("exact", "leased"):
        text += f"""[[routes]]
prefix = "/{shared}"
auth = "none"
respond = {{ body = "ok" }}
rate_limit = {{ max = {most}, window = "{WINDOW:g}s", key = "header:x-client", shared = "{shared}" }}
"""
    return text


class Gateway:
    """A running one. said: what it has written to stderr."""

    def __init__(self, folder: Path, text: str) -> None:
        folder.mkdir()
        file = folder / "rawgate.toml"
        file.write_text(text)
        self._errors = folder / "stderr"
        with self._errors.open("wb") as errors:
            self.process = subprocess.Popen(  # noqa: S603 - our own program
                [*command(), "run", str(file)],
                stdout=subprocess.DEVNULL,
                stderr=errors,
                stdin=subprocess.DEVNULL,
            )

    @property
    def said(self) -> list[str]:
        return self._errors.read_text("utf-8").splitlines()

    def address(self) -> tuple[str, int]:
        """Once it serves."""
        ends = time.monotonic() + 30
        while time.monotonic() < ends:
            found = [line for line in self.said if "listening on http://" in line]
            if found and any("ready" in line for line in self.said):
                host, _, port = found[0].partition("http://")[2].rpartition(":")
                return host, int(port)
            time.sleep(0.02)
        raise RuntimeError(f"a gateway does not start: {self.said}")

    def stop(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(35)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


@contextmanager
def gateways(texts: list[str], folder: Path) -> Iterator[list[Gateway]]:
    """One for each configuration, while the block lasts."""
    with ExitStack() as stack:
        started = [Gateway(folder / str(number), text) for number, text in enumerate(texts)]
        for gateway in started:
            stack.callback(gateway.stop)
        yield started


class Breaker(Thread):
    """Breaks the store again and again. broken: how often, by kind; lives: when one began anew, without its data."""

    def __init__(self, store: RedisServer, every: float) -> None:
        super().__init__(name="breaker", daemon=True)
        self._store = store
        self._every = every
        self._over = Event()
        self._kinds: list[tuple[str, Callable[[], object]]] = [
            ("paused", self._pause),
            ("asleep", lambda: self._store.say("DEBUG", "SLEEP", "0.3")),
            ("full", self._fill),
            ("cut off", lambda: self._store.say("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")),
            ("restarted", self._restart),
        ]
        self.broken: dict[str, int] = {}
        self.lives: list[tuple[float, float]] = []

    def run(self) -> None:
        turn = 0
        while not self._over.wait(self._every):
            name, act = self._kinds[turn % len(self._kinds)]
            act()
            self.broken[name] = self.broken.get(name, 0) + 1
            turn += 1

    def has_more(self) -> bool:
        """Whether a kind has not been tried yet."""
        return self.is_alive() and len(self.broken) < len(self._kinds)

    def stop(self) -> None:
        self._over.set()
        self.join()

    def _pause(self) -> None:
        self._store.pause()
        try:
            time.sleep(0.4)
        finally:
            self._store.go_on()

    def _fill(self) -> None:
        self._store.say("CONFIG", "SET", "maxmemory", "1")
        time.sleep(0.4)
        self._store.say("CONFIG", "SET", "maxmemory", "0")

    def _restart(self) -> None:
        began = time.monotonic()
        self._store.restart()
        self.lives.append((began, time.monotonic()))


def judge(notes: list[Note], rule: Rule, lives: list[tuple[float, float]]) -> Verdict:
    """Each client by itself, and each life of the store by itself. What was asked in one and told in another may have
    been counted in either, or in none."""
    verdict = Verdict(rule)
    parts: dict[tuple[int, int], list[Note]] = {}
    for note in notes:
        life = sum(note.before >= ended for _, ended in lives)
        told = sum(note.after >= began for began, _ in lives)
        mark = note.mark if told == life else ASKED
        parts.setdefault((note.key, life), []).append(note._replace(mark=mark))
    for part in parts.values():
        verdict.add(part)
    return verdict


def prove(hits: int, clients: int, most: int, hosts: int, workers: int, every: float, timeout: str) -> bool:
    """Run it and print the table. Returns whether the limits held."""
    program = store_program()
    with tempfile.TemporaryDirectory(prefix="rawgate-stores-") as name, ExitStack() as stack:
        folder = Path(name)
        store = stack.enter_context(redis_server(program, folder))
        text = configuration(store.url, most, workers, "refuse", timeout)
        running = stack.enter_context(gateways([text] * hosts, folder))
        addresses = [gateway.address() for gateway in running]
        breaker = Breaker(store, every)
        crowd = Crowd(["/exact", "/leased"], clients, hits, breaker.has_more)
        began = time.monotonic()
        breaker.start()
        try:
            asyncio.run(_play(crowd, addresses, hits))
        finally:
            breaker.stop()
        seconds = time.monotonic() - began
        told = sum("does not count" in line for gateway in running for line in gateway.said)
        back = sum("counts again" in line for gateway in running for line in gateway.said)
    broken = ", ".join(f"{name} {times} times" for name, times in breaker.broken.items())
    done = sum(map(len, crowd.notes.values()))
    print(f"\n{done:,} hits by {clients} clients over {hosts} gateways of {workers} workers in {seconds:.0f} s")
    print(
        f"store {broken or 'never broken'}; workers said {told} times that it does not count, {back} times that it does"
    )
    print(f"{'':10}      hits  admitted   refused  without  most in a window of {most}  too many  too few  slowest s")
    held = True
    for path, notes in crowd.notes.items():
        verdict = judge(notes, Rule(most, WINDOW), breaker.lives)
        held = held and not verdict.too_many and (path != "/exact" or not verdict.too_few)
        status = crowd.statuses[path]
        print(
            f"{path:10}{len(notes):10,}{status[200]:10,}{status[429]:10,}{status[503]:9,}{verdict.peak:26}"
            f"{verdict.too_many:10,}{verdict.too_few:9,}{crowd.slowest[path]:11.3f}"
        )
    return held


async def _play(crowd: Crowd, addresses: list[tuple[str, int]], hits: int) -> None:
    async with asyncio.timeout(120 + hits / 300):
        await asyncio.gather(*(crowd.ask(address, CONNECTIONS) for address in addresses))
