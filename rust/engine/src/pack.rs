//! Pack one session into a part file beside it, reading every entry through handles and seeing that nothing moved.
//!
//! A session of up to [`SMALL`] bytes is built in memory, compressed at once and written with one call; a larger one is
//! streamed. Whatever happens, either a complete, locked part file comes out or none is left.

use std::collections::HashMap;
use std::fs::File;
use std::os::fd::AsFd;

use libdeflater::Crc;
use sha2::{Digest, Sha256};

use crate::codec::{Encoder, Packer, Unpacker};
use crate::content;
use crate::error::{show, Fault, Stop};
use crate::load;
use crate::options::{ArchiveOptions, Format, Limits};
use crate::seal::Seal;
use crate::session::{gone, Entry, Held, Place, Tree, OPEN};
use crate::sys::{self, DirBuffer, Kind, Meta, Names};
use crate::tar::header::{self, Member};
use crate::tar::pax::{escape_key, Records};
use crate::tar::{self, sparse};
use crate::task::Control;
use crate::walk::{relist, settled, walk, Kinds};

/// Tar bytes up to which a session stays in memory.
const SMALL: usize = 8 << 20;
/// Tar bytes up to which the files of a session are held.
const HELD: u64 = 1 << 20;
/// Bytes read and passed on at once in a large one.
const STEP: usize = 1 << 20;

/// Buffers and tables a worker keeps from session to session.
pub struct Bench {
    pub dirs: DirBuffer,
    pub names: Names,
    pub packer: Packer,
    pub unpacker: Unpacker,
    pub file: Vec<u8>,
    /// Buffers of tar streams that were compared, to be used again.
    pub spare: Vec<Vec<u8>>,
    tar: Vec<u8>,
    path: Vec<u8>,
    xattrs: Vec<u8>,
    records: Records,
}

impl Bench {
    pub fn xattrs(&mut self) -> &mut Vec<u8> {
        &mut self.xattrs
    }

    pub fn new(format: Format, level: i32) -> Self {
        Self {
            dirs: DirBuffer::default(),
            names: Names::default(),
            packer: Packer::new(format, level),
            unpacker: Unpacker::default(),
            file: Vec::new(),
            spare: Vec::new(),
            tar: Vec::new(),
            path: Vec::new(),
            xattrs: Vec::new(),
            records: Records::default(),
        }
    }
}

/// A part file: new, ours, locked as long as the handle lives.
#[derive(Debug)]
pub struct Part {
    pub name: Vec<u8>,
    pub file: File,
    /// Device and inode of what was written; (0, 0) while it is.
    pub inode: (u64, u64),
}

impl Part {
    /// Take the part file away again. If that fails it stays as a leftover, which the next run drops.
    pub fn drop_it(&self, place: Place<'_>) {
        let _ = sys::unlink(place.parent, &self.name);
    }
}

/// A packed session: records of everything read, and the part file that holds it.
#[derive(Debug)]
pub struct Packed {
    pub tree: Tree,
    pub part: Part,
    pub seal: Seal,
    /// Size of the part file.
    pub size: u64,
    /// The tar stream, of a session that was small enough to be kept in memory for comparing; else empty.
    pub tar: Vec<u8>,
    /// Sizes of the compressed blocks of a large one; else empty.
    pub blocks: Vec<u32>,
}

pub fn part_name(session: &[u8], format: Format) -> Result<Vec<u8>, Fault> {
    let x = sys::random_hex().map_err(|e| Fault::system("random", session, e))?;
    Ok([b".", session, b".", format.suffix().as_bytes(), b".", x.as_bytes(), b".part"].concat())
}

/// Pack the session; `hold`: while it is small, its files stay open with their leases, as many as may be.
///
/// Errors: `Skipped` (cannot be kept, marked or too young), `Changed`, `Cancelled`, `Failed`.
pub fn pack(
    bench: &mut Bench,
    place: Place<'_>,
    options: &ArchiveOptions,
    threads: usize,
    hold: bool,
    control: &Control,
) -> Result<Packed, Stop> {
    let limits = Limits::default();
    let tree = walk(place, &mut bench.dirs, &limits, Kinds::Archivable)?;
    tree.heed_mark()?;
    tree.claim(place)?;
    let mut packing = Packing {
        place,
        options,
        threads,
        control,
        limits: &limits,
        top: tree.dirs[0].meta,
        stream: None,
        hash: Sha256::new(),
        length: 0,
        content: 0,
        sum: None,
        read_by: 0o044,
        links: HashMap::new(),
        hold: hold && tree.entries.len() <= OPEN,
        leased: Vec::new(),
    };
    bench.tar.clear();
    match packing.run(bench, tree) {
        Ok(packed) => Ok(packed),
        Err(stop) => {
            if let Some((part, encoder)) = packing.stream.take() {
                drop(encoder);
                part.drop_it(place);
            }
            Err(stop)
        }
    }
}

struct Packing<'a> {
    place: Place<'a>,
    options: &'a ArchiveOptions,
    threads: usize,
    control: &'a Control,
    limits: &'a Limits,
    top: Meta,
    stream: Option<(Part, Encoder)>,
    hash: Sha256,
    length: u64,
    content: u64,
    /// In memory: the sum of the file that is being read.
    sum: Option<Crc>,
    /// Read bits for group and others that every entry so far has given.
    read_by: u32,
    links: HashMap<u64, usize>,
    hold: bool,
    leased: Vec<(usize, Held)>,
}

impl Packing<'_> {
    fn run(&mut self, bench: &mut Bench, mut tree: Tree) -> Result<Packed, Stop> {
        for i in 0..tree.entries.len() {
            if self.control.is_cancelled() {
                return Err(Stop::Cancelled);
            }
            let meta = match tree.entries[i].kind {
                Kind::Dir => self.directory(bench, &tree, i)?,
                Kind::File => self.file(bench, &tree, i)?,
                _ => self.special(bench, &tree, i)?,
            };
            if self.options.older_than_ns.is_some_and(|limit| meta.mtime.nanoseconds() >= limit) {
                return Err(Stop::Skipped("young".into()));
            }
            self.count_readers(&meta);
            tree.entries[i].meta = Some(meta);
            tree.entries[i].sum = self.sum.take().map(|sum| sum.sum());
        }
        relist(&tree, self.place, &mut bench.dirs)?;
        tree.leased = std::mem::take(&mut self.leased);
        bench.tar.extend_from_slice(&tar::END);
        let entries = tree.entries.len() as u64;
        let (part, seal, size, blocks) = self.finish(bench, entries)?;
        self.control.count(self.content, entries);
        let tar = std::mem::replace(&mut bench.tar, bench.spare.pop().unwrap_or_default());
        Ok(Packed { tree, part, seal, size, tar, blocks })
    }

    fn directory(&mut self, bench: &mut Bench, tree: &Tree, i: usize) -> Result<Meta, Stop> {
        let entry = &tree.entries[i];
        let node = &tree.dirs[entry.dir as usize];
        let handle = tree.dir(self.place, entry.dir)?;
        self.attributes(bench, handle.as_fd(), entry)?;
        self.header(bench, entry, &node.meta, b'5', 0, b"")?;
        Ok(node.meta)
    }

    fn file(&mut self, bench: &mut Bench, tree: &Tree, i: usize) -> Result<Meta, Stop> {
        let entry = &tree.entries[i];
        let place = self.place;
        let dir = tree.dir(place, entry.parent)?;
        let fd = sys::open_file(dir.as_fd(), entry.name()).map_err(|e| gone("open", &place, &entry.path, e))?;
        let look = || sys::stat(&fd);
        let before = settled(look).map_err(|e| gone("stat", &place, &entry.path, e))?;
        if before.kind != Kind::File {
            return Err(Stop::Changed(format!("{} was replaced", show(&entry.path))));
        }
        if before.dev != self.top.dev {
            return Err(Stop::Skipped(format!("mount point inside: {}", show(&entry.path))));
        }
        if before.nlink > 1 {
            if let Some(&first) = self.links.get(&before.ino) {
                let target = stored_path(place.name, &tree.entries[first]);
                self.header(bench, entry, &before, b'1', 0, &target)?;
                return Ok(before);
            }
            self.links.insert(before.ino, i);
        }
        let leased = place.lease(&fd, entry)?;
        if bench.tar.len() as u64 + before.size > HELD {
            // It takes a while: who wants to write is not kept waiting for it.
            self.hold = false;
            self.leased.clear();
        }
        let hold = leased && self.hold && tree.may_lease(self.leased.len());
        if leased && !hold {
            sys::end_lease(&fd);
        }
        self.attributes(bench, fd.as_fd(), entry)?;
        self.sum = place.is_volatile().then(Crc::new);
        let regions =
            content::regions(&fd, &before).map_err(|e| Fault::system("seek", place.path_of(&entry.path), e))?;
        if regions != [(0, before.size)] {
            self.sparse(bench, entry, &fd, &before, &regions)?;
        } else {
            self.header(bench, entry, &before, b'0', before.size, b"")?;
            self.whole(bench, entry, &fd, before.size)?;
            self.pad(bench, before.size)?;
        }
        if hold {
            // Nobody could write meanwhile, and nobody can until it is rechecked.
            self.leased.push((i, Held(fd)));
        } else {
            let after = sys::stat(&fd).map_err(|e| Fault::system("stat", place.path_of(&entry.path), e))?;
            if !after.unchanged(&before) {
                return Err(Stop::Changed(format!("{} changed", show(&entry.path))));
            }
        }
        self.content = self.content.saturating_add(before.size);
        if self.content > self.limits.max_bytes {
            return Err(Stop::Skipped(format!("more than {} bytes", self.limits.max_bytes)));
        }
        Ok(before)
    }

    fn sparse(
        &mut self,
        bench: &mut Bench,
        entry: &Entry,
        fd: &impl AsFd,
        meta: &Meta,
        regions: &[(u64, u64)],
    ) -> Result<(), Stop> {
        let map = sparse::map(regions, meta.size);
        bench.records.add(b"GNU.sparse.major", b"1");
        bench.records.add(b"GNU.sparse.minor", b"0");
        bench.records.add(b"GNU.sparse.realsize", meta.size.to_string().as_bytes());
        let stored = map.len() as u64 + regions.iter().map(|r| r.1).sum::<u64>();
        self.header(bench, entry, meta, b'0', stored, b"")?;
        bench.tar.extend_from_slice(&map);
        for &(at, len) in regions {
            sys::seek_to(fd, at).map_err(|e| Fault::system("seek", self.place.path_of(&entry.path), e))?;
            self.copy(bench, entry, fd, len)?;
        }
        self.pad(bench, stored)
    }

    fn special(&mut self, bench: &mut Bench, tree: &Tree, i: usize) -> Result<Meta, Stop> {
        let entry = &tree.entries[i];
        let place = self.place;
        let dir = tree.dir(place, entry.parent)?;
        let gone = |e| gone("stat", &place, &entry.path, e);
        let meta = settled(|| sys::stat_at(dir.as_fd(), entry.name())).map_err(gone)?;
        if meta.kind != entry.kind {
            return Err(Stop::Changed(format!("{} was replaced", show(&entry.path))));
        }
        if entry.kind == Kind::Symlink {
            let target = sys::read_link(dir.as_fd(), entry.name()).map_err(gone)?;
            self.header(bench, entry, &meta, b'2', 0, &target)?;
        } else {
            self.header(bench, entry, &meta, b'6', 0, b"")?;
        }
        Ok(meta)
    }

    fn header(
        &mut self,
        bench: &mut Bench,
        entry: &Entry,
        meta: &Meta,
        typeflag: u8,
        size: u64,
        link: &[u8],
    ) -> Result<(), Stop> {
        let path = &mut bench.path;
        path.clear();
        path.extend_from_slice(self.place.name);
        if !entry.path.is_empty() {
            path.push(b'/');
            path.extend_from_slice(&entry.path);
        }
        if typeflag == b'5' {
            path.push(b'/');
        }
        let uname = bench.names.user(meta.uid).to_vec();
        let member = Member {
            path,
            typeflag,
            mode: meta.mode,
            uid: meta.uid,
            gid: meta.gid,
            uname: &uname,
            gname: bench.names.group(meta.gid),
            size,
            mtime: meta.mtime,
            link,
        };
        let body = header::write(&mut bench.tar, &member, &mut bench.records);
        if body as u64 > self.limits.max_metadata {
            return Err(Stop::Skipped(format!("attributes of more than 1 MiB: {}", show(&entry.path))));
        }
        self.pass_on(bench)
    }

    /// User attributes and ACLs into the records of the next header.
    fn attributes(&mut self, bench: &mut Bench, fd: impl AsFd, entry: &Entry) -> Result<(), Stop> {
        let fault = |e| Fault::system("listxattr", self.place.path_of(&entry.path), e);
        let n = sys::list_xattr(&fd, &mut bench.xattrs).map_err(fault)?;
        for name in bench.xattrs[..n].split(|&b| b == 0) {
            let acl: Option<&[u8]> = match name {
                b"system.posix_acl_access" => Some(b"SCHILY.acl.access"),
                b"system.posix_acl_default" => Some(b"SCHILY.acl.default"),
                _ => None,
            };
            if acl.is_none() && !name.starts_with(b"user.") {
                continue;
            }
            let value =
                sys::get_xattr(&fd, name).map_err(|e| Fault::system("getxattr", self.place.path_of(&entry.path), e))?;
            match acl {
                Some(key) => {
                    // The mode's group bits are those of the ACL's mask; what the group itself may is in the ACL.
                    let needed = if entry.kind == Kind::Dir { 0o5 } else { 0o4 };
                    if name == b"system.posix_acl_access" && tar::acl::group_bits(&value) & needed != needed {
                        self.read_by &= 0o004;
                    }
                    let text = tar::acl::to_text(&value).ok_or_else(|| {
                        Fault::own("read", self.place.path_of(&entry.path), "an ACL of an unknown form")
                    })?;
                    bench.records.add(key, text.as_bytes());
                }
                None => bench.records.add(&[b"SCHILY.xattr.", escape_key(name).as_slice()].concat(), &value),
            }
        }
        Ok(())
    }

    /// Exactly `len` bytes of the file into the stream.
    fn copy(&mut self, bench: &mut Bench, entry: &Entry, fd: &impl AsFd, len: u64) -> Result<(), Stop> {
        let mut left = len;
        while left > 0 {
            if self.control.is_cancelled() {
                return Err(Stop::Cancelled);
            }
            let fits = bench.tar.len() as u64 + left <= SMALL as u64;
            if self.stream.is_none() && !fits {
                self.begin_stream()?;
                self.pass_on(bench)?;
            }
            let most = self.control.piece(if self.stream.is_some() { STEP } else { SMALL });
            let step = left.min(most as u64) as usize;
            self.control.pay_bytes(step as u64);
            let got = sys::read_append(fd, &mut bench.tar, step)
                .map_err(|e| Fault::system("read", self.place.path_of(&entry.path), e))?;
            if got < step {
                return Err(Stop::Changed(format!("{} shrank", show(&entry.path))));
            }
            left -= got as u64;
            self.add_up(&bench.tar[bench.tar.len() - got..]);
            self.pass_on(bench)?;
        }
        Ok(())
    }

    /// All of a file of `size` bytes, and the sight of its end.
    fn whole(&mut self, bench: &mut Bench, entry: &Entry, fd: &impl AsFd, size: u64) -> Result<(), Stop> {
        let fault = |e| Fault::system("read", self.place.path_of(&entry.path), e);
        let small = self.stream.is_none() && bench.tar.len() as u64 + size < SMALL as u64;
        if small && size <= self.control.piece(SMALL) as u64 {
            self.control.pay_bytes(size);
            // Asking for one byte more than there should be, one call reads the file and sees that it ends there.
            let start = bench.tar.len();
            let got = sys::read_once(fd, &mut bench.tar, size as usize + 1).map_err(fault)? as u64;
            if got == size {
                self.add_up(&bench.tar[start..]);
                return Ok(());
            }
            bench.tar.truncate(start);
            sys::seek_to(fd, 0).map_err(fault)?;
        }
        self.copy(bench, entry, fd, size)?;
        let mut byte = [0u8; 1];
        let more =
            sys::read_full(fd, &mut byte).map_err(|e| Fault::system("read", self.place.path_of(&entry.path), e))?;
        if more > 0 {
            return Err(Stop::Changed(format!("{} grew", show(&entry.path))));
        }
        Ok(())
    }

    fn add_up(&mut self, read: &[u8]) {
        if let Some(sum) = &mut self.sum {
            sum.update(read);
        }
    }

    fn pad(&mut self, bench: &mut Bench, size: u64) -> Result<(), Stop> {
        tar::pad(&mut bench.tar, size);
        self.pass_on(bench)
    }

    fn begin_stream(&mut self) -> Result<(), Stop> {
        let part = create_part(self.place, self.options)?;
        let file = part.file.try_clone().map_err(|e| self.write_fault(&e))?;
        let encoder = Encoder::new(self.options.format, self.options.level, self.threads, file)
            .map_err(|e| self.write_fault(&e))?;
        self.stream = Some((part, encoder));
        Ok(())
    }

    /// What has gathered goes to the encoder, once there is one and enough of it.
    fn pass_on(&mut self, bench: &mut Bench) -> Result<(), Stop> {
        match &self.stream {
            None if bench.tar.len() > SMALL => self.begin_stream()?,
            None => return Ok(()),
            Some(_) if bench.tar.len() < STEP => return Ok(()),
            Some(_) => {}
        }
        self.flush(bench)
    }

    fn flush(&mut self, bench: &mut Bench) -> Result<(), Stop> {
        if let Some((_, encoder)) = &mut self.stream {
            self.hash.update(&bench.tar);
            self.length += bench.tar.len() as u64;
            if let Err(e) = encoder.write(&bench.tar) {
                return Err(self.write_fault(&e).into());
            }
            bench.tar.clear();
        }
        Ok(())
    }

    fn finish(&mut self, bench: &mut Bench, entries: u64) -> Result<(Part, Seal, u64, Vec<u32>), Stop> {
        self.flush(bench)?;
        let mut seal = Seal { sha256: [0; 32], stream: self.length, entries, content: self.content };
        if let Some((mut part, encoder)) = self.stream.take() {
            seal.sha256 = std::mem::take(&mut self.hash).finalize().into();
            let done = encoder
                .finish(&seal)
                .map_err(|e| self.write_fault(&e))
                .and_then(|made| self.hand_over(&mut part).map(|()| made));
            return match done {
                Ok((size, blocks)) => Ok((part, seal, size, blocks)),
                Err(fault) => {
                    part.drop_it(self.place);
                    Err(fault.into())
                }
            };
        }
        seal.sha256 = Sha256::digest(&bench.tar).into();
        seal.stream = bench.tar.len() as u64;
        let bytes = bench.packer.pack(&bench.tar, &seal).map_err(|e| self.write_fault(&e))?;
        let mut part = create_part(self.place, self.options)?;
        let done = sys::write_all(&part.file, bytes)
            .map_err(|e| Fault::system("write", self.place.path_of(b""), e))
            .and_then(|()| self.hand_over(&mut part));
        match done {
            Ok(()) => Ok((part, seal, bytes.len() as u64, Vec::new())),
            Err(fault) => {
                part.drop_it(self.place);
                Err(fault.into())
            }
        }
    }

    fn write_fault(&self, error: &std::io::Error) -> Fault {
        Fault::io("write", self.place.path(), error)
    }

    fn count_readers(&mut self, meta: &Meta) {
        let given = match meta.kind {
            Kind::Symlink => return,
            // Reading a directory takes listing and searching it.
            Kind::Dir => meta.mode & (meta.mode << 2) & 0o044,
            _ => meta.mode & 0o044,
        };
        self.read_by &= given;
        if meta.gid != self.top.gid {
            self.read_by &= 0o004; // another group's members were never given anything
        }
    }

    /// Owner (as root, or the group where we may) and mode of the archive: never more than the session itself allowed.
    fn hand_over(&self, part: &mut Part) -> Result<(), Fault> {
        let fault = |op, e| Fault::system(op, self.place.path_of(b""), e);
        let now = sys::stat(&part.file).map_err(|e| fault("stat", e))?;
        part.inode = now.inode();
        let mut read_by = self.read_by;
        if sys::is_root() {
            if (now.uid, now.gid) != (self.top.uid, self.top.gid) {
                sys::set_owner(&part.file, Some(self.top.uid), Some(self.top.gid)).map_err(|e| fault("chown", e))?;
            }
        } else if now.gid != self.top.gid && sys::set_owner(&part.file, None, Some(self.top.gid)).is_err() {
            // Not our group to give: then its members do not get to read it.
            read_by &= 0o004;
        }
        if read_by == 0 && now.mode == 0o600 {
            return Ok(());
        }
        sys::set_mode(&part.file, 0o600 | read_by).map_err(|e| fault("chmod", e))
    }
}

fn stored_path(session: &[u8], entry: &Entry) -> Vec<u8> {
    [session, b"/", &entry.path].concat()
}

/// A new, locked part file; out of the reserve if the filesystem has no inode left.
fn create_part(place: Place<'_>, options: &ArchiveOptions) -> Result<Part, Stop> {
    let name = part_name(place.name, options.format)?;
    // The longest name an archive may ever get; without room for it, it could not be moved aside.
    if place.name.len() + "..tar.gz.superseded-".len() + 16 > 255 {
        return Err(Stop::Skipped("name too long for an archive's name".into()));
    }
    let fault = |op, e| Fault::system(op, crate::session::join(place.parent_path, &name), e);
    let _at_once = load::at_once(); // unlocked it would be taken for a leftover
    let fd = match sys::create_file(place.parent, &name) {
        Ok(fd) => fd,
        Err(rustix::io::Errno::NAMETOOLONG) => return Err(Stop::Skipped("name too long for an archive's name".into())),
        Err(e) => {
            let refused = fault("create", e);
            let reserve = options.reserve.as_deref().filter(|_| refused.no_room());
            match reserve.and_then(|dir| take_reserve(dir, place, &name)) {
                Some(fd) => fd,
                None => return Err(refused.into()),
            }
        }
    };
    match sys::try_lock(&fd) {
        Ok(_) => Ok(Part { name, file: File::from(fd), inode: (0, 0) }),
        Err(e) => {
            let refused = fault("lock", e);
            let _ = sys::unlink(place.parent, &name); // a leftover at worst
            Err(refused.into())
        }
    }
}

/// Rename a reserve file to the part's name. `None` when there is none to take: the first refusal is what is reported.
fn take_reserve(reserve: &[u8], place: Place<'_>, part: &[u8]) -> Option<rustix::fd::OwnedFd> {
    let dir = sys::open_root(reserve).ok()?;
    let mut names = Vec::new();
    let mut buffer = DirBuffer::default();
    let each = |name: &[u8], _| {
        if name.starts_with(b"reserve-") {
            names.push(name.to_vec());
        }
    };
    sys::list_dir(dir.as_fd(), &mut buffer, each, || {}).ok()?;
    for name in names {
        let Ok(meta) = sys::stat_at(dir.as_fd(), &name) else {
            continue;
        };
        if meta.kind != Kind::File || meta.size != 0 || meta.nlink != 1 || meta.uid != sys::own_ids().0 {
            continue; // not ours
        }
        if sys::move_new(dir.as_fd(), &name, place.parent, part).is_ok() {
            return sys::open_write(place.parent, part).ok();
        }
    }
    None
}
