//! JSON with indentation, made of JSON without any that comes a piece at a time, which serializers cannot.

/// A level of indentation.
const INDENT: &[u8] = b"    ";

/// Indents a document whose bytes it gets in their order.
#[derive(Debug, Default)]
pub(crate) struct Indenter {
    depth: usize,
    in_string: bool,
    /// The last byte was a backslash that escapes the next one.
    is_escaped: bool,
    /// The last byte opened a list or an object.
    has_opened: bool,
}

impl Indenter {
    /// The next bytes with their indentation.
    pub(crate) fn indent(&mut self, compact: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(compact.len() * 2);
        compact.iter().for_each(|&byte| self.add(byte, &mut out));
        out
    }

    fn add(&mut self, byte: u8, out: &mut Vec<u8>) {
        if self.in_string {
            out.push(byte);
            self.in_string = self.is_escaped || byte != b'"';
            self.is_escaped = byte == b'\\' && !self.is_escaped;
            return;
        }
        let is_end = matches!(byte, b']' | b'}');
        let has_opened = std::mem::take(&mut self.has_opened);
        if is_end {
            self.depth = self.depth.saturating_sub(1);
        }
        if has_opened != is_end {
            self.new_line(out);
        }
        out.push(byte);
        match byte {
            b'"' => self.in_string = true,
            b'[' | b'{' => {
                self.depth += 1;
                self.has_opened = true;
            }
            b',' => self.new_line(out),
            b':' => out.push(b' '),
            _ => {}
        }
    }

    fn new_line(&self, out: &mut Vec<u8>) {
        out.push(b'\n');
        (0..self.depth).for_each(|_| out.extend(INDENT));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde::Serialize as _;
    use serde_json::{Serializer, Value, json, ser::PrettyFormatter};

    use super::*;

    fn indented(value: &Value, piece: usize) -> String {
        let (mut indenter, mut out) = (Indenter::default(), Vec::new());
        for piece in serde_json::to_vec(value).unwrap().chunks(piece) {
            out.extend(indenter.indent(piece));
        }
        String::from_utf8(out).unwrap()
    }

    fn values() -> impl Strategy<Value = Value> {
        let leaves = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            "[\\\\\"{}\\[\\],:a ]{0,6}".prop_map(Value::from),
        ];
        leaves.prop_recursive(4, 30, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map("[a\"\\\\]{0,2}", inner, 0..4)
                    .prop_map(|map| map.into_iter().collect::<Value>()),
            ]
        })
    }

    #[test]
    fn lists_and_objects_are_indented_and_empty_ones_are_not() {
        let value = json!({ "a": [1, { "b": "x,[" }], "c": [], "d": {} });
        let expected = "{\n    \"a\": [\n        1,\n        {\n            \"b\": \"x,[\"\n        }\n    ],\n    \"c\": [],\n    \"d\": {}\n}";
        assert_eq!(indented(&value, 1), expected);
    }

    proptest! {
        #[test]
        fn document_is_that_of_the_library(value in values(), piece in 1usize..20) {
            let mut expected = Vec::new();
            let formatter = PrettyFormatter::with_indent(INDENT);
            value.serialize(&mut Serializer::with_formatter(&mut expected, formatter)).unwrap();
            prop_assert_eq!(indented(&value, piece), String::from_utf8(expected).unwrap());
        }
    }
}
