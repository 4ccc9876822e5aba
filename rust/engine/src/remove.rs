//! Recheck the source against its records, then remove exactly what was recorded: after archiving, or to `discard` it.
//!
//! Order: recheck everything in place; rename the session to its tombstone, so that nobody finds it by name any more; list its own
//! directory again and look at the records of the others; see that nobody has a file open for writing, or tried to where files are
//! held; unlink each recorded entry after one more look at it, bottom up. Anything unknown or different stops it and the session
//! gets its name back. Nothing is ever removed recursively.

use std::collections::HashSet;
use std::os::fd::AsFd;

use rustix::io::Errno;

use crate::content;
use crate::error::{show, Fault, Stop};
use crate::load;
use crate::session::{gone, join, Entry, Held, Place, Tree};
use crate::sys::{self, DirBuffer, Kind, Meta};
use crate::walk::relist_renamed;

const READ_ONLY: &str =
    "; the session cannot be removed: make its directories writable (chmod u+w), or keep the source";

/// How a removal that did not finish left things.
#[derive(Debug)]
pub struct Unfinished {
    pub stop: Stop,
    /// Entries removed before it stopped. With none, the archive proves nothing that the source does not hold.
    pub removed: u64,
}

/// Every recorded entry is still what was recorded, and every directory can be emptied: a removal that is refused halfway
/// would leave a torn session.
pub fn recheck(tree: &Tree, place: Place<'_>) -> Result<(), Stop> {
    let mut leased = tree.leased.iter().peekable();
    for (i, entry) in tree.entries.iter().enumerate() {
        let recorded = recorded(entry)?;
        let held = leased.next_if(|(at, _)| *at == i);
        let now = match (entry.kind, held) {
            (Kind::Dir, _) => {
                let handle = tree.dir(place, entry.dir)?;
                // Root is asked too: a file server may take it for nobody.
                sys::may_change(handle.as_fd()).map_err(|e| {
                    let mut fault = Fault::system("unlink", place.path_of(&entry.path), e);
                    fault.message.push_str(READ_ONLY);
                    fault
                })?;
                sys::stat(handle.as_fd())
            }
            // Its name leads to it as long as its directory has not changed.
            (_, Some((_, held))) => sys::stat(&held.0),
            (_, None) => sys::stat_at(tree.dir(place, entry.parent)?.as_fd(), entry.name()),
        };
        let now = now.map_err(|e| gone("stat", &place, &entry.path, e))?;
        if !now.unchanged(recorded) {
            return Err(Stop::Changed(format!("{} changed", show(&entry.path))));
        }
    }
    // The name must still lead to the directory whose handle was just asked.
    let named = sys::stat_at(place.parent, place.name).map_err(|e| gone("stat", &place, b"", e))?;
    if named.same_inode(&tree.dirs[0].meta) {
        Ok(())
    } else {
        Err(Stop::Changed("the session directory was replaced".into()))
    }
}

/// Rename the session to a tombstone; the tombstone's name. Then see that the archive still is the inode that was proven
/// (see `publish::set_aside`); else it gets its name back.
pub fn bury(place: Place<'_>, session: &Meta, archive: &[u8], proven: &Meta) -> Result<Vec<u8>, Stop> {
    let _at_once = load::at_once(); // its name may have to be given back
    let tombstone = entomb(place, session, b"removing")?;
    if sys::stat_at(place.parent, archive).is_ok_and(|a| a.same_inode(proven) && a.size == proven.size) {
        return Ok(tombstone);
    }
    unbury(Place { name: &tombstone, ..place }, place.name)?;
    Err(Stop::Changed("the archive was taken away by another process".into()))
}

/// Rename the session to `.S.<word>-X`; that name. Then see that it was the recorded session that was renamed; else it gets its
/// name back.
pub fn entomb(place: Place<'_>, session: &Meta, word: &[u8]) -> Result<Vec<u8>, Stop> {
    let x = sys::random_hex().map_err(|e| Fault::system("random", place.path(), e))?;
    let tombstone = [b".", place.name, b".", word, b"-", x.as_bytes()].concat();
    let _at_once = load::at_once();
    match sys::rename_new(place.parent, place.name, &tombstone, true) {
        Ok(()) => {}
        Err(Errno::NAMETOOLONG) => return Err(Stop::Skipped("name too long for a tombstone's name".into())),
        Err(e) => return Err(gone("rename", &place, b"", e)),
    }
    // Between the recheck and the rename the name may have got another directory: that one is nobody's to remove.
    if sys::stat_at(place.parent, &tombstone).is_ok_and(|now| now.same_inode(session)) {
        return Ok(tombstone);
    }
    unbury(Place { name: &tombstone, ..place }, place.name)?;
    Err(Stop::Changed("the session directory was replaced".into()))
}

/// Give a tombstone its name back.
pub fn unbury(place: Place<'_>, session: &[u8]) -> Result<(), Fault> {
    sys::rename_new(place.parent, place.name, session, true)
        .map_err(|e| Fault::system("rename", join(place.parent_path, place.name), e))
}

/// Remove the tree, which stands at `place` under its tombstone's name; the number of names removed.
///
/// `partial`: the tree was compared after an earlier removal had begun, so directory times mean nothing.
pub fn remove(tree: &Tree, place: Place<'_>, buffer: &mut DirBuffer, partial: bool) -> Result<u64, Unfinished> {
    let mut removed = 0;
    match clear(tree, place, buffer, partial, &mut removed) {
        Ok(()) => Ok(removed),
        Err(stop) => Err(Unfinished { stop, removed }),
    }
}

fn clear(tree: &Tree, place: Place<'_>, buffer: &mut DirBuffer, partial: bool, removed: &mut u64) -> Result<(), Stop> {
    if !partial {
        relist_renamed(tree, place, buffer)?;
    }
    if place.is_local() {
        see_at_rest(tree, place)?;
    }
    // Inodes with several names of which one was removed: that changes the ctime the others show.
    let mut unlinked = HashSet::new();
    // In their order a directory comes before what is in it: backwards, it comes after.
    for entry in tree.entries.iter().rev() {
        let recorded = recorded(entry)?;
        if entry.kind == Kind::Dir {
            let outcome = if entry.parent == crate::session::NO_DIR {
                sys::remove_dir(place.parent, place.name)
            } else {
                sys::remove_dir(tree.dir(place, entry.parent)?.as_fd(), entry.name())
            };
            match outcome {
                Ok(()) => {}
                Err(Errno::NOTEMPTY | Errno::EXIST) => {
                    return Err(Stop::Changed(format!("something new in {}", show(&entry.path))));
                }
                Err(e) => return Err(missing("rmdir", &place, entry, e, *removed)),
            }
        } else {
            let dir = tree.dir(place, entry.parent)?;
            let now =
                sys::stat_at(dir.as_fd(), entry.name()).map_err(|e| missing("stat", &place, entry, e, *removed))?;
            if !same(&now, recorded, unlinked.contains(&recorded.ino)) {
                return Err(Stop::Changed(format!("{} changed", show(&entry.path))));
            }
            sys::unlink(dir.as_fd(), entry.name()).map_err(|e| missing("unlink", &place, entry, e, *removed))?;
            if recorded.nlink > 1 {
                unlinked.insert(recorded.ino);
            }
        }
        *removed += 1;
    }
    Ok(())
}

/// Only who holds a directory of the session open can still open these files by name: who else has none open for writing now, never
/// will. Where no time tells of those who had, the content does.
fn see_at_rest(tree: &Tree, place: Place<'_>) -> Result<(), Stop> {
    let mut leased = tree.leased.iter().peekable();
    for (i, entry) in tree.entries.iter().enumerate().filter(|(_, entry)| entry.kind == Kind::File) {
        match leased.next_if(|(at, _)| *at == i) {
            Some((_, held)) if sys::lease_stands(&held.0) => {}
            Some(_) => return Err(Stop::Changed(format!("{} is open for writing", show(&entry.path)))),
            None => see_file_at_rest(tree, place, entry)?,
        }
    }
    Ok(())
}

/// The same of a file that is not held.
fn see_file_at_rest(tree: &Tree, place: Place<'_>, entry: &Entry) -> Result<(), Stop> {
    let held = match sys::open_file(tree.dir(place, entry.parent)?.as_fd(), entry.name()) {
        Ok(fd) => Held(fd),
        // What may not be read is still looked at before it goes.
        Err(Errno::ACCESS | Errno::PERM) => return Ok(()),
        Err(e) => return Err(gone("open", &place, &entry.path, e)),
    };
    place.lease(&held.0, entry)?;
    let Some(sum) = entry.sum else { return Ok(()) };
    let now = content::sum(&held.0, recorded(entry)?, |_| ());
    if now.map_err(|e| Fault::system("read", place.path_of(&entry.path), e))? == sum {
        Ok(())
    } else {
        Err(Stop::Changed(format!("{} changed", show(&entry.path))))
    }
}

/// What a refusal means. Once something was removed, an entry that is not there any more is nothing new: the tombstone stays,
/// and the next run finishes it. Under its own name the rest would be taken for a session that differs from its archive.
fn missing(op: &'static str, place: &Place<'_>, entry: &Entry, e: Errno, removed: u64) -> Stop {
    match e {
        Errno::NOENT | Errno::STALE if removed > 0 => Fault::system(op, place.path_of(&entry.path), e).into(),
        _ => gone(op, place, &entry.path, e),
    }
}

fn same(now: &Meta, recorded: &Meta, unlinked: bool) -> bool {
    (unlinked || now.ctime == recorded.ctime)
        && now.same_inode(recorded)
        && now.mode == recorded.mode
        && now.size == recorded.size
        && now.mtime == recorded.mtime
}

fn recorded(entry: &Entry) -> Result<&Meta, Stop> {
    entry.meta.as_ref().ok_or_else(|| Stop::Changed(format!("{} was never read", show(&entry.path))))
}
