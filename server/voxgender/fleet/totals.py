"""Sum the Prometheus metrics of several processes."""

from collections.abc import Iterable, Iterator

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

_SMALLEST = ("process_start_time_seconds",)
_SAME = ("python_info",)


def total(texts: Iterable[str]) -> bytes:
    """Sum Prometheus texts: counters, gauges and histograms of the same name and labels.

    The earliest of start times is kept, and ``python_info`` is kept as it is.
    """
    families: dict[str, Metric] = {}
    values: dict[str, dict[tuple[str, tuple[tuple[str, str], ...]], float]] = {}
    for text in texts:
        for family in text_string_to_metric_families(text):
            families.setdefault(family.name, family)
            samples = values.setdefault(family.name, {})
            for sample in family.samples:
                key = (sample.name, tuple(sample.labels.items()))
                before = samples.get(key)
                samples[key] = sample.value if before is None else _joined(sample.name, before, sample.value)
    registry = CollectorRegistry()
    registry.register(_Totals(families, values))
    return generate_latest(registry)


def _joined(name: str, one: float, other: float) -> float:
    if name in _SMALLEST or name.endswith("_created"):
        return min(one, other)
    return one if name in _SAME else one + other


class _Totals(Collector):
    def __init__(
        self,
        families: dict[str, Metric],
        values: dict[str, dict[tuple[str, tuple[tuple[str, str], ...]], float]],
    ) -> None:
        self._families = families
        self._values = values

    def collect(self) -> Iterator[Metric]:
        for name, family in self._families.items():
            summed = Metric(name, family.documentation, family.type)
            for (sample, labels), value in self._values[name].items():
                summed.add_sample(sample, dict(labels), value)
            yield summed
