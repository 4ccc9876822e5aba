"""The SHA-256 of a value: of its types, shapes and bytes.

The same value gives the same in every process and on every machine: nothing depends on addresses, on the order of sets
and dicts or on which objects are shared. What differs in type, shape, order or any bit gives another one: every part is
written with its kind and its length.
"""

from __future__ import annotations

import copyreg
import hashlib
import sys
from collections.abc import Callable, Iterable
from types import BuiltinFunctionType, FunctionType, ModuleType
from typing import Any

from runark.errors import InvalidArgument

__all__ = ["fingerprint"]

_NUMBERS = (bool, float, complex, type(None))


def fingerprint(value: Any) -> str:
    """SHA-256, in hexadecimal, of arrays, frames, tensors, containers and whatever else could be pickled.

    Raises `InvalidArgument` for what has no value: open files, generators, functions without a name.
    """
    digest = hashlib.sha256()
    try:
        _Walk(digest.update).value(value)
    except RecursionError as error:
        raise InvalidArgument(f"a {_name(type(value))} nested too deeply to be compared") from error
    return digest.hexdigest()


class _Walk:
    """One way through a value. `above` are the objects on the way down to this one."""

    def __init__(self, update: Callable[[Any], object], above: dict[int, int] | None = None) -> None:
        self._update = update
        self._above: dict[int, int] = above if above is not None else {}

    def _write(self, kind: str, data: bytes) -> None:
        self._update(b"%b %d\n%b" % (kind.encode(), len(data), data))

    def value(self, obj: Any) -> None:
        kind = type(obj)
        if kind is str:
            self._write("str", obj.encode("utf-8", "surrogatepass"))
        elif kind is int:
            self._write("int", b"%x" % obj)
        elif kind in _NUMBERS:
            self._write(kind.__name__, repr(obj).encode())
        elif kind in (bytes, bytearray):
            self._write(kind.__name__, bytes(obj))
        elif id(obj) in self._above:
            self._write("above", b"%d" % (len(self._above) - self._above[id(obj)]))
        else:
            self._above[id(obj)] = len(self._above)
            self._whole(obj)
            del self._above[id(obj)]

    def _whole(self, obj: Any) -> None:
        kind = _name(type(obj))
        if isinstance(obj, dict):
            self._unordered(kind, obj.items())
        elif isinstance(obj, (set, frozenset)):
            self._unordered(kind, obj)
        elif isinstance(obj, (list, tuple)):
            self._write(kind, b"%d" % len(obj))
            for item in obj:
                self.value(item)
        elif _is(obj, "pandas", "DataFrame"):
            self._write("DataFrame", b"%d" % obj.shape[1])
            self.value(obj.index)
            self.value(obj.columns)
            for at in range(obj.shape[1]):
                self._column(obj.iloc[:, at])
        elif _is(obj, "pandas", "Series"):
            self._write("Series", b"")
            self.value(obj.index)
            self.value(obj.name)
            self._column(obj)
        elif _is(obj, "pandas", "Index"):
            self._write("Index", b"")
            self.value(list(obj.names))
            self._column(obj)
        elif _is(obj, "torch", "Tensor"):
            self._tensor(kind, obj)
        elif _is(obj, "numpy", "ndarray"):
            self._array(kind, obj)
        elif _is(obj, "numpy", "generic"):
            self._array("numpy.generic", obj)  # the names of its kinds differ between numpy 1 and 2
        elif hasattr(obj, "__array__") and hasattr(obj, "dtype") and "numpy" in sys.modules:
            self._array(kind, sys.modules["numpy"].asarray(obj))  # of another library
        else:
            self._object(kind, obj)

    def _unordered(self, kind: str, items: Iterable[Any]) -> None:
        found = []
        for item in items:
            digest = hashlib.sha256()
            _Walk(digest.update, self._above).value(item)
            found.append(digest.digest())
        self._write(kind, b"".join(sorted(found)))

    def _array(self, kind: str, array: Any) -> None:
        self._write(kind, f"{array.dtype} {array.shape}".encode())
        if hasattr(array, "mask"):
            self.value(sys.modules["numpy"].ma.getmaskarray(array))
            array = array.filled()
        flat = sys.modules["numpy"].ascontiguousarray(array).reshape(-1)
        if flat.dtype.hasobject or flat.dtype.names:  # addresses; fields with anything between them
            self.value(flat.tolist())
        elif flat.dtype.char in "gG":  # long double, with anything behind it
            self._write("long", " ".join(map(str, flat.tolist())).encode())
        elif flat.nbytes:
            self._update(flat.view("u1").data)

    def _column(self, column: Any) -> None:
        categories = getattr(column.dtype, "categories", None)
        if categories is None:
            self._write("column", str(column.dtype).encode())
            self.value(column.to_numpy())
        else:
            self._write("categories", str(column.dtype.ordered).encode())
            self.value(categories)
            self.value(getattr(column, "cat", column).codes)

    def _tensor(self, kind: str, tensor: Any) -> None:
        self._write(kind, f"{tensor.dtype} {tuple(tensor.shape)}".encode())
        flat = tensor.detach().cpu().resolve_conj().resolve_neg().contiguous().reshape(-1)
        if flat.numel():
            self.value(flat.view(sys.modules["torch"].uint8).numpy())

    def _object(self, kind: str, obj: Any) -> None:
        """Anything else: what pickle would take it apart into."""
        name = getattr(obj, "__qualname__", "")
        if isinstance(obj, type) or (isinstance(obj, FunctionType) and "<" not in name):
            self._write("name", f"{obj.__module__}.{name}".encode())
            return
        if isinstance(obj, BuiltinFunctionType) and isinstance(obj.__self__, (ModuleType, type(None))):
            self._write("name", f"{obj.__module__}.{name}".encode())
            return
        try:
            reduce: Any = copyreg.dispatch_table.get(type(obj))
            reduced = reduce(obj) if reduce else obj.__reduce_ex__(4)
        except Exception as error:  # whatever somebody else's __reduce__ raises
            raise InvalidArgument(
                f"a {kind} cannot be compared ({error}); give arrays, frames, numbers, text or containers of them"
            ) from error
        if isinstance(reduced, str):
            self._write("name", f"{kind}.{reduced}".encode())
            return
        self._write(kind, b"%d" % len(reduced))
        for part in reduced[:3]:
            self.value(part)
        for rest in reduced[3:5]:  # of list-like and dict-like ones
            self.value(list(rest) if rest is not None else None)


def _is(obj: Any, module: str, name: str) -> bool:
    kind = getattr(sys.modules.get(module), name, None)
    return isinstance(kind, type) and isinstance(obj, kind)


def _name(kind: type) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"
