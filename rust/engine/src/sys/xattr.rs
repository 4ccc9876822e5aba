//! Extended attributes by handle.

use rustix::fd::AsFd;
use rustix::fs::XattrFlags;
use rustix::io::{Errno, Result};

use crate::load::operations;

/// Names of the attributes, NUL after each; nothing where the filesystem has none.
pub fn list_xattr(fd: impl AsFd, buffer: &mut Vec<u8>) -> Result<usize> {
    loop {
        buffer.resize(buffer.capacity().max(1024), 0);
        operations(1);
        match rustix::fs::flistxattr(fd.as_fd(), buffer.as_mut_slice()) {
            Ok(n) => return Ok(n),
            Err(Errno::RANGE) => {
                operations(1);
                let need = rustix::fs::flistxattr_query(fd.as_fd())?;
                buffer.reserve(need + 1024);
            }
            Err(Errno::NOTSUP | Errno::NOSYS) => return Ok(0),
            Err(e) => return Err(e),
        }
    }
}

pub fn get_xattr(fd: impl AsFd, name: &[u8]) -> Result<Vec<u8>> {
    let mut room = 4096;
    loop {
        let mut value = vec![0; room];
        operations(1);
        match rustix::fs::fgetxattr(fd.as_fd(), name, value.as_mut_slice()) {
            Ok(n) => {
                value.truncate(n);
                return Ok(value);
            }
            Err(Errno::RANGE) => {
                operations(1);
                room = rustix::fs::fgetxattr_query(fd.as_fd(), name)? + 256;
            }
            Err(e) => return Err(e),
        }
    }
}

/// Take away the ACLs that a directory has got from the one above it.
pub fn forget_acls(fd: impl AsFd) -> Result<()> {
    for name in ["system.posix_acl_access", "system.posix_acl_default"] {
        operations(1);
        match rustix::fs::fremovexattr(&fd, name) {
            Ok(()) | Err(Errno::NODATA | Errno::NOTSUP | Errno::NOSYS) => {}
            Err(e) => return Err(e),
        }
    }
    Ok(())
}

pub fn set_xattr(fd: impl AsFd, name: &[u8], value: &[u8]) -> Result<()> {
    operations(1);
    rustix::fs::fsetxattr(fd, name, value, XattrFlags::empty())
}
