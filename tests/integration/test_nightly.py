"""`runark nightly`, `apply`, `undo` and `config`: the installed command on both engines, stopped in every way."""

from __future__ import annotations

import json
import os
import pwd
import re
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import runark as package
from support.cli import Done, clean_environment, executable, runark
from support.privileges import mounted
from support.sessions import everything, many, name, plain
from support.trees import Snapshot, assert_same, make, snapshot

OLD = "2001-01-01"
SUFFIX = ".tar.gz"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Thirty sessions, two of them running."""
    base = tmp_path / "out"
    many(base / "FINISHED_SUCCESS", 25)
    many(base / "FINISHED_ERROR", 3, start=25)
    many(base / "RUNNING", 2, start=28)
    return base


def trees(root: Path) -> dict[str, Snapshot]:
    """The sessions of a root by their paths below it."""
    return {
        str(path.relative_to(root)): snapshot(path)
        for path in sorted(root.glob("[RF]*/2026Y*_[0-9A-Z][0-9A-Z][0-9A-Z][0-9A-Z]"))
    }


def archives(root: Path) -> set[str]:
    return {str(path.relative_to(root)).removesuffix(SUFFIX) for path in root.glob(f"[RF]*/*{SUFFIX}")}


def audit(root: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (root / ".runark" / "audit.jsonl").read_text().splitlines()]


def config(path: Path, **keys: object) -> Path:
    """A policy file; keys with `_` for `-`."""
    lines = [f"  {key.replace('_', '-')}: {json.dumps(value)}" for key, value in keys.items()]
    path.write_text("\n".join(["nightly:", *lines]) + "\n")
    return path


# ------------------------------------------------------------------------------------------------ by a policy


def test_a_night(eng: list[str], root: Path, tmp_path: Path) -> None:
    before = trees(root)
    policy = config(tmp_path / "p.yaml", roots=[str(root)], keep_last=8, status=["success"], drill=4, until="23:59")
    planned = runark("nightly", *eng, "--config", policy).ok()
    assert b"22 sessions to archive" in planned.out and b"nothing was changed" in planned.err
    assert trees(root) == before and not (root / ".runark").exists()
    metrics, events = tmp_path / "m.prom", tmp_path / "e.jsonl"
    words = ("nightly", *eng, "--config", policy, "--execute", "--metrics", metrics, "--events", events)
    done = runark(*words, "--json").ok().json()
    (night,) = done["roots"]
    assert night["archived"]["counts"] == {"archived": 22} and night["drilled"]["counts"] == {"sound": 4}
    assert night["plan"]["skipped"] == {"keep-last": 3, "status": 3, "running": 2}
    assert len(archives(root)) == 22 and len(trees(root)) == 8
    for path, tree in trees(root).items():
        assert_same(before[path], tree)
    assert 'action="archived"} 22' in metrics.read_text() and "exit_code 0" in metrics.read_text()
    actions = [json.loads(line)["action"] for line in events.read_text().splitlines()]
    assert sorted(actions) == ["archived"] * 22 + ["sound"] * 4
    again = runark(*words, "-q").ok()
    assert again.out == again.err == b"", "nothing to tell: nothing for cron to mail"


def test_flags_go_before_the_file(root: Path, tmp_path: Path) -> None:
    config(tmp_path / "runark.yaml", roots=[str(tmp_path / "nowhere")], max_sessions=3)
    runark("nightly", cwd=tmp_path).expect(10)
    assert b"3 sessions to archive" in runark("nightly", root, cwd=tmp_path).ok().out
    assert b"5 sessions to archive" in runark("nightly", root, "--max-sessions", 5, cwd=tmp_path).ok().out


def test_variables_in_roots(root: Path, tmp_path: Path) -> None:
    policy = config(tmp_path / "p.yaml", roots=["$LAB/out"])
    assert b"28 sessions to archive" in runark("nightly", "--config", policy, LAB=str(tmp_path)).ok().out
    for value in ({}, {"LAB": ""}):
        refused = runark("nightly", "--config", policy, **value).expect(2)
        assert b"line 2, nightly.roots" in refused.err and b"LAB is not set, or empty" in refused.err
    policy = config(tmp_path / "p.yaml", roots=["out"])
    assert b"no absolute path" in runark("nightly", "--config", policy, cwd=tmp_path).expect(2).err
    assert b"no root given" in runark("nightly", cwd=root).expect(2).err


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("nightly:\n  roots: []\n  older-then: 30d\n", "line 3, nightly.older-then: unknown key"),
        ("nightly:\n  max-sessions: many\n", "line 2, nightly.max-sessions: must be a whole number"),
        ("nightly:\n  max-sessions: '3'\n", "must be a whole number"),
        ("nightly:\n  max-sessions: -1\n", "line 2, nightly.max-sessions"),
        ("nightly:\n  quiet: 'yes'\n", "nightly.quiet: must be true or false"),
        ("nightly:\n\n  older-than: [30]\n", "line 3, nightly.older-than: must be a text"),
        ("nightly:\n  older-than: soon\n", "line 2, nightly.older-than"),
        ("nightly:\n  time-budget: 3\n", "nightly.time-budget"),
        ("nightly:\n  max-bytes: big\n", "nightly.max-bytes"),
        ("nightly:\n  max-growth: lots\n", "nightly.max-growth"),
        ("nightly:\n  format: zip\n", "nightly.format"),
        ("nightly:\n  status: [success, lost]\n", "nightly.status"),
        ("nightly:\n  status: success\n  status: error\n", "line 3, nightly.status: stands here twice"),
        ("nightly:\n  execute: true\n", "unknown key"),
        ("nightly: 3\n", "must be a mapping"),
        ("nightly:\n  ? [older-than]\n  : 3\n", "line 2, nightly: a key must be a text"),
        ("nightly:\n  max-bytes: +2T\n", "nightly.max-bytes"),
        ("nightly:\n  max-bytes-per-s: -2M\n", "nightly.max-bytes-per-s"),
        ("nightly:\n  max-growth: nan\n", "nightly.max-growth"),
        ("nightly: " + "[" * 5000, "too deeply nested"),
        ("nigthly: {}\n", "unknown key"),
        ("nightly: [\n", "not valid YAML"),
    ],
)
def test_a_wrong_policy_names_line_and_key(root: Path, tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "p.yaml"
    path.write_text(text)
    for command in (("nightly", root, "--execute", "--config", path), ("config", "check", path)):
        refused = runark(*command).expect(2)
        assert said in refused.err.decode() and str(path) in refused.err.decode(), refused.err
    assert not archives(root)


def test_config(root: Path, tmp_path: Path) -> None:
    policy = config(tmp_path / "p.yaml", roots=[str(root)], older_than="30d", keep_tag=["paper"], max_bytes="2T")
    assert b"1 roots, 0 layouts, 3 settings" in runark("config", "check", policy).ok().out
    shown = runark("config", "show", policy).ok().out.decode()
    assert "\n  older-than: 30d\n" in shown and "\n  keep-tag: [paper]\n" in shown
    assert "\n  # max-growth: '3'\n" in shown and "\n  # status: []\n" in shown
    # What it prints is a policy, with or without its comments.
    other = tmp_path / "o.yaml"
    for text in (shown, re.sub(r"(?m)^  # (.*: (?!null$))", r"  \1", shown)):
        other.write_text("".join(line + "\n" for line in text.splitlines() if not line.endswith("null")))
        runark("config", "check", other).ok()
    policy.write_text("nightly:\n  as-owner: no\n  quiet: on\n")
    other.write_bytes(shown := runark("config", "show", policy).ok().out)
    assert b"\n  as-owner: false\n" in shown and runark("config", "show", other).ok().out == shown
    missing = config(tmp_path / "q.yaml", roots=[str(tmp_path / "gone")])
    assert b"is not there" in runark("config", "check", missing).expect(10).err
    assert b"name a file" in runark("config", "check", cwd=tmp_path).expect(2).err


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"format": "tar.zst", "level": 40}, "not level 40"),
        ({"level": 12}, "not level 12"),
        ({"min-depth": 5, "max-depth": 2}, "at least 5 and at most 2"),
        ({"size": ["+5M", "-1M"]}, "no size is at least"),
        ({"layout": ["nosuch"]}, "no layout is called 'nosuch'"),
    ],
)
def test_keys_that_make_no_sense_together(root: Path, tmp_path: Path, keys: dict[str, Any], said: str) -> None:
    """What the night would refuse is found by `config check`."""
    policy = config(tmp_path / "p.yaml", roots=[str(root)], **keys)
    assert said in runark("config", "check", policy).expect(2).err.decode()
    done = runark("nightly", "--config", policy, "--execute").expect(2)
    assert said in done.err.decode() and not archives(root)


# ------------------------------------------------------------------------------------------------ stopping, going on


def test_budgets_of_sessions_and_bytes(eng: list[str], root: Path) -> None:
    total = 0
    for expected in (10, 10, 8):
        done = runark("nightly", *eng, root, "--execute", "--max-sessions", 10)
        assert done.code == (75 if total + expected < 28 else 0), done
        total += expected
        assert len(archives(root)) == total
    counts = [line["counts"] for line in audit(root) if line["event"] == "end"]
    assert counts == [{"archived": 10}, {"archived": 10}, {"archived": 8}], "nothing was done twice"


def test_max_bytes_goes_over_all_roots(tmp_path: Path) -> None:
    for one in ("a", "b"):
        for number in range(4):
            make(
                tmp_path / one / name(number) if (tmp_path / one).mkdir(exist_ok=True) is None else "",
                {"f": b"x" * 1000},
            )
    done = (
        runark("nightly", tmp_path / "a", tmp_path / "b", "--execute", "--max-bytes", "6k", "--json").expect(75).json()
    )
    assert [night["archived"]["counts"] for night in done["roots"]] == [{"archived": 4}, {"archived": 2}]


@pytest.mark.parametrize("trash", [(), ("--trash-days", 3)])
def test_max_sessions_goes_over_all_roots(tmp_path: Path, trash: tuple[str | int, ...]) -> None:
    roots = tmp_path / "a", tmp_path / "b"
    for one in roots:
        many(one, 4)
    planned = runark("nightly", *roots, "--max-sessions", 6, "--json", *trash).ok().json()
    assert [night["plan"]["sessions"] for night in planned["roots"]] == [4, 2]
    runark("nightly", *roots, "--execute", "--max-sessions", 6, *trash).expect(75)
    assert [len(list(one.glob("*.tar.gz"))) for one in roots] == [4, 2]


def test_a_session_larger_than_the_budget_goes_alone(tmp_path: Path) -> None:
    roots = tmp_path / "a", tmp_path / "b"
    for number, one in enumerate(roots):
        one.mkdir()
        make(one / name(number), {"f": b"x" * 1000})
    runark("nightly", *roots, "--execute", "--max-bytes", "1500b").expect(75)
    assert [len(list(one.glob("*.tar.gz"))) for one in roots] == [1, 0]
    runark("nightly", *roots, "--execute", "--max-bytes", "500b").ok()
    assert [len(list(one.glob("*.tar.gz"))) for one in roots] == [1, 1]


def test_a_stop_file_in_one_of_several_roots(tmp_path: Path) -> None:
    roots = tmp_path / "a", tmp_path / "b"
    for one in roots:
        many(one, 2)
    (roots[0] / ".runark").mkdir()
    (roots[0] / ".runark" / "STOP").touch()
    done = runark("nightly", *roots, "--execute", "--json").expect(75).json()
    assert done["stopped"] == "STOP"
    assert [len(list(one.glob("*.tar.gz"))) for one in roots] == [0, 2], "the other one has its turn"


@pytest.fixture
def in_memory(tmp_path: Path) -> Iterator[Path]:
    """A directory in memory, where there is such a place: sessions are ended there one by one, not in batches."""
    with tempfile.TemporaryDirectory(dir="/dev/shm" if os.path.isdir("/dev/shm") else tmp_path) as directory:
        yield Path(directory) / "out"


def test_a_budget_of_time(eng: list[str], in_memory: Path) -> None:
    """It ends in time, with nothing half done, and the next one goes on."""
    root = in_memory
    many(root, 300)
    before = {path.name: snapshot(path) for path in root.iterdir()}
    began = time.monotonic()
    done = runark("nightly", *eng, root, "--execute", "--time-budget", "1500ms", "--max-ops/s", "2000").expect(75)
    assert b"stopped by a budget" in done.out and time.monotonic() - began < 5
    first = {path.name.removesuffix(SUFFIX) for path in root.glob(f"*{SUFFIX}")}
    assert 0 < len(first) < 300
    assert not [path for path in root.iterdir() if path.name.startswith(".") and path.name != ".runark"]
    for path in root.glob("2026Y*[0-9A-Z]"):
        if path.is_dir():
            assert path.name not in first
            assert_same(before[path.name], snapshot(path))
    runark("nightly", *eng, root, "--execute").ok()
    events = [line["path"] for line in audit(root) if line["event"] == "archived"]
    assert len(events) == len(set(events)) == 300, "each once"


def test_the_end_of_a_slurm_job(root: Path) -> None:
    soon = str(int(time.time()) + 20)  # everything is to be over half a minute before
    runark("nightly", root, "--execute", SLURM_JOB_END_TIME=soon).expect(75)
    assert not archives(root)
    runark("nightly", root, "--execute", SLURM_JOB_END_TIME=str(int(time.time()) + 600)).ok()


def begin(*words: str | Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [executable(), *map(str, words)],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=clean_environment(),
    )  # fmt: skip


def under_way(root: Path, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 60
    while not list(root.glob(f"*{SUFFIX}")):
        assert process.poll() is None and time.monotonic() < deadline, "the run did not begin"
        time.sleep(0.005)


@pytest.fixture
def slow(eng: list[str], in_memory: Path) -> Iterator[tuple[Path, subprocess.Popen[bytes]]]:
    """A night that would last for a while, under way."""
    root = in_memory
    many(root, 400)
    process = begin("nightly", *eng, root, "--execute", "--max-ops/s", "1500")
    try:
        under_way(root, process)
        yield root, process
    finally:
        process.kill()
        process.communicate()


def ended(process: subprocess.Popen[bytes]) -> Done:
    began = time.monotonic()
    out, err = process.communicate(timeout=60)
    assert time.monotonic() - began < 5, "within five seconds"
    return Done(process.returncode, out, err)


def check_whole(root: Path) -> None:
    """Every session is there or archived, not both, and nothing else is."""
    names = {path.name for path in root.iterdir()} - {".runark"}
    assert {entry.removesuffix(SUFFIX) for entry in names} == {name(number) for number in range(400)}
    assert len(names) == 400


def test_sigterm_ends_the_night_as_a_budget_does(slow: tuple[Path, subprocess.Popen[bytes]]) -> None:
    root, process = slow
    process.terminate()
    done = ended(process).expect(75)
    assert b"stopped by SIGTERM" in done.out
    check_whole(root)


def test_a_stop_file_ends_the_night(slow: tuple[Path, subprocess.Popen[bytes]], eng: list[str]) -> None:
    root, process = slow
    (root / ".runark" / "STOP").touch()
    assert b".runark/STOP" in ended(process).expect(75).out
    check_whole(root)
    for verb in ("nightly", "archive"):
        before = len(list(root.iterdir()))
        assert b".runark/STOP" in runark(verb, *eng, root, "--execute").expect(75).out
        assert len(list(root.iterdir())) == before


def test_sigusr1_tells_how_far_it_is(slow: tuple[Path, subprocess.Popen[bytes]]) -> None:
    _, process = slow
    assert process.stderr is not None
    process.send_signal(signal.SIGUSR1)
    lines: list[bytes] = []
    reader = threading.Thread(target=lambda: lines.extend(process.stderr.readline() for _ in range(2)))  # type: ignore[union-attr]
    reader.start()
    reader.join(20)
    assert re.search(rb"runark: archive: [0-9]+ of 400 sessions, .*/s", b"".join(lines)), lines
    process.terminate()


def test_killed_at_random_and_resumed(eng: list[str], tmp_path: Path) -> None:
    """The work is done once in total, whatever the kills."""
    root = tmp_path / "out"
    many(root, 400)
    for number in range(3):
        process = begin("nightly", *eng, root, "--execute")
        while process.poll() is None and len(list(root.glob(f"*{SUFFIX}"))) < 60 * (number + 1):
            time.sleep(0.001)
        process.kill()
        process.communicate()
    runark("nightly", *eng, root, "--execute").ok()
    assert {path.name for path in root.iterdir()} == {f"{name(number)}{SUFFIX}" for number in range(400)} | {".runark"}
    runark("verify", *eng, root).ok()
    done = [line["path"] for line in audit(root) if line["event"] == "archived"]
    assert len(done) == len(set(done)), "no session was archived twice"


def test_one_root_does_not_keep_the_others(tmp_path: Path) -> None:
    good, locked, wrong = tmp_path / "good", tmp_path / "locked", tmp_path / "wrong"
    for one in (good, locked):
        many(one, 3)
    wrong.mkdir()
    (locked / ".runark").mkdir()
    import fcntl

    with open(locked / ".runark" / "lock", "w") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        done = runark("nightly", locked, wrong, tmp_path / "gone", good, "--execute", "--json").expect(2).json()
        runark("nightly", locked, good, "--execute").expect(11)
    kinds = [night["error"] and night["error"]["kind"] for night in done["roots"]]
    assert kinds == ["RootLocked", "UnsafePath", "SourceMissing", None]
    assert len(list(good.glob("*.tar.gz"))) == 3 and not list(locked.glob("*.tar.gz"))
    assert b"wrong" in runark("nightly", wrong, "--execute").expect(2).err, "what needs a person is told on stderr"


@pytest.mark.parametrize("planted", ["audit.jsonl", "nightly.json", "holder.json", "lock"])
def test_a_pipe_does_not_hold_the_night_up(root: Path, planted: str) -> None:
    (root / ".runark").mkdir()
    os.mkfifo(root / ".runark" / planted)
    command = [executable(), "nightly", root, "--execute", "-q"]
    done = subprocess.run(command, env=clean_environment(), capture_output=True, timeout=30, check=False)
    assert done.returncode == 0 and len(archives(root)) == 28, done
    if planted == "audit.jsonl":
        assert b"not written" in done.stderr


@pytest.mark.parametrize(
    "state", ['{"candi', '{"candidates": 1' + "0" * 400 + "}", "[" * 50_000, '{"candidates": "x"}']
)
def test_a_broken_state_does_not_end_the_night(root: Path, state: str) -> None:
    (root / ".runark").mkdir()
    (root / ".runark" / "nightly.json").write_text(state)
    runark("nightly", root, "--execute").ok()
    assert json.loads((root / ".runark" / "nightly.json").read_text())["candidates"] == 28


def test_metrics_that_cannot_be_written_do_not_hide_the_night(root: Path, tmp_path: Path) -> None:
    done = runark("nightly", root, "--execute", "--json", "--metrics", tmp_path / "gone" / "m.prom").expect(1)
    assert done.json()["roots"][0]["archived"]["counts"] == {"archived": 28}
    assert b"cannot write metrics" in done.err


@pytest.mark.parametrize("keep", [("--keep-last", 1), ("--keep-within", "10d")])
@pytest.mark.parametrize("zone", ["UTC", "Asia/Tokyo", "America/New_York"])
def test_a_session_of_the_year_one(tmp_path: Path, keep: tuple[str, str | int], zone: str) -> None:
    """What a user calls a directory does not end everybody's night."""
    for year in ("0001Y-01M-01D", "9999Y-12M-31D"):
        (tmp_path / f"{year}-00h00m00s_AAAA").mkdir()
    runark("nightly", tmp_path, *keep, TZ=zone).ok()


# ------------------------------------------------------------------------------------------------ caps


@pytest.mark.parametrize("cap", [("--max-remove", "27"), ("--max-remove-percent", "90")])
def test_too_much_is_refused(eng: list[str], root: Path, cap: tuple[str, str]) -> None:
    before = trees(root)
    refused = runark("nightly", *eng, root, "--execute", "-q", *cap).expect(4)
    assert b"no session was touched" in refused.err and cap[0].encode() in refused.err
    assert trees(root) == before and not archives(root)
    assert cap[0].encode() in runark("nightly", *eng, root, *cap).expect(4).out, "a dry run says so too"


def test_a_jump_in_candidates_is_refused(tmp_path: Path) -> None:
    root = tmp_path / "out"
    many(root, 3)
    runark("nightly", root, "--execute").ok()
    for number in range(3, 310):
        (root / name(number)).mkdir()
    assert b"307 candidates, 3 at the last run" in runark("nightly", root, "--execute", "-q").expect(4).err
    runark("nightly", root, "--execute", "--max-growth", "none").ok()


@pytest.mark.mounts
def test_a_mount_point_is_refused(tmp_path: Path) -> None:
    with mounted(tmp_path) as place:
        many(place, 2)
        assert b"mount point" in runark("nightly", place, "--execute", "-q").expect(2).err
        runark("nightly", place, "--execute", "--allow-mount-point").ok()


def test_a_session_as_root_is_refused(eng: list[str], root: Path) -> None:
    """The lock, the audit and the trash would lie in it."""
    session = root / "FINISHED_SUCCESS" / name(0)
    before = snapshot(session)
    assert (
        b"is a session itself" in runark("nightly", *eng, session, "--execute", "-q", "--trash-days", 1).expect(2).err
    )
    assert_same(before, snapshot(session))


@pytest.mark.mounts
def test_a_filesystem_without_the_trash(eng: list[str], root: Path) -> None:
    other = root / "other"
    other.mkdir()
    with mounted(other):
        before = snapshot(many(other, 1)[0])
        night = ("nightly", *eng, root, "--execute", "--trash-days", 1, "--cross-file-systems")
        assert b"on another filesystem than the trash" in runark(*night).expect(3).err
        assert_same(before, snapshot(other / name(0)))


@pytest.mark.parametrize("place", ["/", "/home", "~"])
def test_the_system_and_homes_are_refused(place: str) -> None:
    done = runark("nightly", os.path.expanduser(place), "--execute", "-q").expect(2)
    assert b"name the directory below it" in done.err


# ------------------------------------------------------------------------------------------------ plan and apply


def test_apply_does_exactly_the_plan(eng: list[str], root: Path, tmp_path: Path) -> None:
    paper = tmp_path / "plan.json"
    words = ("archive", *eng, root, "--older-than", "1h", "--glob", f"*{name(1)[-3:]}", "--glob", "*_000[2345]")
    planned = runark(*words, "--plan-out", paper).ok()
    digest = json.loads(paper.read_text())["sha256"]
    assert digest.encode() in planned.err and not archives(root)
    assert digest.encode() in runark("apply", paper, "--dry-run").ok().out
    success = root / "FINISHED_SUCCESS"
    (success / name(2) / "new.txt").touch()  # changed since
    (success / name(3)).rename(tmp_path / "away")  # gone
    (success / name(4) / ".keep").touch()
    runark("archive", *eng, success, "--fixed", name(5), "--execute").ok()  # archived by somebody else
    done = runark("apply", *eng, paper, "--json").expect(3).json()
    assert done["counts"] == {"archived": 1, "changed": 3, "skipped": 1}, done
    assert archives(root) == {f"FINISHED_SUCCESS/{name(1)}", f"FINISHED_SUCCESS/{name(5)}"}
    assert runark("apply", *eng, paper, "--json").expect(3).json()["counts"] == {"changed": 3, "skipped": 2}


@pytest.mark.mounts
def test_a_plan_across_file_systems(tmp_path: Path) -> None:
    from support.privileges import mounted

    root = tmp_path / "out"
    many(root, 2)
    (root / "inner").mkdir()
    with mounted(root / "inner") as place:
        many(place, 2, start=2)
        runark("archive", root, "--cross-file-systems", "--plan-out", tmp_path / "p.json").ok()
        runark("apply", tmp_path / "p.json").ok()
        assert len(list(root.rglob("*.tar.gz"))) == 4


def test_a_dry_run_of_a_plan_as_json(root: Path, tmp_path: Path) -> None:
    runark("archive", root, "--plan-out", tmp_path / "p.json").ok()
    done = runark("apply", tmp_path / "p.json", "--dry-run", "--json").ok().json()
    assert (done["what"], done["sessions"]) == ("plan-file", 28) and not archives(root)


def test_an_edited_plan_is_refused(root: Path, tmp_path: Path) -> None:
    paper = tmp_path / "plan.json"
    runark("archive", root, "--plan-out", paper, "--status", "error").ok()
    document = json.loads(paper.read_text())
    good = paper.read_text()
    document["sessions"].append([f"{root}/FINISHED_SUCCESS/{name(0)}", *document["sessions"][0][1:]])
    for text, said in ((json.dumps(document), "has been edited"), (good[:-20], "no plan file"), ("[]", "no plan file")):
        paper.write_text(text)
        assert said in runark("apply", paper).expect(2).err.decode()
    assert not archives(root)
    paper.write_text(good)
    assert b"is there already" in runark("archive", root, "--plan-out", paper).expect(1).err
    assert paper.read_text() == good
    runark("archive", root, "--plan-out", tmp_path / "x", "--execute").expect(2)
    runark("apply", tmp_path / "gone").expect(10)
    runark("apply", paper).ok()
    assert len(archives(root)) == 3


# ------------------------------------------------------------------------------------------------ trash and undo


def test_trash_and_undo(eng: list[str], root: Path) -> None:
    before = trees(root)
    night = ("nightly", *eng, root, "--execute", "--trash-days", 3)
    run = runark(*night, "--json").ok().json()["run"]
    assert len(archives(root)) == 28 and len(trees(root)) == 2
    assert os.stat(root / ".runark" / "trash").st_mode & 0o777 == 0o700
    assert {line["event"] for line in audit(root)} == {"begin", "trashed", "end"}
    one = f"FINISHED_SUCCESS/{name(3)}"
    assert one.encode() in runark("undo", *eng, root, name(3)).ok().out and one not in trees(root)
    runark("undo", *eng, root, name(3), "--execute").ok()
    assert_same(before[one], trees(root)[one])
    assert b"neither in the trash nor archived" in runark("undo", *eng, root, "nobody", "--execute").expect(3).err
    runark("undo", *eng, root, "--run", run, "--execute").ok()
    after = trees(root)
    assert after.keys() == before.keys()
    for path, tree in before.items():
        assert_same(tree, after[path])
    assert not list((root / ".runark").glob("trash/*")), "nothing is left in the trash"
    runark("verify", *eng, root).ok()
    for wrong in ((), (name(1), "--run", run), ("--run", "never")):
        runark("undo", *eng, root, *wrong).expect(2)


def aged(root: Path) -> None:
    """All runs in the trash long ago."""
    for number, path in enumerate(sorted((root / ".runark" / "trash").iterdir())):
        path.rename(path.with_name(f"20200101T00000{number}Z-abcd"))


def test_the_trash_is_purged(eng: list[str], root: Path) -> None:
    make(root / "FINISHED_SUCCESS" / name(50), everything(root))
    before = trees(root)
    special = f"FINISHED_SUCCESS/{name(50)}"  # setuid and the like come back from an archive only if asked for
    night = ("nightly", *eng, root, "--execute", "--trash-days", 3)
    runark(*night).ok()
    runark(*night).ok()
    assert len(list((root / ".runark").glob("trash/*/*/.sessions/*"))) == 29, "not before its time"
    aged(root)
    done = runark(*night, "--json").ok().json()["roots"][0]
    assert done["purged"]["counts"] == {"purged": 29} and not list((root / ".runark").glob("trash/*"))
    assert sum(line["event"] == "purged" for line in audit(root)) == 29
    runark("verify", *eng, root).ok()
    # Gone from the trash: undo takes the archives.
    run = next(line["run"] for line in audit(root) if line["event"] == "trashed")
    runark("undo", *eng, root, "--run", run, "--execute").ok()
    after = trees(root)
    assert after.keys() == before.keys()
    for path in after.keys() - {special}:
        assert_same(before[path], after[path])


def test_what_is_not_in_its_archive_is_not_purged(eng: list[str], root: Path) -> None:
    """Changed in the trash, its archive gone, damaged or another one: it stays, and is told."""
    night = ("nightly", *eng, root, "--execute", "--trash-days", 3)
    runark(*night).ok()
    aged(root)
    trash = next((root / ".runark").glob("trash/*/FINISHED_SUCCESS/.sessions"))
    success = root / "FINISHED_SUCCESS"
    (trash / name(0) / "more.txt").write_text("only here")
    (success / f"{name(1)}{SUFFIX}").rename(root / "moved away")
    damaged = success / f"{name(2)}{SUFFIX}"
    damaged.write_bytes(damaged.read_bytes()[:-30])
    (success / f"{name(3)}{SUFFIX}").write_bytes((success / f"{name(4)}{SUFFIX}").read_bytes())
    before = {number: snapshot(trash / name(number)) for number in range(4)}
    done = runark(*night, "--json").expect(3)
    assert done.json()["roots"][0]["purged"]["counts"]["purged"] == 24
    for number, tree in before.items():
        assert_same(tree, snapshot(trash / name(number)))
    assert os.listdir(trash) == [name(number) for number in range(4)] or len(os.listdir(trash)) >= 4
    again = runark(*night, "--json").expect(3).json()
    assert again["roots"][0]["purged"]["counts"].get("purged", 0) == 0
    assert len({number for number in range(4) if (trash / name(number)).is_dir()}) == 4
    runark("undo", *eng, root, name(1), "--execute").ok()
    assert_same(before[1], snapshot(success / name(1)))


def test_a_purge_that_was_killed_goes_on(eng: list[str], root: Path) -> None:
    night = ("nightly", *eng, root, "--execute", "--trash-days", 3)
    runark(*night).ok()
    aged(root)
    trash = next((root / ".runark").glob("trash/*/FINISHED_SUCCESS/.sessions"))
    os.link(root / "FINISHED_SUCCESS" / f"{name(0)}{SUFFIX}", trash / f"{name(0)}{SUFFIX}")
    (trash / name(0)).rename(trash / f".{name(0)}.removing-0123456789abcdef")
    (trash / f".{name(0)}.removing-0123456789abcdef" / "CONFIGS" / "CONFIG.yaml").unlink()
    assert b"nor archived" not in runark("undo", *eng, root, name(0)).ok().err, "its archive brings it back"
    done = runark(*night, "--json").ok().json()["roots"][0]
    assert done["purged"]["counts"] == {"purged": 28} and not list((root / ".runark").glob("trash/*"))


def test_undo_puts_nothing_over_anything(eng: list[str], root: Path) -> None:
    runark("nightly", *eng, root, "--execute", "--trash-days", 3).ok()
    taken = root / "FINISHED_SUCCESS" / name(0)
    taken.mkdir()
    (taken / "mine").touch()
    assert b"is there again" in runark("undo", *eng, root, name(0), "--execute").expect(3).err
    assert os.listdir(taken) == ["mine"]
    assert list((root / ".runark").glob(f"trash/*/FINISHED_SUCCESS/.sessions/{name(0)}"))


# ------------------------------------------------------------------------------------------------ many users


@pytest.fixture
def shared() -> Iterator[Path]:
    """Sessions of two users and of root, each in a directory of theirs that others can enter (pytest's own cannot)."""
    with tempfile.TemporaryDirectory() as directory:
        base = Path(directory) / "shared"
        os.chmod(directory, 0o755)
        for uid in (0, 1234, 65534):
            home = base / f"u{uid}"
            many(home, 12)
            for top, directories, files in os.walk(home):
                for entry in (*directories, *files, "."):
                    os.lchown(os.path.join(top, entry), uid, uid)
        yield base


@pytest.mark.root
def test_each_session_is_archived_as_its_owner(eng: list[str], shared: Path) -> None:
    before = {path: snapshot(path) for path in shared.glob("u*/*")}
    # What a user may not do is not done for the user, though root could.
    os.chown(shared / "u65534", 0, 0)
    done = runark("nightly", *eng, shared, "--execute", "--json").expect(3).json()
    assert done["roots"][0]["archived"]["counts"] == {"archived": 24, "failed": 12}
    for uid in (0, 1234):
        found = list((shared / f"u{uid}").iterdir())
        assert len(found) == 12 and {path.stat().st_uid for path in found} == {uid}
        assert all(path.name.endswith(SUFFIX) for path in found)
    for path in (shared / "u65534").iterdir():
        assert_same(before[path], snapshot(path))
    assert all("ermission" in outcome["reason"] for outcome in done["roots"][0]["archived"]["problems"])
    runark("nightly", *eng, shared, "--execute", "--as-root").ok()
    runark("restore", *eng, shared, "--execute", "--same-owner", "--remove-archive").ok()
    for path, tree in before.items():
        assert_same(tree, snapshot(path))


@pytest.mark.root
def test_what_root_undoes_is_the_owners_again(eng: list[str], shared: Path) -> None:
    before = {path: snapshot(path) for path in shared.glob("u1234/*")}
    runark("nightly", *eng, shared / "u1234", "--execute").ok()
    runark("undo", *eng, shared / "u1234", *(path.name for path in before), "--execute").ok()
    for path, tree in before.items():
        assert_same(tree, snapshot(path))


@pytest.mark.root
def test_groups_of_the_owner(eng: list[str], shared: Path) -> None:
    """A user with an entry works with the groups the system gives."""
    entry = pwd.getpwnam("nobody")
    target = shared / f"u{entry.pw_uid}"
    os.chown(target, 0, entry.pw_gid)
    os.chmod(target, 0o770)
    done = runark("nightly", *eng, target, "--execute", "--json").ok().json()
    assert done["roots"][0]["archived"]["counts"] == {"archived": 12}


@pytest.mark.root
def test_a_package_that_the_owner_cannot_read(eng: list[str], shared: Path, tmp_path: Path) -> None:
    """What works for the user has imported all it needs before it is the user."""
    unread = tmp_path / "python"
    shutil.copytree(Path(package.__file__).parent, unread / "runark", ignore=shutil.ignore_patterns("__pycache__"))
    os.chmod(unread, 0o700)
    words = (*eng, shared / "u1234", "--execute", "--max-ops/s", 100_000, "--json")
    done = runark("nightly", *words, PYTHONPATH=str(unread)).ok().json()
    assert set(done["roots"][0]["archived"]["counts"]) == {"archived"}


@pytest.mark.root
def test_a_users_link_does_not_lead_root_astray(eng: list[str], shared: Path, tmp_path: Path) -> None:
    """What a user puts behind a session's name is looked at with the user's eyes."""
    secret = tmp_path / "secret"
    make(secret, plain(1))
    os.chmod(tmp_path, 0o700)
    before = snapshot(secret)
    victim = shared / "u1234" / name(0)
    (victim / "logs" / "link").symlink_to(secret)
    os.lchown(victim / "logs" / "link", 1234, 1234)
    runark("nightly", *eng, shared / "u1234", "--execute").ok()
    assert_same(before, snapshot(secret))


def owners_process(process: subprocess.Popen[bytes]) -> int:
    """The process that works for user 1234, as soon as there is one."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        for status in Path("/proc").glob("[0-9]*/status"):
            try:
                text = status.read_text()
            except OSError:
                continue
            if f"PPid:\t{process.pid}\n" in text and "Uid:\t1234\t1234" in text:
                return int(status.parent.name)
        time.sleep(0.01)
    raise AssertionError("no process of user 1234")


@pytest.mark.root
def test_an_owners_process_that_is_killed(eng: list[str], shared: Path) -> None:
    process = begin("nightly", *eng, shared / "u1234", "--execute", "--max-ops/s", "60", "-j", "1", "--json")
    os.kill(owners_process(process), signal.SIGKILL)
    out, err = process.communicate(timeout=60)
    done = Done(process.returncode, out, err).expect(3).json()
    told = done["roots"][0]["archived"]["problems"]
    reasons = {outcome["reason"].partition(";")[0] for outcome in told}
    assert reasons == {"the process that worked for its owner ended (status -9)"}
    runark("nightly", *eng, shared / "u1234", "--execute").ok()
    assert len(list((shared / "u1234").glob(f"*{SUFFIX}"))) == 12


@pytest.mark.root
def test_an_owners_process_that_is_stopped(eng: list[str], shared: Path) -> None:
    """A user can stop what works for the user, but not the night."""
    before = {path: snapshot(path) for path in shared.glob("u1234/*")}
    process = begin("nightly", *eng, shared / "u1234", "--execute", "--max-ops/s", "60", "--json")
    os.kill(owners_process(process), signal.SIGSTOP)
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=30)
    assert b"the process that worked for its owner ended (status -9)" in out, err
    runark("nightly", *eng, shared / "u1234", "--execute").ok()
    runark("restore", *eng, shared, "--execute", "--same-owner", "--remove-archive").ok()
    for path, tree in before.items():
        assert_same(tree, snapshot(path))


@pytest.mark.parametrize("planted", ["a directory others may enter", "a link"])
def test_a_trash_that_others_can_reach_is_refused(root: Path, tmp_path: Path, planted: str) -> None:
    (root / ".runark").mkdir()
    trash = root / ".runark" / "trash"
    if planted == "a link":
        (tmp_path / "elsewhere").mkdir()
        trash.symlink_to(tmp_path / "elsewhere")
    else:
        trash.mkdir()
        os.chmod(trash, 0o755)
    refused = runark("nightly", root, "--execute", "-q", "--trash-days", 3).expect(2)
    assert str(trash).encode() in refused.err and not archives(root)


def test_nobodys_link_is_written_through(root: Path, tmp_path: Path) -> None:
    (root / ".runark").mkdir()
    victim = tmp_path / "victim"
    victim.write_text("dear")
    for one in ("nightly.json", "audit.jsonl", "probe"):
        (root / ".runark" / one).symlink_to(victim)
    runark("nightly", root, "--execute").ok()
    assert victim.read_text() == "dear"
