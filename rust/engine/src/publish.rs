//! Give a proven part file its final name, never over an existing one.

use rustix::fd::BorrowedFd;
use rustix::io::Errno;

use crate::error::{Fault, Stop};
use crate::load;
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

/// The directory an archive is in.
#[derive(Clone, Copy)]
pub struct Home<'a> {
    pub fd: BorrowedFd<'a>,
    pub path: &'a [u8],
}

/// Take an archive's name away; the name it has now. It is never removed here.
///
/// Somebody else may be removing the session at this moment because of this very archive. Both sides write first and look
/// then: the remover renames the session and looks for the archive (`remove::bury`), we rename the archive and look for the
/// session, `session` being the inode that was packed, compared or restored. Whatever the order, one of us sees the other and
/// gives way. `known` is the archive as it was looked at: another file that has got its name meanwhile gets it back.
pub fn set_aside(
    home: Home<'_>,
    archive: &[u8],
    known: &Meta,
    word: &str,
    place: Place<'_>,
    session: &Meta,
) -> Result<Vec<u8>, Stop> {
    let fault = |e| Fault::system("rename", join(home.path, archive), e);
    let x = sys::random_hex().map_err(fault)?;
    let aside = [b".", archive, b".", word.as_bytes(), b"-", x.as_bytes()].concat();
    let _at_once = load::at_once(); // its name may have to be given back
    sys::rename_new(home.fd, archive, &aside, false).map_err(fault)?;
    let ours = sys::stat_at(home.fd, &aside).is_ok_and(|now| now.same_inode(known));
    if ours && sys::stat_at(place.parent, place.name).is_ok_and(|now| now.same_inode(session)) {
        return Ok(aside);
    }
    sys::rename_new(home.fd, &aside, archive, false).map_err(fault)?;
    let why = if ours { "another process is removing the session" } else { "it is another file by now" };
    Err(Stop::Changed(why.into()))
}
