"""Text for people. Names are escaped, so one line is one session whatever it is called."""

from __future__ import annotations

import stat
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from typing import TYPE_CHECKING, TextIO

from runark.archive.owners import user_name
from runark.engine.protocol import STATUSES, Fault, Member, Outcome, Seal
from runark.names import escape
from runark.report.units import counted, human_age, human_bytes, human_seconds

if TYPE_CHECKING:  # one command's text needs only what that command has imported
    from runark.archive.doctor import Finding
    from runark.archive.list import Listed
    from runark.archive.nightly import Night
    from runark.archive.plan import Plan
    from runark.archive.restore import RestorePlan
    from runark.archive.result import Result
    from runark.archive.scan import Scan

__all__ = [
    "FAULTS_SHOWN",
    "WHY",
    "fault_lines",
    "finding_lines",
    "list_lines",
    "member_lines",
    "night_lines",
    "outcome_line",
    "plan_lines",
    "restore_plan_lines",
    "result_lines",
    "scan_lines",
    "write_lines",
]

FAULTS_SHOWN = 50

_owner = lru_cache(maxsize=None)(user_name)

WHY = {
    "running": "below RUNNING/",
    "marked": "marked with .keep or .noarchive",
    "status": "other status",
    "owner": "other owner",
    "mtime": "changed outside the time asked for",
    "young": "changed too recently",
    "old": "not changed recently",
    "size": "other size",
    "device": "mount point",
    "unreadable": "unreadable",
    "alive": "still running by its record",
    "cwd": "holds the working directory",
    "keep-last": "among the newest of its script (keep-last)",
    "keep-within": "begun lately (keep-within)",
    "keep-tag": "has a tag (keep-tag)",
}


def write_lines(stream: TextIO, lines: Iterable[str]) -> None:
    """Write the lines, each with its end."""
    for line in lines:
        stream.write(line + "\n")


# ------------------------------------------------------------------------------------------------ scan, plan


def scan_lines(scan: Scan, sort: str = "path", limit: int = 0) -> Iterator[str]:
    """The table of the selected sessions and a line that sums it up. `limit`: at most so many rows, 0 for all."""
    rows = scan.ordered(sort)
    yield from _table(scan, rows, limit)
    yield _total(scan, "found", len(rows))
    yield from _left_alone(scan.columns.skipped)


def plan_lines(plan: Plan, limit: int = 0) -> Iterator[str]:
    """What would be archived, what is left alone and why, and what would come free."""
    scan = plan.scan
    rows = [row for row in plan.jobs.rows if row >= 0]
    yield from _table(scan, rows, limit)
    yield f"{counted(len(plan.jobs), 'session')} to archive" + _freed(plan)
    states = {
        "S1": "packed before and not finished: packed again",
        "S2": "beside an archive: compared with it first",
        "S3": "archived and partly removed: finished",
    }
    for state, number in plan.resumed.items():
        yield f"  of these {number:,} {states[state]}"
    if plan.left:
        yield f"{counted(plan.left, 'session')} more, beyond --max-sessions or --max-bytes"
    yield from _left_alone(plan.skipped)
    if plan.found.get("archive"):
        yield f"{counted(plan.found['archive'], 'archive')} already there"
    if plan.found.get("aside"):
        aside = counted(plan.found["aside"], "archive")
        yield f"{aside} set aside by earlier runs (.*.damaged-*, .*.superseded-*): look at them"


def _freed(plan: Plan) -> str:
    if not plan.scan.measured:
        return ""
    return (
        f": {counted(plan.sum('inodes'), 'inode')} and {human_bytes(plan.sum('allocated'))} on disk come free;"
        f" the archives take {counted(plan.new_archives, 'inode')} ({plan.inodes_freed:,} net)"
        f" and, before compression, {human_bytes(plan.sum('size'))}"
    )


def _total(scan: Scan, what: str, number: int) -> str:
    line = f"{counted(number, 'session')} {what}"
    if scan.measured:
        line += (
            f": {counted(scan.sum('inodes'), 'inode')}, {human_bytes(scan.sum('size'))}"
            f" ({human_bytes(scan.sum('allocated'))} on disk)"
        )
    return line


def _left_alone(skipped: Mapping[str, int]) -> Iterator[str]:
    for reason, number in sorted(skipped.items()):
        if number:
            yield f"{counted(number, 'session')} left alone: {WHY.get(reason, reason)}"


def _times(scan: Scan) -> memoryview[int]:
    return scan.column("newest_ns" if scan.measured else "mtime_ns")


def _table(scan: Scan, rows: Sequence[int], limit: int) -> Iterator[str]:
    if not len(rows):
        return
    times, uids, columns = _times(scan), scan.column("uid"), scan.columns
    inodes, size = scan.column("inodes"), scan.column("size")
    measured = f"{'INODES':>9}  {'SIZE':>8}  " if scan.measured else ""
    yield f"{'STATUS':<8}  {'LAYOUT':<8}  {'OWNER':<10}  {'AGE':>5}  {measured}PATH"
    shown = len(rows) if limit <= 0 else min(limit, len(rows))
    for row in rows[:shown]:
        measured = f"{inodes[row]:>9,}  {human_bytes(size[row]):>8}  " if scan.measured else ""
        yield (
            f"{STATUSES[columns.status[row]]:<8}  {scan.layouts[columns.layout[row]].name:<8}  "
            f"{_owner(uids[row]):<10}  {human_age(scan.now_ns - times[row]):>5}  {measured}{escape(scan.path(row))}"
        )
    if shown < len(rows):
        yield f"... and {counted(len(rows) - shown, 'session')} more (--limit 0 shows all)"


# ------------------------------------------------------------------------------------------------ results


def restore_plan_lines(plan: RestorePlan, content: int, entries: int, unsealed: int, limit: int = 0) -> Iterator[str]:
    """What would be restored, and what is left alone and why."""
    shown = len(plan.jobs) if limit <= 0 else min(limit, len(plan.jobs))
    for job in plan.jobs[:shown]:
        yield f"{escape(job.archive)} -> {escape(job.dest)}"
    if shown < len(plan.jobs):
        yield f"... and {counted(len(plan.jobs) - shown, 'archive')} more (--limit 0 shows all)"
    size = f"{counted(entries, 'inode')}, {human_bytes(content)} by their seals"
    yield f"{counted(len(plan.jobs), 'archive')} to restore: {size}"
    if unsealed:
        yield f"  of these {unsealed:,} without a readable seal, of unknown size"
    for reason, number in sorted(plan.skipped.items()):
        yield f"{counted(number, 'archive')} left alone: {reason}"


_VERBS = {
    "archive": ("archived", "trashed", "kept", "skipped", "changed", "failed", "cancelled"),
    "purge": ("purged", "skipped", "changed", "failed", "cancelled"),
    "undo": ("undone", "failed"),
    "restore": ("undone", "restored", "skipped", "damaged", "failed", "cancelled"),
    "verify": ("sound", "unsealed", "damaged", "unreadable", "foreign", "skipped", "cancelled"),
    "drill": ("sound", "unsealed", "damaged", "unreadable", "failed", "cancelled"),
}


def result_lines(result: Result) -> Iterator[str]:
    """What was done, in a few lines."""
    counts = [f"{result.counts[name]:,} {name}" for name in _VERBS[result.verb] if result.counts.get(name)]
    yield f"{result.verb}: {', '.join(counts) or 'nothing to do'}"
    if result.verb == "archive" and any(result.counts.get(name) for name in ("archived", "trashed", "kept")):
        yield (
            f"  {counted(result.inodes_freed, 'inode')} freed, net of the archives; "
            f"{human_bytes(result.bytes_in)} of files in {human_bytes(result.bytes_out)} of archives"
        )
    for action in ("skipped", "sound", "unsealed"):
        for reason, number in sorted(result.reasons.get(action, {}).items()):
            yield f"  {number:,} {action}: {escape(WHY.get(reason, reason))}"
    done = sum(number for action, number in result.counts.items() if action != "cancelled")
    rate = f", {done / result.seconds:,.0f}/s" if result.seconds > 0 and done else ""
    settled = ", ".join(f"{name} {number:,}" for name, number in sorted(result.settled.items()))
    yield f"  {human_seconds(result.seconds)}{rate}, engine {result.engine}" + (
        f", settled by {settled}" if settled else ""
    )
    if result.stopped == "interrupted":
        yield f"  interrupted: {counted(result.left, 'job')} not begun; run again to go on"
    elif result.stopped in _STOPS:
        what = counted(result.left, "archive" if result.verb in ("verify", "drill") else "session")
        yield f"  {_STOPS[result.stopped]}: {what} left; run again to go on"
    elif result.stopped == "cap":
        yield f"  stopped: more failures than --max-failures allows; {counted(result.left, 'session')} not begun"


_STOPS = {
    "budget": "stopped by a budget",
    "terminated": "stopped by SIGTERM",
    "STOP": "stopped by the file .runark/STOP in the root (remove it to let runs begin)",
    "lock": "stopped because another run has taken the root over",
}


def night_lines(night: Night) -> Iterator[str]:
    """What a nightly run has done, root by root."""
    for root in night.roots:
        yield f"{escape(root.root)}:"
        for part in root.parts:
            if part.counts or part.verb == "archive":
                yield from (f"  {line}" for line in result_lines(part))
        if root.plan is not None and not night.executed:
            yield from (f"  {line}" for line in plan_lines(root.plan, 5))
        if root.error is not None:
            yield f"  not done: {root.error}"
    took = f"in {human_seconds(night.seconds)}"
    yield f"nightly {night.run}: {counted(len(night.roots), 'root')} {took}" + (
        f"; {_STOPS.get(night.stopped, night.stopped)}" if night.stopped else ""
    )


def outcome_line(outcome: Outcome) -> str:
    """One outcome that needs a person."""
    fault = outcome.fault
    told = fault.message if fault is not None else ""
    why = [escape(outcome.reason)] if outcome.reason and outcome.reason != told else []
    if fault is not None:
        where = f" {escape(fault.path)}" if fault.path != outcome.path else ""
        why.append(f"{fault.op}{where}: {escape(fault.message)}")
    why += [escape(note) for note in outcome.notes]
    return f"{outcome.action}: {escape(outcome.path)}" + (f": {'; '.join(why)}" if why else "")


def fault_lines(faults: Sequence[Fault]) -> Iterator[str]:
    """What could not be read; not more than a screen of it."""
    for fault in faults[:FAULTS_SHOWN]:
        yield f"cannot {fault.op} {escape(fault.path)}: {escape(fault.message)}"
    if len(faults) > FAULTS_SHOWN:
        yield f"... and {len(faults) - FAULTS_SHOWN:,} more that could not be read (--json tells all)"


# ------------------------------------------------------------------------------------------------ doctor


def finding_lines(findings: Sequence[Finding]) -> Iterator[str]:
    """What was found and what becomes of it, three lines each, and a line that sums it up."""
    for finding in findings:
        yield f"{finding.state}: {escape(finding.path)}"
        yield f"    {finding.what}"
        yield f"    the next run {finding.then}"
    yield f"{counted(len(findings), 'finding')}"


# ------------------------------------------------------------------------------------------------ list


def list_lines(listed: Iterable[Listed], limit: int = 0) -> Iterator[str]:
    """The table of archives by their seals and a line that sums it up. `limit`: at most so many rows, 0 for all."""
    yield f"{'ENTRIES':>9}  {'CONTENT':>8}  {'ARCHIVE':>8}  PATH"
    number = entries = content = size = 0
    for path, seal in listed:
        number += 1
        if isinstance(seal, Seal):
            entries, content, size = entries + seal.entries, content + seal.content, size + seal.size
        if limit and number > limit:
            continue
        if isinstance(seal, Seal):
            yield f"{seal.entries:>9,}  {human_bytes(seal.content):>8}  {human_bytes(seal.size):>8}  {escape(path)}"
        else:
            mark = "no seal" if seal is None else "unreadable"
            yield f"{mark:>9}  {'':>8}  {'':>8}  {escape(path)}"
    if limit and number > limit:
        yield f"... and {counted(number - limit, 'archive')} more (--limit 0 shows all)"
    sums = f"{counted(entries, 'entry', 'entries')}, {human_bytes(content)} in {human_bytes(size)}"
    yield f"{counted(number, 'archive')}: {sums}"


def member_lines(members: Iterable[Member]) -> Iterator[str]:
    """The members of an archive, as `ls -l` shows files."""
    for member in members:
        time = _local(member.mtime_ns // 1_000_000_000)
        owner = f"{_id(member.uname, member.uid)}/{_id(member.gname, member.gid)}"
        arrow = {"symlink": " -> ", "hardlink": " link to "}.get(member.kind)
        link = f"{arrow}{escape(member.link)}" if arrow else ""
        mode = _LETTERS.get(member.kind, "?") + stat.filemode(member.mode)[1:]
        yield f"{mode} {owner:<16} {member.size:>12,} {time} {escape(member.path)}{link}"


def _local(seconds: int) -> str:
    try:
        return datetime.fromtimestamp(seconds).strftime("%Y-%m-%d %H:%M:%S")
    except (OverflowError, ValueError, OSError):  # a year no calendar has; archives may hold any
        return f"{'@' + str(seconds):<19}"


_LETTERS = {"file": "-", "dir": "d", "symlink": "l", "hardlink": "h", "fifo": "p"}


def _id(name: bytes, number: int) -> str:
    return escape(name) if name else str(number)
