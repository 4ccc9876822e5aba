"""Write the tables of docs/workdir.md from the settings in `runark.workdir.settings`.

    python tools/settings_table.py docs/workdir.md

They stand between two marks in the page.
"""

from __future__ import annotations

import sys
from pathlib import Path

from runark.workdir.settings import LogVariables, SessionDirVariables

BEGIN, END = "<!-- settings: begin -->", "<!-- settings: end -->"


def tables() -> str:
    """The tables in Markdown."""
    return "\n\n".join(
        _table(owner, variables)
        for owner, variables in (("SessionDir", SessionDirVariables), ("LogConfig", LogVariables))
    )


def updated(page: str) -> str:
    """The text of the page with its tables made anew. Raises `ValueError` if it has no place for them."""
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    if not after:
        raise ValueError(f"the page has no place for the tables: {BEGIN} ... {END}")
    return f"{before}{BEGIN}\n{tables()}\n{END}{after}"


def _table(owner: str, variables: type[SessionDirVariables] | type[LogVariables]) -> str:
    rows = [f"| variable of `{owner}` | argument | default | |", "|---|---|---|---|"]
    for name, field in variables.model_fields.items():
        argument = name.removeprefix("SESSION_DIR_").removeprefix("SESSION_LOG_").lower()
        default = str(field.default).lower() if isinstance(field.default, bool) else field.default
        shown = "none" if default is None else f"`{default}`"
        rows.append(f"| `{name}` | `{argument}` | {shown} | {field.description} |")
    return "\n".join(rows)


def main(page: Path) -> None:
    page.write_text(updated(page.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
