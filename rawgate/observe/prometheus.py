"""The metrics as text, in the two formats that Prometheus reads: its own, and OpenMetrics. The only door to
prometheus-client, which is optional: `rawgate[metrics]`.

Nothing is registered there and nothing counted: at each scrape a collector makes the package's values of ours, and the
package writes them.
"""

from collections.abc import Iterable, Iterator, Sequence
from importlib.util import find_spec
from itertools import accumulate
from typing import TYPE_CHECKING

from rawgate.observe import histogram
from rawgate.observe.metrics import METRICS, Facts, Metric, Value
from rawgate.observe.reading import Reading

if TYPE_CHECKING:
    from prometheus_client.metrics_core import Metric as PrometheusMetric

PACKAGE = "prometheus_client"

_LE = [*(f"{bound / 1e6!r}" for bound in histogram.BOUNDS), "+Inf"]


def is_there() -> bool:
    """Whether the package is installed."""
    return find_spec(PACKAGE) is not None


def exposition(reading: Reading, facts: Facts, accept: str) -> tuple[bytes, str]:
    """The text, and its media type: OpenMetrics for a client whose Accept field has it, else Prometheus'. Raises
    ImportError where the package is missing."""
    # Not at the start: it takes as long to import as a tenth of all else, and only who scrapes needs it.
    from prometheus_client.exposition import choose_encoder

    encode, kind = choose_encoder(accept)
    return encode(_Collector(reading, facts)), kind


class _Collector:
    """What the package asks for all metrics."""

    def __init__(self, reading: Reading, facts: Facts) -> None:
        self._reading = reading
        self._facts = facts

    def collect(self) -> "Iterator[PrometheusMetric]":
        for metric in METRICS:
            yield _family(metric, metric.read(self._reading, self._facts))


def _family(metric: Metric, samples: Iterable[tuple[tuple[str, ...], Value]]) -> "PrometheusMetric":
    from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily

    if metric.kind == "histogram":
        histograms = HistogramMetricFamily(metric.name, metric.help, labels=metric.labels)
        for labels, value in samples:
            if isinstance(value, Sequence):
                buckets = accumulate(value[: histogram.BUCKETS])
                histograms.add_metric(labels, list(zip(_LE, buckets, strict=True)), value[histogram.SUM] / 1e6)
        return histograms
    make = CounterMetricFamily if metric.kind == "counter" else GaugeMetricFamily
    family = make(metric.name, metric.help, labels=metric.labels)
    for labels, value in samples:
        if not isinstance(value, Sequence):
            family.add_metric(labels, value)
    return family
