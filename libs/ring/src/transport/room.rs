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

    /// Lets the content of a message in, but for the members that are returned: there is no room for them. `None`: nor is
    /// there for what it says.
    pub(super) fn admit(&self, content: Content) -> Option<HashSet<Box<[u8]>>> {
        let mut filled = self.0.lock();
        let Filled { counted, news_bytes, recent, before } = &mut *filled;
        let waiting = before.news_bytes + recent.news_bytes;
        if content.delta_bytes > 0 && *news_bytes + waiting + content.delta_bytes > MAX_NEWS_BYTES {
            return None;
        }
        recent.news_bytes += content.delta_bytes;
        let (before, recent) = (&before.members, &mut recent.members);
        let mut members = content.members;
        members.retain(|id| !counted.contains(id) && !before.contains(id) && !recent.contains(id));
        if members.is_empty() {
            return Some(HashSet::new());
        }
        let known = counted.iter().chain(before.difference(counted)).chain(&*recent);
        let mut digest_bytes: usize = known.map(|id| id.len() + NODE_DIGEST_BYTES).sum();
        members.retain(|id| {
            let bytes = id.len() + NODE_DIGEST_BYTES;
            let fits = digest_bytes + bytes <= MAX_DIGEST_BYTES;
            if fits && recent.insert(id.clone()) {
                digest_bytes += bytes;
            }
            !fits
        });
        Some(members.into_iter().collect())
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

    /// The members that are left out.
    fn left_out(room: &Room, numbers: std::ops::Range<u16>) -> HashSet<Box<[u8]>> {
        room.admit(content(numbers, 0)).unwrap()
    }

    fn set(numbers: std::ops::Range<u16>) -> HashSet<Box<[u8]>> {
        members(numbers).into_iter().collect()
    }

    #[test]
    fn members_are_let_in_until_a_message_could_not_name_them_all() {
        let most = (MAX_DIGEST_BYTES / (30 + NODE_DIGEST_BYTES)) as u16;
        let room = Room::default();
        assert!(left_out(&room, 0..600).is_empty());
        room.count(HashSet::new(), 0);
        assert!(left_out(&room, 300..1_000).is_empty(), "those that wait count once");
        assert_eq!(left_out(&room, 900..1_200), set(most..1_200));
        assert_eq!(left_out(&room, 0..1_200), set(most..1_200), "known ones go on");
        room.count(set(0..1_000), 0);
        room.count(set(0..1_000), 0);
        assert_eq!(left_out(&room, 1_100..1_300), set(1_100 + most - 1_000..1_300));
        assert_eq!(left_out(&room, 0..1_001), set(1_000..1_001), "known ones go on");
        room.count(set(0..500), 0);
        room.count(set(0..500), 0);
        assert!(left_out(&room, 900..1_200).is_empty(), "others are gone");
    }

    #[test]
    fn news_are_let_in_until_they_take_too_much_and_digests_are_still() {
        let room = Room::default();
        room.count(members(0..3).into_iter().collect(), MAX_NEWS_BYTES - 3_000_000);
        assert!(room.admit(content(0..3, 2_000_000)).is_some());
        room.count(members(0..3).into_iter().collect(), MAX_NEWS_BYTES - 3_000_000);
        let more = room.admit(content(0..3, 2_000_000));
        assert!(more.is_none(), "what was let in may not be counted yet");
        assert!(room.admit(content(0..3, 0)).is_some());
        room.count(members(0..3).into_iter().collect(), MAX_NEWS_BYTES - 3_000_000);
        assert!(room.admit(content(0..3, 2_000_000)).is_some());
    }
}
