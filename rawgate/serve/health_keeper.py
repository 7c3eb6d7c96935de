"""The health of targets in one process: what it finds out is told, and what all know is made so in its pools.

    requests ─▶ Ejector ─┐                           ┌─▶ Endpoints ─▶ who gets the next request
                         ├─ say ─▶ HealthBook ─ hear ┤
    Checker ─────────────┘                           └─▶ status page, metrics

The book is the supervisor's (`health_routing`), or this process's own where it serves alone. Nothing is made so before
it was heard from the book. So all processes know the same, and no two of them eject the same target twice.
"""

import asyncio
import random
from collections.abc import Callable, Iterable, Mapping
from time import monotonic

from rawgate.config.model import Config, Eject
from rawgate.net.names import Names
from rawgate.net.tls_contexts import ClientTls
from rawgate.relay.ejection import Ejector, Terms
from rawgate.relay.endpoints import Endpoint, PlaceKey
from rawgate.relay.pool import Pool
from rawgate.serve.channel import Checked, Ejected, Failing, News
from rawgate.serve.checking import Checker
from rawgate.serve.health_book import HealthBook

Say = Callable[[Checked | Failing], None]
"""Tells the book of all processes. What it makes of that follows by `HealthKeeper.hear`."""


class HealthKeeper:
    """See above.

    pools   by the upstream's name
    tls     by the upstream's name: how its "https" targets are verified
    say     None: there is no other process
    report  is told what the operator should know, where there is no other process
    number  of this process, from 0
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        pools: Mapping[str, Pool],
        names: Names,
        tls: Mapping[str, ClientTls],
        say: Say | None,
        report: Callable[[str], None],
        number: int = 0,
    ) -> None:
        self._loop = loop
        self._pools = pools
        self._number = number
        self._ejectors: dict[str, Ejector] = {}
        self._checked: frozenset[str] = frozenset()
        self._book = HealthBook(report) if say is None else None
        self._say = self._note if say is None else say
        self._timer: asyncio.TimerHandle | None = None
        self._known: dict[tuple[str, PlaceKey, str | None], News] = {}  # what is left out, whether it is here or not
        self._checker = Checker(loop, pools, names, tls, self._say, random.random)

    def renew(self, config: Config) -> None:
        """Serve by this configuration from now on: the pools have it already."""
        now, specs = monotonic(), config.upstreams
        for name, spec in specs.items():
            if spec.eject is not None:
                self._eject_by(name, _terms(spec.eject))
            elif name in self._ejectors:
                self._ejectors.pop(name).end_all(now)
                self._pools[name].outcomes = None
        for name in [name for name in self._ejectors if name not in specs]:
            del self._ejectors[name]
        checks = {name: spec.health for name, spec in specs.items() if spec.health is not None}
        for name in self._checked & set(specs) - set(checks):
            self._pools[name].endpoints.uncheck(now)
        self._checked = frozenset(checks)
        if self._book is not None:
            self._book.renew(self._checked, frozenset(self._ejectors))
        self._checker.renew(checks)
        self._known = {key: news for key, news in self._known.items() if self._concerns(news)}
        for name in specs:
            self.places_changed(name)

    def _eject_by(self, name: str, terms: Terms) -> None:
        known = self._ejectors.get(name)
        if known is not None:
            known.terms = terms
            return

        def ask(endpoint: Endpoint, why: str, last: int) -> None:
            seconds = ejector.terms.seconds
            self._say(Failing(name, endpoint.place.key, endpoint.place.name, why, seconds, last))

        pool = self._pools[name]
        pool.outcomes = ejector = self._ejectors[name] = Ejector(pool.endpoints, terms, ask)

    def check(self, succeeds: bool, failed: Iterable[Checked]) -> None:
        """This process is the one that checks. succeeds, failed: as in `Checker.begin`."""
        self._checker.begin(succeeds, failed)

    def check_alone(self) -> None:
        """Check, if there is no other process."""
        if self._book is not None:
            self._checker.begin(succeeds=False)

    def stop(self) -> None:
        """The gateway ends: check nothing more, and eject nothing."""
        self._checker.stop()
        if self._timer is not None:
            self._timer.cancel()

    # ── what all know ──

    def learn(self, known: Iterable[News]) -> None:
        """What all others knew before this process began."""
        for news in known:
            self._make_so(news)

    def hear(self, news: News) -> None:
        """Make it so here."""
        self._make_so(news, ours=isinstance(news, Ejected) and news.by == self._number)

    def _make_so(self, news: News, ours: bool = False) -> None:
        """ours: this process has asked for this ejection, and counts it."""
        now = monotonic()
        if not self._concerns(news):
            return
        self._note_known(news, now)
        match news:
            case Checked(upstream, place, _, address, failure):
                self._pools[upstream].endpoints.checked(place, address, failure, now)
            case Ejected(upstream, place, _, why, until, number):
                self._ejectors[upstream].eject(place, why, until, number, now, ours)

    def _concerns(self, news: News) -> bool:
        """Whether the configuration lets it leave anything out here."""
        return news.upstream in (self._checked if isinstance(news, Checked) else self._ejectors)

    def _note_known(self, news: News, now: float) -> None:
        key = news.upstream, news.place, news.address if isinstance(news, Checked) else None
        self._known.pop(key, None)
        if isinstance(news, Ejected) or news.failure:
            over = [at for at, one in self._known.items() if isinstance(one, Ejected) and one.until <= now]
            for at in over:
                del self._known[at]
            self._known[key] = news

    def places_changed(self, upstream: str) -> None:
        """This upstream may be at other places than before. Others may have told of those before it was."""
        now = monotonic()
        healths = {endpoint.place.key: endpoint for endpoint in self._pools[upstream].endpoints.all}
        for news in [one for one in self._known.values() if one.upstream == upstream and one.place in healths]:
            endpoint = healths[news.place]
            if isinstance(news, Ejected):
                is_new = max(now, endpoint.health.ejected_until) < news.until
            else:
                is_new = not (
                    endpoint.failed_checks.get(news.address) if news.address else endpoint.health.failed_check
                )
            if is_new:
                self._make_so(news)

    def why_down(self, now: float) -> dict[tuple[str, str], str]:
        """Upstream and target → why it is shown as down, of those that do not work as far as this process knows."""
        return {
            (name, endpoint.place.name): why
            for name, pool in self._pools.items()
            for endpoint in pool.endpoints.all
            if (why := endpoint.why_down(now, name in self._checked))
        }

    # ── alone ──

    def _note(self, message: Checked | Failing) -> None:
        book = self._book
        if book is None:
            return
        news = book.hear(message, self._number, monotonic())
        if news is not None:
            self.hear(news)
        self._set_timer(book)

    def _set_timer(self, book: HealthBook) -> None:
        if self._timer is not None:
            self._timer.cancel()
        wait = book.due - monotonic()
        self._timer = self._loop.call_later(max(0.0, wait), self._tick, book) if wait < 1e9 else None

    def _tick(self, book: HealthBook) -> None:
        book.tick(monotonic())
        self._set_timer(book)


def _terms(spec: Eject) -> Terms:
    statuses = frozenset(status for first, last in spec.status for status in range(first, last + 1))
    return Terms(spec.failures, spec.for_, spec.at_most, statuses)
