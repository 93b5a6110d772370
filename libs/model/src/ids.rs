//! Trace and span identifiers.

use std::fmt;

use bytemuck::{Pod, Zeroable};

/// A 128-bit trace id, as the sixteen bytes of the wire. Orders bytewise, as blocks do.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Pod, Zeroable)]
#[repr(transparent)]
pub struct TraceId(pub [u8; 16]);

/// A 64-bit span id. All zero stands for "none" (a root's parent).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Pod, Zeroable)]
#[repr(transparent)]
pub struct SpanId(pub [u8; 8]);

impl TraceId {
    /// The id of up to 16 bytes, left-padded with zeros; a longer input keeps its last 16 bytes.
    pub fn from_slice(bytes: &[u8]) -> Self {
        Self(pad_left(bytes))
    }

    /// Parses 1 to 32 hexadecimal digits, left-padded with zeros. `None` for anything else.
    pub fn from_hex(text: &str) -> Option<Self> {
        hex_to_bytes(text).map(Self)
    }

    /// 32 lower-case hexadecimal digits.
    pub fn to_hex(self) -> String {
        bytes_to_hex(&self.0)
    }

    /// 16 lower-case hexadecimal digits if the high half is zero, else 32.
    pub fn to_hex_by_half(self) -> String {
        match self.0.split_first_chunk::<8>() {
            Some(([0, 0, 0, 0, 0, 0, 0, 0], low)) => bytes_to_hex(low),
            _ => self.to_hex(),
        }
    }

    /// Lower-case hexadecimal digits without leading zeros, as search answers show an id.
    pub fn to_hex_trimmed(self) -> String {
        let hex = self.to_hex();
        hex.trim_start_matches('0').to_owned()
    }

    /// True for the all-zero id, which no span may carry.
    pub fn is_zero(self) -> bool {
        self.0 == [0; 16]
    }
}

impl SpanId {
    /// The id of up to 8 bytes, left-padded with zeros; a longer input keeps its last 8 bytes.
    pub fn from_slice(bytes: &[u8]) -> Self {
        Self(pad_left(bytes))
    }

    /// Parses 1 to 16 hexadecimal digits, left-padded with zeros. `None` for anything else.
    pub fn from_hex(text: &str) -> Option<Self> {
        hex_to_bytes(text).map(Self)
    }

    /// 16 lower-case hexadecimal digits.
    pub fn to_hex(self) -> String {
        bytes_to_hex(&self.0)
    }

    /// True for the all-zero id.
    pub fn is_zero(self) -> bool {
        self.0 == [0; 8]
    }
}

impl fmt::Debug for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_hex())
    }
}

impl fmt::Debug for SpanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_hex())
    }
}

/// Lower-case hexadecimal digits of `bytes`.
pub fn bytes_to_hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        text.push(DIGITS[usize::from(byte >> 4)] as char);
        text.push(DIGITS[usize::from(byte & 15)] as char);
    }
    text
}

fn pad_left<const N: usize>(bytes: &[u8]) -> [u8; N] {
    let tail = &bytes[bytes.len().saturating_sub(N)..];
    let mut padded = [0; N];
    padded[N - tail.len()..].copy_from_slice(tail);
    padded
}

fn hex_to_bytes<const N: usize>(text: &str) -> Option<[u8; N]> {
    if text.is_empty() || text.len() > 2 * N {
        return None;
    }
    let mut out = [0; N];
    for (i, digit) in text.bytes().rev().enumerate() {
        let value = (digit as char).to_digit(16)? as u8;
        out[N - 1 - i / 2] |= value << (4 * (i % 2));
    }
    Some(out)
}

/// Why a span cannot be stored under its ids. `Display` gives the text for clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IdProblem {
    /// The trace id has this many bits. An all-zero id counts as 0 bits.
    TraceId(usize),
    /// The span id has this many bits. An all-zero id counts as 0 bits.
    SpanId(usize),
}

impl IdProblem {
    /// The problem with a span's ids, if there is one.
    pub fn of(trace_id: &[u8], span_id: &[u8]) -> Option<Self> {
        let bits = |id: &[u8]| if id.iter().all(|&byte| byte == 0) { 0 } else { 8 * id.len() };
        if bits(trace_id) != 128 {
            return Some(Self::TraceId(bits(trace_id)));
        }
        if bits(span_id) != 64 {
            return Some(Self::SpanId(bits(span_id)));
        }
        None
    }
}

impl fmt::Display for IdProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TraceId(bits) => write!(f, "trace ids must be 128 bit, received {bits} bits"),
            Self::SpanId(bits) => {
                write!(f, "span ids must be 64 bit and not all zero, received {bits} bits")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_ids_are_padded_on_the_left() {
        let id = TraceId::from_slice(&[0x46, 0x3a, 0xc3, 0x5c, 0x9f, 0x64, 0x13, 0xad]);
        assert_eq!(id.to_hex(), "0000000000000000463ac35c9f6413ad");
        assert_eq!(id.to_hex_trimmed(), "463ac35c9f6413ad");
        assert_eq!(TraceId::from_hex("463ac35c9f6413ad"), Some(id));
    }

    #[test]
    fn hex_refuses_what_is_no_id() {
        for text in ["", "xyz", "0123456789abcdef0123456789abcdef0"] {
            assert_eq!(TraceId::from_hex(text), None, "{text}");
        }
        assert_eq!(SpanId::from_hex("A2").map(SpanId::to_hex), Some("00000000000000a2".into()));
    }
}
