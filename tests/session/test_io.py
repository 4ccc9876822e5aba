"""save and load: whole or not at all, listed with their digests, each format there and back."""

from __future__ import annotations

import csv
import hashlib
import os
from datetime import date, datetime
from enum import Enum
from pathlib import Path
from typing import Any

import matplotlib
import numpy
import pandas
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runark import io
from runark.errors import FormatUnavailable, InvalidArgument, OperationFailed, RunarkError, SourceMissing
from runark.session import close, start
from support.runs import Runner

matplotlib.use("Agg")
FRAME = pandas.DataFrame({"a": [1, 2], "b": [0.1234567891, 1e-300], "c": ["x,y", 'q"\n']})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("a.json", {"x": [1, 2.5, None, "é"], "y": {"z": True}}),
        ("a.yaml", {"x": [1, 1e-3, "no", None], "y": "12:30:00"}),
        ("a.yml", [1, "1"]),
        ("a.txt", "two\nlines \udcff\n"),
        ("a.md", "# é\n"),
        ("a.pkl", {"any": {1, 2}, "thing": date(2026, 2, 13)}),
        ("a.pickle", [FRAME.shape]),
    ],
)
def test_there_and_back(tmp_path: Path, name: str, value: Any) -> None:
    path = io.save(value, tmp_path / name)
    assert path == tmp_path / name
    assert io.load(path) == value
    assert [entry.name for entry in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize("name", ["a.csv", "a.tsv", "a.parquet", "A.CSV"])
def test_frames(tmp_path: Path, name: str) -> None:
    assert io.load(io.save(FRAME, tmp_path / name)).equals(FRAME), "to the last digit"
    indexed = FRAME.set_index("a")
    assert io.load(io.save(indexed, tmp_path / name)).reset_index()["b"].tolist() == FRAME["b"].tolist()


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ([{"a": 1, "b": 0.1}, {"a": 2, "c": "x,y"}], 'a,b,c\n1,0.1,\n2,,"x,y"\n'),
        ({"a": [1, 2], "b": numpy.array([0.5, 1.5])}, "a,b\n1,0.5\n2,1.5\n"),
        ([[1, 2], [3, 4]], "1,2\n3,4\n"),
        (numpy.array([[0.1234567891, 2]]), "0.1234567891,2.0\n"),
        ([1, 2], "1\n2\n"),
        ([], ""),
    ],
)
def test_tables_without_pandas(tmp_path: Path, value: Any, text: str) -> None:
    assert io.save(value, tmp_path / "a.csv").read_text() == text


def test_rows_of_records_and_of_generators(tmp_path: Path) -> None:
    records = numpy.array([(1, 0.1)], dtype=[("n", "i4"), ("x", "f8")])
    days = numpy.array(["2026-02-13"], dtype="M8[ns]")
    for value, text in (
        (records, "n,x\n1,0.1\n"),
        ([{1: "one", "b": 2}], "1,b\none,2\n"),
        ({"a": (number for number in (1, 2)), "b": range(2)}, "a,b\n1,0\n2,1\n"),
        ({"day": days}, "day\n2026-02-13T00:00:00.000000000\n"),
        (pandas.DataFrame({"a": range(3)})[1:], ",a\n1,1\n2,2\n"),
    ):
        assert io.save(value, tmp_path / "a.csv").read_text() == text


def test_floats_come_back_to_the_last_bit(tmp_path: Path) -> None:
    draw = numpy.random.default_rng(0)
    values = draw.random(20_000) * 10.0 ** draw.integers(-300, 300, 20_000)
    for name, table in (("a.csv", pandas.DataFrame({"x": values})), ("a.tsv", {"x": values})):
        assert (io.load(io.save(table, tmp_path / name))["x"].to_numpy() == values).all()
    for name in ("a.json", "a.yaml"):
        assert io.load(io.save(values, tmp_path / name)) == values.tolist()
    assert io.load(tmp_path / "a.csv", sep=",", engine="python").shape == (20_000, 1), "options choose another parser"


_scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()
_documents = st.recursive(
    _scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4), max_leaves=12
)


@given(_documents, st.sampled_from(["json", "yaml"]))
def test_documents_come_back(tmp_path_factory: pytest.TempPathFactory, value: Any, extension: str) -> None:
    path = tmp_path_factory.getbasetemp() / f"document.{extension}"
    assert io.load(io.save(value, path)) == value


class Colour(str, Enum):
    RED = "red"


@pytest.mark.parametrize("name", ["a.json", "a.yaml"])
def test_documents_hold_more_than_plain_values(tmp_path: Path, name: str) -> None:
    value = {
        numpy.int64(1): numpy.float32(0.5), Path("p"): Path("/q"), date(2026, 2, 13): datetime(2026, 2, 13, 1, 2, 3),
        "set": {3, 1}, "mixed": {"b", 1}, "flag": numpy.bool_(True), "text": numpy.str_("t"), "colour": Colour.RED,
        "days": numpy.array(["2026-02-13"], dtype="M8[D]"), "tuple": (1, (2,)), "frame": pandas.DataFrame({"a": [1.5]}),
        "long": numpy.zeros(3000), "scalar": numpy.array(7),
    }  # fmt: skip
    found = io.load(io.save(value, tmp_path / name))
    assert found.pop("1" if name == "a.json" else 1) == 0.5
    assert list(found.pop("frame")["a"].values()) == [1.5]
    assert found == {
        "p": "/q", "2026-02-13": "2026-02-13T01:02:03", "set": [1, 3], "mixed": ["b", 1], "flag": True, "text": "t",
        "colour": "red", "days": ["2026-02-13"], "tuple": [1, [2]], "long": [0.0] * 3000, "scalar": 7,
    }  # fmt: skip


_itself: list[Any] = []
_itself.append(_itself)
_long = numpy.arange(3000)
_objects = numpy.array([None, {}], dtype=object)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("a.txt", _long, "no text.* npy"),
        ("a.txt", FRAME, "no text"),
        ("a.txt", {"a": _long}, "a dict is no text"),
        ("a.txt", ["line", [_long]], "a list is no text"),
        ("a.csv", numpy.zeros((2, 2, 2)), "3 dimensions.* npy"),
        ("a.csv", pandas.DataFrame({"a": [_long, _long]}), "column 'a' has arrays in its cells.* parquet"),
        ("a.csv", [["\udcff"]], "surrogates"),
        ("a.npy", _objects, "cannot be saved"),
        ("a.npy", numpy.ma.masked_equal([1, 2], 1), "lose its mask"),
        ("a.npz", {"a": _objects}, "'a' holds objects.* pkl"),
        ("a.npz", {"a": numpy.ma.masked_equal([1, 2], 1)}, "lose its mask"),
        ("a.npz", {1: [1], "1": [2]}, "read alike"),
        ("a.npz", {"allow_pickle": [1]}, "rename it"),
        ("a.json", {1: 1, "1": 2}, "read alike"),
        ("a.json", {True: 1, "true": 2}, "read alike"),
        ("a.json", {(1, 2): 3}, "tuple cannot be a key"),
        ("a.json", pandas.DataFrame([[1, 2]], columns=["a", "a"]), "share a name"),
        ("a.json", 1j, "no plain form"),
        ("a.json", _itself, "holds itself"),
        ("a.yaml", _itself, "holds itself"),
        ("a.yaml", {"a": object()}, "no plain form"),
        ("a.pkl", lambda: None, "cannot be saved as pkl"),
        ("a.parquet", {"a": [1, "x"]}, "cannot be saved as parquet"),
    ],
)
def test_what_a_format_cannot_hold_whole_is_refused(tmp_path: Path, name: str, value: Any, message: str) -> None:
    with pytest.raises(InvalidArgument, match=message) as refused:
        io.save(value, tmp_path / name)
    assert str(refused.value).startswith(f"{tmp_path / name}: "), "the path asked for, not that of a temporary file"
    assert not list(tmp_path.iterdir())


def test_an_array_in_a_cell_is_told_in_full(tmp_path: Path) -> None:
    (cell,) = io.load(io.save([{"a": _long}], tmp_path / "a.csv"))["a"]
    assert cell == str(_long.tolist())


@pytest.mark.parametrize(
    "name", ["a.json", "a.csv", "a.npy", "a.npz", "a.pkl", "a.png", "a.jpg", "a.parquet", "a.yaml"]
)
@pytest.mark.parametrize("content", [b"", b"{\x00\xff", b"PK\x03\x04 cut off", b"\x89PNG\r\n\x1a\n cut off"])
def test_broken_files_are_named(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    try:
        found = io.load(tmp_path / name)
    except RunarkError as error:
        assert str(error).startswith(str(tmp_path / name))
    else:
        assert name in ("a.csv", "a.yaml"), found


def test_arrays(tmp_path: Path) -> None:
    array = numpy.arange(6.0).reshape(2, 3)
    assert (io.load(io.save(array, tmp_path / "a.npy")) == array).all()
    found = io.load(io.save({"x": array, "y": [1]}, tmp_path / "a.npz"))
    assert list(found) == ["x", "y"] and (found["x"] == array).all()
    assert io.load(io.save({"n": numpy.float64(0.5), "a": array, "p": tmp_path}, tmp_path / "a.json")) == {
        "n": 0.5, "a": array.tolist(), "p": str(tmp_path),
    }  # fmt: skip


@pytest.mark.parametrize("name", ["f.png", "f.svg", "f.pdf", "f.jpg"])
def test_figures(tmp_path: Path, name: str) -> None:
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, 2)
    axes[0].plot([1, 2], [3, 4], label="line")
    axes[0].plot([5, 6, 7])
    axes[0].scatter([1], [2], label="dots")
    axes[1].bar(["p", "q"], [2, 3])
    axes[1].imshow([[1, 2], [3, 4]])
    for shape in (figure, axes, axes[0], pyplot):
        path = io.save(shape, tmp_path / name)
        assert path.stat().st_size > 1000
        with open(tmp_path / "f.csv") as stream:
            rows = list(csv.reader(stream))
        assert rows[0][:6] == ["ax0_line_x", "ax0_line_y", "ax0_line1_x", "ax0_line1_y", "ax0_dots_x", "ax0_dots_y"]
        assert rows[1][:6] == ["1", "3", "0.0", "5", "1.0", "2.0"] and rows[3][:4] == ["", "", "2.0", "7"]
        assert rows[0][6:] == ["ax1_bar0_x", "ax1_bar0_y", "ax1_image0_row", "ax1_image0_column", "ax1_image0_value"]
        (tmp_path / "f.csv").unlink()
    assert sorted(entry.name for entry in tmp_path.iterdir()) == [name]
    io.save(figure, tmp_path / name, csv=False, dpi=30)
    io.save(pyplot.figure(), tmp_path / "empty.png")
    assert sorted(entry.name for entry in tmp_path.iterdir()) == sorted([name, "empty.png"])
    pyplot.close("all")
    if name.endswith(("png", "jpg")):
        assert io.load(tmp_path / name).ndim == 3
    else:
        with pytest.raises(InvalidArgument, match="written only"):
            io.load(tmp_path / name)


def _columns(path: Path) -> dict[str, list[str]]:
    with open(path) as stream:
        names, *rows = csv.reader(stream)
    return {name: [cell for cell in cells if cell] for name, cells in zip(names, zip(*rows, strict=True), strict=True)}


def test_data_of_each_kind_of_plot(tmp_path: Path) -> None:
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(2, 3)
    (errors, categories, lying, stacked), (dates, space) = axes.flat[:4], axes.flat[4:]
    errors.errorbar([1, 2], [3, 4], yerr=[[0.5, 1], [2, 3]], xerr=0.25, capsize=3, label="e")
    categories.bar(["p", "q"], [2, -3], yerr=[1, 1], label="b")
    categories.scatter(["p", "q"], [1, 2])
    lying.barh(["p", "q"], [2, 3], label="h")
    stacked.bar([0, 1], [1, 2], bottom=[5, 6], label="s")
    stacked.hist([1, 1, 2], bins=[0.5, 1.5, 2.5], label="histogram")
    days = pandas.date_range("2026-02-13", periods=2)
    dates.plot(days, [1, 2], label="d")
    dates.scatter(days, [3, 4], c=[5, 6], label="dots")
    space.remove()
    space = figure.add_subplot(2, 3, 6, projection="3d")
    space.plot([1, 2], [3, 4], [5, 6], label="l")
    space.scatter([1, 2], [3, 4], [5, 6], label="p")
    io.save(figure, tmp_path / "f.png")
    pyplot.close(figure)
    found = _columns(tmp_path / "f.csv")
    for name in ("ax4_d_x", "ax4_dots_x"):
        assert [pandas.Timestamp(text) for text in found.pop(name)] == list(days)
    numbers = {name: [cell if cell in "pq" else float(cell) for cell in cells] for name, cells in found.items()}
    assert numbers == {
        "ax0_e_x": [1, 2], "ax0_e_y": [3, 4], "ax0_e_x_low": [0.75, 1.75], "ax0_e_x_high": [1.25, 2.25],
        "ax0_e_y_low": [2.5, 3], "ax0_e_y_high": [5, 7],
        "ax1_scatter0_x": ["p", "q"], "ax1_scatter0_y": [1, 2],
        "ax1_b_x": ["p", "q"], "ax1_b_y": [2, -3], "ax1_b_y_low": [1, -4], "ax1_b_y_high": [3, -2],
        "ax2_h_x": [2, 3], "ax2_h_y": ["p", "q"],
        "ax3_s_x": [0, 1], "ax3_s_y": [1, 2], "ax3_s_base": [5, 6],
        "ax3_histogram_x": [1, 2], "ax3_histogram_y": [2, 1],
        "ax4_d_y": [1, 2], "ax4_dots_y": [3, 4], "ax4_dots_c": [5, 6],
        "ax5_l_x": [1, 2], "ax5_l_y": [3, 4], "ax5_l_z": [5, 6],
        "ax5_p_x": [1, 2], "ax5_p_y": [3, 4], "ax5_p_z": [5, 6],
    }  # fmt: skip


def _line(*values: float) -> Any:
    from matplotlib.figure import Figure

    figure = Figure()
    figure.subplots().plot(values, label="y")
    return figure


def _csvs(directory: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in directory.glob("*.csv")}


SEVEN, EIGHT = "y_x,y_y\n0.0,7\n", "y_x,y_y\n0.0,8\n"


def test_a_csv_beside_a_figure_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("measured\n")
    (tmp_path / "a_data.csv").symlink_to("elsewhere")
    for number in (7, 8):
        io.save(_line(number), tmp_path / "a.png")
    assert os.readlink(tmp_path / "a_data.csv") == "elsewhere"
    (tmp_path / "a_data.csv").unlink()
    assert _csvs(tmp_path) == {"a.csv": "measured\n", "a_data_2.csv": EIGHT}
    (tmp_path / "b.csv").write_text(SEVEN)
    io.save(_line(7), tmp_path / "b.png")
    assert not (tmp_path / "b_data.csv").exists(), "the same is there already"
    io.save(_line(8), tmp_path / "b.png")
    assert (tmp_path / "b.csv").read_text() == SEVEN, "which does not make it the figure's"


def test_a_csv_of_a_figure_is_replaced_until_it_is_changed(tmp_path: Path) -> None:
    figure = tmp_path / "a.png"
    for number in (7, 8):
        io.save(_line(number), figure)
    assert _csvs(tmp_path) == {"a.csv": EIGHT}
    io.save([["mine"]], tmp_path / "a.csv")
    io.save(_line(7), figure)
    assert _csvs(tmp_path) == {"a.csv": "mine\n", "a_data.csv": SEVEN}
    with open(tmp_path / "a_data.csv", "a") as stream:
        stream.write("and a note\n")
    io.save(_line(8), figure)
    assert _csvs(tmp_path) == {"a.csv": "mine\n", "a_data.csv": SEVEN + "and a note\n", "a_data_2.csv": EIGHT}


def test_a_csv_of_a_figure_is_known_to_the_next_process(run: Runner) -> None:
    script = """
        import sys
        import runark as stx
        from matplotlib.figure import Figure
        figure = Figure()
        figure.subplots().plot([float(sys.argv[1])], label="y")
        stx.io.save(figure, "a.png")
    """
    for number in "788":
        assert run(script, number).code == 0
    files = _csvs(run.directory / "job_out")
    if _has_attributes(run.directory):
        assert files == {"a.csv": "y_x,y_y\n0.0,8.0\n"}
    else:  # it cannot be told from one that somebody made: kept
        assert files == {"a.csv": "y_x,y_y\n0.0,7.0\n", "a_data.csv": "y_x,y_y\n0.0,8.0\n"}


def _has_attributes(directory: Path) -> bool:
    try:
        os.setxattr(directory, "user.runark.test", b"")
    except OSError:
        return False
    return True


@pytest.fixture
def session(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("RUNARK_OUT_DIR", str(tmp_path / "out"))
    monkeypatch.chdir(tmp_path)
    config, *_ = start(verbose=False, capture=False)
    yield config
    close(config, verbose=False, exit_status=0)


def _outputs(config: Any) -> dict[str, Any]:
    close(config, verbose=False, exit_status=0)
    return {entry["path"]: entry for entry in config.OUTPUTS}


def test_in_a_session(session: Any, tmp_path: Path) -> None:
    run = session.SDIR_RUN
    (tmp_path / "params.yaml").write_text("mine: 1\n")
    assert io.load("params.yaml") == {"mine": 1}
    assert io.save({"its": 2}, "params.yaml") == run / "params.yaml"
    assert (tmp_path / "params.yaml").read_text() == "mine: 1\n", "no other file is touched"
    assert io.load("params.yaml") == {"its": 2}, "what the session saved goes first"
    io.save("1", "deep/er/a.txt")
    io.save("longer", "deep/er/a.txt")
    outside = io.save("x", tmp_path / "b.txt")
    for wrong in ("../c.txt", "a/../../c.txt"):
        with pytest.raises(InvalidArgument, match="may lead out"):
            io.save("x", wrong)
    outputs = _outputs(session)
    assert list(outputs) == ["params.yaml", "deep/er/a.txt", str(outside)]
    assert outputs["deep/er/a.txt"]["sha256"] == hashlib.sha256(b"longer").hexdigest()
    assert outputs["deep/er/a.txt"]["bytes"] == 6
    final = session.SDIR_RUN
    assert final.parent.name == "FINISHED_SUCCESS" and (final / "deep" / "er" / "a.txt").read_text() == "longer"
    assert sorted(os.listdir(final / "CONFIGS")) == ["CONFIG.pkl", "CONFIG.yaml"], "listed in the record, no file more"


@pytest.mark.parametrize("absolute", [False, True])
def test_data_of_a_figure_and_a_csv_of_the_same_name(session: Any, absolute: bool) -> None:
    run = session.SDIR_RUN
    place = run if absolute else Path()
    io.save([[9]], place / "sine.csv")
    (run / "written.csv").write_text("by the script\n")
    for number in (7, 8):
        for name in ("sine.png", "cosine.png", "written.png"):
            io.save(_line(number), place / name)
    io.save([[5]], place / "cosine.csv")
    io.save(_line(7), place / "cosine.png")
    assert _csvs(run) == {
        "sine.csv": "9\n", "sine_data.csv": EIGHT, "written.csv": "by the script\n", "written_data.csv": EIGHT,
        "cosine.csv": "5\n", "cosine_data.csv": SEVEN,
    }  # fmt: skip
    outputs = _outputs(session)
    assert {path: entry.get("figure") for path, entry in outputs.items()} == {
        "sine.csv": None, "sine.png": None, "sine_data.csv": "sine.png", "cosine.png": None, "cosine.csv": None,
        "cosine_data.csv": "cosine.png", "written.png": None, "written_data.csv": "written.png",
    }  # fmt: skip


def test_a_figure_saved_again_by_a_child(session: Any) -> None:
    io.save(_line(7), "a.png")
    child = os.fork()
    if not child:
        code = 1
        try:
            io.save(_line(8), "a.png")
            code = 0
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert _csvs(session.SDIR_RUN) == {"a.csv": EIGHT}
    io.save(_line(7), "a.png")
    assert _csvs(session.SDIR_RUN) == {"a.csv": SEVEN}


@pytest.mark.parametrize("name", ["CONFIGS/CONFIG.yaml", "CONFIGS/CONFIG.pkl", "logs/stdout.log", "./logs/stderr.log"])
def test_the_record_and_the_logs_are_not_replaced(session: Any, name: str) -> None:
    for path in (Path(name), session.SDIR_RUN / "x" / ".." / name):
        with pytest.raises(InvalidArgument, match="not replaced"):
            io.save("x", path)
    io.save("x", "CONFIGS/mine.yaml")
    io.save("x", "logs/mine.log")
    assert sorted(_outputs(session)) == ["CONFIGS/mine.yaml", "logs/mine.log"]


class Unwritable:
    def __reduce__(self) -> Any:
        raise RuntimeError("not me")


def test_an_error_leaves_the_old_file_whole(tmp_path: Path) -> None:
    io.save([1], tmp_path / "a.pkl")
    with pytest.raises(RuntimeError):
        io.save([2, Unwritable()], tmp_path / "a.pkl")
    assert io.load(tmp_path / "a.pkl") == [1]
    for value in ({"a": object()}, Unwritable()):
        with pytest.raises(InvalidArgument, match=r"a\.json: cannot be saved as json: .* has no plain form"):
            io.save(value, tmp_path / "a.json")
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.pkl"]
    (tmp_path / "file").touch()
    with pytest.raises(OperationFailed, match=r"file/x\.txt"):
        io.save("x", tmp_path / "file" / "x.txt")
    (tmp_path / "dir.txt").mkdir()
    with pytest.raises(OperationFailed, match=r"dir\.txt"):
        io.save("x", tmp_path / "dir.txt")
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["a.pkl", "dir.txt", "file"]


def test_a_link_is_replaced_not_followed(tmp_path: Path) -> None:
    (tmp_path / "precious.txt").write_text("p")
    (tmp_path / "a.txt").symlink_to("precious.txt")
    io.save("new", tmp_path / "a.txt")
    assert (tmp_path / "precious.txt").read_text() == "p" and (tmp_path / "a.txt").read_text() == "new"


def test_errors_say_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InvalidArgument, match=r"'\.xyz'; known are .*\.csv"):
        io.save(1, tmp_path / "a.xyz")
    with pytest.raises(SourceMissing, match=r"a\.csv"):
        io.load(tmp_path / "a.csv")
    with pytest.raises(SourceMissing, match="nor"):
        io.load("nowhere.csv")
    with pytest.raises(InvalidArgument, match="no figure"):
        io.save(5, tmp_path / "a.png")
    with pytest.raises(InvalidArgument, match="no table"):
        io.save(5, tmp_path / "a.csv")
    with pytest.raises(InvalidArgument, match="different lengths"):
        io.save({"a": [1], "b": [1, 2]}, tmp_path / "a.csv")
    io.save([[1]], tmp_path / "a.csv")
    monkeypatch.setitem(__import__("sys").modules, "pandas", None)
    with pytest.raises(FormatUnavailable, match="pip install pandas"):
        io.load(tmp_path / "a.csv")
    with pytest.raises(ImportError):
        io.save([[1]], tmp_path / "a.parquet")
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["a.csv"]


def test_outside_a_session(run: Runner) -> None:
    ended = run("import runark as stx\nprint(stx.io.save('x', 'a.txt'))\nassert stx.io.load('a.txt') == 'x'\n")
    assert ended.code == 0, ended.stderr
    assert ended.stdout == f"{run.directory}/job_out/a.txt\n"
    assert sorted(path.name for path in run.directory.iterdir()) == ["job.py", "job_out"]
