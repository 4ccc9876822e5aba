//! Joining deflate streams into one. libdeflate makes whole streams only; [`reopen`] takes the end of one back, so that another
//! stream may follow it.
//!
//! For that the last block of the stream has to be found: the lengths of its codes are read, not what they stand for.

use std::io;

/// Bits that the symbols 257 to 285 (match lengths) and the distance symbols have behind them.
const LENGTH_EXTRA: [u8; 29] = [0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3, 4, 4, 4, 4, 5, 5, 5, 5, 0];
const DISTANCE_EXTRA: [u8; 30] =
    [0, 0, 0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7, 8, 8, 9, 9, 10, 10, 11, 11, 12, 12, 13, 13];
/// The order in which the lengths of the precode are stored.
const PRECODE_ORDER: [usize; 19] = [16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15];

const END_OF_BLOCK: usize = 256;

/// What a table says of the bits at hand: how many a symbol and its extra bits take, and what comes next.
const TAKES: u8 = 0x1f;
const DISTANCE_FOLLOWS: u8 = 0x40;
const BLOCK_ENDS: u8 = 0x80;

/// The bits that a code and its extra bits may take: 15 + 5 and 15 + 13.
const PAIR: usize = 48;

/// Turn the whole deflate stream in `out[start..]` into one without an end: no block of it is the last, and it ends with a
/// byte. `out[start..]` is exactly one deflate stream whose last byte is filled up with zeros; otherwise there is an error, or
/// what comes out is no better than what went in.
pub fn reopen(out: &mut Vec<u8>, start: usize) -> io::Result<()> {
    let (head, end) =
        last_block(&out[start..]).ok_or_else(|| io::Error::other("a deflate stream has no proper end"))?;
    out[start + head / 8] &= !(1 << (head % 8));
    // An empty stored block: three zero bits, zeros up to the next byte, its length and the length's complement.
    match (out.len() - start) * 8 - end {
        0 => {}
        1 | 2 => out.extend_from_slice(&[0, 0, 0, 0xff, 0xff]),
        _ => out.extend_from_slice(&[0, 0, 0xff, 0xff]),
    }
    Ok(())
}

/// Where the last block of a stream begins, and where it ends, in bits.
fn last_block(stream: &[u8]) -> Option<(usize, usize)> {
    let mut bits = Bits { bytes: stream, at: 0 };
    loop {
        let head = bits.at;
        let last = bits.take(1) == 1;
        match bits.take(2) {
            0 => {
                bits.at = bits.at.next_multiple_of(8);
                let length = bits.take(16);
                if bits.take(16) != length ^ 0xffff {
                    return None;
                }
                bits.at += length * 8;
            }
            kind => {
                let (symbols, distances) = match kind {
                    1 => fixed_lengths(),
                    2 => bits.dynamic_lengths()?,
                    _ => return None,
                };
                match last.then(|| end_by_padding(&symbols, stream)).flatten() {
                    Some(end) => bits.at = end,
                    None => bits.pass_symbols(&symbols, &distances)?,
                }
            }
        }
        if bits.at > stream.len() * 8 {
            return None;
        }
        if last {
            return (bits.at.div_ceil(8) == stream.len()).then_some((head, bits.at));
        }
    }
}

/// The end of the last block without passing all of it: its last bits are the code for the end of the block, what follows in
/// the last byte are zeros. `None` if that code has no one in it.
fn end_by_padding(symbols: &[u8], stream: &[u8]) -> Option<usize> {
    let (code, _) = codes(symbols)?.into_iter().find(|&(_, symbol)| symbol == END_OF_BLOCK)?;
    let last = stream.last().filter(|&&byte| byte != 0)?;
    (code != 0).then(|| stream.len() * 8 - last.leading_zeros() as usize + code.trailing_zeros() as usize)
}

struct Bits<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Bits<'_> {
    /// The next bits, 57 of them at least; zeros behind the end.
    fn peek(&self) -> u64 {
        let rest = self.bytes.get(self.at / 8..).unwrap_or_default();
        let word = rest.first_chunk().copied().unwrap_or_else(|| {
            let mut padded = [0; 8];
            padded[..rest.len()].copy_from_slice(rest);
            padded
        });
        u64::from_le_bytes(word) >> (self.at % 8)
    }

    fn take(&mut self, count: usize) -> usize {
        let value = self.peek() & ((1 << count) - 1);
        self.at += count;
        value as usize
    }

    /// The lengths of the codes of symbols and distances, from the head of a block that brings its own.
    fn dynamic_lengths(&mut self) -> Option<(Vec<u8>, Vec<u8>)> {
        let symbols = self.take(5) + 257;
        let distances = self.take(5) + 1;
        let mut precode = [0; 19];
        let stored = self.take(4) + 4;
        for &i in &PRECODE_ORDER[..stored] {
            precode[i] = self.take(3) as u8;
        }
        let table = table(&precode, |symbol, length| (symbol as u8) << 3 | length)?;
        let mut lengths = Vec::with_capacity(symbols + distances);
        while lengths.len() < symbols + distances {
            let entry = table[self.peek() as usize & (table.len() - 1)];
            if entry == 0 {
                return None;
            }
            self.at += usize::from(entry & 7);
            let (length, times) = match entry >> 3 {
                16 => (*lengths.last()?, 3 + self.take(2)),
                17 => (0, 3 + self.take(3)),
                18 => (0, 11 + self.take(7)),
                length => (length, 1),
            };
            lengths.resize(lengths.len() + times, length);
        }
        if lengths.len() > symbols + distances {
            return None;
        }
        let distances = lengths.split_off(symbols);
        Some((lengths, distances))
    }

    /// Go on behind the end of the block.
    fn pass_symbols(&mut self, symbols: &[u8], distances: &[u8]) -> Option<()> {
        let symbols = table(symbols, |symbol, length| match symbol {
            0..END_OF_BLOCK => length,
            END_OF_BLOCK => length | BLOCK_ENDS,
            _ => LENGTH_EXTRA.get(symbol - 257).map_or(0, |extra| (length + extra) | DISTANCE_FOLLOWS),
        })?;
        let distances =
            table(distances, |symbol, length| DISTANCE_EXTRA.get(symbol).map_or(0, |extra| length + extra))?;
        while self.at <= self.bytes.len() * 8 {
            let mut word = self.peek();
            let begin = self.at;
            while self.at - begin + PAIR <= 57 {
                let entry = symbols[word as usize & (symbols.len() - 1)];
                let mut takes = entry & TAKES;
                word >>= takes;
                if entry & DISTANCE_FOLLOWS != 0 {
                    let distance = distances[word as usize & (distances.len() - 1)];
                    if distance == 0 {
                        return None;
                    }
                    word >>= distance;
                    takes += distance;
                }
                if takes == 0 {
                    return None;
                }
                self.at += usize::from(takes);
                if entry & BLOCK_ENDS != 0 {
                    return Some(());
                }
            }
        }
        None
    }
}

fn fixed_lengths() -> (Vec<u8>, Vec<u8>) {
    let symbols = [vec![8; 144], vec![9; 112], vec![7; 24], vec![8; 8]].concat();
    (symbols, vec![5; 32])
}

/// The codes that belong to code lengths (RFC 1951, 3.2.2), with their symbols. `None` if there is no room for so many.
fn codes(lengths: &[u8]) -> Option<Vec<(u16, usize)>> {
    let mut next = [0u32; 16];
    let mut code = 0;
    for (length, first) in (1..).zip(&mut next[1..]) {
        *first = code;
        code += lengths.iter().filter(|&&l| l == length).count() as u32;
        if code > 1 << length {
            return None;
        }
        code <<= 1;
    }
    let used = lengths.iter().enumerate().filter(|(_, &length)| length > 0);
    Some(
        used.map(|(symbol, &length)| {
            let code = next[usize::from(length)];
            next[usize::from(length)] += 1;
            (code as u16, symbol)
        })
        .collect(),
    )
}

/// For every value of the next bits what `entry` says of the symbol and the code length they begin with; 0 if with none.
fn table(lengths: &[u8], entry: impl Fn(usize, u8) -> u8) -> Option<Vec<u8>> {
    let most = lengths.iter().copied().max().unwrap_or(0);
    let mut table = vec![0; 1 << most];
    for (code, symbol) in codes(lengths)? {
        let length = lengths[symbol];
        // Codes lie in the stream with their highest bit first.
        let first = usize::from(code.reverse_bits() >> (16 - length));
        for place in table[first..].iter_mut().step_by(1 << length) {
            *place = entry(symbol, length);
        }
    }
    Some(table)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use libdeflater::{CompressionLvl, Compressor, Decompressor};

    use super::*;

    /// Bytes by chance, the same each time.
    struct Chance(u64);

    impl Chance {
        fn next(&mut self, below: usize) -> usize {
            self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (self.0 >> 33) as usize % below
        }

        /// Runs, text, repetitions, noise; each piece of its own kind and length.
        fn mixture(&mut self, length: usize) -> Vec<u8> {
            let mut out: Vec<u8> = Vec::new();
            while out.len() < length {
                let most = 1 << self.next(17);
                let n = 1 + self.next(most);
                match self.next(5) {
                    0 => out.resize(out.len() + n, self.next(256) as u8),
                    1 => out.extend((0..n).map(|_| self.next(256) as u8)),
                    2 => out.extend((0..n).map(|_| b"the loss of a step is 0123456789\n"[self.next(33)])),
                    3 => {
                        let few = 2 + self.next(14);
                        out.extend((0..n).map(|_| self.next(few) as u8));
                    }
                    _ => {
                        let back = 1 + self.next(out.len().clamp(1, 32768));
                        for _ in 0..n {
                            out.push(out.len().checked_sub(back).map_or(b' ', |at| out[at]));
                        }
                    }
                }
            }
            out.truncate(length);
            out
        }
    }

    fn inputs() -> Vec<Vec<u8>> {
        let mut chance = Chance(1);
        let mut all = vec![vec![], vec![0; 1_500_000], vec![b'a'; 300], b"ab".repeat(70_000)];
        all.extend((1..300).map(|n| chance.mixture(n)));
        all.extend((1..300).map(|n| vec![n as u8; n]));
        all.extend((1..15).map(|n| vec![n as u8; n * 4999]));
        for edge in [5_000, 1 << 16, 65_535 + 5_000, 305_000] {
            all.extend([edge - 1, edge, edge + 1].map(|n| chance.mixture(n)));
            all.extend([edge - 1, edge, edge + 1].map(|n| (0..n).map(|_| chance.next(256) as u8).collect()));
            all.extend([edge - 1, edge, edge + 1].map(|n| vec![0; n]));
        }
        all.extend((0..40).map(|_| {
            let length = 1 + chance.next(1 << 17);
            chance.mixture(length)
        }));
        all
    }

    fn deflated(level: i32, plain: &[u8]) -> Vec<u8> {
        let mut deflate = Compressor::new(CompressionLvl::new(level).unwrap());
        let mut out = vec![0; deflate.deflate_compress_bound(plain.len())];
        let n = deflate.deflate_compress(plain, &mut out).unwrap();
        out.truncate(n);
        out
    }

    /// Whole stream, read by zlib's rules: all of it, and nothing behind it.
    fn zlib_reads(stream: &[u8], plain: &[u8]) {
        let mut out = Vec::with_capacity(plain.len() + 1);
        let mut inflate = flate2::Decompress::new(false);
        let status = inflate.decompress_vec(stream, &mut out, flate2::FlushDecompress::Finish).unwrap();
        assert_eq!((status, inflate.total_in()), (flate2::Status::StreamEnd, stream.len() as u64));
        assert!(out == plain);
    }

    /// Every kind of end occurs: the kind of the last block, whether others are before it, the bits left in its last byte, and
    /// whether its end is found without passing it.
    #[test]
    fn reopened_streams_join() {
        let mut ends = BTreeSet::new();
        let inputs = inputs();
        for level in 1..=9 {
            let (mut all, mut joined) = (Vec::new(), Vec::new());
            for plain in &inputs {
                let stream = deflated(level, plain);
                let (head, end) = last_block(&stream).unwrap();
                let mut bits = Bits { bytes: &stream, at: head };
                assert_eq!(bits.take(1), 1);
                let kind = bits.take(2);
                let mut quick = false;
                if kind > 0 {
                    let (symbols, distances) =
                        if kind == 1 { fixed_lengths() } else { bits.dynamic_lengths().unwrap() };
                    quick = end_by_padding(&symbols, &stream).is_some();
                    bits.pass_symbols(&symbols, &distances).unwrap();
                    assert_eq!(bits.at, end);
                }
                ends.insert((kind, head > 0, stream.len() * 8 - end, quick));

                let start = joined.len();
                joined.extend_from_slice(&stream);
                reopen(&mut joined, start).unwrap();
                let mut alone = joined[start..].to_vec();
                assert!(last_block(&alone).is_none());
                alone.extend_from_slice(&[1, 0, 0, 0xff, 0xff]);
                zlib_reads(&alone, plain);
                all.extend_from_slice(plain);
            }
            joined.extend_from_slice(&deflated(level, b"the end"));
            all.extend_from_slice(b"the end");
            zlib_reads(&joined, &all);
            let mut out = vec![0; all.len()];
            assert_eq!(Decompressor::new().deflate_decompress(&joined, &mut out), Ok(all.len()));
            assert!(out == all);
        }
        for padding in 0..8 {
            assert!(ends.contains(&(1, false, padding, false)), "fixed codes, {padding}");
            for first in [false, true] {
                assert!(ends.contains(&(2, first, padding, true)), "own codes, {first}, {padding}");
            }
        }
        for first in [false, true] {
            assert!(ends.contains(&(0, first, 0, false)), "stored, {first}");
            assert!((0..8).any(|padding| ends.contains(&(2, first, padding, false))), "no quick way, {first}");
        }
    }

    #[test]
    fn what_is_no_whole_stream_is_refused() {
        let mut chance = Chance(2);
        let whole = deflated(1, &chance.mixture(200_000));
        let (head, _) = last_block(&whole).unwrap();
        for length in (0..500).chain((0..head / 8).step_by(97)).chain(head / 8 - 9..=head / 8) {
            assert_eq!(last_block(&whole[..length]), None, "{length}");
        }
        let mut longer = whole.clone();
        longer.push(0);
        assert!(reopen(&mut longer, 0).is_err());
        for _ in 0..20_000 {
            // Whatever the bytes are, it ends, and within them.
            let mut noise: Vec<u8> = (0..chance.next(400)).map(|_| chance.next(256) as u8).collect();
            if let Some(first) = noise.first_mut() {
                *first = *first & !7 | [0b101, 0b100, 0b011][chance.next(3)];
            }
            if let Some((head, end)) = last_block(&noise) {
                assert!(head < end && end <= noise.len() * 8);
            }
        }
        for _ in 0..500 {
            let mut flipped = whole.clone();
            flipped[chance.next(whole.len())] ^= 1 << chance.next(8);
            if let Some((head, end)) = last_block(&flipped) {
                assert!(head < end && end <= flipped.len() * 8);
            }
        }
    }
}
