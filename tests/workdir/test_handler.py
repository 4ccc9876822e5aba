"""The life of a session: the order of things, hooks that fail, the working directory."""

from __future__ import annotations

import asyncio
import logging
import os
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock, Mock

import pytest

import runark
from runark.errors import InvalidArgument, NotADirectory, OperationFailed, SourceMissing
from runark.workdir import LogConfig, SessionDir, SessionHandler, WorkDir
from support.workdirs import MARK, ended


class Hooks:
    """Writes down what is called, in order; one of them fails."""

    def __init__(self, failing: str = "", error: BaseException | None = None) -> None:
        self.calls: list[tuple[Any, ...]] = []
        self._failing, self._error = failing, error or RuntimeError("a broken hook")

    def __getattr__(self, name: str) -> Callable[..., None]:
        def hook(*arguments: Any) -> None:
            self.calls.append((name, *arguments))
            if name == self._failing:
                raise self._error

        return hook

    @property
    def names(self) -> list[str]:
        return [call[0] for call in self.calls]

    def handler(self, base: Path, keep: int = 1, log_config: LogConfig | None = None, **options: Any) -> SessionHandler:
        return SessionHandler(
            SessionDir(base, max_session_dirs=keep), log_config,
            on_session_created=self.created, on_session_exit=self.exit,
            on_before_prune=self.prune, on_session_error=self.error, **options,
        )  # fmt: skip


def test_the_order(base: Path) -> None:
    (old,) = ended(base)
    hooks = Hooks()
    with hooks.handler(base).session_context() as session:
        assert hooks.calls == [("created", session.path)]
    assert hooks.calls[1:] == [("exit", session.path, None), ("prune", [old])]
    assert os.listdir(base) == [session.path.name]


def test_the_order_when_the_work_raises(base: Path) -> None:
    (old,) = ended(base)
    hooks, error = Hooks(), KeyError("x")
    with pytest.raises(KeyError) as raised, hooks.handler(base).session_context() as session:
        raise error
    assert raised.value is error and error.__context__ is None
    assert hooks.calls[1:] == [("error", error), ("exit", session.path, error), ("prune", [old])]


@pytest.mark.parametrize(
    ("error", "told"),
    [(KeyboardInterrupt(), True), (SystemExit(3), True), (SystemExit(0), False), (SystemExit(), False),
     (asyncio.CancelledError(), True)],
)  # fmt: skip
def test_what_ends_programs_and_tasks_alerts_nobody(base: Path, error: BaseException, told: bool) -> None:
    hooks = Hooks()
    with pytest.raises(type(error)) as raised, hooks.handler(base).session_context():
        raise error
    assert raised.value is error and hooks.names == ["created", "exit"]
    assert hooks.calls[1][2] is (error if told else None)


def test_created_comes_after_directory_and_logging(base: Path) -> None:
    def created(path: Path) -> None:
        assert path.is_dir() and Path.cwd() == path
        logging.getLogger("app").warning("from the hook")

    handler = SessionHandler(SessionDir(base), LogConfig("a.log"), on_session_created=created)
    with handler as session:
        pass
    assert "from the hook" in (session.path / "a.log").read_text()


def test_the_exit_hook_still_logs_and_works_in_the_session(base: Path) -> None:
    def exited(path: Path, error: Exception | None) -> None:
        assert Path.cwd() == path
        logging.getLogger("app").warning("good bye")

    with SessionHandler(SessionDir(base), LogConfig("a.log"), on_session_exit=exited) as session:
        pass
    assert "good bye" in (session.path / "a.log").read_text()


@pytest.mark.parametrize("failing", ["created", "exit", "error"])
def test_a_broken_hook_breaks_nothing(base: Path, failing: str, caplog: pytest.LogCaptureFixture) -> None:
    (old,) = ended(base)
    hooks = Hooks(failing)
    with pytest.raises(ValueError, match="work"), hooks.handler(base).session_context():
        raise ValueError("work")
    assert hooks.names == ["created", "error", "exit", "prune"] and not old.exists()
    (record,) = caplog.records
    assert (record.name, record.levelname) == ("runark.workdir", "WARNING")
    assert f"{failing} failed" in record.message and "a broken hook" in caplog.text


@pytest.mark.parametrize("despite", [False, True])
def test_a_failing_archiver_keeps_the_sessions(base: Path, despite: bool, caplog: pytest.LogCaptureFixture) -> None:
    sessions = ended(base, 3)
    hooks = Hooks("prune", OSError("no space left"))
    with hooks.handler(base, prune_despite_hook_failure=despite):
        pass
    assert hooks.calls[-1] == ("prune", sessions)
    assert [path.exists() for path in sessions] == [not despite] * 3
    assert "on_before_prune failed" in caplog.text and "no space left" in caplog.text
    with Hooks().handler(base) as session:
        pass
    assert os.listdir(base) == [session.path.name], "the next one gets them"


async def archive_later(paths: list[Path]) -> None:
    raise AssertionError("nobody waits for it")


def archive_by_and_by(paths: list[Path]) -> Iterator[Path]:
    yield from paths


async def archive_both(paths: list[Path]) -> AsyncIterator[Path]:
    yield paths[0]


@pytest.mark.parametrize(
    "hook", [archive_later, archive_by_and_by, archive_both, lambda paths: archive_later(paths), lambda paths: Future()]
)
@pytest.mark.filterwarnings("error")
def test_an_archiver_that_has_only_begun_keeps_the_sessions(base: Path, hook: Any, caplog: Any) -> None:
    sessions = ended(base, 3)
    with SessionHandler(SessionDir(base, max_session_dirs=1), on_before_prune=hook):
        pass
    assert [path.exists() for path in sessions] == [True] * 3
    assert "is not done" in caplog.text


def test_a_mock_is_a_hook(base: Path) -> None:
    (old,) = ended(base)
    hook = MagicMock()
    with SessionHandler(SessionDir(base, max_session_dirs=1), on_before_prune=hook):
        pass
    hook.assert_called_once_with([old])
    assert not old.exists()


def test_no_prune_hook_without_anything_to_prune(base: Path) -> None:
    hooks = Hooks()
    with hooks.handler(base, keep=5):
        pass
    assert hooks.names == ["created", "exit"]


def test_ctrl_c_in_a_hook_goes_through_and_leaves_nothing_behind(base: Path) -> None:
    here = Path.cwd()
    hooks = Hooks("exit", KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt), hooks.handler(base, log_config=LogConfig("a.log")) as session:
        pass
    assert Path.cwd() == here and "END_DATETIME: null" not in (session.path / MARK).read_text()


def test_no_logging_without_configuration(base: Path) -> None:
    before = list(logging.getLogger().handlers)
    with SessionHandler(SessionDir(base)) as session:
        assert logging.getLogger().handlers == before
    assert os.listdir(session.path) == [MARK]


@pytest.mark.parametrize("fails", [False, True])
def test_the_working_directory_comes_back(
    base: Path, tmp_path: Path, fails: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    handler = SessionHandler(SessionDir(base))
    try:
        with handler.session_context() as session:
            assert Path.cwd() == session.path
            os.chdir("/")
            if fails:
                raise ValueError
    except ValueError:
        assert fails
    assert Path.cwd() == tmp_path


def test_a_working_directory_that_is_gone(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "here").mkdir()
    os.chdir(tmp_path / "here")
    with SessionHandler(SessionDir(base)):
        (tmp_path / "here").rmdir()
    assert "cannot go back" in caplog.text
    (tmp_path / "here").mkdir()
    os.chdir(tmp_path / "here")
    (tmp_path / "here").rmdir()
    with SessionHandler(SessionDir(base)) as session:
        assert Path.cwd() == session.path


def test_a_working_directory_that_cannot_be_told(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "getcwd", Mock(side_effect=PermissionError(13, "Permission denied")))
    with SessionHandler(SessionDir(base)) as session:
        assert Path("/proc/self/cwd").resolve() == session.path
    os.chdir("/")


def test_relative_base_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    handler = SessionHandler(SessionDir("runs", max_session_dirs=1))
    for _ in range(3):
        with handler as session:
            assert session.path == tmp_path / "runs" / session.path.name
    assert os.listdir(tmp_path / "runs") == [session.path.name]


def test_one_handler_nested_and_again(base: Path) -> None:
    handler = SessionHandler(SessionDir(base))
    with handler as outer:
        with handler as inner:
            assert Path.cwd() == inner.path != outer.path
        assert Path.cwd() == outer.path
    with handler.session_context(), handler.session_context():
        pass
    assert len(os.listdir(base)) == 4


def test_left_in_another_thread(base: Path) -> None:
    handler = SessionHandler(SessionDir(base), change_directory=False)
    session = handler.__enter__()
    found: list[BaseException] = []

    def leave() -> None:
        try:
            handler.__exit__(None, None, None)
        except InvalidArgument as error:
            found.append(error)

    thread = threading.Thread(target=leave)
    thread.start()
    thread.join()
    assert "another thread" in str(found[0])
    handler.__exit__(None, None, None)
    assert "END_DATETIME: null" not in (session.path / MARK).read_text()


def test_a_log_file_that_cannot_be_opened_is_no_session(base: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    handler = SessionHandler(SessionDir(base), LogConfig(tmp_path / "file" / "a.log"))
    with pytest.raises(OperationFailed, match=r"file/a\.log: cannot open the log file"), handler:
        raise AssertionError("never here")
    too_long = SessionHandler(SessionDir(base), LogConfig(f"logs/app/{'x' * 300}"))
    with pytest.raises(OperationFailed, match="cannot open the log file"), too_long:
        raise AssertionError("never here")
    assert os.listdir(base) == []


def test_a_session_that_removes_its_directory(base: Path, caplog: pytest.LogCaptureFixture) -> None:
    import shutil

    with SessionHandler(SessionDir(base), change_directory=False) as session:
        shutil.rmtree(session.path)
    assert caplog.records == [] and os.listdir(base) == []


def test_own_messages(base: Path, caplog: pytest.LogCaptureFixture) -> None:
    ended(base, 2)
    with caplog.at_level(logging.DEBUG, "runark.workdir"), SessionHandler(SessionDir(base, max_session_dirs=1)):
        pass
    assert {record.name for record in caplog.records} == {"runark.workdir"}
    assert [record.levelname for record in caplog.records] == ["DEBUG", "VERBOSE", "DEBUG", "DEBUG"]


def test_archiving_instead_of_losing(base: Path) -> None:
    """Three live sessions, and every other one in a proven archive."""
    handler = SessionHandler(
        SessionDir(base, max_session_dirs=3), LogConfig("logs/app.log", level="info"),
        on_before_prune=runark.archive_sessions,
    )  # fmt: skip
    for number in range(50):
        with handler.session_context() as session:
            (session.path / "result.txt").write_text(f"{number}\n")
            logging.getLogger("app").info("number %d", number)
    live = [name for name in os.listdir(base) if not name.endswith(".tar.gz")]
    assert len(live) == 3 and len(os.listdir(base)) == 50
    assert sorted((base / name / "result.txt").read_text() for name in live) == ["47\n", "48\n", "49\n"]
    assert runark.verify(base).counts == {"sound": 47}
    archives = sorted(base.glob("*.tar.gz"))
    back = base / "back"
    back.mkdir()
    for number, archive in enumerate(archives):
        assert runark.restore(archive, to=back).counts == {"restored": 1}
        restored = back / archive.name.removesuffix(".tar.gz")
        assert (restored / "result.txt").read_text() == f"{number}\n"
        assert (restored / "logs" / "app.log").read_text().endswith(f"INFO app: number {number}\n")


def test_work_dir(tmp_path: Path) -> None:
    here = Path.cwd()
    work = WorkDir(tmp_path / "a" / "b", create_if_missing=True)
    with pytest.raises(ValueError, match="work"), work.work_context() as given:
        assert given is work and Path.cwd() == work.path == tmp_path / "a" / "b"
        raise ValueError("work")
    assert Path.cwd() == here and os.listdir(work.path) == [], "no name, no marker, no clean-up"
    with work.work_context():
        pass


def test_work_dir_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(SourceMissing, match="create_if_missing"), WorkDir(tmp_path / "a").work_context():
        raise AssertionError("never here")
    (tmp_path / "file").write_text("")
    for create in (False, True):
        with pytest.raises(NotADirectory), WorkDir(tmp_path / "file", create_if_missing=create).work_context():
            raise AssertionError("never here")
