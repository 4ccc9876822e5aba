"""`save`: an object into a file, whole or not at all."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any, BinaryIO

from runark.errors import InvalidArgument, OperationFailed, RunarkError
from runark.io.formats import FIGURES, format_of
from runark.io.place import content_of, holds, is_of_figure, note, remember_of_figure, target_of
from runark.session.directory import shown

__all__ = ["save"]


def save(obj: Any, path: str | os.PathLike[str], *, csv: bool = True, **options: Any) -> Path:
    """Writes `obj` as the extension of `path` says, and gives the absolute path.

    path      relative: into the session's directory, outside a session into `<script>_out/`; absolute: as it is
    csv       a figure (png, svg, pdf, jpg): write what it shows beside it as csv (`sine.png`, `sine.csv`)
    options   for the library that writes: `dpi=`, `index=`, `indent=`, ...

    The file is written beside its place and renamed, so nobody ever sees half of it, and it replaces only a file of the
    same path. In a session it is listed in the record with its SHA-256.

    Raises `InvalidArgument` (unknown extension, an object the format cannot hold whole, a path out of the session),
    `FormatUnavailable` (what to install), `OperationFailed`; nothing has changed then.
    """
    target, run = target_of(Path(path))
    format = format_of(target)

    def write(file: BinaryIO) -> None:
        try:
            format.write(obj, file, target, **options)
        except RunarkError:
            raise
        except (TypeError, ValueError) as error:
            raise InvalidArgument(f"{shown(target)}: cannot be saved as {target.suffix[1:]}: {error}") from error

    with _written(target, write) as part:
        os.replace(part, target)
    if run is not None:
        note(run, target)
    if csv and target.suffix.lower() in FIGURES:
        _save_data(obj, target, run)
    return target


def _save_data(obj: Any, figure: Path, run: Path | None) -> None:
    """The csv beside a figure."""
    from runark.io.figure import figure_of, plotted
    from runark.io.tables import write_columns

    columns = plotted(figure_of(obj, figure))
    if not columns:
        return
    with _written(figure.with_suffix(".csv"), lambda file: write_columns(columns, file)) as part:
        content = content_of(part)
        for beside in _names(figure):
            if not os.path.lexists(beside) or is_of_figure(beside, run):
                os.replace(part, beside)
                break
            if holds(beside, content):  # it says the same, and stays whose it is
                os.unlink(part)
                return
    if run is not None:
        note(run, beside, figure)
    if run is None or not beside.is_relative_to(run):
        remember_of_figure(beside, content)


def _names(figure: Path) -> Iterator[Path]:
    """`sine.csv`, then `sine_data.csv`, `sine_data_2.csv`, ... for those that are taken."""
    yield figure.with_suffix(".csv")
    yield figure.with_name(f"{figure.stem}_data.csv")
    for number in count(2):
        yield figure.with_name(f"{figure.stem}_data_{number}.csv")


@contextmanager
def _written(target: Path, write: Callable[[BinaryIO], object]) -> Iterator[Path]:
    """The file under a temporary name, to be renamed. Raises `OperationFailed`."""
    part = target.with_name(f".{os.urandom(8).hex()}{target.suffix}")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            with open(part, "wb") as file:
                write(file)
            yield part
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(part)
            raise
    except RunarkError:
        raise
    except OSError as error:
        raise OperationFailed(f"{shown(target)}: cannot be saved: {error.strerror or error}") from error
