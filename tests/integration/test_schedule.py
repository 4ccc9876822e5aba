"""`runark schedule`: what it prints runs this very interpreter with the policy that was named."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from support.cli import Done, clean_environment, module
from support.trees import PathLike

COMMAND = "-m runark nightly --config {policy} --execute --quiet --time-budget 3h"


def schedule(*words: PathLike, cwd: Path | None = None, **env: str) -> Done:
    """`runark schedule`, run by the interpreter that its output is to name."""
    command = [*map(os.fsencode, module()), b"schedule", *map(os.fsencode, words)]
    done = subprocess.run(command, cwd=cwd, capture_output=True, env=clean_environment(**env), check=False, timeout=60)
    return Done(done.returncode, done.stdout, done.stderr)


@pytest.fixture
def policy(tmp_path: Path) -> Path:
    (tmp_path / "lab").mkdir()
    path = tmp_path / "lab" / "runark.yaml"
    path.write_text("")
    return path


def test_cron(policy: Path) -> None:
    wanted = f"30 2 * * * {sys.executable} {COMMAND.format(policy=policy)}\n"
    assert schedule("cron", "--config", policy).ok().out.decode().splitlines(keepends=True)[1:] == [wanted]
    there = schedule("cron", cwd=policy.parent).ok()
    assert there.out.decode().splitlines(keepends=True)[1:] == [wanted] and there.err == b""
    words = ["--at", "23:5", "--until", "6:00", "--time-budget", "90m", "--metrics", "m.prom", "--drill", "3"]
    schedule("cron", *words, cwd=policy.parent).expect(2)
    words[1] = "23:05"
    out = schedule("cron", *words, cwd=policy.parent).ok().out.decode()
    assert "\n5 23 * * * " in out and out.endswith(
        f" --time-budget 90m --until 06:00 --metrics {policy.parent}/m.prom --drill 3\n"
    )


def test_names_of_any_bytes(policy: Path) -> None:
    odd = policy.parent / os.fsdecode(b"a\xff b'%.yaml")
    policy.rename(odd)
    out = schedule("cron", "--config", odd).ok().out
    assert b"'" + bytes(policy.parent) + b"/a\xff b'\"'\"''\\%.yaml" in out
    assert b"a\\xff b'%%.yaml\"" in schedule("systemd", "--config", odd).ok().out
    assert b"a\xff b'\"'\"'%.yaml'" in schedule("slurm", "--config", odd).ok().out
    schedule("scrontab", "--config", odd).expect(2)


@pytest.mark.parametrize("locale", ["C", "C.UTF-8"])
def test_any_locale(policy: Path, locale: str) -> None:
    odd = policy.parent / "é.yaml"
    policy.rename(odd)
    assert os.fsencode(odd) in schedule("cron", "--config", odd, LC_ALL=locale).ok().out


def test_systemd(policy: Path) -> None:
    system = schedule("systemd", "--system", "--config", policy).ok().out.decode()
    user = schedule("systemd", "--user", "--config", policy).ok().out.decode()
    words = " ".join(f'"{word}"' for word in [sys.executable, *COMMAND.format(policy=policy).split()])
    assert f"\nExecStart={words}\n" in system and f"\nExecStart={words}\n" in user
    assert "/etc/systemd/system/runark-nightly.timer" in system and "remote-fs.target" in system
    assert "~/.config/systemd/user/runark-nightly.timer" in user and "remote-fs.target" not in user
    assert schedule("systemd", "--config", policy).ok().out.decode() == (user if os.geteuid() != 0 else system)


def test_slurm_is_a_script(policy: Path, tmp_path: Path) -> None:
    out = schedule("slurm", "--config", policy, "--sbatch", "partition=long", "--sbatch", "account=lab").ok().out
    assert b"\n#SBATCH --partition=long\n#SBATCH --account=lab\n" in out
    (tmp_path / "night.sh").write_bytes(out)
    subprocess.run(["bash", "-n", tmp_path / "night.sh"], check=True, env=clean_environment())
    line = schedule("scrontab", "--config", policy).ok().out.decode().splitlines()[-1]
    assert line == f"30 2 * * * {sys.executable} {COMMAND.format(policy=policy)}"


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["cron", "--at", "25:00"], 2),
        (["cron", "--until", "soon"], 2),
        (["cron", "--time-budget", "3"], 2),
        (["cron", "--drill", "0"], 2),
        (["cron", "--user"], 2),
        (["cron", "--sbatch", "partition=long"], 2),
        (["slurm", "--sbatch", "partition=long term"], 2),
        (["launchd"], 2),
        ([], 2),
        (["cron", "--config", "missing.yaml"], 10),
        (["cron", "--config", "."], 10),
        (["cron", "--metrics", "a\nb"], 2),
    ],
    ids=lambda value: repr(value),
)
def test_mistakes(policy: Path, words: list[str], code: int) -> None:
    done = schedule(*words, cwd=policy.parent).expect(code)
    assert done.out == b"" and done.err


def test_no_policy(tmp_path: Path) -> None:
    assert b"--config" in schedule("cron", cwd=tmp_path).expect(10).err
