"""Where services are that DNS or Consul tell of: asks, remembers, and has the pools follow.

    source ── question ─▶ answer ─▶ Found ─┬─▶ the pools of this process
                ▲           │              └─▶ supervisor ─▶ the pools of every other worker
                └── again ──┘

- One worker asks for all, as for key sets: a name server or an agent sees one gateway, and all workers have the same
  instances within the time that a message takes. Each on its own would ask as often as there are workers, and Consul's
  queries block a connection each. When that worker dies, another one goes on (see `seeking`).
- The names of single targets are not looked up here but by each worker (`net.names`): they have nothing to agree on.
- An answer is used until a newer one is here. When a question brings none, the last good one stays, however long that
  takes: a service that has not moved must not be lost with the server that tells where it is. The operator is told.
- A name that is gone has not said that the service is (RFC 8767 section 4 would let it). An empty answer of Consul, and
  the SRV target of RFC 2782 that means "not here", have: then there is no target.
- A reload keeps what is known of the sources that stay. An upstream whose new source has not answered yet stays where
  it was.
"""

import asyncio
import traceback
from collections.abc import Callable, Iterable, Mapping, Sequence
from time import monotonic

from msgspec import Struct

from rawgate.config.model import Config, Consul, Target
from rawgate.message import authority_of
from rawgate.net.consul import Agent
from rawgate.net.fetch import FetchError
from rawgate.net.instances import Instance, Instances, Source, fresh_for, retry_after
from rawgate.net.names import LookUpError, Names
from rawgate.net.nameservers import Nameservers
from rawgate.net.tls_contexts import ClientTls
from rawgate.serve.channel import Found
from rawgate.serve.load import Loaded, source_of

PAUSE = 0.1
"""Seconds between an answer of Consul and the next question. An index that moves all the time costs ten questions a
second."""

POLL = 10.0
"""Seconds between two questions to a Consul that gives no index, as a cache in between may do."""

SAID_EVERY = 5.0
"""Seconds after which an answer is passed on that says nothing new, but how old it is."""

CHANGES_EVERY = 1.0
"""Seconds from one line about the instances of an upstream to the next."""

NAMED = 3
"""Instances of one line that are named; of more it tells the number."""


def sources_of(config: Config) -> set[Source]:
    """All of a configuration."""
    return _sources(target for upstream in config.upstreams.values() for target in upstream.targets)


def _sources(targets: Iterable[Target]) -> set[Source]:
    """Those of these targets that somebody else tells of."""
    return {source for target in targets if (source := source_of(target)) is not None}


def nameservers_of(config: Config) -> Nameservers:
    """Those of the configuration, or the system's."""
    pairs = [server.rpartition(":") for server in config.gateway.resolver]
    return Nameservers([(address.strip("[]"), int(port)) for address, _, port in pairs])


class SourceState(Struct, frozen=True):
    """A source as people see it.

    url        as it is configured
    age        seconds since the last good answer; None: there was none
    instances  how many it has told of
    problem    why the last question brought no answer, or ""
    """

    url: str
    age: float | None
    instances: int
    problem: str


class Discovery:
    """What is known of the sources of a process.

    known  source → its last answer
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        names: Names,
        report: Callable[[str], None],
        moved: Callable[[Source], None],
        say: Callable[[Found], None] | None = None,
    ) -> None:
        """moved: is told of a source whose instances are others than before, or that has failed for a new reason before
        it ever answered. say: tells the supervisor; None: this process is alone, and asks itself from the start."""
        self.known: dict[Source, Found] = {}
        self._loop = loop
        self._names = names
        self._report = report
        self._moved = moved
        self._say = say
        self._seeks = say is None
        self._wanted: set[Source] = set()
        self._upstreams: dict[str, set[Source]] = {}
        self._changes = Changes(loop, report)
        self._seekers: dict[Source, Seeker] = {}
        self._nameservers = Nameservers()
        self._agent = Agent("", "", None, names)

    def told(self) -> dict[Source, tuple[Instance, ...]]:
        """The instances of each source that has answered."""
        return {source: found.instances for source, found in self.known.items() if found.has_answered}

    def problems(self) -> dict[Source, str]:
        """Why each source that has never answered has not, of those that were asked in vain."""
        return {source: found.problem for source, found in self.known.items() if not found.has_answered}

    def follow(self, loaded: Loaded) -> None:
        """From now on the sources are those of this configuration."""
        config = loaded.config
        self._upstreams = {name: _sources(spec.targets) for name, spec in config.upstreams.items()}
        self._wanted = sources_of(config)
        self.known = {source: found for source, found in self.known.items() if source in self._wanted}
        self._nameservers = nameservers_of(config)
        self._agent = agent_of(config.consul or Consul(), loaded.consul_tls, self._names)
        for source in set(self._seekers) - self._wanted:
            self._seekers.pop(source).close()
        for seeker in self._seekers.values():
            seeker.ask()  # perhaps somebody else
        self._start()

    def seek(self) -> None:
        """From now on this process asks, for all."""
        self._seeks = True
        self._start()

    def take(self, found: Found) -> None:
        """What the process that asks has got. What it tells of a source that is not wanted here may be wanted soon: the
        configuration is another one there already."""
        before = self.known.get(found.source)
        self.known[found.source] = found
        if before is None or _sense(before) != _sense(found):
            self._moved(found.source)

    def states(self, config: Config, now: float) -> dict[str, tuple[SourceState, ...]]:
        """Name of an upstream → its sources; upstreams without any are left out. now: monotonic seconds."""
        return {
            name: states
            for name, spec in config.upstreams.items()
            if (states := tuple(self._state(target, now) for target in spec.targets if target.source))
        }

    def _state(self, target: Target, now: float) -> SourceState:
        source = source_of(target)
        found = None if source is None else self.known.get(source)
        if found is None:
            return SourceState(target.url, None, 0, "")
        age = max(0.0, now - found.at) if found.has_answered else None
        return SourceState(target.url, age, len(found.instances), found.problem)

    def close(self) -> None:
        """The gateway ends: ask nothing more."""
        self._seeks = False
        self._changes.close()
        for seeker in self._seekers.values():
            seeker.close()

    # ── for seekers ──

    async def question(self, source: Source, index: int) -> tuple[Instances, int, float]:
        """Ask once. Returns the instances; of Consul the next index, of others 0; and in how many seconds to ask again.
        Raises LookUpError, FetchError."""
        if source.kind == "consul":
            found, following = await self._agent.healthy(source.name, source.query, index)
            # After one that went back the next question is another first one, and cannot wait: it brings an index.
            return found, following, PAUSE if index or following else POLL
        if source.kind == "srv":
            found, ttl = await self._nameservers.services(source.name)
            return found, 0, fresh_for(ttl)
        known = self.known.get(source)
        before = [instance.host for instance in known.instances] if known else []
        addresses = await self._nameservers.addresses(source.name, before)
        instances = tuple(Instance(False, address, source.port) for address in addresses.addresses)
        return Instances(instances), 0, fresh_for(addresses.ttl)

    def found(self, found: Found) -> None:
        """A seeker has something to tell."""
        known = self.known.get(found.source)
        concerned = [name for name, sources in self._upstreams.items() if found.source in sources]
        before = {name: self._instances(name) for name in concerned}
        self.take(found)
        if known is not None and known.has_answered:
            for name in concerned:
                self._changes.note(name, before[name], self._instances(name))
        if self._say is not None:
            self._say(found)

    # ── inside ──

    def _instances(self, upstream: str) -> frozenset[str]:
        """The names of all instances that sources tell of."""
        known = [self.known[source] for source in self._upstreams[upstream] if source in self.known]
        return frozenset(authority_of(one.host, one.port) for found in known for one in found.instances)

    def _start(self) -> None:
        for source in self._wanted if self._seeks else ():
            if source not in self._seekers:
                self._seekers[source] = Seeker(self._loop, source, self, self._report, self.known.get(source))


class Changes:
    """Tells the operator which instances of an upstream are new, and which are gone: one line for each change, but at
    most one in `CHANGES_EVERY` seconds. What changes meanwhile is in the next one."""

    def __init__(self, loop: asyncio.AbstractEventLoop, report: Callable[[str], None]) -> None:
        self._loop = loop
        self._report = report
        # Upstreams of which a line was written just now → the instances then and now, and what tells the difference.
        self._recent: dict[str, tuple[frozenset[str], frozenset[str], asyncio.TimerHandle]] = {}

    def note(self, upstream: str, before: frozenset[str], after: frozenset[str]) -> None:
        """The instances of an upstream were those, and are these."""
        if upstream in self._recent:
            told, _, timer = self._recent[upstream]
            self._recent[upstream] = told, after, timer
        elif before != after:
            self._report(f"upstream {upstream}: {change(before, after)}")
            timer = self._loop.call_later(CHANGES_EVERY, self._tell_rest, upstream)
            self._recent[upstream] = after, after, timer

    def _tell_rest(self, upstream: str) -> None:
        told, now, _ = self._recent.pop(upstream)
        self.note(upstream, told, now)

    def close(self) -> None:
        """Tell nothing more."""
        for _, _, timer in self._recent.values():
            timer.cancel()


def change(before: frozenset[str], after: frozenset[str]) -> str:
    """What has changed, in a line for the operator."""
    new, gone = sorted(after - before), sorted(before - after)
    said = [_those(names, what) for names, what in ((new, "new"), (gone, "gone")) if names]
    count = len(after)
    return f"{', '.join(said)}; {count} instance{'s' * (count != 1)}{'' if new else ' left'}"


def _those(names: Sequence[str], what: str) -> str:
    if len(names) > NAMED:
        return f"{len(names)} instances are {what}"
    return f"{', '.join(names)} {'is' if len(names) == 1 else 'are'} {what}"


class Seeker:
    """Asks one source, again and again."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        source: Source,
        discovery: Discovery,
        report: Callable[[str], None],
        found: Found | None,
    ) -> None:
        """found: what somebody else was told last."""
        self._loop = loop
        self._source = source
        self._discovery = discovery
        self._report = report
        self._found = Found(source, (), -1.0, "") if found is None else found
        self._index = 0
        self._failures = 0
        self._said_at = 0.0
        self._flaws: tuple[str, ...] = ()
        self._timer: asyncio.TimerHandle | None = None
        self._task: asyncio.Task[None] | None = None
        self.ask()

    def ask(self) -> None:
        """Ask now, and forget the question that is under way."""
        self.close()
        self._index = 0
        self._begin()

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self._task is not None:
            self._task.cancel()

    def _begin(self) -> None:
        self._task = self._loop.create_task(self._run())

    async def _run(self) -> None:
        try:
            found, self._index, delay = await self._discovery.question(self._source, self._index)
        except (LookUpError, FetchError) as error:
            delay = self._failed(str(error))
        except Exception as error:  # noqa: BLE001 - whatever it is, the next question is asked, and people see it
            traceback.print_exception(error)
            delay = self._failed("a mistake of the gateway; its error log says which")
        else:
            self._succeeded(found)
        self._timer = self._loop.call_later(delay, self._begin)

    def _succeeded(self, found: Instances) -> None:
        before, now = self._found, monotonic()
        self._failures = 0
        self._found = Found(self._source, found.all, now, "")
        if before.problem:
            self._report(f"can look up {self._source} again")
        if found.flaws != self._flaws:
            self._flaws = found.flaws
            for flaw in found.flaws[:3]:
                self._report(f"{self._source}: left out: {flaw}")
        if not found.all and (before.instances or not before.has_answered):
            self._report(f"no instance in {self._source}: requests get 503 until there is one")
        elif found.all and before.has_answered and not before.instances:
            self._report(f"instances in {self._source} again")
        is_news = found.all != before.instances or bool(before.problem) or not before.has_answered
        if is_news or now >= self._said_at + SAID_EVERY:
            self._said_at = now
            self._discovery.found(self._found)

    def _failed(self, why: str) -> float:
        """Returns in how many seconds to ask again."""
        before = self._found
        self._index = 0
        self._failures += 1
        if not before.problem:
            so = "the last answer is used" if before.has_answered else "requests get 503 until there is an answer"
            self._report(f"cannot look up {self._source}: {why}; {so}")
        if why != before.problem:
            self._found = Found(self._source, before.instances, before.at, why)
            self._discovery.found(self._found)
        return retry_after(self._failures)


def _sense(found: Found) -> tuple[tuple[Instance, ...], str | None]:
    """What a pool makes of it: the instances, and where there was never an answer, why not."""
    return found.instances, None if found.has_answered else found.problem


def agent_of(consul: Consul, tls: ClientTls | None, names: Names) -> Agent:
    """The agent that is configured."""
    address = consul.address
    token = "" if consul.token is None else consul.token.value.decode("ascii")
    return Agent(f"{address.scheme}://{address.authority}", token, None if tls is None else tls.context, names)


def figures(states: Mapping[str, tuple[SourceState, ...]]) -> dict[str, tuple[float | None, int]]:
    """Name of an upstream → seconds since the last good answer, of the source for which that is longest, None where no
    source has answered; and how many instances there are in all."""
    told = {name: [state.age for state in its if state.age is not None] for name, its in states.items()}
    return {name: (max(told[name], default=None), sum(one.instances for one in its)) for name, its in states.items()}
