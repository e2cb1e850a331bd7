"""Turn window scores into a steady label, changes of voice, segments and a summary. No I/O."""

from voxgender.decisions.decider import Decider, Decision
from voxgender.decisions.evidence import Evidence
from voxgender.decisions.observation import Observation, Span

__all__ = ["Decider", "Decision", "Evidence", "Observation", "Span"]
