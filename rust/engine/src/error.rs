//! Failures as values: the operation, the path it was done to, the cause.

use rustix::io::Errno;

/// One thing that went wrong. `errno` is 0 where it was not the system that said no.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{op} {}: {message}", String::from_utf8_lossy(.path))]
pub struct Fault {
    pub op: &'static str,
    pub path: Vec<u8>,
    pub errno: i32,
    pub message: String,
}

impl Fault {
    /// A refusal of the system.
    pub fn system(op: &'static str, path: impl Into<Vec<u8>>, errno: Errno) -> Self {
        let code = errno.raw_os_error();
        let text = std::io::Error::from_raw_os_error(code).to_string();
        let message = text.split(" (os error").next().unwrap_or_default().to_owned();
        Self { op, path: path.into(), errno: code, message }
    }

    /// A refusal of ours, or of a codec.
    pub fn own(op: &'static str, path: impl Into<Vec<u8>>, message: impl Into<String>) -> Self {
        Self { op, path: path.into(), errno: 0, message: message.into() }
    }

    /// An error of `std::io`, system or not.
    pub fn io(op: &'static str, path: impl Into<Vec<u8>>, error: &std::io::Error) -> Self {
        match error.raw_os_error() {
            Some(code) => Self::system(op, path, Errno::from_raw_os_error(code)),
            None => Self::own(op, path, error.to_string()),
        }
    }

    /// No room for another file: blocks or inodes of the filesystem, or of the user's quota.
    pub fn no_room(&self) -> bool {
        self.errno == Errno::NOSPC.raw_os_error() || self.errno == Errno::DQUOT.raw_os_error()
    }
}

/// Why work on one session or archive ended early.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stop {
    /// Nothing was done, and nothing is wrong.
    Skipped(String),
    /// The source is not what it was a moment ago.
    Changed(String),
    /// The archive is not what it should be.
    Damaged(Fault),
    Failed(Fault),
    Cancelled,
}

impl From<Fault> for Stop {
    fn from(fault: Fault) -> Self {
        Stop::Failed(fault)
    }
}

/// Paths and names in messages: printable ASCII and valid UTF-8 without control characters as they are, the rest escaped.
pub fn show(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            if c.is_control() {
                out.extend(c.escape_default());
            } else {
                out.push(c);
            }
        }
        for b in chunk.invalid() {
            out.push_str(&format!("\\x{b:02x}"));
        }
    }
    out
}
