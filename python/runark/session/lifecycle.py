"""A session from its start to its end.

    begin    config is read, options are checked           nothing is on the disk before both are sound
             the directory is made, exclusively
             the record is written: who runs it, where     from here on a kill leaves a ghost that can be told from a
             logs, signals, random numbers, figures        live session (`runark.session.reconcile`)
             hooks
    end      hooks
             figures, logs, ... are put back as they were
             the record is completed and names the final place
             the directory is renamed to FINISHED*/
             it is archived, if that was asked for

An end that fails is an error; the directory is whole in RUNNING/, and `close` may be called again.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from runark import env_vars
from runark.errors import ConfigError, InvalidArgument, OperationFailed, RunarkError
from runark.session import attach, manager, state
from runark.session.capture import Capture
from runark.session.config import Config, SessionConfig, use_debug_values
from runark.session.directory import (
    RUNNING,
    Place,
    final_directory,
    in_notebook,
    make_place,
    out_directory,
    shown,
    state_of,
)
from runark.session.figures import Figures, FigureStyle, configure
from runark.session.finish import archive, move
from runark.session.provenance import Git, process
from runark.session.record import CONFIGS, OUTPUTS, duration_text, read_outputs, write_record
from runark.session.signals import Signals
from runark.session.state import Session

if TYPE_CHECKING:
    from runark.session.random_state import RandomStateManager

__all__ = ["Options", "Resources", "begin", "end", "find", "told"]

FORMATS = ("tar", "tar.gz", "tar.xz", "tar.zst")
_OWN_KEYS = (
    "ID", "FILE", "SDIR_OUT", "SDIR_RUN", "START_DATETIME", "END_DATETIME", "RUN_DURATION", "ARGS", "EXIT_STATUS",
    "END_REASON", "SEED", "RUNARK", "HOST", "PID", "PROCESS_START", "BOOT_ID", "PID_NAMESPACE", "USER", "ARGV",
    "CWD", "PYTHON", "SCHEDULER", "GIT_COMMIT", "GIT_DIRTY", "OUTPUTS", "RANK",
)  # fmt: skip

_known: dict[str, Session] = {}
"""The sessions of this process by ID, those that have ended too."""


class Options(NamedTuple):
    """What a session is started with."""

    script: Path | None
    owner: str
    sdir: str | os.PathLike[str] | None = None
    suffix: str | None = None
    args: Any = None
    seed: int = 42
    style: FigureStyle = FigureStyle()
    wants_figures: bool = False
    plt: Any = None
    archive_format: str | None = None
    clear_logs: bool = False
    capture: bool = True


@dataclass(eq=False)
class Resources:
    """What the end has to put back."""

    signals: Signals
    capture: Capture | None = None
    random: RandomStateManager | None = None
    figures: Figures | None = None
    note: Path | None = None
    lost_output: list[str] = field(default_factory=list)
    """What was written to standard output or error and is nowhere but in the logs."""
    announced: str | None = None
    """What RUNARK_SESSION was set to, and what it was before."""
    environment: str | None = None
    cwd: str | None = None
    handlers: list[Any] | None = None
    """Those of the root logger; empty if logging was not loaded."""

    def put_back(self) -> list[str]:
        """Everything but the signals. Gives what could not be, and what is missing in the logs."""
        problems: list[str] = []
        if self.figures is not None:
            problems += _tried(self.figures.put_back)
            self.figures = None
        if self.capture is not None:
            problems += self.capture.stop()
            self.lost_output = self.capture.lost_output
            self.capture = None
        if self.random is not None:
            problems += _tried(self.random.put_back)
            self.random = None
        if self.note is not None:
            with contextlib.suppress(OSError):
                os.unlink(self.note)
            self.note = None
        if self.cwd is not None:
            with contextlib.suppress(OSError):  # it was removed
                os.chdir(self.cwd)
            self.cwd = None
        if self.handlers is not None:
            _drop_handlers(self.handlers)
            self.handlers = None
        if self.announced is not None and os.environ.get(env_vars.SESSION) == self.announced:
            if self.environment is None:
                del os.environ[env_vars.SESSION]
            else:
                os.environ[env_vars.SESSION] = self.environment
        return problems


def _tried(put_back: Callable[[], object]) -> list[str]:
    try:
        put_back()
    except Exception as error:  # noqa: BLE001 - other libraries, and what the script has done to them
        return [f"not everything could be put back: {told(error)}"]
    return []


def _root_handlers() -> list[Any]:
    return list(sys.modules["logging"].root.handlers) if "logging" in sys.modules else []


def _drop_handlers(known: list[Any]) -> None:
    """Takes the root logger's handlers away that the session has brought: they would write into what is finished."""
    for handler in _root_handlers():
        if handler not in known:
            sys.modules["logging"].root.removeHandler(handler)
            handler.close()


# ------------------------------------------------------------------------------------------------- begin


def begin(options: Options) -> Session:
    """Starts a session, or joins the one this process belongs to.

    Raises `ConfigError`, `InvalidArgument`, `NotADirectory`, `TargetExists`, `FormatUnavailable`, `OperationFailed`;
    nothing is left on the disk then.
    """
    now = state.current()
    if now is not None and now.state == "running":
        if now.is_mine and now.owner == "start" and options.owner == "start":
            print(f"runark: session {now.id} was not closed before the next start", file=sys.stderr)
            end(now, None, "the next session was started")
        elif now.is_mine or now.directory.is_dir():  # else this process outlived the one it was forked from
            return _join(now.directory, options, None)
    config, archive_format = _read_config(options)
    parallel = attach.parallel() if os.environ.get(env_vars.SESSION) != "new" else None
    parent = attach.parent_session()
    if parent is not None:
        return _join(parent, options, None, config)
    if parallel is not None and parallel.rank > 0:
        return _join_rank_0(options, parallel, config)

    git = Git(options.script)
    place = make_place(options.script, options.sdir, options.suffix, bool(config.get("IS_DEBUG")))
    resources = Resources(Signals())
    try:
        resources.signals.install()
        for part in (CONFIGS, "logs"):
            os.makedirs(place.run / part, exist_ok=True)
        _begin_logs(resources, place.run, options, "")  # early: the process behind it starts while we go on
        config = SessionConfig({**_own_values(place, options, git), **config})
        write_record(place.run, config)
        if parallel is not None:
            note = attach.announce(place.out, place.run, parallel.job)
            resources.note = note if parallel.size is None else None
        session = Session(
            config,
            place.run,
            os.getpid(),
            options.script,
            options.owner,
            False,
            resources,
            place.id,
            config.START_DATETIME,
            archive_format,
        )
        _equip(session, options)
    except BaseException as error:
        resources.signals.hold()
        resources.put_back()
        _take_back(place, made_above=options.sdir is not None)
        resources.signals.put_back()
        if isinstance(error, OSError) and not isinstance(error, RunarkError):
            where = error.filename if error.filename is not None else place.run
            raise OperationFailed(f"{shown(where)}: cannot start the session: {error.strerror}") from error
        raise
    _known[place.id] = session
    manager.load_observers()
    manager.SessionManager().create_session(place.id, config, options.script)
    manager.fire_start(place.id, options.script, {"directory": os.fspath(place.run)})
    return session


def _read_config(options: Options) -> tuple[SessionConfig, str | None]:
    directory = Path("config")
    found = SessionConfig()
    if directory.is_dir():
        from runark.session.yaml_config import load_configs

        found.update(load_configs(directory.absolute()))
    for key in found:
        if key.upper() in _OWN_KEYS:
            raise ConfigError(
                f"{shown(directory.absolute())}/{key}.yaml: CONFIG.{key.upper()} is runark's own; rename the file"
            )
    debug = found.get("IS_DEBUG")
    if isinstance(debug, Config):
        debug = debug.get("IS_DEBUG")
    if debug is True or debug == 1 or (isinstance(debug, str) and debug.lower() in ("true", "yes", "on")):
        use_debug_values(found)
        found["IS_DEBUG"] = True
    elif debug is not None:
        found["IS_DEBUG"] = False
    format = options.archive_format
    if format is None and isinstance(found.get("SESSION"), Config):
        format = found.SESSION.get("ARCHIVE_FORMAT")
    check_format(format)
    return found, format


def check_format(format: object) -> None:
    """Raises `InvalidArgument` for what is no archive format."""
    if format is not None and format not in FORMATS:
        raise InvalidArgument(f"archive_format {format!r}: give one of {', '.join(FORMATS)}")


def _own_values(place: Place, options: Options, git: Git) -> dict[str, Any]:
    import runark

    return {
        "ID": place.id,
        "FILE": options.script,
        "SDIR_OUT": place.out,
        "SDIR_RUN": place.run,
        "START_DATETIME": datetime.now(),
        "END_DATETIME": None,
        "RUN_DURATION": None,
        "EXIT_STATUS": None,
        "END_REASON": None,
        "ARGS": _args(options.args),
        "SEED": options.seed,
        "RUNARK": runark.__version__,
        **process(),
        **git.result(),
        "OUTPUTS": [],
    }


def _args(args: Any) -> dict[str, Any] | Any:
    if args is None:
        return {}
    return vars(args).copy() if hasattr(args, "__dict__") and not isinstance(args, dict) else args


def _begin_logs(resources: Resources, run: Path, options: Options, suffix: str) -> None:
    if not options.capture:
        return
    if options.clear_logs:
        for name in ("stdout.log", "stderr.log"):
            with contextlib.suppress(FileNotFoundError):
                os.truncate(run / "logs" / name, 0)
    resources.capture = Capture(run / "logs", suffix)


def _equip(session: Session, options: Options) -> None:
    """Environment, random numbers, figures."""
    from runark.session.random_state import RandomStateManager

    resources = session.resources
    resources.environment = os.environ.get(env_vars.SESSION)
    resources.announced = os.environ[env_vars.SESSION] = os.fspath(session.directory)
    resources.random = RandomStateManager(options.seed, cache=Path(session.config.SDIR_OUT) / "rng")
    if options.wants_figures:
        resources.figures = configure(options.style, options.plt)
    resources.handlers = _root_handlers()
    with contextlib.suppress(FileNotFoundError):
        resources.cwd = os.getcwd()
    session.state = "running"
    state.enter(session)
    atexit.unregister(_at_exit)
    atexit.register(_at_exit)


def _take_back(place: Place, made_above: bool) -> None:
    """Removes what a start that failed has made: by name, nothing else."""
    for name in (f"{CONFIGS}/CONFIG.yaml", f"{CONFIGS}/CONFIG.pkl", "logs/stdout.log", "logs/stderr.log"):
        with contextlib.suppress(OSError):
            if name.startswith(CONFIGS) or os.path.getsize(place.run / name) == 0:
                os.unlink(place.run / name)
    for name in (CONFIGS, "logs", "") if not made_above else (CONFIGS, "logs"):
        with contextlib.suppress(OSError):
            os.rmdir(place.run / name)


def _join_rank_0(options: Options, parallel: attach.Parallel, config: SessionConfig) -> Session:
    while True:
        run = attach.wait_for_rank_0(out_directory(options.script), parallel.job)
        try:
            return _join(run, options, parallel.rank, config)
        except (RunarkError, OSError):
            if run.is_dir():
                raise  # else rank 0 has just moved it


def _join(run: Path, options: Options, rank: int | None, config: SessionConfig | None = None) -> Session:
    """Belongs to a session somebody else ends."""
    from runark.session.yaml_config import load_yaml

    record = load_yaml(run / CONFIGS / "CONFIG.yaml")
    joined = SessionConfig(config if config is not None else {})
    joined.update(record if isinstance(record, dict) else {})
    for key in ("SDIR_OUT", "SDIR_RUN"):
        joined[key] = Path(joined[key])
    joined["SDIR_RUN"] = run
    joined["START_DATETIME"] = datetime.fromisoformat(str(joined.START_DATETIME)).replace(tzinfo=None)
    joined.update(FILE=options.script, ARGS=_args(options.args), PID=os.getpid())
    session = Session(
        joined,
        run,
        os.getpid(),
        options.script,
        options.owner,
        True,
        Resources(Signals()),
        str(joined.ID),
        joined.START_DATETIME,
    )
    session.outer = state.current()
    if rank is not None:
        joined["RANK"] = rank
        if state_of(run) == RUNNING:
            _begin_logs(session.resources, run, options._replace(clear_logs=False), f".rank{rank}")
    session.resources.signals.install()
    _equip(session, options)
    return session


# --------------------------------------------------------------------------------------------------- end


def find(config: Any) -> Session | None:
    """The session of this CONFIG, if this process has it."""
    now = state.current()
    if now is not None and config is now.config:
        return now
    try:
        return _known.get(str(config["ID"]))
    except (KeyError, TypeError):
        return None


def end(
    session: Session,
    status: int | None,
    reason: str,
    *,
    error: str = "",
    archive_format: str | None = None,
) -> Path:
    """Ends a session and gives where it lies now. One that has ended already is left alone.

    status   0 FINISHED_SUCCESS, None FINISHED, anything else FINISHED_ERROR. 0 of a decorated function becomes 1 if
             what its output was redirected to had no room for all of it
    error    goes to the end of stderr.log: the traceback that Python is going to print

    Raises `TargetExists`, `OperationFailed`; the directory is whole where it was, and everything of the process is
    put back.
    """
    if session.pid != os.getpid() or session.state == "closed":
        return session.directory
    if session.attached:
        session.resources.put_back()
        session.resources.signals.put_back()
        session.state = "closed"
        state.leave(session)
        return session.directory
    first = session.state == "running"
    session.resources.signals.hold()
    try:
        if first:
            session.state = "closing"
            manager.fire_close(_word(status), status)
            problems = session.resources.put_back()
            problems += session.resources.lost_output
            if session.resources.lost_output and status == 0 and session.owner == "decorator":
                status = 1
            _append_error(session.directory, error)
            for problem in problems:
                print(f"runark: {problem}", file=sys.stderr)
            if problems:
                reason = f"{reason}; {'; '.join(problems)}"
            manager.SessionManager().close_session(session.id, _word(status), status)
        return _settle(session, status, reason, archive_format or session.archive_format)
    finally:
        if session.state != "closed":
            session.state = "unfinished"
        state.leave(session)
        session.resources.signals.put_back()


def _settle(session: Session, status: int | None, reason: str, format: str | None) -> Path:
    """Completes the record, moves the directory, archives it."""
    run, config = session.directory, session.config
    target = final_directory(run, status)
    now = datetime.now()
    before = dict(config)
    try:
        outputs = read_outputs(run)
    except OSError as error:
        raise OperationFailed(f"{shown(run)}: cannot read what was saved: {error.strerror}; it stays there") from error
    config.update(
        EXIT_STATUS=status, END_REASON=reason, END_DATETIME=now, SDIR_RUN=target, OUTPUTS=outputs,
        RUN_DURATION=duration_text(session.runtime),
    )  # fmt: skip
    try:
        if os.path.lexists(target) and target != run:
            move(run, target)  # says so
        write_record(run, config)
        move(run, target)
    except RunarkError:
        config.update(SDIR_RUN=run)
        with contextlib.suppress(RunarkError):
            write_record(run, Config({**before, "END_REASON": reason}))
        raise
    if outputs:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(target / CONFIGS / OUTPUTS)
    session.directory = target
    session.state, session.status = "closed", status
    if format is not None:
        return archive(target, format)
    return target


def _append_error(run: Path, error: str) -> None:
    if error:
        with contextlib.suppress(OSError), open(run / "logs" / "stderr.log", "ab") as stream:
            stream.write(error.encode("utf-8", "backslashreplace"))


def told(error: BaseException) -> str:
    """An exception in one line, at most 1,000 characters of it."""
    try:
        return f"{type(error).__name__}: {error}"[:1000]
    except Exception:  # noqa: BLE001 - somebody else's __str__
        return type(error).__name__


def _word(status: int | None) -> str:
    return "finished" if status is None else "error" if status else "success"


def _at_exit() -> None:
    """A script that ends without `close`: it did not say how it went, so it did not go well."""
    session = state.current()
    if session is None or session.state != "running" or session.pid != os.getpid():
        return
    last = getattr(sys, "last_value", None)
    status, reason = 1, "the script ended without close()"
    if (number := session.resources.signals.raised) is not None:
        status, reason = 128 + number, signal.Signals(number).name
    elif last is not None and not in_notebook():
        status, reason = 130 if isinstance(last, KeyboardInterrupt) else 1, told(last)
    try:
        end(session, status, reason)
    except RunarkError as failure:
        print(f"runark: {failure}", file=sys.stderr)
