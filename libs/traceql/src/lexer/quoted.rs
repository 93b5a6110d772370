//! String constants.

use super::{NUL, Token};

const NOT_TERMINATED: &str = "literal not terminated";
const INVALID_ESCAPE: &str = "invalid char escape";

/// `"…"` with escapes, on one line.
pub(super) fn interpreted_string(rest: &str) -> Result<(Token, usize), String> {
    let mut value = Vec::new();
    let mut index = 1;
    while let Some(c) = rest[index..].chars().next() {
        index += c.len_utf8();
        match c {
            '"' => return Ok((Token::String(value.into()), index)),
            '\n' => break,
            '\0' => return Err(NUL.to_owned()),
            '\\' => index += escape(&rest[index..], &mut value)?,
            c => value.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
    Err(NOT_TERMINATED.to_owned())
}

/// Appends the character that is escaped by `text` (what follows the backslash). Returns the length of the escape.
fn escape(text: &str, value: &mut Vec<u8>) -> Result<usize, String> {
    let invalid = || INVALID_ESCAPE.to_owned();
    let number = |range: std::ops::Range<usize>, radix| {
        let digits =
            text.get(range).filter(|digits| !digits.starts_with('+')).ok_or_else(invalid)?;
        u32::from_str_radix(digits, radix).map_err(|_| invalid())
    };
    let byte = |range, radix| u8::try_from(number(range, radix)?).map_err(|_| invalid());
    let simple = match text.as_bytes().first().ok_or(NOT_TERMINATED)? {
        b'a' => 0x07,
        b'b' => 0x08,
        b'f' => 0x0c,
        b'n' => b'\n',
        b'r' => b'\r',
        b't' => b'\t',
        b'v' => 0x0b,
        b'\\' => b'\\',
        b'"' => b'"',
        b'0'..=b'7' => {
            value.push(byte(0..3, 8)?);
            return Ok(3);
        }
        b'x' => {
            value.push(byte(1..3, 16)?);
            return Ok(3);
        }
        kind @ (b'u' | b'U') => {
            let end = if *kind == b'u' { 5 } else { 9 };
            let c = char::from_u32(number(1..end, 16)?).ok_or_else(invalid)?;
            value.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
            return Ok(end);
        }
        _ => return Err(invalid()),
    };
    value.push(simple);
    Ok(1)
}

/// `` `…` `` as it stands, without CR characters.
pub(super) fn raw_string(rest: &str) -> Result<(Token, usize), String> {
    let length = rest[1..].find('`').ok_or(NOT_TERMINATED)?;
    let text = &rest[1..=length];
    if text.contains('\0') {
        return Err(NUL.to_owned());
    }
    let value = text.bytes().filter(|byte| *byte != b'\r').collect::<Vec<u8>>();
    Ok((Token::String(value.into()), length + 2))
}

/// `'a'` is not a string. It becomes an identifier that no rule accepts.
pub(super) fn character(rest: &str) -> Result<(Token, usize), String> {
    let mut count = 0;
    let mut index = 1;
    while let Some(c) = rest[index..].chars().next() {
        index += c.len_utf8();
        match c {
            '\'' if count == 1 => return Ok((Token::Identifier(rest[..index].into()), index)),
            '\'' => return Err("invalid char literal".to_owned()),
            '\n' => break,
            '\0' => return Err(NUL.to_owned()),
            '\\' if rest[index..].starts_with('\'') => index += 1,
            '\\' => index += escape(&rest[index..], &mut Vec::new())?,
            _ => {}
        }
        count += 1;
    }
    Err(NOT_TERMINATED.to_owned())
}
