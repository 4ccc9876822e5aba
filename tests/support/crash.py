"""What a power cut can leave: every state of the disk, worked out from a recording of system calls.

A recording is a list of effects in the order in which they happened: names made, moved and taken away in
directories, data written to files, syncs. At a crash everything that a finished sync covers is there. Of the rest:

data     of each file written and not synced: nothing, zeros, the first half or all of it
names    `ordered` (a journal, as ext4, xfs, btrfs): the first k of the changes not synced, any k; a sync of anything
         covers all names before it
         unordered (nothing promised, as on parallel filesystems): any subset of the changes not synced; a sync of a
         directory covers its own names only

Every state is made of real files, so that what comes after it is the real engine.
"""

from __future__ import annotations

import itertools
import os
import re
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from support.traced import SYNCS, Call

__all__ = ["Change", "State", "Sync", "Write", "build", "effects_of", "states"]

DATA = ("nothing", "zeros", "half", "all")


class Change(NamedTuple):
    """A name made (`old` empty), taken away (`new` empty) or moved.

    Paths are relative to the root, what is moved keeps its first name in them: a change below a tombstone may be there
    when the tombstone's own name is not.
    """

    old: str
    new: str
    directory: bool = False


class Write(NamedTuple):
    """Data written to a file, known by the name under which it was made."""

    file: str


class Sync(NamedTuple):
    """A finished sync of a file (by the name under which it was made), of the directory "." or of everything ("*")."""

    what: str


class State(NamedTuple):
    """Which changes of names are there, and what of the data of each file written."""

    changes: tuple[Change, ...]
    data: tuple[tuple[str, str], ...]


_OPENED = re.compile(r'(?:\d+|AT_FDCWD)(?:<(?P<dir>[^>]*)>)?, "(?P<name>[^"]*)"')
_RENAMED = re.compile(r'\d+<(?P<a>[^>]*)>, "(?P<old>[^"]*)", \d+<(?P<b>[^>]*)>, "(?P<new>[^"]*)"')
_HANDLE = re.compile(r"\d+<(?P<path>[^>]*)>")


def effects_of(calls: Sequence[Call], root: Path) -> list[Change | Write | Sync]:
    """The effects of a recording below `root`. Fails on a call that it does not know."""
    top = os.path.realpath(root)
    found: list[Change | Write | Sync] = []
    made: set[str] = set()
    first: dict[str, str] = {}  # the present name of what was made or moved in the root, and its first one

    def below(path: str) -> str:
        name, slash, rest = os.path.relpath(path, top).partition("/")
        return first.get(name, name) + slash + rest

    for call in calls:
        if call.result is None or call.result < 0:
            continue
        if call.creates() or call.name in ("unlinkat", "mkdirat"):
            match = _OPENED.match(call.args)
            assert match is not None and match["dir"], call
            path = below(os.path.join(match["dir"], match["name"]))
            if call.name == "unlinkat":
                found.append(Change(path, "", "AT_REMOVEDIR" in call.args))
            elif call.name == "openat":
                found.append(Change("", path))
                made.add(path)
            else:
                raise AssertionError(f"an effect the model does not know: {call}")
        elif call.name == "renameat2":
            match = _RENAMED.match(call.args)
            assert match is not None, call
            assert match["a"] == match["b"] == top, call
            old = first.pop(match["old"], match["old"])
            found.append(Change(old, match["new"]))
            first[match["new"]] = old
        elif call.name in ("write", "pwrite64", *SYNCS):
            match = _HANDLE.match(call.args)
            assert match is not None, call
            path = below(match["path"])
            if call.name in SYNCS:
                found.append(Sync("*" if call.name == "syncfs" else path))
            elif path in made:
                found.append(Write(path))
        elif call.name in ("linkat", "symlinkat", "ftruncate", "fsetxattr", "mknodat"):
            raise AssertionError(f"an effect the model does not know: {call}")
    return found


def states(effects: Sequence[Change | Write | Sync], *, ordered: bool) -> Iterator[State]:
    """Every state that a crash at any moment can leave, each once."""
    seen: set[State] = set()
    for end in range(len(effects) + 1):
        happened = effects[:end]
        # Between two syncs the last moment has the states of those before it, but for the data that came with it.
        if end < len(effects) and isinstance(effects[end], Change) and not ordered:
            continue
        settled, pending = _names(happened, ordered)
        choices = (
            [pending[:k] for k in range(len(pending) + 1)]
            if ordered
            else [pick for k in range(len(pending) + 1) for pick in itertools.combinations(pending, k)]
        )
        files = _data(happened)
        for names in choices:
            # in the order in which they happened
            chosen = {*settled, *names}
            changes = tuple(change for at, change in enumerate(happened) if at in chosen and isinstance(change, Change))
            for data in itertools.product(*files.values()):
                state = State(changes, tuple(zip(files, data, strict=True)))
                if state not in seen:
                    seen.add(state)
                    yield state


def _names(happened: Sequence[Change | Write | Sync], ordered: bool) -> tuple[list[int], tuple[int, ...]]:
    """The changes of names that are durable, and those that may or may not be; as indices."""
    settled, pending = [], []
    for at, effect in enumerate(happened):
        if isinstance(effect, Change):
            directory = os.path.dirname(effect.old or effect.new) or "."
            later = [sync.what for sync in happened[at:] if isinstance(sync, Sync)]
            covered = bool(later) if ordered else "*" in later or directory in later
            (settled if covered else pending).append(at)
    return settled, tuple(pending)


def _data(happened: Sequence[Change | Write | Sync]) -> dict[str, tuple[str, ...]]:
    """For each file written to, what its data may be."""
    found: dict[str, tuple[str, ...]] = {}
    for at, effect in enumerate(happened):
        if isinstance(effect, Write):
            later = {sync.what for sync in happened[at:] if isinstance(sync, Sync)}
            found[effect.file] = ("all",) if later & {"*", effect.file} else DATA
    return found


def build(state: State, root: Path, content: dict[str, bytes]) -> None:
    """Put the disk at `root`, which holds the sessions untouched, into the state. `content` is by the files' first
    names."""
    data = dict(state.data)
    moved: dict[str, str] = {}
    for change in state.changes:
        name, slash, rest = change.old.partition("/")
        old, new = root / (moved.get(name, name) + slash + rest), root / change.new
        if not change.old:
            new.write_bytes(_part(content[change.new], data.get(change.new, "nothing")))
        elif not os.path.lexists(old):
            continue  # what would have made it is lost
        elif change.new:
            os.rename(old, new)
            moved[change.old] = change.new
        elif change.directory:
            shutil.rmtree(old)  # taken out of its parent: what was still in it can be reached no more
        else:
            os.unlink(old)


def _part(content: bytes, how: str) -> bytes:
    return {"nothing": b"", "zeros": bytes(len(content)), "half": content[: len(content) // 2], "all": content}[how]
