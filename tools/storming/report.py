"""What clients and targets saw of a storm, as figures, and the figures as tables."""

from collections import Counter
from collections.abc import Sequence

from msgspec import Struct

from harness.upstreams import Seen
from tools.storming.clients import LOST, TIMED_OUT, Answered
from tools.storming.storms import Storm

LITTLE = 0.01
"""The share of the load below which a target counts as left alone."""
WINDOW = 1.0
"""Seconds in which such a share is taken."""


class Figures(Struct, frozen=True):
    """One storm, one gateway. Of the clients: over the whole run. Of the targets: while something was wrong.

    failed, failed_posts   requests without a response below 500, and the POSTs among them
    last_failure           seconds from when something was wrong until the last failed request was due, which
                           may have been before; None: none failed
    p50, p99, longest      milliseconds, failed requests included
    statuses               how many had which; "lost": the connection ended; "time-out": nothing came within 10 s
    load                   attempts at targets, a hundred for a hundred requests of clients
    repeated               attempts beyond the first of each request, in percent of requests that reached a target
    repeated_posts         POSTs that more than one target got
    bad_share              percent of the attempts that bad targets got; None where none is bad
    left_alone             seconds until bad targets first got less than a hundredth of a second's attempts; None: never
    peak                   the most requests that one target had at once
    checks                 requests for the health of all targets
    late                   milliseconds that the clients themselves were behind, at most
    """

    storm: str
    gateway: str
    requests: int
    failed: int
    failed_posts: int
    last_failure: float | None
    p50: float
    p99: float
    longest: float
    statuses: dict[str, int]
    load: float
    repeated: float
    repeated_posts: int
    bad_share: float | None
    left_alone: float | None
    peak: int
    checks: int
    late: float


def figures(
    storm: Storm, gateway: str, began: float, answered: Sequence[Answered], seen: Sequence[Seen], late: float
) -> Figures:
    """began: when the storm's time is 0, in monotonic seconds."""
    begins, ends = began + storm.begins, began + storm.ends
    taken = sorted(one.seconds * 1000 for one in answered)
    arrivals = sorted(
        (arrival.at, arrival.path, number)
        for number, target in enumerate(seen)
        for arrival in target.arrivals
        if begins <= arrival.at < ends
    )
    reached = {path for _, path, _ in arrivals}
    asked = sum(begins <= one.due < ends for one in answered)
    posts = Counter(arrival.path for target in seen for arrival in target.arrivals if arrival.method == "POST")
    partly_bad = 0 < len(storm.bad) < len(seen)
    bad = [at for at, _, number in arrivals if number in storm.bad]
    return Figures(
        storm=storm.name,
        gateway=gateway,
        requests=len(answered),
        failed=sum(one.failed for one in answered),
        failed_posts=sum(one.failed for one in answered if one.method == "POST"),
        last_failure=max((one.due - begins for one in answered if one.failed), default=None),
        p50=taken[len(taken) // 2],
        p99=taken[len(taken) * 99 // 100],
        longest=taken[-1],
        statuses={name_of(status): count for status, count in sorted(Counter(one.status for one in answered).items())},
        load=100 * len(arrivals) / asked,
        repeated=100 * (len(arrivals) - len(reached)) / max(1, len(reached)),
        repeated_posts=sum(count > 1 for count in posts.values()),
        bad_share=100 * len(bad) / max(1, len(arrivals)) if partly_bad else None,
        left_alone=left_alone([at for at, _, _ in arrivals], bad, begins, ends) if partly_bad else None,
        peak=max(target.peak for target in seen),
        checks=sum(target.checks for target in seen),
        late=late * 1000,
    )


def left_alone(all_at: Sequence[float], bad_at: Sequence[float], begins: float, ends: float) -> float | None:
    """Seconds after `begins` at which the first window starts in which bad targets get less than LITTLE of the load. It
    starts with the storm, or just after an attempt at a bad target."""
    for start in (begins, *bad_at):
        if start + WINDOW > ends:
            break
        total = sum(start < at <= start + WINDOW for at in all_at)
        if total and sum(start < at <= start + WINDOW for at in bad_at) < LITTLE * total:
            return start - begins
    return None


def name_of(status: int) -> str:
    return {LOST: "lost", TIMED_OUT: "time-out"}.get(status, str(status))


def tables(rows: Sequence[Figures]) -> str:
    """Two, in Markdown: what clients saw, what targets saw."""
    clients = [
        ("storm", "gateway", "requests", "failed", "POSTs of these", "last after s", "p50 ms", "p99 ms", "by status"),
        ("---", "---", *("--:",) * 6, "---"),
        *map(of_clients, rows),
    ]
    targets = [
        ("storm", "gateway", "load %", "repeated %", "bad share %", "left alone after s", "most at once"),
        ("---", "---", *("--:",) * 5),
        *map(of_targets, rows),
    ]
    return "\n\n".join("\n".join(f"| {' | '.join(line)} |" for line in lines) for lines in (clients, targets))


def of_clients(row: Figures) -> tuple[str, ...]:
    return (
        row.storm,
        row.gateway,
        f"{row.requests:,}",
        f"{row.failed:,} ({100 * row.failed / row.requests:.1f} %)",
        f"{row.failed_posts:,}",
        "–" if row.last_failure is None else f"{max(0.0, row.last_failure):.1f}",
        f"{row.p50:.0f}",
        f"{row.p99:,.0f}",
        ", ".join(f"{name}: {count:,}" for name, count in row.statuses.items()),
    )


def of_targets(row: Figures) -> tuple[str, ...]:
    alone = "never" if row.left_alone is None else f"{row.left_alone:.1f}"
    share = ("", "") if row.bad_share is None else (f"{row.bad_share:.1f}", alone)
    return (row.storm, row.gateway, f"{row.load:.0f}", f"{row.repeated:.0f}", *share, f"{row.peak}")
