"""Describe the outcome of a call or of a load in sentences."""

import math

from voxgender.peer.loadreport import LoadReport, Progress
from voxgender.peer.report import IN_TIME_MS, Latency, Report
from voxgender.protocol import AnyMessage, Label, Summary

WORDS: dict[Label, str] = {"male": "Male", "female": "Female", "uncertain": "Uncertain", "no_speech": "no speech"}

_BAR = 20
_WHY_NOT_HELD = {
    "silent": "results did not keep coming",
    "dropped": "windows were dropped",
    "late": f"more than 5 % of their results came later than {IN_TIME_MS:.0f} ms",
}


def label_line(at: float, label: Label, confidence: float) -> str:
    """Return a line with the label at a time, and its confidence."""
    line = f"{at:7.2f} s  {word(label)}"
    return line if label == "no_speech" else f"{line:<20} {confidence:4.0%}"


def word(label: Label) -> str:
    """Return a label as it is shown to people."""
    return WORDS.get(label, label)


def side(message: AnyMessage) -> str:
    """Return the voice or channel that a message is about, as a prefix of its line; empty in a call of one voice."""
    return "" if message.channel is None else f"[{getattr(message, 'name', None) or message.channel}] "


def summed(summary: Summary) -> str:
    """Return a summary as a line."""
    return (
        f"{summary.duration:.1f} s of audio, {summary.speech:.1f} s of speech in {summary.segments} "
        f"{'segment' if summary.segments == 1 else 'segments'}: male {summary.male:.1f} s, "
        f"female {summary.female:.1f} s, uncertain {summary.uncertain:.1f} s"
        + "".join(f", {label} {seconds:.1f} s" for label, seconds in summary.others.items())
    )


def sentences(report: Report) -> list[str]:
    """Return the outcome of a call as lines."""
    lines = [f"[{name}] {line}" for name, voice in report.voices.items() for line in _turns(voice)]
    lines += _turns(report)
    lines.append(
        f"{report.results} results, {report.lost_results} lost, {report.unordered_results} out of order; "
        f"connected in {report.connect_ms:.0f} ms"
    )
    if report.latency_ms is not None:
        lines.append(f"latency, last packet sent to result received: {_percentiles(report.latency_ms)}")
    if report.server_latency_ms is not None:
        lines.append(f"of that in the server: {_percentiles(report.server_latency_ms)}")
    for recovery_ms in report.recovery_ms:
        when = "never" if recovery_ms is None else f"after {recovery_ms:.0f} ms"
        lines.append(f"in time again after the outage: {when}")
    return lines


def _turns(report: Report) -> list[str]:
    """Return how a voice was labelled, or all voices of a call: the sums, and when each turn was."""
    lines = [] if report.summary is None else [summed(report.summary)]
    for turn in report.turns:
        who = "a voice" if turn.label is None else f"the {turn.label} voice"
        delay = "not heard" if turn.delay_ms is None else f"heard after {turn.delay_ms:.0f} ms"
        lines.append(f"{who} that began at {turn.start:.2f} s: {delay}")
    return lines


def load_sentences(report: LoadReport) -> list[str]:
    """Return the outcome of a load as lines."""
    lines = [f"{report.held} of {report.asked} calls held for {report.seconds:.0f} s"]
    lines += [f"  {count} up, but {_WHY_NOT_HELD[reason]}" for reason, count in report.not_held.items()]
    lines += [f"  {count} failed: {reason}" for reason, count in report.failed.items()]
    lines.append(
        f"{report.results} results, {report.results_per_s:.0f} a second, {report.lost_results} lost on the way"
    )
    if report.dropped_windows is not None:
        lines.append(f"{report.dropped_windows} windows dropped by the server")
    lines += [f"  {count} warnings: {code}" for code, count in report.warnings.items()]
    if report.latency_ms is not None:
        lines.append(f"latency, last packet sent to result received: {_percentiles(report.latency_ms)}")
    if report.worst_call_ms is not None:
        lines.append(f"  of the worst call: {_percentiles(report.worst_call_ms)}")
    if report.server_latency_ms is not None:
        lines.append(f"  of that in the server: {_percentiles(report.server_latency_ms)}")
    lines += [f"    {stage}: {_percentiles(latency)}" for stage, latency in report.server_stages_ms.items()]
    if report.first_result_ms is not None:
        lines.append(f"first result after the offer: {_percentiles(report.first_result_ms)}")
    if report.recovery_ms is not None:
        lines.append(f"in time again after the outage: {_percentiles(report.recovery_ms)}")
    if report.not_recovered:
        lines.append(f"{report.not_recovered} calls were not in time again after the outage")
    if report.server_cpu_percent is not None:
        lines.append(
            f"server CPU {report.server_cpu_percent:.0f} % of a core, {report.server_cpu_percent_per_call:.2f} % a call"
        )
    if report.server_memory_mb is not None:
        lines.append(
            f"server memory {report.server_memory_mb:.0f} MB, {report.server_memory_mb_per_call:.2f} MB more a call"
        )
    lines.append(
        f"the callers themselves: {report.callers_cpu_percent:.0f} % of a core, "
        f"{report.callers_cpu_percent_per_call:.2f} % a call"
    )
    return lines


def progress_line(progress: Progress, peers: int, seconds: float) -> str:
    """Return a progress line: how far the run is, and its figures now."""
    holding = progress.seconds_left > 0
    share = 1 - progress.seconds_left / seconds if holding else progress.up / peers
    bar = "█" * round(share * _BAR)
    left = f"{progress.seconds_left:.0f} s left" if holding else "placing calls"
    p95 = "–" if math.isnan(progress.p95_ms) else f"{progress.p95_ms:.0f} ms"
    failed = f", {progress.failed} failed" if progress.failed else ""
    return (
        f"{bar:<{_BAR}} {progress.up} of {peers} calls up{failed}, {progress.results_per_s:.0f} results/s, "
        f"p95 {p95}, {progress.drops} drops, {left}"
    )


def _percentiles(latency: Latency) -> str:
    return f"p50 {latency.p50:.0f} ms, p95 {latency.p95:.0f} ms, p99 {latency.p99:.0f} ms"
