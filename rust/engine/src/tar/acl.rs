//! POSIX ACLs: the kernel's bytes and the short text form with numeric ids.

const VERSION: [u8; 4] = [2, 0, 0, 0];
const NO_ID: u32 = u32::MAX;
const TAGS: [(u16, &str); 6] = [(1, "user"), (2, "user"), (4, "group"), (8, "group"), (16, "mask"), (32, "other")];

/// Text of the attribute `system.posix_acl_access` or `..._default`; `None` if the bytes are none.
pub fn to_text(bytes: &[u8]) -> Option<String> {
    let entries = bytes.strip_prefix(&VERSION)?;
    if entries.len() % 8 != 0 {
        return None;
    }
    let mut parts = Vec::new();
    for e in entries.chunks_exact(8) {
        let tag = u16::from_le_bytes([e[0], e[1]]);
        let perm = u16::from_le_bytes([e[2], e[3]]);
        let id = u32::from_le_bytes([e[4], e[5], e[6], e[7]]);
        let word = TAGS.iter().find(|t| t.0 == tag)?.1;
        let who = if tag == 2 || tag == 8 { id.to_string() } else { String::new() };
        let bit = |mask, c| if perm & mask != 0 { c } else { '-' };
        parts.push(format!("{word}:{who}:{}{}{}", bit(4, 'r'), bit(2, 'w'), bit(1, 'x')));
    }
    Some(parts.join(","))
}

/// What the owning group may do (4 read, 2 write, 1 search), the mask applied.
pub fn group_bits(bytes: &[u8]) -> u16 {
    let entries = bytes.strip_prefix(&VERSION).unwrap_or_default().chunks_exact(8);
    let perm =
        |tag| entries.clone().find(|e| e[..2] == u16::to_le_bytes(tag)).map(|e| u16::from_le_bytes([e[2], e[3]]));
    perm(4).unwrap_or(0) & perm(16).unwrap_or(7)
}

/// The kernel's bytes for a text; entries apart by commas or newlines, names of users and groups are not looked up
/// (`user:alice:r--:1001`, as some archivers write, gives the id in its fourth field).
pub fn from_text(text: &[u8]) -> Option<Vec<u8>> {
    let mut entries: Vec<(u16, u16, u32)> = Vec::new();
    for part in std::str::from_utf8(text).ok()?.split([',', '\n']).map(str::trim).filter(|p| !p.is_empty()) {
        let fields: Vec<&str> = part.split(':').collect();
        let (&[word, who, perms] | &[word, who, perms, _]) = fields.as_slice() else { return None };
        let named = !who.is_empty();
        let tag: u16 = match (word, named) {
            ("user" | "u", false) => 1,
            ("user" | "u", true) => 2,
            ("group" | "g", false) => 4,
            ("group" | "g", true) => 8,
            ("mask" | "m", false) => 16,
            ("other" | "o", false) => 32,
            _ => return None,
        };
        let id = if named { who.parse().ok().or_else(|| fields.get(3)?.parse().ok())? } else { NO_ID };
        let mut perm = 0u16;
        for c in perms.chars() {
            perm |= match c {
                'r' => 4,
                'w' => 2,
                'x' => 1,
                '-' => 0,
                _ => return None,
            };
        }
        entries.push((tag, perm, id));
    }
    // What the kernel takes: each of the three base entries once, a mask where there are named ones, ordered by tag.
    let count = |tag| entries.iter().filter(|e| e.0 == tag).count();
    let named = count(2) + count(8) > 0;
    if [1, 4, 32].iter().any(|&tag| count(tag) != 1) || count(16) > 1 || (named && count(16) == 0) {
        return None;
    }
    entries.sort_by_key(|e| e.0);
    let mut out = VERSION.to_vec();
    for (tag, perm, id) in entries {
        out.extend_from_slice(&tag.to_le_bytes());
        out.extend_from_slice(&perm.to_le_bytes());
        out.extend_from_slice(&id.to_le_bytes());
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_and_back() {
        let text = "user::rwx,user:1001:r-x,group::r-x,group:7:---,mask::r-x,other::---";
        let bytes = from_text(text.as_bytes()).unwrap();
        assert_eq!(to_text(&bytes).as_deref(), Some(text));
        assert_eq!(from_text(b"user:bob:r--"), None);
        assert!(from_text(b"user::rw-,user:bob:r--:12,group::r--,mask::r--,other::---").is_some());
        assert_eq!(from_text(b"user::rw-,user:12:r--,group::r--,other::---"), None);
    }
}
