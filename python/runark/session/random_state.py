"""Random numbers that can be had again: one seed, and as many independent named generators as a script wants.

`rngg("weights")` gives the generator of that name: the same numbers for the same seed and name, whichever other names
were asked for before. At the start of a session the global generators are seeded too: that of `random` at once, numpy's
and torch's if they are loaded, and at the moment they are loaded later. Nothing is imported for it. The end of the
session gives them their state back.
"""

from __future__ import annotations

import contextlib
import operator
import os
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from runark.errors import InvalidArgument, OperationFailed
from runark.session import seeding
from runark.session.directory import shown

__all__ = ["RandomStateManager"]


class RandomStateManager:
    """Seeds and named generators.

    seed     of everything: a whole number, 0 or more
    verbose  say on standard error what was seeded
    cache    directory for `verify` and `checkpoint`; default `.runark/rng` in the working directory

    Raises `InvalidArgument` for a seed that is none.
    """

    def __init__(self, seed: int = 42, verbose: bool = False, cache: str | os.PathLike[str] | None = None) -> None:
        self.seed = _checked(seed)
        self.verbose = verbose
        self._cache = Path(cache) if cache is not None else None
        self._generators: dict[str, Any] = {}
        self._torch: dict[str, Any] = {}
        self._before: dict[str, Any] = {}
        self._on_load = seeding.OnLoad(self._seed_module)
        self._begin()

    def _begin(self) -> None:
        for name in seeding.loaded():
            _careful(self._seed_module, name)
        self._on_load.install()
        if self.verbose:
            print(f"runark: random numbers from seed {self.seed}", file=sys.stderr)

    def reset(self, seed: int = 42) -> None:
        """Begins anew: global and named generators, from `seed`. Raises `InvalidArgument`; nothing changes then."""
        seed = _checked(seed)
        self.put_back()
        self.seed = seed
        self._generators, self._torch = {}, {}
        self._begin()

    # -------------------------------------------------------------------------------------- generators

    def __call__(self, name: str) -> Any:
        """numpy's generator of that name. Raises `FormatUnavailable` without numpy."""
        if name not in self._generators:
            self._generators[name] = self._new(name)
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
        """torch's generator of that name, on the CPU. Raises `FormatUnavailable` without torch."""
        if name not in self._torch:
            self._torch[name] = self._new_torch(name)
        return self._torch[name]

    def _new(self, name: str) -> Any:
        digest = _sha256(name)
        words = [int.from_bytes(digest[at : at + 4], "big") for at in range(0, 16, 4)]
        return seeding.load("numpy.random").default_rng([self.seed, *words])

    def _new_torch(self, name: str) -> Any:
        generator = seeding.load("torch").Generator()
        generator.manual_seed(self._number(name) % (1 << 63))
        return generator

    def _number(self, name: str) -> int:
        _sha256(name)
        return int.from_bytes(_sha256(f"{self.seed}/{name}")[:8], "big")

    def __getattr__(self, name: str) -> Any:
        """What a numpy generator can do (`rng.random((10, 10))`), by the generator called `default`."""
        if name.startswith("_"):
            raise AttributeError(name)
        return getattr(self("default"), name)

    # ------------------------------------------------------------------------------------ global state

    def _seed_module(self, name: str) -> None:
        before = seeding.get(name)
        seeding.seed(name, self.seed)
        self._before.setdefault(name, before)

    def put_back(self) -> None:
        """Gives the global generators the state they had, and watches imports no more. Raises nothing."""
        self._on_load.uninstall()
        before, self._before = self._before, {}
        for name, state in before.items():
            if name in sys.modules:
                _careful(seeding.put, name, state)

    @contextlib.contextmanager
    def temporary_seed(self, seed: int) -> Iterator[None]:
        """Within the block `random`, numpy and torch (if loaded) start from `seed`; after it they go on as before.

        Raises `InvalidArgument` for a seed that is none.
        """
        seed = _checked(seed)
        before = {name: seeding.get(name) for name in seeding.loaded()}
        try:
            for name in before:
                seeding.seed(name, seed)
            yield
        finally:
            for name, state in before.items():
                seeding.put(name, state)

    # --------------------------------------------------------------------------- verify and checkpoint

    @property
    def cache(self) -> Path:
        """Where `verify` and `checkpoint` keep what they keep."""
        return self._cache if self._cache is not None else Path.cwd() / ".runark" / "rng"

    def verify(self, obj: Any, name: str | None = None, verbose: bool = True) -> bool:
        """Whether `obj` is what it was when `verify` was called first with this name.

        name      of what is verified; default: file and line of the caller
        verbose   raise `ValueError` (`InvalidArgument`) if it differs, instead of giving False

        The first time its SHA-256 (types, shapes and bytes) is written to `<cache>/<name>.json`. Raises
        `InvalidArgument` for what has no value (an open file), for a note that is broken, and without a name outside
        of a file.
        """
        from runark.session.fingerprint import fingerprint

        if name is None:
            caller = sys._getframe(1)
            name = self._place(caller.f_code.co_filename, caller.f_lineno)
        path = self._file(name, ".json")
        found = fingerprint(obj)
        try:
            noted = _read_json(path)
        except FileNotFoundError:
            _write_json(path, {"name": name, "sha256": found, "seed": self.seed})
            return True
        if not _is_note(noted):
            raise InvalidArgument(f"{shown(path)}: not what verify wrote; remove it and begin anew")
        if found != noted["sha256"] and verbose:
            raise InvalidArgument(
                f"{name}: differs from what it was (seed {noted['seed']} then, {self.seed} now); "
                f"if that is right, remove {shown(path)}"
            )
        return bool(found == noted["sha256"])

    def _place(self, file: str, line: int) -> str:
        """A name for a line of a file, the same when both the file and the cache are moved."""
        if not os.path.isfile(file):
            raise InvalidArgument(f"verify outside of a file ({file}): give a name, verify(obj, 'weights')")
        where = os.path.relpath(os.path.realpath(file), os.path.realpath(self.cache))
        stem = Path(file).stem.lstrip(".")[:50]
        return f"{stem}-{line}-{_sha256(where)[:4].hex()}"

    def checkpoint(self, name: str) -> Path:
        """Writes the state of every generator, the global ones too, to a JSON file. Gives its path."""
        path = self._file(name, ".checkpoint.json")
        kept = {
            "seed": self.seed,
            "generators": {key: value.bit_generator.state for key, value in self._generators.items()},
            "torch": {key: value.get_state() for key, value in self._torch.items()},
            "global": {key: seeding.get(key) for key in seeding.loaded()},
        }
        _write_json(path, kept)
        return path

    def restore(self, path: str | os.PathLike[str]) -> None:
        """Goes on from a checkpoint. Generators that were not used by then begin at its seed; whoever holds one goes on
        with it.

        Raises `OperationFailed`, `InvalidArgument`, and `FormatUnavailable` if numpy or torch was used and is missing;
        nothing has changed then.
        """
        path = Path(path)
        try:
            kept = _read_json(path)
        except FileNotFoundError as error:
            raise OperationFailed(f"{shown(path)}: there is no such checkpoint") from error
        try:
            seed = _checked(kept["seed"])
            generators = {name: _decoded(state) for name, state in kept["generators"].items()}
            tensors = {name: _decoded(state) for name, state in kept["torch"].items()}
            states = {name: _decoded(state) for name, state in kept["global"].items()}
            states["random"] = _tuples(states["random"])
            for state in generators.values():
                seeding.load("numpy.random").default_rng(0).bit_generator.state = state
            for state in tensors.values():
                seeding.load("torch").Generator().set_state(state)
            for name, state in states.items():
                seeding.try_out(name, state)
        except (KeyError, TypeError, ValueError, AttributeError, IndexError, OverflowError, RuntimeError) as error:
            raise InvalidArgument(f"{shown(path)}: not a checkpoint of random numbers: {error!r}") from error
        self.seed = seed
        for name in {**self._generators, **generators}:
            fresh = self._new(name).bit_generator.state
            self(name).bit_generator.state = generators.get(name, fresh)
        for name in {**self._torch, **tensors}:
            fresh = self._new_torch(name).get_state()
            self.get_torch_generator(name).set_state(tensors.get(name, fresh))
        for name in seeding.loaded():
            if name not in states:
                seeding.seed(name, seed)
        for name, state in states.items():
            seeding.put(name, state)

    def clear_cache(self, patterns: str | Iterable[str] | None = None) -> int:
        """Removes what `verify` and `checkpoint` wrote under names that match (all, if None), and no other file. Gives
        how many. Raises `OperationFailed`."""
        import fnmatch

        wanted = ["*"] if patterns is None else [patterns] if isinstance(patterns, str) else list(patterns)
        count = 0
        for path in sorted(self.cache.glob("*.json")):
            name = path.name.removesuffix(".json").removesuffix(".checkpoint")
            if not any(fnmatch.fnmatchcase(name, pattern) for pattern in wanted):
                continue
            try:
                kept = _read_json(path)
                if _is_note(kept) or kept.keys() == {"seed", "generators", "torch", "global"}:
                    path.unlink()
                    count += 1
            except (InvalidArgument, FileNotFoundError):  # somebody else's, or removed meanwhile
                continue
            except OSError as error:
                raise OperationFailed(f"{shown(path)}: cannot be removed: {error.strerror or error}") from error
        return count

    def _file(self, name: str, ending: str) -> Path:
        _sha256(name)
        encoded = name.encode("utf-8", "surrogatepass")
        if not name or "/" in name or "\0" in name or name[0] == "." or len(encoded) > 200:
            raise InvalidArgument(
                f"name {name!r}: give a plain name of at most 200 bytes, without '/' and not beginning with '.'"
            )
        if name.endswith(".checkpoint"):
            raise InvalidArgument(f"name {name!r}: give one that does not end with '.checkpoint'")
        return self.cache / f"{name}{ending}"


def _checked(seed: Any) -> int:
    try:
        number = operator.index(seed)
    except TypeError:
        number = -1
    if number < 0 or isinstance(seed, bool):
        raise InvalidArgument(f"seed={seed!r}: give a whole number, 0 or more")
    return number


def _careful(do: Any, name: str, *more: Any) -> None:
    """Calls `do`; a library that cannot be seeded or put back is told of, and stops nothing."""
    try:
        do(name, *more)
    except Exception as error:  # noqa: BLE001 - somebody else's module
        print(f"runark: random numbers of {name}: {type(error).__name__}: {error}", file=sys.stderr)


def _sha256(text: str) -> bytes:
    import hashlib

    if not isinstance(text, str):
        raise InvalidArgument(f"name {text!r}: give a text")
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()


def _is_note(kept: dict[str, Any]) -> bool:
    return kept.keys() == {"name", "sha256", "seed"}


def _write_json(path: Path, value: Any) -> None:
    import json

    part = path.with_name(f".rng.{os.urandom(6).hex()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            part.write_text(json.dumps(value, default=_encoded), encoding="utf-8")
            os.replace(part, path)
        except BaseException:
            with contextlib.suppress(OSError):
                part.unlink()
            raise
    except OSError as error:
        raise OperationFailed(f"{shown(path)}: cannot be written: {error.strerror}") from error


def _read_json(path: Path) -> dict[str, Any]:
    """Raises `FileNotFoundError`, `OperationFailed`, `InvalidArgument`."""
    import json

    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise
    except OSError as error:
        raise OperationFailed(f"{shown(path)}: cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise InvalidArgument(f"{shown(path)}: not what runark wrote; remove it and begin anew: {error}") from error
    if not isinstance(value, dict):
        raise InvalidArgument(f"{shown(path)}: not what runark wrote; remove it and begin anew")
    return value


def _encoded(value: Any) -> Any:
    """An array or tensor as JSON has it."""
    if not hasattr(value, "tolist"):
        raise TypeError(f"{type(value).__name__} has no form in JSON")
    return {"array": value.tolist(), "dtype": str(value.dtype)} if value.shape else value.tolist()


def _decoded(value: Any) -> Any:
    if isinstance(value, list):
        return [_decoded(item) for item in value]
    if not isinstance(value, dict):
        return value
    if value.keys() != {"array", "dtype"}:
        return {key: _decoded(item) for key, item in value.items()}
    if value["dtype"] == "torch.uint8":
        torch = seeding.load("torch")
        return torch.tensor(value["array"], dtype=torch.uint8)
    seeding.load("numpy.random")
    return sys.modules["numpy"].array(value["array"], dtype=value["dtype"])


def _tuples(value: Any) -> Any:
    return tuple(map(_tuples, value)) if isinstance(value, list) else value
