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
/// byte. Errors: `out[start..]` is not exactly one deflate stream whose last byte is filled up with zeros.
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
                match end_by_padding(&symbols, stream).filter(|_| last) {
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
    for length in 1..16 {
        next[length] = code;
        code += lengths.iter().filter(|&&l| usize::from(l) == length).count() as u32;
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
