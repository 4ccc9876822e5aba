"""The data behind a figure: every line, scatter, bar and image it shows, as columns for a csv."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from runark.errors import InvalidArgument
from runark.session.directory import shown

__all__ = ["figure_of", "plotted"]


def figure_of(obj: Any, path: Path) -> Any:
    """The figure of a figure, of axes, of whatever has one, or pyplot's current one. Raises `InvalidArgument`."""
    if hasattr(obj, "gcf"):  # pyplot itself
        return obj.gcf()
    if hasattr(obj, "savefig") and hasattr(obj, "axes"):
        return obj
    figure = getattr(obj, "figure", None) or getattr(obj, "fig", None)
    if hasattr(figure, "savefig"):
        return figure
    if hasattr(obj, "flat") and len(obj) and hasattr(obj.flat[0], "figure"):  # the axes `subplots` gives
        return obj.flat[0].figure
    raise InvalidArgument(f"{shown(path)}: a {type(obj).__name__} is no figure; give a matplotlib figure, axes or plt")


def plotted(figure: Any) -> dict[str, list[Any]]:
    """Columns by name: `<label>_x`, `<label>_y`; with several axes `ax0_<label>_x` and so on. As long as they are."""
    columns: dict[str, list[Any]] = {}
    axes = list(figure.axes)
    for place, ax in enumerate(axes):
        prefix = f"ax{place}_" if len(axes) > 1 else ""
        for kind, label, parts in _series(ax):
            name, number = f"{prefix}{label or kind}", 2
            base = name
            while f"{name}_{next(iter(parts))}" in columns:
                name, number = f"{base}_{number}", number + 1
            columns.update({f"{name}_{part}": values for part, values in parts.items()})
    return columns


def _series(ax: Any) -> list[tuple[str, str, dict[str, list[Any]]]]:
    found: list[tuple[str, str, dict[str, list[Any]]]] = []
    for number, line in enumerate(ax.get_lines()):
        parts = {"x": _listed(line.get_xdata(orig=True)), "y": _listed(line.get_ydata(orig=True))}
        found.append((f"line{number}", _label(line), parts))
    for number, group in enumerate(ax.collections):
        offsets = group.get_offsets() if type(group).__name__ == "PathCollection" else None
        if offsets is not None and len(offsets):
            found.append(
                (f"scatter{number}", _label(group), {"x": _listed(offsets[:, 0]), "y": _listed(offsets[:, 1])})
            )
    for number, bars in enumerate(ax.containers):
        patches = [patch for patch in getattr(bars, "patches", ()) if hasattr(patch, "get_height")]
        if patches:
            parts = {
                "x": [patch.get_x() + patch.get_width() / 2 for patch in patches],
                "y": [patch.get_y() + patch.get_height() for patch in patches],
            }
            found.append((f"bar{number}", _label(bars), parts))
    for number, image in enumerate(ax.get_images()):
        values = image.get_array()
        if values is not None and values.ndim == 2:
            rows, across = values.shape
            parts = {
                "row": [row for row in range(rows) for _ in range(across)],
                "column": list(range(across)) * rows,
                "value": _listed(values.ravel()),
            }
            found.append((f"image{number}", _label(image), parts))
    return found


def _label(artist: Any) -> str:
    label = str(artist.get_label() or "")
    return "" if label.startswith("_") else label


def _listed(values: Any) -> list[Any]:
    return list(values.tolist() if hasattr(values, "tolist") else values)
