"""Globs and regular expressions in the form both engines read alike."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runark.errors import InvalidArgument
from runark.patterns import compile_name, fixed, glob, regex


def matches(pattern: bytes, name: bytes) -> bool:
    return compile_name(pattern).search(name) is not None


@pytest.mark.parametrize(
    ("text", "yes", "no"),
    [
        ("2026Y-02M-*", [b"2026Y-02M-13D", b"2026Y-02M-"], [b"x2026Y-02M-13D", b"2026Y-03M-"]),
        ("a*z", [b"az", b"a\nz", b"a\xff/z".replace(b"/", b""), b"a.z"], [b"azz\n", b"az\n"]),
        ("a?c", [b"abc", "aéc".encode(), b"a\xffc", b"a\nc"], [b"ac", b"abbc"]),
        ("[a-c]x", [b"ax", b"cx"], [b"dx", b"-x"]),
        ("[!a-c]x", [b"dx", b"\xffx"], [b"ax"]),
        ("[]a]", [b"]", b"a"], [b"b"]),
        ("[a-]", [b"a", b"-"], [b"b"]),
        ("[é1]", ["é".encode(), b"1"], [b"2", b"\xc3"]),
        ("{a,b{1,2}}.d", [b"a.d", b"b1.d", b"b2.d"], [b"b.d", b"axd"]),
        (r"\*\{", [b"*{"], [b"x{"]),
        ("a.b$", [b"a.b$"], [b"axb$", b"a.b"]),
        ("}", [b"}"], [b"{"]),
        ("", [b""], [b"a"]),
    ],
)
def test_globs(text: str, yes: list[bytes], no: list[bytes]) -> None:
    pattern = glob(text)
    assert all(matches(pattern, name) for name in yes)
    assert not any(matches(pattern, name) for name in no)


@pytest.mark.parametrize("text", ["a/b", "[a", "{a", "a\\", "[c-a]", "[!é]", "[à-é]"])
def test_refused_globs(text: str) -> None:
    with pytest.raises(InvalidArgument, match="glob"):
        glob(text)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        (r"^trial-\d+$", b"trial-12"),
        (r"(?P<a>x|y){2,}", b"xyx"),
        (r"a{,2}b", b"b"),
        (r"a{x}", b"a{x}"),
        (r"[\d.-]+é?", "1.2-é".encode()),
        (r"[^\w\s]", b"-"),
        (r"[\x41-\x43]\t\.", b"B\t."),
        (r"\bfoo\b", b"a foo b"),
        (r"a.c", b"a\xffc"),
        (r"a*?b+?c??", b"b"),
        (r"[]^]", b"^"),
        (r"\Aa", b"ab"),
    ],
)
def test_expressions(text: str, name: bytes) -> None:
    pattern = regex(text)
    assert pattern.isascii()
    assert matches(pattern, name)


@pytest.mark.parametrize(
    "text",
    [
        *("(?=a)", "(?!a)", "(?<=a)b", "(?<!a)b", "(?>a)", "(?i)a", "(?i:a)", "(?#x)", "(a)(?(1)b)", "(?P<a>x)(?P=a)"),
        *(r"(a)\1", r"\0", "a++", "a*+", "a?+", "a{2}+", r"\Z", r"\z", r"\B", r"\p", r"\u0041", r"\x4", r"\é", "\\"),
        *("[a", "(", ")", "*", "a**", "a{3,2}", "a{1001}", "[z-a]", r"[a-\d]", r"[\b]", "[é]"),
    ],
)
def test_refused_expressions(text: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        regex(text, "--regex")
    assert repr(text) in str(caught.value) and str(caught.value).startswith("--regex")


def test_the_end_is_the_very_end() -> None:
    assert not matches(regex("a$"), b"a\n")
    assert matches(regex(r"a\$"), b"a$b")


@given(st.binary(min_size=1, max_size=30))
def test_fixed_text_is_found_and_nothing_else_is_meant(name: bytes) -> None:
    pattern = fixed(name)
    assert pattern.isascii()
    found = re.search(pattern, b"<" + name + b">")
    assert found is not None and found[0] == name


@given(st.text(alphabet="ab.-[]{}()*+?^$|\\d1é\n", max_size=12))
def test_what_is_accepted_means_the_same_as_in_python(text: str) -> None:
    try:
        pattern = regex(text)
    except InvalidArgument:
        return
    theirs = re.compile(text.encode().replace(b"$", rb"\Z"))
    # `é*` repeats a character here and the last byte of it there, and `\$` is no end: compare what is free of both.
    if "é" in text or "$" in text:
        return
    for name in (b"", b"a", b"ab", b"a.b", b"-1", b"aab\n", b"[a]", b"b1ad"):
        assert bool(theirs.search(name)) == matches(pattern, name), (pattern, name)
