"""What a docstring says about a function and its parameters: in Google's, NumPy's and Sphinx's style."""

from __future__ import annotations

import re
from collections.abc import Iterable

__all__ = ["parse"]

_SECTION = re.compile(
    r"(?:args|arguments|parameters|params|returns?|raises|yields?|examples?|notes?|see also|references|attributes"
    r"|warnings?):?",
    re.IGNORECASE,
)
_PARAMETERS = re.compile(r"(?:args|arguments|parameters|params):?", re.IGNORECASE)
_SPHINX = re.compile(r":(?:param|parameter|arg)\s+(?:[^:]*\s)?(\w+)\s*:\s*(.*)")
_FIELD = re.compile(r":\w+[^:]*:")
_ENTRY = re.compile(r"\*{0,2}(\w+)\s*(?:\([^)]*\))?\s*:\s*(.*)")


def parse(text: str | None, names: Iterable[str]) -> tuple[str, dict[str, str]]:
    """The description, and the text of each parameter in `names` that has one, on one line."""
    wanted = set(names)
    lines = _without_indent(text or "")
    description: list[str] = []
    found: dict[str, list[str]] = {}
    section, name, depth = "", "", 0
    for number, line in enumerate(lines):
        stripped = line.strip()
        indent = len(line) - len(line.lstrip())
        underlined = number + 1 < len(lines) and re.fullmatch(r"-{3,}", lines[number + 1].strip()) is not None
        if re.fullmatch(r"-{3,}", stripped) and section:
            continue
        if _SECTION.fullmatch(stripped) and (stripped.endswith(":") or underlined):
            section, name = ("parameters" if _PARAMETERS.fullmatch(stripped) else "other"), ""
            depth = indent
            continue
        sphinx = _SPHINX.fullmatch(stripped)
        if sphinx is not None or _FIELD.match(stripped):
            section, name = "fields", sphinx[1] if sphinx is not None else ""
            if sphinx is not None:
                found[name] = [sphinx[2]]
            continue
        if not section:
            description.append(line)
        elif section == "parameters" and stripped:
            name = _entry(stripped, wanted, found) or (name if indent > depth else "")
        elif section == "fields" and stripped and name and indent:
            found[name].append(stripped)
    texts = {name: " ".join(part for part in parts if part) for name, parts in found.items() if name in wanted}
    return "\n".join(description).strip(), {name: text for name, text in texts.items() if text}


def _entry(line: str, wanted: set[str], found: dict[str, list[str]]) -> str:
    """The parameter a line of a section begins; otherwise the line continues the last one."""
    entry = _ENTRY.fullmatch(line)
    if entry is not None and entry[1] in wanted and entry[1] not in found:
        numpy_style = re.match(r"\w+\s+:\s", line) is not None
        found[entry[1]] = [] if numpy_style else [entry[2]]
        return entry[1]
    if line in wanted and line not in found:
        found[line] = []
        return line
    if found:
        found[next(reversed(found))].append(line)
    return ""


def _without_indent(text: str) -> list[str]:
    lines = text.expandtabs().splitlines()
    indents = [len(line) - len(line.lstrip()) for line in lines[1:] if line.strip()]
    cut = min(indents, default=0)
    return [lines[0].strip(), *(line[cut:].rstrip() for line in lines[1:])] if lines else []
