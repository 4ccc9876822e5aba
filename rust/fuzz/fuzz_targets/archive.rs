//! Any bytes as an archive: verified, listed by their seal and restored without a panic, and whatever is made lies below the
//! target or is gone again.

#![no_main]

use std::cell::RefCell;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use runark_engine::{Limits, Outcome, RestoreJob, RestoreOptions, Task, VerifyOptions};

const SUFFIXES: [&str; 4] = ["tar", "tar.gz", "tar.zst", "tar.xz"];

thread_local! {
    static PLACE: RefCell<tempfile::TempDir> = RefCell::new(place());
}

fn place() -> tempfile::TempDir {
    let parent = if Path::new("/dev/shm").is_dir() { Path::new("/dev/shm") } else { Path::new("/tmp") };
    tempfile::tempdir_in(parent).expect("a place to work")
}

fn outcome(task: &Task) -> Outcome {
    let mut found = Vec::new();
    while let Some(some) = task.poll(Duration::from_secs(60)) {
        found.extend(some);
    }
    found.pop().expect("one outcome for one job")
}

fuzz_target!(|data: &[u8]| {
    let Some((&choice, data)) = data.split_first() else { return };
    PLACE.with_borrow(|place| {
        let archive = place.path().join(format!("S.{}", SUFFIXES[usize::from(choice) % SUFFIXES.len()]));
        let path = archive.as_os_str().as_bytes().to_vec();
        fs::write(&archive, data).expect("written");
        let limits = Limits { max_bytes: 1 << 24, max_entries: 1000, ..Limits::default() };
        let verified = outcome(&runark_engine::verify::verify(
            vec![path.clone()],
            VerifyOptions { jobs: 1, limits: limits.clone() },
        ));
        let dest = place.path().join("S");
        let options =
            RestoreOptions { jobs: 1, remove_archive: false, same_owner: false, special_modes: false, limits };
        let job = RestoreJob { archive: path, dest: dest.as_os_str().as_bytes().to_vec(), leftovers: Vec::new() };
        let restored = outcome(&runark_engine::restore::restore(vec![job], options));
        for told in [&verified, &restored] {
            let defect = told.fault.as_ref().is_some_and(|fault| fault.op == "work");
            assert!(!defect, "{told:?}");
        }
        assert_eq!(restored.action == "restored", dest.symlink_metadata().is_ok(), "{restored:?}");
        if restored.action == "restored" {
            // Directories may come back without any permission; as root that does not matter.
            fs::remove_dir_all(&dest).or_else(|_| fs::remove_file(&dest)).expect("only what was restored");
        }
        fs::remove_file(&archive).expect("the archive is untouched");
        assert_eq!(fs::read_dir(place.path()).expect("listed").count(), 0, "something was left");
    });
});
