//! Bracket expressions. RE2 knows neither nesting nor set operations inside them.

use super::{Result, literal_escape, perl_class, push_literal, unicode_class};

/// Translates the bracket expression at the start of `rest`. Returns its length.
pub(super) fn bracket(rest: &str, translated: &mut String) -> Result<usize> {
    const UNCLOSED: &str = "missing closing ]";
    translated.push('[');
    let mut index = 1;
    if rest[index..].starts_with('^') {
        translated.push('^');
        index += 1;
    }
    let mut first = true;
    loop {
        let text = &rest[index..];
        match text.chars().next().ok_or(UNCLOSED)? {
            ']' if !first => {
                translated.push(']');
                return Ok(index + 1);
            }
            '[' if text.starts_with("[:") && text.contains(":]") => {
                let length = text.find(":]").ok_or(UNCLOSED)? + 2;
                translated.push_str(&text[..length]);
                index += length;
            }
            '\\' if text[1..].starts_with(['d', 'D', 'w', 'W', 's', 'S']) => {
                translated.push_str(perl_class(text[1..].chars().next().ok_or(UNCLOSED)?));
                index += 2;
            }
            '\\' if text[1..].starts_with(['p', 'P']) => index += unicode_class(text, translated)?,
            _ => index += range(text, translated)?,
        }
        first = false;
    }
}

/// A character or `a-z`. Returns its length.
fn range(text: &str, translated: &mut String) -> Result<usize> {
    let (low, mut length) = character(text)?;
    push_literal(translated, low);
    if let Some(after) = text[length..].strip_prefix('-')
        && !after.starts_with(']')
        && !after.is_empty()
    {
        let (high, high_length) = character(after)?;
        if high < low {
            return Err("invalid character class range");
        }
        translated.push('-');
        push_literal(translated, high);
        length += 1 + high_length;
    }
    Ok(length)
}

fn character(text: &str) -> Result<(char, usize)> {
    match text.chars().next().ok_or("missing closing ]")? {
        '\\' => literal_escape(text),
        c => Ok((c, c.len_utf8())),
    }
}
