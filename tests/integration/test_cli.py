"""The installed command, on each engine: verbs, output, exit codes, and that a dry run touches nothing."""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
import struct
import subprocess
import sys
import termios
from pathlib import Path
from typing import Any

import pytest

from support import tarbytes
from support.cli import clean_environment, executable, module, runark
from support.engines import ENGINES
from support.sessions import NAME, many, name, plain
from support.trees import DEFAULT_MTIME_NS, Dir, File, Snapshot, Socket, Tree, assert_same, make, snapshot


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Twelve sessions, as projects have them."""
    base = tmp_path / "project"
    many(base / "FINISHED_SUCCESS", 8)
    many(base / "FINISHED_ERROR", 2, start=8)
    many(base / "RUNNING", 2, start=10)
    return base


def below(tree: Snapshot) -> Snapshot:
    """Without the top, whose time changes when something is made in it, and without runark's own directory."""
    return {path: entry for path, entry in tree.items() if path and not path.startswith(b".runark")}


def sessions_of(tree: Snapshot) -> Snapshot:
    """The sessions of `root`, two levels down; the directories above them get new times."""
    return {path: entry for path, entry in below(tree).items() if b"/" in path}


# ------------------------------------------------------------------------------------------------ the command itself


def test_version(eng: list[str]) -> None:
    done = runark(*eng, "--version").ok()
    assert b"0.1.0" in done.out and eng[1].encode() in done.out and done.err == b""
    chosen = runark("--version", RUNARK_ENGINE=eng[1]).ok()
    assert eng[1].encode() in chosen.out


def test_as_a_module() -> None:
    done = subprocess.run([*module(), "--version"], capture_output=True, env=clean_environment(), check=True)
    assert done.stdout == runark("--version").out


@pytest.mark.parametrize("verb", ["", "scan", "archive", "restore", "verify", "list", "schedule", "completion"])
@pytest.mark.parametrize("flag", ["-h", "--help"])
def test_help(verb: str, flag: str) -> None:
    done = runark(*([verb] if verb else []), flag).ok()
    assert b"Usage" in done.out and done.err == b""


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion(shell: str) -> None:
    done = runark("completion", shell).ok()
    assert b"runark" in done.out and len(done.out) > 100


def test_completion_answers_a_shell() -> None:
    if shutil.which("bash") is None:
        raise AssertionError("bash is missing: apt-get install bash")
    script = runark("completion", "bash").ok().out.decode()
    line = "COMP_WORDS=(runark arch); COMP_CWORD=1; _runark_completion runark; echo ${COMPREPLY[@]}"
    path = f"PATH={os.path.dirname(executable())}:$PATH"
    done = subprocess.run(
        ["bash", "-c", f"{path}\n{script}\n{line}"], capture_output=True, env=clean_environment(), check=True
    )
    assert done.stdout.split() == [b"archive"], done


@pytest.mark.parametrize(
    "words",
    [
        ["nonsense"],
        ["scan"],
        ["scan", ".", "--nonsense"],
        ["archive", ".", "--format", "zip"],
        ["archive", ".", "--level", "99"],
        ["archive", ".", "--jobs", "0"],
        ["archive", ".", "--verify", "never"],
        ["scan", ".", "--older-than", "yesterday-ish"],
        ["scan", ".", "--changed-before", "12"],
        ["scan", ".", "--size", "large"],
        ["scan", ".", "--regex", "("],
        ["scan", ".", "--regex", "(?=x)"],
        ["scan", ".", "--status", "odd"],
        ["scan", ".", "--layout", "unheard-of"],
        ["scan", ".", "--engine", "magic"],
        ["--engine", "magic", "scan", "."],
        ["completion", "tcsh"],
    ],
    ids=" ".join,
)
def test_usage_errors(tmp_path: Path, words: list[str]) -> None:
    make(tmp_path / "r", {NAME: plain()})
    before = snapshot(tmp_path / "r")
    done = runark(*words, cwd=tmp_path / "r").expect(2)
    assert done.out == b"" and done.err
    assert_same(before, snapshot(tmp_path / "r"))


@pytest.mark.parametrize("verb", ["scan", "archive", "restore", "verify", "list"])
def test_missing_root(tmp_path: Path, verb: str) -> None:
    done = runark(verb, tmp_path / "missing").expect(10)
    assert b"missing" in done.err


@pytest.mark.parametrize("where", ["/", "/usr", "/etc"])
def test_system_directories_are_refused(where: str) -> None:
    runark("archive", where).expect(2)


def test_broken_configuration(tmp_path: Path) -> None:
    root = tmp_path / "r"
    make(root, {NAME: plain(), "runark.yaml": "layouts:\n  - name: mine\n    patern: x\n"})
    done = runark("scan", root).expect(2)
    assert b"runark.yaml" in done.err and b"patern" in done.err


# ------------------------------------------------------------------------------------------------ scan


def test_scan_table(eng: list[str], root: Path) -> None:
    done = runark(*eng, "scan", root).ok()
    for number in range(10):
        assert name(number).encode() in done.out
    assert b"\x1b" not in done.out and b"\r" not in done.err, "control sequences although nobody looks at a terminal"


def test_scan_json(eng: list[str], root: Path) -> None:
    found = runark(*eng, "scan", root, "--json").ok().json()
    assert isinstance(found["schema"], int)
    rows = found["sessions"] if isinstance(found.get("sessions"), list) else found["rows"]
    assert len(rows) == 10
    assert {row["status"] for row in rows} == {"success", "error"}
    assert {row["inodes"] for row in rows} == {8}
    assert {row["layout"] for row in rows} == {"scitex"}
    assert rows[0]["path"] == str(root / "FINISHED_ERROR" / name(8))


def test_scan_nul(eng: list[str], root: Path) -> None:
    done = runark(*eng, "scan", "-0", root).ok()
    assert sorted(done.out.split(b"\0")[:-1]) == sorted(
        os.fsencode(path) for part in ("FINISHED_SUCCESS", "FINISHED_ERROR") for path in (root / part).iterdir()
    )


def test_scan_changes_nothing(eng: list[str], root: Path) -> None:
    before = snapshot(root)
    for words in ([], ["--json"], ["-0"]):
        runark(*eng, "scan", root, *words).ok()
    assert_same(before, snapshot(root))


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([], range(10)),
        (["--status", "success"], range(8)),
        (["--status", "error"], (8, 9)),
        (["--status", "success", "--status", "error"], range(10)),
        (["--glob", f"*{name(3)[-4:]}"], (3,)),
        (["--glob", f"*{name(3)[-4:]}", "--glob", "*0005"], (3, 5)),
        (["--glob", "2026*_000[0-2]"], (0, 1, 2)),
        (["--glob", "*{0001,0004}"], (1, 4)),
        (["--regex", "_000[78]$"], (7, 8)),
        (["--fixed", "_0009"], (9,)),
        (["--exclude", "*_000[0-8]"], (9,)),
        (["--exclude", "FINISHED_SUCCESS"], (8, 9)),
        (["--max-depth", "1"], ()),
        (["--max-depth", "2"], range(10)),
        (["--min-depth", "3"], ()),
        (["--changed-before", "2024-01-01"], range(10)),
        (["--changed-within", "2024-01-01"], ()),
        (["--changed-before", "1week"], range(10)),
        (["--changed-within", "1d 12h"], ()),
        (["--older-than", "30"], range(10)),
        (["--older-than", "0.5"], range(10)),
        (["--newer-than", "30"], ()),
        (["--changed-before", "@1500000000"], ()),
        (["--size", "+700b"], range(10)),
        (["--size", "-1b"], ()),
        (["--size", "+1G"], ()),
        (["--owner", str(os.geteuid())], range(10)),
        (["--owner", f"!{os.geteuid()}"], ()),
        (["--layout", "scitex"], range(10)),
        (["--layout", "wandb"], ()),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_filters(root: Path, words: list[str], expected: Any) -> None:
    done = runark("scan", "-0", *words, root).ok()
    assert {os.path.basename(path).decode() for path in done.out.split(b"\0")[:-1]} == {name(n) for n in expected}


def test_layouts(tmp_path: Path) -> None:
    tree: Tree = {
        NAME: {}, f"DEBUG_{NAME}-suffix": {},
        "session_2026-02-13-14-30-15": {".runark-workdir": ""}, "session_2026-02-13-14-30-16": {},
        "outputs": {"2026-02-13": {"14-30-15": {".hydra": {"config.yaml": "x"}}}},
        "wandb": {"run-20260213_143015-abc123xy": {}, "offline-run-20260213_143015-abc123xy": {}},
        "mine": {"exp-17": {"done": ""}, "exp-18": {}},
        "runark.yaml": "layouts:\n  - name: mine\n    pattern: 'exp-\\d+'\n    marker: done\n",
    }  # fmt: skip
    make(tmp_path / "r", tree)
    found = runark("scan", tmp_path / "r", "--json").ok().json()
    rows = found["sessions"] if isinstance(found.get("sessions"), list) else found["rows"]
    assert {(row["layout"], os.path.basename(row["path"])) for row in rows} == {
        ("scitex", NAME), ("scitex", f"DEBUG_{NAME}-suffix"), ("workdir", "session_2026-02-13-14-30-15"),
        ("hydra", "14-30-15"), ("wandb", "run-20260213_143015-abc123xy"),
        ("wandb", "offline-run-20260213_143015-abc123xy"),
        ("mine", "exp-17"),
    }  # fmt: skip


# ------------------------------------------------------------------------------------------------ archive and back


def test_there_and_back(eng: list[str], root: Path) -> None:
    """Scan, dry run, archive, list, verify, restore: the tree is what it was."""
    before = snapshot(root)
    dry = runark(*eng, "archive", root).ok()
    assert b"10" in dry.out
    assert_same(before, snapshot(root))
    done = runark(*eng, "archive", root, "--execute").ok()
    assert done.out
    archives = sorted(root.glob("FINISHED_*/*.tar.gz"))
    assert len(archives) == 10
    assert {path.name for path in root.glob("FINISHED_*/*")} == {path.name for path in archives}
    assert len(list((root / "RUNNING").iterdir())) == 2
    runark(*eng, "verify", root).ok()
    listed = runark(*eng, "list", root).ok()
    assert all(path.name.encode() in listed.out for path in archives)
    long = runark(*eng, "list", "--long", archives[0]).ok()
    assert b"CONFIGS/CONFIG.yaml" in long.out
    archived = snapshot(root)
    runark(*eng, "restore", root).ok()
    assert_same(below(archived), below(snapshot(root)))
    runark(*eng, "restore", root, "--execute", "--remove-archive", "--same-owner").ok()
    assert_same(sessions_of(before), sessions_of(snapshot(root)))
    # Again: nothing to restore, nothing is touched.
    runark(*eng, "restore", root, "--execute").ok()


def test_json_of_a_plan_and_of_a_run(eng: list[str], root: Path) -> None:
    plan = runark(*eng, "archive", root, "--json").ok().json()
    assert plan["what"] == "plan" and isinstance(plan["schema"], int)
    assert (plan["sessions"], plan["inodes"]) == (10, 80)
    assert plan["skipped"] == {"running": 2}
    result = runark(*eng, "archive", root, "--execute", "--json").ok().json()
    assert result["what"] == "archive" and result["engine"] == eng[1] and isinstance(result["schema"], int)
    assert result["counts"] == {"archived": 10}
    assert result["inodes_freed"] == plan["inodes_freed"], "plan and result count the archives differently"
    assert result["bytes_in"] == plan["size"]
    assert result["problems"] == [] and result["stopped"] == ""
    checked = runark(*eng, "verify", root, "--json").ok().json()
    assert checked["counts"] == {"sound": 10}
    listed = runark(*eng, "list", root, "--json").ok().json()
    assert isinstance(listed["schema"], int)
    back = runark(*eng, "restore", root, "--execute", "--json").ok().json()
    assert back["counts"] == {"restored": 10}


def test_events(eng: list[str], root: Path, tmp_path: Path) -> None:
    runark(*eng, "archive", root, "--execute", "--events", tmp_path / "events.jsonl").ok()
    events = [json.loads(line) for line in (tmp_path / "events.jsonl").read_text().splitlines()]
    assert len(events) == 10
    for event in events:
        assert event["action"] == "archived"
        assert re.fullmatch("[0-9a-f]{64}", event["sha256"])
        assert event["bytes_in"] > 0 and event["bytes_out"] > 0 and event["entries"] == 8
        assert os.path.exists(event["target"]) and not os.path.exists(event["path"])


@pytest.mark.parametrize("fmt", ["tar.gz", "tar.zst", "tar.xz", "tar"])
def test_formats(eng: list[str], root: Path, fmt: str) -> None:
    runark(*eng, "archive", root, "--execute", "--format", fmt).ok()
    assert len(list(root.glob(f"FINISHED_*/*.{fmt}"))) == 10
    runark(*eng, "verify", root).ok()
    runark(*eng, "restore", root, "--execute").ok()
    assert len([path for path in root.glob("FINISHED_*/*") if path.is_dir()]) == 10


def test_keep_source_then_remove(eng: list[str], root: Path) -> None:
    before = snapshot(root)
    runark(*eng, "archive", root, "--execute", "--keep-source", "--verify", "compare").ok()
    for path, entry in below(before).items():
        if entry.kind != "dir":
            assert snapshot(root)[path] == entry
    runark(*eng, "archive", root, "--execute").ok()
    assert not [path for path in root.glob("FINISHED_*/*") if path.is_dir()]


def test_max_sessions(eng: list[str], root: Path) -> None:
    runark(*eng, "archive", root, "--execute", "--max-sessions", "4").expect(75)
    assert len(list(root.glob("FINISHED_*/*.tar.gz"))) == 4
    runark(*eng, "archive", root, "--execute", "--max-sessions", "40").ok()
    assert len(list(root.glob("FINISHED_*/*.tar.gz"))) == 10


def test_restore_elsewhere(eng: list[str], root: Path, tmp_path: Path) -> None:
    before = snapshot(root / "FINISHED_SUCCESS" / name(3))
    runark(*eng, "archive", root, "--execute").ok()
    archived = snapshot(root)
    runark(*eng, "restore", root, "--to", tmp_path / "back", "--execute", "--same-owner").ok()
    assert_same(archived, snapshot(root), ignore=("mtime_ns",))
    assert_same(before, snapshot(tmp_path / "back" / "FINISHED_SUCCESS" / name(3)))


def test_one_archive_by_its_path(eng: list[str], root: Path) -> None:
    runark(*eng, "archive", root, "--execute").ok()
    archive = root / "FINISHED_SUCCESS" / f"{name(3)}.tar.gz"
    runark(*eng, "verify", archive).ok()
    runark(*eng, "restore", archive, "--execute").ok()
    assert (root / "FINISHED_SUCCESS" / name(3)).is_dir()
    assert not (root / "FINISHED_SUCCESS" / name(2)).exists()


# ------------------------------------------------------------------------------------------------ what goes wrong


def test_some_sessions_cannot_be_archived(eng: list[str], root: Path) -> None:
    """A socket: the others are archived; the reason is told. A skip is no failure."""
    make(root / "FINISHED_SUCCESS" / name(3) / "run", {"agent.sock": Socket()})
    done = runark(*eng, "archive", root, "--execute", "--json")
    assert done.code in (0, 3), done
    result = done.json()
    assert result["counts"] == {"archived": 9, "skipped": 1}
    assert (root / "FINISHED_SUCCESS" / name(3) / "run" / "agent.sock").exists()


def test_damaged_archive(eng: list[str], root: Path) -> None:
    runark(*eng, "archive", root, "--execute").ok()
    archive = root / "FINISHED_SUCCESS" / f"{name(3)}.tar.gz"
    data = archive.read_bytes()
    archive.write_bytes(data[:-20])
    done = runark(*eng, "verify", root, "--json").expect(3)
    assert done.json()["counts"] == {"sound": 9, "damaged": 1}
    text = runark(*eng, "verify", root).expect(3)
    assert archive.name.encode() in text.out + text.err
    done = runark(*eng, "restore", root, "--execute", "--json").expect(3)
    assert {key: number for key, number in done.json()["counts"].items() if number} == {"restored": 9, "damaged": 1}
    assert archive.read_bytes() == data[:-20]
    assert not (root / "FINISHED_SUCCESS" / name(3)).exists()


def test_foreign_archive_restores(eng: list[str], tmp_path: Path) -> None:
    stream = tarbytes.joined([tarbytes.member(NAME.encode() + b"/x", b"data")])
    (tmp_path / f"{NAME}.tar.gz").write_bytes(tarbytes.gz(stream))
    runark(*eng, "restore", tmp_path / f"{NAME}.tar.gz", "--execute").ok()
    assert (tmp_path / NAME / "x").read_text() == "data"


def test_hostile_archive_names_its_member(eng: list[str], tmp_path: Path) -> None:
    stream = tarbytes.joined([tarbytes.member(b"../\x1b[2Jevil", b"data")])
    (tmp_path / f"{NAME}.tar.gz").write_bytes(tarbytes.gz(stream))
    done = runark(*eng, "restore", tmp_path / f"{NAME}.tar.gz", "--execute").expect(3)
    assert b"evil" in done.out + done.err
    assert b"\x1b" not in done.out + done.err
    assert os.listdir(tmp_path) == [f"{NAME}.tar.gz"]


def test_names_are_escaped(eng: list[str], tmp_path: Path) -> None:
    """Nothing a directory is called reaches the terminal as it is; -0 and JSON keep every byte."""
    evil = NAME.encode() + b"-\x1b]0;owned\x07\n\xff\xe2\x80\xae"
    make(tmp_path / "r", {evil: plain()})
    for verb in ("scan", "archive"):
        done = runark(*eng, verb, tmp_path / "r").ok()
        for bad in (b"\x1b", b"\x07", b"\xff", b"\xe2\x80\xae"):
            assert bad not in done.out + done.err
        assert b"owned" in done.out
    assert runark(*eng, "scan", "-0", tmp_path / "r").ok().out == os.fsencode(tmp_path / "r") + b"/" + evil + b"\0"
    assert json.loads(runark(*eng, "scan", "--json", tmp_path / "r").ok().out.decode("utf-8"))
    runark(*eng, "archive", tmp_path / "r", "--execute").ok()
    assert evil + b".tar.gz" in os.listdir(os.fsencode(tmp_path / "r"))
    done = runark(*eng, "list", tmp_path / "r").ok()
    assert b"\x1b" not in done.out and b"owned" in done.out


def test_quiet(eng: list[str], root: Path) -> None:
    done = runark(*eng, "archive", root, "--execute", "--quiet").ok()
    assert done.err == b""


def test_bar_on_a_terminal(eng: list[str], tmp_path: Path) -> None:
    """Only when somebody looks: stderr is a terminal here, and the run long enough. stdout stays a document."""
    many(tmp_path / "root", 400)
    reader, writer = os.openpty()
    fcntl.ioctl(writer, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 100, 0, 0))  # a terminal of no width has no bar
    command = [executable(), *eng, "archive", str(tmp_path / "root"), "--execute", "--json", "--format", "tar.xz"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=writer, env=clean_environment(TERM="xterm")
    ) as process:
        os.close(writer)
        shown = b""
        while True:
            try:
                piece = os.read(reader, 65536)
            except OSError:  # EIO: the other side is closed
                break
            if not piece:
                break
            shown += piece
        assert process.stdout is not None
        out = process.stdout.read()
    os.close(reader)
    assert process.returncode == 0, shown
    assert b"\r" in shown and b"/400" in shown, shown
    assert json.loads(out)["counts"] == {"archived": 400}


def test_young_sessions_stay(eng: list[str], root: Path) -> None:
    (root / "FINISHED_SUCCESS" / name(3) / "logs" / "stdout.log").write_text("written just now")
    done = runark(*eng, "archive", root, "--execute", "--older-than", "1d", "--json").ok()
    assert done.json()["counts"] == {"archived": 9}
    assert (root / "FINISHED_SUCCESS" / name(3)).is_dir()


def test_the_working_directory_stays(eng: list[str], root: Path) -> None:
    inside = root / "FINISHED_SUCCESS" / name(3) / "logs"
    runark(*eng, "archive", root, "--execute", cwd=inside).ok()
    assert inside.is_dir()
    assert len(list(root.glob("FINISHED_*/*.tar.gz"))) == 9


def test_second_run_continues(eng: list[str], root: Path) -> None:
    """Left over from a killed run: a part file, a kept source, a tombstone; the names alone are enough."""
    base = root / "FINISHED_SUCCESS"
    before = {number: snapshot(base / name(number)) for number in range(8)}
    runark(*eng, "archive", base, "--execute", "--keep-source").ok()
    (base / f"{name(0)}.tar.gz").unlink()
    (base / f".{name(0)}.tar.gz.0123456789abcdef.part").write_bytes(b"half")
    (base / name(1)).rename(base / f".{name(1)}.removing-0123456789abcdef")
    os.unlink(base / f".{name(1)}.removing-0123456789abcdef" / "results.csv")
    (base / f"{name(2)}.tar.gz").write_bytes(b"damaged")
    runark(*eng, "archive", base, "--execute").ok()
    left = {path.name for path in base.iterdir() if path.name != ".runark"}
    assert {entry for entry in left if not entry.startswith(".")} == {f"{name(n)}.tar.gz" for n in range(8)}
    assert [entry for entry in left if entry.startswith(".")] == [e for e in left if ".damaged-" in e]
    runark(*eng, "restore", base, "--execute", "--same-owner").ok()
    for number, tree in before.items():
        assert_same(tree, snapshot(base / name(number)))


def test_engines_by_turns(root: Path) -> None:
    """Archived by one, restored by the next, in every order, through the command."""
    before = snapshot(root)
    for one in ENGINES:
        for two in ENGINES:
            runark("--engine", one, "archive", root, "--execute").ok()
            runark("--engine", two, "verify", root).ok()
            runark("--engine", two, "restore", root, "--execute", "--remove-archive", "--same-owner").ok()
            assert_same(sessions_of(before), sessions_of(snapshot(root)))


def test_several_roots_and_odd_modes(eng: list[str], tmp_path: Path) -> None:
    one = make(tmp_path / "one", {NAME: Dir({"secret": File(b"s", mode=0o600)}, mode=0o700)})
    two = make(tmp_path / "two", {NAME: Dir({"d": Dir({"x": "y"}, mode=0o750)}, mtime_ns=DEFAULT_MTIME_NS + 1)})
    before = [snapshot(one), snapshot(two)]
    runark(*eng, "archive", one, two, "--execute").ok()
    assert os.stat(one + b"/" + NAME.encode() + b".tar.gz").st_mode & 0o777 == 0o600
    runark(*eng, "restore", one, two, "--execute", "--remove-archive", "--same-owner").ok()
    for path, tree in zip((one, two), before, strict=True):
        assert_same(below(tree), below(snapshot(path)))


def test_interpreter_is_the_one_of_the_tests() -> None:
    """What is tested is what is installed here."""
    assert Path(executable()).parent == Path(sys.executable).parent
