//! The keys of values, and the frame around a stored value. A read returns exactly the value that was written under its
//! key, or nothing.

use std::fmt::{self, Write as _};

use bytes::Bytes;
use xxhash_rust::xxh64::xxh64;

const MAGIC: [u8; 4] = *b"TCV1";

const HEADER_BYTES: usize = 32;

/// The frame of a value.
pub(crate) fn wrap(key: &Key, value: &[u8]) -> Bytes {
    let (high, low) = key.hash();
    let mut frame = Vec::with_capacity(HEADER_BYTES + value.len());
    frame.extend_from_slice(&MAGIC);
    frame.extend_from_slice(&[0; 4]);
    frame.extend_from_slice(&high.to_le_bytes());
    frame.extend_from_slice(&low.to_le_bytes());
    frame.extend_from_slice(&(value.len() as u64).to_le_bytes());
    frame.extend_from_slice(value);
    let sum = crc32c::crc32c(&frame[8..]);
    frame[4..8].copy_from_slice(&sum.to_le_bytes());
    frame.into()
}

/// The value in a frame; `None` if the frame is incomplete or belongs to another key.
pub(crate) fn unwrap(key: &Key, frame: &Bytes) -> Option<Bytes> {
    let header: &[u8; HEADER_BYTES] = frame.first_chunk()?;
    let (high, low) = key.hash();
    let length = u64::from_le_bytes(*header[24..].first_chunk()?);
    let is_ours = header[..4] == MAGIC
        && header[8..16] == high.to_le_bytes()
        && header[16..24] == low.to_le_bytes()
        && length == (frame.len() - HEADER_BYTES) as u64
        && header[4..8] == crc32c::crc32c(&frame[8..]).to_le_bytes();
    is_ours.then(|| frame.slice(HEADER_BYTES..))
}

/// Bytes of the frame of a value.
pub(crate) fn framed_bytes(value: usize) -> usize {
    HEADER_BYTES + value
}

/// The prefix of every key, which a Tempo on the same servers never uses. The number is that of the format of values.
const PREFIX: &str = "tactus:1:";

/// Keys up to this length are sent as they are. Memcached takes 250 bytes.
const MAX_PLAIN_BYTES: usize = 200;

/// The name of a value: parts joined by colons.
///
/// The parts must contain everything that the value depends on. No part may be empty or contain a colon, except the
/// last one.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Key {
    full: String,
    sent: Option<String>,
}

impl Key {
    /// A key of these parts.
    pub fn new(parts: &[&dyn fmt::Display]) -> Self {
        let mut full = PREFIX.to_owned();
        for (number, part) in parts.iter().enumerate() {
            let colon = if number == 0 { "" } else { ":" };
            // Writing to a string does not fail.
            let _ = write!(full, "{colon}{part}");
        }
        let is_plain = full.len() <= MAX_PLAIN_BYTES && full.bytes().all(|b| b.is_ascii_graphic());
        let sent = (!is_plain).then(|| {
            let (high, low) = hash(full.as_bytes());
            format!("{PREFIX}#{high:016x}{low:016x}")
        });
        Self { full, sent }
    }

    /// The key as it is sent to servers: printable, without spaces, at most 200 bytes. Other keys are hashed; the full
    /// key in the frame shows whose value it is.
    pub fn sent(&self) -> &str {
        self.sent.as_deref().unwrap_or(&self.full)
    }

    /// Tells this key from others.
    pub(crate) fn hash(&self) -> (u64, u64) {
        hash(self.full.as_bytes())
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.full)
    }
}

/// Two independent hashes.
fn hash(bytes: &[u8]) -> (u64, u64) {
    (xxh64(bytes, 0), xxh64(bytes, 0x9e37_79b9_7f4a_7c15))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn key(text: &str) -> Key {
        Key::new(&[&text])
    }

    #[test]
    fn frame_of_another_key_is_none() {
        let frame = wrap(&key("a"), b"value");
        assert_eq!(unwrap(&key("a"), &frame).unwrap(), "value");
        assert_eq!(unwrap(&key("b"), &frame), None);
        assert_eq!(unwrap(&key("a"), &wrap(&key("a"), b"")).unwrap(), "");
        assert_eq!((frame.len(), unwrap(&key("a"), &Bytes::new())), (framed_bytes(5), None));
    }

    proptest! {
        #[test]
        fn damage_anywhere_is_none(
            value in prop::collection::vec(any::<u8>(), 0..200),
            place in any::<prop::sample::Index>(),
            bit in 0..8u32,
            more in prop::collection::vec(any::<u8>(), 0..4),
        ) {
            let (key, frame) = (key("k"), wrap(&key("k"), &value));
            prop_assert_eq!(unwrap(&key, &frame), Some(Bytes::from(value)));
            let at = place.index(frame.len());
            prop_assert_eq!(unwrap(&key, &frame.slice(..at)), None);
            let mut flipped = frame.to_vec();
            flipped[at] ^= 1 << bit;
            prop_assert_eq!(unwrap(&key, &flipped.into()), None);
            let mut longer = frame.to_vec();
            longer.extend_from_slice(&more);
            prop_assert_eq!(unwrap(&key, &longer.into()).is_some(), more.is_empty());
        }

        #[test]
        fn garbage_is_none(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
            prop_assert_eq!(unwrap(&key("k"), &bytes.into()), None);
        }
    }

    #[test]
    fn key_is_sent_as_it_is_unless_a_server_could_not_take_it() {
        let key = Key::new(&[&"bloom", &"tenant", &7]);
        assert_eq!((key.sent(), key.to_string().as_str()), ("tactus:1:bloom:tenant:7", key.sent()));
        let long = Key::new(&[&"bloom", &"t".repeat(200)]);
        assert_eq!(long.sent().len(), PREFIX.len() + 33);
        assert_ne!(long.sent(), Key::new(&[&"bloom", &"t".repeat(201)]).sent());
    }

    proptest! {
        #[test]
        fn sent_keys_are_what_servers_take(one in ".{0,300}", other in ".{0,300}") {
            let (key, second) = (Key::new(&[&one]), Key::new(&[&other]));
            prop_assert!(key.sent().starts_with("tactus:"));
            prop_assert!(key.sent().len() <= 250 && key.sent().bytes().all(|b| (33..127).contains(&b)));
            prop_assert_eq!(one == other, key.sent() == second.sent());
        }
    }
}
