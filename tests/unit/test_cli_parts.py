"""Parts of the command line that need no command: progress, exit codes, the choice of the engine."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterator

import click
import pytest

from runark import engine, errors
from runark.archive.result import Tally
from runark.cli import exit_codes
from runark.cli.options import load_options
from runark.cli.progress import Display
from runark.engine.protocol import Fault, Outcome, Progress
from runark.report.text import outcome_line, result_lines


class Stream(io.StringIO):
    def __init__(self, terminal: bool) -> None:
        super().__init__()
        self.terminal = terminal

    def isatty(self) -> bool:
        return self.terminal


def shown(monkeypatch: pytest.MonkeyPatch, *, terminal: bool, quiet: bool = False) -> str:
    """What a run of 100 sessions in 100 seconds shows."""
    stream = Stream(terminal)
    monkeypatch.setattr(sys, "stderr", stream)
    now = 0.0

    def clock() -> float:
        return now

    display = Display(quiet, clock=clock)
    display.begin("archive", 200)
    for second in range(100):
        now = float(second)
        display.progress(Progress(second, 200, second * 1_000_000, 0))
    display.close()
    return stream.getvalue()


def test_plain_lines_every_half_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = shown(monkeypatch, terminal=False).splitlines()
    assert lines[0] == "runark: archive: 30 of 200 sessions, 30 MB, 1 sessions/s, 3 min left"
    assert len(lines) == 3


def test_a_bar_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    text = shown(monkeypatch, terminal=True)
    assert "archive:" in text and "/200" in text and "99 MB" in text and "\n" not in text


def test_nothing_if_quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    assert shown(monkeypatch, terminal=True, quiet=True) == shown(monkeypatch, terminal=False, quiet=True) == ""


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.RunarkError, 1),
        (errors.EngineUnavailable, 1),
        (errors.FormatUnavailable, 1),
        (errors.InvalidArgument, 2),
        (errors.ConfigError, 2),
        (errors.UnsafePath, 2),
        (errors.CapReached, 4),
        (errors.SourceMissing, 10),
        (errors.NotADirectory, 10),
        (errors.RootLocked, 11),
    ],
)
def test_codes_of_errors(error: type[errors.RunarkError], code: int) -> None:
    assert exit_codes.of_error(error("x")) == code


FAULT = Fault("read", b"/s/\x1b", 5, "Input/output error")


@pytest.mark.parametrize(
    ("actions", "stopped", "code"),
    [
        (["archived", "skipped", "kept"], "", 0),
        (["archived", "changed"], "", 3),
        (["failed"], "budget", 3),
        (["archived"], "budget", 75),
        (["failed"], "cap", 4),
        (["damaged"], "", 3),
        (["sound", "unsealed"], "", 0),
        ([], "", 0),
    ],
)
def test_codes_of_results(actions: list[str], stopped: str, code: int) -> None:
    tally = Tally("archive", "pure", keep=False)
    tally.add([Outcome(b"/s", action) for action in actions])
    assert exit_codes.of_result(tally.result(stopped=stopped)) == code


def test_unreadable_directories_are_told_by_the_code() -> None:
    assert exit_codes.of_result(Tally("archive", "pure", keep=False).result(faults=(FAULT,))) == 3


def test_an_outcome_on_one_line() -> None:
    outcome = Outcome(b"/s", "failed", reason="a\nb", notes=("moved aside",), fault=FAULT)
    assert outcome_line(outcome) == r"failed: /s: a\nb; read /s/\x1b: Input/output error; moved aside"
    assert outcome_line(Outcome(b"/s", "failed", reason=FAULT.message, fault=FAULT)).count("Input/output") == 1


def test_the_summary_names_what_was_freed() -> None:
    tally = Tally("archive", "pure", keep=False)
    tally.add([Outcome(b"/s", "archived", inodes_freed=8, bytes_in=5000, bytes_out=1000, settled="syncfs")] * 2)
    tally.add([Outcome(b"/t", "skipped", reason="young")])
    text = "\n".join(result_lines(tally.result(stopped="budget", left=7)))
    for part in (
        "2 archived, 1 skipped",
        "16 inodes freed",
        "10 kB",
        "2.0 kB",
        "syncfs 2",
        "too recently",
        "7 sessions left",
    ):
        assert part in text


@pytest.fixture
def fresh(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(engine, "_choices", {})
    yield


def test_the_engine_is_chosen_once(fresh: None) -> None:
    assert engine.load("pure") is engine.load("pure")
    assert engine.choose("auto") is engine.choose("auto")
    with pytest.raises(errors.InvalidArgument, match="auto, native, pure"):
        engine.load("fast")


def test_without_the_native_module(fresh: None, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("runark._native", "runark.engine.native"):
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setattr(engine, "_missing", lambda: True)
    chosen = engine.choose("auto")
    assert chosen.engine.name == "pure" and chosen.reason
    with pytest.raises(errors.EngineUnavailable):
        engine.load("native")


def test_a_native_module_that_does_not_load_is_told(fresh: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "runark.engine.native", None)
    monkeypatch.setattr(engine, "_missing", lambda: False)
    with pytest.warns(RuntimeWarning, match="going on with the pure one"):
        assert engine.load("auto").name == "pure"


@pytest.mark.parametrize("ops", ["--max-ops/s", "--max-ops-per-s"])
@pytest.mark.parametrize("content", ["--max-bytes/s", "--max-bytes-per-s"])
def test_limits_have_a_slash_in_their_names(ops: str, content: str) -> None:
    seen: list[object] = []

    @click.command()
    @load_options(back_off=False)
    def verb(max_ops: float, max_bytes_s: float, back_off: bool) -> None:
        seen.append((max_ops, max_bytes_s, back_off))

    verb.main([ops, "2.5", f"{content}=50M", "--back-off"], standalone_mode=False)
    verb.main([], standalone_mode=False)
    assert seen == [(2.5, 50_000_000, True), (0, 0, False)]
    for words in ([ops, "-1"], [ops, "many"]):
        with pytest.raises(click.BadParameter) as refused:
            verb.main(words, standalone_mode=False)
        assert "--max-ops/s" in refused.value.format_message()
    with pytest.raises(errors.InvalidArgument, match="50M"):
        verb.main([content, "50"], standalone_mode=False)
