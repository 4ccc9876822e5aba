//! What an engine is given and what it answers: plain values. The meaning of each field is written down once, in
//! `python/runark/engine/protocol.py`.

use crate::error::Fault;
use crate::load::Rates;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    TarGz,
    TarZst,
    TarXz,
    Tar,
}

impl Format {
    pub const ALL: [Format; 4] = [Format::TarGz, Format::TarZst, Format::TarXz, Format::Tar];

    pub fn suffix(self) -> &'static str {
        match self {
            Format::TarGz => "tar.gz",
            Format::TarZst => "tar.zst",
            Format::TarXz => "tar.xz",
            Format::Tar => "tar",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|f| f.suffix() == text)
    }

    /// The format an archive's name says, and the name without it. `x.tar.gz` is never a `.tar`.
    pub fn of_name(name: &[u8]) -> Option<(Self, &[u8])> {
        Self::ALL.into_iter().find_map(|f| {
            let stem = name.strip_suffix(f.suffix().as_bytes())?.strip_suffix(b".")?;
            (!stem.is_empty()).then_some((f, stem))
        })
    }

    pub fn default_level(self) -> i32 {
        match self {
            Format::TarGz => 1,
            Format::TarZst => 3,
            Format::TarXz => 6,
            Format::Tar => 0,
        }
    }

    pub fn levels(self) -> std::ops::RangeInclusive<i32> {
        match self {
            Format::TarGz => 1..=9,
            Format::TarZst => 1..=19,
            Format::TarXz => 0..=9,
            Format::Tar => 0..=0,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sync {
    Auto,
    Fsync,
    Syncfs,
}

#[derive(Clone, Debug)]
pub struct ArchiveJob {
    pub path: Vec<u8>,
    pub leftovers: Vec<Vec<u8>>,
    /// The scan of this run saw no archive of it: none is looked for.
    pub unarchived: bool,
}

#[derive(Clone, Debug)]
pub struct ArchiveOptions {
    pub format: Format,
    pub level: i32,
    pub jobs: usize,
    pub keep_source: bool,
    pub compare: bool,
    pub older_than_ns: Option<i64>,
    pub reserve: Option<Vec<u8>>,
    pub sync: Sync,
    pub rates: Rates,
}

#[derive(Clone, Debug)]
pub struct Limits {
    pub max_entries: u64,
    pub max_path: usize,
    pub max_depth: usize,
    pub max_metadata: u64,
    pub max_bytes: u64,
    pub max_ratio: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_entries: 10_000_000,
            max_path: 32_768,
            max_depth: 512,
            max_metadata: 1 << 20,
            max_bytes: 1 << 44,
            max_ratio: 2_000,
        }
    }
}

#[derive(Clone, Debug)]
pub struct RestoreJob {
    pub archive: Vec<u8>,
    pub dest: Vec<u8>,
    pub leftovers: Vec<Vec<u8>>,
}

#[derive(Clone, Debug)]
pub struct RestoreOptions {
    pub jobs: usize,
    pub remove_archive: bool,
    pub same_owner: bool,
    pub special_modes: bool,
    pub limits: Limits,
}

#[derive(Clone, Debug)]
pub struct DiscardJob {
    pub path: Vec<u8>,
    pub device: u64,
    pub inode: u64,
}

#[derive(Clone, Debug)]
pub struct VerifyOptions {
    pub jobs: usize,
    pub limits: Limits,
}

/// How one job ended; see `Outcome` of the protocol for the words in `action`.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    pub path: Vec<u8>,
    pub action: &'static str,
    pub reason: String,
    pub target: Vec<u8>,
    pub entries: u64,
    pub inodes_freed: u64,
    pub bytes_in: u64,
    pub bytes_out: u64,
    pub sha256: String,
    pub milliseconds: f64,
    pub settled: &'static str,
    pub notes: Vec<String>,
    pub fault: Option<Fault>,
}
