"""`@session`: a function becomes a script with a command line and a session; `run` does the same explicitly.

parse the command line     --help and mistakes end here, and nothing has been made
begin the session          `runark.session.lifecycle`
call the function          with CONFIG, plt, COLORS, rngg, logger, as parameters and as globals
end the session            with the true status, whatever happens
end the process            with that status, if it is not 0
"""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable
from typing import Any, TypeVar, overload

from runark.errors import InvalidArgument, RunarkError
from runark.session import lifecycle
from runark.session.command_line import CommandLine, inspect_function
from runark.session.directory import in_notebook, named_script, script_of, shown
from runark.session.figures import FigureStyle, colors, configure
from runark.session.signals import Terminated
from runark.session.state import Session

__all__ = ["run", "session"]

Function = TypeVar("Function", bound=Callable[..., Any])
_MISSING = object()
_STYLE = {
    "agg": "agg", "fig_size_mm": "size_mm", "fig_scale": "scale", "dpi_display": "dpi_display", "dpi_save": "dpi_save",
    "fontsize": "fontsize", "autolayout": "autolayout", "hide_top_right_spines": "hide_top_right_spines",
    "alpha": "alpha", "line_width": "line_width",
}  # fmt: skip
_OPTIONS = ("file", "sdir", "seed", "clear_logs", "capture")
_IGNORED = ("sys", "plt", "os", "random", "np", "torch", "args", "show_execution_flow")
"""What `start` takes and a decorator has no use for."""


@overload
def session(func: Function, /) -> Function: ...
@overload
def session(
    func: None = None,
    /,
    *,
    verbose: bool = False,
    agg: bool = True,
    notify: bool = False,
    sdir_suffix: str | None = None,
    archive_format: str | None = None,
    **session_kwargs: Any,
) -> Callable[[Function], Function]: ...


def session(
    func: Any = None,
    /,
    *,
    verbose: bool = False,
    agg: bool = True,
    notify: bool = False,
    sdir_suffix: str | None = None,
    archive_format: str | None = None,
    **session_kwargs: Any,
) -> Any:
    """Makes a function a script with a session of its own. With or without parentheses.

    verbose         tell on standard error where the session is, and log from DEBUG on
    agg             matplotlib without windows
    notify          send a message at the end (RUNARK_NOTIFY_URL)
    sdir_suffix     end of the directory's name; default: the function's name
    archive_format  archive the finished session, `"tar.gz"` for example
    session_kwargs  what `start` takes (`sdir`, `seed`, `fig_size_mm`, ...) and `message` for the end

    Called with arguments, the function is the plain function. Called with none, it reads the command line and runs in
    a session. What it returns comes back, if its status is 0; else the process ends with the status: an `int`
    returned, 1 after an exception, 130 after Ctrl-C, 143 after SIGTERM, whatever `sys.exit` was told. In a notebook, a
    REPL or a test nothing is read from the command line, exceptions come through and nothing ends the process.

    Raises `InvalidArgument` at once for a parameter that cannot be an option, and for an unknown setting.
    """
    settings = {"verbose": verbose, "agg": agg, "notify": notify, "archive_format": archive_format, **session_kwargs}

    def decorate(function: Any) -> Any:
        command_line = inspect_function(function)
        plan = _Plan(command_line, sdir_suffix, settings)

        @functools.wraps(function)
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            if args or kwargs:
                return function(*args, **kwargs)
            return plan.run()

        wrapper._func = function  # type: ignore[attr-defined]
        wrapper._is_session_wrapped = True  # type: ignore[attr-defined]
        return wrapper

    return decorate if func is None else decorate(func)


def run(func: Callable[..., Any], parse_args: Callable[[], Any] | None = None, **session_kwargs: Any) -> int:
    """Runs a function in a session, as `@session` does. Gives 0; any other status ends the process.

    parse_args      gives what the function is called with; default: an option for each parameter. A function with one
                    parameter called `args`, without a default, gets the namespace of parsed arguments
    session_kwargs  as for `session`
    """
    takes_namespace = parse_args is not None or _takes_args(func)
    command_line = CommandLine(func, (), ()) if takes_namespace else inspect_function(func)
    suffix = session_kwargs.pop("sdir_suffix", None)
    _Plan(command_line, suffix, {"agg": True, **session_kwargs}, parse_args, takes_namespace).run()
    return 0


def _takes_args(function: Callable[..., Any]) -> bool:
    import inspect

    parameters = list(inspect.signature(function).parameters.values())
    return len(parameters) == 1 and parameters[0].name == "args" and parameters[0].default is parameters[0].empty


class _Plan:
    """A decorated function with its settings, checked."""

    def __init__(
        self,
        command_line: CommandLine,
        suffix: str | None,
        settings: dict[str, Any],
        parse_args: Callable[[], Any] | None = None,
        takes_namespace: bool = False,
    ) -> None:
        self.command_line, self.function = command_line, command_line.function
        self.parse_args, self.takes_namespace = parse_args, takes_namespace
        self.verbose, self.notify = bool(settings.pop("verbose", False)), bool(settings.pop("notify", False))
        self.message = str(settings.pop("message", ":)"))
        self.archive_format = settings.pop("archive_format", None)
        lifecycle.check_format(self.archive_format)
        self.style = FigureStyle(
            **{_STYLE[key]: settings.pop(key) for key in list(settings) if key in _STYLE}
        ).checked()
        self.options = {key: settings.pop(key) for key in list(settings) if key in _OPTIONS}
        unknown = set(settings) - set(_IGNORED)
        if unknown:
            raise InvalidArgument(f"session(): no setting is called {min(unknown)!r}")
        self.suffix = suffix
        if suffix is None and self.options.get("sdir") is None:
            self.suffix = getattr(self.function, "__name__", "").strip("<>") or None

    def run(self) -> Any:
        hosted = _is_hosted()
        values, namespace = self._parse(hosted)
        begun = self._begin(values)
        status, reason, result, failure = 1, "", None, None
        injection = _Injection(self, begun)
        try:
            with injection:
                result = _call(lambda: self._call(values, namespace, injection))
            status, reason = _status_of(result), "returned"
        except BaseException as error:  # noqa: BLE001 - also exits and Ctrl-C; raised again below
            failure = error
            status, reason = _status_of_failure(error)
        trace = _trace(failure)
        try:
            where = lifecycle.end(begun, status, reason, error=trace)
        except RunarkError as error:
            if failure is not None:
                error.__context__ = failure
            raise
        if begun.is_mine:
            status = begun.status or 0
            self._tell(begun, status, where)
        if failure is not None and (hosted or not _ends_with_status(failure)):
            raise failure
        if status and not hosted:
            raise SystemExit(status & 0xFF or 1) from None
        return result

    def _parse(self, hosted: bool) -> tuple[dict[str, Any], Any]:
        """Values by parameter, and what is passed instead of them, if anything is."""
        if not self.takes_namespace:
            return self.command_line.parse(None if hosted else sys.argv[1:]), _MISSING
        import argparse

        if self.parse_args is not None:
            namespace = self.parse_args()
        else:
            parser = argparse.ArgumentParser(description=(self.function.__doc__ or "").strip())
            namespace = parser.parse_args([] if hosted else None)
        return vars(namespace).copy() if hasattr(namespace, "__dict__") else {}, namespace

    def _call(self, values: dict[str, Any], namespace: Any, injection: _Injection) -> Any:
        if namespace is not _MISSING:
            return self.function(namespace)
        return self.command_line.call(values, {name: injection.value(name) for name in self.command_line.injected})

    def _begin(self, args: dict[str, Any]) -> Session:
        options = dict(self.options)
        file = options.pop("file", None)
        code = getattr(_unwrapped(self.function), "__code__", None)
        begun = lifecycle.begin(
            lifecycle.Options(
                script=named_script(file)
                if file is not None
                else script_of(code.co_filename if code is not None else "<>"),
                owner="decorator",
                suffix=self.suffix,
                args=args,
                style=self.style,
                archive_format=self.archive_format,
                **options,
            )
        )
        if self.verbose:
            print(f"runark: session {begun.id} in {shown(begun.directory)}", file=sys.stderr)
        return begun

    def _tell(self, ended: Session, status: int, where: Any) -> None:
        if self.verbose:
            print(f"runark: {self.message} status {status}: {shown(where)}", file=sys.stderr)
        if self.notify:
            from runark.session.notify import send

            send(f"{ended.id}: status {status}", f"{shown(where)}\n{ended.config.get('END_REASON')}")


class _Injection:
    """CONFIG, plt, COLORS, rngg, rng and logger in the function's module, for the run."""

    def __init__(self, plan: _Plan, begun: Session) -> None:
        self._plan, self._session = plan, begun
        self._globals: dict[str, Any] = getattr(_unwrapped(plan.function), "__globals__", {})
        self._before: dict[str, Any] = {}
        self._logger: _Logger | None = None

    def __enter__(self) -> None:
        try:
            self._inject()
        except BaseException:
            self.__exit__()
            raise

    def _inject(self) -> None:
        if "matplotlib.pyplot" in sys.modules:
            self._figures()
        for name in ("CONFIG", "COLORS", "rngg"):
            self._set(name, self.value(name))
        if "rng" not in self._globals:  # a name scripts use for generators of their own
            self._set("rng", self.value("rng"))
        loaded = {"plt": "matplotlib.pyplot", "logger": "logging"}
        for name, module in loaded.items():
            wanted = name in self._plan.command_line.injected or module in sys.modules
            self._set(name, self.value(name) if wanted else _Lazy(self, name))

    def __exit__(self, *_: object) -> None:
        for name, before in self._before.items():
            if before is _MISSING:
                self._globals.pop(name, None)
            else:
                self._globals[name] = before
        if self._logger is not None:
            self._logger.put_back()

    def _set(self, name: str, value: Any) -> None:
        self._before.setdefault(name, self._globals.get(name, _MISSING))
        self._globals[name] = value

    def value(self, name: str) -> Any:
        if name == "CONFIG":
            return self._session.config
        if name in ("rngg", "rng"):
            return self._session.resources.random
        if name == "COLORS":
            return colors(self._plan.style)
        if name == "plt":
            return self._figures()
        if self._logger is None:
            self._logger = _Logger(_unwrapped(self._plan.function).__module__, self._plan.verbose)
        return self._logger.logger

    def _figures(self) -> Any:
        resources = self._session.resources
        if resources.figures is None:
            resources.figures = configure(self._plan.style)
        return resources.figures.plt

    def real(self, name: str) -> Any:
        """The value a `_Lazy` stands for, which takes its place."""
        value = self.value(name)
        if isinstance(self._globals.get(name), _Lazy):
            self._globals[name] = value
        return value


class _Lazy:
    """Stands for a module global until somebody uses it, so that matplotlib and logging are loaded only if used."""

    def __init__(self, injection: _Injection, name: str) -> None:
        self._injection, self._name = injection, name

    def __getattr__(self, attribute: str) -> Any:
        return getattr(self._injection.real(self._name), attribute)

    def __repr__(self) -> str:
        return f"<{self._name} of the session, not used yet>"


class _Logger:
    """The logger of the script, which writes to standard error, and so into stderr.log, while the session runs."""

    def __init__(self, name: str, verbose: bool) -> None:
        import logging

        self.logger = logging.getLogger(name)
        self._level, self._handler = self.logger.level, None
        if self.logger.level == logging.NOTSET:
            self.logger.setLevel(logging.DEBUG if verbose else logging.INFO)
        if not self.logger.hasHandlers():
            self._handler = logging.StreamHandler(sys.stderr)
            self._handler.setFormatter(logging.Formatter("%(levelname)s: %(message)s"))
            self.logger.addHandler(self._handler)

    def put_back(self) -> None:
        self.logger.setLevel(self._level)
        if self._handler is not None:
            self.logger.removeHandler(self._handler)
            self._handler.close()


# ----------------------------------------------------------------------------------------------- running


def _is_hosted() -> bool:
    """Whether somebody else's program runs this one: a notebook, a REPL, a test. Its command line is not ours."""
    testing = "_pytest" in sys.modules and "PYTEST_CURRENT_TEST" in os.environ
    return testing or in_notebook() or hasattr(sys, "ps1")


def _call(function: Callable[[], Any]) -> Any:
    """What it returns; of a coroutine, what that returns."""
    result = function()
    import inspect

    if not inspect.iscoroutine(result):
        return result
    import asyncio

    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(result)
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(1) as elsewhere:  # a notebook has a loop running, and it cannot be waited for from within
        return elsewhere.submit(asyncio.run, result).result()


def _status_of(result: Any) -> int:
    """An int, numpy's too, is the status; True, text and everything else means 0."""
    if isinstance(result, bool) or not hasattr(type(result), "__index__"):
        return 0
    if type(result).__name__ in ("bool_", "bool") or getattr(result, "shape", ()) != ():
        return 0
    return int(result)


def _status_of_failure(error: BaseException) -> tuple[int, str]:
    if isinstance(error, Terminated):
        import signal

        return int(error.code or 0), signal.Signals(error.signal).name
    if isinstance(error, SystemExit):
        if error.code is None:
            return 0, "sys.exit()"
        code = error.code if isinstance(error.code, int) else 1
        return int(code), f"sys.exit({error.code!r})"
    if isinstance(error, KeyboardInterrupt):
        return 130, "KeyboardInterrupt"
    return 1, lifecycle.told(error)


def _ends_with_status(error: BaseException) -> bool:
    """Whether Python would end the process without a word."""
    if isinstance(error, SystemExit):
        return isinstance(error.code, int) and error.code != 0
    return isinstance(error, KeyboardInterrupt)


def _trace(error: BaseException | None) -> str:
    """What Python is going to print about it, for the log."""
    if error is None or isinstance(error, Terminated):
        return ""
    if isinstance(error, SystemExit):
        return f"{error.code}\n" if error.code is not None and not isinstance(error.code, int) else ""
    import traceback

    trace = error.__traceback__
    while trace is not None and trace.tb_frame.f_code.co_filename == __file__ and trace.tb_next is not None:
        trace = trace.tb_next
    return "".join(traceback.format_exception(type(error), error, trace))


def _unwrapped(function: Any) -> Any:
    import inspect

    function = inspect.unwrap(function)
    return getattr(function, "func", function)  # functools.partial
