"""Keeps a process in touch with the store in which limits over hosts are counted.

    questions of one turn ─▶ one round trip ─▶ answers ─▶ who waits goes on
                                  │
                                  └── an error, or none in time ─▶ down: nothing is asked, each limit does what its
                                      `on_failure` says at once, and a probe asks in the background until it is answered

- All questions of one turn of the loop go out together. While ROUNDS of them are under way, further ones gather, and
  are sent with the next: so the more there is to ask, the less each question costs.
- A request waits for its own deadline (`store.timeout`), whatever happens here. The store counts as down as soon as one
  round has taken as long as that; what it answers later is used where somebody has a use for it.
- Being down costs a request nothing: it is not asked. A probe counts as requests do, so a store whose memory is full,
  or that has become a replica, is not taken for well. It has `store.timeout`, too: a store that answers late is down.
- The operator hears of each change once.
"""

import asyncio
from array import array
from collections.abc import Callable, Sequence
from math import inf
from time import monotonic
from typing import Any

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
"""Seconds after which an answer is not waited for any more, and its connection is closed."""

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
    return (one.url, one.password, one.ca) == (other.url, other.password, other.ca)


class _Link:
    """One store, from `[store]` to the reload that names another."""

    def __init__(
        self, keeper: StoreKeeper, spec: StoreSpec, client: StoreClient, loop: asyncio.AbstractEventLoop, report: Report
    ) -> None:
        self.spec = spec
        self._keeper = keeper
        self._store = keeper.store
        self._client = client
        self._loop = loop
        self._report = report
        self._under_way = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._prober: asyncio.TimerHandle | None = None
        self._failed_key = b"rawgate"
        self._closed = False
        self._delay = 0.0
        self._came_back = -inf
        self._run_id = ""
        self._was_told = False
        self._store.wake = self._wake
        # It is taken for well until it shows that it is not: so the first request is counted, too.
        self._store.is_up = True
        self._start(self._greet())

    def close(self) -> list[asyncio.Task[None]]:
        """What is under way is given up; who waits is told so. Returns what has to end yet."""
        self._closed = True
        self._store.wake = None
        self._store.close()
        self._stop_probing()
        for task in self._tasks:
            task.cancel()
        return [*self._tasks, self._loop.create_task(self._client.close())]

    # ── questions ──

    def _wake(self) -> None:
        self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        while self._under_way < ROUNDS and self._store.has_unsent and not self._closed:
            self._under_way += 1
            self._start(self._ask(self._store.take_questions(MOST), self._store.take_undone()))

    async def _ask(self, questions: Sequence[Question], undone: Sequence[Undone]) -> None:
        """One round trip."""
        sent = monotonic()
        for question in questions:
            question.sent = sent
        late = self._loop.call_later(self.spec.timeout, self._late, questions)
        try:
            async with asyncio.timeout(LOST):
                answers = await self._client.ask(questions, undone)
        except StoreError as error:
            self._fail(str(error), questions)
        except TimeoutError:
            self._fail(self._silent(), questions)
        else:
            now = monotonic()
            self._keeper.took(now - sent)
            for question, answer in zip(questions, answers, strict=True):
                if isinstance(answer, StoreError):
                    self._fail(str(answer), (question,))
                else:
                    question.answer(*answer, now)
        finally:
            late.cancel()
            for question in questions:
                if not question.settled:
                    question.give_up()
            self._under_way -= 1
            if not self._closed:
                self._flush()

    def _silent(self) -> str:
        return f"no answer within {1000 * self.spec.timeout:g} ms"

    def _late(self, questions: Sequence[Question]) -> None:
        """A round takes too long. Its questions stay open: who waits has a deadline, and a late answer may still lend
        slots."""
        self._go_down(self._silent(), questions)

    def _fail(self, why: str, questions: Sequence[Question]) -> None:
        self._keeper.failed += len(questions)
        for question in questions:
            question.give_up()
        self._go_down(why, questions)

    # ── up and down ──

    def _go_down(self, why: str, questions: Sequence[Question] = ()) -> None:
        if questions:
            self._failed_key = questions[0].key
        if self._closed or not self._store.is_up:
            return
        self._store.close()
        self._was_told = True
        self._report(f"the store at {self.spec.url.text} does not count: {why}; {_MEANWHILE[self.spec.on_failure]}")
        if self._loop.time() >= self._came_back + STEADY:
            self._delay = 0.0
        self._probe_later()

    def _probe_later(self) -> None:
        self._stop_probing()
        self._delay = min(max(2 * self._delay, FIRST_PROBE), LAST_PROBE)
        self._prober = self._loop.call_later(self._delay, lambda: self._start(self._probe()))

    def _stop_probing(self) -> None:
        if self._prober is not None:
            self._prober.cancel()
            self._prober = None

    async def _probe(self) -> None:
        try:
            # A connection that has to be made first takes its time: the second try has it.
            async with asyncio.timeout(LOST):
                await self._client.probe(self._failed_key)
            async with asyncio.timeout(self.spec.timeout):
                await self._client.probe(self._failed_key)
        except (StoreError, TimeoutError):
            if not self._closed:
                self._probe_later()
            return
        if not self._closed:
            self._store.is_up = True
            self._came_back = self._loop.time()
            self._report(f"the store at {self.spec.url.text} counts again")
            await self._look()

    async def _greet(self) -> None:
        """Connect before somebody asks, and look at what it is."""
        try:
            async with asyncio.timeout(LOST):
                await self._client.probe(self._failed_key)
        except StoreError as error:
            self._go_down(str(error))
        except TimeoutError:
            self._go_down(self._silent())
        else:
            await self._look()

    async def _look(self) -> None:
        """Tell of what makes the promise weaker."""
        try:
            async with asyncio.timeout(LOST):
                told = await self._client.describe()
        except TimeoutError:
            return
        self._tell_of_restart(told)
        policy = str(told.get("maxmemory_policy", "noeviction"))
        if told.get("maxmemory") and policy != "noeviction":
            self._report(
                f"warning: the store at {self.spec.url.text} has maxmemory-policy {policy}: when its memory is full it "
                "forgets counts, and clients begin anew (expected noeviction)"
            )

    def _tell_of_restart(self, told: dict[str, Any]) -> None:
        run_id = str(told.get("run_id", ""))
        if run_id and self._run_id and run_id != self._run_id:
            self._report(
                f"the store at {self.spec.url.text} was restarted, or another has taken its place: clients whose "
                "counts it did not keep begin anew"
            )
        self._run_id = run_id or self._run_id

    def _start(self, work: Any) -> None:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


_MEANWHILE = {
    "local": "each host counts by itself until it does",
    "refuse": "requests get 503 until it does",
    "allow": "its limits are not applied until it does",
}
