//! Names of users and groups for the archive's headers, asked once each.

use std::collections::HashMap;
use std::ffi::CStr;

#[derive(Default)]
pub struct Names {
    users: HashMap<u32, Vec<u8>>,
    groups: HashMap<u32, Vec<u8>>,
}

impl Names {
    /// The user's name, empty if the system has none for the id.
    pub fn user(&mut self, uid: u32) -> &[u8] {
        self.users.entry(uid).or_insert_with(|| lookup_user(uid))
    }

    pub fn group(&mut self, gid: u32) -> &[u8] {
        self.groups.entry(gid).or_insert_with(|| lookup_group(gid))
    }
}

// The reentrant calls: several workers may ask at once, and the process has threads of its own.
fn lookup_user(uid: u32) -> Vec<u8> {
    let mut buffer = vec![0 as libc::c_char; 16 * 1024];
    // SAFETY: all pointers are valid for the call; the name points into `buffer`, which outlives it.
    unsafe {
        let mut record: libc::passwd = std::mem::zeroed();
        let mut found = std::ptr::null_mut();
        let failed = libc::getpwuid_r(uid, &mut record, buffer.as_mut_ptr(), buffer.len(), &mut found);
        if failed != 0 || found.is_null() {
            return Vec::new();
        }
        CStr::from_ptr(record.pw_name).to_bytes().to_vec()
    }
}

fn lookup_group(gid: u32) -> Vec<u8> {
    let mut buffer = vec![0 as libc::c_char; 256 * 1024];
    // SAFETY: as above.
    unsafe {
        let mut record: libc::group = std::mem::zeroed();
        let mut found = std::ptr::null_mut();
        let failed = libc::getgrgid_r(gid, &mut record, buffer.as_mut_ptr(), buffer.len(), &mut found);
        if failed != 0 || found.is_null() {
            return Vec::new();
        }
        CStr::from_ptr(record.gr_name).to_bytes().to_vec()
    }
}
