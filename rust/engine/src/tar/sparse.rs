//! GNU sparse format 1.0: the map in front of the data.

use super::pad;

/// Regions a map may have. A file with more is stored whole.
pub const MAX_REGIONS: usize = 1_000_000;

/// The padded map for a file of `size` bytes with these data regions.
pub fn map(regions: &[(u64, u64)], size: u64) -> Vec<u8> {
    let ends_in_hole = regions.last().is_none_or(|&(at, len)| at + len < size);
    let mut out = format!("{}\n", regions.len() + usize::from(ends_in_hole)).into_bytes();
    let tail = ends_in_hole.then_some((size, 0));
    for (at, len) in regions.iter().copied().chain(tail) {
        out.extend_from_slice(format!("{at}\n{len}\n").as_bytes());
    }
    let len = out.len() as u64;
    pad(&mut out, len);
    out
}

/// Reads a map block by block.
#[derive(Default)]
pub struct MapParser {
    numbers: Vec<u64>,
    count: Option<u64>,
    pending: Vec<u8>,
}

impl MapParser {
    /// Take one block; true when the map is complete.
    pub fn block(&mut self, block: &[u8], size: u64) -> Result<bool, &'static str> {
        for (at, &b) in block.iter().enumerate() {
            match b {
                b'\n' => {
                    let text = std::str::from_utf8(&self.pending).map_err(|_| "bad sparse map")?;
                    let n = text.parse::<u64>().map_err(|_| "bad number in the sparse map")?;
                    self.pending.clear();
                    match self.count {
                        // The region that marks a hole at the end comes on top.
                        None if n > size.saturating_add(1) || n > MAX_REGIONS as u64 + 1 => {
                            return Err("a sparse map with too many regions");
                        }
                        None => self.count = Some(n),
                        Some(_) => self.numbers.push(n),
                    }
                    if self.done() {
                        let padded = block[at + 1..].iter().all(|&b| b == 0);
                        return if padded { Ok(true) } else { Err("a sparse map that is not padded with zeros") };
                    }
                }
                b'0'..=b'9' if self.pending.len() < 20 => self.pending.push(b),
                _ => return Err("bad sparse map"),
            }
        }
        Ok(false)
    }

    fn done(&self) -> bool {
        self.count.is_some_and(|n| self.numbers.len() as u64 == 2 * n)
    }

    /// The regions with data, in order, inside the file.
    pub fn regions(self, size: u64) -> Result<Vec<(u64, u64)>, &'static str> {
        let mut at = 0u64;
        let mut regions = Vec::with_capacity(self.numbers.len() / 2);
        for pair in self.numbers.chunks_exact(2) {
            let end = pair[0].checked_add(pair[1]).ok_or("sparse region over the end")?;
            if pair[0] < at || end > size {
                return Err("sparse regions overlap or lie outside the file");
            }
            at = end;
            if pair[1] > 0 {
                regions.push((pair[0], pair[1]));
            }
        }
        Ok(regions)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn map_and_back() {
        for (regions, size) in [(vec![], 100), (vec![(0, 10)], 100), (vec![(5, 5), (50, 50)], 100)] {
            let bytes = map(&regions, size);
            assert_eq!(bytes.len() % 512, 0);
            let mut parser = MapParser::default();
            assert_eq!(parser.block(&bytes[..512], size), Ok(true));
            assert_eq!(parser.regions(size), Ok(regions));
        }
    }
}
