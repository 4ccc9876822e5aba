"""Many processes on one base directory, pruning all the time; processes made by fork."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from runark.workdir import SessionDir
from support.apart import child_environment
from support.workdirs import MARK, talking

WORKER = """
import os, random, sys, time
from runark.workdir import LogConfig, SessionDir, SessionHandler
import logging
handler = SessionHandler(
    SessionDir(sys.argv[1], max_session_dirs=2), LogConfig("logs/app.log", message_format="%(message)s"),
    change_directory=bool(int(sys.argv[2]) % 2),
)
names = []
for number in range(25):
    with handler.session_context() as session:
        (session.path / "mine").write_text(f"{os.getpid()} {number}")
        time.sleep(random.random() / 50)
        logging.warning("%d %d", os.getpid(), number)
        assert (session.path / "mine").read_text() == f"{os.getpid()} {number}"
        assert (session.path / "logs/app.log").read_text() == f"{os.getpid()} {number}\\n"
        assert sorted(os.listdir(session.path)) == [".runark-workdir", "logs", "mine"]
    names.append(session.path.name)
print(*names)
"""


def test_eight_processes(base: Path) -> None:
    """No session is pruned while it runs, and all of them have names of their own."""
    workers = [
        subprocess.Popen(
            [sys.executable, "-c", WORKER, base, str(number)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=child_environment(),
        )
        for number in range(8)
    ]
    names: list[str] = []
    for worker in workers:
        out, err = worker.communicate(timeout=180)
        assert (worker.returncode, err) == (0, "")
        names += out.split()
    assert len(names) == len(set(names)) == 200
    assert len(os.listdir(base)) <= 8, "what ended while another process was at it is left to the next one"
    SessionDir(base, max_session_dirs=2).prune()
    assert len(os.listdir(base)) == 2


def test_a_child_made_by_fork(base: Path) -> None:
    """A session ends with its parent, though a child lives on that has its handles."""
    session = SessionDir(base).create()
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(writer)
        os.read(reader, 1)
        os._exit(0)
    session.end()
    assert SessionDir(base, max_session_dirs=0).prune() == [session.path]
    os.close(writer)
    os.close(reader)
    os.waitpid(child, 0)


def test_a_child_that_leaves_the_session_of_its_parent(base: Path) -> None:
    """It neither ends it nor calls the hooks: `sys.exit` in a child of `os.fork` runs all that `with` has open."""
    code = (
        "import os, sys\nfrom runark.workdir import LogConfig, SessionDir, SessionHandler\n"
        f"directory = SessionDir({os.fspath(base)!r}, max_session_dirs=0)\n"
        "hook = lambda *arguments: print(os.getpid(), flush=True)\n"
        "with directory.create(), SessionHandler(directory, LogConfig('a.log'), on_session_exit=hook) as session:\n"
        "    child = os.fork()\n"
        "    if child == 0:\n        sys.exit()\n"
        "    assert os.waitpid(child, 0)[1] == 0\n"
        "    print(os.getpid(), flush=True)\n    sys.stdin.read()\n"
    )
    process = talking(code)
    assert process.stdin is not None and process.stdout is not None
    assert process.stdout.readline() == f"{process.pid}\n", "no hook in the child"
    keep = SessionDir(base, max_session_dirs=0)
    assert keep.prune() == [] and len(os.listdir(base)) == 2
    process.stdin.close()
    assert process.stdout.read() == f"{process.pid}\n" and process.wait() == 0
    process.stdout.close()
    assert len(keep.prune()) == 2


def test_a_child_made_while_a_thread_sets_logging_up(base: Path) -> None:
    code = (
        "import os, threading, time\nfrom runark.workdir import LogConfig, SessionDir, SessionHandler, routing\n"
        "taken = threading.Event()\n"
        "def take():\n    with routing._lock:\n        taken.set(); time.sleep(0.2)\n"
        "threading.Thread(target=take).start(); taken.wait()\n"
        "child = os.fork()\n"
        f"with SessionHandler(SessionDir({os.fspath(base)!r}), LogConfig('a.log')):\n    pass\n"
        "assert child == 0 or os.waitpid(child, 0)[1] == 0\n"
    )
    done = subprocess.run([sys.executable, "-c", code], env=child_environment(), timeout=30, check=False)
    assert done.returncode == 0 and len(os.listdir(base)) == 2


def test_a_child_keeps_the_session_of_a_killed_parent(base: Path) -> None:
    """What a killed process has forked still works in its session."""
    code = (
        "import os, sys; from runark.workdir import SessionDir\n"
        f"session = SessionDir({os.fspath(base)!r}).create()\n"
        "if os.fork() == 0:\n    print('ready', flush=True); sys.stdin.read(); os._exit(0)\n"
        "os.kill(os.getpid(), 9)\n"
    )
    process = talking(code)
    assert process.stdin is not None and process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    process.wait()
    keep = SessionDir(base, max_session_dirs=0)
    assert keep.prune() == []
    process.stdin.close()
    assert process.stdout.read() == "", "the child is gone when its end of the pipe is"
    (path,) = base.iterdir()
    while not keep.prune():  # the handle goes a moment after the pipe's end
        pass
    assert not path.exists() and MARK not in os.listdir(base)
    process.stdout.close()
