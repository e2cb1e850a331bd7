"""Pool the log-odds of window scores into evidence for one voice or another.

Log-odds are natural logarithms, by label and against the likeliest one: 0 for that, negative for all others. The
difference between those of two labels is the log-odds of one against the other.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from voxgender.protocol import Label, Scores, VoiceLabel

MAX_LOG_ODDS = 3.0
"""Largest log-odds between two voices that one window counts for (p = 0.953): a model is too sure of voices that it did
not learn from. Among more voices the limit is higher, so that the likeliest of them comes to the same probability."""

ERROR_CORRELATION = 0.25
"""Correlation between the errors of windows of one voice that share no audio. A model that is wrong about a speaker
tends to stay wrong, so however many windows of one voice count for no more than four independent ones."""

MIN_PROBABILITY = 0.86
"""Pooled probability from which a voice is named. The embedded model reaches it in nine tenths of speech."""

LogOdds = Mapping[VoiceLabel, float]


def log_odds(scores: Scores) -> LogOdds:
    """Return the clipped log-odds of one window."""
    logarithms = {voice: math.log(max(score, 1e-6)) for voice, score in scores.items()}
    most = max(logarithms.values())
    limit = MAX_LOG_ODDS + math.log(max(1, len(logarithms) - 1))
    return {voice: max(-limit, logarithm - most) for voice, logarithm in logarithms.items()}


def between(voice: VoiceLabel, other: VoiceLabel, log_odds: LogOdds) -> float:
    """Return the log-odds of one voice against another."""
    return log_odds.get(voice, 0.0) - log_odds.get(other, 0.0)


def likeliest(log_odds: LogOdds) -> VoiceLabel | None:
    """Return the likeliest voice; None if no voice is likelier than all others."""
    ranked = sorted(log_odds, key=log_odds.__getitem__, reverse=True)
    if not ranked or (len(ranked) > 1 and log_odds[ranked[0]] == log_odds[ranked[1]]):
        return None
    return ranked[0]


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
    weighted_log_odds: dict[VoiceLabel, float] = field(default_factory=dict)
    """Sums of their log-odds, weighted by these probabilities and faded."""
    coverage: float = 0.0
    """Length of the audio that they hold, in windows, faded."""

    def add(self, log_odds: LogOdds, *, p_voice: float = 1.0, new_share: float = 1.0) -> None:
        """Add a window.

        Args:
            log_odds: the window's log-odds, clipped.
            p_voice: probability that it holds a voice; the window counts that much.
            new_share: share of the window that no window before it held.
        """
        self.coverage += p_voice * (new_share if self.windows else 1.0)
        for voice, odds in log_odds.items():
            self.weighted_log_odds[voice] = self.weighted_log_odds.get(voice, 0.0) + p_voice * odds
        self.weight += p_voice
        self.faded_windows += 1.0
        self.windows += 1

    def fade(self, factor: float) -> None:
        """Let all windows so far count ``factor`` times as much as before."""
        self.coverage *= factor
        for voice in self.weighted_log_odds:
            self.weighted_log_odds[voice] *= factor
        self.weight *= factor
        self.faded_windows *= factor

    def merge(self, other: "Evidence") -> None:
        """Add the windows of ``other``."""
        self.coverage += other.coverage
        for voice, odds in other.weighted_log_odds.items():
            self.weighted_log_odds[voice] = self.weighted_log_odds.get(voice, 0.0) + odds
        self.weight += other.weight
        self.faded_windows += other.faded_windows
        self.windows += other.windows

    @property
    def log_odds(self) -> LogOdds:
        """Pooled log-odds; empty if no window holds a voice."""
        if self.weight <= 0:
            return {}
        independent = self.coverage / (1 + ERROR_CORRELATION * max(0.0, self.coverage - 1))
        scale = independent / self.weight
        return {voice: odds * scale for voice, odds in self.weighted_log_odds.items()}

    @property
    def p_voice(self) -> float:
        """Mean probability that there is a voice at all; 1 if there is no window."""
        return self.weight / self.faded_windows if self.faded_windows > 0 else 1.0

    @property
    def uncertainty(self) -> float:
        """Confidence of ``uncertain``: 1 if all voices are equally likely, 0 if one is certain."""
        probabilities = _softmax(self.log_odds)
        count = len(probabilities)
        return 1.0 if count < 2 else (1 - max(probabilities.values())) * count / (count - 1)

    def probability_of(self, voice: VoiceLabel) -> float:
        """Return the pooled probability of ``voice``; 0 if no window tells of it."""
        return _softmax(self.log_odds).get(voice, 0.0)

    def decide(self, min_probability: float = MIN_PROBABILITY) -> tuple[Label, float]:
        """Return the likeliest voice and its probability if it is probable enough, else ``uncertain``."""
        odds = self.log_odds
        voice = likeliest(odds)
        if voice is not None and (confidence := _softmax(odds)[voice]) >= min_probability:
            return voice, confidence
        return "uncertain", self.uncertainty


def _softmax(log_odds: LogOdds) -> dict[VoiceLabel, float]:
    """Return the probabilities of voices."""
    most = max(log_odds.values(), default=0.0)
    shares = {voice: math.exp(odds - most) for voice, odds in log_odds.items()}
    whole = sum(shares.values())
    return {voice: share / whole for voice, share in shares.items()}
