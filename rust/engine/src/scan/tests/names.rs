//! What names say.

use super::*;

#[test]
fn rules_ask_for_parent_and_marker() {
    let root = tree(&[
        "2026-02-13/14-30-15/.hydra/",
        "2026-02-13/14-30-16/",
        "else/14-30-15/.hydra/",
        "run_1/m/n",
        "run_2/m/",
    ]);
    let mut spec = spec(root.path());
    spec.rules.push(rule("hydra", r"\d{2}-\d{2}-\d{2}", Some(r"\d{4}-\d{2}-\d{2}"), Some(".hydra")));
    spec.rules.push(rule("wide", r"run_\d", None, Some("m/n")));
    let found = rows(&run(spec), root.path());
    let layouts: Vec<_> = found.iter().map(|(path, row)| (path.as_str(), row.3)).collect();
    assert_eq!(layouts, [("2026-02-13/14-30-15", 1), ("run_1", 2)]);
}

#[test]
fn kinds_by_name_and_type() {
    let of = |form: &str| form.replace('S', A).replace('X', X);
    let yes = [
        "S/",
        "S.tar.gz",
        "S.tar",
        ".S.tar.zst.X.part",
        ".S.removing-X/",
        ".S.restoring-X/",
        ".S.discarding-X/",
        ".S.tar.xz.damaged-X",
        ".S.tar.superseded-X",
    ];
    let no = [
        "y/S.tar.gz/",
        "z/S.tar.bz2",
        ".S.removing-X0/",
        ".other.removing-X/",
        "y/.S.restoring-X",
        "other.tar",
        "..tar",
        ".S.tar.X.part/",
    ];
    let mut paths: Vec<String> = yes.iter().chain(&no).map(|form| of(form)).collect();
    paths.push(of(".S.removing-X/sub/S/"));
    let root = tree(&paths.iter().map(String::as_str).collect::<Vec<_>>());
    let found = rows(&run(ScanSpec { kinds: ALL, ..spec(root.path()) }), root.path());
    let mut kinds: Vec<_> =
        yes.iter().map(|form| of(form).trim_end_matches('/').to_owned()).zip([0, 1, 1, 2, 3, 4, 6, 5, 5]).collect();
    kinds.sort();
    assert_eq!(found.into_iter().map(|(path, row)| (path, row.0)).collect::<Vec<_>>(), kinds);
    // However wide a layout is, a tombstone is no session.
    let wide = ScanSpec { rules: vec![rule("wide", "(.+)_AAAA(.*)", None, None)], ..spec(root.path()) };
    assert!(!names_of(wide, root.path()).contains(&of(".S.removing-X")));
}

#[test]
fn patterns_in_and_out() {
    let root = tree(&[
        &format!("{A}-alpha/"),
        &format!("{B}-beta/"),
        &format!("old/{C}-alpha/"),
        &format!("old/{C}-alpha.tar"),
    ]);
    let with = |include: &[&str], exclude: &[&str]| {
        let list = |patterns: &[&str]| patterns.iter().map(|p| p.as_bytes().to_vec()).collect::<Vec<_>>();
        names_of(
            ScanSpec { include: list(include), exclude: list(exclude), kinds: ALL, ..spec(root.path()) },
            root.path(),
        )
        .len()
    };
    assert_eq!(
        [with(&["alpha"], &[]), with(&["beta$", "^x"], &[]), with(&[], &["^old$"]), with(&[], &["alpha", "q"])],
        [3, 1, 2, 1]
    );
    assert!(compile(ScanSpec { include: vec![b"(".to_vec()], ..ScanSpec::default() }).is_err());
    let bytes = ScanSpec { exclude: vec![vec![b'a', 0xff], b"\\xfe".to_vec()], ..ScanSpec::default() };
    let names = compile(bytes).unwrap().names;
    assert!(names.excluded(b"a\xff") && names.excluded(b"\xfe") && !names.excluded("aÿ".as_bytes()));
}
