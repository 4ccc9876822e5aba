//! Who gives way when names change hands between two looks, and what is worked with at the ends of its range.

use std::fs;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use runark_engine::codec::Unpacker;
use runark_engine::publish::{set_aside, Home};
use runark_engine::remove::bury;
use runark_engine::session::{is_ours, Place};
use runark_engine::sys::Storage;
use runark_engine::verify::{examine, open_archive};
use runark_engine::{gate, sys};
use runark_engine::{ArchiveJob, ArchiveOptions, Control, Format, Limits, Outcome, Rates, Stop, Sync, Task};

struct Scene {
    dir: PathBuf,
    fd: OwnedFd,
}

impl Scene {
    /// A directory with a session `S` and its archive.
    fn new(name: &str) -> Self {
        let dir = std::env::temp_dir().join(format!("runark-review-{}-{name}", std::process::id()));
        let _ = fs::remove_dir_all(&dir);
        fs::create_dir_all(dir.join("S")).unwrap();
        fs::write(dir.join("S/a"), "a").unwrap();
        fs::write(dir.join("S.tar.gz"), "archive").unwrap();
        let fd = sys::open_root(dir.as_os_str().as_bytes()).unwrap();
        Self { dir, fd }
    }

    fn place(&self) -> Place<'_> {
        Place {
            parent: self.fd.as_fd(),
            mount: None,
            parent_path: self.dir.as_os_str().as_bytes(),
            name: b"S",
            storage: Storage::Local,
        }
    }

    fn home(&self) -> Home<'_> {
        Home { fd: self.fd.as_fd(), path: self.dir.as_os_str().as_bytes() }
    }

    fn meta(&self, name: &str) -> sys::Meta {
        sys::stat_at(self.fd.as_fd(), name.as_bytes()).unwrap()
    }

    fn names(&self) -> Vec<String> {
        let mut names: Vec<String> =
            fs::read_dir(&self.dir).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.dir);
    }
}

#[test]
fn another_directory_under_the_sessions_name_is_not_buried() {
    let scene = Scene::new("bury");
    let (session, archive) = (scene.meta("S"), scene.meta("S.tar.gz"));
    // After the recheck, before the rename: the user puts another directory in its place.
    fs::rename(scene.dir.join("S"), scene.dir.join("moved")).unwrap();
    fs::create_dir(scene.dir.join("S")).unwrap();
    fs::write(scene.dir.join("S/new"), "new").unwrap();
    assert!(matches!(bury(scene.place(), &session, b"S.tar.gz", &archive), Err(Stop::Changed(_))));
    assert_eq!(scene.names(), ["S", "S.tar.gz", "moved"]);
    assert!(scene.dir.join("S/new").exists() && scene.dir.join("moved/a").exists());
}

#[test]
fn an_archive_that_is_another_file_by_now_keeps_its_name() {
    let scene = Scene::new("aside");
    let (session, archive) = (scene.meta("S"), scene.meta("S.tar.gz"));
    fs::write(scene.dir.join("better"), "somebody else's").unwrap();
    fs::rename(scene.dir.join("better"), scene.dir.join("S.tar.gz")).unwrap();
    let taken = set_aside(scene.home(), b"S.tar.gz", &archive, "superseded", scene.place(), &session);
    assert!(matches!(taken, Err(Stop::Changed(_))));
    assert_eq!(scene.names(), ["S", "S.tar.gz"]);
    let taken = set_aside(scene.home(), b"S.tar.gz", &scene.meta("S.tar.gz"), "superseded", scene.place(), &session);
    assert!(is_ours(&taken.unwrap(), &[b".S.tar.gz.superseded-"], b""));
}

#[test]
fn names_that_runark_makes() {
    assert!(is_ours(b".S.removing-0123456789abcdef", &[b".", b"S", b".removing-"], b""));
    for name in [&b"S"[..], b".S.removing-", b".S.removing-0123456789ABCDEF", b".S.removing-0123456789abcdef/..", b".."]
    {
        assert!(!is_ours(name, &[b".", b"S", b".removing-"], b""), "{name:?}");
    }
}

fn options(format: Format) -> ArchiveOptions {
    ArchiveOptions {
        format,
        level: format.default_level(),
        jobs: 1,
        keep_source: true,
        compare: false,
        older_than_ns: None,
        reserve: None,
        sync: Sync::Auto,
        rates: Rates::default(),
    }
}

fn drain(task: &Task) -> Vec<Outcome> {
    let mut all = Vec::new();
    while let Some(some) = task.poll(Duration::from_millis(50)) {
        all.extend(some);
    }
    all
}

fn job(dir: &Path) -> ArchiveJob {
    ArchiveJob { path: dir.join("S").as_os_str().as_bytes().to_vec(), leftovers: vec![], unarchived: false }
}

#[test]
fn a_file_of_many_holes_is_compared_hole_by_hole() {
    let scene = Scene::new("holes");
    fs::remove_file(scene.dir.join("S.tar.gz")).unwrap();
    let path = scene.dir.join("S/sparse");
    let file = fs::File::create(&path).unwrap();
    for i in 0..500u64 {
        file.write_all_at(b"x", i * 16384 + 4096).unwrap();
    }
    drop(file);
    let time = fs::metadata(&path).unwrap().modified().unwrap();
    let again = || drain(&gate::archive(vec![job(&scene.dir)], options(Format::TarGz))).remove(0);
    assert_eq!(again().reason, "source kept");
    assert_eq!(again().reason, "already archived");
    // Zeros where there was a hole are the same content; anything else is not, at either end or in the middle.
    let write = |byte: u8, at: u64| {
        let file = fs::OpenOptions::new().write(true).open(&path).unwrap();
        file.write_all_at(&[byte], at).unwrap();
        file.set_modified(time).unwrap();
    };
    write(0, 100 * 16384);
    assert_eq!(again().reason, "already archived");
    for at in [0, 250 * 16384, 499 * 16384 + 4097] {
        write(b'y', at);
        let outcome = again();
        assert_eq!(outcome.reason, "source kept", "byte {at}: {outcome:?}");
        assert!(
            outcome.notes[0].ends_with("other content") || outcome.notes[0].ends_with("another size"),
            "{outcome:?}"
        );
    }
}

#[test]
fn a_long_member_does_not_hold_up_a_cancellation() {
    let scene = Scene::new("cancel");
    fs::remove_file(scene.dir.join("S.tar.gz")).unwrap();
    fs::write(scene.dir.join("S/long"), vec![7u8; 4 << 20]).unwrap();
    assert_eq!(drain(&gate::archive(vec![job(&scene.dir)], options(Format::Tar))).remove(0).action, "kept");
    let opened = open_archive(scene.dir.join("S.tar").as_os_str().as_bytes()).unwrap();
    let control = Control::default();
    let mut members = 0;
    let ended = examine(&mut Unpacker::default(), opened, b"S.tar", &Limits::default(), &control, |member, _| {
        members += 1;
        if member.path == b"S/long" {
            control.cancel();
        }
        Ok(())
    });
    assert_eq!(ended.err(), Some(Stop::Cancelled));
    assert_eq!(members, 3);
}
