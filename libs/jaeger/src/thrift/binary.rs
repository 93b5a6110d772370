//! The binary form: widths are fixed, numbers big-endian.

use super::{Field, Kind, Reader, ThriftError};

impl Reader {
    pub(super) fn binary_field(&mut self) -> Result<Option<Field>, ThriftError> {
        let code = self.take_byte()?;
        if code == 0 {
            return Ok(None);
        }
        let kind = binary_kind(code)?;
        Ok(Some(Field { id: i16::from_be_bytes(self.take_array()?), kind }))
    }

    pub(super) fn binary_list_head(&mut self) -> Result<(Kind, usize), ThriftError> {
        let code = self.take_byte()?;
        let count = self.binary_length()?;
        if count == 0 {
            // Writers of empty lists may leave the type out.
            return Ok((binary_kind(code).unwrap_or(Kind::Byte), 0));
        }
        Ok((binary_kind(code)?, count))
    }

    pub(super) fn binary_map_head(&mut self) -> Result<(Kind, Kind, usize), ThriftError> {
        let [key, value] = self.take_array()?;
        let count = self.binary_length()?;
        if count == 0 {
            return Ok((Kind::Byte, Kind::Byte, 0));
        }
        Ok((binary_kind(key)?, binary_kind(value)?, count))
    }

    pub(super) fn binary_length(&mut self) -> Result<usize, ThriftError> {
        let length = i32::from_be_bytes(self.take_array()?);
        usize::try_from(length).map_err(|_| ThriftError::NegativeLength(length))
    }
}

fn binary_kind(code: u8) -> Result<Kind, ThriftError> {
    Ok(match code {
        2 => Kind::Bool,
        3 => Kind::Byte,
        4 => Kind::Double,
        6 => Kind::I16,
        8 => Kind::I32,
        10 => Kind::I64,
        11 => Kind::Binary,
        12 => Kind::Struct,
        13 => Kind::Map,
        14 => Kind::Set,
        15 => Kind::List,
        _ => return Err(ThriftError::UnknownType(code)),
    })
}
