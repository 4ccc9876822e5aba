//! Frames around the tar stream: gzip, zstd, xz, none. A whole buffer at once for small sessions, a stream for large ones.
//!
//! A large gzip is made of blocks that several threads compress at once, joined into one deflate stream in one member: any
//! gunzip reads it, and `gzip -l` is right.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;
use std::sync::mpsc::{sync_channel, Receiver, SyncSender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use flate2::{Compress, Compression, Crc, FlushCompress, Status};
use libdeflater::{CompressionLvl, Compressor, Decompressor};
use liblzma::stream::{Check, Stream};

use crate::options::Format;
use crate::seal::{Seal, GZIP_HEADER, GZIP_PREFIX, ZSTD_HEADER};

/// What one deflate block of a large session holds. Blocks are independent, so that they can also be decoded at once; with
/// this much in each, the ratio loses less than one in a hundred.
const CHUNK: usize = 1 << 20;

/// Memory an xz stream may ask for when it is read.
const XZ_MEMORY: u64 = 256 << 20;
/// Largest window of a zstd frame that is read (128 MiB, the format's own default limit).
const ZSTD_WINDOW_LOG: u32 = 27;

// ------------------------------------------------------------------------------------------- whole buffers

/// Compresses buffers; each worker keeps one.
pub struct Packer {
    format: Format,
    level: i32,
    deflate: Option<Compressor>,
    zstd: Option<zstd::bulk::Compressor<'static>>,
    out: Vec<u8>,
}

impl Packer {
    pub fn new(format: Format, level: i32) -> Self {
        let deflate =
            (format == Format::TarGz).then(|| Compressor::new(CompressionLvl::new(level).unwrap_or_default()));
        Self { format, level, deflate, zstd: None, out: Vec::new() }
    }

    /// The archive file for a whole tar stream.
    pub fn pack(&mut self, tar: &[u8], seal: &Seal) -> io::Result<&[u8]> {
        let out = &mut self.out;
        out.clear();
        match (self.format, &mut self.deflate) {
            (Format::TarGz, Some(deflate)) => {
                out.extend_from_slice(&GZIP_HEADER);
                out.extend_from_slice(seal.text().as_bytes());
                out.push(0);
                let start = out.len();
                out.resize(start + deflate.deflate_compress_bound(tar.len()), 0);
                let n =
                    deflate.deflate_compress(tar, &mut out[start..]).map_err(|e| io::Error::other(e.to_string()))?;
                out.truncate(start + n);
                out.extend_from_slice(&libdeflater::crc32(tar).to_le_bytes());
                out.extend_from_slice(&(tar.len() as u32).to_le_bytes());
            }
            (Format::TarZst, _) => {
                if self.zstd.is_none() {
                    let mut frame = zstd::bulk::Compressor::new(self.level)?;
                    frame.set_parameter(zstd::zstd_safe::CParameter::ChecksumFlag(true))?;
                    self.zstd = Some(frame);
                }
                if let Some(frame) = &mut self.zstd {
                    out.extend_from_slice(&frame.compress(tar)?);
                }
                out.extend_from_slice(&ZSTD_HEADER);
                out.extend_from_slice(seal.text().as_bytes());
            }
            (Format::TarXz, _) => {
                let stream = Stream::new_easy_encoder(self.level as u32, Check::Crc64)?;
                let mut encoder = liblzma::write::XzEncoder::new_stream(&mut *out, stream);
                encoder.write_all(tar)?;
                encoder.finish()?;
            }
            _ => out.extend_from_slice(tar),
        }
        Ok(out)
    }
}

/// Decompresses whole gzip files whose length is known; each worker keeps one.
pub struct Unpacker {
    deflate: Decompressor,
    pub out: Vec<u8>,
}

impl Default for Unpacker {
    fn default() -> Self {
        Self { deflate: Decompressor::new(), out: Vec::new() }
    }
}

impl Unpacker {
    /// Decode one gzip member of exactly `length` bytes into `out`; its CRC and length are checked, and that nothing follows it.
    pub fn gunzip(&mut self, file: &[u8], length: usize) -> Result<(), String> {
        self.out.resize(length, 0);
        // The trailer is read from the end of the file, so anything behind the member breaks the checks.
        let body = file.get(gzip_prefix(file)?..file.len().saturating_sub(8)).ok_or("the archive is cut off")?;
        let n = self.deflate.deflate_decompress(body, &mut self.out).map_err(|e| e.to_string())?;
        let trailer = &file[file.len() - 8..];
        if n != length
            || trailer[..4] != libdeflater::crc32(&self.out).to_le_bytes()
            || trailer[4..] != (length as u32).to_le_bytes()
        {
            return Err("the archive's checksum or length is wrong".into());
        }
        Ok(())
    }
}

fn gzip_prefix(file: &[u8]) -> Result<usize, String> {
    if Seal::of_gzip(file).is_some() {
        Ok(GZIP_PREFIX)
    } else {
        Err("the seal is missing".into())
    }
}

// ------------------------------------------------------------------------------------------- streams, writing

/// Writes a tar stream of any length into a file.
pub enum Encoder {
    Gz(Gzip),
    Zst(zstd::stream::write::Encoder<'static, File>),
    Xz(liblzma::write::XzEncoder<File>),
    Raw(File),
}

impl Encoder {
    /// `file` is at its beginning and empty; `threads` may compress at once.
    pub fn new(format: Format, level: i32, threads: usize, file: File) -> io::Result<Self> {
        Ok(match format {
            Format::TarGz => Encoder::Gz(Gzip::new(file, level, threads)?),
            Format::TarZst => {
                let mut encoder = zstd::stream::write::Encoder::new(file, level)?;
                encoder.include_checksum(true)?;
                if threads > 1 {
                    encoder.multithread(threads as u32)?;
                }
                Encoder::Zst(encoder)
            }
            Format::TarXz => {
                let stream = Stream::new_easy_encoder(level as u32, Check::Crc64)?;
                Encoder::Xz(liblzma::write::XzEncoder::new_stream(file, stream))
            }
            Format::Tar => Encoder::Raw(file),
        })
    }

    pub fn write(&mut self, data: &[u8]) -> io::Result<()> {
        match self {
            Encoder::Gz(e) => e.write(data),
            Encoder::Zst(e) => e.write_all(data),
            Encoder::Xz(e) => e.write_all(data),
            Encoder::Raw(e) => e.write_all(data),
        }
    }

    /// End the frame and put the seal in its place; the file's size, and the sizes of its blocks if it was made of such.
    pub fn finish(self, seal: &Seal) -> io::Result<(u64, Vec<u32>)> {
        let mut blocks = Vec::new();
        let mut file = match self {
            Encoder::Gz(e) => {
                let (file, made) = e.finish(seal)?;
                blocks = made;
                file
            }
            Encoder::Zst(e) => {
                let mut file = e.finish()?;
                file.write_all(&ZSTD_HEADER)?;
                file.write_all(seal.text().as_bytes())?;
                file
            }
            Encoder::Xz(e) => e.finish()?,
            Encoder::Raw(file) => file,
        };
        Ok((file.seek(SeekFrom::End(0))?, blocks))
    }
}

/// One gzip member, its blocks compressed by several threads.
pub struct Gzip {
    file: File,
    chunk: Vec<u8>,
    crc: Crc,
    blocks: Vec<u32>,
    pool: Pool<Chunk, io::Result<Block>>,
}

struct Chunk {
    bytes: Vec<u8>,
    last: bool,
}

struct Block {
    bytes: Vec<u8>,
    crc: Crc,
}

impl Gzip {
    fn new(mut file: File, level: i32, threads: usize) -> io::Result<Self> {
        // The seal is known at the end; its room is kept.
        file.write_all(&[0; GZIP_PREFIX])?;
        // zlib-rs spends less effort than its level says: its level 2 is the ratio of zlib's level 1.
        let level = Compression::new((level as u32 + 1).min(9));
        let pool =
            Pool::new(threads, move || Compress::new(level, false), |deflate, chunk| deflate_block(deflate, &chunk));
        Ok(Self { file, chunk: Vec::with_capacity(CHUNK), crc: Crc::new(), blocks: Vec::new(), pool })
    }

    fn write(&mut self, mut data: &[u8]) -> io::Result<()> {
        while !data.is_empty() {
            let n = data.len().min(CHUNK - self.chunk.len());
            self.chunk.extend_from_slice(&data[..n]);
            data = &data[n..];
            if self.chunk.len() == CHUNK {
                self.submit(false)?;
            }
        }
        Ok(())
    }

    fn submit(&mut self, last: bool) -> io::Result<()> {
        let bytes = std::mem::replace(&mut self.chunk, Vec::with_capacity(CHUNK));
        self.pool.submit(Chunk { bytes, last })?;
        while self.pool.is_full() || (last && !self.pool.is_empty()) {
            let block = self.pool.next()??;
            self.crc.combine(&block.crc);
            self.blocks.push(block.bytes.len() as u32);
            self.file.write_all(&block.bytes)?;
        }
        Ok(())
    }

    fn finish(mut self, seal: &Seal) -> io::Result<(File, Vec<u32>)> {
        self.submit(true)?;
        self.file.write_all(&self.crc.sum().to_le_bytes())?;
        self.file.write_all(&self.crc.amount().to_le_bytes())?;
        let mut head = GZIP_HEADER.to_vec();
        head.extend_from_slice(seal.text().as_bytes());
        head.push(0);
        self.file.write_all_at(&head, 0)?;
        Ok((self.file, self.blocks))
    }
}

fn deflate_block(deflate: &mut Compress, chunk: &Chunk) -> io::Result<Block> {
    deflate.reset();
    let mut crc = Crc::new();
    crc.update(&chunk.bytes);
    let flush = if chunk.last { FlushCompress::Finish } else { FlushCompress::Sync };
    let mut bytes = Vec::with_capacity(chunk.bytes.len() / 2 + 1024);
    loop {
        let taken = deflate.total_in() as usize;
        let status = deflate.compress_vec(&chunk.bytes[taken..], &mut bytes, flush).map_err(io::Error::other)?;
        let all_in = deflate.total_in() as usize == chunk.bytes.len();
        // With room left behind the output, a flush is complete.
        if status == Status::StreamEnd || (!chunk.last && all_in && bytes.len() < bytes.capacity()) {
            return Ok(Block { bytes, crc });
        }
        bytes.reserve(64 * 1024);
    }
}

/// Decode a gzip file that was made of `blocks` in this run, all of it, with several threads: `each` gets the plain bytes in
/// order. The header was checked by the caller; CRC and length are checked here.
pub fn gunzip_blocks(
    file: &File,
    blocks: &[u32],
    stream: u64,
    threads: usize,
    mut each: impl FnMut(&[u8]) -> io::Result<()>,
) -> io::Result<()> {
    let shared = Arc::new(file.try_clone()?);
    let mut pool =
        Pool::new(threads, Decompressor::new, move |inflate, part: Part| inflate_block(inflate, &shared, &part));
    let mut crc = Crc::new();
    let mut at = GZIP_PREFIX as u64;
    let mut left = stream;
    let mut take = |pool: &mut Pool<Part, io::Result<Plain>>| {
        let plain = pool.next()??;
        crc.combine(&plain.crc);
        each(&plain.bytes)
    };
    for (i, &packed) in blocks.iter().enumerate() {
        let last = i + 1 == blocks.len();
        let length = if last { left } else { CHUNK as u64 };
        let wrong = || io::Error::other("the archive is longer than what was packed");
        left = left.checked_sub(length).ok_or_else(wrong)?;
        pool.submit(Part { at, packed: packed as usize, length: length as usize, last })?;
        at += u64::from(packed);
        while pool.is_full() {
            take(&mut pool)?;
        }
    }
    while !pool.is_empty() {
        take(&mut pool)?;
    }
    let mut trailer = [0u8; 8];
    file.read_exact_at(&mut trailer, at)?;
    if trailer[..4] != crc.sum().to_le_bytes() || trailer[4..] != (stream as u32).to_le_bytes() {
        return Err(io::Error::other("the archive's checksum or length is wrong"));
    }
    Ok(())
}

struct Part {
    at: u64,
    packed: usize,
    length: usize,
    last: bool,
}

struct Plain {
    bytes: Vec<u8>,
    crc: Crc,
}

fn inflate_block(inflate: &mut Decompressor, file: &File, part: &Part) -> io::Result<Plain> {
    let mut packed = vec![0; part.packed];
    file.read_exact_at(&mut packed, part.at)?;
    if !part.last {
        // Blocks but the last end where a new one may begin; an empty one that says it is the last lets the decoder stop there.
        packed.extend_from_slice(&[1, 0, 0, 0xff, 0xff]);
    }
    let mut bytes = vec![0; part.length];
    let n = inflate.deflate_decompress(&packed, &mut bytes).map_err(|e| io::Error::other(e.to_string()))?;
    if n != part.length {
        return Err(io::Error::other("a block of the archive has another length"));
    }
    let mut crc = Crc::new();
    crc.update(&bytes);
    Ok(Plain { bytes, crc })
}

/// Threads that each turn jobs into answers; answers come in the order of the jobs.
struct Pool<J, A> {
    jobs: Option<SyncSender<(J, SyncSender<A>)>>,
    answers: VecDeque<Receiver<A>>,
    threads: Vec<JoinHandle<()>>,
}

impl<J: Send + 'static, A: Send + 'static> Pool<J, A> {
    /// Each thread works with a state of its own.
    fn new<S>(
        threads: usize,
        state: impl Fn() -> S + Clone + Send + 'static,
        work: impl Fn(&mut S, J) -> A + Clone + Send + 'static,
    ) -> Self {
        let threads = threads.max(1);
        let (sender, receiver) = sync_channel::<(J, SyncSender<A>)>(threads);
        let receiver = Arc::new(Mutex::new(receiver));
        let threads = (0..threads)
            .map(|_| {
                let (receiver, state, work) = (Arc::clone(&receiver), state.clone(), work.clone());
                std::thread::spawn(move || {
                    let mut state = state();
                    loop {
                        let next = receiver.lock().unwrap_or_else(PoisonError::into_inner).recv();
                        let Ok((job, answer)) = next else { return };
                        // Nobody waits for the answer if the session was given up.
                        let _ = answer.send(work(&mut state, job));
                    }
                })
            })
            .collect();
        Self { jobs: Some(sender), answers: VecDeque::new(), threads }
    }

    fn is_full(&self) -> bool {
        self.answers.len() > 2 * self.threads.len()
    }

    fn is_empty(&self) -> bool {
        self.answers.is_empty()
    }

    fn submit(&mut self, job: J) -> io::Result<()> {
        let (sender, receiver) = sync_channel(1);
        self.jobs.as_ref().ok_or_else(fallen)?.send((job, sender)).map_err(|_| fallen())?;
        self.answers.push_back(receiver);
        Ok(())
    }

    /// The answer to the oldest job.
    fn next(&mut self) -> io::Result<A> {
        self.answers.pop_front().ok_or_else(fallen)?.recv().map_err(|_| fallen())
    }
}

fn fallen() -> io::Error {
    io::Error::other("a compression thread ended")
}

impl<J, A> Drop for Pool<J, A> {
    fn drop(&mut self) {
        self.jobs = None;
        self.answers.clear();
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

// ------------------------------------------------------------------------------------------- streams, reading

/// Reads the tar stream in an archive file, checking the frame to its end.
pub fn decoder(format: Format, file: File) -> io::Result<Box<dyn Read + Send>> {
    let input = BufReader::with_capacity(256 * 1024, file);
    Ok(match format {
        Format::TarGz => Box::new(flate2::bufread::MultiGzDecoder::new(input)),
        Format::TarZst => {
            let mut decoder = zstd::stream::read::Decoder::with_buffer(input)?;
            decoder.window_log_max(ZSTD_WINDOW_LOG)?;
            Box::new(decoder)
        }
        Format::TarXz => {
            let stream = Stream::new_stream_decoder(XZ_MEMORY, liblzma::stream::CONCATENATED)?;
            Box::new(liblzma::bufread::XzDecoder::new_stream(input, stream))
        }
        Format::Tar => Box::new(input),
    })
}

/// Whether the first bytes are those of the frame that the name promises (a tar has none).
pub fn looks_like(format: Format, file: &File) -> io::Result<bool> {
    let mut head = [0u8; 6];
    let mut input = BufReader::with_capacity(16, FileAt { file, at: 0 });
    let got = input.fill_buf()?.len().min(6);
    input.read_exact(&mut head[..got])?;
    let head = &head[..got];
    Ok(match format {
        Format::TarGz => head.starts_with(&[0x1f, 0x8b]),
        Format::TarZst => head.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]) || head.get(1..4) == Some(&[0x2a, 0x4d, 0x18]),
        Format::TarXz => head.starts_with(&[0xfd, b'7', b'z', b'X', b'Z', 0]),
        Format::Tar => true,
    })
}

/// Reads a file from an offset without moving its position.
struct FileAt<'a> {
    file: &'a File,
    at: u64,
}

impl Read for FileAt<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let n = self.file.read_at(buf, self.at)?;
        self.at += n as u64;
        Ok(n)
    }
}
