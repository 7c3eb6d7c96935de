"""What a scraper expects of /metrics, beyond what the package's own parser refuses: the rules of `promtool check
metrics`, and those of histograms."""

import re
from collections.abc import Iterable

from prometheus_client.metrics_core import Metric
from prometheus_client.openmetrics.parser import text_string_to_metric_families as open_metrics
from prometheus_client.parser import text_string_to_metric_families as prometheus

NAME = re.compile(r"rawgate_[a-z]+(?:_[a-z]+)*")
NO_BASE_UNIT = re.compile(r"_(?:milliseconds|ms|minutes|hours|kilobytes|kb|percent)\b")

Series = dict[tuple[str, frozenset[tuple[str, str]]], float]
"""(name, labels) → value."""


def parsed(text: str, *, is_open: bool = False) -> list[Metric]:
    """The families of a whole text, which has to keep the rules."""
    families = list((open_metrics if is_open else prometheus)(text))
    broken = [*broken_rules(families), *([] if is_open else repeated_lines(text))]
    assert broken == []
    return families


def series(families: Iterable[Metric]) -> Series:
    return {(one.name, frozenset(one.labels.items())): one.value for family in families for one in family.samples}


def value(found: Series, name: str, **labels: str) -> float:
    return found[name, frozenset(labels.items())]


def repeated_lines(text: str) -> list[str]:
    """HELP or TYPE of a name given twice, or not given, or after its samples."""
    broken = []
    said: dict[tuple[str, str], int] = {}
    for at, line in enumerate(text.splitlines()):
        if line.startswith("# "):
            _, kind, name, *_ = line.split(" ", 3)
            if (kind, name) in said:
                broken.append(f"a second {kind} of {name}")
            said[kind, name] = at
    for name in {name for _, name in said}:
        broken += [f"no {kind} of {name}" for kind in ("HELP", "TYPE") if (kind, name) not in said]
    return broken


def broken_rules(families: Iterable[Metric]) -> list[str]:
    broken = []
    seen: set[tuple[str, frozenset[tuple[str, str]]]] = set()
    for family in families:
        if not NAME.fullmatch(family.name) or NO_BASE_UNIT.search(family.name):
            broken.append(f"{family.name} is no good name")
        if not family.documentation:
            broken.append(f"{family.name} has no HELP")
        for sample in family.samples:
            key = sample.name, frozenset(sample.labels.items())
            if key in seen:
                broken.append(f"{key} twice")
            seen.add(key)
            if (family.type == "counter") != sample.name.endswith("_total"):
                broken.append(f"{sample.name} of a {family.type}: _total is for counters")
            if sample.value < 0:
                broken.append(f"{sample.name} is {sample.value}")
        if family.type == "histogram":
            broken += _broken_histograms(family)
    return broken


def _broken_histograms(family: Metric) -> list[str]:
    broken = []
    buckets: dict[frozenset[tuple[str, str]], list[tuple[float, float]]] = {}
    counts: dict[frozenset[tuple[str, str]], float] = {}
    for sample in family.samples:
        labels = frozenset((name, text) for name, text in sample.labels.items() if name != "le")
        if sample.name.endswith("_bucket"):
            buckets.setdefault(labels, []).append((float(sample.labels["le"]), sample.value))
        elif sample.name.endswith("_count"):
            counts[labels] = sample.value
        elif not sample.name.endswith("_sum"):
            broken.append(f"{sample.name} in a histogram")
    for labels, cells in buckets.items():
        bounds, values = [bound for bound, _ in cells], [count for _, count in cells]
        if bounds != sorted(set(bounds)) or bounds[-1] != float("inf"):
            broken.append(f"{family.name}{dict(labels)}: bounds {bounds}")
        if values != sorted(values) or values[-1] != counts.get(labels):
            broken.append(f"{family.name}{dict(labels)}: counts {values} of {counts.get(labels)}")
    if set(buckets) != set(counts):
        broken.append(f"{family.name}: counts without buckets")
    return broken
