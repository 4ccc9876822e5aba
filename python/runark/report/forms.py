"""The files a report is written to: which form each has, that it can be written, and then whole or not at all."""

from __future__ import annotations

import contextlib
import json
import os
import stat
from collections.abc import Callable, Sequence
from typing import BinaryIO, NamedTuple

from runark.errors import InvalidArgument, OperationFailed
from runark.names import escape
from runark.report.figures import Report

__all__ = ["FORMS", "Target", "check_targets", "write_report"]

FORMS: tuple[str, ...] = ("html", "json", "csv", "parquet", "ncdu")

_SUFFIXES = {
    b".html": "html", b".htm": "html", b".ncdu.json": "ncdu", b".ncdu": "ncdu", b".json": "json", b".csv": "csv",
    b".parquet": "parquet",
}  # fmt: skip


class Target(NamedTuple):
    """A file to write, and its form."""

    path: bytes
    form: str


def check_targets(paths: Sequence[bytes], form: str | None = None) -> tuple[Target, ...]:
    """The forms of these files, by their names unless `form` says it. Asked before the work begins.

    Raises `InvalidArgument` for a name that tells no form, a file that is named twice, a directory, and where there is
    no directory to write into; `FormatUnavailable` for what cannot be written here.
    """
    targets = [Target(path, form or _form_of(path)) for path in paths]
    for target in targets:
        _check_place(target.path)
        if target.form == "parquet":
            from runark.report.parquet import check_parquet

            check_parquet()
    if len({os.path.realpath(path) for path in paths}) < len(paths):
        raise InvalidArgument("--report names one file twice; give each a name of its own")
    return tuple(targets)


def _form_of(path: bytes) -> str:
    name = os.path.basename(path).lower()
    for suffix, form in _SUFFIXES.items():
        if name.endswith(suffix):
            return form
    raise InvalidArgument(
        f"{escape(path)}: the name does not tell the form; end it in .html, .json, .csv, .parquet or .ncdu.json,"
        " or say it with --report-format"
    )


def _check_place(path: bytes) -> None:
    directory = os.path.dirname(path) or b"."
    if not os.path.isdir(directory):
        raise InvalidArgument(f"{escape(path)}: there is no directory {escape(directory)} to write the report into")
    with contextlib.suppress(FileNotFoundError):
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise InvalidArgument(f"{escape(path)} exists and is no file; a report only replaces a file")


def write_report(report: Report, target: Target) -> None:
    """Write the file whole or not at all; one that is there is replaced. Raises `OperationFailed` naming it."""
    write = _writer(target.form)
    path = os.path.realpath(target.path)  # of a symbolic link the file behind it is replaced
    part = os.path.join(os.path.dirname(path), b".runark-report-" + os.urandom(8).hex().encode() + b".part")
    try:
        try:
            with open(part, "xb") as stream:
                write(report, stream)
                stream.flush()
                os.fsync(stream.fileno())
            os.replace(part, path)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(part)
            raise
    except OSError as error:
        raise OperationFailed(f"{escape(target.path)}: cannot write the report: {error.strerror or error}") from error


def _writer(form: str) -> Callable[[Report, BinaryIO], None]:
    if form == "html":
        from runark.report.html import write_html

        return write_html
    if form == "csv":
        from runark.report.csv import write_csv

        return write_csv
    if form == "parquet":
        from runark.report.parquet import write_parquet

        return write_parquet
    if form == "ncdu":
        from runark.report.ncdu import write_ncdu

        return write_ncdu
    return _write_json


def _write_json(report: Report, stream: BinaryIO) -> None:
    stream.write(json.dumps(report.to_json(), separators=(",", ":")).encode() + b"\n")
