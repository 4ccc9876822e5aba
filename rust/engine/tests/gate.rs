//! The gate on real directories: what a killed run leaves on disk, and what the next run makes of it.
//!
//! The conformance suite in `tests/` holds both engines to far more; these tests need no Python.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{symlink, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use runark_engine::{gate, restore, verify};
use runark_engine::{
    ArchiveJob, ArchiveOptions, Format, Limits, Outcome, Rates, RestoreJob, RestoreOptions, Sync, Task, VerifyOptions,
};

const NAME: &str = "2026Y-02M-13D-14h30m15s_Z5MR";

fn options() -> ArchiveOptions {
    ArchiveOptions {
        format: Format::TarGz,
        level: 1,
        jobs: 2,
        keep_source: false,
        compare: false,
        older_than_ns: None,
        reserve: None,
        sync: Sync::Auto,
        rates: Rates::default(),
    }
}

fn bytes(path: &Path) -> Vec<u8> {
    path.as_os_str().as_bytes().to_vec()
}

fn drain(task: &Task) -> Vec<Outcome> {
    let mut all = Vec::new();
    while let Some(some) = task.poll(Duration::from_millis(100)) {
        all.extend(some);
    }
    all
}

fn archive(session: &Path, leftovers: &[&str], options: ArchiveOptions) -> Outcome {
    let leftovers = leftovers.iter().map(|name| name.as_bytes().to_vec()).collect();
    let job = ArchiveJob { path: bytes(session), leftovers, unarchived: false };
    let mut outcomes = drain(&gate::archive(vec![job], options));
    assert_eq!(outcomes.len(), 1);
    outcomes.remove(0)
}

fn unpack(archive: &Path, dest: &Path, remove_archive: bool) -> Outcome {
    let job = RestoreJob { archive: bytes(archive), dest: bytes(dest), leftovers: vec![] };
    let limits = Limits::default();
    let options = RestoreOptions { jobs: 1, remove_archive, same_owner: true, special_modes: true, limits };
    let mut outcomes = drain(&restore::restore(vec![job], options));
    assert_eq!(outcomes.len(), 1);
    outcomes.remove(0)
}

fn session(root: &Path) -> PathBuf {
    let top = root.join(NAME);
    fs::create_dir_all(top.join("logs/empty")).unwrap();
    fs::write(top.join("logs/stdout.log"), "hello\n".repeat(1000)).unwrap();
    fs::write(top.join("a.txt"), "").unwrap();
    fs::hard_link(top.join("logs/stdout.log"), top.join("again.log")).unwrap();
    symlink("/nowhere", top.join("dangling")).unwrap();
    fs::set_permissions(top.join("a.txt"), fs::Permissions::from_mode(0o640)).unwrap();
    top
}

/// Everything about a tree but inode numbers and access times.
fn snapshot(top: &Path) -> Vec<String> {
    let mut lines = Vec::new();
    let mut todo = vec![top.to_path_buf()];
    while let Some(path) = todo.pop() {
        let meta = fs::symlink_metadata(&path).unwrap();
        let content = if meta.is_file() {
            fs::read(&path).unwrap()
        } else if meta.is_symlink() {
            bytes(&fs::read_link(&path).unwrap())
        } else {
            Vec::new()
        };
        let below = path.strip_prefix(top).unwrap();
        let times = (meta.mtime(), meta.mtime_nsec());
        lines.push(format!(
            "{below:?} {:o} {times:?} {} {content:?}",
            meta.mode(),
            if meta.is_dir() { 0 } else { meta.nlink() }
        ));
        if meta.is_dir() {
            todo.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        }
    }
    lines.sort();
    lines
}

fn names(root: &Path) -> Vec<String> {
    let mut names: Vec<_> =
        fs::read_dir(root).unwrap().map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

#[test]
fn a_session_goes_and_comes_back() {
    for format in Format::ALL {
        let root = tempfile::tempdir().unwrap();
        let top = session(root.path());
        let before = snapshot(&top);
        let level = format.default_level();
        let outcome = archive(&top, &[], ArchiveOptions { format, level, compare: true, ..options() });
        assert_eq!((outcome.action, outcome.entries, outcome.inodes_freed), ("archived", 7, 5), "{outcome:?}");
        let file = root.path().join(format!("{NAME}.{}", format.suffix()));
        assert_eq!(names(root.path()), [file.file_name().unwrap().to_str().unwrap()]);
        let verified = drain(&verify::verify(vec![bytes(&file)], VerifyOptions { jobs: 1, limits: Limits::default() }));
        let sealed = matches!(format, Format::TarGz | Format::TarZst);
        assert_eq!(verified[0].action, if sealed { "sound" } else { "unsealed" });
        assert_eq!(verified[0].sha256, outcome.sha256);
        assert_eq!(unpack(&file, &top, true).action, "restored");
        assert_eq!(names(root.path()), [NAME]);
        assert_eq!(snapshot(&top), before);
    }
}

#[test]
fn a_large_session_is_streamed_in_one_member() {
    let root = tempfile::tempdir().unwrap();
    let top = session(root.path());
    let line: Vec<u8> = (0..255u8).cycle().take(1 << 20).collect();
    fs::write(top.join("big.bin"), line.repeat(20)).unwrap();
    let before = snapshot(&top);
    let outcome = archive(&top, &[], ArchiveOptions { jobs: 4, ..options() });
    assert_eq!(outcome.action, "archived", "{outcome:?}");
    let file = root.path().join(format!("{NAME}.tar.gz"));
    assert_eq!(unpack(&file, &top, false).action, "restored");
    assert_eq!(snapshot(&top), before);
}

#[test]
fn killed_while_packing() {
    let root = tempfile::tempdir().unwrap();
    let top = session(root.path());
    let part = format!(".{NAME}.tar.gz.0123456789abcdef.part");
    fs::write(root.path().join(&part), "half").unwrap();
    assert_eq!(archive(&top, &[&part], options()).action, "archived");
    assert_eq!(names(root.path()), [format!("{NAME}.tar.gz")]);
}

#[test]
fn killed_before_removing() {
    let root = tempfile::tempdir().unwrap();
    let top = session(root.path());
    let kept = archive(&top, &[], ArchiveOptions { keep_source: true, ..options() });
    assert_eq!((kept.action, names(root.path()).len()), ("kept", 2));
    let inode = fs::metadata(root.path().join(format!("{NAME}.tar.gz"))).unwrap().ino();
    assert_eq!(archive(&top, &[], options()).action, "archived");
    assert_eq!(names(root.path()), [format!("{NAME}.tar.gz")]);
    assert_eq!(fs::metadata(root.path().join(format!("{NAME}.tar.gz"))).unwrap().ino(), inode);
}

#[test]
fn an_archive_that_is_not_the_sessions_is_moved_aside() {
    for (damage, word) in [(true, "damaged"), (false, "superseded")] {
        let root = tempfile::tempdir().unwrap();
        let top = session(root.path());
        archive(&top, &[], ArchiveOptions { keep_source: true, ..options() });
        let file = root.path().join(format!("{NAME}.tar.gz"));
        if damage {
            let mut content = fs::read(&file).unwrap();
            let at = content.len() - 20;
            content[at] ^= 1;
            fs::write(&file, content).unwrap();
        } else {
            fs::write(top.join("later.txt"), "more").unwrap();
        }
        let before = snapshot(&top);
        assert_eq!(archive(&top, &[], options()).action, "archived");
        let found = names(root.path());
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(found[0].starts_with(&format!(".{NAME}.tar.gz.{word}-")), "{found:?}");
        assert_eq!(unpack(&file, &top, false).action, "restored");
        assert_eq!(snapshot(&top), before);
    }
}

#[test]
fn killed_while_removing() {
    let root = tempfile::tempdir().unwrap();
    let top = session(root.path());
    archive(&top, &[], ArchiveOptions { keep_source: true, ..options() });
    let tombstone = format!(".{NAME}.removing-0123456789abcdef");
    fs::rename(&top, root.path().join(&tombstone)).unwrap();
    fs::remove_file(root.path().join(&tombstone).join("logs/stdout.log")).unwrap();
    fs::remove_dir(root.path().join(&tombstone).join("logs/empty")).unwrap();
    let outcome = archive(&top, &[&tombstone], options());
    assert_eq!(outcome.action, "archived", "{outcome:?}");
    assert_eq!(names(root.path()), [format!("{NAME}.tar.gz")]);
}

#[test]
fn a_tombstone_that_the_archive_does_not_hold_gets_its_name_back() {
    for with_archive in [false, true] {
        let root = tempfile::tempdir().unwrap();
        let top = session(root.path());
        if with_archive {
            archive(&top, &[], ArchiveOptions { keep_source: true, ..options() });
            fs::write(top.join("new.txt"), "not archived").unwrap();
        }
        let before = snapshot(&top);
        let tombstone = format!(".{NAME}.removing-0123456789abcdef");
        fs::rename(&top, root.path().join(&tombstone)).unwrap();
        assert_eq!(archive(&top, &[&tombstone], options()).action, "failed");
        assert_eq!(snapshot(&top), before);
    }
}

#[test]
fn what_cannot_be_kept_is_left_alone() {
    let root = tempfile::tempdir().unwrap();
    let top = session(root.path());
    let _socket = std::os::unix::net::UnixListener::bind(top.join("socket")).unwrap();
    let before = snapshot(&top);
    let outcome = archive(&top, &[], options());
    assert_eq!((outcome.action, outcome.reason.as_str()), ("skipped", "socket: socket"));
    assert_eq!((snapshot(&top), names(root.path()).len()), (before, 1));
    fs::remove_file(top.join("socket")).unwrap();
    let young = ArchiveOptions { older_than_ns: Some(0), ..options() };
    assert_eq!(archive(&top, &[], young).reason, "young");
}

#[test]
fn a_restore_never_touches_what_is_there() {
    let root = tempfile::tempdir().unwrap();
    let top = session(root.path());
    archive(&top, &[], ArchiveOptions { keep_source: true, ..options() });
    let file = root.path().join(format!("{NAME}.tar.gz"));
    let before = snapshot(&top);
    assert_eq!(unpack(&file, &top, true).action, "skipped");
    assert_eq!((snapshot(&top), names(root.path()).len()), (before, 2));
    // Damage shows before anything has a name.
    let mut content = fs::read(&file).unwrap();
    let at = content.len() - 20;
    content[at] ^= 0x40;
    fs::write(&file, content).unwrap();
    let elsewhere = root.path().join("elsewhere");
    assert_eq!(unpack(&file, &elsewhere, true).action, "damaged");
    assert_eq!(names(root.path()).len(), 2);
}

#[test]
fn cancelled_before_it_begins() {
    let root = tempfile::tempdir().unwrap();
    let mut jobs = Vec::new();
    for i in 0..50 {
        let dir = root.path().join(i.to_string());
        fs::create_dir(&dir).unwrap();
        jobs.push(ArchiveJob { path: bytes(&session(&dir)), leftovers: vec![], unarchived: false });
    }
    let task = gate::archive(jobs, options());
    task.control().cancel();
    let outcomes = drain(&task);
    assert_eq!(outcomes.len(), 50);
    assert!(outcomes.iter().all(|o| ["archived", "cancelled", "kept"].contains(&o.action)));
}
