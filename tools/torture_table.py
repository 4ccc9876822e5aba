"""Write the table of docs/durability.md from what `make torture` has recorded.

    python tools/torture_table.py RESULTS.jsonl docs/durability.md

Lines of the same fault, engine, filesystem and outcome are added up. The table stands between two marks in the page.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from pathlib import Path

BEGIN, END = "<!-- torture: begin -->", "<!-- torture: end -->"


def table(results: Path) -> str:
    """The table in Markdown. Raises `ValueError` for a file without results."""
    points: Counter[tuple[str, str, str, str]] = Counter()
    for line in results.read_text(encoding="utf-8").splitlines():
        one = json.loads(line)
        points[one["fault"], one["filesystem"], one["engine"], one["outcome"]] += one["points"]
    if not points:
        raise ValueError(f"{results} is empty; run make torture")
    rows = ["| fault | points | filesystem | engine | outcome |", "|---|---|---|---|---|"]
    rows += [
        f"| {fault} | {number:,} | {where or '-'} | {engine} | {outcome} |"
        for (fault, where, engine, outcome), number in sorted(points.items())
    ]
    return "\n".join(rows)


def main(results: Path, page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    if not after:
        raise SystemExit(f"{page} has no place for the table: {BEGIN} ... {END}")
    page.write_text(f"{before}{BEGIN}\n{table(results)}\n{END}{after}", encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
