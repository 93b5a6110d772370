//! The index as protobuf, field by field.

use std::io::{self, BufRead, Read};

use prost::Message;

use super::entries::{Bounded, Choose, Decoded, Entries};
use crate::error::Result;
use crate::meta::proto;

/// What stands before the blocks.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Head {
    #[prost(message, optional, tag = "1")]
    pub(super) created_at: Option<proto::Time>,
    #[prost(uint64, tag = "1000")]
    pub(super) left_out: u64,
    #[prost(uint64, tag = "1001")]
    pub(super) unread: u64,
    #[prost(uint64, tag = "1002")]
    pub(super) form: u64,
}

/// Fields of the index.
const CREATED_AT: u64 = 1;
const LIVE: u64 = 2;
const COMPACTED: u64 = 3;
const LEFT_OUT: u64 = 1000;
const UNREAD: u64 = 1001;
const FORM: u64 = 1002;

/// Forms of values.
const VARINT: u64 = 0;
const FIXED_64: u64 = 1;
const BYTES: u64 = 2;
const FIXED_32: u64 = 5;

/// Feeds `entries` with a decompressed index. `Error::Corrupt` with the byte behind the damage, about.
pub(super) fn decode<K: Choose>(reader: impl Read, entries: &mut Entries<K>) -> Result<()> {
    let decoded = Decoded::default();
    let reader = Bounded::buffered(reader, &decoded, entries.bounds);
    let unreadable = |_: io::Error| decoded.corrupt("zstd of tenant index");
    let malformed = || decoded.corrupt("protobuf of tenant index");
    let mut fields = Fields { reader, message: Vec::new() };
    while !fields.is_at_end().map_err(unreadable)? {
        decoded.next_entry();
        let key = fields.varint().map_err(unreadable)?.ok_or_else(malformed)?;
        match (key >> 3, key & 7) {
            (field @ CREATED_AT..=COMPACTED, BYTES) => {
                let length = fields.varint().map_err(unreadable)?.ok_or_else(malformed)?;
                if length > entries.bounds.entry_bytes {
                    return Err(malformed());
                }
                let message = fields.message(length).map_err(unreadable)?.ok_or_else(malformed)?;
                take(field, message, entries)?.ok_or_else(malformed)?;
            }
            (LEFT_OUT, VARINT) => {
                entries.left_out(fields.varint().map_err(unreadable)?.ok_or_else(malformed)?);
            }
            (UNREAD, VARINT) => {
                entries.unread(fields.varint().map_err(unreadable)?.ok_or_else(malformed)?);
            }
            (FORM, VARINT) => {
                entries.form(fields.varint().map_err(unreadable)?.ok_or_else(malformed)?);
            }
            (0 | CREATED_AT..=COMPACTED, _) => return Err(malformed()),
            (_, form) => {
                let is_skipped = fields.skip(form).map_err(unreadable)?;
                is_skipped.ok_or_else(malformed)?;
            }
        }
    }
    Ok(())
}

/// A field that is known; `None` if it is not what it should be.
fn take<K: Choose>(field: u64, message: &[u8], entries: &mut Entries<K>) -> Result<Option<()>> {
    match field {
        CREATED_AT => {
            let Ok(at) = proto::Time::decode(message) else { return Ok(None) };
            entries.created_at(at.try_into()?);
        }
        LIVE => {
            let Ok(meta) = proto::BlockMeta::decode(message) else { return Ok(None) };
            entries.live(meta.try_into()?)?;
        }
        _ => {
            let Ok(block) = proto::CompactedBlockMeta::decode(message) else { return Ok(None) };
            entries.compacted(block.try_into()?)?;
        }
    }
    Ok(Some(()))
}

/// The fields of a message, read one after the other. `None`: they are not what protobuf has.
struct Fields<R> {
    reader: R,
    message: Vec<u8>,
}

impl<R: BufRead> Fields<R> {
    fn is_at_end(&mut self) -> io::Result<bool> {
        Ok(self.reader.fill_buf()?.is_empty())
    }

    fn byte(&mut self) -> io::Result<Option<u8>> {
        let byte = self.reader.fill_buf()?.first().copied();
        if byte.is_some() {
            self.reader.consume(1);
        }
        Ok(byte)
    }

    fn varint(&mut self) -> io::Result<Option<u64>> {
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let Some(byte) = self.byte()? else { return Ok(None) };
            let bits = u64::from(byte & 0x7f);
            // The tenth byte has room for one bit.
            if shift == 63 && bits > 1 {
                return Ok(None);
            }
            value |= bits << shift;
            if byte < 0x80 {
                return Ok(Some(value));
            }
        }
        Ok(None)
    }

    /// So many bytes. Memory grows with those that come, not with those that are announced.
    fn message(&mut self, length: u64) -> io::Result<Option<&[u8]>> {
        self.message.clear();
        let count = (&mut self.reader).take(length).read_to_end(&mut self.message)?;
        Ok((count as u64 == length).then_some(self.message.as_slice()))
    }

    /// Reads over a value of this form.
    fn skip(&mut self, form: u64) -> io::Result<Option<()>> {
        let length = match form {
            VARINT => return Ok(self.varint()?.map(|_| ())),
            FIXED_64 => 8,
            FIXED_32 => 4,
            BYTES => match self.varint()? {
                Some(length) => length,
                None => return Ok(None),
            },
            _ => return Ok(None),
        };
        let count = io::copy(&mut (&mut self.reader).take(length), &mut io::sink())?;
        Ok((count == length).then_some(()))
    }
}
