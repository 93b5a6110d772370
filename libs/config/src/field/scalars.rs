//! Fields that are one scalar.

use super::{Field, MASK, Reader, Unitless, resolved};
use crate::duration::{GoDuration, PromDuration, parse_go, parse_prometheus};
use crate::yaml::{Content, Node, Resolved, Value};

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

/// The integer that a node stands for. Helm turns large integers into `1.073741824e+11`, so a float
/// without a fraction counts; one with a fraction is a mistake that must not be cut silently.
fn integer(node: &Node) -> Result<i128, &'static str> {
    match resolved(node) {
        Some(Resolved::Int(number)) => Ok(number),
        Some(Resolved::Float(number)) if number.is_finite() && number.abs() < 1e30 => {
            if number.fract() != 0.0 {
                return Err(": the number has a fraction");
            }
            // Exact: finite, whole and below 2^100.
            Ok(number as i128)
        }
        _ => Err(""),
    }
}

macro_rules! integer_fields {
    ($($ty:ty)*) => { $(
        impl Field for $ty {
            fn read(&mut self, node: &Node, reader: &mut Reader) {
                match integer(node) {
                    Ok(number) => match <$ty>::try_from(number) {
                        Ok(number) => *self = number,
                        Err(_) => reader.mismatch_because(node, "int", ": out of range"),
                    },
                    Err(cause) => reader.mismatch_because(node, "int", cause),
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

/// The text with the passwords of URLs masked: `https://user:password@host` is a usual spelling.
fn without_passwords(text: &str) -> String {
    let mut shown = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("://") {
        let authority = after.split(['/', '?', '#', ' ', ',']).next().unwrap_or(after);
        shown.push_str(before);
        shown.push_str("://");
        rest = after;
        if let Some((user, _)) = authority.rsplit_once('@') {
            let name = user.split(':').next().unwrap_or(user);
            shown.push_str(name);
            if name.len() < user.len() {
                shown.push(':');
                shown.push_str(MASK);
            }
            rest = &after[user.len()..];
        }
    }
    shown + rest
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
        if let Ok(nanos) = integer(node) {
            match i64::try_from(nanos) {
                Ok(nanos) => *self = GoDuration(nanos),
                Err(_) => reader.mismatch_because(node, "duration", ": out of range"),
            }
            if nanos != 0 {
                let key = reader.path.clone();
                reader.unitless.push(Unitless { key, line: node.line, nanos });
            }
            return;
        }
        let Content::Scalar(scalar) = &node.content else {
            return reader.mismatch(node, "duration");
        };
        // Days and weeks are Prometheus' units; per-tenant keys take them, so these do as well.
        match parse_go(&scalar.text) {
            Ok(duration) => *self = duration,
            Err(error) => match parse_prometheus(&scalar.text) {
                Ok(duration) => *self = duration.into(),
                Err(_) => reader.mismatch_because(node, "duration", &format!(": {error}")),
            },
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
