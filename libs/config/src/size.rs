//! Sizes with units, which two keys of gRPC clients take: `63KiB1023B`.

use crate::field::{Field, Reader};
use crate::yaml::{Content, Node, Value};

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
