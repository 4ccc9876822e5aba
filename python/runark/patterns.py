"""Patterns for names: globs, fixed text and regular expressions, all in the one form both engines read alike.

Python's `re` and Rust's `regex` agree on much, not on everything: classes (`[[`, `&&`), `{` as a literal, `{,n}`,
`\\Z`, look-around, back references, flags. So each expression is read here and written anew, in ASCII bytes, from what
both understand: every literal that is not a letter, digit or `_` as `\\xNN`, every class spelled out, `$` for the
very end.

    regex(r"trial-\\d+")   -> b"trial\\x2d[0-9]+"      searched anywhere in the name, unless anchored
    glob("2026Y-02M-*")    -> b"^2026Y\\x2d02M\\x2d[\\x00-\\xff]*$"
"""

from __future__ import annotations

import re

from runark.errors import InvalidArgument

__all__ = ["compile_name", "fixed", "glob", "regex"]

_PLAIN = frozenset(b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_")
_ANY = rb"[\x00-\xff]"
# One character: UTF-8 of two to four bytes, or any one byte.
_ONE = (
    rb"(?:[\xc2-\xdf][\x80-\xbf]|[\xe0-\xef][\x80-\xbf][\x80-\xbf]"
    rb"|[\xf0-\xf4][\x80-\xbf][\x80-\xbf][\x80-\xbf]|[\x00-\xff])"
)
_MAX_REPEAT = 1000  # more than this makes Rust's automaton large without being of use for a name


def fixed(text: str | bytes) -> bytes:
    """An expression that matches exactly this text, anywhere in a name."""
    raw = text if isinstance(text, bytes) else text.encode("utf-8", "surrogateescape")
    return b"".join(bytes((byte,)) if byte in _PLAIN else b"\\x%02x" % byte for byte in raw)


def compile_name(pattern: bytes) -> re.Pattern[bytes]:
    """Compile an expression made by this module; `$` is the very end, as the engines have it."""
    return re.compile(re.sub(rb"(?<!\\)\$", rb"\\Z", pattern))


# ------------------------------------------------------------------------------------------------ globs


def glob(text: str | bytes) -> bytes:
    """An expression for a whole name from a glob: `*`, `?`, `[a-z]`, `[!a-z]`, `{a,b}`, and `\\` before a literal.

    A leading dot is nothing special. Raises `InvalidArgument` for an unclosed bracket or brace and for a `/`.
    """
    pattern = text.decode("utf-8", "surrogateescape") if isinstance(text, bytes) else text
    if "/" in pattern:
        raise InvalidArgument(f"glob {pattern!r} can never match: a name holds no '/'; give the name's part only")
    return b"^" + b"".join(_glob(pattern)) + b"$"


def _glob(pattern: str) -> list[bytes]:
    out: list[bytes] = []
    depth, at = 0, 0
    while at < len(pattern):
        char = pattern[at]
        at += 1
        if char == "*":
            while at < len(pattern) and pattern[at] == "*":
                at += 1
            out.append(_ANY + b"*")
        elif char == "?":
            out.append(_ONE)
        elif char == "[":
            part, at = _glob_class(pattern, at)
            out.append(part)
        elif char == "{":
            depth += 1
            out.append(b"(?:")
        elif char == "}" and depth:
            depth -= 1
            out.append(b")")
        elif char == "," and depth:
            out.append(b"|")
        elif char == "\\":
            if at == len(pattern):
                raise InvalidArgument(f"glob {pattern!r} ends in a single backslash; write it twice")
            out.append(fixed(pattern[at]))
            at += 1
        else:
            out.append(fixed(char))
    if depth:
        raise InvalidArgument(f"glob {pattern!r}: '{{' without '}}'; write \\{{ for the character itself")
    return out


def _glob_class(pattern: str, at: int) -> tuple[bytes, int]:
    """The class that begins after the bracket at `at - 1`, and where it ends."""
    negated = at < len(pattern) and pattern[at] in "!^"
    at += negated
    members: list[tuple[str, str]] = []
    first = True
    while True:
        if at >= len(pattern):
            raise InvalidArgument(f"glob {pattern!r}: '[' without ']'; write \\[ for the character itself")
        if pattern[at] == "]" and not first:
            break
        first = False
        low = pattern[at]
        at += 1
        if low == "\\" and at < len(pattern):
            low = pattern[at]
            at += 1
        high = low
        if at + 1 < len(pattern) and pattern[at] == "-" and pattern[at + 1] != "]":
            high = pattern[at + 1]
            at += 2
        members.append((low, high))
    wide = [pair for pair in members if max(pair) > "\x7f"]
    if wide and (negated or any(low != high for low, high in wide)):
        raise InvalidArgument(f"glob {pattern!r}: only single characters beyond ASCII can stand in brackets")
    if any(low > high for low, high in members):
        raise InvalidArgument(f"glob {pattern!r}: a range in brackets runs backwards")
    narrow = b"".join(_range(ord(low), ord(high)) for low, high in members if high <= "\x7f")
    if negated:
        return b"[^" + narrow + b"]", at + 1
    options = [b"[" + narrow + b"]"] if narrow else []
    options += [fixed(low) for low, _ in wide]
    return b"(?:" + b"|".join(options) + b")", at + 1


def _range(low: int, high: int) -> bytes:
    return b"\\x%02x" % low if low == high else b"\\x%02x-\\x%02x" % (low, high)


# -------------------------------------------------------------------------------------- regular expressions


def regex(text: str | bytes, what: str = "regular expression") -> bytes:
    """The expression in the common form.

    Allowed: literals, `.`, `^`, `$`, `|`, groups `(...)`, `(?:...)`, `(?P<name>...)`, classes, `\\d \\w \\s` and
    their opposites, `\\b`, `\\xNN`, `\\t \\n \\r \\f \\v`, `* + ? {m} {m,} {,n} {m,n}`, also lazy. Letters are those
    of ASCII, and `.` is a byte.

    Raises `InvalidArgument`, beginning with `what`, for anything else and for what is no regular expression at all.
    """
    source = text.decode("utf-8", "surrogateescape") if isinstance(text, bytes) else text
    raw = source.encode("utf-8", "surrogateescape")
    refuse = _Refusal(what, source)
    # The subset first: its messages tell more than `re`'s about what other engines know and this one refuses.
    pattern = _Reader(source, refuse).read()
    try:
        re.compile(raw)
        re.compile(pattern)
    except (re.error, OverflowError, RecursionError) as error:
        raise refuse(f"is not valid: {error}") from error
    return pattern


class _Refusal:
    def __init__(self, what: str, source: str) -> None:
        self.what, self.source = what, source

    def __call__(self, why: str) -> InvalidArgument:
        return InvalidArgument(f"{self.what} {self.source!r} {why}")


_CLASSES = {
    "d": rb"0-9",
    "w": rb"0-9A-Za-z_",
    "s": rb"\x09-\x0d\x20",
    "D": rb"\x00-\x2f\x3a-\xff",
    "W": rb"\x00-\x2f\x3a-\x40\x5b-\x5e\x60\x7b-\xff",
    "S": rb"\x00-\x08\x0e-\x1f\x21-\xff",
}
_CONTROLS = {"t": 9, "n": 10, "v": 11, "f": 12, "r": 13, "a": 7}
_GROUP = re.compile(r"\(\?(?::|P<[A-Za-z_][A-Za-z0-9_]*>)")
_REPEAT = re.compile(r"\{(?:([0-9]+)(,([0-9]*))?|,([0-9]+))\}")


class _Reader:
    """Reads an expression once, from left to right, and writes it in the common form."""

    def __init__(self, source: str, refuse: _Refusal) -> None:
        self.source, self.refuse, self.at = source, refuse, 0
        self.out: list[bytes] = []

    def read(self) -> bytes:
        while self.at < len(self.source):
            char = self.source[self.at]
            if char == "(":
                self._group()
            elif char == "[":
                self._class()
            elif char == "\\":
                self._escape()
            elif char in "*+?":
                self.at += 1
                self._repeat(char.encode())
            elif char == "{" and (found := _REPEAT.match(self.source, self.at)) is not None:
                self.at = found.end()
                self._repeat(self._bounds(found))
            elif char in "^$|)":
                self.at += 1
                self.out.append(char.encode())
            elif char == ".":
                self.at += 1
                self.out.append(rb"[^\x0a]")
            else:
                self.at += 1
                literal = fixed(char)
                # A character of several bytes is repeated as a whole.
                self.out.append(b"(?:" + literal + b")" if char > "\x7f" and len(literal) > 4 else literal)
        return b"".join(self.out)

    def _group(self) -> None:
        if not self.source.startswith("(?", self.at):
            self.at += 1
            self.out.append(b"(")
            return
        found = _GROUP.match(self.source, self.at)
        if found is None:
            names = {
                "(?=": "look-ahead", "(?!": "look-ahead", "(?<": "look-behind", "(?>": "an atomic group",
                "(?#": "a comment", "(?(": "a condition", "(?P": "a back reference",
            }  # fmt: skip
            name = names.get(self.source[self.at : self.at + 3], "flags inside the expression")
            raise self.refuse(f"uses {name} at character {self.at + 1}, which not both engines know")
        self.out.append(found[0].encode())
        self.at = found.end()

    def _bounds(self, found: re.Match[str]) -> bytes:
        low, comma, high, only_high = found.groups()
        least, most = int(low or 0), high if only_high is None else only_high
        if max(least, int(most or 0)) > _MAX_REPEAT:
            raise self.refuse(f"repeats more than {_MAX_REPEAT} times at character {self.at}")
        if most:
            return b"{%d,%d}" % (least, int(most))
        return b"{%d,}" % least if comma else b"{%d}" % least

    def _repeat(self, mark: bytes) -> None:
        if self.source.startswith("+", self.at):
            raise self.refuse(f"uses a possessive repetition at character {self.at + 1}, which not both engines know")
        lazy = self.source.startswith("?", self.at)
        self.at += lazy
        self.out.append(mark + b"?" * lazy)

    def _escape(self) -> None:
        at = self.at
        part, byte = self._escaped()
        if byte is not None:
            self.out.append(b"\\x%02x" % byte)
        elif part == "b":
            self.out.append(rb"\b")
        elif part == "A":
            self.out.append(b"^")
        elif part in _CLASSES:
            self.out.append(b"[" + _CLASSES[part] + b"]")
        elif part.isdigit():
            raise self.refuse(f"uses a back reference at character {at + 1}, which not both engines know")
        else:
            raise self.refuse(f"uses \\{part} at character {at + 1}, which the engines do not read alike")

    def _escaped(self) -> tuple[str, int | None]:
        """What follows a backslash: its letter, and the byte it stands for, if it does."""
        part = self.source[self.at + 1 : self.at + 2]
        if not part:
            raise self.refuse("ends in a single backslash")
        if part == "x":
            digits = self.source[self.at + 2 : self.at + 4]
            if not re.fullmatch("[0-9A-Fa-f]{2}", digits):
                raise self.refuse(f"has \\x without two hexadecimal digits at character {self.at + 1}")
            self.at += 4
            return part, int(digits, 16)
        self.at += 2
        if part in _CONTROLS:
            return part, _CONTROLS[part]
        if part > "\x7f":
            raise self.refuse(f"has a backslash before {part!r}; leave it away")
        return part, None if part.isalnum() or part == "_" else ord(part)

    def _class(self) -> None:
        begin = self.at + 1
        self.at += 1
        negated = self.source.startswith("^", self.at)
        self.at += negated
        members: list[bytes] = []
        first = True
        while first or not self.source.startswith("]", self.at):
            first = False
            low = self._class_member(begin)
            if isinstance(low, bytes):
                members.append(low)
                continue
            high: int | bytes = low
            if self.source.startswith("-", self.at) and not self.source.startswith("-]", self.at):
                self.at += 1
                high = self._class_member(begin)
            if isinstance(high, bytes) or high < low:
                raise self.refuse(f"has a range that is none in the class at character {begin}")
            members.append(_range(low, high))
        self.at += 1
        self.out.append((b"[^" if negated else b"[") + b"".join(members) + b"]")

    def _class_member(self, begin: int) -> int | bytes:
        """A byte, or the inside of a class."""
        if self.at >= len(self.source):
            raise self.refuse(f"has a class without end at character {begin}")
        char = self.source[self.at]
        if char == "\\":
            part, byte = self._escaped()
            if byte is not None:
                return byte
            if part in _CLASSES:
                return _CLASSES[part]
            raise self.refuse(f"uses \\{part} in the class at character {begin}, which the engines do not read alike")
        if char > "\x7f":
            raise self.refuse(f"has {char!r} in the class at character {begin}; write (?:a|b) beyond ASCII")
        self.at += 1
        return ord(char)
