"""Seeds and named generators."""

from __future__ import annotations

import json
import pickle
import random
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy
import pytest

import runark.repro
from runark.errors import InvalidArgument, OperationFailed
from runark.session.random_state import RandomStateManager
from support.runs import Runner


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


def script(text: str, directory: Path, *arguments: str) -> str:
    """What a script in a process of its own prints."""
    (directory / "script.py").write_text(text)
    command = [sys.executable, "script.py", *arguments]
    return subprocess.run(command, cwd=directory, check=True, stdout=subprocess.PIPE, text=True, timeout=60).stdout


LATER = """
import importlib.util, sys
from runark.session.random_state import RandomStateManager
first = RandomStateManager(1)
manager = RandomStateManager(42)
assert "numpy" not in sys.modules, "nothing is imported for it"
assert importlib.util.find_spec("numpy.random").loader.get_filename("numpy.random").endswith("__init__.py")
import numpy.random
print(numpy.random.random())
loader = type(numpy.linalg.__loader__)
assert type(numpy.random.__loader__) is type(numpy.random.__spec__.loader) is loader, "it has its own loader again"
manager.put_back()
print(numpy.random.random())
first.put_back()
import importlib
importlib.reload(numpy.random)
assert not [finder for finder in sys.meta_path if type(finder).__module__.startswith("runark")]
"""


def test_numpy_is_seeded_when_it_is_loaded(tmp_path: Path) -> None:
    expected = [numpy.random.RandomState(seed).random_sample() for seed in (42, 1)]
    assert script(LATER, tmp_path) == "{}\n{}\n".format(*expected)


TORCH = """
import random, numpy
uint8 = "torch.uint8"
class tensor(list):
    dtype, shape = uint8, (2496,)
    def __init__(self, items, dtype=uint8): super().__init__(items)
    def tolist(self): return list(self)
class Generator:
    def __init__(self): self.numbers = numpy.random.RandomState()
    def manual_seed(self, seed): self.numbers = numpy.random.RandomState(numpy.random.MT19937(seed))
    def get_state(self):
        _, key, at, *_ = self.numbers.get_state()
        return tensor(str(at).encode() + key.tobytes())
    def set_state(self, state):
        at, key = bytes(state)[:-2496], bytes(state)[-2496:]
        self.numbers.set_state(("MT19937", numpy.frombuffer(key, "u4"), int(at)))
cpu, gpu = Generator(), Generator()
def manual_seed(seed):
    assert 0 <= seed < 2**64
    cpu.manual_seed(seed), gpu.manual_seed(seed)
get_rng_state, set_rng_state = cpu.get_state, cpu.set_state
class cuda:
    def is_initialized(): return True
    def get_rng_state_all(): return [gpu.get_state()]
    def set_rng_state_all(states): gpu.set_state(*states)
def rand(generator=cpu): return generator.numbers.random_sample()
"""

WITH_TORCH = """
import sys
from runark.session.random_state import RandomStateManager
manager = RandomStateManager(2**70 + 5, cache="rng")
assert "torch" not in sys.modules
early = manager.checkpoint("early")
import torch
first = torch.rand(), torch.rand(torch.gpu)
named = manager.get_torch_generator("a")
torch.rand(named)
path = manager.checkpoint("here")
def draw():
    return torch.rand(), torch.rand(torch.gpu), torch.rand(named), torch.rand(manager.get_torch_generator("b"))
expected = draw()
manager.restore(path)
assert draw() == expected
with manager.temporary_seed(9):
    inside = draw()[:2]
    assert inside[0] == inside[1] != expected[0]
manager.restore(path)
with manager.temporary_seed(9):
    assert draw()[:2] == inside
assert draw()[:2] == expected[:2], "goes on as before"
manager.restore(early)
assert (torch.rand(), torch.rand(torch.gpu)) == first, "not used by then: begins at the seed"
manager.put_back()
assert torch.rand() != first[0]
"""


def test_torch(tmp_path: Path) -> None:
    (tmp_path / "torch.py").write_text(TORCH)
    script(WITH_TORCH, tmp_path)


BROKEN = """
import sys
from runark.session.random_state import RandomStateManager
manager = RandomStateManager()
for attempt in (1, 2):
    try:
        import torch
    except ValueError as error:
        print(error)
torch_again = open("torch.py", "w").write("VALUE = 5")
import importlib; importlib.invalidate_caches()
import torch
print(torch.VALUE)
manager.put_back()
"""


def test_an_import_never_fails_for_it(tmp_path: Path) -> None:
    (tmp_path / "torch.py").write_text("raise ValueError('as it would without')")
    assert script(BROKEN, tmp_path) == "as it would without\n" * 2 + "5\n"


def test_an_exchanged_bit_generator_is_put_back() -> None:
    numpy.random.seed(7)
    expected = numpy.random.random()
    numpy.random.seed(7)
    manager = RandomStateManager(42)
    numpy.random.set_bit_generator(numpy.random.PCG64(1))
    again = RandomStateManager(42)
    inside = numpy.random.random()
    again.put_back()
    assert inside == numpy.random.RandomState(42).random_sample()
    assert numpy.random.random() == numpy.random.RandomState(numpy.random.PCG64(1)).random_sample()
    manager.put_back()
    assert numpy.random.random() == expected


def test_a_child_process_gets_a_copy(rngg: RandomStateManager) -> None:
    rngg("a").random()
    copy = pickle.loads(pickle.dumps(rngg))
    assert copy("a").random() == rngg("a").random()
    assert copy("b").random() == rngg("b").random()


def test_temporary_seed(rngg: RandomStateManager) -> None:
    state = random.getstate()
    with pytest.raises(KeyError), rngg.temporary_seed(5):
        first = random.random(), numpy.random.random()
        raise KeyError
    assert random.getstate() == state
    with rngg.temporary_seed(5):
        assert (random.random(), numpy.random.random()) == first
    state = random.getstate()
    for wrong in ("x", -1, None, 1.5):
        with pytest.raises(InvalidArgument, match="seed="), rngg.temporary_seed(wrong):  # type: ignore[arg-type]
            pass
        assert random.getstate() == state


def test_verify(rngg: RandomStateManager) -> None:
    assert rngg.verify(numpy.zeros(4), "thing")
    assert rngg.verify(numpy.zeros(4), "thing")
    assert not rngg.verify(numpy.ones(4), "thing", verbose=False)
    with pytest.raises(ValueError, match=r"seed 42 then, 42 now.*thing\.json"):
        rngg.verify(numpy.ones(4), "thing")
    for wrong in ("{", "[]", '{"mine": 1}'):
        path = rngg.cache / "thing.json"
        path.write_text(wrong)
        with pytest.raises(InvalidArgument, match=r"thing\.json: not what .*remove it"):
            rngg.verify(numpy.ones(4), "thing")
        assert path.read_text() == wrong


PLACE = """
import sys
from runark.session.random_state import RandomStateManager
print(RandomStateManager(cache=sys.argv[1]).verify(sys.argv[2], verbose=False))
"""


def test_the_place_of_the_call_is_a_name(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    cache = str(tmp_path / "rng")
    calls = [("a", "1", True), ("a", "1", True), ("a", "2", False), ("b", "2", True), ("b", "1", False)]
    for name, value, same in calls:
        assert script(PLACE, tmp_path / name, cache, value) == f"{same}\n"
    moved = tmp_path.with_name(tmp_path.name + " moved")
    tmp_path.rename(moved)
    assert script(PLACE, moved / "a", str(moved / "rng"), "2") == "False\n", "where the project lies does not count"
    with pytest.raises(subprocess.CalledProcessError):
        subprocess.run([sys.executable, "-c", PLACE, cache, "1"], check=True, stderr=subprocess.PIPE, text=True)


def test_checkpoint(rngg: RandomStateManager) -> None:
    generator = rngg("a")
    generator.random(5)
    path = rngg.checkpoint("here")
    expected = generator.random(3), rngg("b").random(), random.random(), numpy.random.random()
    rngg.restore(path)
    assert (generator.random(3) == expected[0]).all(), "whoever holds it goes on from there"
    assert (rngg("a").bit_generator.state == generator.bit_generator.state) and random.random() == expected[2]
    assert numpy.random.random() == expected[3]
    assert rngg("b").random() == expected[1], "not used by then: begins at the seed"
    other = RandomStateManager(7)
    other.restore(path)
    assert other.seed == 42 and (other("a").random(3) == expected[0]).all() and random.random() == expected[2]
    other.put_back()


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("seed", -1, "not a checkpoint"),
        ("generators", {"a": {"bit_generator": "PCG64"}}, "not a checkpoint"),
        ("generators", {"a": 1}, "not a checkpoint"),
        ("generators", None, "not a checkpoint"),
        ("global", {}, "not a checkpoint"),
        ("global", {"random": [3, [1, 2], None]}, "not a checkpoint"),
        ("numpy.random", {"bit_generator": "seed"}, "not a checkpoint"),
        ("numpy.random", {"bit_generator": "Generator"}, "not a checkpoint"),
        ("numpy.random", {"bit_generator": "MT19937", "state": {}}, "not a checkpoint"),
        (None, "", "remove it"),
        (None, "{", "remove it"),
        (None, "[]", "remove it"),
    ],
)
def test_a_broken_checkpoint_changes_nothing(rngg: RandomStateManager, key: str, value: Any, message: str) -> None:
    rngg("a").random()
    path = rngg.checkpoint("here")
    if key is None:
        path.write_text(value)
    else:
        kept = json.loads(path.read_text())
        (kept["global"] if key == "numpy.random" else kept)[key] = value
        path.write_text(json.dumps(kept))

    def state() -> str:
        found = rngg("a").bit_generator.state, rngg.seed, random.getstate(), numpy.random.get_state()[1].tolist()
        return repr(found)

    random.random(), numpy.random.random(), rngg("a").random()
    before = state()
    with pytest.raises(InvalidArgument, match=message):
        rngg.restore(path)
    assert state() == before


def test_a_checkpoint_that_cannot_be_read_or_written(rngg: RandomStateManager) -> None:
    with pytest.raises(OperationFailed, match="no such checkpoint"):
        rngg.restore(rngg.cache / "nowhere")
    rngg.cache.write_text("")
    with pytest.raises(OperationFailed, match="rng"):
        rngg.checkpoint("here")


def test_checkpoints_of_many_threads(rngg: RandomStateManager) -> None:
    with ThreadPoolExecutor(8) as pool:
        paths = list(pool.map(lambda _: rngg.checkpoint("here"), range(200)))
    assert {path.name for path in rngg.cache.iterdir()} == {paths[0].name}
    rngg.restore(paths[0])


def test_cache(rngg: RandomStateManager) -> None:
    for name in ("a1", "a2", "b"):
        rngg.verify(1, name)
    rngg.checkpoint("c")
    for name, text in (("mine", '{"name": 1}'), ("broken", "{")):
        (rngg.cache / f"{name}.json").write_text(text)
    assert rngg.clear_cache("a*") == 2
    assert rngg.clear_cache(["nothing"]) == 0
    assert rngg.clear_cache() == 2
    assert {path.name for path in rngg.cache.iterdir()} == {"mine.json", "broken.json"}, "not what verify wrote"
    for wrong in ("", "a/b", ".x", "x" * 300, "c.checkpoint", 3):
        with pytest.raises(InvalidArgument, match="name"):
            rngg.verify(1, wrong)  # type: ignore[arg-type]
    with pytest.raises(InvalidArgument, match="name 3"):
        rngg(3)  # type: ignore[arg-type]


@pytest.mark.parametrize("seed", [-1, "x", "7", 42.5, None, True])
def test_bad_seeds(seed: Any) -> None:
    before = sys.meta_path[:]
    with pytest.raises(InvalidArgument, match="seed="):
        RandomStateManager(seed)
    assert sys.meta_path == before


def test_repro() -> None:
    before = sys.meta_path[:]
    manager = runark.repro.fix_seeds(seed=3)
    try:
        assert runark.repro.get() is manager and manager.seed == 3
        first = random.random(), numpy.random.random(), manager("a").random()
        assert runark.repro.reset(3) is manager
        assert (random.random(), numpy.random.random(), manager("a").random()) == first
        assert runark.repro.fix_seeds(numpy.int64(4)).seed == runark.repro.get().seed == 4
        assert runark.repro.fix_seeds(random, numpy, seed=5, fix_torch=False).seed == 5
        with pytest.raises(InvalidArgument):
            runark.repro.reset(-1)
        assert manager.seed == 5
    finally:
        manager.put_back()
    assert sys.meta_path == before


def test_seeds_within_a_session(run: Runner) -> None:
    ended = run(
        """
        import random, sys
        import runark as stx
        before = random.getstate(), sys.meta_path[:]

        @stx.session
        def main(rngg=stx.INJECTED):
            random.random()
            assert stx.repro.get() is rngg is stx.repro.fix_seeds(7) is stx.repro.get()
            assert rngg.seed == 7 and random.random() == random.Random(7).random()
            import numpy
            assert numpy.random.random() == numpy.random.RandomState(7).random_sample()
            numpy.random.set_bit_generator(numpy.random.PCG64(1))

        try:
            main()
        except SystemExit as ended:
            assert not ended.code
        assert (random.getstate(), sys.meta_path) == before
        """
    )
    assert ended.code == 0, ended.stderr
    assert ended.stderr == ""
