//! What a name says: whether it is that of a session, of something runark left beside one, or of neither.

use regex::bytes::{Regex, RegexBuilder, RegexSet, RegexSetBuilder};

use crate::options::Format;

use super::{RowKind, ScanSpec, Status};

/// Never entered: reserve files and locks of a root.
pub(super) const OWN_DIRECTORY: &[u8] = b".runark";

/// The patterns; `.` is any byte. Each thread has its own clone: a shared one makes threads queue for its scratch memory.
#[derive(Clone)]
pub(super) struct Names {
    rules: Vec<RulePatterns>,
    include: Option<RegexSet>,
    exclude: Option<RegexSet>,
}

#[derive(Clone)]
struct RulePatterns {
    name: Regex,
    parent: Option<Regex>,
    marker: Option<Vec<u8>>,
}

impl Names {
    pub fn new(spec: &ScanSpec) -> Result<Self, String> {
        if spec.rules.len() > usize::from(u8::MAX) {
            return Err(format!("{} layouts; at most 255 can be told apart", spec.rules.len()));
        }
        let mut rules = Vec::with_capacity(spec.rules.len());
        for rule in &spec.rules {
            let whole = |pattern: &[u8], what| {
                let text = format!(r"\A(?:{})\z", ascii(pattern));
                let built = RegexBuilder::new(&text).unicode(false).dot_matches_new_line(true).build();
                built.map_err(|e| format!("layout {:?}: its {what} cannot be used: {e}", rule.name))
            };
            rules.push(RulePatterns {
                name: whole(&rule.pattern, "pattern")?,
                parent: rule.parent.as_deref().map(|p| whole(p, "parent pattern")).transpose()?,
                marker: rule.marker.clone(),
            });
        }
        Ok(Self { rules, include: set(&spec.include, "include")?, exclude: set(&spec.exclude, "exclude")? })
    }

    /// The rules whose parent pattern fits a directory of this name, in order.
    pub fn rules_below(&self, parent: &[u8]) -> Box<[u8]> {
        let fits = |rule: &RulePatterns| rule.parent.as_ref().is_none_or(|p| p.is_match(parent));
        (0u8..).zip(&self.rules).filter(|(_, rule)| fits(rule)).map(|(i, _)| i).collect()
    }

    pub fn fits(&self, rule: u8, name: &[u8]) -> bool {
        self.rules[usize::from(rule)].name.is_match(name)
    }

    pub fn marker(&self, rule: u8) -> Option<&[u8]> {
        self.rules[usize::from(rule)].marker.as_deref()
    }

    pub fn included(&self, name: &[u8]) -> bool {
        self.include.as_ref().is_none_or(|set| set.is_match(name))
    }

    pub fn excluded(&self, name: &[u8]) -> bool {
        self.exclude.as_ref().is_some_and(|set| set.is_match(name))
    }
}

fn set(patterns: &[Vec<u8>], what: &str) -> Result<Option<RegexSet>, String> {
    if patterns.is_empty() {
        return Ok(None);
    }
    let built =
        RegexSetBuilder::new(patterns.iter().map(|p| ascii(p))).unicode(false).dot_matches_new_line(true).build();
    built.map(Some).map_err(|e| format!("an {what} pattern cannot be used: {e}"))
}

/// The same pattern as text: a byte beyond ASCII stands for itself.
fn ascii(pattern: &[u8]) -> String {
    let mut text = String::with_capacity(pattern.len());
    for &byte in pattern {
        if byte.is_ascii() {
            text.push(char::from(byte));
        } else {
            text.push_str(&format!("\\x{byte:02x}"));
        }
    }
    text
}

/// The kind a directory's name may say, and the session it is of: `.S.removing-X`, `.S.restoring-X`, `.S.discarding-X`.
pub(crate) fn leftover_directory(name: &[u8]) -> Option<(RowKind, &[u8])> {
    let rest = strip_random(name.strip_prefix(b".")?)?;
    let (kind, stem) = if let Some(stem) = rest.strip_suffix(b".removing-") {
        (RowKind::Tombstone, stem)
    } else if let Some(stem) = rest.strip_suffix(b".restoring-") {
        (RowKind::Staging, stem)
    } else {
        (RowKind::Discard, rest.strip_suffix(b".discarding-")?)
    };
    (!stem.is_empty()).then_some((kind, stem))
}

/// The kind a file's name may say, and the session it is of: `S.<format>`, `.S.<format>.X.part`, `.S.<format>.damaged-X`,
/// `.S.<format>.superseded-X`.
pub(super) fn leftover_file(name: &[u8]) -> Option<(RowKind, &[u8])> {
    if let Some((_, stem)) = Format::of_name(name) {
        return Some((RowKind::Archive, stem));
    }
    let hidden = name.strip_prefix(b".")?;
    let (kind, archive) = if let Some(rest) = hidden.strip_suffix(b".part") {
        (RowKind::Part, strip_random(rest)?.strip_suffix(b".")?)
    } else {
        let rest = strip_random(hidden)?;
        let archive = rest.strip_suffix(b".damaged-").or_else(|| rest.strip_suffix(b".superseded-"))?;
        (RowKind::Aside, archive)
    };
    Format::of_name(archive).map(|(_, stem)| (kind, stem))
}

/// Without the 16 hexadecimal digits at its end.
fn strip_random(name: &[u8]) -> Option<&[u8]> {
    let (rest, random) = name.split_at_checked(name.len().checked_sub(16)?)?;
    random.iter().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')).then_some(rest)
}

impl Status {
    /// The status of what is in a directory of this name, when `above` is that of the directory itself.
    pub(super) fn below(above: Status, name: &[u8]) -> Status {
        match (above, name) {
            (Status::Running, _) | (_, b"RUNNING") => Status::Running,
            (_, b"FINISHED_SUCCESS") => Status::Success,
            (_, b"FINISHED_ERROR") => Status::Error,
            (_, b"FINISHED") => Status::Finished,
            _ => above,
        }
    }
}
