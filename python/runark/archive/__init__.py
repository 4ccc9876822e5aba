"""Policy of archiving: scan -> plan -> (engine) -> result. It decides; the engine touches the files.

`runark.archive` is the package and, called, the verb: `runark.archive(plan)` is `runark.archive.archive.archive(plan)`.
A module can only be called if its class says so, hence the subclass below; a plain function of that name in `runark`
would be replaced by this package as soon as anybody imports a module of it.
"""

from __future__ import annotations

import sys
import types
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from runark.archive.result import Result


class _Verb(types.ModuleType):
    def __call__(self, *args: Any, **options: Any) -> Result:
        from runark.archive.archive import archive

        return archive(*args, **options)


sys.modules[__name__].__class__ = _Verb
