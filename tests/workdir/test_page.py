"""Every example of the page users come from, with only import and paths changed, and what the page says about it."""

from __future__ import annotations

import logging
import os
import re
import time
from pathlib import Path
from typing import Any

import pytest

from runark.workdir import LogConfig, SessionDir, SessionHandler
from support.workdirs import ended


def run(example: str, tmp_path: Path, **more: Any) -> dict[str, Any]:
    """Run an example; what it says about /tmp/sessions, /path/to and /shared is about `tmp_path`."""
    text = example.replace("vcti.session", "runark.workdir")
    for place in ("/tmp/sessions", "/path/to/my/work", "/shared/work"):
        text = text.replace(place, str(tmp_path / place.rpartition("/")[2]))
    names: dict[str, Any] = {"logging": logging, "Path": Path, "time": time, **more}
    exec(compile(text, "page", "exec"), names)
    return names


AUTO_MANAGED = """
from pathlib import Path
from vcti.session import SessionDir, SessionHandler, LogConfig

session_dir = SessionDir(
    base_directory=Path("/tmp/sessions"),
    max_session_dirs=10,
    max_age_days=7,
)
log_config = LogConfig(file_path="logs/app.log", console_enabled=True)

handler = SessionHandler(session_dir, log_config)
with handler.session_context() as session:
    print(f"Working in: {session.path}")
    # Session directory auto-created with unique name
    # Logging configured to session_path/logs/app.log
    logging.getLogger("app").warning("as the page says")
# Old sessions pruned automatically on exit
"""


def test_auto_managed_session_directory(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ended(tmp_path / "sessions", 12)
    path: Path = run(AUTO_MANAGED, tmp_path)["session"].path
    out, err = capsys.readouterr()
    assert out == f"Working in: {path}\n"
    assert re.fullmatch(r"session_\d{4}(-\d\d){5}_\d{6}", path.name) and path.parent == tmp_path / "sessions"
    log = (path / "logs" / "app.log").read_text()
    assert log.endswith("WARNING app: as the page says\n") and log in err
    assert len(os.listdir(tmp_path / "sessions")) == 10 and path.is_dir()


WORK_DIRECTORY = """
from vcti.session import WorkDir, LogConfig

work_dir = WorkDir(
    directory="/path/to/my/work",
    log_config=LogConfig(file_path="app.log"),
    create_if_missing=True,
)
with work_dir.work_context():
    print(f"Working in: {work_dir.path}")
    Path("here.txt").write_text("relative")
    logging.getLogger("app").error("logged")
"""


def test_user_specified_work_directory(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(WORK_DIRECTORY, tmp_path)
    assert capsys.readouterr().out == f"Working in: {tmp_path / 'work'}\n"
    assert sorted(os.listdir(tmp_path / "work")) == ["app.log", "here.txt"]
    assert "ERROR app: logged" in (tmp_path / "work" / "app.log").read_text()


FROM_ENVIRONMENT = """
from vcti.session import SessionDir, LogConfig

# SessionDir reads: SESSION_DIR_PREFIX, SESSION_DIR_MAX_SESSION_DIRS, etc.
session_dir = SessionDir(
    base_directory="/tmp/sessions",
    env_prefix="MYAPP_",     # reads MYAPP_SESSION_DIR_PREFIX, etc.
    env_file=".env",         # load from .env file
)

# LogConfig reads: SESSION_LOG_FILE_PATH, SESSION_LOG_LEVEL, etc.
log_config = LogConfig(
    env_prefix="MYAPP_",
    default_file_path="logs/app.log",
    default_level="info",
)
"""


def test_configuration_from_environment_variables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".env").write_text("MYAPP_SESSION_DIR_PREFIX=file_\nMYAPP_SESSION_DIR_MAX_AGE_DAYS=3\nOTHER=1\n")
    monkeypatch.setenv("MYAPP_SESSION_DIR_PREFIX", "real_")
    monkeypatch.setenv("SESSION_DIR_MAX_AGE_DAYS", "99")  # without the prefix: somebody else's
    monkeypatch.setenv("MYAPP_SESSION_LOG_LEVEL", "error")
    names = run(FROM_ENVIRONMENT, tmp_path)
    session_dir, log_config = names["session_dir"], names["log_config"]
    assert (session_dir.prefix, session_dir.max_age_days, session_dir.max_session_dirs) == ("real_", 3, 20)
    assert (log_config.level, log_config.file_path) == ("error", Path("logs/app.log"))
    assert "MYAPP_SESSION_DIR_MAX_AGE_DAYS" not in os.environ, "nothing is written to the environment"


HOOKS = """
def archive_sessions(dirs: list[Path]):
    for d in dirs:
        upload_to_s3(d)

def notify_created(path: Path):
    print(f"Session started: {path}")

def on_exit(path: Path, error: Exception | None):
    duration = time.time() - start_time
    log_to_db(path, duration, error)

handler = SessionHandler(
    session_dir, log_config,
    on_session_created=notify_created,
    on_session_exit=on_exit,
    on_before_prune=archive_sessions,
    on_session_error=lambda exc: alert_oncall(exc),
)
"""


def test_lifecycle_hooks(tmp_path: Path, base: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (old,) = ended(base)
    told: list[Any] = []
    names = run(
        "from __future__ import annotations\n" + HOOKS, tmp_path,
        SessionHandler=SessionHandler, session_dir=SessionDir(base, max_session_dirs=1), log_config=LogConfig(),
        start_time=time.time(), upload_to_s3=lambda path: told.append(("upload", path, path.is_dir())),
        log_to_db=lambda path, duration, error: told.append(("exit", path, duration >= 0, error)),
        alert_oncall=lambda error: told.append(("alert", error)),
    )  # fmt: skip
    error = ValueError("broken")
    with pytest.raises(ValueError) as raised, names["handler"].session_context() as session:
        raise error
    assert raised.value is error
    assert capsys.readouterr().out == f"Session started: {session.path}\n"
    assert told == [("alert", error), ("exit", session.path, True, error), ("upload", old, True)]
    assert os.listdir(base) == [session.path.name]


LOGGING = {
    "batch": "handler = SessionHandler(session_dir)",
    "file": 'handler = SessionHandler(session_dir, LogConfig(file_path="app.log"))',
    "console": "handler = SessionHandler(session_dir, LogConfig(console_enabled=True))",
    "both": """
handler = SessionHandler(
    session_dir,
    LogConfig(
        file_path="logs/app.log",
        console_enabled=True,
        color_enabled=True,
        level="debug",
    ),
)
""",
    "hooks": """
handler = SessionHandler(
    session_dir,
    on_session_created=lambda path: my_custom_logging_setup(path),
)
""",
}


@pytest.mark.parametrize(
    ("example", "files", "logged", "shown"),
    [
        ("batch", [], "", ""),
        ("file", ["app.log"], "WARNING app: second\n", ""),
        ("console", [], "", "WARNING app: second\n"),
        ("both", ["logs", "logs/app.log"], "INFO app: first\nWARNING app: second\n",
         "\x1b[32mINFO app: first\x1b[0m\n\x1b[33mWARNING app: second\x1b[0m\n"),
        ("hooks", ["own.log"], "", ""),
    ],
)  # fmt: skip
def test_user_session_logging(
    tmp_path: Path, base: Path, capsys: pytest.CaptureFixture[str],
    example: str, files: list[str], logged: str, shown: str,
) -> None:  # fmt: skip
    given = {"SessionHandler": SessionHandler, "LogConfig": LogConfig, "session_dir": SessionDir(base)}
    setup = {"my_custom_logging_setup": lambda path: (path / "own.log").write_text("")}
    handler: SessionHandler = run(LOGGING[example], tmp_path, **given, **setup)["handler"]
    with handler.session_context() as session:
        logging.getLogger("app").info("first")
        logging.getLogger("app").warning("second")
    found = sorted(path.relative_to(session.path).as_posix() for path in session.path.rglob("[!.]*"))
    assert found == files
    text = (session.path / files[-1]).read_text() if logged else ""
    stamp = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} ")
    assert stamp.sub("", text) == logged
    assert stamp.sub("", capsys.readouterr().err) == shown


THREAD_SAFE = """
# Thread-safe: cwd is never changed
handler = SessionHandler(session_dir, log_config, change_directory=False)
with handler.session_context() as session:
    # Use session.path directly instead of relying on cwd
    output_file = session.path / "results.json"
    output_file.write_text('{"status": "ok"}')
    here = Path.cwd()
"""

WORK_DIR_TOO = """
work_dir = WorkDir(
    directory="/shared/work",
    log_config=log_config,
    change_directory=False,
)
with work_dir.work_context() as wd:
    data_file = wd.path / "data.csv"
    here = Path.cwd()
"""


def test_thread_safety(tmp_path: Path, base: Path) -> None:
    from runark.workdir import WorkDir

    given = {"SessionHandler": SessionHandler, "session_dir": SessionDir(base), "log_config": LogConfig("a.log")}
    names = run(THREAD_SAFE, tmp_path, **given)
    assert names["output_file"].read_text() == '{"status": "ok"}' and names["here"] == Path.cwd()
    (tmp_path / "work").mkdir()
    names = run(WORK_DIR_TOO, tmp_path, WorkDir=WorkDir, log_config=given["log_config"])
    assert names["data_file"] == tmp_path / "work" / "data.csv" and names["here"] == Path.cwd()
    assert (tmp_path / "work" / "a.log").exists()


def test_with_handler(base: Path) -> None:
    with SessionHandler(SessionDir(base)) as session:
        assert Path.cwd() == session.path
