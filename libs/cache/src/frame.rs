//! The form in which a value is stored, so that what is read is what was written under that key, or nothing.
//!
//! ```text
//! magic 4 | CRC32C of all that follows 4 | hash of the full key 16 | length of the value 8 | value
//! ```
//!
//! Numbers are little-endian.

use bytes::Bytes;

use crate::key::Key;

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

/// The value of a frame; `None` if it is not whole, or not that of the key.
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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

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
}
