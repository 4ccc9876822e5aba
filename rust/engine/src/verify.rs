//! Read an archive again, all of it, and see that it holds what it should.
//!
//! [`verify_part`] is the gate's check: the decoded stream has the digest and length taken while packing. [`examine`] reads any
//! archive as a tar, member by member, and compares with its own seal.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::os::fd::AsFd;
use std::time::Instant;

use sha2::{Digest, Sha256};

use crate::codec::{self, Unpacker};
use crate::error::{Fault, Stop};
use crate::options::{Format, Limits, Outcome, VerifyOptions};
use crate::pack::{Bench, Packed};
use crate::seal::{hex, Seal};
use crate::session::{join, Place};
use crate::sys::{self, Meta};
use crate::tar::check::Seen;
use crate::tar::reader::{Broken, Member, Reader};
use crate::task::{guarded, Control, Task};

/// Decoded bytes up to which an archive is decoded in one call.
pub const AT_ONCE: u64 = 16 << 20;

const UNEQUAL: &str = "what was written does not decode to what was packed";

/// Decode the part file anew; digest, length and seal must be those of the packing.
pub fn verify_part(
    bench: &mut Bench,
    place: Place<'_>,
    packed: &Packed,
    format: Format,
    threads: usize,
    control: &Control,
) -> Result<(), Stop> {
    let path = join(place.parent_path, &packed.part.name);
    let fault = |op, e| Fault::system(op, path.clone(), e);
    let fd = sys::open_file(place.parent, &packed.part.name).map_err(|e| fault("open", e))?;
    let now = sys::stat(&fd).map_err(|e| fault("stat", e))?;
    let wrong = |what: &str| Err(Stop::Failed(Fault::own("verify", path.clone(), what)));
    if now.inode() != packed.part.inode || now.size != packed.size {
        return wrong("the part file is not the one that was written");
    }
    if format == Format::TarGz && !packed.tar.is_empty() {
        bench.file.clear();
        let got = sys::read_append(&fd, &mut bench.file, packed.size as usize).map_err(|e| fault("read", e))?;
        if got as u64 != packed.size || Seal::of_gzip(&bench.file).as_ref() != Some(&packed.seal) {
            return wrong("the seal does not read back");
        }
        if let Err(message) = bench.unpacker.gunzip(&bench.file, packed.seal.stream as usize) {
            return wrong(&message);
        }
        // What was packed is still here: comparing with it says more than comparing digests, and costs less.
        if bench.unpacker.out != packed.tar {
            return wrong(UNEQUAL);
        }
        return Ok(());
    }
    let file = File::from(fd);
    let sealed = matches!(format, Format::TarGz | Format::TarZst);
    let seal = Seal::read(&file, format).map_err(|e| Fault::io("read", path.clone(), &e))?;
    if sealed && seal.as_ref() != Some(&packed.seal) {
        return wrong("the seal does not read back");
    }
    if !packed.tar.is_empty() {
        let out = &mut bench.unpacker.out;
        out.clear();
        let decoded = codec::decoder(format, file).and_then(|d| d.take(packed.seal.stream + 1).read_to_end(out));
        return match decoded {
            Ok(_) if *out == packed.tar => Ok(()),
            Ok(_) => wrong(UNEQUAL),
            Err(e) => Err(undecodable(Broken::from(e).at(&path))),
        };
    }
    let digested = if packed.blocks.is_empty() {
        digest_stream(format, file, control)
    } else {
        digest_blocks(&file, packed, threads, control)
    };
    let (digest, length) = digested.map_err(|broken| match broken {
        Some(e) => undecodable(Broken::from(e).at(&path)),
        None => Stop::Cancelled,
    })?;
    if digest != packed.seal.sha256 || length != packed.seal.stream {
        return wrong(UNEQUAL);
    }
    Ok(())
}

/// What was just written and is damaged is no damaged archive, but a failure.
fn undecodable(stop: Stop) -> Stop {
    match stop {
        Stop::Damaged(fault) => Stop::Failed(fault),
        stop => stop,
    }
}

/// Digest and length of the whole decoded stream. Hashing goes on in a second thread; `None` is a cancellation.
fn digest_stream(format: Format, file: File, control: &Control) -> Result<([u8; 32], u64), Option<io::Error>> {
    let mut decoder = codec::decoder(format, file)?;
    let (sender, receiver) = std::sync::mpsc::sync_channel::<Vec<u8>>(4);
    std::thread::scope(|scope| {
        let hashing = scope.spawn(move || {
            let mut hash = Sha256::new();
            let mut length = 0;
            for chunk in receiver {
                hash.update(&chunk);
                length += chunk.len() as u64;
            }
            (hash.finalize().into(), length)
        });
        loop {
            if control.is_cancelled() {
                return Err(None);
            }
            let mut chunk = Vec::with_capacity(512 * 1024);
            let got = decoder.by_ref().take(512 * 1024).read_to_end(&mut chunk)?;
            if got == 0 || sender.send(chunk).is_err() {
                break;
            }
        }
        drop(sender);
        hashing.join().map_err(|_| Some(io::Error::other("the hashing thread fell")))
    })
}

/// The same of a gzip made of blocks, decoded by several threads.
fn digest_blocks(
    file: &File,
    packed: &Packed,
    threads: usize,
    control: &Control,
) -> Result<([u8; 32], u64), Option<io::Error>> {
    let mut hash = Sha256::new();
    let mut length = 0;
    let each = |plain: &[u8]| {
        hash.update(plain);
        length += plain.len() as u64;
        if control.is_cancelled() {
            return Err(io::ErrorKind::Interrupted.into());
        }
        Ok(())
    };
    match codec::gunzip_blocks(file, &packed.blocks, packed.seal.stream, threads, each) {
        Ok(()) => Ok((hash.finalize().into(), length)),
        Err(_) if control.is_cancelled() => Err(None),
        Err(e) => Err(Some(e)),
    }
}

/// Hashes what is read through it.
pub struct Hashed<R> {
    inner: R,
    hash: Sha256,
    length: u64,
}

impl<R> Hashed<R> {
    pub fn new(inner: R) -> Self {
        Self { inner, hash: Sha256::new(), length: 0 }
    }

    pub fn finish(self) -> ([u8; 32], u64) {
        (self.hash.finalize().into(), self.length)
    }
}

impl<R: Read> Read for Hashed<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buf)?;
        self.hash.update(&buf[..n]);
        self.length += n as u64;
        Ok(n)
    }
}

/// An archive opened for reading.
pub struct Opened {
    pub file: File,
    pub format: Format,
    /// What it was before the first byte was read.
    pub meta: Meta,
    pub size: u64,
    pub seal: Option<Seal>,
}

/// Open an archive by its path; the format is what its name says.
pub fn open_archive(path: &[u8]) -> Result<Opened, Stop> {
    let slash =
        path.iter().rposition(|&b| b == b'/').ok_or_else(|| Fault::own("open", path, "not an absolute path"))?;
    let (dir, name) = (&path[..slash.max(1)], &path[slash + 1..]);
    let fault = |e| Fault::system("open", path, e);
    let dir = sys::open_root(dir).map_err(fault)?;
    open_archive_at(dir.as_fd(), name, path)
}

pub fn open_archive_at(dir: std::os::fd::BorrowedFd<'_>, name: &[u8], path: &[u8]) -> Result<Opened, Stop> {
    let Some((format, _)) = Format::of_name(name) else {
        return Err(Fault::own("open", path, "not named like an archive (.tar.gz, .tar.zst, .tar.xz, .tar)").into());
    };
    let fd = sys::open_file(dir, name).map_err(|e| Fault::system("open", path, e))?;
    let meta = sys::stat(&fd).map_err(|e| Fault::system("stat", path, e))?;
    if meta.kind != sys::Kind::File {
        return Err(Fault::own("open", path, "not a regular file").into());
    }
    let file = File::from(fd);
    let seal = Seal::read(&file, format).map_err(|e| Fault::io("read", path, &e))?;
    Ok(Opened { file, format, meta, size: meta.size, seal })
}

/// What reading an archive to its end has shown.
#[derive(Clone, Debug)]
pub struct Summary {
    pub seal: Seal,
    /// The archive has a seal and it says the same.
    pub sealed: bool,
}

/// Go through all members; `each` is given every one and may read its data. Structure, limits, frame and seal are
/// checked. `Damaged` says what is wrong and with which member.
///
/// A small sealed archive is decoded and proven in one go before the first member is handed out. A cancellation is seen
/// between two reads, however long a member is.
pub fn examine(
    unpacker: &mut Unpacker,
    opened: Opened,
    path: &[u8],
    limits: &Limits,
    control: &Control,
    each: impl FnMut(Member, &mut Data<'_, '_>) -> Result<(), Stop>,
) -> Result<(Summary, Seen), Stop> {
    match read_through(unpacker, opened, path, limits, control, each) {
        Err(Stop::Damaged(_) | Stop::Failed(_)) if control.is_cancelled() => Err(Stop::Cancelled),
        ended => ended,
    }
}

fn read_through(
    unpacker: &mut Unpacker,
    opened: Opened,
    path: &[u8],
    limits: &Limits,
    control: &Control,
    mut each: impl FnMut(Member, &mut Data<'_, '_>) -> Result<(), Stop>,
) -> Result<(Summary, Seen), Stop> {
    let Opened { file, format, size, seal, .. } = opened;
    let damaged = |message: String| Stop::Damaged(Fault::own("decode", path, message));
    if seal.is_none() && Seal::is_broken(&file, format).map_err(|e| Fault::io("read", path, &e))? {
        return Err(damaged("its seal is broken, or made by a later version of runark".into()));
    }
    let unlike_seal = || damaged("its content is not what its seal says".into());
    let at_once = seal.as_ref().filter(|s| format == Format::TarGz && s.stream <= AT_ONCE && size <= AT_ONCE);
    let source = match at_once {
        Some(seal) => {
            let mut bytes = Vec::new();
            sys::read_append(&file, &mut bytes, size as usize).map_err(|e| Fault::system("read", path, e))?;
            unpacker.gunzip(&bytes, seal.stream as usize).map_err(damaged)?;
            if seal.sha256[..] != Sha256::digest(&unpacker.out)[..] {
                return Err(unlike_seal());
            }
            Source::Memory(&unpacker.out, seal.sha256)
        }
        None => {
            let decoder = codec::decoder(format, file).map_err(|e| Broken::from(e).at(path))?;
            Source::Stream(BufReader::with_capacity(128 * 1024, Hashed::new(decoder)), control)
        }
    };
    let length = if let Source::Memory(bytes, _) = &source { bytes.len() as u64 } else { 0 };
    let mut reader = Reader::new(source, limits);
    let mut seen = Seen::default();
    while let Some(member) = reader.next_member().map_err(|b| b.at(path))? {
        seen.admit(&member).map_err(|b| b.at(path))?;
        match &seal {
            Some(seal) if reader.content() > seal.content => {
                return Err(damaged("it holds more than its seal says".into()))
            }
            // Nobody vouches for the length: beyond the first GiB, a ratio no honest data has.
            None if reader.stored() > size.saturating_mul(limits.max_ratio).saturating_add(1 << 30) => {
                return Err(damaged(format!("it expands more than {} times", limits.max_ratio)));
            }
            _ => {}
        }
        each(member, &mut Data { reader: &mut reader, path })?;
    }
    let (entries, content) = (reader.members(), reader.content());
    let (sha256, stream) = match reader.into_source() {
        Source::Memory(_, digest) => (digest, length),
        Source::Stream(input, _) => input.into_inner().finish(),
    };
    let found = Seal { sha256, stream, entries, content };
    match seal {
        Some(seal) if seal != found => Err(unlike_seal()),
        seal => Ok((Summary { seal: found, sealed: seal.is_some() }, seen)),
    }
}

/// A decoded tar stream: all of it, with its digest, or as it comes.
enum Source<'b> {
    Memory(&'b [u8], [u8; 32]),
    Stream(BufReader<Hashed<Box<dyn Read + Send>>>, &'b Control),
}

impl Read for Source<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        match self {
            Source::Memory(bytes, _) => bytes.read(buf),
            Source::Stream(_, control) if control.is_cancelled() => Err(io::Error::other("cancelled")),
            Source::Stream(input, _) => input.read(buf),
        }
    }
}

/// The data of the member at hand.
pub struct Data<'a, 'l> {
    reader: &'a mut Reader<'l, Source<'l>>,
    path: &'a [u8],
}

impl Data<'_, '_> {
    /// Fill as much of `buf` as there is; 0 at the end of the member.
    pub fn read(&mut self, buf: &mut [u8]) -> Result<usize, Stop> {
        let mut filled = 0;
        while filled < buf.len() {
            match self.reader.read(&mut buf[filled..]).map_err(|b| b.at(self.path))? {
                0 => break,
                n => filled += n,
            }
        }
        Ok(filled)
    }
}

/// Verify archives in the background.
pub fn verify(paths: Vec<Vec<u8>>, options: VerifyOptions) -> Task {
    Task::start(options.jobs, paths.len(), move |control| {
        let mut unpacker = Unpacker::default();
        while let Some(i) = control.take_rested() {
            let outcome = guarded(
                || verify_one(&mut unpacker, &paths[i], &options.limits, control),
                || {
                    let fault = Fault::own("work", paths[i].clone(), "the engine broke off because of a defect in it");
                    let (path, reason) = (paths[i].clone(), fault.message.clone());
                    Outcome { path, action: "unreadable", reason, fault: Some(fault), ..Outcome::default() }
                },
            );
            control.report([outcome]);
        }
    })
}

fn verify_one(unpacker: &mut Unpacker, path: &[u8], limits: &Limits, control: &Control) -> Outcome {
    let started = Instant::now();
    let mut outcome = Outcome { path: path.to_vec(), ..Outcome::default() };
    if control.begins_nothing() {
        outcome.action = "cancelled";
        return outcome;
    }
    let examined = open_archive(path).and_then(|opened| {
        outcome.bytes_out = opened.size;
        let foreign = opened.seal.is_none();
        let framed = codec::looks_like(opened.format, &opened.file).map_err(|e| Fault::io("read", path, &e))?;
        if foreign && !framed {
            return Err(Stop::Skipped(format!("not a {} file", opened.format.suffix())));
        }
        let mut members = 0u64;
        let examined = examine(unpacker, opened, path, limits, control, |member, _| {
            members += 1;
            control.count(member.size, 1);
            if control.is_cancelled() {
                return Err(Stop::Cancelled);
            }
            Ok(())
        });
        match examined {
            Err(Stop::Damaged(fault))
                if foreign
                    && members == 0
                    && fault.message.starts_with("member '")
                    && fault.message.ends_with("header") =>
            {
                Err(Stop::Skipped("not a tar archive".into()))
            }
            other => other,
        }
    });
    match examined {
        Ok((summary, _)) => {
            outcome.action = if summary.sealed { "sound" } else { "unsealed" };
            outcome.entries = summary.seal.entries;
            outcome.bytes_in = summary.seal.content;
            outcome.sha256 = hex(&summary.seal.sha256);
        }
        Err(Stop::Cancelled) => outcome.action = "cancelled",
        Err(Stop::Skipped(reason) | Stop::Changed(reason)) => {
            outcome.action = "foreign";
            outcome.reason = reason;
        }
        Err(Stop::Damaged(fault)) => {
            outcome.action = "damaged";
            outcome.reason.clone_from(&fault.message);
            outcome.fault = Some(fault);
        }
        Err(Stop::Failed(fault)) => {
            outcome.action = "unreadable";
            outcome.reason.clone_from(&fault.message);
            outcome.fault = Some(fault);
        }
    }
    outcome.milliseconds = started.elapsed().as_secs_f64() * 1e3;
    outcome
}
