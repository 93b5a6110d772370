//! Writes JSON by the protobuf-JSON rules, directly into a buffer.
//!
//! Fields are in the order of their messages, without blanks. Zero scalars, absent messages and absent lists are left
//! out. 64-bit integers are strings; bytes are base64; `<`, `>`, `&` and the line separators are escaped.

mod explain;
mod metrics;
mod search;
mod series;
mod tags;
mod values;

pub use metrics::{instant_response, range_response};
pub use search::{search_bytes, search_response};
pub use series::compact_series;
pub use tags::{listed_bytes, tag_values_llm, tag_values_v1, tag_values_v2, tags_v1, tags_v2};
pub(crate) use values::{write_attributes, write_flat_attributes};

use std::fmt::{Arguments, Display};
use std::io::Write;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tactus_model::bytes_to_hex;

/// How ids and enums are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum JsonStyle {
    /// By the rules of protobuf: ids in base64, enums by name.
    #[default]
    Protobuf,
    /// As OTLP says: ids hexadecimal, enums as numbers.
    Otlp,
}

/// A JSON document that grows. Commas are set by looking at what was written last.
#[derive(Debug, Default)]
pub(crate) struct JsonWriter {
    out: Vec<u8>,
    style: JsonStyle,
}

impl JsonWriter {
    pub(crate) fn with_capacity(bytes: usize) -> Self {
        Self { out: Vec::with_capacity(bytes), style: JsonStyle::default() }
    }

    pub(crate) fn with_style(self, style: JsonStyle) -> Self {
        Self { style, ..self }
    }

    pub(crate) fn finish(self) -> Vec<u8> {
        self.out
    }

    /// A comma unless this is the first of an object or list, or a value after its key.
    fn separate(&mut self) {
        if !matches!(self.out.last(), None | Some(b'{' | b'[' | b':')) {
            self.out.push(b',');
        }
    }

    pub(crate) fn begin_object(&mut self) {
        self.separate();
        self.out.push(b'{');
    }

    pub(crate) fn end_object(&mut self) {
        self.out.push(b'}');
    }

    pub(crate) fn begin_list(&mut self) {
        self.separate();
        self.out.push(b'[');
    }

    pub(crate) fn end_list(&mut self) {
        self.out.push(b']');
    }

    /// A list; `write` writes each item.
    pub(crate) fn list<T>(
        &mut self,
        items: impl IntoIterator<Item = T>,
        mut write: impl FnMut(&mut Self, T),
    ) {
        self.begin_list();
        items.into_iter().for_each(|item| write(self, item));
        self.end_list();
    }

    /// A key from our own messages, which needs no escapes. Its value comes next.
    pub(crate) fn key(&mut self, key: &str) -> &mut Self {
        self.separate();
        self.out.push(b'"');
        self.out.extend_from_slice(key.as_bytes());
        self.out.extend_from_slice(b"\":");
        self
    }

    /// A key from data. Its value comes next.
    pub(crate) fn data_key(&mut self, key: &[u8]) -> &mut Self {
        self.string(key);
        self.out.push(b':');
        self
    }

    /// A string; invalid UTF-8 is shown as U+FFFD.
    pub(crate) fn string(&mut self, text: &[u8]) {
        self.separate();
        self.out.push(b'"');
        for chunk in text.utf8_chunks() {
            escape(&mut self.out, chunk.valid());
            if !chunk.invalid().is_empty() {
                self.out.extend_from_slice(b"\\ufffd");
            }
        }
        self.out.push(b'"');
    }

    /// Bytes in base64.
    pub(crate) fn base64(&mut self, bytes: &[u8]) {
        self.separate();
        self.out.push(b'"');
        let start = self.out.len();
        self.out.resize(start + bytes.len().div_ceil(3) * 4, 0);
        // The buffer has the exact length that padded base64 has, so the encoder cannot run out of space.
        let written = STANDARD.encode_slice(bytes, &mut self.out[start..]).unwrap_or(0);
        self.out.truncate(start + written);
        self.out.push(b'"');
    }

    pub(crate) fn bool(&mut self, value: bool) {
        self.raw(if value { "true" } else { "false" });
    }

    /// An integer as a number. Where the protobuf rules want a string, see [`Self::wide`].
    pub(crate) fn integer(&mut self, value: impl Display) {
        self.separate();
        self.print(format_args!("{value}"));
    }

    /// Prints without a copy in between.
    fn print(&mut self, text: Arguments<'_>) {
        // Writing to memory cannot fail.
        let _ = self.out.write_fmt(text);
    }

    /// A number, or anything else that needs no escapes.
    pub(crate) fn raw(&mut self, text: &str) {
        self.separate();
        self.out.extend_from_slice(text.as_bytes());
    }

    /// A 64-bit integer: a string.
    pub(crate) fn wide(&mut self, value: impl Display) {
        self.separate();
        self.print(format_args!("\"{value}\""));
    }

    /// A double as Go prints it, or a string if JSON has no number for it: shortest digits, an exponent below 1e-6 and from
    /// 1e21.
    pub(crate) fn double(&mut self, value: f64) {
        let size = value.abs();
        if size == 0.0 || (1e-6..1e21).contains(&size) {
            self.separate();
            self.print(format_args!("{value}"));
        } else if value.is_finite() {
            let text = format!("{value:e}");
            self.raw(&if text.contains("e-") { text } else { text.replace('e', "e+") });
        } else {
            self.raw(if value.is_nan() {
                "\"NaN\""
            } else if value > 0.0 {
                "\"Infinity\""
            } else {
                "\"-Infinity\""
            });
        }
    }

    /// A list field; nothing if empty.
    pub(crate) fn list_field<T>(
        &mut self,
        key: &str,
        items: &[T],
        write: impl FnMut(&mut Self, &T),
    ) {
        if !items.is_empty() {
            self.key(key).list(items, write);
        }
    }

    /// A string field; nothing if empty.
    pub(crate) fn string_field(&mut self, key: &str, value: &[u8]) {
        if !value.is_empty() {
            self.key(key).string(value);
        }
    }

    /// The key of an attribute. Readers of OTLP's JSON expect an empty one, too.
    pub(crate) fn attribute_key(&mut self, key: &[u8]) {
        match self.style {
            JsonStyle::Protobuf => self.string_field("key", key),
            JsonStyle::Otlp => self.key("key").string(key),
        }
    }

    /// An id; nothing if empty.
    pub(crate) fn id_field(&mut self, key: &str, id: &[u8]) {
        if id.is_empty() {
            return;
        }
        match self.style {
            JsonStyle::Protobuf => self.key(key).base64(id),
            JsonStyle::Otlp => self.key(key).string(bytes_to_hex(id).as_bytes()),
        }
    }

    /// An enum; nothing for the first value. A value without a name is always a number.
    pub(crate) fn enum_field(&mut self, key: &str, names: &[&str], value: u64) {
        if value == 0 {
            return;
        }
        self.key(key);
        match names.get(value as usize) {
            Some(name) if self.style == JsonStyle::Protobuf => self.string(name.as_bytes()),
            _ => self.integer(value as i32),
        }
    }

    /// A 64-bit field; nothing if zero.
    pub(crate) fn wide_field(&mut self, key: &str, value: u64) {
        if value != 0 {
            self.key(key).wide(value);
        }
    }

    /// A 32-bit field; nothing if zero.
    pub(crate) fn number_field(&mut self, key: &str, value: u32) {
        if value != 0 {
            self.key(key).integer(value);
        }
    }
}

fn write_text(json: &mut JsonWriter, text: &impl AsRef<[u8]>) {
    json.string(text.as_ref());
}

/// What each byte of a valid text takes at most. U+2028 and U+2029, which begin with e2, take six bytes instead of three.
const WRITTEN: [u8; 256] = {
    let mut written = [1; 256];
    let mut byte = 0;
    while byte < b' ' as usize {
        written[byte] = 6;
        byte += 1;
    }
    (written[b'"' as usize], written[b'\\' as usize]) = (2, 2);
    (written[b'<' as usize], written[b'>' as usize], written[b'&' as usize]) = (6, 6, 6);
    written[0xe2] = 4;
    written
};

/// Bytes that a text takes in JSON, at most, with its quotes.
pub(crate) fn written_bytes(text: &[u8]) -> usize {
    match std::str::from_utf8(text) {
        Ok(_) => {
            2 + text.iter().map(|&byte| usize::from(WRITTEN[usize::from(byte)])).sum::<usize>()
        }
        Err(_) => 2 + 6 * text.len(),
    }
}

fn escape(out: &mut Vec<u8>, text: &str) {
    let bytes = text.as_bytes();
    let mut written = 0;
    let mut at = 0;
    while at < bytes.len() {
        let byte = bytes[at];
        // U+2028 and U+2029 are e2 80 a8 and e2 80 a9.
        let separator =
            byte == 0xe2 && matches!(bytes.get(at + 1..at + 3), Some([0x80, 0xa8 | 0xa9]));
        let plain = byte >= b' ' && !matches!(byte, b'"' | b'\\' | b'<' | b'>' | b'&');
        if plain && !separator {
            at += 1;
            continue;
        }
        out.extend_from_slice(&bytes[written..at]);
        match byte {
            b'"' => out.extend_from_slice(b"\\\""),
            b'\\' => out.extend_from_slice(b"\\\\"),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            0x08 => out.extend_from_slice(b"\\b"),
            0x0c => out.extend_from_slice(b"\\f"),
            _ if separator => {
                out.extend_from_slice(if bytes[at + 2] == 0xa8 { b"\\u2028" } else { b"\\u2029" });
            }
            byte => {
                let digit = |four: u8| b"0123456789abcdef"[usize::from(four)];
                out.extend_from_slice(b"\\u00");
                out.extend_from_slice(&[digit(byte >> 4), digit(byte & 15)]);
            }
        }
        at += if separator { 3 } else { 1 };
        written = at;
    }
    out.extend_from_slice(&bytes[written..]);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn json(write: impl FnOnce(&mut JsonWriter)) -> String {
        let mut writer = JsonWriter::default();
        write(&mut writer);
        String::from_utf8(writer.finish()).unwrap()
    }

    #[test]
    fn strings_are_escaped_as_for_html() {
        let text = "<root> & \"x\"\\\n\t\u{1}\u{8}\u{2028}\u{2029}\u{2027}é".as_bytes();
        assert_eq!(
            json(|w| w.string(text)),
            "\"\\u003croot\\u003e \\u0026 \\\"x\\\"\\\\\\n\\t\\u0001\\b\\u2028\\u2029\u{2027}é\""
        );
        assert_eq!(json(|w| w.string(b"a\xffb")), "\"a\\ufffdb\"");
    }

    proptest! {
        #[test]
        fn strings_take_no_more_than_was_said(
            text in "[<>&\"\\\\\x00-\x20a-z\u{2020}-\u{2030}é]*", bytes: Vec<u8>
        ) {
            for text in [text.as_bytes(), &bytes] {
                prop_assert!(json(|w| w.string(text)).len() <= written_bytes(text));
            }
        }
    }

    #[test]
    fn doubles_are_printed_as_by_go() {
        for (value, expected) in [
            (0.0, "0"),
            (-0.0, "-0"),
            (1.5, "1.5"),
            (100.0, "100"),
            (1e20, "100000000000000000000"),
            (1e21, "1e+21"),
            (1.25e300, "1.25e+300"),
            (0.000001, "0.000001"),
            (0.0000001, "1e-7"),
            (f64::NAN, "\"NaN\""),
            (f64::NEG_INFINITY, "\"-Infinity\""),
        ] {
            assert_eq!(json(|w| w.double(value)), expected);
        }
    }

    #[test]
    fn commas_stand_between_members_only() {
        let text = json(|w| {
            w.begin_object();
            w.key("a");
            w.begin_list();
            w.raw("1");
            w.begin_object();
            w.end_object();
            w.string(b"{");
            w.string(b":");
            w.end_list();
            w.id_field("b", &[1, 2]);
            w.wide_field("c", u64::MAX);
            w.number_field("d", 0);
            w.end_object();
        });
        assert_eq!(
            text,
            "{\"a\":[1,{},\"{\",\":\"],\"b\":\"AQI=\",\"c\":\"18446744073709551615\"}"
        );
    }

    proptest! {
        #[test]
        fn any_bytes_give_valid_json(bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
            let text = json(|w| w.string(&bytes));
            let parsed: String = serde_json::from_str(&text).unwrap();
            prop_assert_eq!(parsed, String::from_utf8_lossy(&bytes));
        }

        #[test]
        fn any_double_reads_back(value in any::<f64>().prop_filter("finite", |v| v.is_finite())) {
            let text = json(|w| w.double(value));
            prop_assert_eq!(text.parse::<f64>().unwrap(), value);
        }
    }
}
