//! The reading of plain scalars: YAML 1.1 as Go's yaml v2 has it.

use super::Scalar;

/// What a scalar is when nobody asks for text.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Resolved {
    Null,
    Bool(bool),
    Int(i128),
    Float(f64),
    Text,
}

impl Resolved {
    /// The YAML tag, as error texts show it.
    pub(crate) fn tag(self) -> &'static str {
        match self {
            Resolved::Null => "!!null",
            Resolved::Bool(_) => "!!bool",
            Resolved::Int(_) => "!!int",
            Resolved::Float(_) => "!!float",
            Resolved::Text => "!!str",
        }
    }
}

/// Quoted scalars are text; plain ones may be null, a YAML 1.1 boolean, an integer in Go's base-0
/// syntax with `_` separators, or a decimal float.
pub(crate) fn resolve(scalar: &Scalar) -> Resolved {
    if !scalar.plain {
        return Resolved::Text;
    }
    match scalar.text.as_str() {
        "" | "~" | "null" | "Null" | "NULL" => return Resolved::Null,
        ".inf" | ".Inf" | ".INF" | "+.inf" | "+.Inf" | "+.INF" => {
            return Resolved::Float(f64::INFINITY);
        }
        "-.inf" | "-.Inf" | "-.INF" => return Resolved::Float(f64::NEG_INFINITY),
        ".nan" | ".NaN" | ".NAN" => return Resolved::Float(f64::NAN),
        _ => {}
    }
    if let Some(flag) = flag_of(&scalar.text) {
        return Resolved::Bool(flag);
    }
    if !scalar.text.starts_with(|c: char| c.is_ascii_digit() || matches!(c, '-' | '+' | '.')) {
        return Resolved::Text;
    }
    let digits = scalar.text.replace('_', "");
    if let Some(number) = parse_int(&digits) {
        return Resolved::Int(number);
    }
    if is_decimal_float(&digits)
        && let Ok(number) = digits.parse()
    {
        return Resolved::Float(number);
    }
    Resolved::Text
}

/// The boolean of a plain word.
pub(crate) fn flag_of(text: &str) -> Option<bool> {
    match text {
        "y" | "Y" | "yes" | "Yes" | "YES" | "true" | "True" | "TRUE" | "on" | "On" | "ON" => {
            Some(true)
        }
        "n" | "N" | "no" | "No" | "NO" | "false" | "False" | "FALSE" | "off" | "Off" | "OFF" => {
            Some(false)
        }
        _ => None,
    }
}

/// Go's `strconv.ParseInt(text, 0, …)`: `0x`, `0o`, `0b`, a leading zero for octal, an optional
/// sign. No underscores.
pub(crate) fn parse_int(text: &str) -> Option<i128> {
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    let (digits, radix) = match digits.as_bytes() {
        [b'0', b'x' | b'X', ..] => (&digits[2..], 16),
        [b'0', b'o' | b'O', ..] => (&digits[2..], 8),
        [b'0', b'b' | b'B', ..] => (&digits[2..], 2),
        [b'0', _, ..] => (&digits[1..], 8),
        _ => (digits, 10),
    };
    if digits.is_empty() || digits.starts_with(['-', '+']) {
        return None;
    }
    let number = i128::from_str_radix(digits, radix).ok()?;
    Some(if text.starts_with('-') { -number } else { number })
}

/// `[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?`: keeps Rust's "inf" and "nan" out.
fn is_decimal_float(text: &str) -> bool {
    let number = text.strip_prefix(['-', '+']).unwrap_or(text);
    let (mantissa, exponent) = match number.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent)),
        None => (number, None),
    };
    let all_digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    let mantissa_valid = match mantissa.split_once('.') {
        Some((whole, fraction)) => {
            all_digits(whole) && all_digits(fraction) && whole.len() + fraction.len() > 0
        }
        None => !mantissa.is_empty() && all_digits(mantissa),
    };
    let exponent_valid = exponent.is_none_or(|exponent| {
        let digits = exponent.strip_prefix(['-', '+']).unwrap_or(exponent);
        !digits.is_empty() && all_digits(digits)
    });
    mantissa_valid && exponent_valid
}
