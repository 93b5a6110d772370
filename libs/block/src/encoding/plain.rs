//! PLAIN.

/// Appends booleans (0 or 1), eight a byte.
pub(crate) fn put_booleans(out: &mut Vec<u8>, values: &[u8]) {
    out.extend(values.chunks(8).map(|eight| {
        eight.iter().enumerate().fold(0, |byte, (bit, &value)| byte | (value & 1) << bit)
    }));
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
