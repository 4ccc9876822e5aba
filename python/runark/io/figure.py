"""The data behind a figure: lines, error bars, scatters, bars and images, as columns for a csv."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

from runark.errors import InvalidArgument
from runark.io.plain import listed
from runark.session.directory import shown

__all__ = ["figure_of", "plotted"]

Parts = dict[str, Iterable[Any]]
"""Columns of one series: `x`, `y` and what else it has."""


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


def plotted(figure: Any) -> dict[str, Iterable[Any]]:
    """Columns by name: `<label>_x`, `<label>_y`; with several axes `ax0_<label>_x` and so on. As long as they are.

    A column can be gone through once.
    """
    columns: dict[str, Iterable[Any]] = {}
    axes = list(figure.axes)
    for place, ax in enumerate(axes):
        prefix = f"ax{place}_" if len(axes) > 1 else ""
        numbers: Counter[str] = Counter()
        for kind, label, parts in _series(ax):
            base = f"{prefix}{label or f'{kind}{numbers[kind]}'}"
            numbers[kind] += 1
            name, number = base, 2
            while any(f"{name}_{part}" in columns for part in parts):
                name, number = f"{base}_{number}", number + 1
            columns.update({f"{name}_{part}": values for part, values in parts.items()})
    return columns


def _series(ax: Any) -> Iterator[tuple[str, str, Parts]]:
    """What the axes show: its kind, its label or nothing, its columns."""
    errors = [item for item in ax.containers if type(item).__name__ == "ErrorbarContainer"]
    of_lines = {id(item.lines[0]): item for item in errors}
    caps = {id(cap) for item in errors for cap in item.lines[1]}
    for line in ax.get_lines():
        if id(line) in caps:
            continue
        container = of_lines.get(id(line))
        if hasattr(line, "get_data_3d"):
            parts: Parts = dict(zip("xyz", map(_column, line.get_data_3d()), strict=True))
        else:
            parts = {"x": _column(line.get_xdata(orig=True)), "y": _column(line.get_ydata(orig=True))}
        if container is not None:
            parts.update(_error_limits(container, len(line.get_xdata())))
        yield "line", _label(container or line), parts
    for group in ax.collections:
        if parts := _scatter(ax, group):
            yield "scatter", _label(group), parts
    for bars in ax.containers:
        if parts := _bars(ax, bars):
            labels = {_label(patch) for patch in bars.patches} - {""}
            yield "bar", _label(bars) or (labels.pop() if len(labels) == 1 else ""), parts
    for image in ax.get_images():
        values = image.get_array()
        if values is not None and values.ndim == 2:
            yield "image", _label(image), _image(values)


def _label(artist: Any) -> str:
    label = str(artist.get_label() or "")
    return "" if label.startswith("_") else label


def _error_limits(container: Any, length: int) -> Parts:
    """Where the error bars end, if each point has them."""
    directions = [name for name, there in (("x", container.has_xerr), ("y", container.has_yerr)) if there]
    found: Parts = {}
    for name, bars in zip(directions, container.lines[2], strict=False):
        ends = [segment[:, "xy".index(name)] for segment in bars.get_segments()]
        if len(ends) == length:
            found[f"{name}_low"] = [float(end[0]) for end in ends]
            found[f"{name}_high"] = [float(end[-1]) for end in ends]
    return found


def _scatter(ax: Any, group: Any) -> Parts:
    kind = type(group).__name__
    if kind == "Path3DCollection":
        return {name: _column(values) for name, values in zip("xyz", group._offsets3d, strict=True)}
    if kind != "PathCollection":
        return {}
    offsets = group.get_offsets()
    if not len(offsets):
        return {}
    parts: Parts = {"x": _on_axis(ax.xaxis, offsets[:, 0]), "y": _on_axis(ax.yaxis, offsets[:, 1])}
    colours = group.get_array()
    if colours is not None and len(colours) == len(offsets):
        parts["c"] = _column(colours)
    return parts


def _bars(ax: Any, bars: Any) -> Parts:
    """Where each stands, how long it is, and where it begins if that is not at 0."""
    patches = [patch for patch in getattr(bars, "patches", ()) if hasattr(patch, "get_height")]
    if not patches:
        return {}
    if getattr(bars, "orientation", "vertical") == "horizontal":
        begins = [patch.get_x() for patch in patches]
        middles = _on_axis(ax.yaxis, [patch.get_y() + patch.get_height() / 2 for patch in patches])
        parts: Parts = {"x": [patch.get_width() for patch in patches], "y": middles}
    else:
        begins = [patch.get_y() for patch in patches]
        middles = _on_axis(ax.xaxis, [patch.get_x() + patch.get_width() / 2 for patch in patches])
        parts = {"x": middles, "y": [patch.get_height() for patch in patches]}
    if any(begins):
        parts["base"] = begins
    if bars.errorbar is not None:
        parts.update(_error_limits(bars.errorbar, len(patches)))
    return parts


def _image(values: Any) -> Parts:
    rows, across = values.shape
    return {
        "row": (row for row in range(rows) for _ in range(across)),
        "column": (column for _ in range(rows) for column in range(across)),
        "value": (value for row in values for value in row.tolist()),
    }


def _on_axis(axis: Any, values: Any) -> list[Any]:
    """Places on an axis as it shows them: categories, dates (of days since 1970, without zone), else numbers."""
    numbers = _column(values)
    formatter = axis.get_major_formatter()
    if type(formatter).__name__ == "StrCategoryFormatter":
        names = formatter.format_ticks(numbers)
        return [
            name if name and number == round(number) else number for name, number in zip(names, numbers, strict=True)
        ]
    converter = axis.get_converter() if hasattr(axis, "get_converter") else axis.converter
    if "Date" in type(converter).__name__:
        dates = import_module("matplotlib.dates")
        return [number if number is None else dates.num2date(number).replace(tzinfo=None) for number in numbers]
    return numbers


def _column(values: Any) -> list[Any]:
    return list(listed(values))
