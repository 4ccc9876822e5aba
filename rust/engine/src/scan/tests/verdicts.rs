//! Which sessions are selected, and why the others are not.

use super::*;

#[test]
fn status_is_that_of_the_nearest_directory_and_running_wins() {
    let root = tree(&[
        &format!("RUNNING/FINISHED/{A}/"),
        &format!("FINISHED_SUCCESS/{A}/"),
        &format!("FINISHED_SUCCESS/FINISHED_ERROR/x/{A}/"),
        &format!("FINISHED/{A}/"),
    ]);
    let found = rows(&run(ScanSpec { keep_skipped: true, ..spec(root.path()) }), root.path());
    let status: Vec<_> = found.values().map(|row| (row.1, row.2)).collect();
    assert_eq!(status, [(3, 0), (1, 0), (2, 0), (4, 1)]);
    let mut only = spec(root.path());
    only.statuses[Status::Running as usize] = true;
    assert_eq!(names_of(only, root.path()), [format!("RUNNING/FINISHED/{A}")]);
    assert_eq!(verdicts(spec(&root.path().join("RUNNING")), &root.path().join("RUNNING"))[0].1, "running");
}

#[test]
fn marked_wherever_the_mark_is() {
    let root = tree(&[
        &format!("{A}/.noarchive"),
        &format!("x/{B}/"),
        &format!("x/y/{C}/"),
        "x/.noarchive",
        &format!("{C}/sub/.noarchive"),
    ]);
    for measure in [false, true] {
        let found = verdicts(ScanSpec { measure, ..spec(root.path()) }, root.path());
        let found: Vec<_> = found.into_iter().map(|(_, verdict)| verdict).collect();
        // Without going through the session its own mark is not seen; packing sees it.
        assert_eq!(found, [if measure { "marked" } else { "selected" }, "selected", "marked", "marked"]);
    }
}

#[test]
fn times_of_the_directory_and_of_what_is_in_it() {
    let root = tree(&[&format!("{A}/old"), &format!("{B}/sub/new"), &format!("{C}/")]);
    let (t, at) = (1_700_000_000 * 1_000_000_000, |path: &str| root.path().join(path));
    for (path, ns) in [("old", t), ("", t)] {
        set_mtime(&at(A).join(path), ns);
    }
    for (path, ns) in [("sub/new", t + DAY), ("sub", t), ("", t)] {
        set_mtime(&at(B).join(path), ns);
    }
    set_mtime(&at(C), t + DAY);
    let base = || spec(root.path());
    let told = |spec| verdicts(spec, root.path()).into_iter().map(|(_, v)| v).collect::<Vec<_>>();
    assert_eq!(told(ScanSpec { changed_before_ns: Some(t + 1), ..base() }), ["selected", "selected", "mtime"]);
    assert_eq!(told(ScanSpec { changed_before_ns: Some(t), ..base() }), ["mtime"; 3]);
    assert_eq!(told(ScanSpec { changed_after_ns: Some(t), ..base() }), ["mtime", "mtime", "selected"]);
    assert_eq!(told(ScanSpec { older_than_ns: Some(t + 1), ..base() }), ["selected", "young", "young"]);
    assert_eq!(told(ScanSpec { newer_than_ns: Some(t + DAY), ..base() }), ["old", "selected", "selected"]);
    let measured = run(ScanSpec { measure: true, ..base() });
    assert_eq!((measured.mtime_ns, measured.newest_ns), (vec![t, t, t + DAY], vec![t, t + DAY, t + DAY]));
}

#[test]
fn the_first_verdict_that_holds() {
    let root = tree(&[&format!("FINISHED/{A}/.noarchive"), &format!("{A}/f")]);
    let mut all = ScanSpec { not_uid: Some(fs::metadata(root.path()).unwrap().uid()), ..spec(root.path()) };
    all.statuses[Status::Error as usize] = true;
    (all.changed_before_ns, all.older_than_ns, all.newer_than_ns, all.min_size) =
        (Some(0), Some(0), Some(i64::MAX), Some(999));
    let first = |spec: &ScanSpec| verdicts(spec.clone(), root.path()).into_iter().map(|(_, v)| v).collect::<Vec<_>>();
    assert_eq!(first(&all)[0], "status");
    all.statuses = [false; 5];
    assert_eq!(first(&all)[0], "owner");
    all.not_uid = None;
    assert_eq!(first(&all)[0], "mtime");
    all.changed_before_ns = None;
    assert_eq!(first(&all)[0], "young");
    all.older_than_ns = None;
    assert_eq!(first(&all), ["old", "marked"]);
    all.newer_than_ns = None;
    assert_eq!(first(&all)[0], "size");
    assert_eq!(run(all).skipped, [("marked", 1), ("size", 1)]);
}
