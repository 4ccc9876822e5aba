"""Every record in the file of the session it belongs to, and logging as it was before and beside."""

from __future__ import annotations

import asyncio
import contextvars
import io
import logging
import os
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest

from runark.workdir import LogConfig, SessionDir, SessionHandler, WorkDir

log = logging.getLogger("app.part")


def apart(base: Path, **options: object) -> SessionHandler:
    """Sessions that may run beside each other."""
    config = LogConfig("logs/app.log", "info", message_format="%(levelname)s %(message)s", **options)  # type: ignore[arg-type]
    return SessionHandler(SessionDir(base, max_session_dirs=-1), config, change_directory=False)


def lines(path: Path) -> list[str]:
    return (path / "logs" / "app.log").read_text().splitlines()


@pytest.mark.parametrize(
    ("level", "expected"),
    [("debug", "diwec"), ("info", "iwec"), ("warning", "wec"), ("error", "ec"), ("critical", "c")],
)
@pytest.mark.parametrize("logger_name", ["", "app"])
def test_levels(base: Path, level: str, expected: str, logger_name: str) -> None:
    config = LogConfig("a.log", level, message_format="%(message)s", logger_name=logger_name)
    with SessionHandler(SessionDir(base), config) as session:
        for name in ("debug", "info", "warning", "error", "critical"):
            getattr(log, name)(name[0])
            getattr(logging.getLogger("other"), name)("" if logger_name else "-")
    text = (session.path / "a.log").read_text().replace("\n", "")
    assert text.replace("-", "") == expected and text.count("-") == (0 if logger_name else len(expected))


def test_where_the_file_is(base: Path, tmp_path: Path) -> None:
    with SessionHandler(SessionDir(base), LogConfig("deep/er/a.log"), change_directory=False) as session:
        assert (session.path / "deep" / "er" / "a.log").exists()
    with SessionHandler(SessionDir(base), LogConfig(tmp_path / "all" / "a.log")) as session:
        log.error("first")
    with SessionHandler(SessionDir(base), LogConfig(tmp_path / "all" / "a.log")) as session:
        log.error("second")
    assert not (session.path / "a.log").exists()
    text = (tmp_path / "all" / "a.log").read_text()
    assert "first" in text and text.endswith("ERROR app.part: second\n")


def test_console_and_colour(base: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = LogConfig("a.log", "debug", True, True, "%(message)s")
    with SessionHandler(SessionDir(base), config) as session:
        for level in (10, 20, 30, 40, 50, 45):
            log.log(level, "%d", level)
    shown = capsys.readouterr().err.splitlines()
    assert all(line.startswith("\x1b[") and line.endswith("\x1b[0m") for line in shown[:5]) and shown[5] == "45"
    assert len({line.partition("m")[0] for line in shown[:5]}) == 5
    assert (session.path / "a.log").read_text().split() == ["10", "20", "30", "40", "50", "45"], "no colour in the file"


def test_text_that_is_none(base: Path) -> None:
    with SessionHandler(SessionDir(base), LogConfig("a.log")) as session:
        log.warning("\udcff é")
    assert "\\udcff é" in (session.path / "a.log").read_text(encoding="utf-8")


def test_the_root_logger_and_its_handlers(base: Path) -> None:
    """Handlers of others are never touched, and the level is only lowered, for as long as it has to be."""
    root = logging.getLogger()
    own = logging.StreamHandler(io.StringIO())
    own.setLevel(logging.WARNING)
    root.addHandler(own)
    try:
        handlers, level = list(root.handlers), root.level
        with SessionHandler(SessionDir(base), LogConfig("a.log")) as session:  # no lower than root's own level
            assert root.level == level and root.handlers[:-1] == handlers
            with SessionHandler(SessionDir(base), LogConfig("a.log", "debug")):
                assert root.level == logging.DEBUG and own.level == logging.WARNING
                log.debug("for the inner one")
            assert root.level == level and len(root.handlers) == len(handlers) + 1
            log.warning("for both")
        assert (root.level, root.handlers) == (level, handlers)
        assert own.stream.getvalue() == "for both\n" and own.formatter is None
        assert "inner" not in (session.path / "a.log").read_text()
    finally:
        root.removeHandler(own)


def test_a_level_somebody_sets_meanwhile_is_theirs(base: Path) -> None:
    root = logging.getLogger()
    before = root.level
    try:
        with SessionHandler(SessionDir(base), LogConfig("a.log", "info")):
            root.setLevel(logging.ERROR)
            with SessionHandler(SessionDir(base), LogConfig("a.log", "info")) as inner:
                log.info("heard")
        assert root.level == logging.ERROR
        assert "heard" in (inner.path / "a.log").read_text()
    finally:
        root.setLevel(before)


def test_a_named_logger_leaves_root_alone(base: Path) -> None:
    root, app = logging.getLogger(), logging.getLogger("app")
    before = (root.level, list(root.handlers))
    with SessionHandler(SessionDir(base), LogConfig("a.log", "debug", logger_name="app")) as session:
        assert (root.level, root.handlers) == before and app.level == logging.DEBUG
        log.debug("of app")
        logging.getLogger("library").error("of a library")
    assert (app.level, app.handlers) == (logging.NOTSET, [])
    assert (session.path / "a.log").read_text().endswith("DEBUG app.part: of app\n")


def test_handlers_are_closed(base: Path) -> None:
    files = len(os.listdir("/proc/self/fd")) if sys.platform == "linux" else 0
    for _ in range(20):
        with apart(base):
            log.info("x")
    assert not files or len(os.listdir("/proc/self/fd")) == files


def test_outside_of_sessions_records_go_where_they_always_did(base: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Our handler on the root logger is not taken for one that a record of somebody else has reached."""
    root = logging.getLogger()
    before, root.handlers = root.handlers, []
    own = logging.StreamHandler(io.StringIO())
    try:
        with apart(base) as session:
            outside = contextvars.Context()
            outside.run(log.warning, "to the last resort")
            outside.run(log.info, "to nobody")
            log.addHandler(own)
            outside.run(log.warning, "to its own handler")
            log.removeHandler(own)
            log.warning("to the file")
    finally:
        root.handlers = before
    assert capsys.readouterr().err == "to the last resort\n"
    assert own.stream.getvalue() == "to its own handler\n"
    assert lines(session.path) == ["WARNING to the file"]


def test_eight_threads(base: Path) -> None:
    handler, barrier = apart(base), threading.Barrier(8)
    here = Path.cwd()

    def work(number: int) -> Path:
        with handler.session_context() as session:
            barrier.wait(30)
            for step in range(200):
                log.info("%d %d", number, step)
                (session.path / "out.txt").write_text(str(number))
            barrier.wait(30)
            assert Path.cwd() == here
        return session.path

    with ThreadPoolExecutor(8) as pool:
        paths = list(pool.map(work, range(8)))
    assert len(set(paths)) == 8
    for number, path in enumerate(paths):
        assert lines(path) == [f"INFO {number} {step}" for step in range(200)]
        assert (path / "out.txt").read_text() == str(number)


@pytest.mark.parametrize("enter", ["session_context", "with handler"])
def test_two_hundred_tasks(base: Path, enter: str) -> None:
    handler = apart(base)

    async def part(number: int, step: int) -> None:
        await asyncio.sleep(0)
        log.info("%d %d", number, step)

    async def work(number: int) -> Path:
        with handler.session_context() if enter == "session_context" else handler as session:
            for step in range(5):
                await part(number, step)
            await asyncio.gather(part(number, 5), asyncio.to_thread(log.info, "%d 5", number))
        log.info("%d outside", number)
        return session.path

    async def all_of_them() -> list[Path]:
        return await asyncio.gather(*(work(number) for number in range(200)))

    paths = asyncio.run(all_of_them())
    assert len(set(paths)) == 200
    for number, path in enumerate(paths):
        assert lines(path) == [f"INFO {number} {step}" for step in (0, 1, 2, 3, 4, 5, 5)]


def test_threads_of_a_session(base: Path, tmp_path: Path) -> None:
    """A thread has a context of its own: its records go to the session that has the process, if one has."""
    whole = WorkDir(tmp_path, LogConfig("whole.log", message_format="%(message)s"))

    def in_thread(text: str, context: contextvars.Context | None = None) -> None:
        thread = threading.Thread(target=(context or contextvars.Context()).run, args=(log.warning, text))
        thread.start()
        thread.join()

    with apart(base) as session:
        in_thread("nobody's")
        in_thread("given the context", contextvars.copy_context())
        with whole.work_context():
            in_thread("the process's")
            with apart(base) as other:
                in_thread("the process's as well")
                log.warning("the other's")
        in_thread("nobody's again")
    assert lines(session.path) == ["WARNING given the context"]
    assert lines(other.path) == ["WARNING the other's"]
    assert (tmp_path / "whole.log").read_text().splitlines() == ["the process's", "the process's as well"]


def test_a_context_that_outlives_its_session(base: Path) -> None:
    with apart(base) as session:
        left = contextvars.copy_context()
    with apart(base) as other:
        left.run(log.warning, "too late")
    assert lines(session.path) == lines(other.path) == []


def test_sessions_that_do_not_end_in_reverse_order(base: Path) -> None:
    """As those of generators: the one that goes on keeps its records."""
    handler = apart(base)
    with ExitStack() as first, ExitStack() as second:
        one = first.enter_context(handler.session_context())
        two = second.enter_context(handler.session_context())
        first.close()
        log.info("for the second")
        second.close()
        log.warning("for nobody")
    assert (lines(one.path), lines(two.path)) == ([], ["INFO for the second"])


def test_levels_of_sessions_that_log_below_one_another(base: Path) -> None:
    """The root logger goes back to its level while a session needs a lower one for another logger."""
    wide = SessionHandler(SessionDir(base), LogConfig("a.log", "debug"), change_directory=False)
    with ExitStack() as first:
        first.enter_context(wide.session_context())
        with apart(base, logger_name="app") as last:
            first.close()
            log.info("alone")
    assert lines(last.path) == ["INFO alone"] and logging.getLogger("app").level == logging.NOTSET


def test_the_last_resort_is_asked_once(base: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = logging.getLogger()
    before, root.handlers = root.handlers, []
    try:
        with apart(base) as wide, apart(base, logger_name="app") as session:
            contextvars.Context().run(log.warning, "nobody's")
            logging.getLogger("other").warning("not this session's")
            log.warning("this session's")
    finally:
        root.handlers = before
    assert capsys.readouterr().err == "nobody's\nnot this session's\n"
    assert (lines(wide.path), lines(session.path)) == ([], ["WARNING this session's"])


def test_a_level_above_all(base: Path) -> None:
    root = logging.getLogger()
    before = root.level
    root.setLevel(100)
    try:
        with apart(base):
            pass
        assert root.level == 100
    finally:
        root.setLevel(before)


def test_after_the_handlers_were_replaced(base: Path) -> None:
    """`logging.config.dictConfig` takes all away; the next session has its log, though another one runs."""
    root = logging.getLogger()
    with apart(base):
        before, root.handlers = root.handlers[:-1], []
        try:
            with apart(base) as session:
                log.info("again")
        finally:
            root.handlers = [*before, *root.handlers]
    assert lines(session.path) == ["INFO again"]


def test_a_log_that_cannot_be_written_breaks_nothing(
    base: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(logging, "raiseExceptions", False)
    with pytest.raises(KeyError, match="mine"), SessionHandler(SessionDir(base), LogConfig("/dev/full")):
        log.error("to a disk without space")
        raise KeyError("mine")
    assert "the end of the log is missing: No space left" in caplog.text
