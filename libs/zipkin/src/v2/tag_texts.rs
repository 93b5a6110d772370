//! Tags that are no texts. Zipkin's server takes numbers, so there are senders that write them; OpenTelemetry's
//! exporter for C++ writes arrays.

use serde::de::IgnoredAny;

/// A list of JSON in which such tags are texts, as they are written; `None` if it has none, or would be longer by
/// more than a half.
///
/// The list is rewritten, and only if it cannot be read as it is: a parser of JSON that takes any type of value takes no
/// texts that are not UTF-8.
pub(crate) fn quoted(json: &[u8]) -> Option<Vec<u8>> {
    let (mut out, mut copied) = (Vec::new(), 0);
    // Bytes that may yet be added.
    let mut room = json.len() / 2;
    let (mut key, mut in_tags, mut at) = (&b""[..], false, 0);
    while let Some(first) = json.get(at) {
        let begin = at;
        at += token_length(&json[begin..]);
        let token = &json[begin..at];
        let is_quoted = match first {
            b'{' | b'[' if in_tags && !key.is_empty() => {
                let Some(length) = value_length(&json[begin..]) else { break };
                at = begin + length;
                true
            }
            b'-' | b'0'..=b'9' | b't' | b'f' => in_tags && is_json(token),
            _ => false,
        };
        if is_quoted {
            let value = &json[begin..at];
            let escapes = value.iter().filter(|byte| matches!(**byte, b'"' | b'\\')).count();
            room = room.checked_sub(escapes + 2)?;
            if copied == 0 {
                out.reserve_exact(json.len() + json.len() / 2);
            }
            out.extend_from_slice(&json[copied..begin]);
            push_text(value, &mut out);
            copied = at;
            continue;
        }
        match first {
            b'"' => key = token,
            b',' => key = b"",
            b'{' => in_tags = std::mem::take(&mut key) == b"\"tags\"",
            b'}' | b'[' | b']' => {
                key = b"";
                in_tags = false;
            }
            _ => {}
        }
    }
    if copied == 0 {
        return None;
    }
    out.extend_from_slice(&json[copied..]);
    Some(out)
}

/// Of a string, a number or a word; else one byte.
fn token_length(json: &[u8]) -> usize {
    let is_part = |byte: &u8| byte.is_ascii_alphanumeric() || b"+-.".contains(byte);
    if json.first() != Some(&b'"') {
        return json.iter().position(|byte| !is_part(byte)).unwrap_or(json.len()).max(1);
    }
    let mut length = 1;
    while let Some(byte) = json.get(length) {
        length += match byte {
            b'"' => return length + 1,
            b'\\' => 2,
            _ => 1,
        };
    }
    json.len()
}

/// Of an object or array at the beginning; `None` if it is damaged.
fn value_length(json: &[u8]) -> Option<usize> {
    let mut values = serde_json::Deserializer::from_slice(json).into_iter::<IgnoredAny>();
    values.next()?.ok()?;
    Some(values.byte_offset())
}

/// Appends a text in JSON of what is JSON itself.
fn push_text(json: &[u8], out: &mut Vec<u8>) {
    out.push(b'"');
    for &byte in json {
        match byte {
            b'"' | b'\\' => out.extend([b'\\', byte]),
            // Between tokens, where any white space is as good. In texts they are escaped.
            b'\n' | b'\r' | b'\t' => out.push(b' '),
            _ => out.push(byte),
        }
    }
    out.push(b'"');
}

fn is_json(token: &[u8]) -> bool {
    serde_json::from_slice::<IgnoredAny>(token).is_ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn quoted_text(json: &str) -> Option<String> {
        quoted(json.as_bytes()).map(|json| String::from_utf8(json).unwrap())
    }

    #[test]
    fn numbers_and_booleans_of_tags_alone_are_quoted() {
        let json = r#"[{"id":1,"tags" : {"a":200,"b":"\"tags\":{","c": -1.50e3 ,"d":true,"e":null,"f":false},"duration":7}]"#;
        let texts = r#"[{"id":1,"tags" : {"a":"200","b":"\"tags\":{","c": "-1.50e3" ,"d":"true","e":null,"f":"false"},"duration":7}]"#;
        assert_eq!(quoted_text(json).as_deref(), Some(texts));
        for json in [
            texts,
            r#"[{"tags":{[1]:{"b":1},"c":[2]}}]"#,
            r#"[{"tags":{"a":[1,{"b":2]}}]"#,
            r#"[{"tags":{"a":[1"#,
            r#"[{"tags":[{"a":[1]}]}]"#,
            r#"[{"a":["tags",{"b":1}],"c":"tags","d":{"e":1}}]"#,
            r#"[{"tags":{"a":01,"b":trues,"c":1x,"d":-}}]"#,
            r#"[{"tags":{"a\"#,
        ] {
            assert_eq!(quoted_text(json), None, "{json}");
        }
    }

    #[test]
    fn arrays_and_objects_of_tags_are_quoted_as_they_are() {
        let json = "[{\"tags\":{\"a\":[1, \"b\\\"\\\\\",\n{\"tags\":{\"c\":2}}],\"d\":{},\"e\":3},\"x\":[4]}]";
        let texts = r#"[{"tags":{"a":"[1, \"b\\\"\\\\\", {\"tags\":{\"c\":2}}]","d":"{}","e":"3"},"x":[4]}]"#;
        assert_eq!(quoted_text(json).as_deref(), Some(texts));
        let many =
            format!(r#"[{{"tags":{{"a":{}{}}}}}]"#, "[".repeat(100_000), "]".repeat(100_000));
        let texts = quoted(many.as_bytes()).unwrap();
        assert_eq!(texts.len(), many.len() + 2);
        assert!(texts.capacity() <= many.len() * 3 / 2);
        let quotes = format!(r#"[{{"tags":{{"a":[{}""]}}}}]"#, r#""","#.repeat(100));
        assert_eq!(quoted_text(&quotes), None, "too long");
    }

    proptest! {
        #[test]
        fn any_text_is_survived(text in r#"("tags"|"tags":\{"a":|[:"\\ {}\[\],]|-?1|true|é){0,16}"#) {
            let _ = quoted(text.as_bytes());
        }
    }
}
