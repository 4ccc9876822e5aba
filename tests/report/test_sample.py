"""The estimates: what archives will take against what they then take; the rate of the last run."""

from __future__ import annotations

import os
import random
import shutil
from pathlib import Path

from runark import archive, plan, scan
from runark.archive.filters import Filters
from runark.engine.protocol import Engine
from runark.report.rate import ENOUGH, PAUSE, rate_of
from runark.report.sample import take_sample
from runark.report.survey import survey
from support import surveyed
from support.surveyed import DAY_NS
from support.trees import Dir, File, Sparse, make

NOW = 1_790_000_000 * 10**9


def test_the_interval_holds_what_the_archives_really_take(tmp_path: Path, engine: Engine) -> None:
    root = tmp_path / "tree"
    surveyed.build(root, 150)
    cut = survey(root, engine=engine.name).cuts[0]
    assert cut.archive_bytes is not None and cut.bytes_freed is not None
    result = archive(plan(root, engine=engine.name), keep_outcomes=True)
    block = os.statvfs(root).f_frsize
    taken = sum(-(-outcome.bytes_out // block) * block for outcome in result.outcomes)
    assert len(result.outcomes) == cut.sums.sessions == cut.sums.archives
    # zlib and the engines' compressors differ by some per cent.
    assert cut.archive_bytes.low * 0.9 <= taken <= cut.archive_bytes.high * 1.1
    assert cut.bytes_freed.low <= cut.bytes_freed.likely <= cut.bytes_freed.high
    assert cut.bytes_freed.likely == cut.sums.allocated - cut.archive_bytes.likely


def test_large_files_are_read_in_part_and_holes_weigh_nothing(tmp_path: Path) -> None:
    noise = random.Random(1).randbytes(3 << 20)
    make(tmp_path / "2026Y-02M-13D-14h30m15s_AAAA", Dir({"noise": File(noise), "text": File(b"same\n" * 600_000)}))
    make(tmp_path / "2026Y-02M-13D-14h30m16s_AAAA", Dir({"hole": Sparse(1 << 32, ((1 << 31, b"lonely"),))}))
    found = scan(tmp_path)
    sample = take_sample(found, range(2))
    assert sample is not None and sample.read < 2 << 20
    whole = len(noise) + 3_000_000 + 3 * 512
    assert 3 << 20 < sample.ratio.likely * whole < 3.3 * (1 << 20)


def test_what_cannot_be_read_is_counted(tmp_path: Path) -> None:
    surveyed.build(tmp_path / "tree", 30)
    found = scan(tmp_path / "tree")
    shutil.rmtree(os.fsdecode(found.path(0)))
    sample = take_sample(found, range(len(found)))
    assert sample is not None and sample.unreadable == 1 and sample.sessions == len(found) - 1
    shutil.rmtree(tmp_path / "tree")
    assert take_sample(found, range(len(found))) is None
    assert take_sample(found, ()) is None


def test_the_same_tree_gives_the_same_sample(tree: Path) -> None:
    found = scan(tree, filters=Filters(status=("success",)))
    first, second = (take_sample(found, range(len(found))) for _ in range(2))
    assert first is not None and second is not None
    assert first._replace(seconds=0) == second._replace(seconds=0)


def test_the_rate_of_the_last_run(tmp_path: Path) -> None:
    """One run of a few archives long ago, then one that made 100 a second."""
    for number in range(ENOUGH + 5):
        path = tmp_path / f"{surveyed.stamped(NOW - DAY_NS, number)}.tar.gz"
        path.write_bytes(b"")
        at = NOW - 3 * PAUSE if number < 5 else NOW + number * 10_000_000
        os.utime(path, ns=(at, at))
    found = scan(tmp_path, kinds=("session", "archive"))
    rate = rate_of(found, None)
    assert (rate.basis, rate.archives) == ("last run", ENOUGH) and abs(rate.seconds(500, 0) - 5) < 1e-6
    os.unlink(path)
    assert rate_of(scan(tmp_path, kinds=("session", "archive")), None).basis == "none"
