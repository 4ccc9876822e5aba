"""The formats by extension: a writer that gets an object and an open binary file, and a reader that gets a path.

Nothing is imported before it is needed. A library that is missing is `FormatUnavailable` with what to install.
"""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from runark.errors import FormatUnavailable, InvalidArgument
from runark.session.directory import shown

__all__ = ["FIGURES", "Format", "format_of", "library"]

Writer = Callable[..., object]
Reader = Callable[..., Any]


class Format(NamedTuple):
    """How files with an extension are written and read."""

    write: Writer
    """(obj, binary file, **options)"""
    read: Reader | None
    """(path, **options); None: it cannot be read back."""


def library(name: str, path: Path) -> Any:
    """The module. Raises `FormatUnavailable` naming the file it was for."""
    try:
        return import_module(name)
    except ImportError as error:
        package = name.partition(".")[0]
        raise FormatUnavailable(f"{shown(path)}: needs {package}: pip install {package}") from error


def format_of(path: Path) -> Format:
    """Raises `InvalidArgument` for an extension nobody knows."""
    extension = path.suffix.lower()
    if extension not in _FORMATS:
        known = ", ".join(sorted(_FORMATS))
        raise InvalidArgument(f"{shown(path)}: no format has the extension {extension!r}; known are {known}")
    return _FORMATS[extension]


def _text(file: BinaryIO) -> io.TextIOWrapper:
    return io.TextIOWrapper(file, encoding="utf-8", newline="", write_through=True)


def _name(file: BinaryIO) -> Path:
    return Path(os.fspath(file.name))


# -------------------------------------------------------------------------------------------------- tables


def _write_table(separator: str) -> Writer:
    def write(obj: Any, file: BinaryIO, **options: Any) -> None:
        if hasattr(obj, "to_csv"):  # a frame or a series
            if "index" not in options:
                options["index"] = not _is_plain_index(obj)
            obj.to_csv(file, sep=separator, **options)
            return
        if options:
            raise InvalidArgument(f"{shown(_name(file))}: {min(options)!r} is an option for pandas objects only")
        text = _text(file)
        csv.writer(text, delimiter=separator, lineterminator="\n").writerows(_rows(obj, file))
        text.detach()

    return write


def _is_plain_index(obj: Any) -> bool:
    return type(obj.index).__name__ == "RangeIndex" and obj.index.name is None


def _rows(obj: Any, file: BinaryIO) -> list[list[Any]]:
    """A header, if there are names, and the rows. Numbers as `repr` has them: nothing is rounded."""
    if isinstance(obj, Mapping):
        columns = {str(key): _column(value) for key, value in obj.items()}
        lengths = {len(column) for column in columns.values()}
        if len(lengths) > 1:
            raise InvalidArgument(f"{shown(_name(file))}: the columns are of different lengths: {sorted(lengths)}")
        return [list(columns), *map(list, zip(*columns.values(), strict=True))]
    if hasattr(obj, "tolist"):
        obj = obj.tolist()
    if not isinstance(obj, (list, tuple)):
        raise InvalidArgument(
            f"{shown(_name(file))}: a {type(obj).__name__} is no table: give rows, columns or a frame"
        )
    rows = list(obj)
    if rows and all(isinstance(row, Mapping) for row in rows):
        names = list(dict.fromkeys(str(key) for row in rows for key in row))
        return [names, *([row.get(name, "") for name in names] for row in rows)]
    return [_column(row) if isinstance(row, (list, tuple)) or hasattr(row, "tolist") else [row] for row in rows]


def _column(values: Any) -> list[Any]:
    plain = values.tolist() if hasattr(values, "tolist") else values
    return list(plain) if isinstance(plain, (list, tuple, range)) else [plain]


def _read_table(separator: str) -> Reader:
    def read(path: Path, **options: Any) -> Any:
        return library("pandas", path).read_csv(path, **{"sep": separator, **options})

    return read


def _write_parquet(obj: Any, file: BinaryIO, **options: Any) -> None:
    path = _name(file)
    library("pyarrow", path)
    if not hasattr(obj, "to_parquet"):
        obj = library("pandas", path).DataFrame(obj)
    obj.to_parquet(file, **options)


def _read_parquet(path: Path, **options: Any) -> Any:
    library("pyarrow", path)
    return library("pandas", path).read_parquet(path, **options)


# ---------------------------------------------------------------------------------------- documents and text


def _write_json(obj: Any, file: BinaryIO, **options: Any) -> None:
    import json

    text = json.dumps(obj, **{"indent": 2, "ensure_ascii": False, "default": _plain, **options})
    file.write(text.encode("utf-8", "backslashreplace") + b"\n")


def _plain(value: Any) -> Any:
    if hasattr(value, "to_dict"):
        return value.to_dict()
    if hasattr(value, "tolist"):  # numpy's
        return value.tolist()
    if hasattr(value, "isoformat"):
        return value.isoformat()
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if isinstance(value, (set, frozenset)):
        return sorted(value)
    raise TypeError(f"{type(value).__name__} has no form in JSON")


def _read_json(path: Path, **options: Any) -> Any:
    import json

    return json.loads(path.read_bytes(), **options)


def _write_yaml(obj: Any, file: BinaryIO) -> None:
    from runark.session.record import for_yaml
    from runark.session.yaml_config import dump

    file.write(dump(for_yaml(obj)))


def _read_yaml(path: Path) -> Any:
    from runark.session.yaml_config import load_yaml

    return load_yaml(path)


def _write_text(obj: Any, file: BinaryIO) -> None:
    if isinstance(obj, (bytes, bytearray)):
        file.write(obj)
        return
    lines = obj if isinstance(obj, (list, tuple)) else None
    file.write(
        ("".join(f"{line}\n" for line in lines) if lines is not None else str(obj)).encode("utf-8", "surrogateescape")
    )


def _read_text(path: Path) -> str:
    return path.read_bytes().decode("utf-8", "surrogateescape")


# ------------------------------------------------------------------------------------------------- objects


def _write_npy(obj: Any, file: BinaryIO, **options: Any) -> None:
    library("numpy", _name(file)).save(file, obj, **{"allow_pickle": False, **options})


def _write_npz(obj: Any, file: BinaryIO, compressed: bool = True) -> None:
    numpy = library("numpy", _name(file))
    arrays = obj if isinstance(obj, Mapping) else {"arr_0": obj}
    (numpy.savez_compressed if compressed else numpy.savez)(file, **{str(key): value for key, value in arrays.items()})


def _read_npy(path: Path, **options: Any) -> Any:
    return library("numpy", path).load(path, **options)


def _read_npz(path: Path, **options: Any) -> dict[str, Any]:
    with library("numpy", path).load(path, **options) as found:
        return {name: found[name] for name in found.files}


def _write_pickle(obj: Any, file: BinaryIO, **options: Any) -> None:
    import pickle

    pickle.dump(obj, file, **options)


def _read_pickle(path: Path) -> Any:
    """Runs what the file says: only for files one has written oneself."""
    import pickle

    with open(path, "rb") as file:
        return pickle.load(file)


def _write_figure(obj: Any, file: BinaryIO, **options: Any) -> None:
    from runark.io.figure import figure_of

    extension = _name(file).suffix.lstrip(".").lower()
    figure_of(obj, _name(file)).savefig(file, format=extension, **options)


def _read_image(path: Path) -> Any:
    library("matplotlib", path)
    return library("matplotlib.image", path).imread(path)


FIGURES = (".png", ".svg", ".pdf", ".jpg", ".jpeg")

_FORMATS: dict[str, Format] = {
    ".csv": Format(_write_table(","), _read_table(",")),
    ".tsv": Format(_write_table("\t"), _read_table("\t")),
    ".parquet": Format(_write_parquet, _read_parquet),
    ".json": Format(_write_json, _read_json),
    ".yaml": Format(_write_yaml, _read_yaml),
    ".yml": Format(_write_yaml, _read_yaml),
    ".txt": Format(_write_text, _read_text),
    ".md": Format(_write_text, _read_text),
    ".log": Format(_write_text, _read_text),
    ".npy": Format(_write_npy, _read_npy),
    ".npz": Format(_write_npz, _read_npz),
    ".pkl": Format(_write_pickle, _read_pickle),
    ".pickle": Format(_write_pickle, _read_pickle),
    ".png": Format(_write_figure, _read_image),
    ".jpg": Format(_write_figure, _read_image),
    ".jpeg": Format(_write_figure, _read_image),
    ".svg": Format(_write_figure, None),
    ".pdf": Format(_write_figure, None),
}
