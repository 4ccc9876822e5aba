"""Tables: csv, tsv and parquet, from frames and from what makes one. Nothing is rounded and nothing is cut short."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Mapping
from itertools import chain, zip_longest
from pathlib import Path
from typing import Any, BinaryIO

from runark.errors import InvalidArgument
from runark.io.library import library
from runark.io.plain import listed
from runark.session.directory import shown

__all__ = ["read_parquet", "read_table", "write_columns", "write_parquet", "write_table"]

_OWN_PARSER = frozenset({"engine", "sep", "delimiter", "skipfooter", "float_precision"})
"""Options of `read_csv` that choose the precision, or a parser that cannot."""


def write_table(separator: str) -> Callable[..., None]:
    def write(obj: Any, file: BinaryIO, path: Path, **options: Any) -> None:
        if hasattr(obj, "to_csv"):  # a frame or a series
            _refuse_arrays(obj, path)
            obj.to_csv(file, **{"sep": separator, "index": not _is_plain_index(obj), **options})
            return
        if options:
            raise InvalidArgument(f"{shown(path)}: {min(options)!r} is an option for pandas objects only")
        _write_rows(_rows(obj, path), file, separator)

    return write


def read_table(separator: str) -> Callable[..., Any]:
    def read(path: Path, **options: Any) -> Any:
        pandas = library("pandas", path)
        if not _reads_exactly(pandas) and not options.keys() & _OWN_PARSER:
            options["float_precision"] = "round_trip"
        return pandas.read_csv(path, **{"sep": separator, **options})

    return read


def _reads_exactly(pandas: Any) -> bool:
    """From 3.1 on; before, every third number is off by its last bit unless it is asked not to."""
    major, minor = map(int, pandas.__version__.split(".")[:2])
    return (major, minor) >= (3, 1)


def write_columns(columns: Mapping[str, Iterable[Any]], file: BinaryIO) -> None:
    """Columns of different lengths as csv."""
    _write_rows(chain([columns], zip_longest(*columns.values(), fillvalue="")), file, ",")


def write_parquet(obj: Any, file: BinaryIO, path: Path, **options: Any) -> None:
    library("pyarrow", path)
    if not hasattr(obj, "to_parquet"):
        obj = library("pandas", path).DataFrame(obj)
    obj.to_parquet(file, **options)


def read_parquet(path: Path, **options: Any) -> Any:
    library("pyarrow", path)
    return library("pandas", path).read_parquet(path, **options)


def _write_rows(rows: Iterable[Iterable[Any]], file: BinaryIO, separator: str) -> None:
    """Numbers as `repr` has them."""
    text = io.TextIOWrapper(file, encoding="utf-8", newline="", write_through=True)
    csv.writer(text, delimiter=separator, lineterminator="\n").writerows(rows)
    text.detach()


def _rows(obj: Any, path: Path) -> list[list[Any]]:
    """A header, if there are names, and the rows."""
    if isinstance(obj, Mapping):
        columns = [_cells(value) for value in obj.values()]
        lengths = {len(column) for column in columns}
        if len(lengths) > 1:
            raise InvalidArgument(f"{shown(path)}: the columns are of different lengths: {sorted(lengths)}")
        return [list(obj), *map(list, zip(*columns, strict=True))]
    if getattr(obj, "ndim", 0) > 2:
        raise InvalidArgument(f"{shown(path)}: an array of {obj.ndim} dimensions is no table; save it as npy")
    names = getattr(getattr(obj, "dtype", None), "names", None)
    obj = listed(obj)
    if not isinstance(obj, (list, tuple)):
        raise InvalidArgument(f"{shown(path)}: a {type(obj).__name__} is no table: give rows, columns or a frame")
    if names:  # an array of records
        return [list(names), *map(list, obj)]
    if obj and all(isinstance(row, Mapping) for row in obj):
        keys = list(dict.fromkeys(key for row in obj for key in row))
        return [keys, *([_cell(row.get(key, "")) for key in keys] for row in obj)]
    return [_cells(row) for row in obj]


def _cells(values: Any) -> list[Any]:
    plain = listed(values)
    if isinstance(plain, Iterable) and not isinstance(plain, (str, bytes, Mapping)):
        return [_cell(value) for value in plain]
    return [plain]


def _cell(value: Any) -> Any:
    """An array in a cell is told in full: its `str` is not."""
    return listed(value) if getattr(value, "ndim", 0) else value


def _is_plain_index(obj: Any) -> bool:
    """Whether it only counts the rows."""
    index = obj.index
    return type(index).__name__ == "RangeIndex" and index.name is None and (index.start, index.step) == (0, 1)


def _refuse_arrays(obj: Any, path: Path) -> None:
    """pandas writes the array in a cell as its `str`, which leaves out the middle."""
    if type(obj).__module__.partition(".")[0] != "pandas":
        return
    frame = obj.to_frame() if obj.ndim == 1 else obj
    for place, kind in enumerate(frame.dtypes):
        if str(kind) == "object" and any(getattr(cell, "ndim", 0) for cell in frame.iloc[:, place]):
            name = frame.columns[place]
            raise InvalidArgument(f"{shown(path)}: column {name!r} has arrays in its cells; save it as parquet or pkl")
