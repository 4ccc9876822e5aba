//! The raw system calls, one line each. Whatever fails ends the program: there is nothing to be saved here.

use std::ffi::{CStr, CString};

use libc::c_int;

fn check(op: &str, result: i64, name: &CStr) -> i64 {
    if result < 0 {
        eprintln!("floor: {op} {name:?}: {}", std::io::Error::last_os_error());
        std::process::exit(1)
    }
    result
}

pub fn open_root(path: &str) -> c_int {
    let path = CString::new(path).expect("no NUL in an argument");
    let fd = unsafe {
        libc::open(
            path.as_ptr(),
            libc::O_RDONLY | libc::O_DIRECTORY | libc::O_CLOEXEC,
        )
    };
    check("open", fd.into(), &path) as c_int
}

pub fn open_dir(parent: c_int, name: &CStr) -> c_int {
    let flags = libc::O_RDONLY | libc::O_DIRECTORY | libc::O_NOFOLLOW | libc::O_NOATIME | libc::O_CLOEXEC;
    check(
        "open",
        unsafe { libc::openat(parent, name.as_ptr(), flags) }.into(),
        name,
    ) as c_int
}

pub fn open_file(parent: c_int, name: &CStr) -> c_int {
    let flags = libc::O_RDONLY | libc::O_NOFOLLOW | libc::O_NOATIME | libc::O_CLOEXEC;
    check(
        "open",
        unsafe { libc::openat(parent, name.as_ptr(), flags) }.into(),
        name,
    ) as c_int
}

pub fn create(parent: c_int, name: &CStr) -> c_int {
    let flags = libc::O_WRONLY | libc::O_CREAT | libc::O_EXCL | libc::O_CLOEXEC;
    check(
        "create",
        unsafe { libc::openat(parent, name.as_ptr(), flags, 0o644 as libc::c_uint) }.into(),
        name,
    ) as c_int
}

pub fn fstat(fd: c_int, name: &CStr) -> libc::stat {
    let mut stat = unsafe { std::mem::zeroed() };
    check("stat", unsafe { libc::fstat(fd, &mut stat) }.into(), name);
    stat
}

pub fn lstat(parent: c_int, name: &CStr) -> libc::stat {
    let mut stat = unsafe { std::mem::zeroed() };
    check(
        "stat",
        unsafe { libc::fstatat(parent, name.as_ptr(), &mut stat, libc::AT_SYMLINK_NOFOLLOW) }.into(),
        name,
    );
    stat
}

pub fn readlink(parent: c_int, name: &CStr, into: &mut [u8]) -> usize {
    check(
        "readlink",
        unsafe { libc::readlinkat(parent, name.as_ptr(), into.as_mut_ptr().cast(), into.len()) } as i64,
        name,
    ) as usize
}

/// Reads until `into` is full. A short file is an error: there is no retry here.
pub fn read(fd: c_int, mut into: &mut [u8], name: &CStr) {
    while !into.is_empty() {
        let got = check(
            "read",
            unsafe { libc::read(fd, into.as_mut_ptr().cast(), into.len()) } as i64,
            name,
        ) as usize;
        assert!(got > 0, "floor: {name:?} became shorter");
        into = &mut into[got..];
    }
}

pub fn write(fd: c_int, mut from: &[u8], name: &CStr) {
    while !from.is_empty() {
        let done = check(
            "write",
            unsafe { libc::write(fd, from.as_ptr().cast(), from.len()) } as i64,
            name,
        ) as usize;
        from = &from[done..];
    }
}

pub fn close(fd: c_int) {
    unsafe { libc::close(fd) };
}

pub fn rename(parent: c_int, from: &CStr, to: &CStr) {
    check(
        "rename",
        unsafe { libc::renameat(parent, from.as_ptr(), parent, to.as_ptr()) }.into(),
        from,
    );
}

pub fn unlink(parent: c_int, name: &CStr, flags: c_int) {
    check(
        "unlink",
        unsafe { libc::unlinkat(parent, name.as_ptr(), flags) }.into(),
        name,
    );
}

/// Calls `each(name, d_type)` for every entry but `.` and `..`. A listing that leaves room for one more name is taken
/// for complete, which saves a call a directory; local filesystems keep that, others need not.
pub fn list(fd: c_int, buffer: &mut [u8], mut each: impl FnMut(&CStr, u8)) {
    const LONGEST: usize = 19 + 256 + 8;
    loop {
        let got = unsafe { libc::syscall(libc::SYS_getdents64, fd, buffer.as_mut_ptr(), buffer.len()) };
        let got = check("list", got, c"directory") as usize;
        let mut at = 0;
        while at < got {
            let length = u16::from_ne_bytes([buffer[at + 16], buffer[at + 17]]) as usize;
            let name =
                CStr::from_bytes_until_nul(&buffer[at + 19..at + length]).expect("the kernel ends names");
            if name != c"." && name != c".." {
                each(name, buffer[at + 18]);
            }
            at += length;
        }
        if got == 0 || got + LONGEST < buffer.len() {
            return;
        }
    }
}
