//! Compare an archive with a directory, entry by entry, content included: the one proof that is used when an archive and a
//! source are found side by side (S2), when a removal was interrupted (S3), and for `--verify compare`.

use std::collections::{HashMap, HashSet};
use std::os::fd::AsFd;

use sha2::{Digest, Sha256};

use crate::content;
use crate::error::{show, Fault, Stop};
use crate::options::Limits;
use crate::pack::Bench;
use crate::session::{gone, Entry, Place, Tree};
use crate::sys::{self, Kind, Meta};
use crate::tar::reader::{Member, MemberKind};
use crate::task::Control;
use crate::verify::{examine, Data, Opened, Summary};
use crate::walk::{order, relist, settled, walk, Kinds};

/// Bytes compared at once.
const STEP: usize = 256 * 1024;

/// How much of the archive must be there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// All of it, and nothing else.
    Whole,
    /// Some of it, and nothing else: what an interrupted removal leaves.
    Rest,
}

#[derive(Debug)]
pub enum Verdict {
    /// The tree with its records, and what the archive is.
    Equal(Tree, Summary),
    /// Archive sound, directory different: the first difference.
    Different(String),
    /// The archive is no good.
    Unsound(Fault),
}

/// Compare the archive, whose top directory must be called `session`, with the directory at `place`.
///
/// `claim`: the directory is to be removed because of this; the claim holds as long as the tree. Errors are those of the
/// source: `Changed`, `Failed`, `Skipped`.
#[allow(clippy::too_many_arguments)] // what is compared, and how
pub fn compare(
    bench: &mut Bench,
    place: Place<'_>,
    session: &[u8],
    archive: Opened,
    archive_path: &[u8],
    extent: Extent,
    claim: bool,
    control: &Control,
) -> Result<Verdict, Stop> {
    let limits = Limits::default();
    let tree = walk(place, &mut bench.dirs, &limits, Kinds::Archivable)?;
    if claim {
        tree.claim(place)?;
    }
    let sizes = if extent == Extent::Rest { sizes_of(&tree, place)? } else { HashSet::new() };
    let mut matching = Matching {
        sizes,
        place,
        session,
        extent,
        control,
        claims: claim,
        matched: vec![false; tree.entries.len()],
        tree,
        first_of: HashMap::new(),
        digests: HashMap::new(),
        difference: None,
    };
    let mut unpacker = std::mem::take(&mut bench.unpacker);
    let examined = examine(&mut unpacker, archive, archive_path, &limits, control, |member, data| {
        if control.is_cancelled() {
            return Err(Stop::Cancelled);
        }
        if matching.difference.is_none() {
            matching.difference = matching.member(bench, &member, data)?;
        }
        Ok(())
    });
    bench.unpacker = unpacker;
    let summary = match examined {
        Ok((summary, _)) => summary,
        Err(Stop::Damaged(fault)) => return Ok(Verdict::Unsound(fault)),
        Err(stop) => return Err(stop),
    };
    if let Some(difference) = matching.difference {
        return Ok(Verdict::Different(difference));
    }
    if let Some(i) = matching.matched.iter().position(|m| !m) {
        return Ok(Verdict::Different(format!("{} is not in the archive", show(&matching.tree.entries[i].path))));
    }
    relist(&matching.tree, place, &mut bench.dirs)?;
    Ok(Verdict::Equal(matching.tree, summary))
}

fn sizes_of(tree: &Tree, place: Place<'_>) -> Result<HashSet<u64>, Stop> {
    let mut sizes = HashSet::new();
    for entry in tree.entries.iter().filter(|entry| entry.kind == Kind::File) {
        let dir = tree.dir(place, entry.parent)?;
        let meta = sys::stat_at(dir.as_fd(), entry.name()).map_err(|e| gone("stat", &place, &entry.path, e))?;
        sizes.insert(meta.size);
    }
    Ok(sizes)
}

struct Matching<'a> {
    place: Place<'a>,
    session: &'a [u8],
    extent: Extent,
    control: &'a Control,
    /// The directory is to be removed because of this: content is charged (else it is compared besides being packed).
    claims: bool,
    tree: Tree,
    matched: Vec<bool>,
    /// Inode of each file member met, to tell hard links from equal files.
    first_of: HashMap<u64, usize>,
    /// Digest and attributes of file members that are gone, by stored path: a hard link of theirs may be left.
    digests: HashMap<Vec<u8>, ([u8; 32], Attributes)>,
    /// Sizes of the files that are left.
    sizes: HashSet<u64>,
    difference: Option<String>,
}

impl Matching<'_> {
    /// Count content that is about to be read.
    fn pay(&self, bytes: u64) {
        if self.claims {
            self.control.pay_bytes(bytes);
        }
    }

    /// The first difference between the member and the entry, if any.
    fn member(&mut self, bench: &mut Bench, member: &Member, data: &mut Data<'_, '_>) -> Result<Option<String>, Stop> {
        let Some(below) = self.below(&member.path) else {
            return Ok(Some(format!("member '{}' lies elsewhere", show(&member.path))));
        };
        let found = self.tree.entries.binary_search_by(|e| order(&e.path, below));
        let Ok(i) = found else {
            if self.extent == Extent::Rest {
                // A hard link of it may be left; then its content has to be known.
                if member.kind == MemberKind::File && self.sizes.contains(&member.size) {
                    let digest = hash_member(member, data)?;
                    self.digests.insert(member.path.clone(), (digest, member.xattrs.clone()));
                }
                return Ok(None);
            }
            return Ok(Some(format!("{} is missing", show(below))));
        };
        self.matched[i] = true;
        if self.tree.entries[i].kind != member.kind.on_disk() {
            return Ok(Some(format!("{} is of another kind", show(below))));
        }
        let (meta, difference) = match member.kind {
            MemberKind::Dir => self.dir(bench, i, member)?,
            MemberKind::File | MemberKind::Hardlink => self.file(bench, i, member, data)?,
            MemberKind::Symlink | MemberKind::Fifo => self.special(i, member)?,
        };
        let entry = &mut self.tree.entries[i];
        entry.meta = Some(meta);
        let times = member.kind != MemberKind::Dir || self.extent == Extent::Whole;
        let what = if difference.is_some() {
            difference
        } else if meta.mode != member.mode && member.kind != MemberKind::Symlink {
            Some("another mode")
        } else if (meta.uid, meta.gid) != (member.uid, member.gid) {
            Some("another owner")
        } else if times && meta.mtime != member.mtime {
            Some("another time")
        } else {
            None
        };
        Ok(what.map(|w| format!("{} has {w}", show(&entry.path))))
    }

    fn below<'p>(&self, path: &'p [u8]) -> Option<&'p [u8]> {
        let rest = path.strip_prefix(self.session)?;
        if rest.is_empty() {
            return Some(rest);
        }
        rest.strip_prefix(b"/")
    }

    fn fault(&self, op: &'static str, entry: &Entry) -> impl Fn(rustix::io::Errno) -> Stop + '_ {
        let path = self.place.path_of(&entry.path);
        move |e| Fault::system(op, path.clone(), e).into()
    }

    fn dir(&self, bench: &mut Bench, i: usize, member: &Member) -> Result<(Meta, Option<&'static str>), Stop> {
        let entry = &self.tree.entries[i];
        let handle = self.tree.dir(self.place, entry.dir)?;
        let attributes = attributes(bench, handle.as_fd()).map_err(self.fault("getxattr", entry))?;
        let meta = self.tree.dirs[entry.dir as usize].meta;
        Ok((meta, (!same_attributes(&attributes, member)).then_some("other attributes")))
    }

    fn file(
        &mut self,
        bench: &mut Bench,
        i: usize,
        member: &Member,
        data: &mut Data<'_, '_>,
    ) -> Result<(Meta, Option<&'static str>), Stop> {
        let entry = &self.tree.entries[i];
        let dir = self.tree.dir(self.place, entry.parent)?;
        let fd = sys::open_file(dir.as_fd(), entry.name()).map_err(|e| gone("open", &self.place, &entry.path, e))?;
        drop(dir);
        let before = settled(|| sys::stat(&fd)).map_err(|e| gone("stat", &self.place, &entry.path, e))?;
        if before.kind != Kind::File {
            return Err(Stop::Changed(format!("{} was replaced", show(&entry.path))));
        }
        // As in packing: stores through a mapping that is there already may change no time.
        if self.place.lease(&fd, entry)? {
            sys::end_lease(&fd);
        }
        let mut sum = None;
        let first = self.first_of.get(&before.ino).copied();
        let difference = if member.kind == MemberKind::Hardlink {
            let target = self.below(&member.link).unwrap_or(b"\0");
            if first.is_some_and(|f| self.tree.entries[f].path == target) {
                None
            } else if self.extent == Extent::Rest {
                let held = attributes(bench, &fd).map_err(self.fault("getxattr", entry))?;
                let digest = hash_file(&fd, self.control, |n| self.pay(n), &self.fault("read", entry))?;
                match self.digests.get(&member.link) {
                    Some((first, kept)) if *first == digest => {
                        (!equal_attributes(&held, kept)).then_some("other attributes")
                    }
                    _ => Some("other content"),
                }
            } else {
                Some("another hard link")
            }
        } else if first.is_some() && self.extent == Extent::Whole {
            Some("a hard link that the archive has not")
        } else {
            let held = attributes(bench, &fd).map_err(self.fault("getxattr", entry))?;
            if before.size != member.size {
                Some("another size")
            } else if !same_attributes(&held, member) {
                Some("other attributes")
            } else {
                if self.place.is_volatile() && self.claims {
                    // Before it is compared: what is stored after that gives another one.
                    let pay = |n| self.pay(n);
                    sum = Some(content::sum(&fd, &before, pay).map_err(self.fault("read", entry))?);
                }
                let same = same_content(&fd, &before, member, data, |n| self.pay(n), &self.fault("read", entry))?;
                (!same).then_some("other content")
            }
        };
        let entry = &self.tree.entries[i];
        let after = sys::stat(&fd).map_err(self.fault("stat", entry))?;
        if !after.unchanged(&before) {
            return Err(Stop::Changed(format!("{} changed", show(&entry.path))));
        }
        if member.kind == MemberKind::File && before.nlink > 1 {
            self.first_of.insert(before.ino, i);
        }
        self.tree.entries[i].sum = sum;
        Ok((before, difference))
    }

    fn special(&self, i: usize, member: &Member) -> Result<(Meta, Option<&'static str>), Stop> {
        let entry = &self.tree.entries[i];
        let dir = self.tree.dir(self.place, entry.parent)?;
        let gone = |e| gone("stat", &self.place, &entry.path, e);
        let meta = settled(|| sys::stat_at(dir.as_fd(), entry.name())).map_err(gone)?;
        if meta.kind != entry.kind {
            return Err(Stop::Changed(format!("{} was replaced", show(&entry.path))));
        }
        let same =
            member.kind == MemberKind::Fifo || sys::read_link(dir.as_fd(), entry.name()).map_err(gone)? == member.link;
        Ok((meta, (!same).then_some("another target")))
    }
}

type Attributes = Vec<(Vec<u8>, Vec<u8>)>;

/// The attributes that an archive keeps.
fn attributes(bench: &mut Bench, fd: impl AsFd) -> rustix::io::Result<Attributes> {
    let n = sys::list_xattr(&fd, bench.xattrs())?;
    let names: Vec<Vec<u8>> = bench.xattrs()[..n].split(|&b| b == 0).map(<[u8]>::to_vec).collect();
    let kept = |name: &Vec<u8>| {
        name.starts_with(b"user.") || name == b"system.posix_acl_access" || name == b"system.posix_acl_default"
    };
    names.into_iter().filter(kept).map(|name| sys::get_xattr(&fd, &name).map(|value| (name, value))).collect()
}

fn same_attributes(held: &Attributes, member: &Member) -> bool {
    equal_attributes(held, &member.xattrs)
}

fn equal_attributes(held: &Attributes, kept: &Attributes) -> bool {
    held.len() == kept.len() && held.iter().all(|pair| kept.contains(pair))
}

/// Compare the file with the member's data. Holes count as zeros, and where both have one nothing is read.
fn same_content(
    fd: &impl AsFd,
    held: &Meta,
    member: &Member,
    data: &mut Data<'_, '_>,
    pay: impl Fn(u64),
    fault: &impl Fn(rustix::io::Errno) -> Stop,
) -> Result<bool, Stop> {
    let whole = [(0, member.size)];
    let stored = member.regions.as_deref().unwrap_or(&whole);
    let ours = if member.regions.is_some() && held.allocated < held.size {
        sys::data_regions(fd, held.size).map_err(fault)?
    } else {
        vec![(0, held.size)]
    };
    let mut theirs = vec![0u8; STEP];
    let mut mine = vec![0u8; STEP];
    let mut same = true;
    let mut at = 0;
    for &(start, len) in stored.iter().chain([&(member.size, 0)]) {
        same = same && zero_between(fd, at, start, &ours, &mut mine).map_err(fault)?;
        sys::seek_to(fd, start).map_err(fault)?;
        let mut left = len;
        while left > 0 {
            let n = left.min(STEP as u64) as usize;
            let got = data.read(&mut theirs[..n])?;
            if same {
                pay(got as u64);
                let read = sys::read_full(fd, &mut mine[..got]).map_err(fault)?;
                same = mine[..read] == theirs[..got];
            }
            left -= got as u64;
        }
        at = start + len;
    }
    Ok(same)
}

/// Whether the file has nothing but zeros from `from` to `to`; only its data regions are read.
fn zero_between(
    fd: &impl AsFd,
    from: u64,
    to: u64,
    regions: &[(u64, u64)],
    buf: &mut [u8],
) -> rustix::io::Result<bool> {
    // There may be a million on either side: only those that lie between are gone through.
    let first = regions.partition_point(|&(start, len)| start + len <= from);
    for &(start, len) in regions[first..].iter().take_while(|&&(start, _)| start < to) {
        let (mut at, end) = (start.max(from), (start + len).min(to));
        if at < end {
            sys::seek_to(fd, at)?;
        }
        while at < end {
            let n = (end - at).min(buf.len() as u64) as usize;
            let got = sys::read_full(fd, &mut buf[..n])?;
            if got == 0 || buf[..got].iter().any(|&b| b != 0) {
                return Ok(false);
            }
            at += got as u64;
        }
    }
    Ok(true)
}

/// Digest of the member's real content, holes as zeros.
fn hash_member(member: &Member, data: &mut Data<'_, '_>) -> Result<[u8; 32], Stop> {
    let mut hash = Sha256::new();
    let mut buf = vec![0u8; STEP];
    let zeros = vec![0u8; STEP];
    let whole = [(0, member.size)];
    let stored = member.regions.as_deref().unwrap_or(&whole);
    let mut at = 0;
    for &(start, len) in stored.iter().chain([&(member.size, 0)]) {
        while at < start {
            let n = (start - at).min(STEP as u64);
            hash.update(&zeros[..n as usize]);
            at += n;
        }
        let mut left = len;
        while left > 0 {
            let n = left.min(STEP as u64) as usize;
            let got = data.read(&mut buf[..n])?;
            hash.update(&buf[..got]);
            left -= got as u64;
        }
        at = start + len;
    }
    Ok(hash.finalize().into())
}

fn hash_file(
    fd: &impl AsFd,
    control: &Control,
    pay: impl Fn(u64),
    fault: &impl Fn(rustix::io::Errno) -> Stop,
) -> Result<[u8; 32], Stop> {
    let mut hash = Sha256::new();
    let mut buf = vec![0u8; STEP];
    loop {
        if control.is_cancelled() {
            return Err(Stop::Cancelled);
        }
        match sys::read_full(fd, &mut buf).map_err(fault)? {
            0 => return Ok(hash.finalize().into()),
            n => {
                pay(n as u64);
                hash.update(&buf[..n]);
            }
        }
    }
}
