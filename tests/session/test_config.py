"""CONFIG, the YAML around it and the record."""

from __future__ import annotations

import copy
import enum
import json
import pickle
import shutil
import subprocess
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from runark.errors import ConfigError, OperationFailed
from runark.session.config import Config, SessionConfig, use_debug_values
from runark.session.record import write_record
from runark.session.yaml_config import dump, load_configs, load_yaml
from support.runs import Runner


def test_access() -> None:
    config = Config({"MODEL": {"hidden_size": 3, "layers": [{"n": 1}]}, "rate": 0.1, "Rate": 0.2, 5: "five"})
    assert config["MODEL"]["hidden_size"] == config.MODEL.hidden_size == config.model.HIDDEN_SIZE == 3
    assert config.MODEL.layers[0].n == 1
    assert (config.rate, config.Rate, config[5]) == (0.1, 0.2, "five")
    with pytest.raises(AttributeError, match="RATE"):
        _ = config.RATE  # two keys would fit
    with pytest.raises(KeyError):
        _ = config["nothing"]
    assert "model" in config and "RATE" not in config and config.get("no", 7) == 7
    config.MODEL.hidden_size = 4
    config["model"]["HIDDEN_SIZE"] += 1
    assert config.to_dict()["MODEL"]["hidden_size"] == 5 and list(config.MODEL) == ["hidden_size", "layers"]
    config.NEW = {"a": {"b": 1}}
    assert config.NEW.a.b == 1 and config.new == {"a": {"b": 1}}
    del config.NEW
    assert "NEW" not in config
    assert config.setdefault("other", 1) == 1 and config.pop("OTHER") == 1
    assert config["keys"] == 1 if "keys" in config else callable(config.keys)


def test_it_is_a_dict() -> None:
    config = Config({"a": {"b": [1, {"c": 2}]}})
    assert isinstance(config, dict) and config == {"a": {"b": [1, {"c": 2}]}}
    assert json.loads(json.dumps(config)) == config
    for twin in (pickle.loads(pickle.dumps(config)), copy.deepcopy(config), config.copy(), Config(config)):
        assert twin == config and type(twin) is Config and twin.a.b[1].c == 2
    deep = copy.deepcopy(config)
    deep.a.b[1].c = 3
    assert config.a.b[1].c == 2
    assert (config | {"d": 4}).d == 4 and dict(**config) == config
    assert type(config.to_dict()["a"]) is dict and type(config.to_dict()["a"]["b"][1]) is dict


def test_older_names() -> None:
    config = SessionConfig(SDIR_RUN=Path("/x"), START_DATETIME=1, END_DATETIME=2, RUN_DURATION="3")
    assert config.SDIR == "/x/" and Path("/x") == config.SDIR_PATH
    assert (config.START_TIME, config["END_TIME"], config.run_time) == (1, 2, "3")
    assert "SDIR" not in list(config)


def test_debug_values() -> None:
    config = Config(
        {"size": 10, "DEBUG_size": 1, "inner": {"Rate": 0.5, "debug_RATE": 0.1, "list": [{"n": 5, "DEBUG_n": 1}]}}
    )
    use_debug_values(config)
    assert (config.size, config.inner.Rate, config.inner.list[0].n) == (1, 0.1, 1)


# ----------------------------------------------------------------------------------------------------- yaml


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 0.001),
        ("1.5", 1.5),
        ("-2", -2),
        ("0o17", 15),
        ("0x1F", 31),
        ("017", 17),
        (".5", 0.5),
        (".inf", float("inf")),
        ("-.inf", float("-inf")),
        ("no", "no"),
        ("yes", "yes"),
        ("on", "on"),
        ("true", True),
        ("False", False),
        ("null", None),
        ("~", None),
        ("", None),
        ("12:30:00", "12:30:00"),
        ("2026-02-13", "2026-02-13"),
        ("1_000", "1_000"),
        ("'1'", "1"),
        ("[1, a]", [1, "a"]),
        ("0b11", "0b11"),
        ("+5", 5),
        ("1.", 1.0),
        ("=", "="),
    ],
)
def test_scalars_of_yaml_1_2(tmp_path: Path, text: str, value: Any) -> None:
    (tmp_path / "a.yaml").write_text(f"x: {text}\n")
    found = load_yaml(tmp_path / "a.yaml")["x"]
    assert found == value and type(found) is type(value)


def test_configs(tmp_path: Path) -> None:
    (tmp_path / "A.yaml").write_text("base: &b {x: 1}\nother: {<<: *b, y: 2}\n")
    (tmp_path / "b.yml").write_text("- 1\n- z: 2\n")
    (tmp_path / "empty.yaml").write_text("# nothing\n")
    (tmp_path / "ignored.txt").write_text("::")
    (tmp_path / ".hidden.yaml").write_text("::")
    config = load_configs(tmp_path)
    assert config.to_dict() == {"A": {"base": {"x": 1}, "other": {"x": 1, "y": 2}}, "b": [1, {"z": 2}]}
    assert load_configs(tmp_path / "nowhere") == {}
    (tmp_path / "B.yaml").write_text("1")
    with pytest.raises(ConfigError, match="same name"):
        load_configs(tmp_path)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("a: 1\nb: [1\n", 2),
        ("a: 1\na: 2\n", 2),
        ("a: !!python/object:os.system x\n", 1),
        ("\tx: 1\n", 1),
        ("a: *nobody\n", 1),
        ("a: &a {b: *a}\n", 1),
        ("a: &a [*a]\n", 1),
        ("\n".join(["a0: &a0 x", *(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 12))]), 7),
    ],
)
def test_a_broken_file_is_named_with_its_line(tmp_path: Path, text: str, line: int) -> None:
    (tmp_path / "BAD.yaml").write_text(text)
    with pytest.raises(ConfigError, match=r"BAD\.yaml, line \d+") as caught:
        load_configs(tmp_path)
    assert int(str(caught.value).partition("line ")[2].partition(":")[0]) in (line, line + 1)
    (tmp_path / "BAD.yaml").write_bytes(b"a: \xff\n")
    with pytest.raises(ConfigError, match=r"BAD\.yaml"):
        load_configs(tmp_path)


_plain = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text("abcXYZ-_ 019:", min_size=1), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(st.dictionaries(st.text("abc", min_size=1), _plain, max_size=4))
def test_what_is_written_is_read_again_by_either_version(
    tmp_path_factory: pytest.TempPathFactory, values: dict[str, Any]
) -> None:
    path = tmp_path_factory.mktemp("yaml") / "x.yaml"
    path.write_bytes(dump(values))
    assert load_yaml(path) == values
    assert yaml.safe_load(path.read_bytes()) == values, "YAML 1.1"


# --------------------------------------------------------------------------------------------------- record


class Colour(enum.Enum):
    RED = 1


class Unwilling:
    def __repr__(self) -> str:
        raise RuntimeError("no")

    def __reduce__(self) -> Any:
        raise RuntimeError("no")


def test_whatever_is_in_config_the_record_can_be_written(tmp_path: Path) -> None:
    (tmp_path / "CONFIGS").mkdir()
    circle: list[Any] = []
    circle.append(circle)
    config = SessionConfig(
        score=numpy.float64(0.9),
        flag=numpy.bool_(True),
        array=numpy.arange(3),
        big=numpy.zeros(5000),
        colour=Colour.RED,
        function=lambda: 0,
        path=Path("/a/b"),
        when=datetime(2026, 2, 13),
        odd="\udcff\x00\u2028",
        unwilling=Unwilling(),
        nested={"set": {1}, 2: (1, 2)},
        no="no",
        time="12:30:00",
        exponent="1e-3",
        circle=circle,
        nan=float("nan"),
    )
    write_record(tmp_path, config)
    record = load_yaml(tmp_path / "CONFIGS" / "CONFIG.yaml")
    assert (
        record["score"] == 0.9 and record["flag"] is True and record["array"] == [0, 1, 2] and record["colour"] == "RED"
    )
    assert record["path"] == "/a/b" and record["when"].startswith("2026-02-13T00:00:00")
    assert (record["no"], record["time"], record["exponent"]) == ("no", "12:30:00", "1e-3")
    assert (
        "RuntimeError" in record["unwilling"]
        and "lambda" in record["function"]
        and record["nested"] == {"set": [1], 2: [1, 2]}
    )
    assert yaml.safe_load((tmp_path / "CONFIGS" / "CONFIG.yaml").read_bytes())["exponent"] == "1e-3"
    pickled = pickle.loads((tmp_path / "CONFIGS" / "CONFIG.pkl").read_bytes())
    assert type(pickled) is dict and pickled["path"] == Path("/a/b") and pickled["when"] == datetime(2026, 2, 13)
    assert pickled["score"] == 0.9
    with pytest.raises(OperationFailed, match=r"CONFIG\.yaml"):
        write_record(tmp_path / "nowhere", config)


def test_the_record_tells_where_it_comes_from(run: Runner) -> None:
    git = ["git", "-c", "user.name=n", "-c", "user.email=e@x"]
    text = "import runark as stx\n@stx.session\ndef main(n=1):\n    pass\nmain()\n"
    run.write(text)
    subprocess.run([*git, "init", "-q"], cwd=run.directory, check=True)
    subprocess.run([*git, "add", "job.py"], cwd=run.directory, check=True)
    subprocess.run([*git, "commit", "-qm", "first"], cwd=run.directory, check=True)
    head = subprocess.run(
        [*git, "rev-parse", "HEAD"], cwd=run.directory, check=True, capture_output=True, text=True
    ).stdout.strip()
    ended = run(text, "--n", "5")
    record = ended.record
    assert (record["GIT_COMMIT"], record["GIT_DIRTY"]) == (head, False), "its own outputs do not make it dirty"
    assert record["ARGV"][1:] == ["job.py", "--n", "5"] and record["CWD"] == str(run.directory)
    for key in ("HOST", "PID", "PROCESS_START", "BOOT_ID", "PID_NAMESPACE", "USER", "PYTHON", "RUNARK", "SEED"):
        assert record[key] is not None, key
    shutil.rmtree(ended.out)
    assert run(text + "# changed\n").record["GIT_DIRTY"] is True


def test_the_record_is_there_while_the_session_runs(run: Runner) -> None:
    process = run.begin(
        "import runark as stx\n@stx.session\ndef main():\n    print('x')\n    input()\nmain()\n", stdin=subprocess.PIPE
    )
    assert process.stdout is not None and process.stdout.readline() == "x\n"
    (path,) = run.directory.glob("job_out/RUNNING/*/CONFIGS/CONFIG.yaml")
    record = load_yaml(path)
    assert record["PID"] == process.pid and record["EXIT_STATUS"] is None and record["END_DATETIME"] is None
    assert (path.parent / "CONFIG.pkl").exists()
    process.communicate("\n", timeout=60)


def test_names_that_are_runarks_own(run: Runner) -> None:
    (run.directory / "config").mkdir()
    (run.directory / "config" / "Host.yaml").write_text("a: 1\n")
    ended = run("from runark import session\nsession.start()\n")
    assert ended.code == 1 and "CONFIG.HOST is runark's own" in ended.stderr and not ended.out.exists()


def test_archive_format_from_config(run: Runner) -> None:
    (run.directory / "config").mkdir()
    (run.directory / "config" / "SESSION.yaml").write_text("ARCHIVE_FORMAT: tar.xz\n")
    ended = run("import runark as stx\n@stx.session\ndef main():\n    print('x')\nmain()\n")
    assert ended.code == 0, ended.stderr
    assert [path.name.endswith("-main.tar.xz") for path in (ended.out / "FINISHED_SUCCESS").iterdir()] == [True]
    (run.directory / "config" / "SESSION.yaml").write_text("ARCHIVE_FORMAT: rar\n")
    ended = run("import runark as stx\n@stx.session\ndef main():\n    print('x')\nmain()\n", name="other.py")
    assert ended.code == 1 and "'rar'" in ended.stderr and not ended.out.exists()
