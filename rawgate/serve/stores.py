"""Keeps a process in touch with the store in which limits over hosts are counted.

    questions of one turn ─▶ one round trip ─▶ answers ─▶ who waits goes on
                                  │
                                  └── an error, or none in time ─▶ down: nothing is asked, each limit does what its
                                      `on_failure` says at once, and a probe asks in the background until it is answered

- All questions of one turn of the loop go out together. While ROUNDS of them are under way, further ones gather, and
  are sent with the next: so the more there is to ask, the less each question costs.
- A Cluster is several servers. Each has its own round trips and is down by itself: the others count meanwhile. Probes
  look at who has which counters now, so they find the replica that has taken the place of a master.
- A request waits for its own deadline (`store.timeout`), whatever happens here. A server counts as down as soon as one
  round has taken as long as that; what it answers later is used where somebody has a use for it.
- Being down costs a request nothing: it is not asked. A probe counts as requests do, so a store whose memory is full,
  or that has become a replica, is not taken for well. It has `store.timeout`, too: a store that answers late is down.
- The operator hears of each change once.
"""

import asyncio
from array import array
from collections.abc import Callable, Coroutine, Sequence
from math import inf
from time import monotonic
from typing import Any

from msgspec.structs import replace

from rawgate.config.model import Config
from rawgate.config.model import Store as StoreSpec
from rawgate.observe import histogram
from rawgate.policy.store import Question, Store, Undone
from rawgate.serve.store_client import StoreClient, StoreError

ROUNDS = 4
"""Round trips under way at a time. With one, each question waits for the answer to those before it; many would be sent
with few questions in each."""

MOST = 512
"""Questions of one round trip: a store works on them for a few milliseconds, during which nobody else is served."""

LOST = 1.0
"""Seconds after which an answer is not waited for any more, and its connection is closed; `store.timeout` if that is
longer."""

FAREWELL = 0.5
"""Seconds that closing connections may take at the end of the process: a store that is down takes no leave."""

FIRST_PROBE, LAST_PROBE = 0.1, 1.0
"""Seconds from one probe to the next, doubled each time."""

STEADY = 5.0
"""Seconds for which a store must have counted before a failure is its first one. Until then the time to the next probe
goes on from where it was: a store that comes and goes is asked once in a while, and told of as seldom."""

Report = Callable[[str], None]


class StoreKeeper:
    """The store of one process. `renew` begins, and follows each reload.

    store    what the gate asks, and knows
    latency  cells of a histogram: how long rounds took that were answered
    failed   questions that were answered by an error, or by nothing
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        store: Store,
        report: Report,
        connect: Callable[[StoreSpec], StoreClient] = StoreClient,
    ) -> None:
        self.store = store
        self.latency = array("Q", [0] * histogram.CELLS)
        self.failed = 0
        self._loop = loop
        self._report = report
        self._connect = connect
        self._spec: StoreSpec | None = None
        self._link: _Link | None = None
        self._ending: set[asyncio.Task[None]] = set()  # what was under way when a store was closed

    def renew(self, config: Config) -> None:
        """Count in this configuration's store from now on. Connections stay where only `on_failure` differs."""
        spec = config.store
        before, self._spec = self._spec, spec
        if before is not None and spec is not None and _same_place(before, spec):
            if self._link is not None:
                self._link.spec = spec
            return
        self.close()
        if spec is not None:
            self._link = _Link(self, spec, self._connect(spec), self._loop, self._report)

    def close(self) -> None:
        """Ask nothing more."""
        link, self._link = self._link, None
        if link is not None:
            for task in link.close():
                self._ending.add(task)
                task.add_done_callback(self._ending.discard)

    async def ended(self) -> None:
        """Nothing of what was closed is under way any more. It is given `FAREWELL` seconds, and then given up."""
        for _ in range(2):
            if self._ending:
                await asyncio.wait(set(self._ending), timeout=FAREWELL)
            for task in self._ending:
                task.cancel()

    def took(self, seconds: float) -> None:
        """A round was answered after so long."""
        took = histogram.microseconds(seconds)
        self.latency[histogram.bucket_of(took)] += 1
        self.latency[histogram.SUM] += took


def _same_place(one: StoreSpec, other: StoreSpec) -> bool:
    """All but what a link looks up each time."""
    return replace(one, timeout=0.0, on_failure="local") == replace(other, timeout=0.0, on_failure="local")


class _Link:
    """One store, from `[store]` to the reload that names another."""

    def __init__(
        self, keeper: StoreKeeper, spec: StoreSpec, client: StoreClient, loop: asyncio.AbstractEventLoop, report: Report
    ) -> None:
        self.spec = spec
        self.keeper = keeper
        self.store = keeper.store
        self.client = client
        self.loop = loop
        self.report = report
        self.closed = False
        self._servers: dict[str, _Server] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._run_ids: dict[str, str] = {}
        self.store.wake = self._wake
        self.store.server_of = client.server_of
        # It is taken for well until it shows that it is not: so the first request is counted, too.
        self.store.silent.clear()
        self.start(self._greet())

    @property
    def lost(self) -> float:
        """Seconds: see LOST."""
        return max(LOST, self.spec.timeout)

    def close(self) -> list[asyncio.Task[None]]:
        """What is under way is given up; who waits is told so. Returns what has to end yet."""
        self.closed = True
        self.store.wake = None
        self.store.close()
        for server in self._servers.values():
            server.stop_probing()
        for task in self._tasks:
            task.cancel()
        return [*self._tasks, self.loop.create_task(self.client.close())]

    def start(self, work: Coroutine[Any, Any, None]) -> None:
        task = self.loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def server(self, name: str) -> "_Server":
        found = self._servers.get(name)
        if found is None:
            found = self._servers[name] = _Server(self, name)
        return found

    def forget(self, name: str) -> None:
        """It has no counters any more."""
        self._servers.pop(name, None)

    def _wake(self) -> None:
        self.loop.call_soon(self._flush)

    def _flush(self) -> None:
        for name in self.store.waiting():
            self.server(name).flush()

    async def _greet(self) -> None:
        """Connect before somebody asks, and look at what it is."""
        key = b"rawgate"
        try:
            async with asyncio.timeout(self.lost):
                await self.client.probe(key)
        except StoreError as error:
            self.server(self.client.server_of(key)).go_down(str(error), key)
        except TimeoutError:
            self.server(self.client.server_of(key)).go_down(self.silence(), key)
        else:
            await self.look()

    def silence(self) -> str:
        return f"no answer within {1000 * self.spec.timeout:g} ms"

    async def look(self) -> None:
        """Tell of what makes the promise weaker."""
        try:
            async with asyncio.timeout(self.lost):
                told = await self.client.describe()
        except TimeoutError:
            return
        for name, facts in told.items():
            place = self.place(name)
            self._tell_of_restart(name, place, str(facts.get("run_id", "")))
            policy = str(facts.get("maxmemory_policy", "noeviction"))
            if facts.get("maxmemory") and policy != "noeviction":
                self.report(
                    f"warning: {place} has maxmemory-policy {policy}: when its memory is full it forgets counts, and "
                    "clients begin anew (expected noeviction)"
                )

    def _tell_of_restart(self, name: str, place: str, run_id: str) -> None:
        before = self._run_ids.get(name)
        if run_id and before and run_id != before:
            self.report(
                f"{place} was restarted, or another has taken its place: clients whose counts it did not keep begin "
                "anew"
            )
        if run_id:
            self._run_ids[name] = run_id

    def place(self, name: str) -> str:
        """A server, for the operator."""
        store = f"the store at {self.spec.url.text}"
        return f"{name} of {store}" if name else store


class _Server:
    """One server of a store: what it is asked, and whether it counts. name: as the client calls it."""

    def __init__(self, link: _Link, name: str) -> None:
        self.name = name
        self._link = link
        self._under_way = 0
        self._prober: asyncio.TimerHandle | None = None
        self._failed_key = b""
        self._delay = 0.0
        self._came_back = -inf

    # ── questions ──

    def flush(self) -> None:
        """Send what there is, as far as rounds are free."""
        store = self._link.store
        while self._under_way < ROUNDS and not self._link.closed:
            questions, undone = store.take_questions(MOST, self.name), store.take_undone(self.name)
            if not questions and not undone:
                return
            self._under_way += 1
            self._link.start(self._ask(questions, undone))

    async def _ask(self, questions: Sequence[Question], undone: Sequence[Undone]) -> None:
        """One round trip."""
        link, sent = self._link, monotonic()
        key = questions[0].key if questions else undone[0].key
        for question in questions:
            question.sent = sent
        # Its questions stay open when it is late: who waits has a deadline, and a late answer may still lend slots.
        late = link.loop.call_later(link.spec.timeout, self.go_down, link.silence(), key)
        try:
            async with asyncio.timeout(link.lost):
                answers = await link.client.ask(questions, undone)
        except StoreError as error:
            self._fail(str(error), questions, key)
        except TimeoutError:
            self._fail(link.silence(), questions, key)
        else:
            now = monotonic()
            link.keeper.took(now - sent)
            for question, answer in zip(questions, answers, strict=True):
                if isinstance(answer, StoreError):
                    self._fail(str(answer), (question,), question.key)
                else:
                    question.answer(*answer, now)
        finally:
            late.cancel()
            for question in questions:
                if not question.settled:
                    question.give_up()
            self._under_way -= 1
            self.flush()

    def _fail(self, why: str, questions: Sequence[Question], key: bytes) -> None:
        self._link.keeper.failed += len(questions)
        for question in questions:
            question.give_up()
        self.go_down(why, key)

    # ── up and down ──

    def go_down(self, why: str, key: bytes) -> None:
        """It does not count. key: of a counter that it has, to ask it about."""
        link = self._link
        if link.closed or self.name in link.store.silent:
            return
        self._failed_key = key
        link.store.silence(self.name)
        link.report(f"{link.place(self.name)} does not count: {why}; {_MEANWHILE[link.spec.on_failure]}")
        if link.loop.time() >= self._came_back + STEADY:
            self._delay = 0.0
        self._probe_later()

    def _probe_later(self) -> None:
        self.stop_probing()
        self._delay = min(max(2 * self._delay, FIRST_PROBE), LAST_PROBE)
        self._prober = self._link.loop.call_later(self._delay, lambda: self._link.start(self._probe()))

    def stop_probing(self) -> None:
        if self._prober is not None:
            self._prober.cancel()
            self._prober = None

    async def _probe(self) -> None:
        link, key = self._link, self._failed_key
        try:
            # A connection that has to be made first takes its time: the second try has it.
            async with asyncio.timeout(link.lost):
                await link.client.look_again(self.name, key)
                await link.client.probe(key)
            async with asyncio.timeout(link.spec.timeout):
                await link.client.probe(key)
        except (StoreError, TimeoutError):
            if not link.closed:
                self._probe_later()
            return
        if link.closed:
            return
        link.store.silent.discard(self.name)
        self._came_back = link.loop.time()
        heir = link.client.server_of(key)
        if heir == self.name or not self.name:
            link.report(f"{link.place(self.name)} counts again")
        else:
            link.report(f"{heir} counts in place of {link.place(self.name)}: clients whose counts it lacks begin anew")
            link.forget(self.name)
        await link.look()


_MEANWHILE = {
    "local": "each host counts by itself until it does",
    "refuse": "requests get 503 until it does",
    "allow": "its limits are not applied until it does",
}
