"""The two tables of variables, row by row; precedence; what does not parse; the page made from the code."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from runark.errors import InvalidArgument, NotADirectory, UnsafePath
from runark.workdir import LogConfig, SessionDir

# variable, argument, default, a text for the variable, what it gives
SESSION_DIR: list[tuple[str, str, Any, str, Any]] = [
    ("SESSION_DIR_PREFIX", "prefix", "session_", "job-", "job-"),
    ("SESSION_DIR_TIMESTAMP_FORMAT", "timestamp_format", "%Y-%m-%d-%H-%M-%S", "%Y%j", "%Y%j"),
    ("SESSION_DIR_MAX_SESSION_DIRS", "max_session_dirs", 20, "-1", -1),
    ("SESSION_DIR_MAX_AGE_DAYS", "max_age_days", 10, "0", 0),
]
LOG: list[tuple[str, str, Any, str, Any]] = [
    ("SESSION_LOG_FILE_PATH", "file_path", None, "logs/a.log", Path("logs/a.log")),
    ("SESSION_LOG_LEVEL", "level", "warning", "INFO", "info"),
    ("SESSION_LOG_CONSOLE_ENABLED", "console_enabled", False, "true", True),
    ("SESSION_LOG_COLOR_ENABLED", "color_enabled", False, "1", True),
    ("SESSION_LOG_MESSAGE_FORMAT", "message_format", None, "%(message)s", "%(message)s"),
]
ROWS = [("dir", *row) for row in SESSION_DIR] + [("log", *row) for row in LOG]


def made(kind: str, base: Path, **options: Any) -> Any:
    return SessionDir(base, **options) if kind == "dir" else LogConfig(**options)


@pytest.mark.parametrize(("kind", "variable", "argument", "default", "text", "value"), ROWS)
@pytest.mark.parametrize("prefix", ["", "MYAPP_"])
def test_the_tables(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    kind: str, variable: str, argument: str, default: Any, text: str, value: Any, prefix: str,
) -> None:  # fmt: skip
    def now(**options: Any) -> Any:
        return getattr(made(kind, base, env_prefix=prefix, **options), argument)

    assert now() == default
    file = tmp_path / "settings.env"
    file.write_text(f"# ours\nexport {prefix}{variable}='{text}'\nUNRELATED=x\n")
    assert now(env_file=file) == value
    assert now(env_file=str(file)) == value
    if kind == "log":
        other = {"level": "error", "file_path": "b.log"}.get(argument, value)
        assert now(**{f"default_{argument}": other}) == (Path(other) if argument == "file_path" else other)
        assert now(**{f"default_{argument}": other}, env_file=file) == value
    monkeypatch.setenv(prefix + variable, text)
    assert now() == value
    file.write_text(f"{prefix}{variable}={default}\n")
    assert now(env_file=file) == value, "a real variable beats the file"
    given = {"file_path": "c.log", "level": "critical", "message_format": "%(name)s", "prefix": "x"}.get(
        argument, default
    )
    assert now(**{argument: given}) == (Path(given) if argument == "file_path" else given), "an argument beats both"


def test_names_of_variables_are_exact(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("session_dir_prefix", "lower_")
    assert SessionDir(base).prefix == "session_"


@pytest.mark.parametrize(
    ("kind", "argument", "bad", "why"),
    [
        ("dir", "max_session_dirs", "ten", "integer"),
        ("dir", "max_session_dirs", "", "integer"),
        ("dir", "max_session_dirs", "-2", "-1"),
        ("dir", "max_age_days", "1.5", "integer"),
        ("dir", "max_age_days", "-100", "-1"),
        ("dir", "prefix", "a/b", "'/'"),
        ("dir", "prefix", ".hidden", "begin with '.'"),
        ("dir", "prefix", "x" * 200, "longer"),
        ("dir", "timestamp_format", "%Y/%m", "'/'"),
        ("dir", "timestamp_format", "", "empty"),
        ("dir", "timestamp_format", "%Y" * 40, "more than"),
        ("log", "level", "loud", "'debug', 'info', 'warning', 'error' or 'critical'"),
        ("log", "level", "", "'debug'"),
        ("log", "console_enabled", "maybe", "boolean"),
        ("log", "color_enabled", "2", "boolean"),
        ("log", "message_format", "%(nothing)s", "nothing"),
        ("log", "message_format", "{message}", "format"),
    ],
)
def test_values_that_do_not_parse(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, argument: str, bad: str, why: str
) -> None:
    variable = f"APP_SESSION_{'DIR' if kind == 'dir' else 'LOG'}_{argument.upper()}"
    if argument != "level" and bad != "":
        with pytest.raises(InvalidArgument, match=f"^{argument}=") as raised:
            made(kind, base, **{argument: bad})
        assert why in str(raised.value)
    if kind == "log":
        with pytest.raises(InvalidArgument, match=f"^default_{argument}="):
            made(kind, base, **{f"default_{argument}": bad or "?"})
    (tmp_path / ".env").write_text(f"{variable}='{bad}'\n")
    with pytest.raises(ValueError, match=f"^{variable}="):
        made(kind, base, env_prefix="APP_", env_file=tmp_path / ".env")
    monkeypatch.setenv(variable, bad)
    with pytest.raises(InvalidArgument) as told:
        made(kind, base, env_prefix="APP_")
    assert str(told.value).startswith(f"{variable}={bad!r}: ") and why in str(told.value)
    assert not base.exists(), "nothing is made"


def test_an_empty_file_path_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SESSION_LOG_FILE_PATH", "")
    assert LogConfig(default_file_path="a.log").file_path is None


def test_env_file(base: Path, tmp_path: Path) -> None:
    assert SessionDir(base, env_file=tmp_path / "missing.env").prefix == "session_"
    with pytest.raises(InvalidArgument, match=r"env_file .*: Is a directory"):
        SessionDir(base, env_file=tmp_path)


def test_an_env_file_with_a_byte_order_mark(base: Path, tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("SESSION_DIR_MAX_AGE_DAYS=3\n", encoding="utf-8-sig")
    assert SessionDir(base, env_file=tmp_path / ".env").max_age_days == 3


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (b"SESSION_DIR_MAX_AGE_DAYS='30\n", '"SESSION_DIR_MAX_AGE_DAYS=\'30" does not parse'),
        (b"SESSION_DIR_MAX_AGE_DAYS\n", "has no value"),
        (b"SESSION_DIR_PREFIX=\xff\n", "has to be UTF-8"),
    ],
)
def test_an_env_file_that_does_not_parse(base: Path, tmp_path: Path, text: bytes, why: str) -> None:
    """What is meant to keep sessions for longer is not passed over."""
    file = tmp_path / ".env"
    file.write_bytes(text)
    with pytest.raises(InvalidArgument, match=r"^env_file ") as raised:
        SessionDir(base, env_file=file)
    assert why in str(raised.value) and str(file) in str(raised.value)


def test_other_lines_of_an_env_file_are_not_ours(base: Path, tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("# SESSION_DIR_PREFIX\nOTHER='x\nOTHERS\nSESSION_DIR_PREFIX=a_\n")
    assert SessionDir(base, env_file=tmp_path / ".env").prefix == "a_"


def test_a_bad_variable_is_named_though_there_is_a_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SESSION_LOG_LEVEL", "loud")
    with pytest.raises(InvalidArgument, match=r"^SESSION_LOG_LEVEL='loud'"):
        LogConfig(default_level="info")


def test_base_directory(tmp_path: Path) -> None:
    assert SessionDir(tmp_path / "a" / "b").base_directory.is_dir()
    assert SessionDir(str(tmp_path / "c")).base_directory == tmp_path / "c"
    (tmp_path / "file").write_text("")
    for bad in ("file", "file/below"):
        with pytest.raises(NotADirectory, match="is a file"):
            SessionDir(tmp_path / bad)


def test_an_empty_base_is_refused() -> None:
    with pytest.raises(UnsafePath, match="unset"):
        SessionDir("")


def test_nobody_else_pays_for_it() -> None:
    """`import runark`, the decorator and the command line load neither pydantic nor this package."""
    code = (
        "import sys, runark, runark.session.decorator, runark.cli.main\n"
        "runark.session(lambda: None); runark.archive_sessions, runark.scan, runark.SessionManager\n"
        "bad = sorted(name for name in sys.modules if name.partition('.')[0] in ('pydantic', 'pydantic_core', 'dotenv',"
        " 'pydantic_settings') or name.startswith('runark.workdir'))\n"
        "assert not bad, bad\n"
        "runark.workdir\n"
        "assert 'pydantic_settings' in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
