//! Limits how much of what others send a member stores.

use std::collections::HashSet;

use parking_lot::Mutex;

use super::message::{Content, NODE_DIGEST_BYTES};

/// Of the ids and versions of all members: a thousand with short names.
const MAX_DIGEST_BYTES: usize = 60_000;
/// Of all that they say.
const MAX_NEWS_BYTES: usize = 64 << 20;

/// What there is room for.
#[derive(Debug, Default)]
pub(crate) struct Room(Mutex<Filled>);

#[derive(Debug, Default)]
struct Filled {
    /// Ids of members when they were counted last.
    counted: HashSet<Box<[u8]>>,
    news_bytes: usize,
    recent: Recent,
    /// Before they were counted last: messages may wait.
    before: Recent,
}

/// What was let in since members were counted.
#[derive(Debug, Default)]
struct Recent {
    members: HashSet<Box<[u8]>>,
    news_bytes: usize,
}

impl Room {
    /// These members are there, by ids as they are written, and what they say has this many bytes.
    pub(crate) fn count(&self, members: HashSet<Box<[u8]>>, news_bytes: usize) {
        let mut filled = self.0.lock();
        filled.counted = members;
        filled.news_bytes = news_bytes;
        filled.before = std::mem::take(&mut filled.recent);
    }

    /// Lets the content of a message in. False: there is no room.
    pub(super) fn admits(&self, content: Content) -> bool {
        let mut filled = self.0.lock();
        let (counted, before) = (&filled.counted, &filled.before.members);
        let mut recent = filled.recent.members.clone();
        let members = content.members.into_iter();
        recent.extend(members.filter(|id| !counted.contains(id) && !before.contains(id)));
        if recent.len() > filled.recent.members.len() {
            let ids = counted.iter().chain(before.difference(counted)).chain(&recent);
            if ids.map(|id| id.len() + NODE_DIGEST_BYTES).sum::<usize>() > MAX_DIGEST_BYTES {
                return false;
            }
        }
        let waiting = filled.before.news_bytes + filled.recent.news_bytes;
        if content.delta_bytes > 0
            && filled.news_bytes + waiting + content.delta_bytes > MAX_NEWS_BYTES
        {
            return false;
        }
        filled.recent.members = recent;
        filled.recent.news_bytes += content.delta_bytes;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn members(numbers: std::ops::Range<u16>) -> Vec<Box<[u8]>> {
        numbers.map(|number| [&number.to_be_bytes()[..], &[7; 28]].concat().into()).collect()
    }

    fn content(numbers: std::ops::Range<u16>, delta_bytes: usize) -> Content {
        Content { members: members(numbers), delta_bytes }
    }

    #[test]
    fn members_are_let_in_until_a_message_could_not_name_them_all() {
        let room = Room::default();
        assert!(room.admits(content(0..600, 0)));
        room.count(HashSet::new(), 0);
        assert!(room.admits(content(300..1_000, 0)), "those that wait count once");
        assert!(!room.admits(content(900..1_200, 0)));
        room.count(members(0..1_000).into_iter().collect(), 0);
        assert!(!room.admits(content(900..1_200, 0)));
        assert!(room.admits(content(0..1_000, 0)), "known ones go on");
        room.count(members(0..500).into_iter().collect(), 0);
        room.count(members(0..500).into_iter().collect(), 0);
        assert!(room.admits(content(900..1_200, 0)), "others are gone");
    }

    #[test]
    fn news_are_let_in_until_they_take_too_much_and_digests_are_still() {
        let room = Room::default();
        room.count(members(0..3).into_iter().collect(), MAX_NEWS_BYTES - 3_000_000);
        assert!(room.admits(content(0..3, 2_000_000)));
        room.count(members(0..3).into_iter().collect(), MAX_NEWS_BYTES - 3_000_000);
        assert!(!room.admits(content(0..3, 2_000_000)), "what was let in may not be counted yet");
        assert!(room.admits(content(0..3, 0)));
        room.count(members(0..3).into_iter().collect(), MAX_NEWS_BYTES - 3_000_000);
        assert!(room.admits(content(0..3, 2_000_000)));
    }
}
