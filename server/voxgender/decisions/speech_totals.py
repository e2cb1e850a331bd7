"""Add up a whole call's speech for its summary."""

from voxgender.protocol import Label, Segment, Summary


class SpeechTotals:
    """Speech of finished segments by label, without the pauses inside them."""

    def __init__(self) -> None:
        self._seconds: dict[Label, float] = {"male": 0.0, "female": 0.0, "uncertain": 0.0}
        """Labels that have an own field of the summary come first."""
        self._segments = 0

    def add(self, segment: Segment, *, speech_s: float) -> None:
        self._seconds[segment.label] = self._seconds.get(segment.label, 0.0) + speech_s
        self._segments += 1

    def summary(self, *, duration: float) -> Summary:
        male, female, uncertain, *_ = self._seconds.values()
        return Summary(
            duration=duration,
            speech=sum(self._seconds.values()),
            male=male,
            female=female,
            uncertain=uncertain,
            segments=self._segments,
            others=dict(list(self._seconds.items())[3:]),
        )
