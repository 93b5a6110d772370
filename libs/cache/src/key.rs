//! Names of values.

use std::fmt::{self, Write as _};

use xxhash_rust::xxh64::xxh64;

/// What every key starts with: a Tempo that shares the servers never meets ours. The number is that of the format of
/// values.
const PREFIX: &str = "tactus:1:";

/// Keys up to this length are sent as they are. Memcached takes 250 bytes.
const MAX_PLAIN_BYTES: usize = 200;

/// The name of a value: parts joined by colons.
///
/// The parts tell values apart: whatever a value depends on must be in one of them, and no part may be empty or hold a
/// colon unless it is the last.
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

    /// The key as servers know it: printable, without spaces, at most 200 bytes. Keys that are not so are hashed; the
    /// frame of a value tells by the full key whose it is.
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

/// Two hashes that have nothing to do with each other.
fn hash(bytes: &[u8]) -> (u64, u64) {
    (xxh64(bytes, 0), xxh64(bytes, 0x9e37_79b9_7f4a_7c15))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

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
