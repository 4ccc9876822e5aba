//! One session: list, read, compress, write, remove. All buffers live as long as the thread.

use std::ffi::{CStr, CString};
use std::time::{Duration, Instant};

use libc::c_int;

use crate::{sys, tar};

/// Direct child directories of ROOT, in the order of the listing.
pub fn children(root: c_int) -> Vec<CString> {
    let mut names = Vec::new();
    let mut buffer = vec![0; 256 << 10];
    sys::list(root, &mut buffer, |name, kind| {
        if kind == libc::DT_DIR && !name.to_bytes().starts_with(b".") {
            names.push(name.to_owned());
        }
    });
    names
}

/// Thread time by stage; zero unless asked for.
#[derive(Default, Clone, Copy)]
pub struct Spent {
    pub read: Duration,
    pub compress: Duration,
    pub write: Duration,
    pub remove: Duration,
}

impl Spent {
    pub fn plus(self, other: Self) -> Self {
        Self {
            read: self.read + other.read,
            compress: self.compress + other.compress,
            write: self.write + other.write,
            remove: self.remove + other.remove,
        }
    }
}

struct Entry {
    path: Vec<u8>, // below the session, NUL at the end so that the last component is a C string
    name: usize,   // where the last component begins
    dir: usize,    // index of the directory it is in
    own: usize,    // directories: index of their own handle
    kind: u8,
}

impl Entry {
    fn name(&self) -> &CStr {
        CStr::from_bytes_with_nul(&self.path[self.name..]).expect("one NUL, at the end")
    }
}

pub struct Worker<'a> {
    root: c_int,
    owners: &'a tar::Owners,
    compressor: libdeflater::Compressor,
    listing: Vec<u8>,
    tar: Vec<u8>,
    packed: Vec<u8>,
    entries: Vec<Entry>,
    dirs: Vec<c_int>,
    timings: bool,
    pub spent: Spent,
}

impl<'a> Worker<'a> {
    pub fn new(root: c_int, owners: &'a tar::Owners, timings: bool) -> Self {
        let level = libdeflater::CompressionLvl::new(1).expect("1 is a level");
        Self {
            root,
            owners,
            compressor: libdeflater::Compressor::new(level),
            listing: vec![0; 32 << 10],
            tar: Vec::with_capacity(1 << 20),
            packed: Vec::new(),
            entries: Vec::new(),
            dirs: Vec::new(),
            timings,
            spent: Spent::default(),
        }
    }

    fn lap(&self, since: &mut Option<Instant>) -> Duration {
        since
            .replace(Instant::now())
            .map_or(Duration::ZERO, |start| start.elapsed())
    }

    pub fn archive(&mut self, session: &CStr) {
        let mut clock = self.timings.then(Instant::now);
        self.list(session);
        self.read(session);
        if self.timings {
            self.spent.read += self.lap(&mut clock);
        }
        self.packed
            .resize(self.compressor.gzip_compress_bound(self.tar.len()), 0);
        let size = self
            .compressor
            .gzip_compress(&self.tar, &mut self.packed)
            .expect("the bound holds");
        if self.timings {
            self.spent.compress += self.lap(&mut clock);
        }
        self.write(session, size);
        if self.timings {
            self.spent.write += self.lap(&mut clock);
        }
        self.remove(session);
        if self.timings {
            self.spent.remove += self.lap(&mut clock);
        }
    }

    fn list(&mut self, session: &CStr) {
        self.entries.clear();
        self.dirs.clear();
        self.dirs.push(sys::open_dir(self.root, session));
        let mut pending = vec![(0, Vec::new())];
        while let Some((dir, prefix)) = pending.pop() {
            let first = self.entries.len();
            sys::list(self.dirs[dir], &mut self.listing, |name, kind| {
                let mut path = Vec::with_capacity(prefix.len() + name.count_bytes() + 1);
                path.extend_from_slice(&prefix);
                path.extend_from_slice(name.to_bytes_with_nul());
                self.entries.push(Entry {
                    path,
                    name: prefix.len(),
                    dir,
                    own: 0,
                    kind,
                });
            });
            for entry in &mut self.entries[first..] {
                if entry.kind == libc::DT_DIR {
                    entry.own = self.dirs.len();
                    self.dirs.push(sys::open_dir(self.dirs[dir], entry.name()));
                    let mut prefix = entry.path[..entry.path.len() - 1].to_vec();
                    prefix.push(b'/');
                    pending.push((entry.own, prefix));
                }
            }
        }
        self.entries.sort_unstable_by(|a, b| a.path.cmp(&b.path));
    }

    fn read(&mut self, session: &CStr) {
        self.tar.clear();
        let mut path = session.to_bytes().to_vec();
        path.push(b'/');
        let base = path.len();
        tar::header(
            &mut self.tar,
            &path,
            &sys::fstat(self.dirs[0], session),
            b"",
            self.owners,
        );
        for entry in &self.entries {
            let (name, dir) = (entry.name(), self.dirs[entry.dir]);
            path.truncate(base);
            path.extend_from_slice(&entry.path[..entry.path.len() - 1]);
            match entry.kind {
                libc::DT_DIR => {
                    path.push(b'/');
                    tar::header(
                        &mut self.tar,
                        &path,
                        &sys::fstat(self.dirs[entry.own], name),
                        b"",
                        self.owners,
                    );
                }
                libc::DT_REG => {
                    let fd = sys::open_file(dir, name);
                    let stat = sys::fstat(fd, name);
                    tar::header(&mut self.tar, &path, &stat, b"", self.owners);
                    let at = self.tar.len();
                    self.tar.resize(at + stat.st_size as usize, 0);
                    sys::read(fd, &mut self.tar[at..], name);
                    sys::close(fd);
                    tar::pad(&mut self.tar);
                }
                libc::DT_LNK => {
                    let mut target = [0; 4096];
                    let length = sys::readlink(dir, name, &mut target);
                    tar::header(
                        &mut self.tar,
                        &path,
                        &sys::lstat(dir, name),
                        &target[..length],
                        self.owners,
                    );
                }
                _ => panic!("floor: {name:?} is neither file, directory nor symlink"),
            }
        }
        tar::end(&mut self.tar);
    }

    fn write(&self, session: &CStr, size: usize) {
        let with = |before: &str, after: &str| {
            CString::new([before.as_bytes(), session.to_bytes(), after.as_bytes()].concat())
                .expect("no NUL in a name")
        };
        let (part, archive) = (with(".", ".tar.gz.part"), with("", ".tar.gz"));
        let fd = sys::create(self.root, &part);
        sys::write(fd, &self.packed[..size], &part);
        sys::close(fd);
        sys::rename(self.root, &part, &archive);
    }

    fn remove(&mut self, session: &CStr) {
        for entry in self.entries.iter().rev() {
            let flags = if entry.kind == libc::DT_DIR {
                libc::AT_REMOVEDIR
            } else {
                0
            };
            if entry.kind == libc::DT_DIR {
                sys::close(self.dirs[entry.own]);
            }
            sys::unlink(self.dirs[entry.dir], entry.name(), flags);
        }
        sys::close(self.dirs[0]);
        sys::unlink(self.root, session, libc::AT_REMOVEDIR);
    }
}
