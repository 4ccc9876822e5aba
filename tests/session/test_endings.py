"""The table of endings: how a script ends, and what directory, record, exit code and logs it leaves."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from runark.session import reconcile
from support.images import make_image, mounted_image
from support.runs import Run, Runner, clean_environment, decorated


def script(body: str = "pass", value: str = "None") -> str:
    before = 'print("before", flush=True)'
    return decorated(f"{before}\n{textwrap.dedent(body).strip()}\nreturn {value}", "CONFIG=stx.INJECTED")


# what the function does, value returned | state, status, exit code | in stderr.log
TABLE = {
    "returns 0": ("pass", "0", "FINISHED_SUCCESS", 0, 0, ""),
    "returns 1": ("pass", "1", "FINISHED_ERROR", 1, 1, ""),
    "returns 2": ("pass", "2", "FINISHED_ERROR", 2, 2, ""),
    "returns -1": ("pass", "-1", "FINISHED_ERROR", -1, 255, ""),
    "returns 256": ("pass", "256", "FINISHED_ERROR", 256, 1, ""),
    "returns None": ("pass", "None", "FINISHED_SUCCESS", 0, 0, ""),
    "returns text": ("pass", "'done'", "FINISHED_SUCCESS", 0, 0, ""),
    "returns True": ("pass", "True", "FINISHED_SUCCESS", 0, 0, ""),
    "returns 0.5": ("pass", "0.5", "FINISHED_SUCCESS", 0, 0, ""),
    "returns numpy 0": ("import numpy", "numpy.int64(0)", "FINISHED_SUCCESS", 0, 0, ""),
    "returns numpy 3": ("import numpy", "numpy.int64(3)", "FINISHED_ERROR", 3, 3, ""),
    "returns numpy True": ("import numpy", "numpy.bool_(True)", "FINISHED_SUCCESS", 0, 0, ""),
    "returns an array": ("import numpy", "numpy.array([1, 2])", "FINISHED_SUCCESS", 0, 0, ""),
    "raises": ("raise ValueError('no such luck')", "0", "FINISHED_ERROR", 1, 1, "ValueError: no such luck"),
    "MemoryError": ("x = bytearray(1 << 60)", "0", "FINISHED_ERROR", 1, 1, "MemoryError"),
    "sys.exit()": ("import sys; sys.exit()", "1", "FINISHED_SUCCESS", 0, 0, ""),
    "sys.exit(0)": ("import sys; sys.exit(0)", "1", "FINISHED_SUCCESS", 0, 0, ""),
    "sys.exit(3)": ("import sys; sys.exit(3)", "0", "FINISHED_ERROR", 3, 3, ""),
    "sys.exit(256)": ("import sys; sys.exit(256)", "0", "FINISHED_ERROR", 256, 1, ""),
    "sys.exit(text)": ("import sys; sys.exit('gave up')", "0", "FINISHED_ERROR", 1, 1, "gave up"),
    "Ctrl-C": ("import os, signal; os.kill(os.getpid(), signal.SIGINT); import time; time.sleep(30)", "0",
               "FINISHED_ERROR", 130, 130, "KeyboardInterrupt"),
    "SIGTERM": ("import os, signal; os.kill(os.getpid(), signal.SIGTERM); import time; time.sleep(30)", "0",
                "FINISHED_ERROR", 143, 143, ""),
    "SIGHUP": ("import os, signal; os.kill(os.getpid(), signal.SIGHUP); import time; time.sleep(30)", "0",
               "FINISHED_ERROR", 129, 129, ""),
    "except Exception around SIGTERM": ("""
        import os, signal, time
        try:
            os.kill(os.getpid(), signal.SIGTERM); time.sleep(30)
        except Exception:
            pass
        """, "0", "FINISHED_ERROR", 143, 143, ""),
}  # fmt: skip


@pytest.mark.parametrize("name", TABLE)
def test_ending(run: Runner, name: str) -> None:
    body, value, state, status, code, log = TABLE[name]
    ended = run(script(body, value))
    assert ended.code == code, ended.stderr
    assert ended.state == state
    assert ended.record["EXIT_STATUS"] == status
    assert ended.record["END_DATETIME"] is not None
    assert ended.record["SDIR_RUN"] == os.fspath(ended.session)
    assert ended.pickled["EXIT_STATUS"] == status
    assert ended.log("stdout") == "before\n"
    assert log in ended.log("stderr")
    assert ended.stdout == "before\n"
    if log:
        assert _lines(ended.stderr, log) == (0 if name == "Ctrl-C" else 1), "told once on the terminal"
        assert _lines(ended.log("stderr"), log) == 1, "and once in the log"
    if not log:
        assert ended.stderr == ended.log("stderr") == ""
    assert list((ended.out / "RUNNING").iterdir()) == []


def _lines(text: str, beginning: str) -> int:
    return sum(line.startswith(beginning) for line in text.splitlines())


def test_an_error_that_cannot_be_told(run: Runner) -> None:
    body = """
        class Mute(Exception):
            def __str__(self):
                raise ValueError("no text")
        raise Mute
        """
    ended = run(script(body))
    assert (ended.code, ended.state, ended.record["END_REASON"]) == (1, "FINISHED_ERROR", "Mute")
    assert "ValueError" not in ended.stderr


def test_no_room_for_standard_output(run: Runner) -> None:
    """`job.py > results.txt` on a full disk: nobody may take what is there for all of it."""
    with open("/dev/full", "wb") as full:
        ended = run(script("print('more')", "0"), stdout=full)
    assert (ended.code, ended.state, ended.record["EXIT_STATUS"]) == (1, "FINISHED_ERROR", 1)
    assert "standard output: 12 bytes are missing: No space left" in ended.stderr
    assert "standard output: 12 bytes are missing" in ended.record["END_REASON"]
    assert ended.log() == "before\nmore\n"


def test_the_time_of_day_is_changed(run: Runner) -> None:
    ended = run(script("import os, time; os.environ['TZ'] = 'UTC-9'; time.tzset()", "0"), env={"TZ": "UTC+9"})
    assert ended.record["RUN_DURATION"].startswith("00:00:")


def test_close_in_another_thread(run: Runner) -> None:
    ended = run(
        """
        import os, signal, threading
        from runark import session
        CONFIG, *_ = session.start(verbose=False)
        thread = threading.Thread(target=session.close, args=(CONFIG,), kwargs={"exit_status": 0, "verbose": False})
        thread.start(); thread.join()
        print("closed", flush=True)
        os.kill(os.getpid(), signal.SIGTERM)
        """
    )
    assert (ended.state, ended.stdout, ended.stderr) == ("FINISHED_SUCCESS", "closed\n", "")
    assert ended.code == -signal.SIGTERM, "as without a session"


def test_a_traceback_shows_the_script_and_not_runark(run: Runner) -> None:
    ended = run(script("1 / 0"))
    assert "ZeroDivisionError" in ended.log("stderr")
    assert "job.py" in ended.log("stderr")
    assert "decorator.py" not in ended.log("stderr")


def test_an_async_function_runs(run: Runner) -> None:
    ended = run(
        """
        import asyncio
        import runark as stx

        @stx.session
        async def main(seconds: float = 0.01):
            await asyncio.sleep(seconds)
            print("awaited")
            return 4

        main()
        """
    )
    assert (ended.code, ended.state, ended.log()) == (4, "FINISHED_ERROR", "awaited\n")


# ---------------------------------------------------------------------------------- endings nobody can catch


def _ghost(ended: Run, run: Runner, code: int) -> None:
    assert ended.code == code
    assert ended.state == "RUNNING"
    assert ended.record["END_DATETIME"] is None
    assert _log_of(ended) == "before\n", "written however the script ends"
    (found,) = reconcile(run.directory)
    assert not found.moved and "is gone" in found.reason
    assert ended.state == "RUNNING", "without execute nothing is changed"
    (found,) = reconcile(run.directory, execute=True)
    assert found.moved
    assert ended.state == "FINISHED_ERROR"
    assert ended.record["EXIT_STATUS"] == 1
    assert "is gone" in ended.record["END_REASON"]
    assert ended.record["SDIR_RUN"] == os.fspath(ended.session)
    assert reconcile(run.directory) == []


def _log_of(ended: Run) -> str:
    """The log, once the process that writes it has come to its end."""
    until = time.monotonic() + 30
    while ended.log() != "before\n" and time.monotonic() < until:
        time.sleep(0.01)
    return ended.log()


def test_sigkill(run: Runner) -> None:
    _ghost(run(script("import os, signal; os.kill(os.getpid(), signal.SIGKILL)")), run, -signal.SIGKILL)


def test_os_exit(run: Runner) -> None:
    _ghost(run(script("import os; os._exit(7)")), run, 7)


def test_a_crash_in_c(run: Runner) -> None:
    _ghost(run(script("import ctypes; ctypes.string_at(0)")), run, -signal.SIGSEGV)


def test_the_kernel_kills_for_want_of_memory(run: Runner) -> None:
    """As the out-of-memory killer does: SIGKILL, to the process with the most memory."""
    process = run.begin(script("x = bytearray(200 << 20); print('big', flush=True); import time; time.sleep(60)"))
    assert process.stdout is not None
    while "big" not in process.stdout.readline():
        pass
    biggest = max(_children_and_self(process.pid), key=_resident)
    assert biggest == process.pid, "not the process that writes the logs"
    os.kill(biggest, signal.SIGKILL)
    ended = run.end(process)
    assert (ended.code, ended.state) == (-signal.SIGKILL, "RUNNING")
    (found,) = reconcile(run.directory, execute=True)
    assert found.moved and ended.state == "FINISHED_ERROR"
    assert "big" in ended.log()


def _children_and_self(pid: int) -> list[int]:
    session = os.getsid(pid)
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                command = Path(f"/proc/{name}/cmdline").read_bytes()
                if os.getsid(int(name)) == session and (int(name) == pid or b"pump.py" in command):
                    found.append(int(name))
            except OSError:
                continue
    return found


def _resident(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1])


def test_the_command_moves_ghosts(run: Runner) -> None:
    ended = run(script("import os; os._exit(7)"))
    command = [sys.executable, "-m", "runark", "reconcile", os.fspath(run.directory)]
    told = subprocess.run(command, capture_output=True, text=True, env=clean_environment(), check=True)
    assert "goes to FINISHED_ERROR" in told.stdout and "--execute" in told.stderr
    told = subprocess.run([*command, "--execute"], capture_output=True, text=True, env=clean_environment(), check=True)
    assert "moved to FINISHED_ERROR" in told.stdout
    assert ended.state == "FINISHED_ERROR"


def test_a_live_session_is_no_ghost(run: Runner) -> None:
    process = run.begin(script("import sys; sys.stdin.readline()"), stdin=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == "before\n"
    assert reconcile(run.directory, execute=True) == []
    ended = run.end(process)
    assert ended.state == "FINISHED_SUCCESS"


def test_two_signals_end_it_once(run: Runner) -> None:
    """SLURM sends SIGTERM again; the second must not stop the end of the session."""
    process = run.begin(
        script(
            """
            import atexit, os, signal, time
            from runark.session import register_session_close_hook
            register_session_close_hook(lambda *_: (print("closing", flush=True), time.sleep(0.5)))
            print("ready", flush=True)
            time.sleep(30)
            """
        )
    )
    assert process.stdout is not None
    while process.stdout.readline() not in ("ready\n", ""):
        pass
    process.send_signal(signal.SIGTERM)
    assert process.stdout.readline() == "closing\n"
    process.send_signal(signal.SIGTERM)
    ended = run.end(process)
    assert ended.state == "FINISHED_ERROR"
    assert ended.record["EXIT_STATUS"] == 143
    assert ended.code in (143, -signal.SIGTERM)


def test_signals_while_it_starts(run: Runner) -> None:
    """Nothing is left of it, also if a second one comes while that is made sure."""
    ended = run(
        """
        import os, signal
        from runark.session import lifecycle

        def signalled(function):
            def wrapper(*args, **options):
                os.kill(os.getpid(), signal.SIGTERM)
                return function(*args, **options)
            return wrapper

        lifecycle.write_record = signalled(lifecycle.write_record)
        lifecycle._take_back = signalled(lifecycle._take_back)
        lifecycle.begin(lifecycle.Options(lifecycle.Path(__file__), "start"))
        """
    )
    assert ended.code == -signal.SIGTERM
    assert list((ended.out / "RUNNING").iterdir()) == []


# ----------------------------------------------------------------------------------------- ends that fail


def test_the_target_exists(run: Runner) -> None:
    ended = run(script("(CONFIG.SDIR_OUT / 'FINISHED_SUCCESS' / CONFIG.SDIR_RUN.name / 'mine').mkdir(parents=True)"))
    assert ended.code == 1
    assert "exists" in ended.stderr and "TargetExists" in ended.stderr
    assert ended.state == "RUNNING", "whole where it was"
    assert ended.log() == "before\n"
    (found,) = reconcile(run.directory)
    assert found.target is not None


@pytest.mark.mounts
def test_the_disk_is_full(run: Runner, tmp_path: Path) -> None:
    with mounted_image(make_image(tmp_path / "image", "ext4", 8), tmp_path / "disk") as disk:
        fill = f"""
            import os
            fd = os.open({os.fspath(disk / "filler")!r}, os.O_WRONLY | os.O_CREAT)
            for size in (1 << 16, 1 << 10, 1):
                try:
                    while True:
                        os.write(fd, bytes(size))
                except OSError:
                    pass
            os.fsync(fd)
            """
        ended = run(script(fill), env={"RUNARK_OUT_DIR": os.fspath(disk)})
        ended.out = disk / "job_out"
        assert ended.code == 1
        assert "No space left" in ended.stderr
        assert ended.state == "RUNNING", "whole where it was"
        assert ended.record["END_DATETIME"] is None
        (disk / "filler").unlink()
        (found,) = reconcile(disk, execute=True)
        assert found.moved and ended.state == "FINISHED_ERROR"


@pytest.mark.mounts
def test_the_disk_is_full_for_a_while(run: Runner, tmp_path: Path) -> None:
    """The script goes on; the log says where how much is missing."""
    with mounted_image(make_image(tmp_path / "image", "ext4", 8), tmp_path / "disk") as disk:
        filler = os.fspath(disk / "filler")
        body = f"""
            import os, sys, time
            fd = os.open({filler!r}, os.O_WRONLY | os.O_CREAT)
            for size in (1 << 16, 1 << 10, 1):
                try:
                    while True:
                        os.write(fd, bytes(size))
                except OSError:
                    pass
            os.fsync(fd)
            for number in range(2000):
                print("lost", number)
            time.sleep(0.5)
            os.unlink({filler!r}); os.close(fd)
            print("after")
            """
        ended = run(script(body, "0"), env={"RUNARK_OUT_DIR": os.fspath(disk)})
        ended.out = disk / "job_out"
        assert (ended.code, ended.state) == (0, "FINISHED_SUCCESS"), ended.stderr
        assert ended.stdout.splitlines()[-1] == "after" and len(ended.stdout.splitlines()) == 2002
        log = ended.log()
        assert log.endswith("\nafter\n") and "bytes are missing here: No space left on device]" in log
        assert "bytes are missing" in ended.stderr and "stdout.log" in ended.record["END_REASON"]
        note = r"\n\[runark: (\d+) bytes are missing here: No space left on device\]\n"
        missing = sum(map(int, re.findall(note, log)))
        assert missing and len(re.sub(note, "", log)) + missing == len(ended.stdout), "to the byte"


def test_whatever_a_script_does_to_config_and_streams(run: Runner) -> None:
    body = """
        import sys
        CONFIG.clear()
        CONFIG.START_DATETIME = "yesterday"
        CONFIG.ID = None
        sys.stdout.close()
        """
    ended = run(script(body, "0"))
    assert (ended.code, ended.state) == (0, "FINISHED_SUCCESS"), ended.stderr
    assert ended.log() == "before\n" and ended.record["EXIT_STATUS"] == 0


def test_what_cannot_be_put_back_is_told(run: Runner) -> None:
    ended = run(decorated("import sys; plt.get_fignums = None; del sys.stdout; return 0", "plt=stx.INJECTED"))
    assert (ended.code, ended.state) == (0, "FINISHED_SUCCESS"), ended.stderr
    assert "not everything could be put back: TypeError" in ended.stderr
    assert "TypeError" in ended.record["END_REASON"]


def test_a_session_whose_directory_is_gone(run: Runner) -> None:
    ended = run(script("import shutil; shutil.rmtree(CONFIG.SDIR_RUN)", "0"))
    assert ended.code == 1 and "CONFIG.yaml" in ended.stderr and "OperationFailed" in ended.stderr


def test_close_can_be_tried_again(run: Runner) -> None:
    ended = run(
        """
        import sys
        from runark import session
        from runark.errors import TargetExists

        CONFIG, sys.stdout, sys.stderr, *_ = session.start(sys)
        blocker = CONFIG.SDIR_OUT / "FINISHED_SUCCESS" / CONFIG.SDIR_RUN.name
        blocker.mkdir(parents=True)
        try:
            session.close(CONFIG, exit_status=0)
        except TargetExists:
            blocker.rmdir()
        session.close(CONFIG, exit_status=0)
        session.close(CONFIG, exit_status=0)
        assert CONFIG.SDIR_RUN == blocker
        """
    )
    assert (ended.code, ended.state) == (0, "FINISHED_SUCCESS"), ended.stderr


# -------------------------------------------------------------------------------------- start without close


@pytest.mark.parametrize(
    ("end", "state", "status", "reason"),
    [
        ("session.close(CONFIG)", "FINISHED", None, "close()"),
        ("session.close(CONFIG, exit_status=0)", "FINISHED_SUCCESS", 0, "close()"),
        ("session.close(CONFIG, exit_status=1)", "FINISHED_ERROR", 1, "close()"),
        ("pass", "FINISHED_ERROR", 1, "without close()"),
        ("raise KeyError('lost')", "FINISHED_ERROR", 1, "KeyError: 'lost'"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGTERM)", "FINISHED_ERROR", 143, "SIGTERM"),
        ("raise KeyboardInterrupt", "FINISHED_ERROR", 130, "KeyboardInterrupt"),
    ],
)
def test_start_and(run: Runner, end: str, state: str, status: int | None, reason: str) -> None:
    ended = run(
        f"""
        import sys
        from runark import session
        CONFIG, sys.stdout, sys.stderr, plt, CC, rng = session.start(sys, verbose=False)
        print("before")
        {end}
        """
    )
    assert ended.state == state
    assert ended.record["EXIT_STATUS"] == status
    assert reason in ended.record["END_REASON"]
    assert ended.log() == "before\n"
    if "KeyError" in reason:
        assert ended.log("stderr").count("KeyError: 'lost'") == 1
