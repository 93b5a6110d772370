//! Tags that are numbers or booleans. Zipkin's server takes numbers, so there are senders that write them.

use serde::de::IgnoredAny;

/// A list of JSON in which such tags are texts, as they are written; `None` if it has none.
///
/// The list is rewritten, and only if it cannot be read as it is: a parser of JSON that takes any type of value takes no
/// texts that are not UTF-8.
pub(crate) fn quoted(json: &[u8]) -> Option<Vec<u8>> {
    let (mut out, mut copied) = (Vec::new(), 0);
    let (mut key, mut in_tags, mut at) = (&b""[..], false, 0);
    while let Some(first) = json.get(at) {
        let begin = at;
        at += token_length(&json[begin..]);
        let token = &json[begin..at];
        match first {
            b'"' => key = token,
            b',' => key = b"",
            b'{' => in_tags = std::mem::take(&mut key) == b"\"tags\"",
            b'}' | b'[' | b']' => {
                key = b"";
                in_tags = false;
            }
            b'-' | b'0'..=b'9' | b't' | b'f' if in_tags && is_json(token) => {
                out.extend_from_slice(&json[copied..begin]);
                out.extend([b"\"", token, b"\""].concat());
                copied = at;
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
            r#"[{"tags":{"a":{"b":1},"c":[2]}}]"#,
            r#"[{"a":["tags",{"b":1}],"c":"tags","d":{"e":1}}]"#,
            r#"[{"tags":{"a":01,"b":trues,"c":1x,"d":-}}]"#,
            r#"[{"tags":{"a\"#,
        ] {
            assert_eq!(quoted_text(json), None, "{json}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_survived(text in r#"("tags"|[:"\\ {}\[\],]|-?1|true|é){0,16}"#) {
            let _ = quoted(text.as_bytes());
        }
    }
}
