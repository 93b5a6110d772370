//! Hashes that are the same in every process and version: those that replace attribute values, and FNV.

use std::borrow::Cow;

use ring::digest::{SHA256, digest};

use crate::any_value::AnyValueRef;
use crate::bytes_to_hex;

/// Marks a text as a hash.
const HASH_PREFIX: &str = "sha256:";

/// What replaces a value with this text: `sha256:` and the SHA-256 of the text in hexadecimal, so that equal values
/// stay equal. `None` if the text already has that form, so that hashing twice changes nothing.
pub fn hashed_text(text: &[u8]) -> Option<String> {
    let is_hash = text.strip_prefix(HASH_PREFIX.as_bytes()).is_some_and(|digits| {
        digits.len() == 64 && digits.iter().all(|digit| digit.is_ascii_hexdigit())
    });
    (!is_hash).then(|| format!("{HASH_PREFIX}{}", bytes_to_hex(digest(&SHA256, text).as_ref())))
}

/// The text of a simple value; for other types, its encoding.
pub fn text_of_value(value: AnyValueRef<'_>) -> Cow<'_, [u8]> {
    match value {
        AnyValueRef::Unset => Cow::Borrowed(b""),
        AnyValueRef::Int(number) => number.to_string().into_bytes().into(),
        AnyValueRef::Double(number) => number.to_string().into_bytes().into(),
        AnyValueRef::Bool(flag) => flag.to_string().into_bytes().into(),
        AnyValueRef::String(text) | AnyValueRef::Encoded(text) => text.into(),
    }
}

/// The initial value of 32-bit FNV.
pub const FNV_32_BASIS: u32 = 0x811c_9dc5;

const FNV_32_PRIME: u32 = 0x0100_0193;

/// FNV-1 of 32 bits (multiply, then xor), continued from `hash`.
#[inline]
pub fn fnv1_32(hash: u32, bytes: &[u8]) -> u32 {
    bytes.iter().fold(hash, |hash, byte| hash.wrapping_mul(FNV_32_PRIME) ^ u32::from(*byte))
}

/// FNV-1a of 32 bits (xor, then multiply).
pub fn fnv1a_32(bytes: &[u8]) -> u32 {
    let add = |hash: u32, byte: &u8| (hash ^ u32::from(*byte)).wrapping_mul(FNV_32_PRIME);
    bytes.iter().fold(FNV_32_BASIS, add)
}

/// FNV-1a of 64 bits.
pub fn fnv1a_64<'a>(bytes: impl IntoIterator<Item = &'a u8>) -> u64 {
    let add = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    bytes.into_iter().fold(0xcbf2_9ce4_8422_2325, add)
}

/// The last step of SplitMix64: a bijection in which every output bit depends on all input bits.
#[inline]
pub fn mix_64(mut number: u64) -> u64 {
    number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fnv_of_a_known_text_matches() {
        assert_eq!(fnv1_32(FNV_32_BASIS, b"foobar"), 0x31f0_b262);
        assert_eq!(fnv1_32(fnv1_32(FNV_32_BASIS, b"foo"), b"bar"), 0x31f0_b262);
        assert_eq!(fnv1a_32(b"foobar"), 0xbf9c_f968);
        assert_eq!(fnv1a_64(b"foobar"), 0x8594_4171_f739_67e8);
    }

    #[test]
    fn fnv1a_of_ownership_strings_matches() {
        assert_eq!(fnv1a_32(b"build-tenant-index-0-single-tenant"), 111_332_952);
        assert_eq!(fnv1a_32(b"build-tenant-index-1-single-tenant"), 3_922_298_327);
        assert_eq!(fnv1a_32(b"single-tenant-472222-0"), 3_025_465_099);
    }

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
