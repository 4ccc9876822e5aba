"""The generators a process has one of: those of `random`, numpy and torch. Seeded, read and put back here.

Nothing is imported for it. numpy and torch take part if they are loaded, and `OnLoad` tells when they are.
"""

from __future__ import annotations

import contextlib
import importlib
import random
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from runark.errors import FormatUnavailable

if TYPE_CHECKING:
    from importlib.machinery import ModuleSpec
    from types import ModuleType

__all__ = ["LATER", "OnLoad", "get", "load", "loaded", "put", "seed", "try_out"]

LATER = ("numpy.random", "torch")
"""What may be loaded later."""


def loaded() -> list[str]:
    """Whose generators there are in this process now."""
    return ["random", *(name for name in LATER if name in sys.modules)]


def load(name: str) -> Any:
    """The module of that name. Raises `FormatUnavailable`."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        package = name.partition(".")[0]
        raise FormatUnavailable(f"these random numbers need {package}: pip install {package}") from error


def seed(name: str, number: int) -> None:
    """Starts the generator of a loaded module from `number`, 0 or more."""
    module = sys.modules[name]
    if name == "random":
        random.seed(number)
    elif name == "torch":
        module.manual_seed(number % (1 << 64))  # of all devices
    else:
        if _kind(module) != "MT19937":  # the only kind that can be seeded in place
            module.set_bit_generator(module.MT19937())
        module.seed(number % (1 << 32))


def get(name: str) -> Any:
    """The state of a loaded module's generator: tuples, lists, dicts, arrays of numpy and tensors."""
    module = sys.modules[name]
    if name == "random":
        return random.getstate()
    if name == "torch":
        return [module.get_rng_state(), *(module.cuda.get_rng_state_all() if _cuda(module) else [])]
    return module.get_state(legacy=False)


def put(name: str, state: Any) -> None:
    """Sets what `get` gave. Raises what the module raises for a state it does not know."""
    if name == "random":
        random.setstate(state)
        return
    module = load(name)
    if name == "torch":
        module.set_rng_state(state[0])
        if state[1:] and _cuda(module):
            module.cuda.set_rng_state_all(state[1:])
    else:
        if _kind(module) != state["bit_generator"]:
            module.set_bit_generator(_bit_generator(module, state))
        module.set_state(state)


def try_out(name: str, state: Any) -> None:
    """Raises what `put` would raise, and changes nothing."""
    if name == "random":
        random.Random().setstate(state)
    elif name == "torch":
        load(name).Generator().set_state(state[0])
    else:
        module = load(name)
        module.RandomState(_bit_generator(module, state)).set_state(state)


def _kind(numpy_random: Any) -> str:
    return str(numpy_random.get_state(legacy=False)["bit_generator"])


def _bit_generator(numpy_random: Any, state: dict[str, Any]) -> Any:
    kind = getattr(numpy_random, state["bit_generator"])
    if not issubclass(kind, numpy_random.BitGenerator):
        raise ValueError(f"{state['bit_generator']!r} is no bit generator")
    return kind()


def _cuda(torch: Any) -> bool:
    return bool(torch.cuda.is_initialized())


class OnLoad:
    """Calls `tell(name)` when `numpy.random` or `torch` has been loaded, from `install` until `uninstall`.

    It finds no module itself: it asks the finders after it, and stands in for the loader they give until that one is at
    work. What `tell` raises is shown and no more: an import never fails for it.
    """

    def __init__(self, tell: Callable[[str], None]) -> None:
        self._tell = tell

    def install(self) -> None:
        if self not in sys.meta_path:
            sys.meta_path.insert(0, self)

    def uninstall(self) -> None:
        with contextlib.suppress(ValueError):
            sys.meta_path.remove(self)

    def find_spec(self, name: str, path: Any = None, target: ModuleType | None = None) -> ModuleSpec | None:
        if name not in LATER:
            return None
        finders = sys.meta_path[:]
        if self not in finders:
            return None
        for finder in finders[finders.index(self) + 1 :]:
            find = getattr(finder, "find_spec", None)
            spec: ModuleSpec | None = find(name, path, target) if find is not None else None
            if spec is not None:
                if hasattr(spec.loader, "exec_module"):
                    spec.loader = _Loader(spec.loader, self, name)  # type: ignore[assignment]
                return spec
        return None

    def tell(self, name: str) -> None:
        if self not in sys.meta_path:
            return
        try:
            self._tell(name)
        except Exception as error:  # noqa: BLE001 - somebody else's module
            print(f"runark: {name} is not seeded: {type(error).__name__}: {error}", file=sys.stderr)


class _Loader:
    """Another loader, until the module is executed: then it has its own again."""

    def __init__(self, loader: Any, on_load: OnLoad, name: str) -> None:
        self._loader, self._on_load, self._name = loader, on_load, name

    def __getattr__(self, attribute: str) -> Any:
        if attribute == "_loader":  # not there yet: it is being copied
            raise AttributeError(attribute)
        return getattr(self._loader, attribute)

    def exec_module(self, module: ModuleType) -> None:
        with contextlib.suppress(AttributeError):
            module.__loader__ = module.__spec__.loader = self._loader  # type: ignore[union-attr]
        self._loader.exec_module(module)
        self._on_load.tell(self._name)
