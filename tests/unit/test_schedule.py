"""What is printed for schedulers, read as they read it: the words that arrive are those that were meant."""

from __future__ import annotations

import configparser
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from runark.errors import InvalidArgument
from runark.schedule import cron, slurm, systemd
from runark.schedule.job import At, Job, parse_at

NASTY = (
    "plain", "", "two words", "it's", 'a "quote"', "100%", "%", "a\\%b", "back\\slash\\", "$HOME ${x} $(id) `id`", ";",
    "*", "~", "#", "é", "\udcff\udc80", "-x", "&& false", "%%\\%'%'",
)  # fmt: skip
AT = At(2, 5)

ECHO = '#!/bin/sh\nprintf "%s\\0" "$@" > "$ECHO_OUT"\nexit "${ECHO_CODE:-0}"\n'


@pytest.fixture(params=["python", "a py'th\"on %$x\\"])
def job(request: pytest.FixtureRequest, tmp_path: Path) -> Job:
    """A job whose interpreter writes its arguments, each with NUL, to $ECHO_OUT."""
    program = tmp_path / request.param
    program.write_text(ECHO)
    program.chmod(0o755)
    return Job((str(program), *NASTY), AT, 180)


def arrived(tmp_path: Path, command: list[bytes], **env: str) -> tuple[int, list[str]]:
    """The exit code of the command, and what the interpreter was given."""
    out = tmp_path / "out"
    done = subprocess.run(
        command, cwd=tmp_path, env={**os.environ, "ECHO_OUT": str(out), **env}, check=False, timeout=60
    )
    return done.returncode, [os.fsdecode(word) for word in out.read_bytes().split(b"\0")[:-1]]


# ------------------------------------------------------------------------------------------------ cron


def as_cron(command: str) -> str:
    """What cron hands to the shell, by crontab(5): up to the first percent sign that has no backslash before it; of
    those that have, the backslash is taken away."""
    taken, escaped = "", False
    for char in command:
        if escaped and char == "%":
            taken = taken[:-1] + char
            escaped = False
        elif char == "%":
            return taken
        else:
            taken += char
            escaped = char == "\\" and not escaped
    return taken


def test_cron(job: Job, tmp_path: Path) -> None:
    comment, entry, end = cron.line(job).split("\n")
    assert comment.startswith("#") and end == ""
    minute, hour, *days, command = entry.split(" ", 5)
    assert (minute, hour, days) == ("5", "2", ["*", "*", "*"])
    assert arrived(tmp_path, [b"/bin/sh", b"-c", os.fsencode(as_cron(command))]) == (0, list(NASTY))


# ------------------------------------------------------------------------------------------------ systemd


def files_of(text: str) -> dict[str, str]:
    """Name -> content of each file, as the comments have them."""
    parts = re.split(r"^# ---- ", text, flags=re.MULTILINE)[1:]
    return {part.partition("\n")[0]: part.partition("\n")[2] for part in parts}


def parsed(text: str) -> configparser.ConfigParser:
    reader = configparser.RawConfigParser(strict=True)
    reader.optionxform = str  # type: ignore[assignment,method-assign]
    reader.read_string(text)
    return reader


def as_systemd(command: str) -> list[str]:
    """The words of ExecStart=, by systemd.service(5): all are quoted here, escapes as in C, %% and $$."""
    words = re.findall(r'"((?:[^"\\]|\\.)*)"', command)
    assert " ".join(f'"{word}"' for word in words) == command and command.isascii()
    plain = [re.sub(r"%%|\$\$", lambda found: found[0][0], word) for word in words]
    assert not any(re.search(r"(?<!%)%(?!%)", word.replace("%%", "")) for word in words)
    assert not any("$" in word.replace("$$", "") for word in words)
    raw = [
        re.sub(
            rb"\\x([0-9a-f]{2})|\\(.)", lambda found: bytes.fromhex(found[1].decode()) if found[1] else found[2], word
        )
        for word in (word.encode("ascii") for word in plain)
    ]
    return [os.fsdecode(word) for word in raw]


@pytest.mark.parametrize("user", [False, True])
def test_systemd(job: Job, tmp_path: Path, user: bool) -> None:
    text = systemd.units(job, user=user)
    found = files_of(text)
    where = "~/.config/systemd/user" if user else "/etc/systemd/system"
    assert list(found) == [f"{where}/runark-nightly.service", f"{where}/runark-nightly.timer"]
    service, timer = map(parsed, found.values())
    words = as_systemd(service["Service"]["ExecStart"])
    assert words[0] in (job.words[0], "/usr/bin/env")
    assert re.fullmatch(r"[\w./-]+", words[0]), "the program's own path may hold nothing special"
    assert arrived(tmp_path, [os.fsencode(word) for word in words]) == (0, list(NASTY))
    assert service["Service"]["Type"] == "oneshot" and service["Service"]["SuccessExitStatus"] == "75"
    assert timer["Timer"]["OnCalendar"] == "*-*-* 02:05:00" and timer["Install"]["WantedBy"] == "timers.target"
    if shutil.which("systemd-analyze") is not None:  # its word as well, where it is
        for path, content in found.items():
            (tmp_path / os.path.basename(path)).write_text(content)
        checked = subprocess.run(
            ["systemd-analyze", "verify", "--man=no", "./runark-nightly.timer", "./runark-nightly.service"],
            cwd=tmp_path, capture_output=True, check=False, timeout=60,
        )  # fmt: skip
        assert (checked.returncode, checked.stdout, checked.stderr) == (0, b"", b"")


# ------------------------------------------------------------------------------------------------ Slurm


@pytest.fixture
def sbatch(tmp_path: Path) -> dict[str, str]:
    """An environment in which `sbatch` writes its arguments to the file `submitted`."""
    (tmp_path / "bin").mkdir()
    program = tmp_path / "bin" / "sbatch"
    program.write_text(f'#!/bin/sh\nprintf "%s\\0" "$@" >> "{tmp_path}/submitted"\n')
    program.chmod(0o755)
    return {"PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}", "TZ": "UTC"}


@pytest.mark.parametrize(("code", "told"), [(0, 0), (75, 0), (3, 3), (11, 11)])
def test_slurm(job: Job, tmp_path: Path, sbatch: dict[str, str], code: int, told: int) -> None:
    script = tmp_path / "night.sh"
    script.write_bytes(os.fsencode(slurm.script(job, ("partition=long",))))
    lines = script.read_bytes().splitlines()
    assert lines[0] == b"#!/bin/bash" and b"#SBATCH --partition=long" in lines and b"#SBATCH --time=03:15:00" in lines
    command = [b"bash", bytes(script)]
    assert arrived(tmp_path, command, ECHO_CODE=str(code), **sbatch) == (told, list(NASTY))
    quiet, begin, again, _ = (tmp_path / "submitted").read_text().split("\0")
    assert (quiet, again) == ("--quiet", str(script))
    assert re.fullmatch(r"--begin=\d{4}-\d\d-\d\dT02:05", begin)
    (tmp_path / "submitted").unlink()
    arrived(tmp_path, command, SLURM_RESTART_COUNT="1", **sbatch)
    assert not (tmp_path / "submitted").exists(), "a job that was put back has submitted the next one already"


def test_slurm_hands_the_signal_on(tmp_path: Path, sbatch: dict[str, str]) -> None:
    program = tmp_path / "python"
    program.write_text(
        f"#!/bin/bash\ntrap 'echo stopped > {tmp_path}/seen; exit 75' TERM\necho > {tmp_path}/up\n"
        "for i in $(seq 600); do sleep 0.1; done\n"
    )
    program.chmod(0o755)
    script = tmp_path / "night.sh"
    script.write_text(slurm.script(Job((str(program),), AT, 180)))
    process = subprocess.Popen(["bash", script], cwd=tmp_path, env={**os.environ, **sbatch})
    try:
        while not (tmp_path / "up").exists():
            assert process.poll() is None
            subprocess.run(["sleep", "0.05"], check=True)
        process.terminate()  # to the script alone, as --signal=B:TERM does
        assert process.wait(timeout=30) == 0
    finally:
        process.kill()
    assert (tmp_path / "seen").read_text() == "stopped\n"


def test_scrontab(tmp_path: Path) -> None:
    program = tmp_path / "python x"
    program.write_text(ECHO)
    program.chmod(0o755)
    words = [word for word in NASTY if "%" not in word]
    text = slurm.cron_line(Job((str(program), *words), AT, 60), ("account=lab",))
    *directives, entry = text.rstrip("\n").split("\n")
    assert all(line.startswith("#") for line in directives)
    assert "#SCRON --account=lab" in directives and "#SCRON --time=01:15:00" in directives
    command = entry.removeprefix("5 2 * * * ")
    assert arrived(tmp_path, [b"/bin/sh", b"-c", os.fsencode(command)]) == (0, words)
    with pytest.raises(InvalidArgument, match="'%'"):
        slurm.cron_line(Job((str(program), "100%"), AT, 60))


@pytest.mark.parametrize("option", ["", "--partition=x", "partition=a b", "a\nb", 'x="1"', "x=#1", "output=%j"])
def test_no_options_of_sbatch(option: str) -> None:
    for maker in (slurm.script, slurm.cron_line):
        with pytest.raises(InvalidArgument, match=r"^sbatch: "):
            maker(Job(("python",), AT, 60), (option,))


# ------------------------------------------------------------------------------------------------ the job


@pytest.mark.parametrize(("text", "at"), [("02:30", (2, 30)), ("2:05", (2, 5)), ("23:59", (23, 59)), ("00:00", (0, 0))])
def test_times(text: str, at: tuple[int, int]) -> None:
    assert parse_at(text) == at


@pytest.mark.parametrize("text", ["", "24:00", "2", "02:60", "2:5", "02:30:00", "noon", "-1:00"])
def test_no_times(text: str) -> None:
    with pytest.raises(InvalidArgument, match=r"^at: "):
        parse_at(text)


@pytest.mark.parametrize("word", ["a\nb", "a\rb", "\t", "\x1b[0m", "\x7f"])
def test_no_line_breaks(word: str) -> None:
    with pytest.raises(InvalidArgument, match="rename it"):
        Job(("python", word), AT, 60).check()
