"""What is known of the health of all targets, for all workers: what checks say, and what is ejected until when.

There is one book for a gateway: in the supervisor, or in the process that serves alone. It decides about ejections, and
tells the operator of each change, once. It has no clock.
"""

from collections.abc import Callable, Collection
from math import inf
from typing import TYPE_CHECKING

from rawgate.config.units import duration_text
from rawgate.relay.ejection import Ejections
from rawgate.serve.channel import Checked, Ejected, Failing, News

if TYPE_CHECKING:
    from rawgate.relay.endpoints import PlaceKey


class HealthBook:
    """See above. report: is told what the operator should know."""

    def __init__(self, report: Callable[[str], None]) -> None:
        self._report = report
        self._failed: dict[tuple[str, PlaceKey, str], Checked] = {}
        self._ejections = Ejections()
        self._ejected: dict[tuple[str, PlaceKey], Ejected] = {}  # those that are not over, or not told to be
        self._last: dict[str, Ejected] = {}  # of each upstream

    def hear(self, message: Checked | Failing, by: int, now: float) -> News | None:
        """A worker says this. Returns what all workers have to be told. by: the worker's number."""
        if isinstance(message, Checked):
            self._note(message)
            return message
        upstream, place = message.upstream, message.place
        granted = self._ejections.ask(upstream, place, message.seconds, message.last, now)
        if granted is None:
            # It may not have heard of the last one: then it asks again.
            return self._last.get(upstream)
        ejected = Ejected(upstream, place, message.target, message.why, granted.until, granted.number, by)
        self._ejected[upstream, place] = self._last[upstream] = ejected
        lasts = duration_text(granted.until - now)
        self._report(f"upstream {upstream}: {message.target} is ejected for {lasts}: {message.why}")
        return ejected

    def _note(self, checked: Checked) -> None:
        key = checked.upstream, checked.place, checked.address
        before = self._failed.pop(key, None)
        if checked.failure:
            self._failed[key] = checked
        if bool(checked.failure) is (before is not None) or checked.is_gone:
            return
        target = f"{checked.target} at {checked.address}" if checked.address else checked.target
        what = f"is left out: health check: {checked.failure}" if checked.failure else "passes its health checks again"
        self._report(f"upstream {checked.upstream}: {target} {what}")

    # ── time ──

    @property
    def due(self) -> float:
        """When `tick` has something to do, in monotonic seconds."""
        return min((one.until for one in self._ejected.values()), default=inf)

    def tick(self, now: float) -> None:
        """Tell of ejections that are over."""
        for key, one in list(self._ejected.items()):
            if one.until <= now:
                del self._ejected[key]
                self._report(f"upstream {one.upstream}: {one.target} is not ejected any more")

    # ── who begins later, and reloads ──

    @property
    def failed(self) -> tuple[Checked, ...]:
        """What is down by its checks."""
        return tuple(self._failed.values())

    def news(self) -> list[News]:
        """All that a worker has to know that begins now."""
        ejected = {id(one): one for one in (*self._last.values(), *self._ejected.values())}
        return [*self._failed.values(), *sorted(ejected.values(), key=lambda one: one.number)]

    def renew(self, checked: Collection[str], ejecting: Collection[str]) -> None:
        """From now on only these upstreams have health checks, and only these ejections."""
        self._failed = {key: one for key, one in self._failed.items() if key[0] in checked}
        self._ejected = {key: one for key, one in self._ejected.items() if key[0] in ejecting}
        for upstream in [upstream for upstream in self._last if upstream not in ejecting]:
            del self._last[upstream]
            self._ejections.forget(upstream)
