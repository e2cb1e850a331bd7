"""Pool the log-odds of window scores into evidence for one voice or the other.

Log-odds are natural logarithms, positive for male, negative for female: swapping the voices swaps the sign.
"""

import math
from dataclasses import dataclass

from voxgender.protocol import Label, Scores, VoiceLabel

MAX_LOG_ODDS = 3.0
"""Largest log-odds that one window counts for (p = 0.953): a model is too sure of voices that it did not learn from."""

ERROR_CORRELATION = 0.25
"""Correlation between the errors of windows of one voice that share no audio. A model that is wrong about a speaker
tends to stay wrong, so however many windows of one voice count for no more than four independent ones."""

MIN_PROBABILITY = 0.88
"""Pooled probability from which a voice is named. The embedded model reaches it in nine tenths of speech."""


def log_odds(scores: Scores) -> float:
    """Return the clipped log-odds of one window."""
    odds = math.log(max(scores.male, 1e-6)) - math.log(max(scores.female, 1e-6))
    return max(-MAX_LOG_ODDS, min(MAX_LOG_ODDS, odds))


def toward(voice: VoiceLabel, log_odds: float) -> float:
    """Return the log-odds for ``voice``: positive if they speak for it."""
    return log_odds if voice == "male" else -log_odds


def probability(log_odds: float) -> float:
    return 1 / (1 + math.exp(-log_odds))


@dataclass(slots=True)
class Evidence:
    """Windows pooled into one probability, in constant memory.

    Overlapping windows share audio: each counts in the *mean* of the log-odds, but only its new part in the
    *coverage*, the length of the audio in windows. The pooled log-odds are the mean times the effective number of
    independent windows, ``n / (1 + (n - 1) * rho)`` (design effect of cluster sampling, Kish 1965).
    """

    windows: int = 0
    """Windows added."""
    faded_windows: float = 0.0
    """Windows added, older ones counting less (:meth:`fade`)."""
    weight: float = 0.0
    """Sum of the probabilities that they hold a voice, faded."""
    weighted_log_odds: float = 0.0
    """Sum of their log-odds, weighted by these probabilities and faded."""
    coverage: float = 0.0
    """Length of the audio that they hold, in windows, faded."""

    def add(self, log_odds: float, *, p_voice: float = 1.0, new_share: float = 1.0) -> None:
        """Add a window.

        Args:
            log_odds: the window's log-odds, clipped.
            p_voice: probability that it holds a voice; the window counts that much.
            new_share: share of the window that no window before it held.
        """
        self.coverage += p_voice * (new_share if self.windows else 1.0)
        self.weighted_log_odds += p_voice * log_odds
        self.weight += p_voice
        self.faded_windows += 1.0
        self.windows += 1

    def fade(self, factor: float) -> None:
        """Let all windows so far count ``factor`` times as much as before."""
        self.coverage *= factor
        self.weighted_log_odds *= factor
        self.weight *= factor
        self.faded_windows *= factor

    def merge(self, other: "Evidence") -> None:
        """Add the windows of ``other``."""
        self.coverage += other.coverage
        self.weighted_log_odds += other.weighted_log_odds
        self.weight += other.weight
        self.faded_windows += other.faded_windows
        self.windows += other.windows

    @property
    def log_odds(self) -> float:
        """Pooled log-odds; 0 if no window holds a voice."""
        if self.weight <= 0:
            return 0.0
        independent = self.coverage / (1 + ERROR_CORRELATION * max(0.0, self.coverage - 1))
        return self.weighted_log_odds / self.weight * independent

    @property
    def p_voice(self) -> float:
        """Mean probability that there is a voice at all; 1 if there is no window."""
        return self.weight / self.faded_windows if self.faded_windows > 0 else 1.0

    @property
    def uncertainty(self) -> float:
        """Confidence of ``uncertain``: 1 if both voices are equally likely, 0 if one is certain."""
        return 2 * probability(-abs(self.log_odds))

    def probability_of(self, voice: VoiceLabel) -> float:
        """Return the pooled probability of ``voice``."""
        return probability(toward(voice, self.log_odds))

    @property
    def likelier(self) -> VoiceLabel | None:
        """The likelier voice; None if neither is."""
        odds = self.log_odds
        if odds == 0:
            return None
        return "male" if odds > 0 else "female"

    def decide(self, min_probability: float = MIN_PROBABILITY) -> tuple[Label, float]:
        """Return the likelier voice and its probability if it is probable enough, else ``uncertain``."""
        voice = self.likelier
        if voice is not None and (confidence := self.probability_of(voice)) >= min_probability:
            return voice, confidence
        return "uncertain", self.uncertainty
