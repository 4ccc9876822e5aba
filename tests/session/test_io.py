"""save and load: whole or not at all, listed with their digests, each format there and back."""

from __future__ import annotations

import csv
import hashlib
import os
from datetime import date
from pathlib import Path
from typing import Any

import matplotlib
import numpy
import pandas
import pytest

from runark import io
from runark.errors import FormatUnavailable, InvalidArgument, OperationFailed, SourceMissing
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
    for given in (figure, axes, axes[0], pyplot):
        path = io.save(given, tmp_path / name)
        assert path.stat().st_size > 1000
        with open(tmp_path / "f.csv") as stream:
            rows = list(csv.reader(stream))
        assert rows[0][:6] == ["ax0_line_x", "ax0_line_y", "ax0_line1_x", "ax0_line1_y", "ax0_dots_x", "ax0_dots_y"]
        assert rows[1][:6] == ["1", "3", "0.0", "5", "1.0", "2.0"] and rows[3][:4] == ["", "", "2.0", "7"]
        assert rows[0][6:] == ["ax1_bar0_x", "ax1_bar0_y", "ax1_image0_row", "ax1_image0_column", "ax1_image0_value"]
        (tmp_path / "f.csv").unlink()
    assert sorted(entry.name for entry in tmp_path.iterdir()) == [name]
    io.save(figure, tmp_path / name, data=False, dpi=30)
    io.save(pyplot.figure(), tmp_path / "empty.png")
    assert sorted(entry.name for entry in tmp_path.iterdir()) == sorted([name, "empty.png"])
    pyplot.close("all")
    if name.endswith(("png", "jpg")):
        assert io.load(tmp_path / name).ndim == 3
    else:
        with pytest.raises(InvalidArgument, match="written only"):
            io.load(tmp_path / name)


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
        with pytest.raises(InvalidArgument, match="leads out"):
            io.save("x", wrong)
    outputs = _outputs(session)
    assert list(outputs) == ["params.yaml", "deep/er/a.txt", str(outside)]
    assert outputs["deep/er/a.txt"]["sha256"] == hashlib.sha256(b"longer").hexdigest()
    assert outputs["deep/er/a.txt"]["bytes"] == 6
    final = session.SDIR_RUN
    assert final.parent.name == "FINISHED_SUCCESS" and (final / "deep" / "er" / "a.txt").read_text() == "longer"
    assert sorted(os.listdir(final / "CONFIGS")) == ["CONFIG.pkl", "CONFIG.yaml"], "listed in the record, no file more"


def test_data_of_a_figure_and_a_csv_of_the_same_name(session: Any) -> None:
    from matplotlib import pyplot

    figure, ax = pyplot.subplots()
    ax.plot([1, 2])
    io.save([[9]], "sine.csv")
    io.save(figure, "sine.png")
    io.save(figure, "cosine.png")
    io.save(figure, "cosine.png")
    pyplot.close(figure)
    run = session.SDIR_RUN
    assert (run / "sine.csv").read_text() == "9\n"
    assert sorted(path.name for path in run.glob("*.*")) == [
        "cosine.csv",
        "cosine.png",
        "sine.csv",
        "sine.png",
        "sine_data.csv",
    ]
    assert len(_outputs(session)) == 5


class Unwritable:
    def __reduce__(self) -> Any:
        raise RuntimeError("not me")


def test_an_error_leaves_the_old_file_whole(tmp_path: Path) -> None:
    io.save([1], tmp_path / "a.pkl")
    with pytest.raises(RuntimeError):
        io.save([2, Unwritable()], tmp_path / "a.pkl")
    assert io.load(tmp_path / "a.pkl") == [1]
    with pytest.raises(TypeError):
        io.save({"a": object()}, tmp_path / "a.json")
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
