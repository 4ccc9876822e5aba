//! The native engine of runark: find session directories, pack each into one sealed archive, prove it, remove exactly
//! what was packed, and bring it back.
//!
//! One file a stage; the page `docs/durability.md` is the specification of [`gate`], `docs/archive-format.md` that of
//! [`tar`], [`codec`] and [`seal`]. The pure-Python engine has the same files with the same contents.
//!
//! Guarantees: no path is opened twice by name (everything goes through directory handles and never follows a symlink
//! inside a session); nothing is removed that is not recorded, packed, re-read and equal, or chosen to be discarded; every failure is a value.

pub mod codec;
pub mod compare;
mod content;
pub mod discard;
pub mod error;
pub mod gate;
pub mod list;
pub mod load;
pub mod options;
pub mod pack;
pub mod publish;
pub mod remove;
pub mod restore;
pub mod scan;
pub mod seal;
pub mod session;
pub mod settle;
mod splice;
pub mod sys;
pub mod tar;
pub mod task;
pub mod verify;
pub mod walk;

pub use error::{Fault, Stop};
pub use load::Rates;
pub use options::{
    ArchiveJob, ArchiveOptions, DiscardJob, Format, Limits, Outcome, RestoreJob, RestoreOptions, Sync, VerifyOptions,
};
pub use scan::{Rule, ScanColumns, ScanSpec};
pub use task::{Control, Progress, Task};
