//! Frames around the tar stream: gzip, zstd, xz, none. A whole buffer at once for small sessions, a stream for large ones.
//!
//! A large gzip is made of blocks that several threads compress at once, joined into one deflate stream in one member: any
//! gunzip reads it, and `gzip -l` is right.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;
use std::sync::mpsc::{sync_channel, Receiver, SyncSender, TryRecvError};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use libdeflater::{CompressionLvl, Compressor, Decompressor};
use liblzma::stream::{Check, Stream};

use crate::options::Format;
use crate::seal::{Seal, GZIP_HEADER, GZIP_PREFIX, ZSTD_HEADER};
use crate::splice;

/// Plain bytes in one block of a large session. Blocks are independent, so that they can also be decoded at once.
const BLOCK: usize = 1 << 20;
/// Plain bytes that are compressed as one stream at level 1. libdeflate mostly makes a single deflate block of so much, whose end
/// [`splice`] finds at once; the ratio loses three in a hundred.
const PIECE: usize = 64 << 10;

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
    /// The caller has read the seal.
    pub fn gunzip(&mut self, file: &[u8], length: usize) -> Result<(), String> {
        if !file.starts_with(&GZIP_HEADER) {
            return Err("the seal is missing".into());
        }
        self.out.resize(length, 0);
        // The trailer is read from the end of the file, so anything behind the member breaks the checks.
        let body = file.get(GZIP_PREFIX..file.len().saturating_sub(8)).ok_or("the archive is cut off")?;
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
    plain: Vec<u8>,
    crc: libdeflater::Crc,
    length: u64,
    blocks: Vec<u32>,
    pool: Pool<Block, io::Result<Block>>,
    spare: Vec<Block>,
}

/// What is packed and unpacked at once; its buffers are used again.
#[derive(Default)]
struct Block {
    plain: Vec<u8>,
    packed: Vec<u8>,
}

impl Gzip {
    fn new(mut file: File, level: i32, threads: usize) -> io::Result<Self> {
        // The seal is known at the end; its room is kept.
        file.write_all(&[0; GZIP_PREFIX])?;
        let pool = Pool::new(threads, move || BlockPacker::new(level), BlockPacker::pack);
        let (plain, blocks, spare) = (Vec::with_capacity(BLOCK), Vec::new(), Vec::new());
        Ok(Self { file, plain, crc: libdeflater::Crc::new(), length: 0, blocks, pool, spare })
    }

    fn write(&mut self, mut data: &[u8]) -> io::Result<()> {
        self.crc.update(data);
        self.length += data.len() as u64;
        while !data.is_empty() {
            let n = data.len().min(BLOCK - self.plain.len());
            self.plain.extend_from_slice(&data[..n]);
            data = &data[n..];
            if self.plain.len() == BLOCK {
                self.submit()?;
            }
        }
        Ok(())
    }

    fn submit(&mut self) -> io::Result<()> {
        let mut block = self.spare.pop().unwrap_or_default();
        block.plain.clear();
        std::mem::swap(&mut block.plain, &mut self.plain);
        self.pool.submit(block);
        while self.pool.is_full() {
            self.put()?;
        }
        Ok(())
    }

    fn put(&mut self) -> io::Result<()> {
        let block = self.pool.next()??;
        self.file.write_all(&block.packed)?;
        self.blocks.push(block.packed.len() as u32);
        self.spare.push(block);
        Ok(())
    }

    fn finish(mut self, seal: &Seal) -> io::Result<(File, Vec<u32>)> {
        if !self.plain.is_empty() {
            self.submit()?;
        }
        while !self.pool.is_empty() {
            self.put()?;
        }
        self.file.write_all(&gzip_end(self.crc.sum(), self.length))?;
        let mut head = GZIP_HEADER.to_vec();
        head.extend_from_slice(seal.text().as_bytes());
        head.push(0);
        self.file.write_all_at(&head, 0)?;
        Ok((self.file, self.blocks))
    }
}

/// What follows the blocks: an empty stored block that is the last, checksum and length.
fn gzip_end(crc: u32, length: u64) -> [u8; 13] {
    let mut end = [1, 0, 0, 0xff, 0xff, 0, 0, 0, 0, 0, 0, 0, 0];
    end[5..9].copy_from_slice(&crc.to_le_bytes());
    end[9..].copy_from_slice(&(length as u32).to_le_bytes());
    end
}

struct BlockPacker {
    deflate: Compressor,
    piece: usize,
    out: Vec<u8>,
}

impl BlockPacker {
    fn new(level: i32) -> Self {
        let mut deflate = Compressor::new(CompressionLvl::new(level).unwrap_or_default());
        let piece = if level == 1 { PIECE } else { BLOCK };
        let out = vec![0; deflate.deflate_compress_bound(piece)];
        Self { deflate, piece, out }
    }

    fn pack(&mut self, mut block: Block) -> io::Result<Block> {
        block.packed.clear();
        for piece in block.plain.chunks(self.piece) {
            let n = self.deflate.deflate_compress(piece, &mut self.out).map_err(|e| io::Error::other(e.to_string()))?;
            let start = block.packed.len();
            block.packed.extend_from_slice(&self.out[..n]);
            splice::reopen(&mut block.packed, start)?;
        }
        Ok(block)
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
    let work = move |inflate: &mut Decompressor, part| inflate_block(inflate, &shared, part);
    let mut pool = Pool::new(threads, Decompressor::new, work);
    let mut crc = libdeflater::Crc::new();
    let mut at = GZIP_PREFIX as u64;
    let mut left = stream;
    let mut spare = Vec::new();
    let mut take = |pool: &mut Pool<Part, io::Result<Block>>, spare: &mut Vec<Block>| {
        let block = pool.next()??;
        crc.update(&block.plain);
        each(&block.plain)?;
        spare.push(block);
        Ok::<_, io::Error>(())
    };
    for &packed in blocks {
        let length = left.min(BLOCK as u64);
        left -= length;
        let block = spare.pop().unwrap_or_default();
        pool.submit(Part { at, packed: packed as usize, length: length as usize, block });
        at += u64::from(packed);
        while pool.is_full() {
            take(&mut pool, &mut spare)?;
        }
    }
    while !pool.is_empty() {
        take(&mut pool, &mut spare)?;
    }
    let mut end = Vec::new();
    FileAt { file, at }.take(14).read_to_end(&mut end)?;
    if left > 0 || end != gzip_end(crc.sum(), stream) {
        return Err(io::Error::other("the archive's checksum or length is wrong"));
    }
    Ok(())
}

/// A block in the file, and the buffers it is decoded with.
struct Part {
    at: u64,
    packed: usize,
    length: usize,
    block: Block,
}

/// A last, stored block of one byte. Only if a block of the archive leaves the stream open at a byte does the decoder come to
/// it.
const WITNESS: [u8; 6] = [1, 1, 0, 0xfe, 0xff, 0xa5];

fn inflate_block(inflate: &mut Decompressor, file: &File, part: Part) -> io::Result<Block> {
    let Block { mut plain, mut packed } = part.block;
    packed.resize(part.packed, 0);
    file.read_exact_at(&mut packed, part.at)?;
    packed.extend_from_slice(&WITNESS);
    plain.resize(part.length + 1, 0);
    let n = inflate.deflate_decompress(&packed, &mut plain).map_err(|e| io::Error::other(e.to_string()))?;
    if n != plain.len() || plain.pop() != WITNESS.last().copied() {
        return Err(io::Error::other("a block of the archive has another length"));
    }
    Ok(Block { plain, packed })
}

/// Threads that each turn jobs into answers; answers come in the order of the jobs. Who waits for an answer works along.
struct Pool<J, A> {
    queue: Arc<Queue<J, A>>,
    work: Box<dyn FnMut(J) -> A>,
    answers: VecDeque<Receiver<A>>,
    threads: Vec<JoinHandle<()>>,
}

/// Jobs nobody has begun, and where the answers go.
type Waiting<J, A> = VecDeque<(J, SyncSender<A>)>;

/// `None` once nothing is to be begun any more.
struct Queue<J, A> {
    jobs: Mutex<Option<Waiting<J, A>>>,
    news: Condvar,
}

impl<J, A> Queue<J, A> {
    fn lock(&self) -> MutexGuard<'_, Option<Waiting<J, A>>> {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The oldest job, waited for.
    fn wait(&self) -> Option<(J, SyncSender<A>)> {
        let mut jobs = self.lock();
        loop {
            if let Some(job) = jobs.as_mut()?.pop_front() {
                return Some(job);
            }
            jobs = self.news.wait(jobs).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl<J: Send + 'static, A: Send + 'static> Pool<J, A> {
    /// `threads` in all, the caller's among them, but one besides it in any case. Each works with a state of its own.
    fn new<S: 'static>(
        threads: usize,
        state: impl Fn() -> S + Clone + Send + 'static,
        work: impl Fn(&mut S, J) -> A + Clone + Send + 'static,
    ) -> Self {
        let queue = Arc::new(Queue { jobs: Mutex::new(Some(VecDeque::new())), news: Condvar::new() });
        let threads = (1..threads.max(2))
            .map(|_| {
                let (queue, state, work) = (Arc::clone(&queue), state.clone(), work.clone());
                std::thread::spawn(move || {
                    let mut state = state();
                    while let Some((job, answer)) = queue.wait() {
                        // Nobody waits for the answer if the session was given up.
                        let _ = answer.send(work(&mut state, job));
                    }
                })
            })
            .collect();
        let mut state = state();
        Self { queue, work: Box::new(move |job| work(&mut state, job)), answers: VecDeque::new(), threads }
    }

    fn is_full(&self) -> bool {
        self.answers.len() > 2 * self.threads.len() + 2
    }

    fn is_empty(&self) -> bool {
        self.answers.is_empty()
    }

    fn submit(&mut self, job: J) {
        let (sender, receiver) = sync_channel(1);
        if let Some(jobs) = self.queue.lock().as_mut() {
            jobs.push_back((job, sender));
        }
        self.queue.news.notify_one();
        self.answers.push_back(receiver);
    }

    /// The answer to the oldest job.
    fn next(&mut self) -> io::Result<A> {
        let oldest = self.answers.pop_front().ok_or_else(fallen)?;
        loop {
            match oldest.try_recv() {
                Err(TryRecvError::Empty) => {}
                answer => return answer.map_err(|_| fallen()),
            }
            let job = self.queue.lock().as_mut().and_then(VecDeque::pop_front);
            match job {
                Some((job, answer)) => drop(answer.send((self.work)(job))),
                None => return oldest.recv().map_err(|_| fallen()),
            }
        }
    }
}

fn fallen() -> io::Error {
    io::Error::other("a compression thread ended")
}

impl<J, A> Drop for Pool<J, A> {
    fn drop(&mut self) {
        *self.queue.lock() = None;
        self.queue.news.notify_all();
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Lines, then noise, then zeros, over and over: each level cuts it into blocks of every kind.
    fn stream(length: usize) -> Vec<u8> {
        let mut out = Vec::with_capacity(length + 100_000);
        let mut state = 1u64;
        while out.len() < length {
            for _ in 0..2000 {
                state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                out.extend_from_slice(
                    format!("step {} loss {:.6}\n", out.len(), (state >> 40) as f64 / 1e7).as_bytes(),
                );
            }
            for _ in 0..3000 {
                state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                out.extend_from_slice(&(state >> 16).to_le_bytes()[..6]);
            }
            out.resize(out.len() + 15_000, 0);
        }
        out.truncate(length);
        out
    }

    /// The archive's bytes and its blocks, in a file; written in steps of `step` bytes.
    fn packed(plain: &[u8], level: i32, threads: usize, step: usize) -> (File, Vec<u8>, Vec<u32>) {
        let mut file = tempfile::tempfile().unwrap();
        let mut encoder = Encoder::new(Format::TarGz, level, threads, file.try_clone().unwrap()).unwrap();
        for some in plain.chunks(step) {
            encoder.write(some).unwrap();
        }
        let seal = Seal { sha256: [7; 32], stream: plain.len() as u64, entries: 1, content: 0 };
        let (size, blocks) = encoder.finish(&seal).unwrap();
        let mut bytes = Vec::new();
        file.rewind().unwrap();
        file.read_to_end(&mut bytes).unwrap();
        assert_eq!(bytes.len() as u64, size);
        assert_eq!(Seal::of_gzip(&bytes), Some(seal));
        (file, bytes, blocks)
    }

    fn decoded(file: &File, blocks: &[u32], stream: usize, threads: usize) -> io::Result<Vec<u8>> {
        let mut out = Vec::new();
        gunzip_blocks(file, blocks, stream as u64, threads, |plain| {
            out.extend_from_slice(plain);
            Ok(())
        })?;
        Ok(out)
    }

    #[test]
    fn blocks_make_one_member_whatever_the_number_of_threads() {
        let most = stream(2 * BLOCK + 1);
        let mut lengths = vec![1, 512, 2 * BLOCK];
        lengths.extend([PIECE, BLOCK, BLOCK + PIECE].into_iter().flat_map(|edge| [edge - 1, edge, edge + 1]));
        for level in 1..=9 {
            for &length in if level == 1 { &lengths[..] } else { &[1, BLOCK, 2 * BLOCK + 1] } {
                let plain = &most[..length];
                let (file, bytes, blocks) = packed(plain, level, 1, 512);
                assert_eq!(blocks.len(), length.div_ceil(BLOCK));
                for threads in if level == 1 { 2..5 } else { 3..4 } {
                    assert!(packed(plain, level, threads, 1 << 20).1 == bytes, "{level} {length} {threads}");
                    assert!(decoded(&file, &blocks, length, threads).unwrap() == plain);
                }
                let mut one = flate2::bufread::GzDecoder::new(&bytes[..]);
                let mut out = Vec::new();
                one.read_to_end(&mut out).unwrap();
                assert!(out == plain && one.into_inner().is_empty(), "{level} {length}");
                let mut out = vec![0; length];
                assert_eq!(Decompressor::new().gzip_decompress(&bytes, &mut out), Ok(length));
                assert!(out == plain);
            }
        }
    }

    #[test]
    fn an_encoder_is_given_up() {
        // In the middle, with jobs that nobody has begun.
        let file = tempfile::tempfile().unwrap();
        let mut encoder = Encoder::new(Format::TarGz, 9, 3, file).unwrap();
        encoder.write(&stream(9 * BLOCK)).unwrap();
        drop(encoder);
    }

    #[test]
    fn a_wrong_block_is_seen() {
        let plain = stream(2 * BLOCK + 77);
        let (file, bytes, blocks) = packed(&plain, 1, 2, BLOCK);
        let refused = |at: usize, byte: u8| {
            file.write_all_at(&[byte], at as u64).unwrap();
            let out = decoded(&file, &blocks, plain.len(), 2);
            file.write_all_at(&bytes[at..=at], at as u64).unwrap();
            // A bit may only fill up a byte before the next block; then other gunzips do not mind it either.
            assert!(out.is_err() || out.unwrap() == plain && at < bytes.len() - 12);
        };
        for at in (GZIP_PREFIX..bytes.len()).step_by(19_997).chain(bytes.len() - 13..bytes.len()) {
            refused(at, bytes[at] ^ 1 << (at % 8));
        }
        // A first block that ends the stream: everything decodes, but not for those who read the file as one member.
        let mut deflate = Compressor::new(CompressionLvl::fastest());
        let mut first = vec![0; deflate.deflate_compress_bound(BLOCK)];
        let n = deflate.deflate_compress(&plain[..BLOCK], &mut first).unwrap();
        let ended = [&bytes[..GZIP_PREFIX], &first[..n], &bytes[GZIP_PREFIX + blocks[0] as usize..]].concat();
        let other = tempfile::tempfile().unwrap();
        other.write_all_at(&ended, 0).unwrap();
        assert!(decoded(&other, &[n as u32, blocks[1], blocks[2]], plain.len(), 2).is_err());
        assert!(decoded(&file, &blocks[..2], plain.len(), 2).is_err());
        assert!(decoded(&file, &blocks, plain.len() - 1, 2).is_err());
        assert!(decoded(&file, &blocks, plain.len() + 1, 2).is_err());
        file.write_all_at(&[0], bytes.len() as u64).unwrap();
        assert!(decoded(&file, &blocks, plain.len(), 2).is_err());
    }
}
