//! PLAIN.

/// Appends booleans (0 or 1), eight a byte.
pub(crate) fn put_booleans(out: &mut Vec<u8>, values: &[u8]) {
    let (eights, rest) = values.as_chunks::<8>();
    // The product collects bit 0 of byte i in bit 56 + i. No two terms add to the same bit.
    let packed = |eight: &[u8; 8]| {
        (u64::from_le_bytes(*eight).wrapping_mul(0x0102_0408_1020_4080) >> 56) as u8
    };
    out.extend(eights.iter().map(packed));
    if !rest.is_empty() {
        let mut last = [0; 8];
        last[..rest.len()].copy_from_slice(rest);
        out.push(packed(&last));
    }
}

/// Appends `count` booleans that are all false.
pub(crate) fn put_all_false(out: &mut Vec<u8>, count: usize) {
    out.resize(out.len() + count.div_ceil(8), 0);
}

/// Appends 64-bit values.
pub(crate) fn put_u64s(out: &mut Vec<u8>, values: impl Iterator<Item = u64>) {
    for value in values {
        out.extend_from_slice(&value.to_le_bytes());
    }
}

/// Appends 32-bit values.
pub(crate) fn put_u32s(out: &mut Vec<u8>, values: impl Iterator<Item = u32>) {
    for value in values {
        out.extend_from_slice(&value.to_le_bytes());
    }
}

/// Appends a byte array: its length in four bytes, then the bytes.
pub(crate) fn put_byte_array(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend_from_slice(&(bytes.len() as u32).to_le_bytes());
    out.extend_from_slice(bytes);
}
