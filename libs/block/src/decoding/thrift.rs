//! The Thrift compact protocol, as far as page headers and the schema in a footer use it.

use super::{DecodeError, DecodeResult, split, varint, zigzag};

/// No Parquet header or footer has structs that are nested more deeply.
const MAX_DEPTH: u32 = 16;

const CUT_OFF: DecodeError = DecodeError("a header is cut off");

/// The value of a field.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Value<'a> {
    /// A boolean.
    Bool(bool),
    /// An integer of any width.
    Number(i64),
    /// The input from its first field on.
    Struct(&'a [u8]),
    /// A list or set: the input from its header on.
    List(&'a [u8]),
    /// Anything else.
    Other,
}

/// Calls `visit` for each field of the struct at the start of `input`, and returns the bytes after the struct.
///
/// For a nested struct or list, `visit` may return the bytes after the value, so that it is not skipped again.
pub(crate) fn read_struct<'a>(
    mut input: &'a [u8],
    depth: u32,
    mut visit: impl FnMut(i64, Value<'a>) -> DecodeResult<Option<&'a [u8]>>,
) -> DecodeResult<&'a [u8]> {
    if depth > MAX_DEPTH {
        return Err(DecodeError("a header is nested too deeply"));
    }
    let mut field = 0i64;
    loop {
        let (&byte, rest) = input.split_first().ok_or(CUT_OFF)?;
        if byte == 0 {
            return Ok(rest);
        }
        let (delta, kind) = (i64::from(byte >> 4), byte & 15);
        input = rest;
        if delta == 0 {
            let (number, rest) = zigzag(input)?;
            field = number;
            input = rest;
        } else {
            field = field.saturating_add(delta);
        }
        let (value, rest) = match kind {
            1 | 2 => (Value::Bool(kind == 1), Some(input)),
            4..=6 => {
                let (number, rest) = zigzag(input)?;
                (Value::Number(number), Some(rest))
            }
            9 | 10 => (Value::List(input), None),
            12 => (Value::Struct(input), None),
            _ => (Value::Other, None),
        };
        let after = visit(field, value)?;
        input = match rest.or(after) {
            Some(rest) => rest,
            None => skip_value(kind, input, depth)?,
        };
    }
}

/// The number of elements of a list of structs, and the bytes from the first element on.
pub(crate) fn struct_list(input: &[u8]) -> DecodeResult<(u64, &[u8])> {
    let (&byte, rest) = input.split_first().ok_or(CUT_OFF)?;
    let (length, rest) = match byte >> 4 {
        15 => varint(rest)?,
        length => (u64::from(length), rest),
    };
    if length > 0 && byte & 15 != 12 {
        return Err(DecodeError("a list holds no structs"));
    }
    Ok((length, rest))
}

/// Skips a value that is not a boolean field. Booleans in lists take a byte.
fn skip_value(kind: u8, input: &[u8], depth: u32) -> DecodeResult<&[u8]> {
    if depth > MAX_DEPTH {
        return Err(DecodeError("a header is nested too deeply"));
    }
    match kind {
        1..=3 => Ok(split(input, 1, CUT_OFF.0)?.1),
        4..=6 => Ok(zigzag(input)?.1),
        7 => Ok(split(input, 8, CUT_OFF.0)?.1),
        8 => {
            let (length, rest) = varint(input)?;
            Ok(split(rest, usize::try_from(length).map_err(|_| CUT_OFF)?, CUT_OFF.0)?.1)
        }
        9 | 10 => {
            let (&byte, mut rest) = input.split_first().ok_or(CUT_OFF)?;
            let mut length = u64::from(byte >> 4);
            if length == 15 {
                (length, rest) = varint(rest)?;
            }
            // Every element takes at least a byte, so this ends with the input.
            for _ in 0..length {
                rest = skip_value(byte & 15, rest, depth + 1)?;
            }
            Ok(rest)
        }
        12 => read_struct(input, depth + 1, |_, _| Ok(None)),
        _ => Err(DecodeError("a header holds an unknown type")),
    }
}
