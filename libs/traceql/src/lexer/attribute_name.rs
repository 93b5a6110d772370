//! Attribute names: almost any text up to an end character, with quoted parts.

use super::{NUL, Token};
use crate::ast::{Attribute, AttributeScope};

const OPENERS: [&str; 6] = ["span.", "resource.", "parent.", "event.", "link.", "instrumentation."];

/// The token for `text` (a word and a dot), if it begins an attribute name.
pub(super) fn opener(text: &str) -> Option<&'static str> {
    OPENERS.into_iter().find(|opener| *opener == text)
}

/// Whether `c` ends an unquoted part of a name.
pub(crate) fn ends_attribute_name(c: char) -> bool {
    c.is_whitespace()
        || matches!(
            c,
            '{' | '}' | '(' | ')' | '=' | '~' | '!' | '<' | '>' | '&' | '|' | '^' | ',' | '\0'
        )
}

/// The attribute at the start of `rest`, which begins with `opener`.
pub(super) fn attribute(rest: &str, opener: &'static str) -> Result<(Token, usize), String> {
    let mut name_start = opener.len();
    let scope = match opener {
        "span." => AttributeScope::Span,
        "resource." => AttributeScope::Resource,
        "event." => AttributeScope::Event,
        "link." => AttributeScope::Link,
        "instrumentation." => AttributeScope::Instrumentation,
        "parent." => match &rest[name_start..] {
            inner if inner.starts_with("span.") => {
                name_start += "span.".len();
                AttributeScope::Span
            }
            inner if inner.starts_with("resource.") => {
                name_start += "resource.".len();
                AttributeScope::Resource
            }
            _ => AttributeScope::Unscoped,
        },
        _ => AttributeScope::Unscoped,
    };
    let (name, length) = name(&rest[name_start..])?;
    if rest.as_bytes().get(name_start + length) == Some(&b'\0') {
        return Err(NUL.to_owned());
    }
    let attribute =
        Attribute::Named { scope, parent: opener == "parent.", name: name.into_boxed_str() };
    Ok((Token::Attribute { opener, attribute }, name_start + length))
}

fn name(text: &str) -> Result<(String, usize), String> {
    let mut name = String::new();
    let mut characters = text.char_indices();
    let mut length = text.len();
    while let Some((index, c)) = characters.next() {
        if c == '"' {
            quoted_part(&mut characters, &mut name)?;
        } else if ends_attribute_name(c) {
            length = index;
            break;
        } else {
            name.push(c);
        }
    }
    if length == 0 {
        return Err("syntax error: unexpected END_ATTRIBUTE, expecting IDENTIFIER".to_owned());
    }
    Ok((name, length))
}

fn quoted_part(
    characters: &mut std::str::CharIndices<'_>,
    name: &mut String,
) -> Result<(), String> {
    while let Some((_, c)) = characters.next() {
        match c {
            '"' => return Ok(()),
            '\\' => match characters.next() {
                Some((_, escaped @ ('"' | '\\'))) => name.push(escaped),
                Some(_) => return Err("invalid escape sequence".to_owned()),
                None => break,
            },
            '\0' => return Err(NUL.to_owned()),
            c => name.push(c),
        }
    }
    Err("unexpected EOF, expecting \"".to_owned())
}
