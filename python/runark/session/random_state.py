"""Random numbers that can be had again: one seed, and as many independent named generators as a script wants.

`rngg("weights")` gives the generator of that name: the same numbers for the same seed and name, whichever other names
were asked for before. At the start of a session the global generators are seeded too: that of `random` at once, numpy's
and torch's if they are loaded, and at the moment they are loaded later. Nothing is imported for it. The end of the
session gives them their state back.
"""

from __future__ import annotations

import contextlib
import os
import random
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runark.errors import FormatUnavailable, InvalidArgument, OperationFailed
from runark.session.directory import shown

if TYPE_CHECKING:
    from importlib.machinery import ModuleSpec
    from types import ModuleType

__all__ = ["RandomStateManager"]

_LATER = ("numpy.random", "torch")


class RandomStateManager:
    """Seeds and named generators.

    seed    of everything: a whole number, 0 or more
    cache   directory for `verify` and `checkpoint`; default `.runark/rng` in the working directory

    Raises `InvalidArgument` for a seed that is none.
    """

    def __init__(self, seed: int = 42, verbose: bool = False, cache: str | os.PathLike[str] | None = None) -> None:
        try:
            self.seed = int(seed)
        except (TypeError, ValueError):
            self.seed = -1
        if self.seed < 0 or isinstance(seed, bool):
            raise InvalidArgument(f"seed={seed!r}: give a whole number, 0 or more")
        self.verbose = verbose
        self._cache = Path(cache) if cache is not None else None
        self._generators: dict[str, Any] = {}
        self._torch: dict[str, Any] = {}
        self._before: dict[str, Any] = {"random": random.getstate()}
        random.seed(self.seed)
        for name in _LATER:
            module = sys.modules.get(name)
            if module is not None:
                self._seed_module(name, module)
        self._finder = _Finder(self)
        sys.meta_path.insert(0, self._finder)
        if verbose:
            print(f"runark: random numbers from seed {self.seed}", file=sys.stderr)

    # -------------------------------------------------------------------------------------- generators

    def __call__(self, name: str) -> Any:
        """numpy's generator of that name. Raises `FormatUnavailable` without numpy."""
        if name not in self._generators:
            numpy = _numpy()
            self._generators[name] = numpy.random.default_rng([self.seed, *_words(name)])
        return self._generators[name]

    def get_np_generator(self, name: str) -> Any:
        """The same as calling the manager."""
        return self(name)

    def get_generator(self, name: str) -> Any:
        """The same as calling the manager."""
        return self(name)

    def get_sklearn_random_state(self, name: str) -> int:
        """A whole number below 2**32 for `random_state=`."""
        return self._number(name) % (1 << 32)

    def get_torch_generator(self, name: str) -> Any:
        """torch's generator of that name. Raises `FormatUnavailable` without torch."""
        if name not in self._torch:
            try:
                import torch
            except ImportError as error:
                raise FormatUnavailable("get_torch_generator needs torch: pip install torch") from error
            generator = torch.Generator()
            generator.manual_seed(self._number(name) % (1 << 63))
            self._torch[name] = generator
        return self._torch[name]

    def _number(self, name: str) -> int:
        import hashlib

        return int.from_bytes(hashlib.sha256(f"{self.seed}/{name}".encode()).digest()[:8], "big")

    def __getattr__(self, name: str) -> Any:
        """What a numpy generator can do (`rng.random((10, 10))`), by the generator called `default`."""
        if name.startswith("_"):
            raise AttributeError(name)
        return getattr(self("default"), name)

    # ------------------------------------------------------------------------------------ global state

    def _seed_module(self, name: str, module: ModuleType) -> None:
        if name == "torch":
            self._before[name] = module.get_rng_state()
            module.manual_seed(self.seed)
        else:
            self._before[name] = module.get_state()
            module.seed(self.seed % (1 << 32))

    def put_back(self) -> None:
        """Gives the global generators the state they had, and watches imports no more."""
        if self._finder in sys.meta_path:
            sys.meta_path.remove(self._finder)
        _set_state(self._before)
        self._before = {}

    @contextlib.contextmanager
    def temporary_seed(self, seed: int) -> Iterator[None]:
        """Within the block `random`, numpy and torch (if loaded) start from `seed`; after it they go on as before."""
        before = _global_state()
        random.seed(seed)
        if "numpy.random" in before:
            sys.modules["numpy.random"].seed(seed % (1 << 32))
        if "torch" in before:
            sys.modules["torch"].manual_seed(seed)
        try:
            yield
        finally:
            _set_state(before)

    # --------------------------------------------------------------------------- verify and checkpoint

    @property
    def cache(self) -> Path:
        """Where `verify` and `checkpoint` keep what they keep."""
        return self._cache if self._cache is not None else Path.cwd() / ".runark" / "rng"

    def verify(self, obj: Any, name: str | None = None, verbose: bool = True) -> bool:
        """Whether `obj` is what it was when `verify` was called first with this name.

        name      of what is verified; default: file and line of the caller
        verbose   raise `ValueError` (`InvalidArgument`) if it differs, instead of giving False

        The first time its SHA-256 (types, shapes and bytes) is written to `<cache>/<name>.json`.
        """
        if name is None:
            caller = sys._getframe(1)
            name = f"{os.path.basename(caller.f_code.co_filename)}-{caller.f_lineno}"
        path = self._file(name, ".json")
        import hashlib

        digest = hashlib.sha256()
        for part in _parts(obj):
            digest.update(len(part).to_bytes(8, "big") + part)
        found = digest.hexdigest()
        expected = _read_json(path).get("sha256") if path.exists() else None
        if expected is None:
            _write_json(path, {"name": name, "sha256": found, "seed": self.seed})
            return True
        if found != expected and verbose:
            raise InvalidArgument(f"{name}: differs from what it was; if that is right, remove {shown(path)}")
        return bool(found == expected)

    def checkpoint(self, name: str) -> Path:
        """Writes the state of every generator, the global ones too, to a JSON file. Gives its path."""
        path = self._file(name, ".checkpoint.json")
        generators = {key: value.bit_generator.state for key, value in self._generators.items()}
        _write_json(path, {"seed": self.seed, "generators": generators, "global": _global_state(torch=False)})
        return path

    def restore(self, path: str | os.PathLike[str]) -> None:
        """Goes on from a checkpoint. Raises `OperationFailed`, `InvalidArgument`; nothing has changed then."""
        kept = _read_json(Path(path))
        try:
            seed, states = int(kept["seed"]), {str(key): _arrays(value) for key, value in kept["generators"].items()}
            generators = {}
            for name, state in states.items():
                generators[name] = _numpy().random.default_rng(0)
                generators[name].bit_generator.state = state
            _set_state({key: _tuples(value) for key, value in kept["global"].items()})
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise InvalidArgument(f"{shown(path)}: not a checkpoint of random numbers: {error!r}") from error
        self.seed = seed
        for name, generator in generators.items():
            if name in self._generators:  # whoever holds it goes on from there too
                self._generators[name].bit_generator.state = generator.bit_generator.state
            else:
                self._generators[name] = generator

    def clear_cache(self, patterns: str | Iterable[str] | None = None) -> int:
        """Removes what `verify` and `checkpoint` wrote under names that match (all, if None). Gives how many."""
        import fnmatch

        wanted = ["*"] if patterns is None else [patterns] if isinstance(patterns, str) else list(patterns)
        count = 0
        for path in sorted(self.cache.glob("*.json")):
            name = path.name.removesuffix(".json").removesuffix(".checkpoint")
            if any(fnmatch.fnmatchcase(name, pattern) for pattern in wanted):
                path.unlink()
                count += 1
        return count

    def _file(self, name: str, ending: str) -> Path:
        if not name or "/" in name or "\0" in name or name.startswith(".") or len(os.fsencode(name)) > 200:
            raise InvalidArgument(f"name {name!r}: give a plain name, without '/' and not beginning with '.'")
        return self.cache / f"{name}{ending}"


class _Finder:
    """Seeds numpy and torch when they are loaded. It finds nothing itself: it wraps what the others find."""

    def __init__(self, manager: RandomStateManager) -> None:
        self._manager = manager

    def find_spec(self, name: str, path: Any = None, target: ModuleType | None = None) -> ModuleSpec | None:
        if name not in _LATER:
            return None
        for finder in sys.meta_path:
            find = getattr(finder, "find_spec", None)
            spec = find(name, path, target) if find is not None and finder is not self else None
            if spec is not None:
                self._wrap(name, spec)
                return spec  # type: ignore[no-any-return]
        return None

    def _wrap(self, name: str, spec: ModuleSpec) -> None:
        loader = spec.loader
        execute = getattr(loader, "exec_module", None)
        if execute is None:
            return

        def exec_module(module: ModuleType) -> None:
            with contextlib.suppress(AttributeError):
                del loader.exec_module  # type: ignore[union-attr]
            execute(module)
            if self in sys.meta_path:
                self._manager._seed_module(name, module)

        with contextlib.suppress(AttributeError):  # a loader of its own kind: that module is not seeded
            loader.exec_module = exec_module  # type: ignore[union-attr,method-assign]


def _words(name: str) -> list[int]:
    import hashlib

    digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).digest()[:16]
    return [int.from_bytes(digest[at : at + 4], "big") for at in range(0, 16, 4)]


def _numpy() -> Any:
    try:
        import numpy
    except ImportError as error:
        raise FormatUnavailable("named generators need numpy: pip install numpy") from error
    return numpy


def _global_state(torch: bool = True) -> dict[str, Any]:
    state: dict[str, Any] = {"random": random.getstate()}
    if "numpy.random" in sys.modules:
        state["numpy.random"] = sys.modules["numpy.random"].get_state()
    if torch and "torch" in sys.modules:
        state["torch"] = sys.modules["torch"].get_rng_state()
    return state


def _set_state(state: dict[str, Any]) -> None:
    if "random" in state:
        random.setstate(state["random"])
    if "numpy.random" in state:
        _numpy().random.set_state(state["numpy.random"])
    if "torch" in state and "torch" in sys.modules:
        sys.modules["torch"].set_rng_state(state["torch"])


def _parts(obj: Any) -> Iterator[bytes]:
    """The value as bytes, so that different types, shapes or orders never give the same."""
    kind = type(obj)
    yield f"{kind.__module__}.{kind.__qualname__}".encode()
    if obj is None or kind in (bool, int, float, complex, str):
        yield repr(obj).encode("utf-8", "backslashreplace")
    elif kind in (bytes, bytearray):
        yield bytes(obj)
    elif isinstance(obj, dict):
        yield str(len(obj)).encode()
        for key, value in obj.items():
            yield from _parts(key)
            yield from _parts(value)
    elif isinstance(obj, (list, tuple)):
        yield str(len(obj)).encode()
        for item in obj:
            yield from _parts(item)
    elif hasattr(obj, "to_records"):  # a pandas frame or series
        yield repr(
            [str(kind) for kind in getattr(obj, "dtypes", [obj.dtypes] if hasattr(obj, "dtypes") else [])]
        ).encode()
        yield from _parts(obj.to_csv().encode())
    elif hasattr(obj, "detach"):  # a torch tensor
        yield from _parts(obj.detach().cpu().numpy())
    elif hasattr(obj, "tobytes") and hasattr(obj, "dtype"):
        yield f"{obj.dtype} {getattr(obj, 'shape', ())}".encode()
        yield repr(obj.tolist()).encode() if obj.dtype.hasobject else obj.tobytes()
    else:
        import pickle

        yield pickle.dumps(obj, protocol=4)


def _write_json(path: Path, value: Any) -> None:
    import json

    part = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            part.write_text(json.dumps(value, default=_listed), encoding="utf-8")
            os.replace(part, path)
        except BaseException:
            with contextlib.suppress(OSError):
                part.unlink()
            raise
    except OSError as error:
        raise OperationFailed(f"{shown(path)}: cannot be written: {error.strerror}") from error


def _read_json(path: Path) -> dict[str, Any]:
    import json

    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise OperationFailed(f"{shown(path)}: cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise InvalidArgument(f"{shown(path)}: not what runark wrote; remove it and begin anew: {error}") from error
    if not isinstance(value, dict):
        raise InvalidArgument(f"{shown(path)}: not what runark wrote; remove it and begin anew")
    return value


def _listed(value: Any) -> Any:
    if hasattr(value, "tolist"):
        return {"array": value.tolist(), "dtype": str(value.dtype)} if getattr(value, "shape", ()) else value.tolist()
    raise TypeError(f"{type(value).__name__} has no form in JSON")


def _arrays(value: Any) -> Any:
    if isinstance(value, dict):
        if value.keys() == {"array", "dtype"}:
            return _numpy().array(value["array"], dtype=value["dtype"])
        return {key: _arrays(item) for key, item in value.items()}
    return value


def _tuples(value: Any) -> Any:
    value = _arrays(value)
    return tuple(map(_tuples, value)) if isinstance(value, list) else value
