//! Attribute values that are replaced by their hashes: the same hash wherever that is done.

use std::borrow::Cow;

use ring::digest::{SHA256, digest};

use crate::any_value::AnyValueRef;
use crate::bytes_to_hex;

/// Tells a hash from what it is the hash of.
const HASH_PREFIX: &str = "sha256:";

/// What stands in place of a value with this text: `sha256:` and the SHA-256 of the text in hexadecimal, so that equal
/// values stay equal. `None` for a text of that form, so that doing it twice changes nothing.
pub fn hashed_text(text: &[u8]) -> Option<String> {
    let is_hash = text.strip_prefix(HASH_PREFIX.as_bytes()).is_some_and(|digits| {
        digits.len() == 64 && digits.iter().all(|digit| digit.is_ascii_hexdigit())
    });
    (!is_hash).then(|| format!("{HASH_PREFIX}{}", bytes_to_hex(digest(&SHA256, text).as_ref())))
}

/// What a value shows, or its encoding if it is none of the simple ones.
pub fn text_of_value(value: AnyValueRef<'_>) -> Cow<'_, [u8]> {
    match value {
        AnyValueRef::Unset => Cow::Borrowed(b""),
        AnyValueRef::Int(number) => number.to_string().into_bytes().into(),
        AnyValueRef::Double(number) => number.to_string().into_bytes().into(),
        AnyValueRef::Bool(flag) => flag.to_string().into_bytes().into(),
        AnyValueRef::String(text) | AnyValueRef::Encoded(text) => text.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hash_is_of_the_text_and_of_a_hash_there_is_none() {
        let hash = hashed_text(b"abc").unwrap();
        let expected = "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(hash, expected);
        assert_eq!(hashed_text(hash.as_bytes()), None);
        assert!(hashed_text(b"sha256:abc").is_some());
    }

    #[test]
    fn text_of_simple_values_is_what_they_show() {
        let text = |value| String::from_utf8(text_of_value(value).into_owned()).unwrap();
        assert_eq!(text(AnyValueRef::Int(-7)), "-7");
        assert_eq!(text(AnyValueRef::Double(1.5)), "1.5");
        assert_eq!(text(AnyValueRef::Bool(true)), "true");
        assert_eq!(text(AnyValueRef::String(b"x")), "x");
    }
}
