//! The head of a message: how a call over UDP starts.

use bytes::Bytes;

use super::{Protocol, Reader, ThriftError};

/// First byte of a compact message.
const COMPACT: u8 = 0x82;
/// First byte of a strict binary message.
const STRICT: u8 = 0x80;
/// Version of the compact form, in the low bits of the second byte.
const COMPACT_VERSION: u8 = 1;
/// First half of the head of a strict binary message: the version.
const STRICT_VERSION: u32 = 0x8001;

/// The head of a call. Its type and number say nothing that matters here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// The method called.
    pub name: Bytes,
}

impl Message {
    /// Reads the head of a message of either protocol, told apart by the first byte. The reader is
    /// left at the struct of the arguments.
    pub fn read(input: Bytes) -> Result<(Self, Reader), ThriftError> {
        match input.first() {
            None => Err(ThriftError::Truncated),
            Some(&COMPACT) => Self::read_compact(Reader::new(Protocol::Compact, input)),
            Some(&STRICT) => Self::read_strict(Reader::new(Protocol::Binary, input)),
            // A length: names are shorter than 16 MiB.
            Some(0) => Self::read_old(Reader::new(Protocol::Binary, input)),
            Some(&other) => Err(ThriftError::NoMessage(other)),
        }
    }

    fn read_compact(mut reader: Reader) -> Result<(Self, Reader), ThriftError> {
        let [_, version_and_type] = reader.take_array()?;
        let version = version_and_type & 0x1f;
        if version != COMPACT_VERSION {
            return Err(ThriftError::Version(version.into()));
        }
        reader.compact_length()?;
        let name = reader.binary()?;
        Ok((Self { name }, reader))
    }

    fn read_strict(mut reader: Reader) -> Result<(Self, Reader), ThriftError> {
        let version = u32::from_be_bytes(reader.take_array()?) >> 16;
        if version != STRICT_VERSION {
            return Err(ThriftError::Version(version));
        }
        let name = reader.binary()?;
        reader.i32()?;
        Ok((Self { name }, reader))
    }

    fn read_old(mut reader: Reader) -> Result<(Self, Reader), ThriftError> {
        let name = reader.binary()?;
        reader.byte()?;
        reader.i32()?;
        Ok((Self { name }, reader))
    }
}
