//! What the members of one archive must be to each other: no name twice, nothing below anything but a directory, hard links
//! only to files that came before.

use std::collections::HashMap;

use super::reader::{Broken, Member, MemberKind};
use crate::error::show;

#[derive(Default)]
pub struct Seen {
    /// Kind, and whether the archive described it (a parent may be implied first and described later, once).
    kinds: HashMap<Vec<u8>, (MemberKind, bool)>,
}

impl Seen {
    /// Take the member in, or say why it cannot be.
    pub fn admit(&mut self, member: &Member) -> Result<(), Broken> {
        let bad = |what: String| Err(Broken::Bad(format!("member '{}': {what}", show(&member.path))));
        let mut at = 0;
        while let Some(slash) = member.path[at..].iter().position(|&b| b == b'/') {
            let above = &member.path[..at + slash];
            match self.kinds.get(above) {
                None => {
                    self.kinds.insert(above.to_vec(), (MemberKind::Dir, false));
                }
                Some((MemberKind::Dir, _)) => {}
                Some((kind, _)) => return bad(format!("it lies below '{}', a {}", show(above), kind.word())),
            }
            at += slash + 1;
        }
        if member.kind == MemberKind::Hardlink {
            match self.kinds.get(&member.link) {
                Some((MemberKind::File | MemberKind::Hardlink, _)) => {}
                Some((kind, _)) => return bad(format!("a hard link to '{}', a {}", show(&member.link), kind.word())),
                None => {
                    return bad(format!(
                        "a hard link to '{}', which is not in the archive before it",
                        show(&member.link)
                    ))
                }
            }
        }
        match self.kinds.insert(member.path.clone(), (member.kind, true)) {
            None => Ok(()),
            Some((MemberKind::Dir, false)) if member.kind == MemberKind::Dir => Ok(()),
            Some(_) => bad("it is in the archive twice".into()),
        }
    }

    /// The only name all members lie below, if there is one.
    pub fn single_top(&self) -> Option<&[u8]> {
        let mut tops = self.kinds.iter().filter(|(path, _)| !path.is_empty() && !path.contains(&b'/'));
        let (top, (kind, _)) = tops.next()?;
        (tops.next().is_none() && *kind == MemberKind::Dir).then_some(top)
    }
}
