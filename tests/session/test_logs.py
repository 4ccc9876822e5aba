"""The logs: whatever is written by whomever is there, in order, and nothing waits for anybody."""

from __future__ import annotations

import os
import pty
import select
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runark.session.pump import LONGEST_LINE, Cleaner
from support.runs import Run, Runner, clean_environment, decorated


def test_everybody_is_in_the_log_in_order(run: Runner) -> None:
    ended = run(
        decorated(
            """
            import ctypes, logging, os, subprocess, sys, warnings
            print("print")
            ctypes.CDLL(None).puts(b"C")
            subprocess.run(["sh", "-c", "echo child"])
            os.write(1, b"descriptor\\n")
            print("no end of line", end="", flush=True)
            os.system("echo; echo grandchild")
            print("error", file=sys.stderr)
            logging.warning("logging")
            warnings.warn("warning")
            subprocess.run(["sh", "-c", "echo child error >&2"])
            """
        )
    )
    assert ended.code == 0, ended.stderr
    assert ended.log() == "print\nC\nchild\ndescriptor\nno end of line\ngrandchild\n"
    assert ended.stdout == ended.log()
    errors = ended.log("stderr").splitlines()
    assert errors[:2] == ["error", "WARNING:root:logging"]
    assert any("UserWarning: warning" in line for line in errors)
    assert errors[-1] == "child error"


def test_lines_are_in_the_log_at_once(run: Runner) -> None:
    """Also where standard output is a file, which Python would fill in blocks."""
    process = run.begin(
        decorated("print('now'); input(); print('later')"), stdin=subprocess.PIPE, stdout=subprocess.DEVNULL
    )
    until = time.monotonic() + 30
    logs: list[Path] = []
    while time.monotonic() < until and not (logs and logs[0].read_text() == "now\n"):
        logs = list(run.directory.glob("job_out/RUNNING/*/logs/stdout.log"))
        time.sleep(0.01)
    assert logs and logs[0].read_text() == "now\n"
    process.communicate("\n", timeout=60)
    assert process.returncode == 0


def test_fifty_megabytes_at_full_speed(run: Runner) -> None:
    ended = run(
        decorated("""
        import sys
        for number in range(500_000):
            print(f"{number:07d} {'x' * 91}")
        print("last", file=sys.stderr)
        """),
        stdout=subprocess.DEVNULL,
    )
    assert ended.code == 0, ended.stderr
    log = ended.log()
    assert len(log) == 50_000_000
    assert [int(line[:7]) for line in log.splitlines()] == list(range(500_000))
    assert ended.log("stderr") == "last\n"


def test_two_threads(run: Runner) -> None:
    ended = run(
        decorated("""
        import os, threading
        def write(name):
            for number in range(20_000):
                os.write(1, f"{name} {number}\\n".encode())
        threads = [threading.Thread(target=write, args=(name,)) for name in "ab"]
        [thread.start() for thread in threads]; [thread.join() for thread in threads]
        """)
    )
    lines = ended.log().splitlines()
    for name in "ab":
        assert [line for line in lines if line.startswith(name)] == [f"{name} {number}" for number in range(20_000)]
    assert len(lines) == 40_000


def test_a_grandchild_that_outlives_the_decorated(run: Runner) -> None:
    """It holds standard output; the session ends without it, its later output goes to the terminal only."""
    process = run.begin(
        decorated("""
        import subprocess
        subprocess.Popen(["sh", "-c", "echo early; sleep 3; echo late"])
        import time
        time.sleep(0.5)
        print("done")
        """)
    )
    began = time.monotonic()
    process.wait(timeout=60)
    assert time.monotonic() - began < 2.5, "it does not wait for the grandchild"
    ended = run.end(process)
    assert ended.log() == "early\ndone\n"
    assert ended.state == "FINISHED_SUCCESS"
    assert ended.stdout == "early\ndone\nlate\n", "what was standard output before hears it all"


def test_a_script_may_wait_for_any_child(run: Runner) -> None:
    """`os.wait` must not wait for runark's own processes."""
    ended = run(
        decorated("""
        import os, time
        time.sleep(0.2)
        seen = set()
        child = os.fork()
        if child == 0:
            os._exit(3)
        while child not in seen:
            pid, status = os.wait()
            seen.add(pid)
        try:
            while True:
                os.wait()
        except ChildProcessError:
            print("no more")
        """)
    )
    assert (ended.code, ended.log()) == (0, "no more\n"), ended.stderr


def test_standard_output_closed(run: Runner) -> None:
    ended = run(decorated("import os; os.write(1, b'to the log\\n')"), preexec_fn=lambda: os.close(1), stdout=None)
    assert ended.code == 0, ended.stderr
    assert ended.log() == "to the log\n"


def test_the_reader_goes_away(run: Runner) -> None:
    """As with `| head`: the log goes on."""
    process = run.begin(decorated("import time\nfor number in range(5000):\n    print(number)"))
    assert process.stdout is not None
    process.stdout.readline()
    process.stdout.close()
    assert process.wait(timeout=60) == 0
    ended = Run(0, "", "", run.directory / "job_out")
    assert ended.log().splitlines() == [str(number) for number in range(5000)]


def test_standard_output_that_does_not_wait(run: Runner) -> None:
    """asyncio makes it so. It is full when the script ends, as its reader is slow."""
    process = run.begin(
        decorated("""
        import os, time
        os.set_blocking(1, False)
        for _ in range(3):
            try:
                while True:
                    os.write(1, b"x" * 1023 + b"\\n")
            except BlockingIOError:
                time.sleep(0.2)
        """)
    )
    time.sleep(2)
    ended = run.end(process)
    assert (ended.code, ended.state) == (0, "FINISHED_SUCCESS"), ended.stderr
    assert len(ended.stdout) > 1 << 20 and ended.stdout == ended.log()


def test_a_script_that_closes_every_descriptor(run: Runner) -> None:
    """What it opens then has the numbers of runark's own, and stays its own."""
    ended = run(
        decorated("""
        import os
        os.closerange(3, 256)
        main.files = [open(f"{number}.dat", "wb") for number in range(12)]
        print("after")
        """)
    )
    assert (ended.code, ended.state, ended.stdout, ended.log()) == (0, "FINISHED_SUCCESS", "after\n", "after\n")
    assert "may be missing" in ended.record["END_REASON"]
    assert [path.stat().st_size for path in run.directory.glob("*.dat")] == [0] * 12


WRAPPED = {
    "codecs": 'codecs.getwriter("utf8")(sys.stdout.buffer)',
    "tee": "Tee(sys.stdout, open('tee.txt', 'w'))",
    "tee that passes on": "Passing(sys.stdout, open('tee.txt', 'w'))",
}


@pytest.mark.parametrize("name", WRAPPED)
def test_a_wrapped_standard_output_is_logged_once(run: Runner, name: str) -> None:
    ended = run(
        f"""
        import codecs, os, sys
        import runark as stx

        class Tee:
            def __init__(self, *files):
                self.files = files
            def write(self, text):
                for file in self.files:
                    file.write(text)
            def flush(self):
                pass

        class Passing(Tee):
            def __getattr__(self, name):
                return getattr(self.files[0], name)

        print("before")
        sys.stdout = {WRAPPED[name]}

        @stx.session
        def main():
            print("once")
            sys.stdout.flush()
            os.system("echo child")
            print("end")

        main()
        """
    )
    assert (ended.stdout, ended.log()) == ("before\nonce\nchild\nend\n", "once\nchild\nend\n")


def test_a_stream_that_is_kept_beyond_the_end(run: Runner) -> None:
    """As handlers of logging do. It writes where it did before, and touches no descriptor."""
    ended = run(
        """
        import io, os, select, sys
        import runark as stx
        sys.stdout = io.StringIO()

        @stx.session
        def main():
            main.kept = sys.stdout
            print("in")

        main()
        pipes = [os.pipe() for _ in range(20)]
        for _, writer in pipes:
            os.write(writer, b"mine")
        main.kept.write("late\\n")
        main.kept.flush()
        assert sys.stdout.getvalue() == "in\\nlate\\n"
        assert [os.read(reader, 9) for reader, _ in pipes if select.select([reader], [], [], 0)[0]] == [b"mine"] * 20
        """
    )
    assert (ended.code, ended.stderr, ended.log()) == (0, "", "in\n")


def test_everything_is_put_back(run: Runner) -> None:
    ended = run(
        """
        import logging, os, random, signal, sys
        import matplotlib, matplotlib.pyplot
        import runark as stx

        def state():
            figures = {key: str(value) for key, value in dict.items(matplotlib.rcParams) if "backend" not in key}
            return {
                "stdout": (sys.stdout, os.readlink("/proc/self/fd/1"), os.fstat(1).st_ino, sys.stdout.line_buffering),
                "stderr": (sys.stderr, os.readlink("/proc/self/fd/2"), os.fstat(2).st_ino, sys.stderr.line_buffering),
                "signals": [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)],
                "logging": (logging.root.handlers[:], logging.root.level, logging.getLogger("__main__").handlers[:]),
                "cwd": os.getcwd(), "random": random.getstate(), "figures": figures, "environment": dict(os.environ),
                "globals": {key for key in globals() if key != "before"}, "path": sys.meta_path[:],
                "hook": sys.excepthook, "numbers": matplotlib.pyplot.get_fignums(),
                "descriptors": sorted(os.listdir("/proc/self/fd")),
            }

        @stx.session
        def main(CONFIG=stx.INJECTED, plt=stx.INJECTED, logger=stx.INJECTED, rngg=stx.INJECTED):
            plt.plot([1, 2]); logger.info("inside"); rngg("a").random(); random.random()
            print(CONFIG.ID)
            return 0

        state()
        for number in range(3):
            before = state()
            main()
            after = state()
            assert before == after, [(key, before[key], after[key]) for key in before if before[key] != after[key]]
        CONFIG = "mine"
        main()
        assert CONFIG == "mine"
        """
    )
    assert ended.code == 0, ended.stderr
    assert len(ended.sessions) == 4
    for session in ended.sessions:
        assert (session / "logs" / "stdout.log").read_text() == f"{session.name.removesuffix('-main')}\n"
        assert (session / "logs" / "stderr.log").read_text() == "INFO: inside\n"


# ------------------------------------------------------------------------------------------------- terminals


def _on_a_terminal(run: Runner, body: str, typed: bytes = b"") -> tuple[int, bytes]:
    """The script on a terminal of 123 columns; (exit code, what was shown)."""
    import fcntl
    import struct
    import termios

    run.write(decorated(body))
    pid, master = pty.fork()
    if pid == 0:
        os.chdir(run.directory)
        os.execve(sys.executable, run.command("job.py"), clean_environment(TERM="xterm"))
    fcntl.ioctl(master, termios.TIOCSWINSZ, struct.pack("HHHH", 45, 123, 0, 0))
    if typed:
        os.write(master, typed)
    shown = b""
    while True:
        if not select.select([master], [], [], 60)[0]:
            raise TimeoutError(shown)
        try:
            chunk = os.read(master, 65536)
        except OSError:
            break
        if not chunk:
            break
        shown += chunk
    _, status = os.waitpid(pid, 0)
    os.close(master)
    return os.waitstatus_to_exitcode(status), shown


def test_a_terminal_stays_one(run: Runner) -> None:
    code, shown = _on_a_terminal(
        run,
        r"""
        import os, sys, time
        time.sleep(0.3)
        print(sys.stdout.isatty(), sys.stderr.isatty(), os.isatty(1), os.get_terminal_size(1).columns)
        print("\x1b[31mred\x1b[0m plain")
        for number in range(5):
            print(f"\r{number}/4", end="", flush=True)
        print()
        answer = input("name? ")
        print("hello", answer)
        """,
        b"world\n",
    )
    assert code == 0, shown
    assert b"True True True 123\r\n" in shown
    assert b"\x1b[31mred\x1b[0m plain" in shown, "colours reach the terminal"
    ended = Run(0, "", "", run.directory / "job_out")
    assert ended.log() == "True True True 123\nred plain\n4/4\nhello world\n", "and not the log"
    assert ended.log("stderr") == "name? "


def test_progress_bars_leave_one_line(run: Runner) -> None:
    ended = run(
        decorated("""
        import time, sys
        from tqdm import tqdm
        for _ in tqdm(range(50), mininterval=0):
            pass
        print("after", file=sys.stderr)
        """)
    )
    lines = ended.log("stderr").splitlines()
    assert len(lines) == 2, lines
    assert lines[0].startswith("100%") and "50/50" in lines[0]
    assert lines[1] == "after"
    assert len(ended.stderr.splitlines()) > 10, "whoever reads along has seen it move"


# ---------------------------------------------------------------------------------------------- the cleaner


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        (b"plain\n", b"plain\n"),
        (b"\x1b[1;31mred\x1b[0m\n", b"red\n"),
        (b"\x1b]0;title\x07text\n", b"text\n"),
        (b"\x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\\n", b"link\n"),
        (b"\x1b]0;no end\nline\n\x07\n", b"\x1b]0;no end\nline\n\x07\n"),
        (b"10%\r20%\r100%\n", b"100%\n"),
        (b"\r10%\r100%\r          \r\n", b"100%\n"),
        (b"dos\r\nline\r\n", b"dos\nline\n"),
        (b"no end", b"no end"),
        (b"\xff\x00binary\n", b"\xff\x00binary\n"),
    ],
)
def test_clean(text: bytes, clean: bytes) -> None:
    cleaner = Cleaner()
    assert cleaner.feed(text) + cleaner.flush() == clean
    cleaner = Cleaner()
    pieces = b"".join(cleaner.feed(bytes([byte])) for byte in text)
    assert pieces + cleaner.flush() == clean, "however it comes in pieces"


@given(st.lists(st.binary(max_size=50), max_size=20))
def test_what_has_no_codes_stays_as_it_is(pieces: list[bytes]) -> None:
    pieces = [piece.replace(b"\x1b", b"").replace(b"\r", b"") for piece in pieces]
    cleaner = Cleaner()
    assert b"".join(map(cleaner.feed, pieces)) + cleaner.flush() == b"".join(pieces)


def test_a_line_without_end_takes_no_memory() -> None:
    cleaner = Cleaner()
    written = sum(len(cleaner.feed(b"x" * 1000)) for _ in range(1000))
    assert written > 1_000_000 - LONGEST_LINE - 1000
    assert len(cleaner._held) <= LONGEST_LINE
