//! The seal: what an archive says of itself, in a place that needs no decoding. A claim; always checked against the content.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use crate::options::Format;

pub const LENGTH: usize = 163;
const WORDS: [(&str, usize); 4] =
    [("runark.seal.1 sha256=", 64), (" stream=", 20), (" entries=", 12), (" content=", 20)];

/// gzip header with FCOMMENT set, no time, unknown system.
pub const GZIP_HEADER: [u8; 10] = [0x1f, 0x8b, 8, 0x10, 0, 0, 0, 0, 0, 255];
/// Header, seal and NUL.
pub const GZIP_PREFIX: usize = GZIP_HEADER.len() + LENGTH + 1;
/// Skippable frame: magic and length.
pub const ZSTD_HEADER: [u8; 8] = [0x5e, 0x2a, 0x4d, 0x18, LENGTH as u8, 0, 0, 0];
pub const ZSTD_SUFFIX: usize = ZSTD_HEADER.len() + LENGTH;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seal {
    pub sha256: [u8; 32],
    /// Length of the tar stream.
    pub stream: u64,
    pub entries: u64,
    pub content: u64,
}

impl Seal {
    pub fn text(&self) -> String {
        let text = format!(
            "{}{}{}{:020}{}{:012}{}{:020}",
            WORDS[0].0,
            hex(&self.sha256),
            WORDS[1].0,
            self.stream,
            WORDS[2].0,
            self.entries,
            WORDS[3].0,
            self.content
        );
        debug_assert_eq!(text.len(), LENGTH);
        text
    }

    pub fn parse(text: &[u8]) -> Option<Self> {
        if text.len() != LENGTH {
            return None;
        }
        let mut rest = text;
        let mut fields: [&[u8]; 4] = [b""; 4];
        for (field, (word, width)) in fields.iter_mut().zip(WORDS) {
            let tail = rest.strip_prefix(word.as_bytes())?;
            (*field, rest) = (tail.get(..width)?, tail.get(width..)?);
        }
        // Twenty digits may say more than 64 bits hold; such a claim is never true, but it is a claim.
        let number = |b: &[u8]| {
            let digits = b.iter().all(u8::is_ascii_digit);
            digits.then(|| b.iter().fold(0u64, |n, d| n.saturating_mul(10).saturating_add(u64::from(d - b'0'))))
        };
        Some(Self {
            sha256: unhex(fields[0])?,
            stream: number(fields[1])?,
            entries: number(fields[2])?,
            content: number(fields[3])?,
        })
    }

    /// The seal of an archive file, `None` if it has none.
    pub fn read(file: &File, format: Format) -> io::Result<Option<Self>> {
        match format {
            Format::TarGz => {
                let mut head = [0u8; GZIP_PREFIX];
                let found = read_at_full(file, &mut head, 0)? && head.starts_with(&GZIP_HEADER);
                Ok(found.then(|| Self::of_gzip(&head)).flatten())
            }
            Format::TarZst => {
                let size = file.metadata()?.len();
                let mut tail = [0u8; ZSTD_SUFFIX];
                let Some(at) = size.checked_sub(ZSTD_SUFFIX as u64) else {
                    return Ok(None);
                };
                let found = read_at_full(file, &mut tail, at)? && tail.starts_with(&ZSTD_HEADER);
                Ok(found.then(|| Self::parse(&tail[ZSTD_HEADER.len()..])).flatten())
            }
            Format::TarXz | Format::Tar => Ok(None),
        }
    }

    /// Whether there was a seal in its place that cannot be read any more (or one of a later version): two of its four words are
    /// enough to tell. Such an archive is not taken for somebody else's, which has none.
    pub fn is_broken(file: &File, format: Format) -> io::Result<bool> {
        let mut place = vec![0u8; GZIP_PREFIX.max(ZSTD_SUFFIX)];
        let size = file.metadata()?.len();
        let at = match format {
            Format::TarGz => 0,
            Format::TarZst => size.saturating_sub(ZSTD_SUFFIX as u64),
            Format::TarXz | Format::Tar => return Ok(false),
        };
        place.truncate(size.saturating_sub(at).min(place.len() as u64) as usize);
        let read = read_at_full(file, &mut place, at)?;
        let words = WORDS.iter().filter(|(word, _)| place.windows(word.len()).any(|part| part == word.as_bytes()));
        Ok(read && words.count() >= 2 && Self::read(file, format)?.is_none())
    }

    /// The seal in the first bytes of a gzip file.
    pub fn of_gzip(head: &[u8]) -> Option<Self> {
        let comment = head.get(GZIP_HEADER.len()..GZIP_PREFIX)?;
        (head.starts_with(&GZIP_HEADER) && comment[LENGTH] == 0).then(|| Self::parse(&comment[..LENGTH])).flatten()
    }
}

pub fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    bytes.iter().flat_map(|b| [DIGITS[usize::from(b >> 4)] as char, DIGITS[usize::from(b & 15)] as char]).collect()
}

fn unhex(text: &[u8]) -> Option<[u8; 32]> {
    let digit = |b: u8| match b {
        b'0'..=b'9' => Some(b - b'0'),
        b'a'..=b'f' => Some(b - b'a' + 10),
        _ => None,
    };
    let mut out = [0; 32];
    for (byte, pair) in out.iter_mut().zip(text.chunks_exact(2)) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(out)
}

fn read_at_full(file: &File, buf: &mut [u8], at: u64) -> io::Result<bool> {
    match file.read_exact_at(buf, at) {
        Ok(()) => Ok(true),
        Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(e) => Err(e),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_back() {
        let seal = Seal { sha256: [0xa5; 32], stream: 10_240, entries: 7, content: 123 };
        let text = seal.text();
        assert_eq!(text.len(), LENGTH);
        assert_eq!(Seal::parse(text.as_bytes()), Some(seal));
    }

    #[test]
    fn nothing_but_the_exact_form_is_a_seal() {
        let text = Seal { sha256: [1; 32], stream: 1, entries: 1, content: 0 }.text();
        for i in 0..LENGTH {
            let mut bad = text.clone().into_bytes();
            bad[i] = b'+';
            assert_eq!(Seal::parse(&bad), None, "byte {i}");
        }
        assert_eq!(Seal::parse(&text.as_bytes()[1..]), None);
    }
}
