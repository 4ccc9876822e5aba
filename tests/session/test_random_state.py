"""Seeds and named generators."""

from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy
import pandas
import pytest

import runark.repro
from runark.errors import InvalidArgument, OperationFailed
from runark.session.random_state import RandomStateManager


@pytest.fixture
def rngg(tmp_path: Path) -> Any:
    manager = RandomStateManager(42, cache=tmp_path / "rng")
    yield manager
    manager.put_back()


def test_names_do_not_depend_on_order(tmp_path: Path) -> None:
    a, b = RandomStateManager(1, cache=tmp_path), RandomStateManager(1, cache=tmp_path)
    first = a("x").random(3), a("y").random(3)
    second = b("y").random(3), b("x").random(3)
    assert (first[0] == second[1]).all() and (first[1] == second[0]).all()
    assert (first[0] != first[1]).all()
    assert (RandomStateManager(2)("x").random(3) != first[0]).all()
    assert a("x") is a.get_np_generator("x") is a.get_generator("x")
    assert 0 <= a.get_sklearn_random_state("x") < 2**32
    assert a.get_sklearn_random_state("x") == b.get_sklearn_random_state("x") != a.get_sklearn_random_state("y")
    for manager in (b, a):
        manager.put_back()


def test_global_generators_are_seeded_and_put_back() -> None:
    random.seed(7), numpy.random.seed(7)
    expected = random.random(), numpy.random.random()
    random.seed(7), numpy.random.seed(7)
    finders = sys.meta_path[:]
    manager = RandomStateManager(42)
    inside = random.random(), numpy.random.random()
    again = RandomStateManager(42)
    assert (random.random(), numpy.random.random()) == inside
    again.put_back()
    manager.put_back()
    assert (random.random(), numpy.random.random()) == expected
    assert sys.meta_path == finders


LATER = """
import sys
from runark.session.random_state import RandomStateManager
manager = RandomStateManager(42)
assert "numpy" not in sys.modules, "nothing is imported for it"
import numpy
print(numpy.random.random())
manager.put_back()
import importlib, numpy.linalg
"""


def test_numpy_is_seeded_when_it_is_loaded() -> None:
    numbers = {
        subprocess.run([sys.executable, "-c", LATER], check=True, capture_output=True, text=True).stdout
        for _ in range(2)
    }
    assert numbers == {f"{numpy.random.RandomState(42).random_sample()}\n"}


def test_temporary_seed(rngg: RandomStateManager) -> None:
    state = random.getstate()
    with pytest.raises(KeyError), rngg.temporary_seed(5):
        first = random.random(), numpy.random.random()
        raise KeyError
    assert random.getstate() == state
    with rngg.temporary_seed(5):
        assert (random.random(), numpy.random.random()) == first


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (numpy.zeros(4, dtype="int32"), numpy.zeros(2, dtype="int64")),
        (numpy.zeros((2, 3)), numpy.zeros((3, 2))),
        ([1, 2], [12]),
        ([1, [2]], [[1], 2]),
        ({"a": 1}, {"a": 1.0}),
        ("1", 1),
        (pandas.DataFrame({"a": [1, 2]}), pandas.DataFrame({"a": [1, 3]})),
        (None, False),
    ],
)
def test_verify(rngg: RandomStateManager, one: Any, other: Any) -> None:
    assert rngg.verify(one, "thing")
    assert rngg.verify(one, "thing")
    assert not rngg.verify(other, "thing", verbose=False)
    with pytest.raises(ValueError, match=r"thing\.json"):
        rngg.verify(other, "thing")
    assert rngg.verify(one), "the place of the call is its name"


def test_checkpoint(rngg: RandomStateManager) -> None:
    generator = rngg("a")
    generator.random(5)
    path = rngg.checkpoint("here")
    expected = generator.random(3), rngg("b").random(), random.random(), numpy.random.random()
    rngg.restore(path)
    assert (generator.random(3) == expected[0]).all(), "whoever holds it goes on from there"
    assert (rngg("a").bit_generator.state == generator.bit_generator.state) and random.random() == expected[2]
    assert numpy.random.random() == expected[3]
    path.write_text('{"seed": 1}')
    with pytest.raises(InvalidArgument, match="not a checkpoint"):
        rngg.restore(path)
    path.write_text("{")
    with pytest.raises(InvalidArgument, match="remove it"):
        rngg.restore(path)
    with pytest.raises(OperationFailed):
        rngg.restore(path.with_name("nowhere"))


def test_cache(rngg: RandomStateManager) -> None:
    for name in ("a1", "a2", "b"):
        rngg.verify(1, name)
    rngg.checkpoint("c")
    assert rngg.clear_cache("a*") == 2
    assert rngg.clear_cache(["nothing"]) == 0
    assert rngg.clear_cache() == 2
    for wrong in ("", "a/b", ".x", "x" * 300):
        with pytest.raises(InvalidArgument):
            rngg.verify(1, wrong)


@pytest.mark.parametrize("seed", [-1, "x", None, True])
def test_bad_seeds(seed: Any) -> None:
    before = sys.meta_path[:]
    with pytest.raises(InvalidArgument, match="seed="):
        RandomStateManager(seed)
    assert sys.meta_path == before


def test_repro() -> None:
    manager = runark.repro.fix_seeds(seed=3)
    try:
        assert runark.repro.get() is manager and manager.seed == 3
        assert runark.repro.reset(4).seed == runark.repro.get().seed == 4
    finally:
        runark.repro.get().put_back()
