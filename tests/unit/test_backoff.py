"""Backing off: what the number of workers does when latencies rise and fall, and what a probe is."""

from __future__ import annotations

import itertools
import os
import random
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from runark.archive.backoff import FLOOR, Backoff, Controller, Probe
from runark.engine.protocol import Outcome, Progress

QUIET = 0.010


def _fed(controller: Controller, *latencies: float) -> list[int]:
    return [controller.feed(seconds) for seconds in latencies]


def _started(most: int = 16) -> Controller:
    controller = Controller(most)
    assert _fed(controller, *[QUIET] * 5) == [1, 1, 1, 1, most]
    return controller


def test_the_first_second_is_worked_by_one() -> None:
    assert _started().quiet == QUIET


def test_slow_halves_and_quiet_adds_one_at_a_time() -> None:
    controller = _started()
    down = _fed(controller, *[QUIET * 10] * 40)
    assert [number for number, _ in itertools.groupby(down)] == [16, 8, 4, 2, 1]
    assert controller.steps_down == 4
    up = _fed(controller, *[QUIET] * 40)
    assert [number for number, _ in itertools.groupby(up)] == list(range(1, 17))
    assert controller.quiet == QUIET


def test_a_step_down_is_given_time_to_have_an_effect() -> None:
    down = _fed(_started(), *[QUIET * 10] * 20)
    assert all(len(list(group)) >= 4 for number, group in itertools.groupby(down) if 1 < number < 16)


def test_one_slow_answer_of_five_is_nothing() -> None:
    controller = _started()
    latencies = [QUIET * 100 if i % 5 < 2 else QUIET for i in range(200)]
    assert set(_fed(controller, *latencies)) == {16}


def test_between_two_and_four_times_nothing_changes() -> None:
    controller = _started()
    _fed(controller, *[QUIET * 10] * 10)
    before = controller.workers
    _fed(controller, *[QUIET * 3] * 5)
    assert set(_fed(controller, *[QUIET * 3] * 50)) == {controller.workers}
    assert controller.workers <= before < 16


def test_what_a_fast_disk_does_is_no_reason() -> None:
    """Microseconds that become a few milliseconds: nobody is hurt."""
    controller = Controller(4)
    generator = random.Random(1)
    _fed(controller, *[30e-6] * 5)
    assert set(_fed(controller, *[generator.uniform(30e-6, 3.9 * FLOOR) for _ in range(500)])) <= {4}


def test_a_begin_on_a_busy_filesystem_is_put_right() -> None:
    controller = Controller(8)
    _fed(controller, *[QUIET * 20] * 5)
    assert set(_fed(controller, *[QUIET * 20] * 20)) == {8}  # nothing better is known yet
    _fed(controller, *[QUIET] * 10)
    assert controller.quiet == QUIET
    assert _fed(controller, *[QUIET * 20] * 40)[-1] == 1


def test_a_night_of_overload_does_not_become_normal() -> None:
    controller = _started()
    assert set(_fed(controller, *[QUIET * 10] * 10_000)[50:]) == {1}


# ------------------------------------------------------------------------------------------------ the thread


class Recorder:
    """A task that only remembers how many workers it was to have."""

    def __init__(self) -> None:
        self.used: list[int] = []

    def use(self, workers: int) -> None:
        self.used.append(workers)

    def poll(self, timeout: float) -> list[Outcome] | None:
        return None

    def cancel(self) -> None: ...

    def drain(self) -> None: ...

    def progress(self) -> Progress:
        return Progress(0, 0, 0, 0)


def _until(condition: object) -> None:
    deadline = time.monotonic() + 30
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_the_task_is_told_and_the_next_one_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("runark.archive.backoff._EVERY", 0.01)
    monkeypatch.setattr("runark.archive.backoff._FIRST", 0.01)
    latencies: Iterator[float | None] = itertools.chain([None, QUIET, None], [QUIET] * 4, itertools.repeat(QUIET * 10))
    first, second = Recorder(), Recorder()
    with Backoff(b"/nowhere", 8, lambda: next(latencies)) as backoff:
        backoff.watch(first)
        _until(lambda: first.used[-1:] == [1] and len(first.used) > 1)
        assert first.used == [1, 8, 4, 2, 1]
        backoff.watch(second)
        assert second.used == [1]
        assert backoff.steps_down == 3


def test_a_probe_makes_and_removes_a_file(tmp_path: Path) -> None:
    (tmp_path / ".runark").mkdir()
    (tmp_path / ".runark" / "probe").touch()  # left by a run that was killed
    probe = Probe(os.fsencode(tmp_path))
    seconds = probe()
    assert seconds is not None and 0 < seconds < 30
    assert os.listdir(tmp_path / ".runark") == []


def test_where_nothing_can_be_made_a_look_is_timed(tmp_path: Path) -> None:
    probe = Probe(os.fsencode(tmp_path))  # no .runark
    assert probe() is not None
    (tmp_path / ".runark").mkdir()
    assert probe() is not None
    assert os.listdir(tmp_path / ".runark") == []


def test_what_fails_later_is_not_mixed_with_what_is_quick(tmp_path: Path) -> None:
    (tmp_path / ".runark").mkdir()
    probe = Probe(os.fsencode(tmp_path))
    assert probe() is not None
    (tmp_path / ".runark").rmdir()
    assert probe() is None
