//! Where sessions are found, what they hold, what cannot be read.

use super::*;

#[test]
fn finds_sessions_at_any_depth_and_nothing_in_them() {
    let root =
        tree(&[&format!("{A}/{B}/"), &format!("x/y/{B}/f"), &format!("x/{C}"), ".runark/x/", &format!(".runark/{A}/")]);
    symlink(root.path().join("x/y").join(B), root.path().join(C)).unwrap();
    symlink(root.path().join("x"), root.path().join("link")).unwrap();
    for jobs in [1, 2, 5] {
        assert_eq!(names_of(ScanSpec { jobs, ..spec(root.path()) }, root.path()), [A, &format!("x/y/{B}")]);
    }
}

#[test]
fn depth_counts_from_the_root() {
    let root = tree(&[&format!("{A}/"), &format!("x/{B}/"), &format!("x/y/{C}/")]);
    let with =
        |min_depth, max_depth| names_of(ScanSpec { min_depth, max_depth, ..spec(root.path()) }, root.path()).len();
    assert_eq!([with(0, None), with(2, None), with(0, Some(1)), with(0, Some(0)), with(2, Some(2))], [3, 2, 1, 0, 1]);
}

#[test]
fn a_root_may_be_a_session() {
    let root = tree(&[&format!("x/{A}/{B}/"), &format!("RUNNING/{A}/")]);
    let session = root.path().join("x").join(A);
    let itself = run(ScanSpec { max_depth: Some(0), ..spec(&session) });
    assert_eq!(itself.paths, [session.as_os_str().as_bytes(), b"\0"].concat());
    assert!(run(ScanSpec { min_depth: 1, ..spec(&session) }).kind.is_empty());
    let running = run(spec(&root.path().join("RUNNING").join(A)));
    assert_eq!((running.status, running.verdict), (vec![0], vec![0]), "what is above the root does not count");
    let link = root.path().join(C);
    symlink(&session, &link).unwrap();
    assert_eq!(names_of(spec(&link), &link), [B], "a link is entered, but is no session");
}

#[test]
fn sums_are_those_of_the_entries() {
    let root = tree(&[
        &format!("{A}/a/b/one"),
        &format!("{A}/a/two"),
        &format!("{A}/empty/"),
        &format!("{A}/three"),
        &format!("{B}.tar"),
    ]);
    let session = root.path().join(A);
    fs::hard_link(session.join("three"), session.join("four")).unwrap();
    symlink("nowhere", session.join("link")).unwrap();
    let found = run(ScanSpec { measure: true, kinds: ALL, ..spec(root.path()) });
    let entries = ["", "a", "a/b", "a/b/one", "a/two", "empty", "three", "four", "link"];
    let info: Vec<_> = entries.iter().map(|e| fs::symlink_metadata(session.join(e)).unwrap()).collect();
    let size: u64 = info.iter().filter(|i| i.is_file()).map(|i| i.len()).sum();
    let blocks: u64 = info.iter().map(|i| i.blocks() * 512).sum();
    assert_eq!((found.inodes[0], found.size[0], found.allocated[0]), (9, size as i64, blocks as i64));
    assert_eq!((found.inodes[1], found.size[1], found.uid[1]), (1, B.len() as i64 + 4, i64::from(info[0].uid())));
    assert_eq!((found.directories, found.entries), (5, 10));
    let names_only = run(ScanSpec { kinds: ALL, ..spec(root.path()) });
    assert_eq!((names_only.inodes, names_only.size), (vec![0, 1], vec![0, 0]));
}

#[test]
fn what_cannot_be_read_is_a_fault() {
    let root = tree(&[&format!("closed/{A}/"), &format!("{B}/closed/f"), &format!("{C}/f")]);
    let missing = root.path().join("missing");
    let file = root.path().join(C).join("f");
    let faults: Vec<_> =
        [&missing, &file].map(|p| run(spec(p)).faults).into_iter().flatten().map(|f| (f.op, f.errno)).collect();
    assert_eq!(faults, [("open", 2), ("open", 20)]);
    let closed = [root.path().join("closed"), root.path().join(B).join("closed")];
    let mode = |mode| closed.iter().for_each(|p| fs::set_permissions(p, fs::Permissions::from_mode(mode)).unwrap());
    mode(0);
    let privileged = fs::read_dir(&closed[0]).is_ok(); // nothing is closed to root
    let found = run(ScanSpec { measure: true, keep_skipped: true, ..spec(root.path()) });
    mode(0o755);
    if !privileged {
        assert_eq!(found.faults.iter().map(|f| (f.op, f.errno)).collect::<Vec<_>>(), [("open", 13); 2]);
        assert_eq!((found.verdict, found.inodes), (vec![10, 0], vec![2, 2]));
    }
}

#[test]
fn every_row_stands_once_whatever_the_roots() {
    let many: Vec<String> =
        (0..3000).map(|i| format!("d{}/x-{}/2026Y-02M-13D-14h30m15s_{i:04}/", i % 7, i % 3)).collect();
    let mut paths: Vec<&str> = many.iter().map(String::as_str).collect();
    let beside = [format!("d0/{A}/"), format!("d0-/{A}/"), format!("d0/x/{A}/"), format!("d0/x-0/y/{B}/")];
    paths.extend(beside.iter().map(String::as_str));
    let root = tree(&paths);
    for jobs in [1, 3] {
        let mut spec = ScanSpec { jobs, measure: true, ..spec(root.path()) };
        let top = spec.roots[0].clone();
        spec.roots.push(top.clone());
        spec.roots.push([&top[..], b"/d0"].concat());
        let found = run(spec);
        assert_eq!((rows(&found, root.path()).len(), found.inodes.len()), (3004, 3004));
        assert!(found.inodes.iter().all(|&n| n == 1));
    }
}

#[test]
fn one_flat_directory_feeds_all_and_a_cancelled_scan_ends() {
    let many: Vec<String> = (0..5000).map(|i| format!("2026Y-02M-13D-14h30m15s_{i:04}-{}/", "x".repeat(100))).collect();
    let root = tree(&many.iter().map(String::as_str).collect::<Vec<_>>());
    let control = Control::default();
    let compiled = compile(ScanSpec { jobs: 4, ..spec(root.path()) }).unwrap();
    let found = scan(&compiled, &control);
    assert_eq!((found.kind.len(), found.entries, found.directories), (5000, 5000, 1));
    assert_eq!((control.progress().done, control.progress().entries), (5000, 5000));
    control.cancel();
    assert!(scan(&compiled, &control).kind.is_empty());
}

#[test]
fn a_deep_session_is_gone_through_to_its_end() {
    let deep = format!("{A}/{}f", "d/".repeat(700));
    let root = tree(&[&deep]);
    let found = run(ScanSpec { measure: true, ..spec(root.path()) });
    assert_eq!((found.inodes, found.faults), (vec![702], vec![]));
}
