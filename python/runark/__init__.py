"""runark runs sessions and keeps their directories under control: finds, packs, proves, frees the inodes.

The public names stand in `__all__`; docs/python-api.md describes them. They are loaded when they are first used
(PEP 562), so that `import runark` costs next to nothing in the scripts that only want one of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

__version__ = "0.1.0"

if TYPE_CHECKING:
    from runark.archive.archive import archive as archive
    from runark.archive.archive import archive_sessions as archive_sessions
    from runark.archive.caps import Caps as Caps
    from runark.archive.compat import archive_existing as archive_existing
    from runark.archive.compat import archive_session_dir as archive_session_dir
    from runark.archive.compat import restore_existing as restore_existing
    from runark.archive.compat import restore_session_archive as restore_session_archive
    from runark.archive.control import Control as Control
    from runark.archive.doctor import Diagnosis as Diagnosis
    from runark.archive.doctor import examine as examine
    from runark.archive.doctor import treat as treat
    from runark.archive.drill import drill as drill
    from runark.archive.filters import Filters as Filters
    from runark.archive.list import ArchiveList as ArchiveList
    from runark.archive.list import list_archive as list_archive
    from runark.archive.list import list_members as list_members
    from runark.archive.nightly import Night as Night
    from runark.archive.nightly import Policy as Policy
    from runark.archive.nightly import nightly as nightly
    from runark.archive.plan import Plan as Plan
    from runark.archive.plan import plan as plan
    from runark.archive.plan_file import apply_plan as apply_plan
    from runark.archive.plan_file import read_plan as read_plan
    from runark.archive.plan_file import write_plan as write_plan
    from runark.archive.restore import RestorePlan as RestorePlan
    from runark.archive.restore import plan_restore as plan_restore
    from runark.archive.restore import restore as restore
    from runark.archive.result import Result as Result
    from runark.archive.retention import Keep as Keep
    from runark.archive.scan import Row as Row
    from runark.archive.scan import Scan as Scan
    from runark.archive.scan import scan as scan
    from runark.archive.undo import plan_undo as plan_undo
    from runark.archive.undo import undo as undo
    from runark.archive.verify import verify as verify
    from runark.archive.watch import Budget as Budget
    from runark.engine.protocol import Limits as Limits
    from runark.engine.protocol import Outcome as Outcome
    from runark.errors import RunarkError as RunarkError
    from runark.session.injected import INJECTED as INJECTED
    from runark.session.manager import SessionManager as SessionManager
    from runark.session.reconcile import Ghost as Ghost
    from runark.session.reconcile import reconcile as reconcile

# Where each public name lives. Not here: `archive` and `session`, packages that can be called, and the other modules.
_MODULES = ("archive", "io", "repro", "session", "workdir")
_HOMES = {
    "ArchiveList": "runark.archive.list",
    "Budget": "runark.archive.watch",
    "Caps": "runark.archive.caps",
    "Control": "runark.archive.control",
    "Diagnosis": "runark.archive.doctor",
    "Filters": "runark.archive.filters",
    "Ghost": "runark.session.reconcile",
    "INJECTED": "runark.session.injected",
    "Keep": "runark.archive.retention",
    "Limits": "runark.engine.protocol",
    "Night": "runark.archive.nightly",
    "Outcome": "runark.engine.protocol",
    "Plan": "runark.archive.plan",
    "Policy": "runark.archive.nightly",
    "RestorePlan": "runark.archive.restore",
    "Result": "runark.archive.result",
    "Row": "runark.archive.scan",
    "RunarkError": "runark.errors",
    "Scan": "runark.archive.scan",
    "SessionManager": "runark.session.manager",
    "apply_plan": "runark.archive.plan_file",
    "archive_existing": "runark.archive.compat",
    "archive_session_dir": "runark.archive.compat",
    "archive_sessions": "runark.archive.archive",
    "drill": "runark.archive.drill",
    "examine": "runark.archive.doctor",
    "list_archive": "runark.archive.list",
    "list_members": "runark.archive.list",
    "nightly": "runark.archive.nightly",
    "plan": "runark.archive.plan",
    "plan_restore": "runark.archive.restore",
    "plan_undo": "runark.archive.undo",
    "read_plan": "runark.archive.plan_file",
    "reconcile": "runark.session.reconcile",
    "restore": "runark.archive.restore",
    "restore_existing": "runark.archive.compat",
    "restore_session_archive": "runark.archive.compat",
    "scan": "runark.archive.scan",
    "treat": "runark.archive.doctor",
    "undo": "runark.archive.undo",
    "verify": "runark.archive.verify",
    "write_plan": "runark.archive.plan_file",
}

__all__ = [
    "INJECTED",
    "ArchiveList",
    "Budget",
    "Caps",
    "Control",
    "Diagnosis",
    "Filters",
    "Ghost",
    "Keep",
    "Limits",
    "Night",
    "Outcome",
    "Plan",
    "Policy",
    "RestorePlan",
    "Result",
    "Row",
    "RunarkError",
    "Scan",
    "SessionManager",
    "__version__",
    "apply_plan",
    "archive",
    "archive_existing",
    "archive_session_dir",
    "archive_sessions",
    "drill",
    "examine",
    "io",
    "list_archive",
    "list_members",
    "nightly",
    "plan",
    "plan_restore",
    "plan_undo",
    "read_plan",
    "reconcile",
    "repro",
    "restore",
    "restore_existing",
    "restore_session_archive",
    "scan",
    "session",
    "treat",
    "undo",
    "verify",
    "workdir",
    "write_plan",
]


def __getattr__(name: str) -> object:
    import importlib

    if name in _MODULES:
        return importlib.import_module(f"runark.{name}")
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'runark' has no attribute {name!r}")
    value = getattr(importlib.import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
