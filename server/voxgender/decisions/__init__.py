"""From window scores to what a user reads: a steady label, changes of voice, segments, a summary. No I/O."""

from voxgender.decisions.decider import Decider, Verdict
from voxgender.decisions.evidence import Evidence
from voxgender.decisions.observation import Observation, Span

__all__ = ["Decider", "Evidence", "Observation", "Span", "Verdict"]
