"""`start`, `close` and `running2finished`: a session without the decorator.

CONFIG, sys.stdout, sys.stderr, plt, COLORS, rng = session.start(sys, plt)
...
session.close(CONFIG)
"""

from __future__ import annotations

import sys as _sys
from os import PathLike
from pathlib import Path
from typing import Any

from runark.errors import InvalidArgument, SourceMissing
from runark.session import lifecycle
from runark.session.config import Config, SessionConfig
from runark.session.directory import RUNNING, calling_script, final_directory, named_script, shown, state_of
from runark.session.figures import FigureStyle, colors
from runark.session.finish import archive, move
from runark.session.random_state import RandomStateManager

__all__ = ["close", "running2finished", "start"]


def start(
    sys: Any = None,
    plt: Any = None,
    file: str | PathLike[str] | None = None,
    sdir: str | PathLike[str] | None = None,
    sdir_suffix: str | None = None,
    args: Any = None,
    os: Any = None,
    random: Any = None,
    np: Any = None,
    torch: Any = None,
    seed: int = 42,
    agg: bool = False,
    fig_size_mm: tuple[float, float] = (160, 100),
    fig_scale: float = 1.0,
    dpi_display: float = 100,
    dpi_save: float = 300,
    fontsize: str | float = "small",
    autolayout: bool = False,
    show_execution_flow: bool = False,
    hide_top_right_spines: bool = True,
    alpha: float = 0.9,
    line_width: float = 1.0,
    clear_logs: bool = False,
    verbose: bool = True,
    *,
    archive_format: str | None = None,
    capture: bool = True,
) -> tuple[SessionConfig, Any, Any, Any, Config, RandomStateManager]:
    """Starts a session: directory, record, logs, seeds. Gives `(CONFIG, stdout, stderr, plt, COLORS, rng)`.

    sys, os, random, np, torch   accepted as ever; what is loaded is seeded, whether it is passed or not
    plt                    `matplotlib.pyplot`, to be styled; None: no figures
    file                   the script; default: the file that calls
    sdir                   the session's directory; default: `<script>_out/RUNNING/<ID>`. It must hold no session yet
    sdir_suffix            `-suffix` at the end of the directory's name
    args                   CONFIG.ARGS: a namespace or a mapping
    seed                   of every generator
    agg                    matplotlib without windows
    fig_size_mm            (width, height) in millimetres, times `fig_scale`
    dpi_display, dpi_save  dots an inch, on the screen and in files
    fontsize               points, or matplotlib's word for a size
    autolayout, hide_top_right_spines, alpha, line_width   of figures; the width in points
    show_execution_flow    print which calls led here
    clear_logs             empty logs that a chosen `sdir` holds already
    verbose                tell on standard error where the session is
    archive_format         archive the session when it has ended
    capture                False: no logs

    A session that was not closed when the next one starts is ended (FINISHED/). In a child of a session nothing is
    made: it joins the session of its parent. Raises `ConfigError`, `InvalidArgument`, `NotADirectory`, `TargetExists`,
    `FormatUnavailable`, `OperationFailed`; nothing is left on the disk then.
    """
    style = FigureStyle(
        agg,
        fig_size_mm,
        fig_scale,
        dpi_display,
        dpi_save,
        fontsize,
        autolayout,
        hide_top_right_spines,
        alpha,
        line_width,
    ).checked()
    begun = lifecycle.begin(
        lifecycle.Options(
            script=named_script(file) if file is not None else calling_script(),
            owner="start",
            sdir=sdir,
            suffix=sdir_suffix,
            args=args,
            seed=seed,
            style=style,
            wants_figures=plt is not None or agg,
            plt=plt,
            archive_format=archive_format,
            clear_logs=clear_logs,
            capture=capture,
        )
    )
    if show_execution_flow:
        _show_flow()
    if verbose:
        print(f"runark: session {begun.id} in {shown(begun.directory)}", file=_sys.stderr)
    figures = begun.resources.figures
    manager = begun.resources.random
    assert manager is not None
    shown_plt = figures.plt if figures is not None and plt is not None else plt
    return begun.config, _sys.stdout, _sys.stderr, shown_plt, colors(style), manager


def close(
    CONFIG: Any,
    message: str = ":)",
    notify: bool = False,
    verbose: bool = True,
    exit_status: int | None = None,
    archive_format: str | None = None,
) -> None:
    """Ends a session. A second time is harmless.

    exit_status     0: FINISHED_SUCCESS/, None: FINISHED/, anything else: FINISHED_ERROR/
    message         told on standard error, with the final path, if `verbose`
    notify          send a message (RUNARK_NOTIFY_URL)
    archive_format  archive the session, `"tar.gz"` for example; default: as `start` or CONFIG.SESSION say

    Raises `InvalidArgument` for a CONFIG that is none of a session of this process, `TargetExists` and
    `OperationFailed` if it cannot be finished: the directory is whole in RUNNING/ then, and `close` can be tried again.
    """
    lifecycle.check_format(archive_format)
    session = lifecycle.find(CONFIG)
    if session is None:
        raise InvalidArgument("close(): not the CONFIG of a session that this process started")
    if session.state == "closed":
        return
    status = None if exit_status is None else int(exit_status)
    where = lifecycle.end(session, status, "close()", archive_format=archive_format)
    if session.attached:
        return
    if verbose:
        print(f"runark: {message} {shown(where)}", file=_sys.stderr)
    if notify:
        from runark.session.notify import send

        send(f"{session.id}: status {status}", shown(where))


def running2finished(
    CONFIG: Any,
    exit_status: int | None = None,
    remove_src_dir: bool = True,
    max_wait: float = 60,
    archive_format: str | None = None,
) -> Any:
    """Moves the directory of a session from RUNNING/ to FINISHED*/, without ending it. Gives CONFIG with its new place.

    remove_src_dir  False: copy it instead, verified
    max_wait        accepted as ever; a rename takes no time
    archive_format  archive it there

    One that is not in RUNNING/ stays where it is. Raises `SourceMissing`, `TargetExists`, `OperationFailed`; nothing
    has changed then.
    """
    lifecycle.check_format(archive_format)
    run = Path(CONFIG["SDIR_RUN"])
    if not run.is_dir():
        raise SourceMissing(f"{shown(run)}: no such session directory; has it been finished already?")
    if state_of(run) == RUNNING:
        target = final_directory(run, exit_status)
        move(run, target, keep_source=not remove_src_dir)
        run = target
    session = lifecycle.find(CONFIG)
    if session is not None and remove_src_dir:
        session.directory = run
    CONFIG["SDIR_RUN"] = run
    CONFIG["EXIT_STATUS"] = exit_status
    if archive_format is not None:
        archive(run, archive_format)
    return CONFIG


def _show_flow() -> None:
    import traceback

    for frame in traceback.extract_stack()[:-2]:
        print(f"runark: {frame.filename}:{frame.lineno} {frame.name}: {frame.line}", file=_sys.stderr)
