//! Listing a directory through its handle: raw `getdents64` on Linux, `readdir` elsewhere.

use rustix::fd::BorrowedFd;
use rustix::io::Result;

use super::Kind;
use crate::load::operations;

/// Room for one `getdents64` call, kept by each worker.
pub struct DirBuffer {
    #[cfg(target_os = "linux")]
    bytes: Vec<std::mem::MaybeUninit<u8>>,
}

impl Default for DirBuffer {
    fn default() -> Self {
        Self {
            #[cfg(target_os = "linux")]
            bytes: vec![std::mem::MaybeUninit::uninit(); 64 * 1024],
        }
    }
}

/// Call `each` for every name but `.` and `..`, from the start of the directory; `refilled` before each call to the kernel
/// after the first (a scan hands on what it has by then).
#[cfg(target_os = "linux")]
pub fn list_dir(
    fd: BorrowedFd<'_>,
    buffer: &mut DirBuffer,
    mut each: impl FnMut(&[u8], Kind),
    mut refilled: impl FnMut(),
) -> Result<()> {
    let mut entries = rustix::fs::RawDir::new(fd, &mut buffer.bytes);
    loop {
        if entries.is_buffer_empty() {
            operations(1);
            refilled();
        }
        let Some(entry) = entries.next() else {
            return Ok(());
        };
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if name != b"." && name != b".." {
            each(name, entry.file_type().into());
        }
    }
}

#[cfg(not(target_os = "linux"))]
pub fn list_dir(
    fd: BorrowedFd<'_>,
    _buffer: &mut DirBuffer,
    mut each: impl FnMut(&[u8], Kind),
    mut refilled: impl FnMut(),
) -> Result<()> {
    operations(2);
    for entry in rustix::fs::Dir::read_from(fd)? {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if name != b"." && name != b".." {
            each(name, entry.file_type().into());
        }
    }
    refilled();
    Ok(())
}
