"""Names and directories: exclusive, whatever races; where they are asked for; finished by a rename."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from runark import scan
from runark.errors import InvalidArgument, OperationFailed, TargetExists
from runark.session import directory
from runark.session.directory import final_directory, make_place, new_id
from runark.session.finish import move
from support.images import make_image, mounted_image
from support.privileges import without_override
from support.runs import Runner, clean_environment
from support.trees import make, snapshot

STARTS = """
    import sys
    from runark import session
    for _ in range({count}):
        CONFIG, *_ = session.start(verbose=False, file={script!r}, capture=False)
        print(CONFIG.SDIR_RUN.name)
        session.close(CONFIG, verbose=False, exit_status=0)
    """


def test_ten_thousand_starts_in_eight_processes(run: Runner) -> None:
    """1,250 sessions in each of eight processes at once: every one of them gets a directory of its own."""
    script = run.write("")
    text = STARTS.replace("{count}", "1250").replace("{script!r}", repr(str(script)))
    processes = [run.begin(text, name=f"starts{number}.py") for number in range(8)]
    names: list[str] = []
    for number, process in enumerate(processes):
        ended = run.end(process, f"starts{number}.py")
        assert ended.code == 0, ended.stderr
        names += ended.stdout.splitlines()
    assert len(names) == len(set(names)) == 10_000
    finished = os.listdir(run.directory / "job_out" / "FINISHED_SUCCESS")
    assert sorted(finished) == sorted(names)
    assert os.listdir(run.directory / "job_out" / "RUNNING") == []


def test_the_same_id_is_made_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also if a session of that name has been finished, or archived, since."""
    ids = iter(["A", "A", "B", "B", "B", "C", "C", "C", "C", "D"])
    monkeypatch.setattr(directory, "new_id", lambda debug=False: next(ids))
    monkeypatch.setenv("RUNARK_OUT_DIR", str(tmp_path))
    script = tmp_path / "s.py"
    first = make_place(script, None, "x", False)
    second = make_place(script, None, "x", False)
    assert (first.id, second.id) == ("A", "B")
    move(first.run, final_directory(first.run, 0))
    move(second.run, final_directory(second.run, 1))
    third = make_place(script, None, "x", False)
    assert third.id == "C"
    third.run.rmdir()
    (tmp_path / "s_out" / "FINISHED").mkdir()
    (tmp_path / "s_out" / "FINISHED" / "C-x.tar.gz").touch()
    assert make_place(script, None, "x", False).id == "D"
    assert sorted(path.name for path in (tmp_path / "s_out" / "RUNNING").iterdir()) == ["D-x"]


def test_an_id_has_its_form_and_leaves_the_seeded_generator_alone() -> None:
    import random

    random.seed(0)
    before = random.getstate()
    assert re.fullmatch(r"\d{4}Y-\d\dM-\d\dD-\d\dh\d\dm\d\ds_[0-9A-Za-z]{4}", new_id())
    assert new_id(debug=True).startswith("DEBUG_2")
    assert random.getstate() == before


@pytest.mark.parametrize(
    ("run", "status", "target"),
    [
        ("/x/RUNNING/a", 0, "/x/FINISHED_SUCCESS/a"),
        ("/x/RUNNING/a", None, "/x/FINISHED/a"),
        ("/x/RUNNING/a", 7, "/x/FINISHED_ERROR/a"),
        ("/RUNNING/p/RUNNING/a", 0, "/RUNNING/p/FINISHED_SUCCESS/a"),
        ("/TRAINING_RUNNING/a", 0, "/TRAINING_RUNNING/a"),
        ("/RUNNING/p/a", 0, "/RUNNING/p/a"),
    ],
)
def test_only_the_last_running_changes(run: str, status: int | None, target: str) -> None:
    assert final_directory(Path(run), status) == Path(target)


def test_places(run: Runner, tmp_path: Path) -> None:
    text = "from runark import session\nCONFIG, *_ = session.start(verbose=False{more})\nprint(CONFIG.SDIR_RUN)\n"
    text += "session.close(CONFIG, verbose=False)\n"
    ended = run(text.replace("{more}", ""), env={"RUNARK_OUT_DIR": str(tmp_path / "elsewhere")})
    assert ended.stdout.startswith(f"{tmp_path}/elsewhere/job_out/RUNNING/"), ended.stderr
    ended = run(text.replace("{more}", ", sdir_suffix='a b', file='other.py'"))
    assert ended.code == 0, ended.stderr
    (session,) = run.directory.glob("other_out/FINISHED/*")
    assert session.name.endswith("-a b")
    for wrong in (
        "sdir_suffix='a/b'",
        "sdir_suffix='x' * 300",
        "seed=-1",
        "fig_size_mm=(0, 1)",
        "archive_format='zip'",
    ):
        ended = run(text.replace("{more}", f", {wrong}"), name="wrong.py")
        assert ended.code == 1 and "InvalidArgument" in ended.stderr
        assert not ended.out.exists() or list(ended.out.glob("*/*")) == [], "nothing half-done remains"
    (run.directory / "blocked_out").write_text("a file")
    ended = run(text.replace("{more}", ""), name="blocked.py")
    assert ended.code == 1 and "blocked_out" in ended.stderr and "not a directory" in ended.stderr


def test_a_chosen_directory_is_one_sessions(run: Runner) -> None:
    """Also if several processes choose it at the same moment."""
    text = "from runark import session\nCONFIG, *_ = session.start(verbose=False, sdir='chosen')\nprint('it is mine')\n"
    text += "import time; time.sleep(0.5); session.close(CONFIG, exit_status=0, verbose=False)\n"
    ended = [run.end(process) for process in [run.begin(text) for _ in range(6)]]
    assert sorted(one.code for one in ended) == [0, 1, 1, 1, 1, 1], [one.stderr for one in ended]
    assert (run.directory / "chosen" / "logs" / "stdout.log").read_text() == "it is mine\n"


def test_without_a_script_the_working_directory_is_used(tmp_path: Path) -> None:
    text = "import runark.session as s; C, *_ = s.start(verbose=False); s.close(C, verbose=False, exit_status=0)"
    for command, stdin in ((["-c", text], None), (["-"], text)):
        subprocess.run(
            [sys.executable, *command], input=stdin, cwd=tmp_path, env=clean_environment(), text=True, check=True
        )
    assert len(list((tmp_path / "session_out" / "FINISHED_SUCCESS").iterdir())) == 2


def test_the_script_is_the_file_that_defines_the_function(run: Runner) -> None:
    run.write("import runark as stx\n@stx.session\ndef main(CONFIG=stx.INJECTED):\n    print(CONFIG.FILE)\n", "task.py")
    ended = run("import task\ntask.main()\n", name="caller.py")
    assert ended.code == 0, ended.stderr
    assert ended.stdout == f"{run.directory / 'task.py'}\n"
    assert len(list(run.directory.glob("task_out/FINISHED_SUCCESS/*"))) == 1


def test_broken_config_makes_no_directory(run: Runner) -> None:
    (run.directory / "config").mkdir()
    (run.directory / "config" / "MODEL.yaml").write_text("size: 1\nrate: [1, 2\nname: x\n")
    ended = run("import runark as stx\n@stx.session\ndef main(): ...\nmain()\n")
    assert ended.code == 1
    assert "MODEL.yaml, line" in ended.stderr
    assert not ended.out.exists()


def test_a_session_that_cannot_start_leaves_nothing(run: Runner) -> None:
    text = """
        import runark.session.capture as capture
        def broken(*_):
            raise OSError(24, "Too many open files")
        capture._spawn = broken
        import runark as stx
        @stx.session
        def main(): ...
        main()
        """
    ended = run(text)
    assert ended.code == 1 and "Too many open files" in ended.stderr
    assert list((ended.out / "RUNNING").iterdir()) == []


def test_sessions_are_found_and_archived_but_never_while_running(run: Runner) -> None:
    process = run.begin(
        "import runark as stx\n@stx.session\ndef main():\n    print('x')\n    input()\nmain()\n", stdin=subprocess.PIPE
    )
    assert process.stdout is not None and process.stdout.readline() == "x\n"
    runark = [sys.executable, "-m", "runark"]
    environment = clean_environment()
    done = subprocess.run(
        [*runark, "archive", str(run.directory), "--execute"],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0
    assert len(list(run.directory.glob("job_out/RUNNING/*/logs/stdout.log"))) == 1
    process.communicate("\n", timeout=60)
    (session,) = run.directory.glob("job_out/FINISHED_SUCCESS/*")
    before = snapshot(session)
    (row,) = scan(run.directory)
    assert (row.status, row.layout) == ("success", "scitex")
    subprocess.run(
        [*runark, "archive", str(run.directory), "--execute"], env=environment, capture_output=True, check=True
    )
    assert not session.exists()
    (archive,) = run.directory.glob("job_out/FINISHED_SUCCESS/*.tar.gz")
    subprocess.run([*runark, "restore", str(archive), "--execute"], env=environment, capture_output=True, check=True)
    assert snapshot(session) == before


# --------------------------------------------------------------------------------------------- finishing


TREE = {"CONFIGS": {"CONFIG.yaml": "ID: a\n"}, "logs": {"stdout.log": "x" * 100}, "data.bin": "y" * 5000}


def _running(tmp_path: Path, more: dict[str, str] | None = None) -> Path:
    (tmp_path / "RUNNING").mkdir()
    return Path(os.fsdecode(make(tmp_path / "RUNNING" / "a", {**TREE, **(more or {})})))


def test_a_rename_keeps_everything(tmp_path: Path) -> None:
    run = _running(tmp_path)
    inodes = {path.name: path.stat().st_ino for path in run.rglob("*")}
    target = tmp_path / "FINISHED" / "a"
    move(run, target)
    assert {path.name: path.stat().st_ino for path in target.rglob("*")} == inodes
    assert not run.exists()


@pytest.mark.mounts
def test_across_filesystems_it_is_a_verified_copy(tmp_path: Path) -> None:
    run = _running(tmp_path)
    before = snapshot(run)
    with mounted_image(make_image(tmp_path / "image", "ext4", 8), tmp_path / "FINISHED") as disk:
        move(run, disk / "a")
        assert snapshot(disk / "a") == before
        assert sorted(path.name for path in disk.iterdir()) == ["a", "lost+found"]
        assert list((tmp_path / "RUNNING").iterdir()) == []


@pytest.mark.mounts
def test_across_filesystems_onto_a_full_one(tmp_path: Path) -> None:
    run = _running(tmp_path, {"big": "z" * 20_000_000})
    before = snapshot(run)
    with mounted_image(make_image(tmp_path / "image", "ext4", 8), tmp_path / "FINISHED") as disk:
        with pytest.raises(OperationFailed, match="cannot be moved"):
            move(run, disk / "a")
        assert snapshot(run) == before, "whole where it was"
        assert [path.name for path in (tmp_path / "RUNNING").iterdir()] == ["a"]
        assert [path.name for path in disk.iterdir() if path.name != "lost+found"] == []


def test_a_copy_keeps_the_source(tmp_path: Path) -> None:
    run = _running(tmp_path)
    move(run, tmp_path / "FINISHED" / "a", keep_source=True)
    assert snapshot(run) == snapshot(tmp_path / "FINISHED" / "a")


def test_never_over_anything(tmp_path: Path) -> None:
    run = _running(tmp_path)
    target = tmp_path / "FINISHED" / "a"
    target.mkdir(parents=True)
    with pytest.raises(TargetExists):
        move(run, target)
    assert list(target.iterdir()) == [] and run.exists()


def test_nobody_may_write_there(run: Runner) -> None:
    """An error that says where else to go."""
    run.write("import runark as stx\n@stx.session\ndef main(): ...\nmain()\n")
    os.chmod(run.directory, 0o555)
    command = [*without_override(), *run.command("job.py")]
    told = subprocess.run(
        command, cwd=run.directory, env=clean_environment(), capture_output=True, text=True, check=False
    )
    os.chmod(run.directory, 0o755)
    assert told.returncode == 1
    assert "Permission denied" in told.stderr and "RUNARK_OUT_DIR" in told.stderr


def test_suffixes() -> None:
    with pytest.raises(InvalidArgument):
        directory.check_suffix("a/b")
    assert directory.check_suffix(None) == "" and directory.check_suffix("v2") == "-v2"
