//! The tar stream: headers, pax records, sparse maps, a writer that does not own the end of the archive, a strict reader.

pub mod acl;
pub mod check;
pub mod header;
pub mod pax;
pub mod reader;
pub mod sparse;

pub const BLOCK: usize = 512;

/// The two blocks after the last member.
pub const END: [u8; 2 * BLOCK] = [0; 2 * BLOCK];

/// Zero bytes that fill the last block of `len` bytes.
pub fn padding(len: u64) -> usize {
    (BLOCK - (len % BLOCK as u64) as usize) % BLOCK
}

pub fn pad(out: &mut Vec<u8>, len: u64) {
    out.resize(out.len() + padding(len), 0);
}
