"""A tree for reports: sessions of every age, status and fate, of several scripts and owners, beside archives."""

from __future__ import annotations

import os
import random
import time
from pathlib import Path

from runark.record import boot_id
from runark.session.yaml_config import dump
from support.privileges import is_root
from support.trees import Dir, File, Tree, make

__all__ = ["DAY_NS", "HOSTILE", "build", "hostile", "stamped"]

HOSTILE = (
    b"<", b"a b", b'"><img src=x onerror=alert(1)>', b"'\"`", b"=cmd|' /C calc'!A0", b"+1", b"-1", b"@SUM(A1)",
    b"&lt;&amp;", b"\xe2\x80\xa8\xe2\x80\xa9", b"\xe2\x80\xae\xe2\x80\x8f", b"\xff\xfe", b"back\\slash\\u003c",
    b"two\nlines\r\ttab", b"]]>", b"<!--<script>", b"\x1b[31m\x07", b"\xef\xbf\xbf\xef\xbb\xbf",
    b"${alert(1)}{data}{script}",
    "日本e\u0301".encode(), b"\xf0\x9f\x98\x80\xed\xa0\x80", b"\xc2\xa0\xc2\xad\x7f\xc2\x85",
)  # fmt: skip
"""Names for directories."""

DAY_NS = 86_400 * 10**9
_LETTERS = "ABCDEFGHJKMNPQRSTUVWXYZ23456789"
_OWNERS = (1001, 1002, 1003)


def stamped(time_ns: int, number: int) -> str:
    """The name of a session that began then; a different one for each number below 900,000."""
    tail = ""
    for _ in range(4):
        number, digit = divmod(number, len(_LETTERS))
        tail += _LETTERS[digit]
    return time.strftime("%YY-%mM-%dD-%Hh%Mm%Ss_", time.localtime(time_ns // 10**9)) + tail


def build(root: Path, sessions: int = 120, scripts: tuple[str, ...] = ("train", "eval"), seed: int = 1) -> None:
    """Make it below `root`: nine tenths successes, some errors, one marked session, two ghosts (one without a record),
    one session in an archive set aside, an archive for every tenth session, and one session that nobody may archive as
    its record is that of this process."""
    rng = random.Random(seed)
    now = time.time_ns()
    for number in range(sessions):
        script = scripts[min(int(rng.expovariate(1.2)), len(scripts) - 1)]
        newest = now - int(DAY_NS * min(rng.expovariate(1 / 200), 1800)) - 60 * 10**9
        state = "FINISHED_ERROR" if number % 10 == 3 else "FINISHED_SUCCESS"
        place = root / f"{script}_out" / state
        place.mkdir(parents=True, exist_ok=True)
        name = stamped(newest, number)
        made = make(place / name, _session(rng, newest))
        if is_root():
            os.chown(made, owner := _OWNERS[number % len(_OWNERS)], owner)
            os.utime(made, ns=(newest, newest))
        if number % 10 == 7:
            archive = place / (stamped(newest - DAY_NS, number) + ".tar.gz")
            archive.write_bytes(rng.randbytes(3000))
            os.utime(archive, ns=(newest, newest))
    _oddities(root / f"{scripts[0]}_out", now)


def _text(path: Path) -> str:
    """For YAML, which takes no bytes that are no text."""
    return os.fsencode(path).decode("utf-8", "replace")


def _session(rng: random.Random, newest: int) -> Dir:
    old = newest - 10**9

    def text(size: int) -> File:
        return File("".join(rng.choices("0123456789,.\n", k=size)).encode(), mtime_ns=old)

    size = int(2 ** rng.uniform(5, 15))
    tree: Tree = {
        "CONFIGS": Dir({"CONFIG.yaml": text(300), "CONFIG.pkl": File(rng.randbytes(400), mtime_ns=old)}, mtime_ns=old),
        "logs": Dir({"stdout.log": text(size // 4), "stderr.log": File(b"", mtime_ns=old)}, mtime_ns=old),
        "results.csv": text(size),
        **{f"figure_{i}.csv": text(50) for i in range(rng.randrange(4))},
    }
    return Dir(tree, mtime_ns=newest)


def _oddities(script: Path, now: int) -> None:
    old = now - 50 * DAY_NS
    success, running = script / "FINISHED_SUCCESS", script / "RUNNING"
    make(success / stamped(old, 9), Dir({".noarchive": "", "kept.csv": "1\n"}, mtime_ns=old))
    (success / f".{stamped(old, 5)}.tar.gz.damaged-{'0123456789abcdef'}").write_bytes(b"x" * 100)
    ghost = running / stamped(old, 6)
    (ghost / "CONFIGS").mkdir(parents=True)
    record = {
        "ID": ghost.name, "SDIR_RUN": _text(ghost), "HOST": os.uname().nodename, "PID": 4_000_000, "PROCESS_START": 1,
        "BOOT_ID": boot_id(), "EXIT_STATUS": None, "END_DATETIME": None,
    }  # fmt: skip
    (ghost / "CONFIGS" / "CONFIG.yaml").write_bytes(dump(record))
    make(running / stamped(old, 7), Dir({"started.log": "and nothing more\n"}, mtime_ns=old))
    alive = script / stamped(now - DAY_NS, 8)
    (alive / "CONFIGS").mkdir(parents=True)
    record |= {"ID": alive.name, "SDIR_RUN": _text(alive), "PID": os.getpid(), "PROCESS_START": None}
    (alive / "CONFIGS" / "CONFIG.yaml").write_bytes(dump(record))


def hostile(root: Path) -> Path:
    """A session in a directory of each of these names, in one whose path holds `</script>`, and one whose own name is
    of that kind. All very old."""
    old = Dir({"a": "1"}, mtime_ns=10**18)
    places = [os.fsencode(root) + b"/" + name for name in (*HOSTILE, b"</script>alert(1)</script>")]
    for number, place in enumerate(places):
        os.makedirs(place, exist_ok=True)
        make(os.path.join(place, stamped(10**18, number).encode()), old)
    make(os.path.join(os.fsencode(root), stamped(10**18, len(places)).encode() + b'-<script>"\xff\n\xe2\x80\xa8&'), old)
    return root
