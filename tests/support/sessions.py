"""Sessions: names as they occur and small trees as programs leave them."""

from __future__ import annotations

import os
from pathlib import Path

from support.privileges import is_root
from support.trees import (
    DEFAULT_MTIME_NS,
    Dir,
    Fifo,
    File,
    HardLink,
    PathLike,
    Sparse,
    Symlink,
    Tree,
    acl,
    make,
)

__all__ = ["NAME", "everything", "many", "name", "plain", "supports"]

NAME = "2026Y-02M-13D-14h30m15s_Z5MR"
"""The name of a session, where one is enough."""

_LETTERS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"


def name(number: int) -> str:
    """A different name for each number below 1.6 million."""
    tail = ""
    for _ in range(4):
        number, digit = divmod(number, 36)
        tail = _LETTERS[digit] + tail
    return f"2026Y-02M-13D-14h30m15s_{tail}"


def plain(number: int = 0) -> Tree:
    """A session as programs leave them: configs, logs, a table. What it holds depends on the number."""
    return {
        "CONFIGS": {"CONFIG.yaml": f"SEED: {number}\n" * 30, "CONFIG.pkl": bytes(range(256)) * 2},
        "logs": {"stdout.log": f"step {number}\n" * (number % 50), "stderr.log": ""},
        "results.csv": f"{number},{number * number}\n" * (1 + number % 97),
    }


def many(root: PathLike, count: int, start: int = 0) -> list[bytes]:
    """`count` plain sessions below `root` (made if needed); their paths."""
    Path(os.fsdecode(root)).mkdir(parents=True, exist_ok=True)
    base = os.path.abspath(os.fsencode(root))
    return [make(os.path.join(base, name(i).encode()), plain(i)) for i in range(start, start + count)]


def supports(directory: PathLike, what: str) -> bool:
    """Whether the filesystem of `directory` takes user `xattrs` or `acls`. Asked by trying."""
    probe = os.path.join(os.fsencode(directory), b".probe")
    key, value = {
        "xattrs": ("user.probe", b"1"),
        "acls": ("system.posix_acl_access", acl("user::rw-,user:1001:r--,group::r--,mask::r--,other::---")),
    }[what]
    with open(probe, "wb"):
        pass
    try:
        os.setxattr(probe, key, value)
    except OSError:
        return False
    finally:
        os.unlink(probe)
    return True


def everything(directory: PathLike) -> Tree:
    """A tree with one of everything that an archive must keep on the filesystem of `directory`.

    xattrs and ACLs are left out where that filesystem refuses them.
    """
    xattrs = {b"user.origin": b"lab 7", b"user.raw": bytes(range(256)), b"user.a=b%c": b"", b"user.line": b"a\nb\n"}
    access = {b"system.posix_acl_access": acl("user::rwx,user:1001:r-x,group::r-x,group:1002:-w-,mask::rwx,other::---")}
    default = {b"system.posix_acl_default": acl("user::rwx,user:1001:rwx,group::r-x,mask::rwx,other::r-x")}
    user = xattrs if supports(directory, "xattrs") else {}
    has_acls = supports(directory, "acls")
    long_ascii = "d" * 120
    # What its owner cannot read, or remove from, only root can archive.
    modes = (*((0o000, 0o200) if is_root() else ()), 0o400, 0o600, 0o644, 0o755, 0o777)
    return {
        "a.txt": "hello\n",
        "a": {"x": "a sorts before a.txt and after its own slash"},
        "a-b": "",
        "empty file": File(b""),
        "empty dir": Dir(),
        "sizes": {str(size): b"s" * size for size in (1, 511, 512, 513, 1023, 1024, 1025, 65536, 70000)},
        "modes": {f"{mode:04o}": File(b"m", mode=mode) for mode in modes},
        "special": {
            "setuid": File(b"m", mode=0o4755),
            "setgid": File(b"m", mode=0o2755),
            "sticky": Dir(mode=0o1777),
            "group": Dir({"in": "x"}, mode=0o2770),
        },
        "locked": Dir({"inner": {"file": "reached by handle"}}, mode=0o500 if is_root() else 0o700),
        "times": {
            "whole": File(b"t", mtime_ns=1_600_000_000_000_000_000),
            "nanoseconds": File(b"t", mtime_ns=1_600_000_000_000_000_001),
            "tenth": File(b"t", mtime_ns=1_600_000_000_100_000_000),
            "epoch": File(b"t", mtime_ns=0),
            "before 1970": File(b"t", mtime_ns=-1_500_000_000),
            "half a second before 1970": File(b"t", mtime_ns=-500_000_000),
            "long before": File(b"t", mtime_ns=-86_400 * 365 * 60 * 10**9 - 1),
            "far": File(b"t", mtime_ns=8_589_934_591 * 10**9),
            "farther": File(b"t", mtime_ns=8_589_934_592 * 10**9),
            "dir": Dir({"x": "y"}, mtime_ns=1_234_567_890_987_654_321),
        },
        "links": {
            "relative": Symlink(b"../a.txt"),
            "dangling": Symlink(b"nowhere"),
            "absolute": Symlink(b"/etc/passwd"),
            "outward": Symlink(b"../../../../../etc"),
            "itself": Symlink(b"itself"),
            "top": Symlink(b"."),
            "long": Symlink(b"t/" * 60 + b"end"),
            "exactly 100": Symlink(b"t" * 100),
            "not utf-8": Symlink(b"\xff\xfe"),
            "long and not utf-8": Symlink(b"\xff" * 150),
            "old": Symlink(b"x", mtime_ns=1_000_000_000_000_000_007),
        },
        "hard": {
            "first": "shared\n",
            "second": HardLink(b"hard/first"),
            "deeper": {"third": HardLink(b"hard/first")},
            "empty 1": "",
            "empty 2": HardLink(b"hard/empty 1"),
        },
        "pipe": Fifo(mode=0o620),
        "sparse": {
            "hole at the end": Sparse(1 << 20, ((0, b"begin"),)),
            "hole at the start": Sparse(1 << 20, (((1 << 20) - 4096, b"e" * 4096),)),
            "holes": Sparse(3 << 20, ((65536, b"a" * 5000), (1 << 20, b"b" * 4096), ((3 << 20) - 1, b"z"))),
            "nothing but hole": Sparse(1 << 20),
            "huge": Sparse(1 << 40, ((1 << 39, b"lonely"),)),
            "linked": HardLink(b"sparse/holes"),
        },
        "names": {
            b"\xff\xfe not utf-8": "1",
            b"new\nline": "2",
            b"esc\x1b[31m": "3",
            b"back\\slash": "4",
            b"-rf": "5",
            b" space ": "6",
            b"*?[": "7",
            b"\xe2\x80\xae bidi": "8",
            "é composed".encode(): "9",
            "é decomposed".encode(): "10",
            b"~": "11",
            b".hidden": "12",
            b"..double": "13",
            b"n" * 255: "14",
            b"\xff" * 255: "15",
            "ü".encode() * 127: "16",
            b".gitignore": "*\n",
        },
        "long": {
            long_ascii: {long_ascii: {long_ascii: {"file": "path beyond prefix and name"}}},
            b"\xfe" * 150: {b"\xfe" * 150: {b"file": "long path that is not utf-8"}},
            "p" * 90: {"q" * 60: {"fits the split": "prefix and name"}},
        },
        "deep": _deep(40),
        "xattrs": Dir(
            {"file": File(b"x", xattrs=user), "dir": Dir({"in": "y"}, xattrs=user)},
            xattrs={k: v for k, v in user.items() if k == b"user.origin"},
        ),
        "acls": Dir(
            {
                "file": File(b"x", mode=0o640, xattrs=access if has_acls else {}),
                "dir": Dir({"in": "y"}, xattrs={**access, **default} if has_acls else {}),
            }
        ),
        "young by the clock only": File(b"", mtime_ns=DEFAULT_MTIME_NS + 1),
    }


def _deep(levels: int) -> Tree:
    tree: Tree = {"bottom": "reached"}
    for level in range(levels):
        tree = {f"level {level}": tree}
    return tree
