"""The gate of the pure engine: two runs that meet, missing system calls, who may read the archive."""

from __future__ import annotations

import errno
import os
import stat
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from runark.engine.protocol import ArchiveJob, ArchiveOptions, Outcome
from runark.engine.pure import gate, pack, publish, remove, sys, walk
from runark.engine.pure.ends import Changed, Control
from runark.engine.pure.load import Account, Pace
from runark.engine.pure.place import Place
from runark.engine.pure.publish import inode_of, stands, take_away
from runark.engine.pure.walk import Entry


def _session(root: Path, name: str = "S") -> Path:
    session = root / name
    (session / "sub").mkdir(parents=True)
    (session / "a").write_bytes(b"a" * 1000)
    (session / "sub" / "b").write_bytes(b"b")
    time.sleep(0.03)
    return session


def _archive(session: Path, **options: object) -> Outcome:
    worker = gate.Gate(ArchiveOptions(**options), 1, Control())  # type: ignore[arg-type]
    (outcome,) = worker.run(deque([ArchiveJob(os.fsencode(session))]))
    return outcome


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(os.fsencode(tmp_path))


# ------------------------------------------------------------------------------------------ two runs meet


def test_an_archive_is_taken_away_only_beside_its_session(place: Place, tmp_path: Path) -> None:
    session, archive = _session(tmp_path), tmp_path / "S.tar.gz"
    archive.write_bytes(b"x")
    ours, home = inode_of(archive.stat()), inode_of(session.stat())
    session.rename(tmp_path / "elsewhere")
    with pytest.raises(Changed):
        take_away(place, b"S.tar.gz", ours, "superseded", place, b"S", home)
    assert archive.exists()
    (tmp_path / "elsewhere").rename(session)
    aside = take_away(place, b"S.tar.gz", ours, "superseded", place, b"S", home)
    assert not archive.exists()
    assert aside.startswith(b".S.tar.gz.superseded-")


def test_an_archive_goes_back_if_the_session_went(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other run renames the session between our look and our rename."""
    session, archive = _session(tmp_path), tmp_path / "S.tar.gz"
    archive.write_bytes(b"x")
    ours, home = inode_of(archive.stat()), inode_of(session.stat())
    rename = sys.rename_noreplace

    def meanwhile(old_dir: int, old: bytes, new_dir: int, new: bytes) -> None:
        if session.exists():
            session.rename(tmp_path / ".S.removing-0")
        rename(old_dir, old, new_dir, new)

    monkeypatch.setattr(sys, "rename_noreplace", meanwhile)
    with pytest.raises(Changed):
        take_away(place, b"S.tar.gz", ours, "superseded", place, b"S", home)
    assert stands(place, b"S.tar.gz", ours)


def test_nothing_is_removed_without_the_archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The other run takes the archive away while we rename the session."""
    session = _session(tmp_path)
    entomb = remove.entomb

    def meanwhile(place: Place, top: Entry) -> bytes:
        (tmp_path / "S.tar.gz").rename(tmp_path / "taken")
        return entomb(place, top)

    monkeypatch.setattr(remove, "entomb", meanwhile)
    outcome = _archive(session)
    assert outcome.action == "changed", outcome
    assert (session / "sub" / "b").read_bytes() == b"b"
    assert (tmp_path / "taken").exists()


def _change_before(monkeypatch: pytest.MonkeyPatch, step: str, change: Callable[[], object]) -> None:
    real = getattr(remove, step)

    def changed(*args: object, **kwargs: object) -> object:
        change()
        return real(*args, **kwargs)

    monkeypatch.setattr(remove, step, changed)


@pytest.mark.parametrize("step", ["recheck", "entomb"])
def test_a_late_change_withdraws_the_archive(step: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    session = _session(tmp_path)
    _change_before(monkeypatch, step, lambda: (session / "new").write_bytes(b"late"))
    outcome = _archive(session)
    assert outcome.action == "changed", outcome
    assert os.listdir(tmp_path) == ["S"]
    assert sorted(os.listdir(session)) == ["a", "new", "sub"]


def test_an_error_while_removing_leaves_what_the_next_run_finishes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = _session(tmp_path)
    unlink = os.unlink

    def refusing(name: bytes, *, dir_fd: int | None = None) -> None:
        if name == b"a":
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        unlink(name, dir_fd=dir_fd)

    monkeypatch.setattr(os, "unlink", refusing)
    outcome = _archive(session)
    monkeypatch.undo()
    assert outcome.action == "failed" and outcome.fault is not None and outcome.fault.errno == errno.EIO, outcome
    tombstones = [name for name in os.listdir(tmp_path) if ".removing-" in name]
    assert len(tombstones) == 1
    worker = gate.Gate(ArchiveOptions(), 1, Control())
    (again,) = worker.run(deque([ArchiveJob(os.fsencode(session), (os.fsencode(tombstones[0]),))]))
    assert again.action == "archived", again
    assert os.listdir(tmp_path) == ["S.tar.gz"]


# ------------------------------------------------------------------------------- held files, names that are the same


def _counted(monkeypatch: pytest.MonkeyPatch, module: ModuleType, name: str) -> list[object]:
    """Its calls from now on, by what they gave."""
    real, calls = getattr(module, name), []

    def counted(*args: object) -> object:
        calls.append(real(*args))
        return calls[-1]

    monkeypatch.setattr(module, name, counted)
    return calls


def test_files_are_held_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "storage", lambda _: "volatile")
    session = _session(tmp_path)
    asked, leases = _counted(monkeypatch, sys, "lease_stands"), _counted(monkeypatch, sys, "lease")
    assert _archive(session).action == "archived"
    assert asked == [True, True]
    assert leases == ["taken", "taken"]


@pytest.mark.parametrize("why", ["on a disk", "many", "large", "kept", "paced"])
def test_files_are_not_held(why: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever wants to write would wait, or too much would be open."""
    monkeypatch.setattr(sys, "storage", lambda _: "local" if why == "on a disk" else "volatile")
    session = _session(tmp_path)
    for number in range(31 if why == "many" else 0):
        (session / str(number)).write_bytes(b"x")
    if why == "large":
        (session / "a").write_bytes(bytes(2 << 20))
    time.sleep(0.03)
    asked, ended = _counted(monkeypatch, sys, "lease_stands"), _counted(monkeypatch, sys, "end_lease")
    options = ArchiveOptions(keep_source=why == "kept", max_ops=1e6 if why == "paced" else 0.0)
    control = Control(Pace(Account.new(), options) if why == "paced" else None)
    (outcome,) = gate.Gate(options, 1, control).run(deque([ArchiveJob(os.fsencode(session))]))
    assert outcome.action == ("kept" if why == "kept" else "archived")
    assert not asked
    assert len(ended) == (33 if why == "many" else 2)


def test_a_lease_goes_where_too_much_follows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Held at first; what is packed after that takes a while, so whoever wants to write need not wait for it."""
    monkeypatch.setattr(sys, "storage", lambda _: "volatile")
    session = _session(tmp_path)
    (session / "z").write_bytes(bytes(2 << 20))
    time.sleep(0.03)
    written: list[int] = []
    dress = pack.dress

    def meanwhile(*args: object) -> os.stat_result:
        written.append(os.open(session / "a", os.O_WRONLY | os.O_NONBLOCK))
        return dress(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(pack, "dress", meanwhile)
    outcome = _archive(session)
    os.close(written[0])
    assert (outcome.action, outcome.reason) == ("changed", "a is open for writing")
    assert os.listdir(tmp_path) == ["S"]


@pytest.mark.parametrize(("storage", "settled", "lists"), [("local", True, 1), ("local", False, 3), ("other", True, 3)])
def test_directories_are_listed_again_where_their_records_do_not_tell(
    storage: str, settled: bool, lists: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once before the removal in any case."""
    session = _session(tmp_path)
    monkeypatch.setattr(sys, "storage", lambda _: storage)
    if not settled:
        monkeypatch.setattr(walk, "_is_settled", lambda *_: False)
        for module in (walk, pack):
            monkeypatch.setattr(module, "wait_for_clock", lambda _: False)
    packing, removing = _counted(monkeypatch, pack, "list_names"), _counted(monkeypatch, remove, "list_names")
    assert _archive(session).action == "archived"
    assert len(packing) + len(removing) == lists


def test_a_record_is_settled_before_the_listing(tmp_path: Path) -> None:
    """A change while it lists must show, however long it takes."""
    session = _session(tmp_path)
    (session / "new").write_bytes(b"")
    directory = os.open(tmp_path, os.O_RDONLY)
    begun = time.time_ns()
    _, handles = walk.record_session(directory, b"S", b"S", None, Control(), examine=False, claim=False)
    handles.close()
    os.close(directory)
    assert handles.settled
    assert time.time_ns() - begun > 10_000_000  # it has waited for the clock


# ------------------------------------------------------------------------------------- missing system calls


@pytest.mark.parametrize("kind", ["file", "directory"])
def test_rename_without_the_system_call(
    kind: str, place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "_rename_call", lambda *_: errno.ENOSYS)
    old = tmp_path / "old"
    if kind == "file":
        old.write_bytes(b"x")
    else:
        _session(tmp_path, "old")
    sys.rename_noreplace(place.fd, b"old", place.fd, b"new")
    assert os.listdir(tmp_path) == ["new"]
    (tmp_path / "old").mkdir()
    with pytest.raises(FileExistsError):
        sys.rename_noreplace(place.fd, b"new", place.fd, b"old")
    assert sorted(os.listdir(tmp_path)) == ["new", "old"]


def test_everything_without_the_system_call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "_rename_call", lambda *_: errno.EINVAL)
    assert _archive(_session(tmp_path)).action == "archived"
    assert os.listdir(tmp_path) == ["S.tar.gz"]


# ----------------------------------------------------------------------------------------------- outcomes


def test_freed_inodes_are_net(tmp_path: Path) -> None:
    session = _session(tmp_path)
    os.link(session / "a", session / "c")
    outcome = _archive(session)
    # S, sub, a (= c), b are four inodes; the archive takes one
    assert (outcome.entries, outcome.inodes_freed) == (5, 3)


def test_an_archive_that_was_there_costs_nothing(tmp_path: Path) -> None:
    session = _session(tmp_path)
    kept = _archive(session, keep_source=True)
    assert (kept.action, kept.inodes_freed) == ("kept", 0)
    outcome = _archive(session)
    assert (outcome.action, outcome.inodes_freed, outcome.sha256) == ("archived", 4, kept.sha256)


@pytest.mark.parametrize(
    ("top", "file", "mode"),
    [(0o755, 0o644, 0o644), (0o750, 0o644, 0o640), (0o755, 0o640, 0o640), (0o744, 0o644, 0o600), (0o700, 0o666, 0o600)],
)
def test_mode_of_the_archive(top: int, file: int, mode: int, tmp_path: Path) -> None:
    session = _session(tmp_path)
    for path in (session / "a", session / "sub" / "b"):
        path.chmod(file)
    (session / "sub").chmod(0o755)
    session.chmod(top)
    time.sleep(0.03)
    outcome = _archive(session)
    assert stat.S_IMODE(os.stat(outcome.target).st_mode) == mode


@pytest.mark.root
def test_entries_of_another_group_keep_the_archive_from_the_group(tmp_path: Path) -> None:
    session = _session(tmp_path)
    os.chown(session / "a", -1, 12345)
    time.sleep(0.03)
    outcome = _archive(session)
    assert stat.S_IMODE(os.stat(outcome.target).st_mode) == 0o604


def test_publish_never_replaces(place: Place, tmp_path: Path) -> None:
    (tmp_path / "part").write_bytes(b"ours")
    (tmp_path / "S.tar.gz").write_bytes(b"theirs")
    with pytest.raises(Changed):
        publish.publish(place, b"part", b"S.tar.gz")
    assert (tmp_path / "S.tar.gz").read_bytes() == b"theirs"
