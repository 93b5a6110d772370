//! Fields that are one scalar: flags, numbers, texts, durations, what keeps the type it was written with, and sizes with
//! units, which two keys of gRPC clients take (`63KiB1023B`).

use super::{Field, MASK, Reader, Unitless, resolved};
use crate::duration::{GoDuration, PromDuration, parse_either, parse_prometheus};
use crate::yaml::{Content, Node, Resolved, Value};
use std::borrow::Cow;

impl Field for bool {
    fn read(&mut self, node: &Node, reader: &mut Reader) {
        match resolved(node) {
            Some(Resolved::Bool(flag)) => *self = flag,
            _ => reader.mismatch(node, "bool"),
        }
    }

    fn show(&self) -> Value {
        Value::Bool(*self)
    }

    fn kind() -> String {
        "boolean".to_owned()
    }
}

/// The integer that a node stands for, and the number whose fraction was cut off for it. Helm turns large integers into
/// `1.073741824e+11`, so a float counts.
fn integer(node: &Node) -> Option<(i128, Option<f64>)> {
    match resolved(node) {
        Some(Resolved::Int(number)) => Some((number, None)),
        Some(Resolved::Float(number)) if number.is_finite() && number.abs() < 1e30 => {
            // Exact: finite, whole and below 2^100.
            Some((number.trunc() as i128, (number.fract() != 0.0).then_some(number)))
        }
        _ => None,
    }
}

/// A size as other programs take it: `10MB`, `512 KiB`.
fn is_with_unit(node: &Node) -> bool {
    let Content::Scalar(scalar) = &node.content else { return false };
    let number = scalar.text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = scalar.text[number.len()..].to_ascii_lowercase();
    let prefix = unit.strip_suffix('b').unwrap_or(&unit);
    let prefix = prefix.strip_suffix('i').unwrap_or(prefix);
    let is_unit = !unit.is_empty() && (prefix.is_empty() || ["k", "m", "g", "t"].contains(&prefix));
    is_unit && number.trim_end().parse::<f64>().is_ok()
}

macro_rules! integer_fields {
    ($($ty:ty)*) => { $(
        impl Field for $ty {
            fn read(&mut self, node: &Node, reader: &mut Reader) {
                match integer(node) {
                    Some((number, cut)) => match <$ty>::try_from(number) {
                        Ok(number) => {
                            *self = number;
                            if let Some(cut) = cut {
                                // As in Tempo, but it is hardly what was meant.
                                reader.doubt(node, format!("{cut} is taken as {number}"));
                            }
                        }
                        Err(_) => reader.mismatch_because(node, "int", ": out of range"),
                    },
                    None if is_with_unit(node) => reader.mismatch_because(
                        node,
                        "int",
                        ": write a plain number of bytes, without a unit",
                    ),
                    None => reader.mismatch(node, "int"),
                }
            }

            fn show(&self) -> Value {
                // No integer field is wider than 64 bits.
                Value::Int(*self as i128)
            }

            fn kind() -> String {
                "integer".to_owned()
            }
        }
    )* };
}

integer_fields! { u16 u32 u64 usize i64 }

impl Field for f64 {
    fn read(&mut self, node: &Node, reader: &mut Reader) {
        match resolved(node) {
            // The nearest float is what a decimal of the same digits would give.
            Some(Resolved::Int(number)) => *self = number as f64,
            Some(Resolved::Float(number)) => *self = number,
            _ => reader.mismatch(node, "float64"),
        }
    }

    fn show(&self) -> Value {
        Value::Float(*self)
    }

    fn kind() -> String {
        "float".to_owned()
    }
}

/// The text with the passwords of URLs masked: `https://user:password@host` is a usual spelling, and the scheme may be missing.
pub fn without_passwords(text: &str) -> String {
    let mut shown = String::new();
    let mut rest = text;
    if let Some(user) = user_without_scheme(text) {
        mask(user, &mut shown);
        rest = &text[user.len()..];
    }
    while let Some((before, after)) = rest.split_once("://") {
        shown.push_str(before);
        shown.push_str("://");
        rest = after;
        if let Some(user) = user_and_password(after) {
            mask(user, &mut shown);
            rest = &after[user.len()..];
        }
    }
    shown + rest
}

/// Appends `user:password` without the password.
fn mask(user: &str, shown: &mut String) {
    let name = user.split(':').next().unwrap_or(user);
    shown.push_str(name);
    if name.len() < user.len() {
        shown.push(':');
        shown.push_str(MASK);
    }
}

/// What a text that is a URL without a scheme has before the `@`, as `user:password` of `user:password@host`. Queries and
/// patterns have such characters as well: they begin with more than a name, or have blanks or quotes in it.
fn user_without_scheme(text: &str) -> Option<&str> {
    let url = text.strip_prefix("//").unwrap_or(text);
    let user = user_and_password(url)?;
    let (name, password) = user.split_once(':')?;
    let is_name = name.chars().all(|c| c.is_alphanumeric() || "-._~%+".contains(c));
    let is_password = !password.contains(|c: char| c.is_whitespace() || c == '"');
    (is_name && is_password).then(|| &text[..text.len() - url.len() + user.len()])
}

/// What a URL, without its scheme, has before the `@`. A password may have characters that must be encoded and were not,
/// as in `user:pass#word@host`: then what ends there is no address with a port, and all up to the last `@` counts.
fn user_and_password(url: &str) -> Option<&str> {
    let authority = url.split(['/', '?', '#', ' ', ',']).next().unwrap_or(url);
    if let Some((user, _)) = authority.rsplit_once('@') {
        return Some(user);
    }
    let (_, port) = authority.split_once(':')?;
    if authority.starts_with('[') || port.parse::<u16>().is_ok() {
        return None;
    }
    // Up to the next URL of a list.
    let url = url.split("://").next().unwrap_or(url);
    url.rsplit_once('@').map(|(user, _)| user)
}

impl Field for String {
    fn read(&mut self, node: &Node, reader: &mut Reader) {
        match &node.content {
            Content::Scalar(scalar) => scalar.text.clone_into(self),
            Content::List(_) | Content::Map(_) => reader.mismatch(node, "string"),
        }
    }

    fn show(&self) -> Value {
        Value::Text(without_passwords(self))
    }

    fn kind() -> String {
        "string".to_owned()
    }

    fn split(text: &str) -> Option<Vec<Self>> {
        Some(
            text.split(',')
                .map(str::trim)
                .filter(|part| !part.is_empty())
                .map(str::to_owned)
                .collect(),
        )
    }
}

impl Field for GoDuration {
    fn read(&mut self, node: &Node, reader: &mut Reader) {
        if let Some((nanos, None)) = integer(node) {
            match i64::try_from(nanos) {
                Ok(nanos) => *self = GoDuration(nanos),
                Err(_) => reader.mismatch_because(node, "duration", ": out of range"),
            }
            if nanos != 0 && !(nanos < 0 && reader.takes_below_zero()) {
                let key = reader.path.clone();
                reader.unitless.push(Unitless { key, line: node.line, nanos });
            }
            return;
        }
        let Content::Scalar(scalar) = &node.content else {
            return reader.mismatch(node, "duration");
        };
        match parse_either(&scalar.text) {
            Ok(duration) => {
                *self = duration;
                if duration < GoDuration::ZERO && !reader.takes_below_zero() {
                    reader.doubt(node, "a duration below zero counts as 0".to_owned());
                }
            }
            Err(error) => reader.mismatch_because(node, "duration", &format!(": {error}")),
        }
    }

    fn show(&self) -> Value {
        Value::Text(self.to_string())
    }

    fn kind() -> String {
        "duration".to_owned()
    }
}

impl Field for PromDuration {
    fn read(&mut self, node: &Node, reader: &mut Reader) {
        let Content::Scalar(scalar) = &node.content else {
            return reader.mismatch(node, "duration");
        };
        match parse_prometheus(&scalar.text) {
            Ok(duration) => *self = duration,
            Err(error) => reader.mismatch_because(node, "duration", &format!(": {error}")),
        }
    }

    fn show(&self) -> Value {
        Value::Text(self.to_string())
    }

    fn kind() -> String {
        "duration (Prometheus)".to_owned()
    }
}

/// What an attribute is compared with: values of different types are different, except integers and floats of the same
/// number.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum MatchValue {
    /// Text, quoted or not.
    Text(String),
    /// A whole number.
    Int(i64),
    /// A number with a fraction.
    Float(f64),
    /// `true` or `false`.
    Bool(bool),
    /// Left out, or `null`.
    #[default]
    Missing,
}

impl MatchValue {
    /// The type as error texts name it.
    pub fn type_name(&self) -> &'static str {
        match self {
            Self::Text(_) => "string",
            Self::Int(_) => "int",
            Self::Float(_) => "float64",
            Self::Bool(_) => "bool",
            Self::Missing => "<nil>",
        }
    }

    /// The value as it was written, except for its spelling.
    pub fn text(&self) -> Cow<'_, str> {
        match self {
            Self::Text(text) => text.into(),
            Self::Int(number) => number.to_string().into(),
            Self::Float(number) => number.to_string().into(),
            Self::Bool(flag) => flag.to_string().into(),
            Self::Missing => "".into(),
        }
    }
}

impl Field for MatchValue {
    fn read(&mut self, node: &Node, reader: &mut Reader) {
        let Content::Scalar(scalar) = &node.content else {
            return reader.mismatch(node, "string, number or boolean");
        };
        *self = match resolved(node) {
            Some(Resolved::Bool(flag)) => Self::Bool(flag),
            Some(Resolved::Int(number)) => match i64::try_from(number) {
                Ok(number) => Self::Int(number),
                // The nearest float is what a decimal of the same digits would give.
                Err(_) => Self::Float(number as f64),
            },
            Some(Resolved::Float(number)) => Self::Float(number),
            Some(Resolved::Null) => Self::Missing,
            Some(Resolved::Text) | None => Self::Text(scalar.text.clone()),
        };
    }

    fn show(&self) -> Value {
        match self {
            Self::Text(text) => text.show(),
            Self::Int(number) => Value::Int(i128::from(*number)),
            Self::Float(number) => Value::Float(*number),
            Self::Bool(flag) => Value::Bool(*flag),
            Self::Missing => Value::Null,
        }
    }

    fn kind() -> String {
        "string, number or boolean".to_owned()
    }
}

/// A number of bytes, kept as written for showing it again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnitSize {
    text: String,
    bytes: u64,
}

impl UnitSize {
    /// Parses one or more numbers with unit (`B KB KiB MB MiB GB GiB TB TiB`, all powers of 1024),
    /// or `0`.
    ///
    /// Errors: the cause, e.g. `units: unknown unit  in 1024`.
    pub fn parse(text: &str) -> Result<Self, String> {
        let invalid = || format!("units: invalid {text}");
        let mut rest = text;
        let mut bytes: u64 = 0;
        while !rest.is_empty() && text != "0" {
            let digits = |c: char| c.is_ascii_digit() || c == '.';
            let (number, after) = rest.split_at(rest.find(|c| !digits(c)).unwrap_or(rest.len()));
            let (unit, after) = after.split_at(after.find(digits).unwrap_or(after.len()));
            let power = match unit {
                "B" => 0,
                "KB" | "KiB" => 1,
                "MB" | "MiB" => 2,
                "GB" | "GiB" => 3,
                "TB" | "TiB" => 4,
                _ => return Err(format!("units: unknown unit {unit} in {text}")),
            };
            let number: f64 = number.parse().map_err(|_| invalid())?;
            // Float to integer saturates, and a size beyond 2^64 is nonsense anyway.
            let part = (number * 1024_f64.powi(power)) as u64;
            bytes = bytes.checked_add(part).ok_or_else(invalid)?;
            rest = after;
        }
        if text.is_empty() {
            return Err(invalid());
        }
        Ok(Self { text: text.to_owned(), bytes })
    }

    /// The size in bytes; zero leaves the choice to the client.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }
}

impl Default for UnitSize {
    fn default() -> Self {
        Self { text: "0B".to_owned(), bytes: 0 }
    }
}

impl Field for UnitSize {
    fn read(&mut self, node: &Node, reader: &mut Reader) {
        let Content::Scalar(scalar) = &node.content else {
            return reader.mismatch(node, "size");
        };
        match UnitSize::parse(&scalar.text) {
            Ok(size) => *self = size,
            Err(cause) => reader.mismatch_because(node, "size", &format!(": {cause}")),
        }
    }

    fn show(&self) -> Value {
        Value::Text(self.text.clone())
    }

    fn kind() -> String {
        "size with unit".to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_with_units_add_up() {
        for (text, bytes) in
            [("63KiB1023B", 65_535), ("0", 0), ("0B", 0), ("1KB", 1_024), ("1.5MiB", 1_572_864)]
        {
            assert_eq!(UnitSize::parse(text).unwrap().bytes(), bytes, "{text}");
        }
        assert_eq!(UnitSize::parse("1024").unwrap_err(), "units: unknown unit  in 1024");
        for text in ["", "KB", "1XB", "1..5KB", "99999999TB99999999TB"] {
            assert!(UnitSize::parse(text).is_err(), "{text}");
        }
    }
}
