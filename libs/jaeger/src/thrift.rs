//! Reads Thrift, binary and compact, from a complete slice of bytes.
//!
//! No claim of the bytes is trusted: lengths and counts are checked against the remaining bytes before anything is
//! allocated, and the nesting of structs is limited. Text and binary fields are slices of the input.

mod binary;
mod compact;
mod error;

use bytes::Bytes;

pub use error::ThriftError;

/// How deep structs and collections may nest.
const MAX_DEPTH: usize = 32;

/// Room made for the elements of a list before they are read; more is found by growing.
const MAX_TRUSTED_ELEMENTS: usize = 1 << 10;

/// Elements that may be in memory at a time: those of all lists of one span together. The smallest takes many times its
/// bytes.
const MAX_ELEMENTS: usize = 1 << 16;

/// A wire form of Thrift.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// Fixed widths, big-endian.
    Binary,
    /// Variable widths.
    Compact,
}

/// The type of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// True or false.
    Bool,
    /// One byte.
    Byte,
    /// 64-bit float.
    Double,
    /// 16-bit integer.
    I16,
    /// 32-bit integer; enums too.
    I32,
    /// 64-bit integer.
    I64,
    /// Text or bytes.
    Binary,
    /// Fields.
    Struct,
    /// Pairs.
    Map,
    /// Elements, each once.
    Set,
    /// Elements.
    List,
}

/// The head of a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Field {
    /// The number that the IDL gives it.
    pub id: i16,
    /// What comes next.
    pub kind: Kind,
}

/// Reads one message, struct or list. After an error there is nothing more to read.
#[derive(Debug, Clone)]
pub struct Reader {
    protocol: Protocol,
    rest: Bytes,
    depth: usize,
    /// Compact: field ids are told as differences from the one before.
    last_id: i16,
    /// Compact: a bool field has its value in its head.
    bool_in_head: Option<bool>,
    /// Elements that there may yet be in lists.
    room: usize,
}

impl Reader {
    /// A reader of bytes without a message around them.
    pub fn new(protocol: Protocol, input: Bytes) -> Self {
        let room = MAX_ELEMENTS;
        Self { protocol, rest: input, depth: 0, last_id: 0, bool_in_head: None, room }
    }

    /// Bytes that are not read yet.
    pub(crate) fn left(&self) -> usize {
        self.rest.len()
    }

    /// Reads the fields of a struct; `read` takes the value of each, or skips it.
    pub fn fields(
        &mut self,
        mut read: impl FnMut(&mut Self, Field) -> Result<(), ThriftError>,
    ) -> Result<(), ThriftError> {
        self.enter()?;
        let outer_id = std::mem::replace(&mut self.last_id, 0);
        while let Some(field) = self.field()? {
            read(self, field)?;
            self.bool_in_head = None;
        }
        self.last_id = outer_id;
        self.depth -= 1;
        Ok(())
    }

    /// Reads a list or set of `kind`; `read` takes one element. A list of another kind is an error
    /// unless it is empty.
    ///
    /// A struct without any field is refused here: it is no element of any list that we know, and
    /// would cost much more memory than the byte that it takes.
    pub fn list<T>(
        &mut self,
        kind: Kind,
        mut read: impl FnMut(&mut Self) -> Result<T, ThriftError>,
    ) -> Result<Vec<T>, ThriftError> {
        let mut elements = Vec::new();
        self.elements(kind, |reader, count| {
            reader.room = reader.room.checked_sub(1).ok_or(ThriftError::TooManyElements)?;
            if elements.is_empty() {
                elements.reserve(count.min(MAX_TRUSTED_ELEMENTS));
            }
            elements.push(read(reader)?);
            Ok::<_, ThriftError>(())
        })?;
        Ok(elements)
    }

    /// As [`Self::list`], of elements that nobody keeps: the lists of each are counted by themselves.
    pub fn each<E: From<ThriftError>>(
        &mut self,
        kind: Kind,
        mut take: impl FnMut(&mut Self) -> Result<(), E>,
    ) -> Result<(), E> {
        self.elements(kind, |reader, _| {
            reader.room = MAX_ELEMENTS;
            take(reader)
        })
    }

    /// Calls `read` for each element; it is told how many there are.
    fn elements<E: From<ThriftError>>(
        &mut self,
        kind: Kind,
        mut read: impl FnMut(&mut Self, usize) -> Result<(), E>,
    ) -> Result<(), E> {
        self.enter()?;
        let (found, count) = self.list_head()?;
        if count > 0 && found != kind {
            return Err(ThriftError::WrongElement { expected: kind, found }.into());
        }
        for _ in 0..count {
            let before = self.rest.len();
            read(self, count)?;
            if kind == Kind::Struct && before - self.rest.len() <= 1 {
                return Err(ThriftError::EmptyElement.into());
            }
        }
        self.depth -= 1;
        Ok(())
    }

    /// Reads a value and forgets it.
    pub fn skip(&mut self, kind: Kind) -> Result<(), ThriftError> {
        match kind {
            Kind::Bool => self.bool().map(drop),
            Kind::Byte => self.byte().map(drop),
            Kind::Double => self.double().map(drop),
            Kind::I16 => self.i16().map(drop),
            Kind::I32 => self.i32().map(drop),
            Kind::I64 => self.i64().map(drop),
            Kind::Binary => self.binary().map(drop),
            Kind::Struct => self.fields(|reader, field| reader.skip(field.kind)),
            Kind::Set | Kind::List => {
                self.enter()?;
                let (kind, count) = self.list_head()?;
                for _ in 0..count {
                    self.skip(kind)?;
                }
                self.depth -= 1;
                Ok(())
            }
            Kind::Map => {
                self.enter()?;
                let (key, value, count) = self.map_head()?;
                for _ in 0..count {
                    self.skip(key)?;
                    self.skip(value)?;
                }
                self.depth -= 1;
                Ok(())
            }
        }
    }

    /// Reads a bool.
    pub fn bool(&mut self) -> Result<bool, ThriftError> {
        match self.protocol {
            Protocol::Binary => Ok(self.take_byte()? != 0),
            Protocol::Compact => self.compact_bool(),
        }
    }

    /// Reads a byte.
    pub fn byte(&mut self) -> Result<u8, ThriftError> {
        self.take_byte()
    }

    /// Reads a 16-bit integer.
    pub fn i16(&mut self) -> Result<i16, ThriftError> {
        match self.protocol {
            Protocol::Binary => Ok(i16::from_be_bytes(self.take_array()?)),
            Protocol::Compact => self.compact_int(),
        }
    }

    /// Reads a 32-bit integer or an enum.
    pub fn i32(&mut self) -> Result<i32, ThriftError> {
        match self.protocol {
            Protocol::Binary => Ok(i32::from_be_bytes(self.take_array()?)),
            Protocol::Compact => self.compact_int(),
        }
    }

    /// Reads a 64-bit integer.
    pub fn i64(&mut self) -> Result<i64, ThriftError> {
        match self.protocol {
            Protocol::Binary => Ok(i64::from_be_bytes(self.take_array()?)),
            Protocol::Compact => self.compact_int(),
        }
    }

    /// Reads a float.
    pub fn double(&mut self) -> Result<f64, ThriftError> {
        let bytes = self.take_array()?;
        Ok(match self.protocol {
            Protocol::Binary => f64::from_be_bytes(bytes),
            Protocol::Compact => f64::from_le_bytes(bytes),
        })
    }

    /// Reads text or bytes: a slice of the input. Text may be invalid UTF-8.
    pub fn binary(&mut self) -> Result<Bytes, ThriftError> {
        let length = match self.protocol {
            Protocol::Binary => self.binary_length()?,
            Protocol::Compact => self.compact_length()?,
        };
        if length > self.rest.len() {
            return Err(ThriftError::Length { length, remaining: self.rest.len() });
        }
        Ok(self.rest.split_to(length))
    }

    /// The head of the next field; `None` at the end of the struct.
    fn field(&mut self) -> Result<Option<Field>, ThriftError> {
        match self.protocol {
            Protocol::Binary => self.binary_field(),
            Protocol::Compact => self.compact_field(),
        }
    }

    fn list_head(&mut self) -> Result<(Kind, usize), ThriftError> {
        let (kind, count) = match self.protocol {
            Protocol::Binary => self.binary_list_head()?,
            Protocol::Compact => self.compact_list_head()?,
        };
        self.check_count(count, self.least_bytes(kind))?;
        Ok((kind, count))
    }

    fn map_head(&mut self) -> Result<(Kind, Kind, usize), ThriftError> {
        let (key, value, count) = match self.protocol {
            Protocol::Binary => self.binary_map_head()?,
            Protocol::Compact => self.compact_map_head()?,
        };
        self.check_count(count, self.least_bytes(key) + self.least_bytes(value))?;
        Ok((key, value, count))
    }

    fn check_count(&self, count: usize, least_bytes: usize) -> Result<(), ThriftError> {
        if count > self.rest.len() / least_bytes {
            return Err(ThriftError::Count { count, remaining: self.rest.len() });
        }
        Ok(())
    }

    /// The fewest bytes that a value takes.
    fn least_bytes(&self, kind: Kind) -> usize {
        match (self.protocol, kind) {
            (_, Kind::Bool | Kind::Byte | Kind::Struct) => 1,
            (_, Kind::Double) => 8,
            (Protocol::Compact, _) => 1,
            (Protocol::Binary, Kind::I16) => 2,
            (Protocol::Binary, Kind::I32 | Kind::Binary) => 4,
            (Protocol::Binary, Kind::I64) => 8,
            (Protocol::Binary, Kind::Set | Kind::List) => 5,
            (Protocol::Binary, Kind::Map) => 6,
        }
    }

    fn enter(&mut self) -> Result<(), ThriftError> {
        if self.depth == MAX_DEPTH {
            return Err(ThriftError::TooDeep);
        }
        self.depth += 1;
        Ok(())
    }

    fn take_byte(&mut self) -> Result<u8, ThriftError> {
        let [byte] = self.take_array()?;
        Ok(byte)
    }

    fn take_array<const N: usize>(&mut self) -> Result<[u8; N], ThriftError> {
        let taken = *self.rest.first_chunk::<N>().ok_or(ThriftError::Truncated)?;
        bytes::Buf::advance(&mut self.rest, N);
        Ok(taken)
    }
}

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

#[cfg(test)]
mod tests;
