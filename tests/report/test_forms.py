"""The files: what stands in them, that other programs read them, and how they are written."""

from __future__ import annotations

import csv
import io
import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pyarrow.parquet
import pytest

from runark import plan
from runark.archive.control import Control
from runark.archive.filters import Filters
from runark.cli.main import main as command
from runark.engine.protocol import Engine
from runark.errors import InvalidArgument, OperationFailed
from runark.names import escape, from_json_path
from runark.report.figures import Report
from runark.report.forms import Target, check_targets, write_report
from runark.report.previous import read_previous
from runark.report.survey import survey
from support import surveyed, tools
from support.cli import clean_environment, executable, runark
from support.surveyed import HOSTILE, hostile, stamped
from support.trees import Dir, make, snapshot


def written(report: Report, path: Path, form: str) -> bytes:
    write_report(report, Target(os.fsencode(path), form))
    return path.read_bytes()


@pytest.fixture(scope="module")
def strange(tmp_path_factory: pytest.TempPathFactory) -> Report:
    """The report of `hostile`."""
    return survey(hostile(tmp_path_factory.mktemp("hostile") / "<b>&root"))


def test_csv(tree: Path, tmp_path: Path, engine: Engine) -> None:
    report = survey(tree, engine=engine.name)
    rows = list(csv.DictReader(io.StringIO(written(report, tmp_path / "r.csv", "csv").decode())))
    assert [row["path"] for row in rows] == [escape(row.path) for row in report.plan.scan]
    assert sum(row["fate"] == "goes" for row in rows) == report.cuts[0].sums.sessions
    assert {row["fate"] for row in rows} == {"", "goes", *report.skipped}
    went = [row for row in rows if row["fate"] == "goes"]
    for name in ("inodes", "size", "allocated"):
        assert sum(int(row[name]) for row in went) == getattr(report.cuts[0].sums, name)
    assert went[0]["started"] and went[0]["newest"].endswith("+00:00")


def test_csv_of_hostile_names(strange: Report, tmp_path: Path) -> None:
    text = written(strange, tmp_path / "r.csv", "csv").decode()
    rows = list(csv.reader(io.StringIO(text)))
    assert len(rows) == text.count("\r\n") == len(strange.plan.scan) + 1 and {len(row) for row in rows} == {13}
    assert not any(cell.startswith(("=", "+", "@", "-")) for row in rows for cell in row)


def test_parquet(strange: Report, tree: Path, tmp_path: Path, engine: Engine) -> None:
    for report in (strange, survey(tree, engine=engine.name, filters=None)):
        path = tmp_path / "r.parquet"
        written(report, path, "parquet")
        table = pyarrow.parquet.read_table(path)
        scan = report.plan.scan
        assert table.column("path").to_pylist() == [row.path for row in scan]
        assert table.column("inodes").to_pylist() == list(scan.column("inodes"))
        assert table.column("fate").to_pylist().count("goes") == report.cuts[0].sums.sessions
        newest = table.column("newest").to_pylist()
        assert [round(at.timestamp()) for at in newest] == [round(row.newest_ns // 1000 / 1e6) for row in scan]


def nodes(tree: Any, above: bytes = b"") -> dict[bytes, Any]:
    """Path -> entry of what ncdu has written: a directory is a list that begins with itself."""
    entry, *inside = tree if isinstance(tree, list) else [tree]
    path = above + b"/" * bool(above) + entry["name"].encode("utf-8", "surrogateescape")
    found = {path: entry}
    for child in inside:
        found.update(nodes(child, path))
    return found


def ncdu(path: Path) -> dict[bytes, Any]:
    """What the real program makes of the file: it is read and written again."""
    again = tools.quiet("ncdu", "-f", os.fsencode(path), "-o", "-")
    version, minor, about, tree = json.loads(again.decode("utf-8", "surrogateescape"))
    assert (version, minor, about["progname"]) == (1, 2, "ncdu")
    return nodes(tree)


def test_ncdu_reads_it(strange: Report, tree: Path, tmp_path: Path, engine: Engine) -> None:
    for report in (strange, survey(tree, engine=engine.name)):
        written(report, tmp_path / "r.ncdu.json", "ncdu")
        found, scan = ncdu(tmp_path / "r.ncdu.json"), report.plan.scan
        for row in scan:
            entry = found[row.path]
            assert (entry.get("asize", 0), entry.get("dsize", 0)) == (row.size, row.allocated)
        above = {
            b"/".join(parts[:end]) for parts in (row.path.split(b"/") for row in scan) for end in range(len(parts))
        }
        below = {path for path in above if path.startswith(scan.roots[0])}
        assert found.keys() == {row.path for row in scan} | below


def test_ncdu_of_several_roots_and_of_a_root_that_is_a_session(tmp_path: Path) -> None:
    for place in ("a/x", "b/y"):
        (tmp_path / place).mkdir(parents=True)
        make(tmp_path / place / stamped(10**18, 1), Dir({"f": "1"}, mtime_ns=10**18))
    target = tmp_path / "r.json"
    written(survey(tmp_path / "a", tmp_path / "b"), target, "ncdu")
    top, name = os.fsencode(tmp_path), stamped(10**18, 1).encode()
    below = (b"/a", b"/a/x", b"/a/x/" + name, b"/b", b"/b/y", b"/b/y/" + name)
    assert ncdu(target).keys() == {top, *(top + path for path in below)}
    alone = tmp_path / "a" / "x" / stamped(10**18, 1)
    written(survey(alone), target, "ncdu")
    assert list(ncdu(target)) == [os.fsencode(alone.parent), os.fsencode(alone)]


def test_json_is_the_document(strange: Report, tmp_path: Path) -> None:
    document = json.loads(written(strange, tmp_path / "r.json", "json"))
    assert document == json.loads(json.dumps(strange.to_json()))
    scripts = {from_json_path(group["name"]) for group in document["scripts"]}
    root = strange.plan.roots[0]
    assert {root + b"/" + name for name in HOSTILE} <= scripts | {root}


def test_nothing_ends_the_element_of_the_data(strange: Report, tmp_path: Path) -> None:
    page = written(strange, tmp_path / "r.html", "html")
    data = page[page.index(b'type="application/json">') : page.rindex(b"<script>")]
    assert data.count(b"<") == 1 and b"&" not in data and data.isascii()
    assert page.count(b"<script") == 2 and page.count(b"</script>") == 2 and b"{data}" in data
    assert b"http://www.w3.org" in page and page.count(b"http") == 1 + page.count(b"http-equiv")
    assert read_previous(os.fsencode(tmp_path / "r.html")) == json.loads(json.dumps(strange.to_json()))


# ------------------------------------------------------------------------------------------------ files


def test_a_file_is_replaced_whole_or_not(strange: Report, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "r.json"
    path.write_text("before")

    def broken(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", broken)
        with pytest.raises(OperationFailed, match=r"r\.json: cannot write the report: No space left"):
            write_report(strange, Target(os.fsencode(path), "json"))
    assert path.read_text() == "before" and os.listdir(tmp_path) == ["r.json"]
    (tmp_path / "link.json").symlink_to("r.json")
    write_report(strange, Target(os.fsencode(tmp_path / "link.json"), "json"))
    assert (tmp_path / "link.json").is_symlink() and json.loads(path.read_text())["what"] == "report"


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("r.txt", "does not tell the form"),
        ("dir.html", "is no file"),
        ("gone/r.html", "there is no directory"),
        ("p.csv", "is no file"),
    ],
)
def test_places_that_cannot_be_written_to(tmp_path: Path, name: str, why: str) -> None:
    (tmp_path / "dir.html").mkdir()
    os.mkfifo(tmp_path / "p.csv")
    with pytest.raises(InvalidArgument, match=why):
        check_targets([os.fsencode(tmp_path / name)])


def test_forms_by_name(tmp_path: Path) -> None:
    at = os.fsencode(tmp_path) + b"/"
    names = (b"a.HTML", b"b.htm", b"c.json", b"d.ncdu.json", b"e.ncdu", b"f.csv", b"g.parquet")
    forms = [target.form for target in check_targets([at + name for name in names])]
    assert forms == ["html", "html", "json", "ncdu", "ncdu", "csv", "parquet"]
    assert check_targets([at + b"x"], "csv")[0].form == "csv"
    with pytest.raises(InvalidArgument, match="twice"):
        check_targets([at + b"a.html", at + b"./a.html"])


# ------------------------------------------------------------------------------------------------ the command


def test_the_command(tree: Path, tmp_path: Path, engine: Engine) -> None:
    words = ("--engine", engine.name, "scan", tree, "--older-than", "100d")
    files = [word for name in ("r.html", "r.csv", "r.json") for word in ("--report", tmp_path / name)]
    done = runark(*words, *files).ok()
    document = json.loads((tmp_path / "r.json").read_bytes())
    cut = document["cuts"][document["start"]]
    todo = plan(tree, filters=None, engine=engine.name)
    assert document["scanned"]["eligible"] == len(todo.jobs)
    for text in (
        f"{cut['sessions']} sessions would go",
        f"{cut['inodes_freed']} inodes would come free",
        "--older-than 100d --execute",
    ):
        assert text.encode() in done.out
    assert b"r.html" in done.err and len(os.listdir(tmp_path)) == 3
    again = runark(*words, "--report", tmp_path / "r.html", "--summary").ok()
    assert b"since the report of" in again.out and b"+0 sessions" in again.out
    assert runark(*words, "--summary").ok().out.splitlines()[1:3] == done.out.splitlines()[1:3]


def test_the_commands_do_what_the_report_says(tmp_path: Path, engine: Engine) -> None:
    """In a shell, whatever the root is called; and the undoing too."""
    root = tmp_path / os.fsdecode(b'it\'s "a" $root\n\xff `x` \\')
    surveyed.build(root, 30)
    before = snapshot(root)
    report = survey(root, filters=Filters(older_than="100d", glob=("20*",)), engine=engine.name)
    cut = report.cuts[report.start]
    path = os.path.dirname(executable()) + os.pathsep + os.environ["PATH"]

    def shell(command: str) -> bytes:
        done = subprocess.run(
            ["bash", "-c", command], env=clean_environment(PATH=path, RUNARK_ENGINE=engine.name), capture_output=True
        )
        assert done.returncode == 0, done.stderr.decode(errors="replace")
        return done.stdout

    assert f"{cut.sums.sessions} sessions to archive".encode() in shell(report.commands.archive + cut.option)
    assert f"{cut.sums.sessions} archived".encode() in shell(f"{report.commands.archive}{cut.option} --execute")
    assert survey(root, engine=engine.name).scanned["sessions"] == report.scanned["sessions"] - cut.sums.sessions
    for archive in root.rglob("*.tar.gz"):  # those of the tree are no archives
        if archive.stat().st_size == 3000:
            archive.unlink()
    name = os.path.basename(report.plan.jobs[0].path).decode()
    shell(report.commands.undo)
    after = snapshot(root)
    sessions = {path for path in before if b"CONFIG" in path}
    assert sessions and all(before[path] == after.get(path) for path in sessions)
    assert name in shell(report.commands.undo_one.replace(" NAME --execute", f" {name}; true")).decode()


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["--summary", "--older-than", "soon"], b"--older-than: cannot read"),
        (["--report", "r.txt"], b"--report-format"),
        (["--report-format", "csv"], b"there is none"),
        (["--summary", "-0"], b"go without"),
        (["--summary", "--no-measure"], b"go without"),
        (["--summary", "--limit", "3"], b"go without"),
    ],
)
def test_usage(tree: Path, tmp_path: Path, words: list[str], why: bytes) -> None:
    assert why in runark("scan", tree, *words, cwd=tmp_path).expect(2).err and os.listdir(tmp_path) == []


def test_an_interrupted_scan_replaces_no_report(
    tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, engine: Engine
) -> None:
    path = tmp_path / "r.html"
    path.write_text("of yesterday")

    def stopped(*roots: Any, control: Control, **arguments: Any) -> Report:
        control.stop()
        return survey(*roots, control=control, **arguments)

    monkeypatch.setattr("runark.report.survey.survey", stopped)
    with pytest.raises(SystemExit):
        command.main(["--engine", engine.name, "scan", str(tree), "--report", str(path)])
    assert path.read_text() == "of yesterday" and os.listdir(tmp_path) == ["r.html"]


def test_without_pyarrow(tree: Path, tmp_path: Path) -> None:
    (tmp_path / "none" / "pyarrow").mkdir(parents=True)
    (tmp_path / "none" / "pyarrow" / "__init__.py").write_text("raise ImportError('not here')\n")
    done = runark("scan", tree, "--report", tmp_path / "r.parquet", PYTHONPATH=os.fspath(tmp_path / "none"))
    assert b"pip install 'runark[report]'" in done.expect(1).err and not (tmp_path / "r.parquet").exists()
