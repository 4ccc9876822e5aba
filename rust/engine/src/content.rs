//! What is read of a file, and its sum.
//!
//! In memory (tmpfs, ramfs) a store through a mapping changes no time, so that no record tells of one that came and went. There
//! what was read is summed up (CRC-32), and summed up again before it is removed.

use std::os::fd::AsFd;

use libdeflater::Crc;
use rustix::io::Result;

use crate::sys::{self, Meta};
use crate::tar::sparse;

const STEP: usize = 256 * 1024;

/// The parts of the file that are read, `(offset, length)`: where it has data; all of it if it has no hole or too many.
pub fn regions(fd: impl AsFd, meta: &Meta) -> Result<Vec<(u64, u64)>> {
    let whole = vec![(0, meta.size)];
    if meta.allocated >= meta.size {
        return Ok(whole);
    }
    let data = sys::data_regions(fd, meta.size)?;
    let is_sparse = data.len() <= sparse::MAX_REGIONS && data.iter().map(|r| r.1).sum::<u64>() < meta.size;
    Ok(if is_sparse { data } else { whole })
}

/// The sum of these parts, one after the other; `pay` is told of what is about to be read.
pub fn sum(fd: impl AsFd, meta: &Meta, pay: impl Fn(u64)) -> Result<u32> {
    let mut sum = Crc::new();
    let mut buffer = vec![0u8; STEP.min(meta.size as usize)];
    for (at, length) in regions(&fd, meta)? {
        sys::seek_to(&fd, at)?;
        let mut left = length;
        while left > 0 {
            let step = left.min(STEP as u64) as usize;
            pay(step as u64);
            let got = sys::read_full(&fd, &mut buffer[..step])?;
            sum.update(&buffer[..got]);
            if got < step {
                break; // it shrank: another sum
            }
            left -= got as u64;
        }
    }
    Ok(sum.sum())
}
