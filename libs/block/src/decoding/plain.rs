//! PLAIN values of fixed width.

use super::bits::{packed_bytes, unpack};
use super::{DecodeError, DecodeResult};

/// Appends `count` 8-byte values after skipping `skip`.
pub(crate) fn decode_words(
    body: &[u8],
    skip: usize,
    count: usize,
    out: &mut Vec<u64>,
) -> DecodeResult<()> {
    let values = body.as_chunks::<8>().0.get(skip..skip + count);
    let values = values.ok_or(DecodeError("8-byte values are cut off"))?;
    out.extend(values.iter().map(|bytes| u64::from_le_bytes(*bytes)));
    Ok(())
}

/// Appends `count` 4-byte integers after skipping `skip`.
pub(crate) fn decode_ints(
    body: &[u8],
    skip: usize,
    count: usize,
    out: &mut Vec<i32>,
) -> DecodeResult<()> {
    let values = body.as_chunks::<4>().0.get(skip..skip + count);
    let values = values.ok_or(DecodeError("4-byte values are cut off"))?;
    out.extend(values.iter().map(|bytes| i32::from_le_bytes(*bytes)));
    Ok(())
}

/// Appends `count` booleans (0 or 1), stored as bits, after skipping `skip`.
pub(crate) fn decode_booleans(
    body: &[u8],
    skip: usize,
    count: usize,
    out: &mut Vec<u8>,
) -> DecodeResult<()> {
    let (bytes, odd) = (skip / 8, skip % 8);
    let body = body.get(bytes..).filter(|rest| rest.len() >= packed_bytes(odd + count, 1));
    let body = body.ok_or(DecodeError("booleans are cut off"))?;
    let start = out.len();
    out.resize(start + odd + count, 0);
    unpack(body, 1, &mut out[start..])?;
    out.drain(start..start + odd);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_read_from_any_position() {
        let body: Vec<u8> = (0u8..24).collect();
        let mut words = Vec::new();
        decode_words(&body, 1, 2, &mut words).unwrap();
        assert_eq!(words, [0x0f0e_0d0c_0b0a_0908, 0x1716_1514_1312_1110]);
        assert!(decode_words(&body, 1, 3, &mut words).is_err());

        let mut ints = Vec::new();
        decode_ints(&body, 5, 1, &mut ints).unwrap();
        assert_eq!(ints, [0x1716_1514]);
        assert!(decode_ints(&body, 6, 1, &mut ints).is_err());

        let mut flags = Vec::new();
        decode_booleans(&[0b0000_0010, 0b0000_0101], 8, 3, &mut flags).unwrap();
        decode_booleans(&[0b0000_0010, 0b0000_0101], 1, 2, &mut flags).unwrap();
        assert_eq!(flags, [1, 0, 1, 1, 0]);
        assert!(decode_booleans(&[0], 4, 5, &mut flags).is_err());
    }
}
