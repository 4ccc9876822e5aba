//! Bring part files to stable storage before anybody relies on them.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use crate::error::Fault;
use crate::options::Sync;
use crate::sys::{self, Storage};

/// Up to this many files, each is synced by itself; more share one sync of the filesystem.
const FEW: usize = 8;

/// How the files of one directory are settled.
pub struct Settling {
    storage: Storage,
    choice: Sync,
    /// Opened before the first write, so that every later write error is reported to it.
    filesystem: Option<OwnedFd>,
}

impl Settling {
    /// `dir` is where the part files will be.
    pub fn new(dir: BorrowedFd<'_>, choice: Sync, path: &[u8]) -> Result<Self, Fault> {
        let storage = sys::storage(dir).map_err(|e| Fault::system("statfs", path, e))?;
        let wanted = match choice {
            Sync::Auto => storage.syncs_at_once(),
            Sync::Syncfs => storage != Storage::Volatile && sys::syncfs_tells(),
            Sync::Fsync => false,
        };
        let filesystem =
            if wanted { Some(sys::open_dir(dir, b".").map_err(|e| Fault::system("open", path, e))?) } else { None };
        Ok(Self { storage, choice, filesystem })
    }

    pub fn is_volatile(&self) -> bool {
        self.storage == Storage::Volatile
    }

    pub fn storage(&self) -> Storage {
        self.storage
    }

    /// Whether names become durable in the order in which they were changed: journals do that, servers promise nothing.
    pub fn is_ordered(&self) -> bool {
        match self.storage {
            Storage::Volatile => true,
            Storage::Local => self.choice != Sync::Fsync,
            Storage::Other => false,
        }
    }

    /// Sync the files, given with their paths. The word that says how, or the first refusal: then none of them may be trusted.
    pub fn settle<'f>(
        &self,
        files: impl ExactSizeIterator<Item = (BorrowedFd<'f>, Vec<u8>)>,
    ) -> Result<&'static str, Fault> {
        if self.is_volatile() {
            return Ok("volatile");
        }
        if let Some(filesystem) = self.filesystem.as_ref().filter(|_| files.len() > FEW || self.choice == Sync::Syncfs)
        {
            return match sys::sync_filesystem(filesystem) {
                Ok(()) => Ok("syncfs"),
                Err(e) => Err(Fault::system("sync", files.map(|f| f.1).next().unwrap_or_default(), e)),
            };
        }
        for (file, path) in files {
            let synced = if self.storage == Storage::Local { sys::sync_data(file) } else { sys::sync_file(file) };
            synced.map_err(|e| Fault::system("sync", path, e))?;
        }
        Ok("fsync")
    }

    /// Make renames in `dir` durable.
    pub fn settle_names(&self, dir: BorrowedFd<'_>, path: &[u8]) -> Result<(), Fault> {
        if self.is_volatile() {
            return Ok(());
        }
        sys::sync_dir(dir).map_err(|e| Fault::system("sync", path, e))
    }

    /// Have a settled file read from storage again, not from memory; the reads of a batch are under way together.
    pub fn read_anew(&self, file: impl AsFd) {
        if !self.is_volatile() {
            sys::read_anew(file);
        }
    }
}
