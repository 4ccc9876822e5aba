"""Managed work directories for services and batch tools (docs/workdir.md).

A clean directory for every execution, logging set up into it, and old ones pruned, or archived, by policy. Importing
this loads pydantic-settings; nothing else of runark does.
"""

from __future__ import annotations

from runark.workdir.handler import SessionHandler
from runark.workdir.log_config import LogConfig
from runark.workdir.session import Session
from runark.workdir.session_dir import SessionDir
from runark.workdir.work_dir import WorkDir

__all__ = ["LogConfig", "Session", "SessionDir", "SessionHandler", "WorkDir"]
