"""`load`: the inverse of `save`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from runark.errors import InvalidArgument, OperationFailed, RunarkError
from runark.io.formats import format_of
from runark.io.place import source_of
from runark.session.directory import shown

__all__ = ["load"]


def load(path: str | os.PathLike[str], **options: Any) -> Any:
    """Reads a file as its extension says: csv, tsv, parquet as a pandas frame, npz as a dict, png as an array.

    path      relative: what this session has saved under that name, else from the working directory
    options   for the library that reads

    A pickle runs the code it holds: load only those you have written. Raises `SourceMissing`, `InvalidArgument`,
    `FormatUnavailable`, `OperationFailed` (cannot be read, or is not what its extension says).
    """
    source = Path(path)
    try:
        source = source_of(source)
        format = format_of(source)
        if format.read is None:
            raise InvalidArgument(f"{shown(source)}: {source.suffix} files are written only; load the csv beside it")
        return format.read(source, **options)
    except RunarkError:
        raise
    except OSError as error:
        raise OperationFailed(f"{shown(source)}: cannot be read: {error.strerror or error}") from error
    except (ValueError, EOFError) as error:
        raise OperationFailed(f"{shown(source)}: cannot be read as {source.suffix[1:]}: {error}") from error
