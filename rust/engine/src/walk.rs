//! List one session's tree through handles: every entry with its kind, every directory with its record.
//!
//! Only names and directory handles are taken here; files are looked at when they are opened (`pack`, `compare`).

use rustix::fd::AsFd;

use crate::error::{show, Fault, Stop};
use crate::options::Limits;
use crate::session::{gone, Entry, Listing, Place, Tree, NO_DIR};
use crate::sys::{self, DirBuffer, Kind, Meta, Time};

/// What may lie in a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kinds {
    /// What an archive can hold.
    Archivable,
    /// Sockets and devices too.
    Any,
}

/// The session's tree, entries in the order of [`order`]. Sockets, device nodes, mount points and names over the limits stop
/// it: such a session cannot be kept, so it is left alone.
pub fn walk(place: Place<'_>, buffer: &mut DirBuffer, limits: &Limits, kinds: Kinds) -> Result<Tree, Stop> {
    let mut tree = Tree::default();
    // Not there, or no directory, from the start: the job is wrong. Later, the same is a change.
    let fd = sys::open_dir(place.parent, place.name).map_err(|e| Fault::system("open", place.path(), e))?;
    let (meta, mount) = record(&fd).map_err(|e| gone("stat", &place, b"", e))?;
    if mount != place.mount {
        return Err(Stop::Skipped("it is a mount point".into()));
    }
    let device = meta.dev;
    tree.entries.push(Entry {
        path: vec![],
        name_at: 0,
        parent: NO_DIR,
        dir: 0,
        kind: Kind::Dir,
        meta: Some(meta),
        sum: None,
    });
    tree.add_dir(NO_DIR, place.name, meta, fd);
    let mut todo = vec![0usize]; // entry indices of directories not yet listed
    while let Some(at) = todo.pop() {
        let dir = tree.entries[at].dir;
        let base = tree.entries[at].path.clone();
        let depth = 2 + base.iter().filter(|&&b| b == b'/').count() + usize::from(!base.is_empty());
        let first = tree.entries.len();
        let handle = tree.dir(place, dir)?;
        let (listing, mut found) =
            list(&handle, dir, &base, buffer).map_err(|e| Fault::system("list", place.path_of(&base), e))?;
        for entry in found.iter_mut().filter(|entry| entry.kind == Kind::Unknown) {
            let look = sys::stat_at(handle.as_fd(), entry.name());
            entry.kind = look.map_err(|e| gone("stat", &place, &entry.path, e))?.kind;
        }
        drop(handle);
        tree.dirs[dir as usize].listing = listing;
        if depth > limits.max_depth && !found.is_empty() {
            return Err(Stop::Skipped(format!("more than {} levels deep", limits.max_depth)));
        }
        tree.entries.append(&mut found);
        if tree.entries.len() as u64 > limits.max_entries {
            return Err(Stop::Skipped(format!("more than {} entries", limits.max_entries)));
        }
        for i in first..tree.entries.len() {
            let entry = &tree.entries[i];
            if entry.path.len() + 2 + place.name.len() > limits.max_path {
                return Err(Stop::Skipped(format!("a path longer than {} bytes", limits.max_path)));
            }
            match entry.kind {
                Kind::Dir => {
                    let handle = tree.dir(place, dir)?;
                    let fd = sys::open_dir(handle.as_fd(), entry.name())
                        .map_err(|e| gone("open", &place, &entry.path, e))?;
                    drop(handle);
                    let (meta, own) = record(&fd).map_err(|e| gone("stat", &place, &entry.path, e))?;
                    if meta.dev != device || own != mount {
                        return Err(Stop::Skipped(format!("mount point inside: {}", show(&entry.path))));
                    }
                    let name = entry.name().to_vec();
                    tree.entries[i].meta = Some(meta);
                    tree.entries[i].dir = tree.add_dir(dir, &name, meta, fd);
                    todo.push(i);
                }
                Kind::Socket | Kind::Device | Kind::Unknown if kinds == Kinds::Any => {}
                Kind::Socket => return Err(Stop::Skipped(format!("socket: {}", show(&entry.path)))),
                Kind::Device => return Err(Stop::Skipped(format!("device node: {}", show(&entry.path)))),
                Kind::Unknown => return Err(Stop::Skipped(format!("unknown kind of file: {}", show(&entry.path)))),
                Kind::File | Kind::Symlink | Kind::Fifo => {}
            }
        }
    }
    tree.entries.sort_unstable_by(|a, b| order(&a.path, &b.path));
    Ok(tree)
}

/// The order of members: by bytes, `/` the smallest, so that a directory is followed by all that is in it.
pub fn order(a: &[u8], b: &[u8]) -> std::cmp::Ordering {
    let rank = |c: &u8| if *c == b'/' { 0 } else { *c };
    match a.iter().zip(b).find(|(x, y)| x != y) {
        Some((x, y)) => rank(x).cmp(&rank(y)),
        None => a.len().cmp(&b.len()),
    }
}

/// The names in a directory as entries below `base`.
fn list(fd: &impl AsFd, parent: u32, base: &[u8], buffer: &mut DirBuffer) -> rustix::io::Result<(Listing, Vec<Entry>)> {
    let mut listing = Listing::default();
    let mut found = Vec::new();
    let name_at = if base.is_empty() { 0 } else { base.len() + 1 };
    let each = |name: &[u8], kind| {
        listing.add(name);
        let mut path = Vec::with_capacity(name_at + name.len());
        path.extend_from_slice(base);
        if name_at > 0 {
            path.push(b'/');
        }
        path.extend_from_slice(name);
        found.push(Entry { path, name_at, parent, dir: NO_DIR, kind, meta: None, sum: None });
    };
    sys::list_dir(fd.as_fd(), buffer, each, || {})?;
    Ok((listing, found))
}

/// A directory's settled record and its mount.
fn record(fd: &impl AsFd) -> rustix::io::Result<(Meta, Option<u64>)> {
    let mut mount = None;
    let meta = settled(|| {
        let (meta, own) = sys::stat_dir(fd)?;
        mount = own;
        Ok(meta)
    })?;
    Ok((meta, mount))
}

/// Look at every directory once more: the same names, the same record. What was added, renamed or removed since shows.
///
/// The record was settled before the listing, so where the kernel alone makes changes one that is the same says that the names
/// are; elsewhere they are listed.
pub fn relist(tree: &Tree, place: Place<'_>, buffer: &mut DirBuffer) -> Result<(), Stop> {
    for (i, node) in tree.dirs.iter().enumerate() {
        let handle = tree.dir(place, i as u32)?;
        let now = sys::stat(&handle).map_err(|e| Fault::system("stat", place.path(), e))?;
        let same =
            now.unchanged(&node.meta) && (place.is_local() || list_again(&handle, buffer, place)? == node.listing);
        if !same {
            return Err(Stop::Changed(format!("directory {} changed", show(&node.name))));
        }
    }
    Ok(())
}

/// The same of a session that was just renamed. That changes the ctime of its own directory, so this one is listed; for the
/// others a record that has not changed says that no name has.
pub fn relist_renamed(tree: &Tree, place: Place<'_>, buffer: &mut DirBuffer) -> Result<(), Stop> {
    for (i, node) in tree.dirs.iter().enumerate() {
        let handle = tree.dir(place, i as u32)?;
        let now = sys::stat(&handle).map_err(|e| Fault::system("stat", place.path(), e))?;
        let same = match i {
            0 => now.mtime == node.meta.mtime && list_again(&handle, buffer, place)? == node.listing,
            _ => now.unchanged(&node.meta),
        };
        if !same {
            return Err(Stop::Changed(format!("directory {} changed", show(&node.name))));
        }
    }
    Ok(())
}

fn list_again(handle: &impl AsFd, buffer: &mut DirBuffer, place: Place<'_>) -> Result<Listing, Stop> {
    let mut listing = Listing::default();
    sys::seek_to(handle, 0)
        .and_then(|()| sys::list_dir(handle.as_fd(), buffer, |name, _| listing.add(name), || {}))
        .map_err(|e| Fault::system("list", place.path(), e))?;
    Ok(listing)
}

/// A record taken late enough that any later change gives another ctime: timestamps move in ticks (10 ms at most on
/// Linux, 2 s on the coarsest filesystems), so a file changed within the last tick is looked at again after it. What has
/// changed by then is being worked on: `EBUSY`, which [`gone`] takes for a change.
pub fn settled(mut look: impl FnMut() -> rustix::io::Result<Meta>) -> rustix::io::Result<Meta> {
    let meta = look()?;
    let wait = fresh_for(&meta, Time::now());
    if wait == 0 {
        return Ok(meta);
    }
    std::thread::sleep(std::time::Duration::from_nanos(wait));
    let again = look()?;
    if again.unchanged(&meta) {
        Ok(again)
    } else {
        Err(rustix::io::Errno::BUSY)
    }
}

/// How far the clock of a file server may be ahead of ours.
const SKEW: i64 = 600_000_000_000;

/// Nanoseconds until the record is old enough to be trusted; 0 if it is. From a clock that runs ahead of ours nothing can be
/// told about its age: a whole tick. Far ahead it was not changed now, but our clock was set back since.
fn fresh_for(meta: &Meta, now: Time) -> u64 {
    let tick = if meta.ctime.nsec == 0 && meta.mtime.nsec == 0 { 2_000_000_000 } else { 20_000_000 };
    let age = now.nanoseconds().saturating_sub(meta.ctime.nanoseconds());
    if (0..tick).contains(&age) {
        (tick - age) as u64
    } else if (-SKEW..0).contains(&age) {
        tick as u64
    } else {
        0
    }
}
