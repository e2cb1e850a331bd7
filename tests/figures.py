"""Read metrics as a scrape does."""

from prometheus_client import Counter, Gauge


def value_of(metric: Counter | Gauge) -> float:
    """Return the present value of a counter or gauge, or of one of its children."""
    (family,) = metric.collect()
    return family.samples[0].value
