//! Canonical text of strings and attribute names.

use std::fmt::{Formatter, Result, Write as _};

use crate::lexer::ends_attribute_name;

/// In backticks, or in double quotes if backticks cannot hold it.
pub(super) fn string(f: &mut Formatter<'_>, value: &[u8]) -> Result {
    match std::str::from_utf8(value) {
        Ok(text) if !text.contains(['`', '\r', '\0']) => write!(f, "`{text}`"),
        _ => quoted(f, value),
    }
}

/// In double quotes with escapes.
pub(super) fn quoted(f: &mut Formatter<'_>, value: &[u8]) -> Result {
    f.write_char('"')?;
    for chunk in value.utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                '"' | '\\' => write!(f, "\\{c}")?,
                '\n' => f.write_str("\\n")?,
                '\r' => f.write_str("\\r")?,
                '\t' => f.write_str("\\t")?,
                c if c.is_ascii_control() => write!(f, "\\x{:02x}", u32::from(c))?,
                c => f.write_char(c)?,
            }
        }
        for byte in chunk.invalid() {
            write!(f, "\\x{byte:02x}")?;
        }
    }
    f.write_char('"')
}

/// Bare if that reads back as the same name and not `must_quote`, else quoted as a whole.
pub(super) fn attribute_name(f: &mut Formatter<'_>, name: &str, must_quote: bool) -> Result {
    let needs_quotes = must_quote
        || name.is_empty()
        || name.contains(|c: char| c == '"' || ends_attribute_name(c));
    if !needs_quotes {
        return f.write_str(name);
    }
    f.write_char('"')?;
    for c in name.chars() {
        if c == '"' || c == '\\' {
            f.write_char('\\')?;
        }
        f.write_char(c)?;
    }
    f.write_char('"')
}
