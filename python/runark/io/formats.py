"""The formats by extension: a writer that gets an object, an open binary file and the path it is for, and a reader.

Nothing is imported before it is needed. What a format cannot hold whole is refused.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from runark.errors import InvalidArgument
from runark.io.library import library
from runark.io.plain import plain
from runark.io.tables import read_parquet, read_table, write_parquet, write_table
from runark.session.directory import shown

__all__ = ["FIGURES", "Format", "format_of"]

Writer = Callable[..., object]
Reader = Callable[..., Any]


class Format(NamedTuple):
    """How files with an extension are written and read."""

    write: Writer
    """(obj, binary file, path for messages, **options)"""
    read: Reader | None
    """(path, **options); None: it cannot be read back."""


def format_of(path: Path) -> Format:
    """Raises `InvalidArgument` for an extension nobody knows."""
    extension = path.suffix.lower()
    if extension not in _FORMATS:
        known = ", ".join(sorted(_FORMATS))
        raise InvalidArgument(f"{shown(path)}: no format has the extension {extension!r}; known are {known}")
    return _FORMATS[extension]


# ---------------------------------------------------------------------------------------- documents and text


def _write_json(obj: Any, file: BinaryIO, path: Path, **options: Any) -> None:
    import json

    if not options.keys() & {"default", "cls"}:
        obj = plain(obj)
    text = json.dumps(obj, **{"indent": 2, "ensure_ascii": False, **options})
    file.write(text.encode("utf-8", "backslashreplace") + b"\n")


def _read_json(path: Path, **options: Any) -> Any:
    import json

    return json.loads(path.read_bytes(), **options)


def _write_yaml(obj: Any, file: BinaryIO, path: Path) -> None:
    from runark.session.yaml_config import dump

    file.write(dump(plain(obj)))


def _read_yaml(path: Path) -> Any:
    from runark.session.yaml_config import load_yaml

    return load_yaml(path)


def _write_text(obj: Any, file: BinaryIO, path: Path) -> None:
    if isinstance(obj, (bytes, bytearray)):
        file.write(obj)
        return
    lines = obj if isinstance(obj, (list, tuple)) else (obj,)
    for line in lines:
        if getattr(line, "ndim", 0) or (isinstance(line, Iterable) and not isinstance(line, (str, os.PathLike))):
            raise InvalidArgument(
                f"{shown(path)}: a {type(line).__name__} is no text: give text or a list of lines,"
                " or save it in a format for it (json, npy, csv, pkl)"
            )
    text = "".join(f"{line}\n" for line in lines) if lines is obj else str(obj)
    file.write(text.encode("utf-8", "surrogateescape"))


def _read_text(path: Path) -> str:
    return path.read_bytes().decode("utf-8", "surrogateescape")


# ------------------------------------------------------------------------------------------------- objects


def _write_npy(obj: Any, file: BinaryIO, path: Path, **options: Any) -> None:
    numpy = library("numpy", path)
    numpy.save(file, _unmasked(numpy, obj, path), **{"allow_pickle": False, **options})


def _write_npz(obj: Any, file: BinaryIO, path: Path, compressed: bool = True) -> None:
    numpy = library("numpy", path)
    given = obj if isinstance(obj, Mapping) else {"arr_0": obj}
    arrays = {str(key): numpy.asanyarray(_unmasked(numpy, value, path)) for key, value in given.items()}
    if len(arrays) != len(given):
        raise InvalidArgument(f"{shown(path)}: two names of arrays read alike: {sorted(map(repr, given))}")
    for name, array in arrays.items():
        if name in ("file", "allow_pickle"):
            raise InvalidArgument(f"{shown(path)}: numpy cannot save an array under the name {name!r}; rename it")
        if array.dtype.hasobject:
            raise InvalidArgument(f"{shown(path)}: {name!r} holds objects; save it as pkl")
    (numpy.savez_compressed if compressed else numpy.savez)(file, **arrays)


def _unmasked(numpy: Any, values: Any, path: Path) -> Any:
    """numpy's files have no place for the mask of an array."""
    if numpy.ma.is_masked(values):
        raise InvalidArgument(f"{shown(path)}: a masked array would lose its mask; fill it, or save it as pkl")
    return values


def _read_numpy(path: Path, **options: Any) -> Any:
    from zipfile import BadZipFile

    try:
        found = library("numpy", path).load(path, **options)
        if not hasattr(found, "files"):
            return found
        with found:
            return {name: found[name] for name in found.files}
    except BadZipFile as error:
        raise ValueError(error) from error


def _write_pickle(obj: Any, file: BinaryIO, path: Path, **options: Any) -> None:
    import pickle

    try:
        pickle.dump(obj, file, **options)
    except (pickle.PicklingError, AttributeError, RecursionError) as error:
        raise ValueError(error) from error


def _read_pickle(path: Path, **options: Any) -> Any:
    """Runs what the file says: only for files one has written oneself."""
    import pickle

    try:
        with open(path, "rb") as file:
            return pickle.load(file, **options)
    except pickle.UnpicklingError as error:
        raise ValueError(error) from error


def _write_figure(obj: Any, file: BinaryIO, path: Path, **options: Any) -> None:
    from runark.io.figure import figure_of

    figure_of(obj, path).savefig(file, **{"format": path.suffix.lstrip(".").lower(), **options})


def _read_image(path: Path) -> Any:
    library("matplotlib", path)
    try:
        return library("matplotlib.image", path).imread(path)
    except SyntaxError as error:  # what Pillow says of a broken png
        raise ValueError(error) from error


FIGURES = (".png", ".svg", ".pdf", ".jpg", ".jpeg")

_FORMATS: dict[str, Format] = {
    ".csv": Format(write_table(","), read_table(",")),
    ".tsv": Format(write_table("\t"), read_table("\t")),
    ".parquet": Format(write_parquet, read_parquet),
    ".json": Format(_write_json, _read_json),
    ".yaml": Format(_write_yaml, _read_yaml),
    ".yml": Format(_write_yaml, _read_yaml),
    ".txt": Format(_write_text, _read_text),
    ".md": Format(_write_text, _read_text),
    ".log": Format(_write_text, _read_text),
    ".npy": Format(_write_npy, _read_numpy),
    ".npz": Format(_write_npz, _read_numpy),
    ".pkl": Format(_write_pickle, _read_pickle),
    ".pickle": Format(_write_pickle, _read_pickle),
    ".png": Format(_write_figure, _read_image),
    ".jpg": Format(_write_figure, _read_image),
    ".jpeg": Format(_write_figure, _read_image),
    ".svg": Format(_write_figure, None),
    ".pdf": Format(_write_figure, None),
}
