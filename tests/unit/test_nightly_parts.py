"""What nightly is made of: budgets, what stops a run, caps, what stays live, the audit, metrics."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import time
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from runark.archive.archive import archive
from runark.archive.audit import Audit, new_run, read_audit
from runark.archive.caps import Caps, check_caps, check_place, parse_growth
from runark.archive.control import Control
from runark.archive.nightly import Night, RootNight
from runark.archive.plan import Plan, plan
from runark.archive.retention import Keep, script_of
from runark.archive.watch import Budget, Watch, stop_file
from runark.cli.main import main
from runark.engine.protocol import Outcome, Progress
from runark.errors import CapReached, InvalidArgument, UnsafePath
from runark.report.metrics import metric_lines, write_metrics
from support.sessions import many, name, plain
from support.trees import Dir, make

NOTHING = Progress(0, 0, 0, 0)

# ------------------------------------------------------------------------------------------------ budget


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_budget_closes_before_it_is_over() -> None:
    clock = Clock()
    budget = Budget(3600, clock)
    assert (budget.closing, budget.over, budget.left) == (False, False, 3540)
    clock.now += 3541
    assert (budget.closing, budget.over, budget.left) == (True, False, 0)
    clock.now += 60
    assert budget.over
    short = Budget(9, clock)
    assert short.margin == 3
    none = Budget(None, clock)
    clock.now += 1e9
    assert (none.closing, none.over, none.left) == (False, False, None)


def seconds(budget: Budget) -> float:
    assert budget.ends is not None
    return budget.ends - budget.began


def test_the_budget_that_is_over_first_counts() -> None:
    assert Budget.of().ends is None
    assert seconds(Budget.of("3h")) == pytest.approx(10_800, abs=2)
    assert seconds(Budget.of("3h", job_end=time.time() + 60)) == pytest.approx(60, abs=2)
    assert seconds(Budget.of("30s", job_end=time.time() + 60)) == pytest.approx(30, abs=2)
    assert seconds(Budget.of(job_end=time.time() - 60)) == 0


def test_until_is_the_next_such_time() -> None:
    for hours in (1, 23):
        at = datetime.now() + timedelta(hours=hours)
        expected = at.replace(second=0, microsecond=0) - datetime.now()
        assert seconds(Budget.of(until=f"{at:%H:%M}")) == pytest.approx(expected.total_seconds(), abs=62)
    tomorrow = datetime.now() + timedelta(days=1)
    assert seconds(Budget.of(until=f"{tomorrow:%Y-%m-%d %H:%M:%S}")) == pytest.approx(86_400, abs=3700)


def test_until_in_the_hour_that_comes_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = 1792886400 + 600, 1792890000 + 600  # 02:10 twice, on 2026-10-25 in Berlin
    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()
    try:
        for now in (first, second):
            monkeypatch.setattr(time, "time", lambda now=now: float(now))
            budget = Budget.of(until="02:30")
            assert budget.ends is not None and 1199 < budget.ends - budget.began < 1201
    finally:
        monkeypatch.undo()
        time.tzset()


@pytest.mark.parametrize(
    ("span", "until", "said"),
    [
        ("3", None, "--time-budget"), ("soon", None, "--time-budget"),
        (None, "25:00", "--until"), (None, "2020-01-01", "is over"),
    ],
)  # fmt: skip
def test_budgets_that_are_none(span: str | None, until: str | None, said: str) -> None:
    with pytest.raises(InvalidArgument, match=said):
        Budget.of(span, until)


# ------------------------------------------------------------------------------------------------ watch


def test_a_budget_stops_gently_and_then_not(tmp_path: Path) -> None:
    clock = Clock()
    watch = Watch(Control(), (), Budget(1000, clock))
    watch.progress(NOTHING)
    assert watch.stopping == ""
    clock.now += 941
    watch.progress(NOTHING)
    assert (watch.stopped, watch.stopping) == ("budget", "gently")
    clock.now += 60
    watch.progress(NOTHING)
    assert (watch.stopped, watch.stopping) == ("budget", "now")


def test_a_stop_file_lets_nothing_begin(tmp_path: Path) -> None:
    many(tmp_path, 3)
    (tmp_path / ".runark").mkdir()
    Path(os.fsdecode(stop_file(os.fsencode(tmp_path)))).touch()
    result = archive(plan(tmp_path))
    assert (result.stopped, result.left, result.counts) == ("STOP", 3, {})
    assert not list(tmp_path.glob("*.tar.gz"))


def test_the_outer_control_is_followed(monkeypatch: pytest.MonkeyPatch) -> None:
    outer = Control()
    watch = Watch(outer)
    outer.stop("terminated", gently=True)
    watch.progress(NOTHING)
    assert (watch.stopped, watch.stopping) == ("terminated", "gently")
    now = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: now + 3.5)
    watch.progress(NOTHING)
    assert (watch.stopped, watch.stopping) == ("terminated", "now"), "for three seconds, not for ever"
    other = Watch(outer := Control())
    outer.stop()
    other.progress(NOTHING)
    assert (other.stopped, other.stopping) == ("interrupted", "now")


def test_a_watch_looks_whenever_it_is_asked() -> None:
    """Records are read without an engine that could be asked how far it is."""
    watch = Watch(outer := Control())
    assert not watch.stopped
    outer.stop("terminated", gently=True)
    assert watch.stopped == "terminated"


# ------------------------------------------------------------------------------------------------ caps


def planned(root: Path, **options: object) -> Plan:
    return plan(root, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("caps", "last", "refused"),
    [
        (Caps(remove=7), None, ""),
        (Caps(remove=6), None, "--max-remove is 6"),
        (Caps(remove=0), None, "--max-remove is 0"),
        (Caps(percent=70), None, ""),
        (Caps(percent=69.9), None, "7 of 10 live"),
        (Caps(), 1, ""),  # a jump within the first hundred is none
    ],
)
def test_caps(tmp_path: Path, caps: Caps, last: int | None, refused: str) -> None:
    many(tmp_path / "FINISHED_SUCCESS", 7)
    many(tmp_path / "RUNNING", 3, start=7)
    if not refused:
        check_caps(planned(tmp_path), caps, last)
        return
    with pytest.raises(CapReached, match=refused) as caught:
        check_caps(planned(tmp_path), caps, last)
    assert str(tmp_path) in str(caught.value) and "no session was touched" in str(caught.value)


def test_a_jump_is_refused(tmp_path: Path) -> None:
    for number in range(301):
        (tmp_path / name(number)).mkdir()
    found = planned(tmp_path, max_sessions=5)
    with pytest.raises(CapReached, match="301 candidates, 100 at the last run"):
        check_caps(found, Caps(), 100)
    with pytest.raises(CapReached):
        check_caps(found, Caps(), 0)
    check_caps(found, Caps(), 101)
    check_caps(found, Caps(growth=None), 0)
    check_caps(found, Caps(), None)


def test_what_a_killed_run_left_is_no_live_session(tmp_path: Path) -> None:
    many(tmp_path, 2)
    (tmp_path / f".{name(2)}.removing-0123456789abcdef").mkdir()
    found = planned(tmp_path)
    assert found.resumed == {"S3": 1}
    check_caps(found, Caps(percent=100), None)
    with pytest.raises(CapReached, match="2 of 2 live"):
        check_caps(found, Caps(percent=99), None)


def test_growth() -> None:
    assert parse_growth("none") is None and parse_growth("2.5") == 2.5
    for text in ("0", "many", "", "nan"):
        with pytest.raises(InvalidArgument, match="max-growth"):
            parse_growth(text)
    for caps in (Caps(remove=-1), Caps(percent=101), Caps(growth=0.5)):
        with pytest.raises(InvalidArgument):
            caps.check()


def test_a_place_without_sessions_is_refused(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    with pytest.raises(UnsafePath, match="mounted"):
        check_place(planned(tmp_path), os.fsencode(tmp_path), False)
    (tmp_path / "FINISHED").mkdir()
    check_place(planned(tmp_path), os.fsencode(tmp_path), False)
    (tmp_path / "FINISHED").rmdir()
    (tmp_path / f"{name(0)}.tar.gz").touch()
    check_place(planned(tmp_path), os.fsencode(tmp_path), False)


# ------------------------------------------------------------------------------------------------ what stays


def live(found: Plan) -> dict[str, str]:
    return {os.fsdecode(skip.path.rpartition(b"/")[2]): skip.reason for skip in found.skips()}


def test_the_newest_of_each_script_stay(tmp_path: Path) -> None:
    for script in ("a_out", "b_out"):
        many(tmp_path / script / "FINISHED_SUCCESS", 3)
        many(tmp_path / script / "FINISHED_ERROR", 2, start=3)
    many(tmp_path / "a_out" / "RUNNING", 1, start=9)
    found = planned(tmp_path, keep=Keep(last=2))
    kept = sorted(os.fsdecode(path) for path, reason in found.held if reason == "keep-last")
    # A running session is among the newest too, and is no candidate in any case.
    assert kept == [
        f"{tmp_path}/a_out/FINISHED_ERROR/{name(4)}",
        f"{tmp_path}/b_out/FINISHED_ERROR/{name(3)}",
        f"{tmp_path}/b_out/FINISHED_ERROR/{name(4)}",
    ]
    assert len(found.jobs) == 7
    assert len(planned(tmp_path, keep=Keep(last=50)).jobs) == 0


def test_what_began_lately_and_what_has_a_tag_stays(tmp_path: Path) -> None:
    lately = f"{datetime.now() - timedelta(days=2):%YY-%mM-%dD-%Hh%Mm%Ss}_ABCD"
    old = "2020Y-01M-01D-00h00m00s_EFGH"
    for one in (lately, old, f"{old}-main-paper", f"{old}-main-paper2", f"{old}-draft"):
        make(tmp_path / one, plain(1))
    make(tmp_path / "run-20200101_000000-paper", Dir())  # wandb's id is a word too
    found = planned(tmp_path, keep=Keep(within="1w", tag=("paper", "dr*")))
    assert live(found) == {
        lately: "keep-within", f"{old}-main-paper": "keep-tag", f"{old}-draft": "keep-tag",
        "run-20200101_000000-paper": "keep-tag",
    }  # fmt: skip
    with pytest.raises(InvalidArgument, match="keep-last"):
        planned(tmp_path, keep=Keep(last=-1))
    with pytest.raises(InvalidArgument, match="--keep-within"):
        planned(tmp_path, keep=Keep(within="soon"))


@pytest.mark.parametrize(
    ("path", "script"),
    [
        (b"/r/a_out/FINISHED_SUCCESS/S", b"/r/a_out"), (b"/r/a_out/RUNNING/S", b"/r/a_out"), (b"/r/S", b"/r"),
        (b"/r/FINISHED/x/S", b"/r/FINISHED/x"), (b"/FINISHED/S", b""),
    ],
)  # fmt: skip
def test_script(path: bytes, script: bytes) -> None:
    assert script_of(path) == script


def test_a_budget_of_bytes(tmp_path: Path) -> None:
    for number, size in enumerate((100, 200, 300)):
        make(tmp_path / name(number), {"f": b"x" * size})
    for most, jobs in ((0, 1), (99, 1), (100, 1), (299, 1), (300, 2), (600, 3)):
        found = planned(tmp_path, max_bytes=most)
        assert (len(found.jobs), found.left) == (jobs, 3 - jobs), most
    for wrong in ({"max_bytes": -1}, {"max_bytes": 1, "measure": False}):
        with pytest.raises(InvalidArgument, match="max_bytes"):
            planned(tmp_path, **wrong)


# ------------------------------------------------------------------------------------------------ audit, metrics


def test_the_audit_is_only_added_to(tmp_path: Path) -> None:
    many(tmp_path, 2)
    archive(plan(tmp_path))
    before = (tmp_path / ".runark" / "audit.jsonl").read_bytes()
    odd = tmp_path / os.fsdecode(b"2026Y-02M-13D-14h30m15s_Z5MR-\xff\n")
    make(odd, plain(1))
    archive(plan(tmp_path))
    archive(plan(tmp_path))  # nothing to do, nothing to tell
    after = (tmp_path / ".runark" / "audit.jsonl").read_bytes()
    assert after.startswith(before)
    lines = list(read_audit(os.fsencode(tmp_path)))
    assert [line["event"] for line in lines] == ["begin", "archived", "archived", "end", "begin", "archived", "end"]
    assert {line["path"] for line in lines[1:3]} == {name(0), name(1)}
    assert lines[5]["path"] == {"bytes": os.fsencode(odd.name).hex()}
    assert lines[5]["archive"]["bytes"].endswith(b".tar.gz".hex()) and len(lines[5]["sha256"]) == 64
    assert lines[0]["user"] and lines[0]["version"] and lines[0]["host"] == os.uname().nodename
    assert lines[3]["counts"] == {"archived": 2}
    with open(tmp_path / ".runark" / "audit.jsonl", "ab") as stream:
        stream.write(b'{"event": "arch')
    assert list(read_audit(os.fsencode(tmp_path))) == lines, "a torn line is left out"
    many(tmp_path, 1, start=5)
    archive(plan(tmp_path))
    events = [line["event"] for line in read_audit(os.fsencode(tmp_path))]
    assert events == [*(line["event"] for line in lines), "begin", "archived", "end"], "and nothing else"


def test_an_audit_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / ".runark" / "audit.jsonl").mkdir(parents=True)
    many(tmp_path, 2)
    result = archive(plan(tmp_path))
    assert result.counts == {"archived": 2}
    assert len(result.notes) == 1 and "audit.jsonl: not written" in result.notes[0]
    with Audit(os.fsencode(tmp_path / "gone"), new_run(), "archive", "pure") as audit:
        audit.add([Outcome(b"/x", "archived")])
        assert "not written" in audit.note


def test_metrics(tmp_path: Path) -> None:
    root = os.fsencode(tmp_path / 'a"b\\')
    many(Path(os.fsdecode(root)), 2)
    result = archive(todo := plan(root))
    night = Night("r", True, (RootNight(root, todo, result),), time.time(), 1.5, "", 0)
    out = tmp_path / "m.prom"
    write_metrics(os.fsencode(out), night, 0)
    first = out.read_text()
    assert 'action="archived"} 2' in first and "_last_run_exit_code 0\n" in first
    assert '{root="' + str(tmp_path).replace("\\", r"\\") + '/a\\"b\\\\\\\\"' in first, first
    broken = Night("r", True, (RootNight(root, error=CapReached("too much")),), time.time(), 1.5, "", 0)
    write_metrics(os.fsencode(out), broken, 4)
    second = out.read_text()

    def success(text: str) -> str:
        return next(line for line in text.splitlines() if line.startswith("runark_nightly_last_success"))

    assert success(first) == success(second), "the last success is not forgotten"
    assert 'kind="CapReached"} 1' in second and "_last_run_exit_code 4\n" in second
    assert os.listdir(tmp_path).count("m.prom") == 1 and not list(tmp_path.glob("m.prom.*"))
    assert not any(line.startswith("runark_nightly_last_success") for line in metric_lines(broken, 4, None))


def test_a_root_that_cannot_be_locked_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(_handle: int, _how: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    many(tmp_path, 1)
    monkeypatch.setattr(fcntl, "flock", refuse)
    with pytest.raises(SystemExit):
        main(["nightly", str(tmp_path), "--execute", "-q", "--nice", "0", "--usual-io"])
    out, err = capsys.readouterr()
    assert not out and "cannot be locked (No locks available)" in err


def test_night_as_json(tmp_path: Path) -> None:
    many(tmp_path, 1)
    todo = plan(tmp_path)
    night = Night(
        "r", False, (RootNight(os.fsencode(tmp_path), todo), RootNight(b"\xff", error=CapReached("x"))), 0, 0, "", 0
    )
    document = json.loads(json.dumps(night.to_json()))
    assert document["what"] == "nightly" and document["roots"][1]["error"] == {"kind": "CapReached", "message": "x"}
