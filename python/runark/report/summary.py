"""A report for a terminal: the numbers of the page at the cut-off that was asked for."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from runark.names import escape
from runark.report.figures import Cut, Group, Report
from runark.report.text import WHY
from runark.report.units import counted, human_bytes, human_seconds

__all__ = ["summary_lines"]

_SHOWN = 5


def summary_lines(report: Report) -> Iterator[str]:
    """The summary, line by line; names are escaped."""
    cut, scanned = report.cuts[report.start], report.scanned
    yield f"{counted(scanned['sessions'], 'session')} scanned in {human_seconds(report.seconds)}"
    yield f"{counted(cut.sums.sessions, 'session')} would go" + (f", unchanged since {cut.age}" if cut.age else "")
    share = _share(cut.inodes_freed, report.disk("inodes_used"))
    yield f"  {counted(cut.inodes_freed, 'inode')} would come free{share}"
    yield f"  {_bytes(report, cut)}"
    yield f"  {_time(report, cut)}"
    for matter in report.matters:
        yield f"needs a person: {matter.what}"
    yield from _left_alone(report, cut)
    if scanned["archives"]:
        yield f"{counted(scanned['archives'], 'archive')} already there"
    yield from _groups("owner", report.owners)
    yield from _groups("script", report.scripts)
    for full in report.full[:1]:
        yield f"{full.what} are used up on {full.day.isoformat()} if it goes on like the last four weeks"
    if report.since is not None:
        yield from _since(report)
    yield f"to do it: {report.commands.archive}{cut.option} --execute"
    yield f"to undo:  {report.commands.undo}"


def _share(number: int, used: int) -> str:
    return f" ({100 * number / used:.1f} % of those used)" if used > 0 else ""


def _bytes(report: Report, cut: Cut) -> str:
    if cut.bytes_freed is None or report.sample is None:
        return f"{human_bytes(cut.sums.allocated)} on disk; what the archives take is not known (no sample)"
    low, likely, high = (human_bytes(round(value)) for value in cut.bytes_freed)
    share = _share(round(cut.bytes_freed.likely), report.disk("used"))
    sampled = counted(report.sample.sessions, "session")
    return f"{likely} would come free net{share}; 95 %: {low} to {high}, from {sampled} really compressed"


def _time(report: Report, cut: Cut) -> str:
    if report.rate.basis == "last run":
        return f"{human_seconds(cut.seconds)} at the rate of the last run ({report.rate.archives:,} archives)"
    if report.rate.basis == "sample":
        workers = counted(report.rate.jobs, "worker")
        return f"{human_seconds(cut.seconds)} to read and compress with {workers}, by the sample; the gate not counted"
    return "how long it takes is not known (no sample)"


def _left_alone(report: Report, cut: Cut) -> Iterator[str]:
    skipped = {**report.skipped, "young": report.skipped.get("young", 0) + report.young(cut)}
    for reason, number in sorted(skipped.items()):
        if number:
            yield f"{counted(number, 'session')} left alone: {WHY.get(reason, reason)}"


def _groups(what: str, groups: tuple[Group, ...]) -> Iterator[str]:
    for group in groups[:_SHOWN] if len(groups) > 1 else ():
        name = escape(group.name) if group.name else f"{group.members:,} others"
        yield f"{what} {name}: {counted(group.total.inodes, 'inode')}, {human_bytes(group.total.allocated)}"
    if len(groups) > _SHOWN:
        yield f"... and {counted(sum(group.members for group in groups[_SHOWN:]), what)} more"


def _since(report: Report) -> Iterator[str]:
    assert report.since is not None
    changes = report.since["changes"]
    when = datetime.fromtimestamp(report.since["now_ns"] // 1_000_000_000).strftime("%Y-%m-%d %H:%M")
    yield (
        f"since the report of {when}: {changes['sessions']:+,} sessions, {changes['inodes']:+,} inodes,"
        f" {changes['archives']:+,} archives"
    )
