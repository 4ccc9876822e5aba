//! Trees are made below a temporary directory; answers are read back as `path below it -> row`.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{symlink, MetadataExt, PermissionsExt};
use std::path::Path;

use super::*;

const A: &str = "2026Y-02M-13D-14h30m15s_AAAA";
const B: &str = "2026Y-02M-13D-14h30m16s_BBBB";
const C: &str = "2026Y-02M-13D-14h30m17s_CCCC";
const X: &str = "0123456789abcdef";
const DAY: i64 = 86_400_000_000_000;
const ALL: [bool; 7] = [true; 7];

fn rule(name: &str, pattern: &str, parent: Option<&str>, marker: Option<&str>) -> Rule {
    Rule { name: name.into(), pattern: pattern.into(), parent: parent.map(Into::into), marker: marker.map(Into::into) }
}

fn spec(root: &Path) -> ScanSpec {
    let scitex = rule("scitex", r"(?:DEBUG_)?[0-9]{4}Y-\d\dM-\d\dD-\d\dh\d\dm\d\ds_[0-9A-Za-z]{4}(?:-.+)?", None, None);
    ScanSpec { roots: vec![root.as_os_str().as_bytes().to_vec()], rules: vec![scitex], ..ScanSpec::default() }
}

/// Directories end in a slash; all else is a file that holds its own path.
fn tree(paths: &[&str]) -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    for path in paths {
        let full = root.path().join(path);
        if path.ends_with('/') {
            fs::create_dir_all(full).unwrap();
        } else {
            fs::create_dir_all(full.parent().unwrap()).unwrap();
            fs::write(full, path).unwrap();
        }
    }
    root
}

fn set_mtime(path: &Path, ns: i64) {
    let time = std::time::UNIX_EPOCH + std::time::Duration::from_nanos(ns as u64);
    fs::File::open(path).unwrap().set_modified(time).unwrap();
}

fn run(spec: ScanSpec) -> ScanColumns {
    scan(&compile(spec).unwrap(), &Control::default())
}

/// Path below the root -> kind, status, verdict, layout.
fn rows(columns: &ScanColumns, root: &Path) -> BTreeMap<String, (u8, u8, u8, u8)> {
    let paths: Vec<&[u8]> = columns.paths.split(|&b| b == 0).filter(|p| !p.is_empty()).collect();
    assert!(paths.windows(2).all(|pair| pair[0] < pair[1]), "not sorted");
    assert_eq!(paths.len(), columns.kind.len());
    let base = [root.as_os_str().as_bytes(), b"/"].concat();
    let below = |p: &[u8]| String::from_utf8_lossy(p.strip_prefix(&base[..]).unwrap_or(b".")).into_owned();
    let row = |i: usize| (columns.kind[i], columns.status[i], columns.verdict[i], columns.layout[i]);
    paths.iter().enumerate().map(|(i, p)| (below(p), row(i))).collect()
}

fn names_of(spec: ScanSpec, root: &Path) -> Vec<String> {
    rows(&run(spec), root).into_keys().collect()
}

fn verdicts(spec: ScanSpec, root: &Path) -> Vec<(String, &'static str)> {
    let found = run(ScanSpec { keep_skipped: true, ..spec });
    rows(&found, root).into_iter().map(|(path, row)| (path, VERDICTS[usize::from(row.2)])).collect()
}

mod names;
mod verdicts;
mod walk;
