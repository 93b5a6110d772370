//! The compact form: integers are zigzag varints, field ids differences, bools part of the head.

use super::{Field, Kind, Reader, ThriftError};

/// The type of a list element or field that is true; as a field it is also the value.
const TRUE: u8 = 1;
/// The type of a field that is false.
const FALSE: u8 = 2;

impl Reader {
    pub(super) fn compact_field(&mut self) -> Result<Option<Field>, ThriftError> {
        let head = self.take_byte()?;
        let code = head & 0x0f;
        if code == 0 {
            return Ok(None);
        }
        let id = match head >> 4 {
            0 => self.compact_int()?,
            delta => self.last_id.wrapping_add(i16::from(delta)),
        };
        self.last_id = id;
        let kind = compact_kind(code)?;
        self.bool_in_head = (kind == Kind::Bool).then_some(code == TRUE);
        Ok(Some(Field { id, kind }))
    }

    pub(super) fn compact_list_head(&mut self) -> Result<(Kind, usize), ThriftError> {
        let head = self.take_byte()?;
        let count = match head >> 4 {
            15 => self.compact_length()?,
            count => usize::from(count),
        };
        if count == 0 {
            return Ok((compact_kind(head & 0x0f).unwrap_or(Kind::Byte), 0));
        }
        Ok((compact_kind(head & 0x0f)?, count))
    }

    pub(super) fn compact_map_head(&mut self) -> Result<(Kind, Kind, usize), ThriftError> {
        let count = self.compact_length()?;
        if count == 0 {
            return Ok((Kind::Byte, Kind::Byte, 0));
        }
        let kinds = self.take_byte()?;
        Ok((compact_kind(kinds >> 4)?, compact_kind(kinds & 0x0f)?, count))
    }

    pub(super) fn compact_bool(&mut self) -> Result<bool, ThriftError> {
        match self.bool_in_head.take() {
            Some(value) => Ok(value),
            None => Ok(self.take_byte()? == TRUE),
        }
    }

    pub(super) fn compact_length(&mut self) -> Result<usize, ThriftError> {
        let length = self.varint()?;
        u32::try_from(length).map(|length| length as usize).map_err(|_| ThriftError::Overflow)
    }

    pub(super) fn compact_int<T: TryFrom<i64>>(&mut self) -> Result<T, ThriftError> {
        let zigzag = self.varint()?;
        let value = (zigzag >> 1) as i64 ^ -((zigzag & 1) as i64);
        T::try_from(value).map_err(|_| ThriftError::Overflow)
    }

    fn varint(&mut self) -> Result<u64, ThriftError> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.take_byte()?;
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 {
                break;
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(ThriftError::Overflow)
    }
}

fn compact_kind(code: u8) -> Result<Kind, ThriftError> {
    Ok(match code {
        TRUE | FALSE => Kind::Bool,
        3 => Kind::Byte,
        4 => Kind::I16,
        5 => Kind::I32,
        6 => Kind::I64,
        7 => Kind::Double,
        8 => Kind::Binary,
        9 => Kind::List,
        10 => Kind::Set,
        11 => Kind::Map,
        12 => Kind::Struct,
        _ => return Err(ThriftError::UnknownType(code)),
    })
}
