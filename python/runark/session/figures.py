"""matplotlib for a session: figure size, fonts and lines as `start` was told, and everything as it was at the end."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from runark.errors import FormatUnavailable, InvalidArgument
from runark.session.config import Config

__all__ = ["FigureStyle", "colors", "configure"]

# Colours that stay apart for colour-blind readers (after Okabe and Ito, and Tol), by their everyday names.
_PALETTE = {
    "white": (255, 255, 255),
    "black": (0, 0, 0),
    "blue": (0, 114, 178),
    "red": (204, 51, 17),
    "pink": (238, 119, 170),
    "green": (0, 158, 115),
    "yellow": (240, 200, 40),
    "gray": (128, 128, 128),
    "grey": (128, 128, 128),
    "purple": (136, 34, 153),
    "lightblue": (86, 180, 233),
    "brown": (140, 86, 49),
    "navy": (20, 40, 110),
    "orange": (230, 129, 0),
}
_CYCLE = ("blue", "red", "green", "orange", "purple", "lightblue", "pink", "yellow", "brown", "navy", "gray")
_FONT_SIZES = ("xx-small", "x-small", "small", "medium", "large", "x-large", "xx-large")


class FigureStyle(NamedTuple):
    """What `start` says about figures."""

    agg: bool = False
    """Use the backend without windows."""
    size_mm: tuple[float, float] = (160, 100)
    """Width and height in millimetres, before `scale`."""
    scale: float = 1.0
    dpi_display: float = 100
    dpi_save: float = 300
    fontsize: str | float = "small"
    """Points, or a size matplotlib has a word for."""
    autolayout: bool = False
    hide_top_right_spines: bool = True
    alpha: float = 0.9
    """Of the colours: 0 transparent, 1 opaque."""
    line_width: float = 1.0
    """Points."""

    def checked(self) -> FigureStyle:
        """Itself. Raises `InvalidArgument` naming what cannot be used."""
        positive = {"fig_scale": self.scale, "dpi_display": self.dpi_display, "dpi_save": self.dpi_save}
        size = tuple(self.size_mm)
        if len(size) != 2 or not all(isinstance(side, (int, float)) and side > 0 for side in size):
            raise InvalidArgument(f"fig_size_mm={self.size_mm!r}: give (width, height) in millimetres, above 0")
        for name, value in positive.items():
            if not isinstance(value, (int, float)) or not value > 0:
                raise InvalidArgument(f"{name}={value!r}: give a number above 0")
        if not isinstance(self.alpha, (int, float)) or not 0 <= self.alpha <= 1:
            raise InvalidArgument(f"alpha={self.alpha!r}: give a number from 0 to 1")
        if isinstance(self.fontsize, str) and self.fontsize not in _FONT_SIZES:
            raise InvalidArgument(f"fontsize={self.fontsize!r}: give points or one of {', '.join(_FONT_SIZES)}")
        return self


def colors(style: FigureStyle) -> Config:
    """Names of colours, each an (r, g, b, alpha) from 0 to 1."""
    return Config({name: (*(part / 255 for part in rgb), style.alpha) for name, rgb in _PALETTE.items()})


@dataclass(eq=False)
class Figures:
    """matplotlib while a session uses it."""

    plt: Any
    _undo: list[Callable[[], object]] = field(default_factory=list)

    def put_back(self) -> None:
        """Closes the figures the session opened and gives matplotlib its settings back."""
        while self._undo:
            self._undo.pop()()


def configure(style: FigureStyle, plt: Any = None) -> Figures:
    """Imports pyplot, unless the caller has, and styles it. Raises `FormatUnavailable` where matplotlib is missing."""
    try:
        import matplotlib
    except ImportError as error:
        raise FormatUnavailable("plt and COLORS need matplotlib: pip install 'runark[figures]'") from error
    figures = Figures(plt)
    before = {key: value for key, value in dict.items(matplotlib.rcParams) if not key.startswith("backend")}
    figures._undo.append(lambda: _restore(before))
    if style.agg and not _is_notebook():
        _use_agg(figures)
    matplotlib.rcParams.update(_settings(style))
    if plt is None:
        import matplotlib.pyplot

        figures.plt = matplotlib.pyplot
    if hasattr(figures.plt, "get_fignums"):
        known = set(figures.plt.get_fignums())
        figures._undo.append(lambda: _close_new(figures.plt, known))
    return figures


def _settings(style: FigureStyle) -> dict[str, Any]:
    from cycler import cycler

    palette = colors(style)
    width, height = (side / 25.4 * style.scale for side in style.size_mm)
    return {
        "figure.figsize": (width, height),
        "figure.dpi": style.dpi_display,
        "savefig.dpi": style.dpi_save,
        "figure.autolayout": style.autolayout,
        "font.size": style.fontsize if not isinstance(style.fontsize, str) else 8.0,
        "axes.labelsize": style.fontsize,
        "axes.titlesize": style.fontsize,
        "xtick.labelsize": style.fontsize,
        "ytick.labelsize": style.fontsize,
        "legend.fontsize": style.fontsize,
        "legend.frameon": False,
        "axes.spines.top": not style.hide_top_right_spines,
        "axes.spines.right": not style.hide_top_right_spines,
        "axes.prop_cycle": cycler(color=[palette[name] for name in _CYCLE]),
        "axes.linewidth": style.line_width,
        "lines.linewidth": style.line_width,
        "xtick.major.width": style.line_width,
        "ytick.major.width": style.line_width,
    }


def _is_notebook() -> bool:
    """There figures are shown by the notebook's own backend."""
    return "ipykernel" in sys.modules


def _use_agg(figures: Figures) -> None:
    import matplotlib

    if "matplotlib.pyplot" in sys.modules:
        pyplot = sys.modules["matplotlib.pyplot"]
        before = matplotlib.get_backend()
        if before.lower() != "agg" and not pyplot.get_fignums():
            pyplot.switch_backend("Agg")
            figures._undo.append(lambda: pyplot.switch_backend(before))
        return
    chosen = dict.__getitem__(matplotlib.rcParams, "backend")
    chosen_env = os.environ.get("MPLBACKEND")
    matplotlib.use("Agg")
    if isinstance(chosen, str) and chosen.lower() != "agg" and chosen_env is None:
        figures._undo.append(lambda: matplotlib.use(chosen, force=False))


def _restore(settings: dict[str, Any]) -> None:
    import matplotlib

    for key, value in settings.items():
        dict.__setitem__(matplotlib.rcParams, key, value)


def _close_new(plt: Any, known: set[int]) -> None:
    for number in set(plt.get_fignums()) - known:
        plt.close(number)
