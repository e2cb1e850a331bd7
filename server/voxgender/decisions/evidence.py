"""Evidence for one voice or another: log-odds of window scores, pooled.

Log-odds are natural logarithms, by label and against the likeliest one: 0 for that, negative for all others. The
difference between those of two labels is the log-odds of one against the other.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from voxgender.protocol import Label, Scores, Voice

LIMIT = 3.0
"""No window says more than this between two voices (p = 0.953): a model's own certainty is worth little on a voice new
to it. Among more voices the limit is higher, so that the likeliest of them comes to the same probability."""

LIKENESS = 0.25
"""Correlation between the errors of windows of one voice that share no audio. A model that is wrong about a
speaker tends to stay wrong, so a minute of speech is worth four seconds' certainty, not sixty's."""

CERTAIN = 0.88
"""Pooled probability from which a voice is named: with the embedded model, in nine tenths of speech."""

Odds = Mapping[Voice, float]


def log_odds(scores: Scores) -> Odds:
    """Return the clipped log-odds of one window."""
    logarithms = {voice: math.log(max(score, 1e-6)) for voice, score in scores.items()}
    most = max(logarithms.values())
    limit = LIMIT + math.log(max(1, len(logarithms) - 1))
    return {voice: max(-limit, logarithm - most) for voice, logarithm in logarithms.items()}


def between(voice: Voice, other: Voice, odds: Odds) -> float:
    """Return the log-odds of one voice against another."""
    return odds.get(voice, 0.0) - odds.get(other, 0.0)


def leading(odds: Odds) -> Voice | None:
    """Return the likeliest voice; None if no voice is likelier than all others."""
    ranked = sorted(odds, key=odds.__getitem__, reverse=True)
    if not ranked or (len(ranked) > 1 and odds[ranked[0]] == odds[ranked[1]]):
        return None
    return ranked[0]


def probability(log_odds: float) -> float:
    return 1 / (1 + math.exp(-log_odds))


@dataclass(slots=True)
class Evidence:
    """Windows pooled into one probability, in constant memory.

    Overlapping windows share audio: each counts in the *mean* of the log-odds, but only its unheard part in the
    *coverage*, the audio heard in windows' worth. The pooled log-odds are the mean times the effective
    number of independent windows, ``n / (1 + (n - 1) * rho)`` (design effect of cluster sampling, Kish 1965).
    """

    windows: int = 0
    """Windows taken in, faded or not."""
    seen: float = 0.0
    """The same, faded."""
    weight: float = 0.0
    """Sum of the probabilities that they hold a voice."""
    odds: dict[Voice, float] = field(default_factory=dict)
    """Sums of their log-odds, so weighed."""
    coverage: float = 0.0

    def add(self, log_odds: Odds, *, voice: float = 1.0, unheard: float = 1.0) -> None:
        """Take in a window.

        Args:
            log_odds: of the window, clipped.
            voice: probability that it holds a voice; the window counts that much.
            unheard: share of the window that no window before it held.
        """
        self.coverage += voice * (unheard if self.windows else 1.0)
        for label, odds in log_odds.items():
            self.odds[label] = self.odds.get(label, 0.0) + voice * odds
        self.weight += voice
        self.seen += 1.0
        self.windows += 1

    def fade(self, factor: float) -> None:
        """Let what was heard so far count ``factor`` times as much as before."""
        self.coverage *= factor
        for label in self.odds:
            self.odds[label] *= factor
        self.weight *= factor
        self.seen *= factor

    def merge(self, other: "Evidence") -> None:
        """Take in all that ``other`` heard."""
        self.coverage += other.coverage
        for label, odds in other.odds.items():
            self.odds[label] = self.odds.get(label, 0.0) + odds
        self.weight += other.weight
        self.seen += other.seen
        self.windows += other.windows

    @property
    def log_odds(self) -> Odds:
        """Pooled; nothing if nothing was heard."""
        if self.weight <= 0:
            return {}
        independent = self.coverage / (1 + LIKENESS * max(0.0, self.coverage - 1))
        scale = independent / self.weight
        return {voice: odds * scale for voice, odds in self.odds.items()}

    @property
    def voice(self) -> float:
        """Mean probability that there is a voice at all; 1 where no window says otherwise."""
        return self.weight / self.seen if self.seen > 0 else 1.0

    @property
    def undecided(self) -> float:
        """Confidence of ``uncertain``: 1 where nothing speaks for any voice, 0 where one is sure."""
        odds = self.log_odds
        if len(odds) < 2:
            return 1.0
        return (1 - max(_probabilities(odds).values())) * len(odds) / (len(odds) - 1)

    def for_voice(self, voice: Voice) -> float:
        """Return the pooled probability of ``voice``; 0 if no window knows it."""
        return _probabilities(self.log_odds).get(voice, 0.0)

    def verdict(self, certain: float = CERTAIN) -> tuple[Label, float]:
        """Return the likeliest voice and its probability if that reaches ``certain``, else ``uncertain``."""
        odds = self.log_odds
        voice = leading(odds)
        if voice is not None and (confidence := _probabilities(odds)[voice]) >= certain:
            return voice, confidence
        return "uncertain", self.undecided


def _probabilities(odds: Odds) -> dict[Voice, float]:
    """Return the softmax of log-odds."""
    most = max(odds.values(), default=0.0)
    shares = {voice: math.exp(one - most) for voice, one in odds.items()}
    whole = sum(shares.values())
    return {voice: share / whole for voice, share in shares.items()}
