"""The command line from a signature: every kind of hint and default."""

# ruff: noqa: UP007, UP045 - the older spellings of hints are what is tested

from __future__ import annotations

import enum
import functools
import subprocess
import sys
import textwrap
from collections.abc import Callable, Sequence
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal, NewType, Optional, Union

import numpy
import pytest

from runark import INJECTED
from runark.errors import InvalidArgument
from runark.session import session
from runark.session.command_line import inspect_function
from runark.session.docstring import parse as parse_docstring
from support.runs import Runner


class Colour(enum.Enum):
    RED = "r"
    BLUE = "b"


UserId = NewType("UserId", int)
REQUIRED: Any = object()


def function(hint: Any, default: Any) -> Callable[..., Any]:
    def main(x): ...

    if hint is not None:
        main.__annotations__ = {"x": hint}
    if default is not REQUIRED:
        main.__defaults__ = (default,)
    return main


# hint, default, command line, value
TABLE: list[tuple[Any, Any, str, Any]] = [
    (None, REQUIRED, "--x 1", "1"),
    (None, "a", "--x b", "b"),
    (None, 0.5, "--x 0.7", 0.7),
    (None, 0.5, "", 0.5),
    (None, 100, "--x 7", 7),
    (None, 100, "-x 7", 7),
    (None, None, "--x 7", "7"),
    (None, [1, 2], "--x 3 4", [3, 4]),
    (None, [1, 2], "", [1, 2]),
    (None, ("a",), "--x b c", ("b", "c")),
    (None, False, "--x", True),
    (None, True, "--no-x", False),
    (None, True, "", True),
    (None, Path("a"), "--x b", Path("b")),
    (None, Colour.RED, "--x BLUE", Colour.BLUE),
    (None, numpy.float32(0.5), "--x .25", numpy.float32(0.25)),
    (None, numpy.int64(3), "--x 4", numpy.int64(4)),
    (int, REQUIRED, "--x=-5", -5),
    (int, REQUIRED, "--x -5", -5),
    (float, REQUIRED, "--x -1e-3", -1e-3),
    (float, REQUIRED, "--x -.5E+2", -50.0),
    (float, REQUIRED, "--x 1e400", float("inf")),
    (float, REQUIRED, "--x -inf", float("-inf")),
    (float, 1, "--x 2", 2.0),
    (complex, REQUIRED, "--x 1+2j", 1 + 2j),
    (str, REQUIRED, "--x -5", "-5"),
    (str, "", "", ""),
    (str, "50%", "--x 60%", "60%"),
    (bool, REQUIRED, "--x", True),
    (bool, REQUIRED, "--no-x", False),
    (bool, False, "--x --no-x", False),
    (Path, REQUIRED, "--x a/b", Path("a/b")),
    (Path, "c.csv", "", Path("c.csv")),
    (Colour, REQUIRED, "--x RED", Colour.RED),
    (Colour, REQUIRED, "--x b", Colour.BLUE),
    (Literal["adam", "sgd"], "adam", "--x sgd", "sgd"),
    (Literal[1, 2, "three"], 1, "--x 2", 2),
    (Literal[1, 2, "three"], 1, "--x three", "three"),
    (Optional[int], None, "--x 3", 3),
    (Optional[int], None, "", None),
    (Optional[int], 5, "--x none", None),
    (int | None, None, "--x 3", 3),
    (Union[int, str], 1, "--x two", "two"),
    (int | float, 1, "--x 2.5", 2.5),
    (int | float, 1, "--x 2", 2),
    (Optional[bool], None, "--x", True),
    (Optional[list[int]], None, "--x 1 2", [1, 2]),
    (list, REQUIRED, "--x a b", ["a", "b"]),
    (list[int], REQUIRED, "--x 1 -2 3", [1, -2, 3]),
    (list[int], [9], "--x", []),
    (list[Colour], [], "--x RED BLUE", [Colour.RED, Colour.BLUE]),
    (list[bool], [], "--x true no", [True, False]),
    (set[str], set(), "--x a a b", {"a", "b"}),
    (tuple[int, int], (1, 2), "--x 3 4", (3, 4)),
    (tuple[float, ...], (), "--x 1 2 3", (1.0, 2.0, 3.0)),
    (Sequence[int], (), "--x 1", [1]),
    (Any, 3, "--x 4", 4),
    (UserId, 1, "--x 2", 2),
    (Decimal, Decimal("0"), "--x 0.1", Decimal("0.1")),
    (date, date(2026, 1, 1), "--x 2026-02-13", date(2026, 2, 13)),
    ("int", REQUIRED, "--x 3", 3),
    ("Path | None", None, "--x a", Path("a")),
    ("Optional[list[float]]", None, "--x 1", [1.0]),
    ("Literal['a', 'b']", "a", "--x b", "b"),
]


@pytest.mark.parametrize(("hint", "default", "words", "value"), TABLE)
def test_value(hint: Any, default: Any, words: str, value: Any) -> None:
    found = inspect_function(function(hint, default)).parse(words.split())["x"]
    assert found == value and type(found) is type(value)


@pytest.mark.parametrize(
    ("hint", "words", "complaint"),
    [
        (int, "--x five", "invalid int value: 'five'"),
        (float, "--x 1,5", "invalid float value"),
        (Colour, "--x GREEN", "'GREEN' is none of RED, BLUE"),
        (Literal["a", "b"], "--x c", "'c' is none of a, b"),
        (Decimal, "--x nought", "invalid"),
        (tuple[int, int], "--x 1", "expected 2 arguments"),
        (int, "", "required"),
        (int, "--y 1", "required"),
        (int | None, "--x y", "'y' is none of INT, None"),
    ],
)
def test_usage_errors(hint: Any, words: str, complaint: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        inspect_function(function(hint, REQUIRED)).parse(words.split())
    assert ended.value.code == 2
    assert complaint in capsys.readouterr().err


@pytest.mark.parametrize(
    "hint",
    [dict, dict[str, int], Callable[[], int], "numpy.ndarray", "Nowhere", list[list[int]], tuple[int, str], type],
)
def test_hints_no_text_can_be_turned_into(hint: Any) -> None:
    with pytest.raises(InvalidArgument, match=r"main: parameter 'x'"):
        session(function(hint, REQUIRED))


def test_what_is_no_function() -> None:
    def generator():
        yield 1

    for thing in (generator, Colour, 5):
        with pytest.raises(InvalidArgument):
            session(thing)  # type: ignore[type-var]
    with pytest.raises(InvalidArgument, match="'other' is INJECTED"):
        session(lambda other=INJECTED: 0)
    with pytest.raises(InvalidArgument, match="verbos"):
        session(verbos=True)(lambda: 0)
    with pytest.raises(InvalidArgument, match=r"tar\.foo"):
        session(archive_format="tar.foo")(lambda: 0)
    with pytest.raises(InvalidArgument, match="alpha"):
        session(alpha=2)(lambda: 0)


def test_spellings_and_short_forms() -> None:
    def main(data_path="a", depth=1, hours=2, _hidden=3, no_cache=False, h=4): ...

    line = inspect_function(main)
    assert line.parse(["--data_path=b"])["data_path"] == line.parse(["--data-path", "b"])["data_path"] == "b"
    assert line.parse(["-d", "c", "-e", "5"]) == {
        "data_path": "c", "depth": 5, "hours": 2, "_hidden": 3, "no_cache": False, "h": 4,
    }  # fmt: skip
    assert line.parse(["-o", "6"])["hours"] == 6, "-h is help"
    assert line.parse(["--hidden", "7"])["_hidden"] == 7
    assert line.parse(["--no_cache"])["no_cache"] is True and line.parse(["--no-no-cache"])["no_cache"] is False
    assert line.parse(["--h", "9"])["h"] == 9


def test_a_flag_beside_a_parameter_with_the_name_of_its_opposite() -> None:
    def main(cache=True, no_cache=0): ...

    assert inspect_function(main).parse(["--no-cache", "3"]) == {"cache": True, "no_cache": 3}


def test_a_parameter_called_help(capsys: pytest.CaptureFixture[str]) -> None:
    def main(help="me"): ...

    line = inspect_function(main)
    assert line.parse(["--help-value", "you"]) == {"help": "you"}
    with pytest.raises(SystemExit) as ended:
        line.parse(["--help"])
    assert ended.value.code == 0
    assert "--help-value" in capsys.readouterr().out


def test_parameters_of_every_kind() -> None:
    def main(a, /, b=2, *args, c, **more):
        return a, b, args, c, more

    line = inspect_function(main)
    assert line.call(line.parse(["--a", "1", "--c", "3"]), {}) == ("1", 2, (), "3", {})


def test_a_wrapped_and_a_partial_function() -> None:
    @functools.wraps(function(int, 3))
    def wrapper(*args: Any, **kwargs: Any) -> Any: ...

    assert inspect_function(wrapper).parse(["--x", "4"]) == {"x": 4}
    assert inspect_function(functools.partial(lambda a, b=1: (a, b), a=5)).parse([]) == {"a": 5, "b": 1}


GOOGLE = """
    Trains.

    More about it: 100% sure.

    Args:
        rate (float): How fast.
            And a second line.
        steps: How often.

    Returns:
        rate: not this one
    """
NUMPY = """Trains.

    Parameters
    ----------
    rate : float
        How fast.
        And a second line.
    steps : int, optional
        How often.

    Returns
    -------
    steps
        not this one
    """
SPHINX = """Trains.

    :param float rate: How fast.
        And a second line.
    :param steps: How often.
    :returns: nothing
    """


@pytest.mark.parametrize("text", [GOOGLE, NUMPY, SPHINX])
def test_help_of_each_parameter(text: str) -> None:
    description, texts = parse_docstring(text, ["rate", "steps"])
    assert description.splitlines()[0] == "Trains."
    assert "not this" not in description
    assert texts == {"rate": "How fast. And a second line.", "steps": "How often."}


def test_help_shows_texts_and_defaults(capsys: pytest.CaptureFixture[str]) -> None:
    def main(rate: float = 0.5, label="50%", steps: int = 3, name: str = "", CONFIG=INJECTED): ...

    main.__doc__ = GOOGLE
    with pytest.raises(SystemExit):
        inspect_function(main).parse(["--help"])
    shown = " ".join(capsys.readouterr().out.split())
    assert "More about it: 100% sure." in shown
    assert "How fast. And a second line. (default: 0.5)" in shown
    assert "(default: 50%)" in shown and "(default: '')" in shown
    assert "CONFIG" not in shown and "Args:" not in shown


def test_in_a_test_the_hosts_command_line_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RUNARK_OUT_DIR", str(tmp_path))
    monkeypatch.setattr(sys, "argv", ["pytest", "--n", "99", "-f", "kernel.json"])

    @session
    def main(n=1, CONFIG=INJECTED):
        print("in a test")
        return (n, str(CONFIG.SDIR_RUN))

    n, run = main()
    assert n == 1 and run.startswith(str(tmp_path))
    (log,) = tmp_path.glob("*_out/FINISHED_SUCCESS/*/logs/stdout.log")
    assert log.read_text() == "in a test\n"

    @session
    def fails():
        raise KeyError("through")

    with pytest.raises(KeyError, match="through"):
        fails()

    @session
    def needs(value: int): ...

    with pytest.raises(InvalidArgument, match="'value'"):
        needs()
    assert len(list(tmp_path.glob("*_out/*/*"))) == 2


def test_string_annotations_in_a_script(run: Runner) -> None:
    ended = run(
        """
        from __future__ import annotations
        from pathlib import Path
        from typing import Optional, Literal, TYPE_CHECKING
        import runark as stx
        if TYPE_CHECKING:
            from runark.session.config import SessionConfig

        @stx.session
        def main(p: Path, n: Optional[int] = None, m: Literal["a", "b"] = "a", CONFIG: SessionConfig = stx.INJECTED):
            print(repr(p), n, m, CONFIG.ARGS)

        main()
        """,
        *("--p", "x", "--n", "-3", "--m", "b"),
    )
    assert ended.log() == "PosixPath('x') -3 b {'p': PosixPath('x'), 'n': -3, 'm': 'b'}\n", ended.stderr


def test_a_bad_hint_is_an_error_when_decorated(run: Runner) -> None:
    ended = run("import runark as stx\n\n@stx.session\ndef main(table: dict = {}): ...\n")
    assert ended.code == 1
    assert "parameter 'table'" in ended.stderr
    assert not ended.out.exists()


def test_help_is_quick_and_makes_nothing(run: Runner) -> None:
    script = run.write(textwrap.dedent("import runark as stx\n@stx.session\ndef main(n=1): ...\nmain()\n"))
    told = subprocess.run([sys.executable, script, "-h"], capture_output=True, text=True, check=True)
    assert "--n" in told.stdout
    assert [path.name for path in run.directory.iterdir()] == ["job.py"]
