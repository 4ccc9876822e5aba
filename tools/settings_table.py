"""Write the tables of settings in docs/workdir.md and docs/nightly.md from the code.

    python tools/settings_table.py docs/workdir.md docs/nightly.md

They stand between two marks in the page.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import click

from runark.cli.nightly import nightly
from runark.cli.policy import settings_of
from runark.workdir.settings import LogVariables, SessionDirVariables

BEGIN, END = "<!-- settings: begin -->", "<!-- settings: end -->"


def updated(path: Path) -> str:
    """The text of the page with its tables made anew. Raises `ValueError` if it has no place for them."""
    before, _, rest = path.read_text(encoding="utf-8").partition(BEGIN)
    _, _, after = rest.partition(END)
    if not after:
        raise ValueError(f"{path} has no place for the tables: {BEGIN} ... {END}")
    return f"{before}{BEGIN}\n{TABLES[path.name]()}\n{END}{after}"


def workdir_tables() -> str:
    """The variables of `SessionDir` and `LogConfig`."""
    return "\n\n".join(
        _variables(owner, variables)
        for owner, variables in (("SessionDir", SessionDirVariables), ("LogConfig", LogVariables))
    )


def _variables(owner: str, variables: type[SessionDirVariables] | type[LogVariables]) -> str:
    rows = [f"| variable of `{owner}` | argument | default | |", "|---|---|---|---|"]
    for name, field in variables.model_fields.items():
        argument = name.removeprefix("SESSION_DIR_").removeprefix("SESSION_LOG_").lower()
        default = str(field.default).lower() if isinstance(field.default, bool) else field.default
        shown = "none" if default is None else f"`{default}`"
        rows.append(f"| `{name}` | `{argument}` | {shown} | {field.description} |")
    return "\n".join(rows)


def nightly_table() -> str:
    """The keys of the policy, each an option of `runark nightly`."""
    rows = ["| key | option | default | meaning |", "|---|---|---|---|"]
    for key, setting in settings_of(nightly).items():
        option = setting.option
        names = ", ".join(f"`{name}`" for name in (*option.opts, *option.secondary_opts))
        value = option.metavar or ("|".join(option.type.choices) if isinstance(option.type, click.Choice) else "")
        default = option.default if isinstance(option.default, str | int | float) else None
        shown = f"`{str(default).lower()}`" if default else ""
        cells = (f"`{key}`", f"{names} {value}".rstrip(), shown, option.help or "")
        rows.append("| " + " | ".join(cell.replace("|", r"\|") for cell in cells) + " |")
    return "\n".join(rows)


TABLES: dict[str, Callable[[], str]] = {"workdir.md": workdir_tables, "nightly.md": nightly_table}


if __name__ == "__main__":
    for page in map(Path, sys.argv[1:]):
        page.write_text(updated(page), encoding="utf-8")
