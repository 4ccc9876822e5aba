"""The SHA-256 of values: different for different ones, the same in every process for the same."""

from __future__ import annotations

import collections
import datetime
import enum
import functools
import hashlib
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy
import pandas
import pytest

from runark.errors import InvalidArgument
from runark.session.fingerprint import fingerprint


class Colour(enum.Enum):
    RED = 1
    BLUE = 2


@dataclass
class Point:
    x: Any
    y: Any = 0


class Node:
    def __init__(self, name: str) -> None:
        self.name, self.children, self.parent = name, list[Node](), self

    def add(self, name: str) -> Node:
        self.children.append(Node(name))
        self.children[-1].parent = self
        return self


def frame(*values: Any, **options: Any) -> pandas.DataFrame:
    return pandas.DataFrame({"a": pandas.Series(values, **options)})


DIFFERENT: list[tuple[Any, Any]] = [
    (numpy.zeros(4, dtype="int32"), numpy.zeros(2, dtype="int64")),
    (numpy.zeros((2, 3)), numpy.zeros((3, 2))),
    (numpy.arange(4), numpy.arange(4)[::-1]),
    (numpy.array([0.0]), numpy.array([-0.0])),
    (numpy.array(["2020"], "M8[D]"), numpy.array(["2021"], "M8[D]")),
    (numpy.array([], "f8"), numpy.array([], "f4")),
    (numpy.array([1, "1"], object), numpy.array([1, 1], object)),
    (numpy.array([(1, 2.0)], "i4,f8"), numpy.array([(1, 3.0)], "i4,f8")),
    (numpy.longdouble(1) / 3, numpy.longdouble(1 / 3)),
    (numpy.ma.array([1, 999999], mask=[0, 1]), numpy.ma.array([1, 999999])),
    (numpy.float64(1), 1.0),
    (numpy.float32(1), numpy.float64(1)),
    ([1, 2], [12]),
    ([1, [2]], [[1], 2]),
    ([1, 2], (1, 2)),
    ([], [[]]),
    (["a", "b"], ["ab", ""]),
    ({"a": 1}, {"a": 1.0}),
    ({"a": 1, "b": 2}, {"a": 2, "b": 1}),
    ({1, 2}, frozenset({1, 2})),
    ({1, 2}, {1, 3}),
    ("1", 1),
    ("1", b"1"),
    (b"1", bytearray(b"1")),
    (True, 1),
    (None, False),
    (None, ()),
    (0.1, 0.1 + 2**-56),
    (10**5000, 10**5000 + 1),
    ("\ud800", "?"),
    (frame(1, 2), frame(1, 3)),
    (frame("x", ""), frame("x", None)),
    (frame(1, "1", dtype=object), frame(1, 1, dtype=object)),
    (frame(1, 2), frame(1.0, 2.0)),
    (frame(1, 2), frame(1, 2)["a"]),
    (frame(1, 2), frame(1, 2).rename(columns={"a": "b"})),
    (frame(1, 2), frame(1, 2).set_index(pandas.Index([1, 2]))),
    (frame("x", "y", dtype="category"), frame("y", "x", dtype="category")),
    (frame(1, 2), pandas.DataFrame({"a": [1, 2], "b": [1, 2]})),
    (pandas.Index([1, 2]), pandas.Index([2, 1])),
    (pandas.Index([1, 2], name="a"), pandas.Index([1, 2], name="b")),
    (pandas.MultiIndex.from_tuples([(1, 2)]), pandas.MultiIndex.from_tuples([(1, 3)])),
    (frame(pandas.Timestamp("2020-01-01")), frame(pandas.Timestamp("2020-01-01", tz="UTC"))),
    (Point(1), Point(2)),
    (Colour.RED, Colour.BLUE),
    (Path("a"), Path("b")),
    (datetime.date(2020, 1, 1), datetime.date(2020, 1, 2)),
    (re.compile("a"), re.compile("a", re.I)),
    (collections.deque([1, 2]), collections.deque([2, 1])),
    (functools.partial(fingerprint, 1), functools.partial(fingerprint, 2)),
    (len, max),
    (fingerprint, pytest.raises),
    (Node("a").add("b"), Node("a").add("c")),
    (numpy.random.default_rng(1), numpy.random.default_rng(2)),
    (range(3), range(4)),
]


@pytest.mark.parametrize(("one", "other"), DIFFERENT, ids=range(len(DIFFERENT)))
def test_different(one: Any, other: Any) -> None:
    assert fingerprint(one) == fingerprint(one)
    assert fingerprint(other) == fingerprint(other)
    assert fingerprint(one) != fingerprint(other)


def padded(gap: bytes) -> Any:
    """Two fields with four bytes between them that belong to neither."""
    kind = numpy.dtype({"names": ["a", "b"], "formats": ["i4", "i4"], "offsets": [0, 8]})
    return numpy.frombuffer(b"\1\0\0\0" + gap + b"\2\0\0\0", dtype=kind)


def itself() -> list[Any]:
    found: list[Any] = [1]
    found.append(found)
    return found


def long_double(behind: int) -> Any:
    array = numpy.zeros(1, "longdouble")
    array.view("u1")[10:] = behind
    return array


SAME: list[tuple[Any, Any]] = [
    ({"a": 1, "b": 2}, {"b": 2, "a": 1}),
    (numpy.arange(6).reshape(2, 3).T, numpy.array([[0, 3], [1, 4], [2, 5]])),
    (numpy.arange(6)[::2], numpy.array([0, 2, 4])),
    (padded(b"1234"), padded(b"5678")),
    (long_double(0), long_double(7)),
    (numpy.array([Point(1)], object), numpy.array([Point(1)], object)),
    (numpy.array([1, 2, 3], "i8"), numpy.frombuffer(numpy.array([1, 2, 3], "i8").tobytes(), "i8")),
    (numpy.ma.array([1, 2], mask=[0, 1]), numpy.ma.array([1, 3], mask=[0, 1])),
    (frame(1, 2, 3).iloc[::2], pandas.DataFrame({"a": [1, 3]}, index=[0, 2])),
    (itself(), itself()),
    ([Point("ab")] * 2, [Point("ab"), Point("".join(["a", "b"]))]),
    (Node("a").add("b"), Node("a").add("b")),
    (collections.OrderedDict(a=1), collections.OrderedDict(a=1)),
]


@pytest.mark.parametrize(("one", "other"), SAME, ids=range(len(SAME)))
def test_same(one: Any, other: Any) -> None:
    assert fingerprint(one) == fingerprint(other)


ELSEWHERE = """
from runark.session.fingerprint import fingerprint
class Thing: pass
thing = Thing()
thing.names = {"a", "b", "c", "dd", "ee", None, 1, (2, 3), frozenset("xyz")}
thing.table = {name: 1 for name in thing.names}
print(fingerprint([thing, Thing, {"x": {"y", "z"}}]))
"""


def test_the_same_in_every_process() -> None:
    found = {
        subprocess.run(
            [sys.executable, "-c", ELSEWHERE],
            env={**os.environ, "PYTHONHASHSEED": seed},
            check=True,
            stdout=subprocess.PIPE,
        ).stdout
        for seed in "0123"
    }
    assert len(found) == 1


def test_what_is_hashed() -> None:
    """Noted fingerprints are compared by later versions: a change here makes all of them differ."""

    def sha256(data: bytes) -> Any:
        return hashlib.sha256(data)

    assert fingerprint(None) == sha256(b"NoneType 4\nNone").hexdigest()
    array = numpy.arange(3, dtype="<i4")
    assert fingerprint(array) == sha256(b"numpy.ndarray 10\nint32 (3,)" + array.tobytes()).hexdigest()
    assert fingerprint(numpy.bool_(True)) == sha256(b"numpy.generic 7\nbool ()\1").hexdigest()
    item = b"builtins.tuple 1\n2" + b"str 1\na" + b"builtins.list 1\n3" + b"int 2\nff" + b"float 3\n0.5" + b"str 1\nx"
    assert fingerprint({"a": [255, 0.5, "x"]}) == sha256(b"builtins.dict 32\n" + sha256(item).digest()).hexdigest()


@pytest.mark.parametrize("value", [lambda: 1, (i for i in "abc"), sys, sys._getframe(), memoryview(b"a")])
def test_what_has_no_value(value: Any) -> None:
    with pytest.raises(InvalidArgument, match="cannot be compared"):
        fingerprint([value])


def test_too_deep() -> None:
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises(InvalidArgument, match="nested too deeply"):
        fingerprint(deep)
    while deep:  # taking it apart at once needs the depth too
        deep = deep.pop()
