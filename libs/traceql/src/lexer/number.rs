//! Numbers and durations.
//!
//! Numbers are scanned as Go scans them, then converted as decimals. So Go's other integer notations are reported as
//! errors, instead of being read as a number followed by a word.

mod duration;

use super::Token;

/// The number or duration at the start of `rest`, which begins with a digit or `.digit`.
pub(super) fn number(rest: &str) -> Result<(Token, usize), String> {
    let scanned = scan(rest)?;
    let is_duration_part = |c: char| c.is_numeric() || ".nsumhµdwy".contains(c);
    let length = rest[scanned.length..]
        .find(|c| !is_duration_part(c))
        .map_or(rest.len(), |run| scanned.length + run);
    if length > scanned.length
        && let Some(nanoseconds) = duration::parse(&rest[..length])
    {
        return Ok((Token::Duration(nanoseconds), length));
    }
    let text = &rest[..scanned.length];
    let token = if scanned.is_float { Token::Float(float(text)?) } else { Token::Int(int(text)?) };
    Ok((token, scanned.length))
}

fn int(text: &str) -> Result<i64, String> {
    use std::num::IntErrorKind::{NegOverflow, PosOverflow};
    text.parse().map_err(|error: std::num::ParseIntError| {
        let reason = match error.kind() {
            PosOverflow | NegOverflow => "value out of range",
            _ => "invalid syntax",
        };
        format!("strconv.Atoi: parsing \"{text}\": {reason}")
    })
}

fn float(text: &str) -> Result<f64, String> {
    let failure = |reason| format!("strconv.ParseFloat: parsing \"{text}\": {reason}");
    let value = match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        Some(digits) => hexadecimal_float(digits),
        None => text.parse().ok(),
    };
    match value {
        Some(value) if value.is_finite() => Ok(value),
        Some(_) => Err(failure("value out of range")),
        None => Err(failure("invalid syntax")),
    }
}

/// Parses `1.8p-3`, without its `0x`. Digits beyond the precision of 64 bits only scale the value.
fn hexadecimal_float(text: &str) -> Option<f64> {
    let (mantissa, exponent) = text.split_once(['p', 'P'])?;
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let mut value: u64 = 0;
    let mut scale: i32 = 0;
    for (index, digit) in whole.chars().chain(fraction.chars()).enumerate() {
        let digit = u64::from(digit.to_digit(16)?);
        let in_fraction = index >= whole.len();
        if value >> 60 == 0 {
            value = value << 4 | digit;
            scale -= if in_fraction { 4 } else { 0 };
        } else {
            value |= u64::from(digit != 0);
            scale += if in_fraction { 0 } else { 4 };
        }
    }
    let exponent = exponent.parse::<i32>().ok()?.clamp(-5000, 5000).checked_add(scale)?;
    // In two steps, because a power of two may be out of range although the product is not.
    let half = exponent / 2;
    Some(value as f64 * 2f64.powi(half) * 2f64.powi(exponent - half))
}

struct Scanned {
    length: usize,
    is_float: bool,
}

/// The extent of a Go number literal.
fn scan(rest: &str) -> Result<Scanned, String> {
    let bytes = rest.as_bytes();
    let lower_at = |index: usize| bytes.get(index).map_or(0, u8::to_ascii_lowercase);
    let (prefix, base) = match (lower_at(0), lower_at(1)) {
        (b'0', b'x') => (b'x', 16),
        (b'0', b'o') => (b'o', 8),
        (b'0', b'b') => (b'b', 2),
        (b'0', _) => (b'0', 8),
        _ => (0, 10),
    };
    let mut index = if matches!(prefix, b'x' | b'o' | b'b') { 2 } else { 0 };
    let mut is_float = false;
    let whole = digits(bytes, &mut index, base);
    let mut digit_count = whole.count;
    if lower_at(index) == b'.' {
        if matches!(prefix, b'o' | b'b') {
            return Err(format!("invalid radix point in {}", base_name(base)));
        }
        is_float = true;
        index += 1;
        digit_count += digits(bytes, &mut index, base).count;
    }
    if digit_count == 0 {
        return Err(format!("{} has no digits", base_name(base)));
    }
    match lower_at(index) {
        b'e' if !matches!(prefix, 0 | b'0') => {
            return Err("'e' exponent requires decimal mantissa".to_owned());
        }
        b'p' if prefix != b'x' => {
            return Err("'p' exponent requires hexadecimal mantissa".to_owned());
        }
        b'e' | b'p' => {
            is_float = true;
            index += 1;
            if matches!(lower_at(index), b'+' | b'-') {
                index += 1;
            }
            if digits(bytes, &mut index, 10).count == 0 {
                return Err("exponent has no digits".to_owned());
            }
        }
        _ if prefix == b'x' && is_float => {
            return Err("hexadecimal mantissa requires a 'p' exponent".to_owned());
        }
        _ => {}
    }
    if let (false, Some(digit)) = (is_float, whole.invalid) {
        return Err(format!("invalid digit '{}' in {}", char::from(digit), base_name(base)));
    }
    Ok(Scanned { length: index, is_float })
}

fn base_name(base: u8) -> &'static str {
    match base {
        2 => "binary literal",
        8 => "octal literal",
        16 => "hexadecimal literal",
        _ => "decimal literal",
    }
}

struct Digits {
    count: usize,
    /// The first digit too large for the base.
    invalid: Option<u8>,
}

/// Advances `index` over digits and `_`.
fn digits(bytes: &[u8], index: &mut usize, base: u8) -> Digits {
    let mut found = Digits { count: 0, invalid: None };
    while let Some(byte) = bytes.get(*index) {
        match byte {
            b'_' => {}
            b'0'..=b'9' => {
                found.count += 1;
                if base < 10 && *byte - b'0' >= base && found.invalid.is_none() {
                    found.invalid = Some(*byte);
                }
            }
            b'a'..=b'f' | b'A'..=b'F' if base == 16 => found.count += 1,
            _ => break,
        }
        *index += 1;
    }
    found
}
