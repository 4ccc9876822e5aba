"""The rows of a report as a Parquet file. Needs pyarrow (the extra `report`). Paths are binary, as they are."""

from __future__ import annotations

from itertools import islice
from typing import BinaryIO

from runark.errors import FormatUnavailable
from runark.report.figures import Report
from runark.report.table import Line, lines_of

__all__ = ["check_parquet", "write_parquet"]

_BATCH = 50_000


def check_parquet() -> None:
    """Raises `FormatUnavailable` without pyarrow."""
    try:
        import pyarrow.parquet  # noqa: F401
    except ImportError as error:
        raise FormatUnavailable("Parquet needs pyarrow: pip install 'runark[report]'") from error


def write_parquet(report: Report, stream: BinaryIO) -> None:
    """Write all rows."""
    import pyarrow
    from pyarrow import parquet

    dictionary = pyarrow.dictionary(pyarrow.int32(), pyarrow.string())
    types = {name: pyarrow.int64() for name in ("uid", "inodes", "size", "allocated")}
    types |= dict.fromkeys(("kind", "status", "fate", "layout", "owner"), dictionary)
    types |= {"path": pyarrow.binary(), "script": pyarrow.binary()}
    types |= {"started": pyarrow.timestamp("us"), "newest": pyarrow.timestamp("us", tz="UTC")}
    schema = pyarrow.schema([(name, types[name]) for name in Line._fields])
    lines = lines_of(report)
    with parquet.ParquetWriter(stream, schema, compression="zstd") as writer:
        while batch := list(islice(lines, _BATCH)):
            values = zip(*batch, strict=True)
            columns = [pyarrow.array(column, field.type) for field, column in zip(schema, values, strict=True)]
            writer.write_table(pyarrow.Table.from_arrays(columns, schema=schema))
