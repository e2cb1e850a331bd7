"""Evidence for one voice or the other: log-odds of window scores, pooled.

Log-odds are natural logarithms, positive for male, negative for female: swapping the voices swaps the sign.
"""

import math
from dataclasses import dataclass

from voxgender.protocol import Label, Scores, Voice

LIMIT = 3.0
"""No window says more than this (p = 0.953): a model's own certainty is worth little on a voice new to it."""

LIKENESS = 0.25
"""Correlation between the errors of windows of one voice that share no audio. A model that is wrong about a
speaker tends to stay wrong, so a minute of speech is worth four seconds' certainty, not sixty's."""

CERTAIN = 0.88
"""Pooled probability from which a voice is named: with the embedded model, in nine tenths of speech."""


def log_odds(scores: Scores) -> float:
    """Return the clipped log-odds of one window."""
    odds = math.log(max(scores.male, 1e-6)) - math.log(max(scores.female, 1e-6))
    return max(-LIMIT, min(LIMIT, odds))


def toward(voice: Voice, log_odds: float) -> float:
    """Return the log-odds for ``voice``: positive if they speak for it."""
    return log_odds if voice == "male" else -log_odds


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
    odds: float = 0.0
    """Sum of their log-odds, so weighed."""
    coverage: float = 0.0

    def add(self, log_odds: float, *, voice: float = 1.0, unheard: float = 1.0) -> None:
        """Take in a window.

        Args:
            log_odds: of the window, clipped.
            voice: probability that it holds a voice; the window counts that much.
            unheard: share of the window that no window before it held.
        """
        self.coverage += voice * (unheard if self.windows else 1.0)
        self.odds += voice * log_odds
        self.weight += voice
        self.seen += 1.0
        self.windows += 1

    def fade(self, factor: float) -> None:
        """Let what was heard so far count ``factor`` times as much as before."""
        self.coverage *= factor
        self.odds *= factor
        self.weight *= factor
        self.seen *= factor

    def merge(self, other: "Evidence") -> None:
        """Take in all that ``other`` heard."""
        self.coverage += other.coverage
        self.odds += other.odds
        self.weight += other.weight
        self.seen += other.seen
        self.windows += other.windows

    @property
    def log_odds(self) -> float:
        """Pooled; 0 where nothing was heard."""
        if self.weight <= 0:
            return 0.0
        independent = self.coverage / (1 + LIKENESS * max(0.0, self.coverage - 1))
        return self.odds / self.weight * independent

    @property
    def voice(self) -> float:
        """Mean probability that there is a voice at all; 1 where no window says otherwise."""
        return self.weight / self.seen if self.seen > 0 else 1.0

    @property
    def undecided(self) -> float:
        """Confidence of ``uncertain``: 1 where nothing speaks for either voice, 0 where one is sure."""
        return 2 * probability(-abs(self.log_odds))

    def for_voice(self, voice: Voice) -> float:
        """Return the pooled probability of ``voice``."""
        return probability(toward(voice, self.log_odds))

    @property
    def leaning(self) -> Voice | None:
        """The likelier voice; None where neither is."""
        odds = self.log_odds
        if odds == 0:
            return None
        return "male" if odds > 0 else "female"

    def verdict(self, certain: float = CERTAIN) -> tuple[Label, float]:
        """Return the likelier voice and its probability if that reaches ``certain``, else ``uncertain``."""
        voice = self.leaning
        if voice is not None and (confidence := self.for_voice(voice)) >= certain:
            return voice, confidence
        return "uncertain", self.undecided
