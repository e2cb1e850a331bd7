"""Define the result of one check, and how results are printed."""

import json
from collections.abc import Iterable
from typing import Literal, NamedTuple

State = Literal["ok", "warning", "failed"]


class Finding(NamedTuple):
    """The result of one check."""

    check: str
    state: State
    found: str
    """One sentence; it holds no secret."""
    advice: str = ""
    """Advice; empty if there is nothing to do."""

    def __str__(self) -> str:
        line = f"{self.state:<8} {self.check}: {self.found}"
        return f"{line}; {self.advice}" if self.advice else line


def ok(check: str, found: str) -> Finding:
    """Return a finding of a check that passed."""
    return Finding(check, "ok", found)


def warning(check: str, found: str, advice: str) -> Finding:
    """Return a finding of a problem with which calls may still work."""
    return Finding(check, "warning", found, advice)


def failed(check: str, found: str, advice: str) -> Finding:
    """Return a finding with which calls do not work."""
    return Finding(check, "failed", found, advice)


def has_failed(findings: Iterable[Finding]) -> bool:
    """Tell whether any check failed; warnings do not count."""
    return any(finding.state == "failed" for finding in findings)


def as_json(findings: Iterable[Finding]) -> str:
    """Return the findings as one JSON object."""
    listed = [finding._asdict() for finding in findings]
    return json.dumps({"ok": all(one["state"] != "failed" for one in listed), "checks": listed}, ensure_ascii=False)
