//! Bring a session back: into a staging directory beside the target, proven, then renamed into place.
//!
//! Everything is made relative to handles, with `O_EXCL` and `O_NOFOLLOW`, in a directory that nobody else may enter. Symlinks
//! are made last, so nothing can be written through one; modes and times of directories at the very end. Whatever is wrong
//! with the archive, nothing outside the staging directory was touched, and the staging directory is taken away.

use std::collections::HashMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Instant;

use crate::codec::Unpacker;
use crate::error::{show, Fault, Stop};
use crate::options::{Outcome, RestoreJob, RestoreOptions};
use crate::publish::{set_aside, Home};
use crate::seal::hex;
use crate::session::{is_ours, join, Place};
use crate::sys::{self, DirBuffer, Kind, Lock, Meta, Storage, Time};
use crate::tar::reader::{Member, MemberKind};
use crate::task::{guarded, Control, Task};
use crate::verify::{examine, open_archive, Data};

const STEP: usize = 1 << 20;
/// Directory handles kept while extracting.
const OPEN_DIRS: usize = 64;
const UNKEPT: &str = "attributes that this filesystem cannot keep";

/// Restore archives in the background.
pub fn restore(jobs: Vec<RestoreJob>, options: RestoreOptions) -> Task {
    // A quarter of the files that may be open is left to the program around us; the deepest tree to clear takes many.
    let most = (sys::max_open() / 4 * 3).min(1 << 20) as usize;
    let workers = options.jobs.clamp(1, jobs.len().max(1)).min(most / 16).max(1);
    let keep = (most / workers).saturating_sub(8).clamp(4, OPEN_DIRS);
    Task::start(workers, jobs.len(), move |control| {
        let mut unpacker = Unpacker::default();
        while let Some(i) = control.take_rested() {
            let outcome = guarded(
                || restore_one(&mut unpacker, &jobs[i], &options, keep, control),
                || {
                    let fault =
                        Fault::own("work", jobs[i].archive.clone(), "the engine broke off because of a defect in it");
                    let (path, target) = (jobs[i].archive.clone(), jobs[i].dest.clone());
                    let reason = fault.message.clone();
                    Outcome { path, target, action: "failed", reason, fault: Some(fault), ..Outcome::default() }
                },
            );
            control.report([outcome]);
        }
    })
}

fn restore_one(
    unpacker: &mut Unpacker,
    job: &RestoreJob,
    options: &RestoreOptions,
    keep: usize,
    control: &Control,
) -> Outcome {
    let started = Instant::now();
    let mut outcome = Outcome { path: job.archive.clone(), target: job.dest.clone(), ..Outcome::default() };
    let done = if control.begins_nothing() {
        Err(Stop::Cancelled)
    } else {
        run(unpacker, job, options, keep, control, &mut outcome)
    };
    (outcome.action, outcome.fault) = match done {
        Ok(()) => ("restored", None),
        Err(Stop::Skipped(reason) | Stop::Changed(reason)) => {
            outcome.reason = reason;
            ("skipped", None)
        }
        Err(Stop::Cancelled) => ("cancelled", None),
        Err(Stop::Damaged(fault)) => {
            outcome.reason.clone_from(&fault.message);
            ("damaged", Some(fault))
        }
        Err(Stop::Failed(fault)) => {
            outcome.reason.clone_from(&fault.message);
            ("failed", Some(fault))
        }
    };
    outcome.milliseconds = started.elapsed().as_secs_f64() * 1e3;
    outcome
}

fn run(
    unpacker: &mut Unpacker,
    job: &RestoreJob,
    options: &RestoreOptions,
    keep: usize,
    control: &Control,
    outcome: &mut Outcome,
) -> Result<(), Stop> {
    let slash = job.dest.iter().rposition(|&b| b == b'/').filter(|&at| at + 1 < job.dest.len());
    let at = slash.ok_or_else(|| Fault::own("open", job.dest.clone(), "not an absolute path below a directory"))?;
    let (above, name) = (&job.dest[..at.max(1)], &job.dest[at + 1..]);
    let parent = sys::open_root(above).map_err(|e| Fault::system("open", above, e))?;
    if sys::exists(parent.as_fd(), name).map_err(|e| Fault::system("stat", job.dest.clone(), e))? {
        return Err(Stop::Skipped("the target exists".into()));
    }
    let opened = open_archive(&job.archive)?;
    outcome.bytes_out = opened.size;
    let (read, lasting) = (opened.meta, sys::storage(&opened.file).map_err(|e| Fault::system("statfs", above, e))?);
    if let Some(seal) = &opened.seal {
        let free = sys::free_bytes(&parent).map_err(|e| Fault::system("statfs", above, e))?;
        // Holes take no room, so only what surely does not fit is refused here; the rest the filesystem itself refuses.
        if seal.stream > free && seal.stream < seal.content.saturating_mul(2) && seal.content <= seal.stream {
            let text = format!("it needs {} bytes and {free} are free", seal.content);
            return Err(Fault { op: "write", path: job.dest.clone(), errno: libc::ENOSPC, message: text }.into());
        }
    }
    for leftover in &job.leftovers {
        if is_ours(leftover, &[b".", name, b".restoring-"], b"") {
            reap(parent.as_fd(), above, leftover)?;
        }
    }
    let mut staging = Staging::new(parent.as_fd(), above, name)?;
    let extracted = {
        let storage = sys::storage(&staging.fd).map_err(|e| staging.clear(Fault::system("statfs", above, e).into()))?;
        let sync = options.remove_archive && storage != Storage::Volatile && !storage.syncs_at_once();
        let mut extractor = Extractor::new(&staging, options, control, opened.seal.is_some(), keep, sync);
        let stem = crate::options::Format::of_name(job.archive.rsplit(|&b| b == b'/').next().unwrap_or_default());
        let stem = stem.map_or(&b""[..], |(_, stem)| stem);
        let examined = examine(unpacker, opened, &job.archive, &options.limits, control, |member, data| {
            extractor.stripped(member, &job.archive).and_then(|member| extractor.member(&member, data))
        });
        examined.and_then(|(summary, seen)| {
            // Archives of others: the only top directory becomes the target if it is called like the file.
            let strip = seen.single_top().filter(|&top| !summary.sealed && top == stem).map(<[u8]>::to_vec);
            extractor.finish()?;
            Ok((summary, strip, extractor.less))
        })
    };
    let (summary, strip, less) = extracted.map_err(|stop| staging.clear(stop))?;
    outcome.entries = summary.seal.entries;
    outcome.bytes_in = summary.seal.content;
    outcome.sha256 = hex(&summary.seal.sha256);
    outcome.settled = if options.remove_archive { staging.settle().map_err(|f| staging.clear(f.into()))? } else { "" };
    // `claimed` keeps an archiver from taking the session for finished business before the archive is gone.
    let claimed = staging.place(name, strip.as_deref()).map_err(|stop| staging.clear(stop))?;
    if let Some(what) = &less {
        outcome.notes.push(format!("not restored: {what}"));
    }
    if options.remove_archive {
        let top = sys::stat(claimed.as_ref().unwrap_or(&staging.fd)).map_err(|e| Fault::system("stat", above, e))?;
        if let Some(what) = less {
            outcome.reason = format!("archive kept, it holds more than was restored: {what}");
        } else if outcome.settled == "volatile" && lasting != Storage::Volatile {
            outcome.reason = "archive kept: the session was restored into memory, where it does not last".into();
        } else {
            remove_archive(job, &parent, above, &read, &top, outcome)?;
        }
    }
    Ok(())
}

fn remove_archive(
    job: &RestoreJob,
    parent: &OwnedFd,
    above: &[u8],
    read: &Meta,
    top: &Meta,
    outcome: &mut Outcome,
) -> Result<(), Stop> {
    sys::sync_dir(parent).map_err(|e| Fault::system("sync", above, e))?;
    let slash = job.archive.iter().rposition(|&b| b == b'/').unwrap_or(0);
    let (home, name) = (&job.archive[..slash.max(1)], &job.archive[slash + 1..]);
    let fault = |op, e| Fault::system(op, job.archive.clone(), e);
    let dir = sys::open_root(home).map_err(|e| fault("open", e))?;
    let there = sys::stat_at(dir.as_fd(), name).map_err(|e| fault("stat", e))?;
    if !there.unchanged(read) {
        outcome.reason = "archive kept: it is not the one that was read any more".into();
        return Ok(());
    }
    // An archiver may be about to remove the session because its archive is there: first the name, then a look.
    let target = job.dest.rsplit(|&b| b == b'/').next().unwrap_or_default();
    let place =
        Place { parent: parent.as_fd(), mount: None, parent_path: above, name: target, storage: Storage::Other };
    match set_aside(Home { fd: dir.as_fd(), path: home }, name, read, "superseded", place, top) {
        Ok(aside) => sys::unlink(dir.as_fd(), &aside).map_err(|e| fault("unlink", e).into()),
        Err(Stop::Changed(why)) => {
            outcome.reason = format!("archive kept: {why}");
            Ok(())
        }
        Err(Stop::Failed(fault)) if fault.errno == libc::ENAMETOOLONG => {
            outcome.reason = "archive kept: its name is too long to be moved aside".into();
            Ok(())
        }
        Err(stop) => Err(stop),
    }
}

/// The directory in which a session is put together.
struct Staging<'a> {
    parent: BorrowedFd<'a>,
    above: &'a [u8],
    name: Vec<u8>,
    fd: OwnedFd,
    /// User and group of what is made in it: the group is that of the directory above, where that hands it down.
    owner: (u32, u32),
}

/// Mode of a directory that is the target, but that nobody described.
const UNDESCRIBED: u32 = 0o755;

impl<'a> Staging<'a> {
    fn new(parent: BorrowedFd<'a>, above: &'a [u8], target: &[u8]) -> Result<Self, Fault> {
        let x = sys::random_hex().map_err(|e| Fault::system("random", above, e))?;
        let name = [b".", target, b".restoring-", x.as_bytes()].concat();
        let fault = |op, e| Fault::system(op, join(above, &name), e);
        sys::make_private_dir(parent, &name).map_err(|e| fault("mkdir", e))?;
        let opened = sys::open_dir(parent, &name).and_then(|fd| {
            sys::try_lock(&fd)?;
            // Or everything restored would inherit them.
            sys::forget_acls(&fd)?;
            let meta = sys::stat(&fd)?;
            Ok((fd, (meta.uid, meta.gid)))
        });
        match opened {
            Ok((fd, owner)) => Ok(Self { parent, above, name, fd, owner }),
            Err(e) => {
                let refused = fault("open", e);
                let _ = sys::remove_dir(parent, &name); // empty; a leftover at worst
                Err(refused)
            }
        }
    }

    fn path(&self) -> Vec<u8> {
        join(self.above, &self.name)
    }

    /// Take it away with all that is in it, and pass the reason on. What cannot be removed is a leftover of the next run.
    fn clear(&self, stop: Stop) -> Stop {
        match clear(self.parent, &self.name) {
            Ok(()) => stop,
            Err(e) => match stop {
                Stop::Failed(mut fault) | Stop::Damaged(mut fault) => {
                    let text = std::io::Error::from(e);
                    fault.message.push_str(&format!("; {} could not be removed: {text}", show(&self.name)));
                    Stop::Failed(fault)
                }
                other => other,
            },
        }
    }

    fn settle(&mut self) -> Result<&'static str, Fault> {
        let fault = |e| Fault::system("sync", self.path(), e);
        match sys::storage(&self.fd).map_err(fault)? {
            Storage::Volatile => Ok("volatile"),
            storage if storage.syncs_at_once() => sys::sync_filesystem(&self.fd).map(|()| "syncfs").map_err(fault),
            // File by file, when each was made: now there may be some that even their owner may not open.
            _ => Ok("fsync"),
        }
    }

    /// Rename to the target, never over anything. The handle of the directory that became the target, if it is not the staging
    /// directory itself; it is locked, as the staging directory is.
    fn place(&self, target: &[u8], strip: Option<&[u8]>) -> Result<Option<OwnedFd>, Stop> {
        let fault = |e| Stop::Failed(Fault::system("rename", join(self.above, target), e));
        let mut claimed = None;
        let placed = match strip {
            None => sys::rename_new(self.parent, &self.name, target, true),
            Some(top) => {
                // To be opened it must be readable, to get another parent writable, if only for that moment.
                let mode = sys::stat_at(self.fd.as_fd(), top).map_err(fault)?.mode;
                let lacking = mode & 0o700 != 0o700;
                if lacking {
                    sys::set_mode_at(self.fd.as_fd(), top, mode | 0o700).map_err(fault)?;
                }
                let fd = sys::open_dir(self.fd.as_fd(), top).map_err(fault)?;
                sys::try_lock(&fd).map_err(fault)?;
                let moved = sys::move_dir_new(self.fd.as_fd(), top, self.parent, target);
                if lacking {
                    sys::set_mode(&fd, mode).map_err(fault)?;
                }
                claimed = Some(fd);
                moved
            }
        };
        match placed {
            Ok(()) => {}
            Err(rustix::io::Errno::EXIST | rustix::io::Errno::NOTEMPTY) => {
                return Err(Stop::Skipped("the target exists".into()));
            }
            Err(e) => return Err(fault(e)),
        }
        if strip.is_some() {
            sys::remove_dir(self.parent, &self.name).map_err(|e| Fault::system("rmdir", self.path(), e))?;
        }
        Ok(claimed)
    }
}

/// A staging directory left by a run that is gone.
fn reap(parent: BorrowedFd<'_>, above: &[u8], name: &[u8]) -> Result<(), Stop> {
    let fault = |op, e| Fault::system(op, join(above, name), e);
    let fd = match sys::open_dir(parent, name) {
        Ok(fd) => fd,
        Err(rustix::io::Errno::NOENT) => return Ok(()),
        Err(e) => return Err(fault("open", e).into()),
    };
    if sys::try_lock(&fd).map_err(|e| fault("lock", e))? == Lock::Held {
        return Err(Stop::Skipped("another run is restoring it".into()));
    }
    clear(parent, name).map_err(|e| fault("unlink", e).into())
}

/// Remove a staging directory: ours alone, made by us, symlinks not followed.
fn clear(parent: BorrowedFd<'_>, name: &[u8]) -> rustix::io::Result<()> {
    let fd = match sys::open_dir(parent, name) {
        // It has got its mode already, one under which its owner cannot work in it. In staging, no link has this name.
        Err(rustix::io::Errno::ACCESS) if sys::stat_at(parent, name)?.kind == Kind::Dir => {
            sys::set_mode_at(parent, name, 0o700)?;
            sys::open_dir(parent, name)?
        }
        opened => opened?,
    };
    sys::set_mode(&fd, 0o700)?;
    let mut found = Vec::new();
    sys::list_dir(fd.as_fd(), &mut DirBuffer::default(), |n, kind| found.push((n.to_vec(), kind)), || {})?;
    for (entry, kind) in found {
        let kind = if kind == Kind::Unknown { sys::stat_at(fd.as_fd(), &entry)?.kind } else { kind };
        match kind {
            Kind::Dir => clear(fd.as_fd(), &entry)?,
            _ => sys::unlink(fd.as_fd(), &entry)?,
        }
    }
    sys::remove_dir(parent, name)
}

/// What is set once everything stands.
struct Pending {
    path: Vec<u8>,
    /// `None`: the archive does not describe it, and it keeps what the user's umask gave it.
    mode: Option<u32>,
    owner: Option<(u32, u32)>,
    mtime: Option<Time>,
    xattrs: Vec<(Vec<u8>, Vec<u8>)>,
}

struct Extractor<'a> {
    staging: &'a Staging<'a>,
    options: &'a RestoreOptions,
    control: &'a Control,
    root: bool,
    handles: HashMap<Vec<u8>, OwnedFd>,
    made: HashMap<Vec<u8>, usize>,
    dirs: Vec<Pending>,
    /// Directory handles to keep.
    keep: usize,
    /// Sync each thing when it is made.
    sync: bool,
    links: Vec<Member>,
    buffer: Vec<u8>,
    /// Of a sealed archive: its top directory, which becomes the staging directory itself.
    strip: bool,
    top: Vec<u8>,
    /// The first thing that the restored tree has not although the archive has.
    less: Option<String>,
}

impl<'a> Extractor<'a> {
    fn new(
        staging: &'a Staging<'a>,
        options: &'a RestoreOptions,
        control: &'a Control,
        strip: bool,
        keep: usize,
        sync: bool,
    ) -> Self {
        Self {
            strip,
            keep,
            sync,
            top: Vec::new(),
            staging,
            options,
            control,
            root: sys::is_root(),
            handles: HashMap::new(),
            made: HashMap::new(),
            dirs: Vec::new(),
            links: Vec::new(),
            buffer: Vec::new(),
            less: None,
        }
    }

    fn fault(&self, op: &'static str, path: &[u8]) -> impl Fn(rustix::io::Errno) -> Stop {
        let path = join(&self.staging.path(), path);
        move |e| Fault::system(op, path.clone(), e).into()
    }

    /// The member with its path below the top directory of a sealed archive, which is its first member.
    fn stripped(&mut self, mut member: Member, archive: &[u8]) -> Result<Member, Stop> {
        if !self.strip {
            return Ok(member);
        }
        if self.top.is_empty() && member.kind == MemberKind::Dir {
            self.top.clone_from(&member.path);
        }
        let below = |path: &[u8]| match path.strip_prefix(self.top.as_slice()) {
            Some(b"") => Some(Vec::new()),
            Some(rest) => rest.strip_prefix(b"/").map(<[u8]>::to_vec),
            None => None,
        };
        let hardlink = member.kind == MemberKind::Hardlink;
        let (path, link) = (below(&member.path), if hardlink { below(&member.link) } else { Some(Vec::new()) });
        match (path, link) {
            (Some(path), Some(link))
                if !self.top.is_empty() && (member.kind == MemberKind::Dir || !path.is_empty()) =>
            {
                member.path = path;
                if hardlink {
                    member.link = link;
                }
                Ok(member)
            }
            _ => {
                let message = format!("member '{}': it lies outside the session", show(&member.path));
                Err(Stop::Damaged(Fault::own("decode", archive, message)))
            }
        }
    }

    fn member(&mut self, member: &Member, data: &mut Data<'_, '_>) -> Result<(), Stop> {
        if self.control.is_cancelled() {
            return Err(Stop::Cancelled);
        }
        match member.kind {
            MemberKind::Dir => {
                let at = self.make_dirs(&member.path)?;
                let (mode, owner) = self.rights(member);
                let pending = &mut self.dirs[at];
                (pending.mode, pending.owner, pending.mtime) = (Some(mode), owner, Some(member.mtime));
                pending.xattrs.clone_from(&member.xattrs);
            }
            MemberKind::File => self.file(member, data)?,
            MemberKind::Hardlink => {
                let (from, old) = self.locate(&member.link)?;
                let (to, new) = self.locate(&member.path)?;
                sys::link(self.handle(&from).as_fd(), &old, self.handle(&to).as_fd(), &new)
                    .map_err(self.fault("link", &member.path))?;
            }
            MemberKind::Symlink => {
                self.make_parents(&member.path)?;
                self.links.push(member.clone());
            }
            MemberKind::Fifo => {
                let (dir, name) = self.locate(&member.path)?;
                let (mode, owner) = self.rights(member);
                let dir = self.handle(&dir);
                sys::make_fifo(dir.as_fd(), &name).map_err(self.fault("mkfifo", &member.path))?;
                self.finish_at(dir, &name, member, owner)?;
                sys::set_mode_at(dir, &name, mode).map_err(self.fault("chmod", &member.path))?;
            }
        }
        self.control.count(member.size, 1);
        Ok(())
    }

    fn file(&mut self, member: &Member, data: &mut Data<'_, '_>) -> Result<(), Stop> {
        let (dir, name) = self.locate(&member.path)?;
        let fd = {
            let dir = self.handle(&dir);
            sys::create_file(dir.as_fd(), &name).map_err(self.fault("create", &member.path))?
        };
        let whole = [(0, member.size)];
        let sparse = member.regions.is_some();
        let regions = member.regions.as_deref().unwrap_or(&whole);
        let write = self.fault("write", &member.path);
        for &(start, len) in regions {
            if sparse {
                sys::seek_to(&fd, start).map_err(&write)?;
            }
            let mut left = len;
            while left > 0 {
                if self.control.is_cancelled() {
                    return Err(Stop::Cancelled);
                }
                let step = left.min(STEP as u64) as usize;
                self.buffer.resize(step, 0);
                let got = data.read(&mut self.buffer)?;
                sys::write_all(&fd, &self.buffer[..got]).map_err(&write)?;
                left -= got as u64;
            }
        }
        if sparse {
            sys::set_len(&fd, member.size).map_err(&write)?;
        }
        let (mode, owner) = self.rights(member);
        if let Some((uid, gid)) = owner {
            sys::set_owner(&fd, Some(uid), Some(gid)).map_err(self.fault("chown", &member.path))?;
        }
        if !self.attributes(&fd, &member.path, &member.xattrs)? {
            self.lack(&member.path, UNKEPT);
        }
        sys::set_mode(&fd, mode).map_err(self.fault("chmod", &member.path))?;
        sys::set_mtime(&fd, member.mtime).map_err(self.fault("utime", &member.path))?;
        if self.sync {
            sys::sync_file(&fd).map_err(self.fault("sync", &member.path))?;
        }
        Ok(())
    }

    /// Attributes; false if the filesystem cannot keep them, which is no reason not to restore the rest.
    fn attributes(&self, fd: impl AsFd, path: &[u8], xattrs: &[(Vec<u8>, Vec<u8>)]) -> Result<bool, Stop> {
        let mut all = true;
        for (key, value) in xattrs {
            match sys::set_xattr(&fd, key, value) {
                Ok(()) => {}
                Err(rustix::io::Errno::NOTSUP) => all = false,
                Err(e) => return Err(self.fault("setxattr", path)(e)),
            }
        }
        Ok(all)
    }

    /// Owner and times of something that has no handle.
    fn finish_at(
        &self,
        dir: BorrowedFd<'_>,
        name: &[u8],
        member: &Member,
        owner: Option<(u32, u32)>,
    ) -> Result<(), Stop> {
        if let Some((uid, gid)) = owner {
            sys::set_owner_at(dir, name, uid, gid).map_err(self.fault("chown", &member.path))?;
        }
        sys::set_mtime_at(dir, name, member.mtime).map_err(self.fault("utime", &member.path))
    }

    /// Mode and owner to give; notes what is left out because it was not asked for.
    fn rights(&mut self, member: &Member) -> (u32, Option<(u32, u32)>) {
        let special = member.mode & 0o7000;
        let mode = if self.options.special_modes { member.mode } else { member.mode & 0o777 };
        if special != 0 && !self.options.special_modes && member.kind != MemberKind::Symlink {
            self.lack(&member.path, "setuid, setgid or sticky bits (--special-modes)");
        }
        let owner = self.options.same_owner.then_some((member.uid, member.gid));
        if owner.is_none() && (member.uid, member.gid) != self.staging.owner {
            self.lack(&member.path, if self.root { "another owner (--same-owner)" } else { "another owner" });
        }
        (mode, owner)
    }

    fn lack(&mut self, path: &[u8], what: &str) {
        if self.less.is_none() {
            self.less =
                Some(format!("{} has {what}", show(if path.is_empty() { b"the session directory" } else { path })));
        }
    }

    fn make_parents(&mut self, path: &[u8]) -> Result<(Vec<u8>, Vec<u8>), Stop> {
        let at = path.iter().rposition(|&b| b == b'/');
        let (dir, name) = at.map_or((&b""[..], path), |at| (&path[..at], &path[at + 1..]));
        self.make_dirs(dir)?;
        Ok((dir.to_vec(), name.to_vec()))
    }

    /// The directory (open) and the name of a path.
    fn locate(&mut self, path: &[u8]) -> Result<(Vec<u8>, Vec<u8>), Stop> {
        let (dir, name) = self.make_parents(path)?;
        self.open(&dir)?;
        Ok((dir, name))
    }

    /// Make the directory and those above it; its index in `dirs`.
    fn make_dirs(&mut self, path: &[u8]) -> Result<usize, Stop> {
        if let Some(&at) = self.made.get(path) {
            return Ok(at);
        }
        if !path.is_empty() {
            let at = path.iter().rposition(|&b| b == b'/');
            let (dir, name) = at.map_or((&b""[..], path), |at| (&path[..at], &path[at + 1..]));
            self.make_dirs(dir)?;
            self.open(dir)?;
            sys::make_dir(self.handle(dir).as_fd(), name).map_err(self.fault("mkdir", path))?;
        }
        let mode = path.is_empty().then_some(UNDESCRIBED);
        let pending = Pending { path: path.to_vec(), mode, owner: None, mtime: None, xattrs: Vec::new() };
        self.made.insert(path.to_vec(), self.dirs.len());
        self.dirs.push(pending);
        Ok(self.dirs.len() - 1)
    }

    /// See that a handle on the directory is open.
    fn open(&mut self, path: &[u8]) -> Result<(), Stop> {
        if path.is_empty() || self.handles.contains_key(path) {
            return Ok(());
        }
        let mut missing = Vec::new();
        let mut at = path;
        while !at.is_empty() && !self.handles.contains_key(at) {
            missing.push(at);
            at = at.iter().rposition(|&b| b == b'/').map_or(&b""[..], |i| &at[..i]);
        }
        let mut fd: Option<OwnedFd> = None;
        for path in missing.into_iter().rev() {
            let name = path.rsplit(|&b| b == b'/').next().unwrap_or(path);
            let next = match &fd {
                Some(fd) => sys::open_dir(fd.as_fd(), name),
                None => sys::open_dir(self.handle(at).as_fd(), name),
            };
            fd = Some(next.map_err(self.fault("open", path))?);
        }
        if self.handles.len() >= self.keep {
            self.handles.clear();
        }
        if let Some(fd) = fd {
            self.handles.insert(path.to_vec(), fd);
        }
        Ok(())
    }

    fn handle(&self, path: &[u8]) -> BorrowedFd<'_> {
        self.handles.get(path).map_or(self.staging.fd.as_fd(), AsFd::as_fd)
    }

    /// Symlinks, then modes, owners and times of directories, deepest first.
    fn finish(&mut self) -> Result<(), Stop> {
        self.make_dirs(b"")?;
        for member in std::mem::take(&mut self.links) {
            let (dir, name) = self.locate(&member.path)?;
            let (_, owner) = self.rights(&member);
            let dir = self.handle(&dir);
            sys::make_symlink(&member.link, dir, &name).map_err(self.fault("symlink", &member.path))?;
            self.finish_at(dir, &name, &member, owner)?;
        }
        let dirs = std::mem::take(&mut self.dirs);
        for pending in dirs.iter().rev() {
            self.open(&pending.path)?;
            let fd = self.handle(&pending.path);
            if let Some((uid, gid)) = pending.owner {
                sys::set_owner(fd, Some(uid), Some(gid)).map_err(self.fault("chown", &pending.path))?;
            }
            let kept = self.attributes(fd, &pending.path, &pending.xattrs)?;
            if let Some(mtime) = pending.mtime {
                sys::set_mtime(fd, mtime).map_err(self.fault("utime", &pending.path))?;
            }
            if !kept {
                self.lack(&pending.path, UNKEPT);
            }
        }
        // Modes last of all: a directory without rights cannot be opened again by its owner.
        for pending in dirs.iter().rev() {
            self.open(&pending.path)?;
            let fd = self.handle(&pending.path);
            if let Some(mode) = pending.mode {
                sys::set_mode(fd, mode).map_err(self.fault("chmod", &pending.path))?;
            }
            if self.sync {
                sys::sync_dir(fd).map_err(self.fault("sync", &pending.path))?;
            }
        }
        Ok(())
    }
}
