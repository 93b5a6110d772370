//! The protobuf wire format: a bounds-checked reader of one message, and functions to write.
//!
//! Source: the protobuf encoding guide. Reads never allocate, and never trust a declared length.

/// Why bytes are not a protobuf message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// The message ends inside a field.
    #[error("message is cut off")]
    Truncated,
    /// A varint of more than ten bytes.
    #[error("varint is too long")]
    Varint,
    /// The field number is zero, or the wire type does not exist or is the deprecated group.
    #[error("illegal field tag {0}")]
    Tag(u64),
    /// A known field has a wire type that is not its own.
    #[error("field {field} has wire type {wire_type}")]
    WireType {
        /// The field's number.
        field: u32,
        /// The wire type found.
        wire_type: u8,
    },
    /// Values nested deeper than [`MAX_DEPTH`].
    #[error("values are nested too deeply")]
    Depth,
    /// There are so many almost empty messages that they would take many times their bytes in memory.
    #[error("too many almost empty messages for the size of the request")]
    Hollow,
}

/// How many levels of arrays and key-value lists an attribute may have. Everybody must be able to read what is accepted
/// here, and protobuf decoders accept no more than 100 nested messages. A level of a list is three messages, and at
/// most ten more surround an attribute: that of an event in a trace in an answer.
pub const MAX_DEPTH: usize = 30;

/// One field's value.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum FieldValue<'a> {
    /// Wire type 0.
    Varint(u64),
    /// Wire type 1.
    Fixed64(u64),
    /// Wire type 2.
    Bytes(&'a [u8]),
    /// Wire type 5.
    Fixed32(u32),
}

/// A cursor over the fields of one message.
#[derive(Debug, Clone, Copy)]
pub struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// A cursor at the first field of `message`.
    pub fn new(message: &'a [u8]) -> Self {
        Self { rest: message }
    }

    /// Bytes of the message that were not read yet; the next field begins that far from the end.
    pub fn remaining(&self) -> usize {
        self.rest.len()
    }

    /// The next field's number and value; `None` at the end of the message.
    #[inline(always)]
    pub fn next_field(&mut self) -> Result<Option<(u32, FieldValue<'a>)>, WireError> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        let tag = self.varint()?;
        let field = (tag >> 3) as u32;
        if field == 0 || tag > u64::from(u32::MAX) {
            return Err(WireError::Tag(tag));
        }
        let value = match tag & 7 {
            0 => FieldValue::Varint(self.varint()?),
            1 => FieldValue::Fixed64(u64::from_le_bytes(self.array()?)),
            2 => {
                let length = self.varint()?;
                let length = usize::try_from(length).map_err(|_| WireError::Truncated)?;
                FieldValue::Bytes(self.take(length)?)
            }
            5 => FieldValue::Fixed32(u32::from_le_bytes(self.array()?)),
            _ => return Err(WireError::Tag(tag)),
        };
        Ok(Some((field, value)))
    }

    #[inline]
    fn varint(&mut self) -> Result<u64, WireError> {
        match self.rest.split_first() {
            Some((&byte, rest)) if byte < 0x80 => {
                self.rest = rest;
                Ok(u64::from(byte))
            }
            Some((&low, [high, rest @ ..])) if *high < 0x80 => {
                self.rest = rest;
                Ok(u64::from(low & 0x7f) | u64::from(*high) << 7)
            }
            _ => self.long_varint(),
        }
    }

    #[inline(never)]
    fn long_varint(&mut self) -> Result<u64, WireError> {
        let mut value = 0u64;
        for (i, &byte) in self.rest.iter().take(10).enumerate() {
            value |= u64::from(byte & 0x7f) << (7 * i);
            if byte < 0x80 {
                self.rest = &self.rest[i + 1..];
                return Ok(value);
            }
        }
        Err(if self.rest.len() < 10 { WireError::Truncated } else { WireError::Varint })
    }

    #[inline]
    fn take(&mut self, length: usize) -> Result<&'a [u8], WireError> {
        let (taken, rest) = self.rest.split_at_checked(length).ok_or(WireError::Truncated)?;
        self.rest = rest;
        Ok(taken)
    }

    #[inline]
    fn array<const N: usize>(&mut self) -> Result<[u8; N], WireError> {
        let (taken, rest) = self.rest.split_first_chunk().ok_or(WireError::Truncated)?;
        self.rest = rest;
        Ok(*taken)
    }
}

impl<'a> FieldValue<'a> {
    /// The bytes of a length-delimited field.
    #[inline]
    pub fn bytes(self, field: u32) -> Result<&'a [u8], WireError> {
        match self {
            Self::Bytes(bytes) => Ok(bytes),
            other => Err(other.mismatch(field)),
        }
    }

    /// The number of a varint field.
    #[inline]
    pub fn varint(self, field: u32) -> Result<u64, WireError> {
        match self {
            Self::Varint(number) => Ok(number),
            other => Err(other.mismatch(field)),
        }
    }

    /// The number of a fixed64 field.
    #[inline]
    pub fn fixed64(self, field: u32) -> Result<u64, WireError> {
        match self {
            Self::Fixed64(number) => Ok(number),
            other => Err(other.mismatch(field)),
        }
    }

    /// The number of a fixed32 field, if it is one.
    #[inline]
    pub fn fixed32_or_none(self) -> Option<u32> {
        match self {
            Self::Fixed32(number) => Some(number),
            _ => None,
        }
    }

    fn mismatch(self, field: u32) -> WireError {
        let wire_type = match self {
            Self::Varint(_) => 0,
            Self::Fixed64(_) => 1,
            Self::Bytes(_) => 2,
            Self::Fixed32(_) => 5,
        };
        WireError::WireType { field, wire_type }
    }
}

/// The messages of a repeated field, in order. Ends after an error.
pub fn messages(
    message: &[u8],
    number: u32,
) -> impl Iterator<Item = Result<&[u8], WireError>> + '_ {
    let mut reader = Reader::new(message);
    let mut failed = false;
    std::iter::from_fn(move || {
        while !failed {
            match reader.next_field() {
                Ok(Some((field, FieldValue::Bytes(bytes)))) if field == number => {
                    return Some(Ok(bytes));
                }
                Ok(Some(_)) => {}
                Ok(None) => return None,
                Err(error) => {
                    failed = true;
                    return Some(Err(error));
                }
            }
        }
        None
    })
}

/// Appends a varint.
#[inline]
pub fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Bytes that a varint takes.
#[inline]
pub fn varint_size(value: u64) -> usize {
    (70 - (value | 1).leading_zeros() as usize) / 7
}

/// Bytes that a length-delimited field with this many bytes takes, if its number is below 16.
#[inline]
pub fn field_size(bytes: usize) -> usize {
    1 + varint_size(bytes as u64) + bytes
}

/// Appends a varint field; zero is the default and is left out.
pub fn put_varint_field(out: &mut Vec<u8>, field: u32, value: u64) {
    if value != 0 {
        put_varint(out, u64::from(field) << 3);
        put_varint(out, value);
    }
}

/// Appends a fixed64 field; zero is the default and is left out.
pub fn put_fixed64_field(out: &mut Vec<u8>, field: u32, value: u64) {
    if value != 0 {
        put_varint(out, u64::from(field) << 3 | 1);
        out.extend_from_slice(&value.to_le_bytes());
    }
}

/// Appends a length-delimited field; empty is the default and is left out.
pub fn put_bytes_field(out: &mut Vec<u8>, field: u32, value: &[u8]) {
    if !value.is_empty() {
        put_message_field(out, field, value);
    }
}

/// Appends a length-delimited field even if it is empty, as a message that is present.
pub fn put_message_field(out: &mut Vec<u8>, field: u32, value: &[u8]) {
    put_message_frame(out, field, value.len());
    out.extend_from_slice(value);
}

/// Appends the tag and the length of a length-delimited field, but not its bytes.
pub fn put_message_frame(out: &mut Vec<u8>, field: u32, bytes: usize) {
    put_varint(out, u64::from(field) << 3 | 2);
    put_varint(out, bytes as u64);
}

/// The length of a message that is still being written takes always this many bytes, more than the shortest varint.
const OPEN_LENGTH_BYTES: usize = 5;

/// Begins a length-delimited field of unknown length. End it with [`end_message`], inner fields first.
pub(crate) fn begin_message(out: &mut Vec<u8>, field: u32) -> MessageStart {
    put_varint(out, u64::from(field) << 3 | 2);
    out.extend_from_slice(&[0; OPEN_LENGTH_BYTES]);
    MessageStart(out.len())
}

/// Ends a field: all bytes written since it began belong to it. Limit: 32 GiB.
pub(crate) fn end_message(out: &mut [u8], MessageStart(start): MessageStart) {
    let mut length = out.len() - start;
    let (last, others) = (start - 1, start - OPEN_LENGTH_BYTES..start - 1);
    for byte in &mut out[others] {
        *byte = length as u8 | 0x80;
        length >>= 7;
    }
    out[last] = length as u8;
}

/// Where the bytes of a field begin.
#[derive(Debug)]
#[must_use]
pub(crate) struct MessageStart(usize);

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn varints_take_seven_bits_a_byte() {
        for (number, size) in [(0, 1), (127, 1), (128, 2), (16_383, 2), (16_384, 3), (u64::MAX, 10)]
        {
            assert_eq!(varint_size(number), size, "{number}");
        }
    }

    #[test]
    fn reader_refuses_what_is_cut_off_or_too_long() {
        assert_eq!(Reader::new(&[0x0a, 5, 1]).next_field(), Err(WireError::Truncated));
        assert_eq!(Reader::new(&[0x08]).next_field(), Err(WireError::Truncated));
        assert_eq!(Reader::new(&[0xff; 11]).next_field(), Err(WireError::Varint));
        assert_eq!(Reader::new(&[0x0b]).next_field(), Err(WireError::Tag(11)));
        assert_eq!(Reader::new(&[0x02, 0]).next_field(), Err(WireError::Tag(2)));
    }

    #[test]
    fn fields_whose_length_is_known_last_read_back() {
        for bytes in [0, 1, 127, 128, 70_000, 3_000_000] {
            let mut out = Vec::new();
            let outer = begin_message(&mut out, 700);
            let inner = begin_message(&mut out, 2);
            out.resize(out.len() + bytes, 7);
            end_message(&mut out, inner);
            put_varint_field(&mut out, 3, 5);
            end_message(&mut out, outer);
            put_varint_field(&mut out, 4, 6);
            let mut reader = Reader::new(&out);
            let Some((700, FieldValue::Bytes(message))) = reader.next_field().unwrap() else {
                panic!("{bytes}")
            };
            assert_eq!(reader.next_field(), Ok(Some((4, FieldValue::Varint(6)))));
            let mut reader = Reader::new(message);
            assert_eq!(reader.next_field(), Ok(Some((2, FieldValue::Bytes(&vec![7; bytes])))));
            assert_eq!(reader.next_field(), Ok(Some((3, FieldValue::Varint(5)))));
            assert_eq!(reader.next_field(), Ok(None));
        }
    }

    proptest! {
        #[test]
        fn reader_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let mut reader = Reader::new(&bytes);
            while let Ok(Some(_)) = reader.next_field() {}
        }

        #[test]
        fn written_fields_read_back(number in any::<u64>(), text in proptest::collection::vec(any::<u8>(), 1..40)) {
            let mut out = Vec::new();
            put_varint_field(&mut out, 3, number);
            put_fixed64_field(&mut out, 4, number);
            put_bytes_field(&mut out, 700, &text);
            let mut reader = Reader::new(&out);
            let mut fields = Vec::new();
            while let Some(field) = reader.next_field().unwrap() {
                fields.push(field);
            }
            let mut expected = vec![(3, FieldValue::Varint(number)), (4, FieldValue::Fixed64(number))];
            expected.retain(|_| number != 0);
            expected.push((700, FieldValue::Bytes(&text)));
            prop_assert_eq!(fields, expected);
        }
    }
}
