//! Passwords that were right before. Who shows one again need not wait behind those who guess.

use std::collections::HashMap;
use std::fmt;

use parking_lot::Mutex;
use ring::hmac;

use super::secret;

/// Names remembered; the rest waits with everybody.
const MAX_NAMES: usize = 10_000;

/// The last right password of each name, until it is wrong. A name has one, so that a caller who writes a right password
/// in many ways takes no place from others.
pub(super) struct Known {
    key: hmac::Key,
    /// By keyed hash: a dump of memory shows no passwords.
    passwords: Mutex<HashMap<String, [u8; 32]>>,
}

impl fmt::Debug for Known {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Known({} names)", self.passwords.lock().len())
    }
}

impl Known {
    /// Nobody yet. Errors: the system gives no randomness.
    pub(super) fn new() -> std::io::Result<Self> {
        let key = hmac::Key::new(hmac::HMAC_SHA256, &secret::random_key()?);
        Ok(Self { key, passwords: Mutex::default() })
    }

    /// Whether this was the name's right password when it was checked last. It may be wrong now.
    pub(super) fn was_right(&self, name: &str, password: &str) -> bool {
        self.passwords.lock().get(name) == Some(&self.keyed(password))
    }

    /// Notes the result of a check.
    pub(super) fn note(&self, name: &str, password: &str, is_right: bool) {
        let keyed = self.keyed(password);
        let mut passwords = self.passwords.lock();
        if !is_right {
            if passwords.get(name) == Some(&keyed) {
                passwords.remove(name);
            }
        } else if let Some(known) = passwords.get_mut(name) {
            *known = keyed;
        } else if passwords.len() < MAX_NAMES {
            passwords.insert(name.to_owned(), keyed);
        }
    }

    fn keyed(&self, password: &str) -> [u8; 32] {
        let mut out = [0; 32];
        out.copy_from_slice(hmac::sign(&self.key, password.as_bytes()).as_ref());
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn password_is_known_from_when_it_was_right_until_it_is_wrong() {
        let known = Known::new().unwrap();
        known.note("a", "guess", false);
        known.note("a", "right", true);
        assert!(known.was_right("a", "right"));
        assert!(!known.was_right("a", "guess") && !known.was_right("b", "right"));
        known.note("a", "guess", false);
        assert!(known.was_right("a", "right"), "others guess");
        known.note("a", "right", false);
        assert!(!known.was_right("a", "right"), "it was changed");
        known.note("a", "new", true);
        known.note("a", "newer", true);
        assert!(known.was_right("a", "newer") && !known.was_right("a", "new"));
    }

    #[test]
    fn names_are_bounded() {
        let known = Known::new().unwrap();
        for name in 0..=MAX_NAMES {
            known.note(&name.to_string(), "right", true);
        }
        assert_eq!(known.passwords.lock().len(), MAX_NAMES);
        known.note("0", "right", false);
        known.note("new", "right", true);
        assert!(known.was_right("new", "right"));
    }
}
