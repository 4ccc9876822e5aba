//! Give a proven part file its final name, never over an existing one.

use rustix::io::Errno;

use crate::error::{Fault, Stop};
use crate::pack::Part;
use crate::session::{join, Place};
use crate::sys::{self, Meta};

/// `Changed` if somebody else has published meanwhile. The part file is still there after a failure.
pub fn publish(place: Place<'_>, part: &Part, archive: &[u8]) -> Result<(), Stop> {
    match sys::rename_new(place.parent, &part.name, archive, false) {
        Ok(()) => Ok(()),
        Err(Errno::EXIST) => Err(Stop::Changed("another archive of it was published meanwhile".into())),
        Err(e) => {
            // Over a network a rename may be reported as failed and have happened: then the inode tells.
            let ours = sys::stat(&part.file).ok();
            let there = sys::stat_at(place.parent, archive).ok();
            match (ours, there) {
                (Some(a), Some(b)) if a.same_inode(&b) => Ok(()),
                _ => Err(Fault::system("rename", join(place.parent_path, archive), e).into()),
            }
        }
    }
}

/// Take an archive's name away; the name it has now. It is never removed here.
///
/// Somebody else may be removing the session at this moment because of this very archive. Both sides write first and look
/// then: the remover renames the session and looks for the archive (`remove::bury`), we rename the archive and look for the
/// session, `session` being the inode that was packed, compared or restored. Whatever the order, one of us sees the other and
/// gives way.
pub fn set_aside(place: Place<'_>, archive: &[u8], word: &str, session: &Meta) -> Result<Vec<u8>, Stop> {
    let fault = |e| Fault::system("rename", join(place.parent_path, archive), e);
    let x = sys::random_hex().map_err(fault)?;
    let aside = [b".", archive, b".", word.as_bytes(), b"-", x.as_bytes()].concat();
    sys::rename_new(place.parent, archive, &aside, false).map_err(fault)?;
    match sys::stat_at(place.parent, place.name) {
        Ok(now) if now.same_inode(session) => Ok(aside),
        _ => {
            sys::rename_new(place.parent, &aside, archive, false).map_err(fault)?;
            Err(Stop::Changed("another process is removing it".into()))
        }
    }
}
