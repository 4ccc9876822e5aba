"""`save`: an object into a file, whole or not at all."""

from __future__ import annotations

import contextlib
import csv
import os
from collections.abc import Callable
from itertools import zip_longest
from pathlib import Path
from typing import Any, BinaryIO

from runark.errors import OperationFailed
from runark.io.formats import FIGURES, format_of
from runark.io.place import listed, note, target_of
from runark.session.directory import shown

__all__ = ["save"]


def save(obj: Any, path: str | os.PathLike[str], *, data: bool = True, **options: Any) -> Path:
    """Writes `obj` as the extension of `path` says, and gives the absolute path.

    path      relative: into the session's directory, outside a session into `<script>_out/`; absolute: as it is
    data      a figure (png, svg, pdf, jpg): write what it shows beside it as csv (`sine.png`, `sine.csv`)
    options   for the library that writes: `dpi=`, `index=`, `indent=`, ...

    The file is written beside its place and renamed, so nobody ever sees half of it, and it replaces only a file of the
    same path. In a session it is listed in the record with its SHA-256.

    Raises `InvalidArgument` (unknown extension, an object that does not fit, a path out of the session),
    `FormatUnavailable` (what to install), `OperationFailed`; nothing has changed then.
    """
    asked = Path(path)
    target, run = target_of(asked)
    format = format_of(target)
    _write(target, lambda file: format.write(obj, file, **options))
    if run is not None:
        note(run, target)
    if data and target.suffix.lower() in FIGURES:
        _save_data(obj, target, asked, run)
    return target


def _save_data(obj: Any, target: Path, asked: Path, run: Path | None) -> None:
    """The csv beside a figure. One the script has saved itself is not replaced; the name is `sine_data.csv` then."""
    from runark.io.figure import figure_of, plotted

    columns = plotted(figure_of(obj, target))
    if not columns:
        return
    beside = target.with_suffix(".csv")
    figures = {os.fspath(beside)} if run is None else _data_of(run)
    if beside.exists() and os.fspath(beside) not in figures and (run is None or listed(run, asked.with_suffix(".csv"))):
        beside = target.with_name(f"{target.stem}_data.csv")
    _write(beside, lambda file: _write_columns(columns, file))
    if run is not None:
        note(run, beside)
        _figure_data.setdefault(os.fspath(run), set()).add(os.fspath(beside))


_figure_data: dict[str, set[str]] = {}
"""By session, the csv files that belong to figures: those may be replaced when a figure is saved again."""


def _data_of(run: Path) -> set[str]:
    return _figure_data.get(os.fspath(run), set())


def _write_columns(columns: dict[str, list[Any]], file: BinaryIO) -> None:
    import io

    text = io.TextIOWrapper(file, encoding="utf-8", newline="", write_through=True)
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(zip_longest(*columns.values(), fillvalue=""))
    text.detach()


def _write(target: Path, write: Callable[[BinaryIO], object]) -> None:
    part = target.with_name(f".{target.stem[:60]}.{os.urandom(6).hex()}{target.suffix}")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            with open(part, "wb") as file:
                write(file)
            os.replace(part, target)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(part)
            raise
    except OSError as error:
        raise OperationFailed(f"{shown(target)}: cannot be saved: {error.strerror or error}") from error
