"""Owners, scripts and what the treemap shows: the largest one by one, the rest of them together."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from heapq import nlargest

from runark.archive.scan import Scan
from runark.report.ages import Cutoffs
from runark.report.cube import Cube, Scripts, Sums
from runark.report.figures import Group, Tile

__all__ = ["groups_of", "tiles_of"]


def groups_of(
    cube: Cube, field: str, most: int, name_of: Callable[[int], bytes]
) -> tuple[tuple[Group, ...], dict[int, int]]:
    """The groups by a field of the cube's keys, the one with most inodes first; and value -> index of its group."""
    totals = {value: sums for (value,), sums in cube.by(field).items()}
    ranked = sorted(totals, key=lambda value: (-totals[value].inodes, value))
    # One more by itself takes no more room than a rest of one.
    shown = ranked if len(ranked) <= most + 1 else ranked[:most]
    index = {value: shown.index(value) if i < len(shown) else len(shown) for i, value in enumerate(ranked)}
    reached: list[dict[int, Sums]] = [defaultdict(Sums) for _ in range(len(shown) + 1)]
    for (value, at), sums in cube.by(field, "reached").items():
        cells = reached[index[value]]
        cells[at] = cells[at].plus(sums)
    groups = []
    for number, cells in enumerate(reached):
        if cells:
            last = number == len(shown)
            total = _added(cells.values())
            name = b"" if last else name_of(shown[number])
            groups.append(Group(name, len(ranked) - len(shown) if last else 1, total, tuple(sorted(cells.items()))))
    return tuple(groups), index


def tiles_of(
    scan: Scan,
    rows: Sequence[int],
    cube: Cube,
    cuts: Cutoffs,
    owner_of: dict[int, int],
    script_of: dict[int, int],
    most: int,
) -> tuple[Tile, ...]:
    """A tile for each owner and script; in them the `most` largest sessions by inodes and by bytes on disk."""
    inodes, allocated = scan.column("inodes"), scan.column("allocated")
    uids, newest, layouts = scan.column("uid"), scan.column("newest_ns"), scan.columns.layout
    scripts = Scripts(scan)
    numbers = {path: number for number, path in enumerate(cube.scripts)}
    largest: dict[tuple[int, int], list[tuple[bytes, int, int, int]]] = defaultdict(list)
    for row in sorted({*nlargest(most, rows, inodes.__getitem__), *nlargest(most, rows, allocated.__getitem__)}):
        path = scan.path(row)
        script = numbers[scripts.script(path, layouts[row])]
        name = path[path.rfind(b"/") + 1 :]
        largest[owner_of[uids[row]], script_of[script]].append(
            (name, inodes[row], allocated[row], cuts.reached(newest[row]))
        )
    cells: dict[tuple[int, int], dict[int, Sums]] = defaultdict(lambda: defaultdict(Sums))
    for (uid, script, at), sums in cube.by("uid", "script", "reached").items():
        cell = cells[owner_of[uid], script_of[script]]
        cell[at] = cell[at].plus(sums)
    return tuple(
        Tile(*key, _added(cell.values()), _mean_age(cell), tuple(largest.get(key, ())))
        for key, cell in sorted(cells.items())
    )


def _added(parts: Iterable[Sums]) -> Sums:
    total = Sums()
    for part in parts:
        total = total.plus(part)
    return total


def _mean_age(cell: dict[int, Sums]) -> int:
    weight = sum(sums.inodes for sums in cell.values())
    return sum(at * sums.inodes for at, sums in cell.items()) // max(weight, 1)
