//! Converts ids in base64, which the JSON mapping of protobuf uses for bytes but OTLP/JSON does not.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tactus_model::bytes_to_hex;

const KEYS: [&[u8]; 6] = [
    b"\"traceId\"",
    b"\"spanId\"",
    b"\"parentSpanId\"",
    b"\"trace_id\"",
    b"\"span_id\"",
    b"\"parent_span_id\"",
];

/// The text with all base64 ids replaced by hexadecimal ones; `None` if it has none.
pub(super) fn in_hex(json: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    let (mut copied, mut at) = (0, 0);
    while let Some(quote) = json[at..].iter().position(|byte| *byte == b'"') {
        let key = at + quote;
        at = end_of_string(json, key);
        // Inside of a string quotes are escaped, so what precedes a colon is a key.
        if !KEYS.contains(&&json[key..at]) {
            continue;
        }
        let Some((begin, end)) = string_after_colon(json, at) else { continue };
        at = end;
        let id = STANDARD.decode(&json[begin + 1..end - 1]);
        if let Ok(id) = id
            && matches!((id.len(), end - begin - 2), (16, 24) | (8, 12))
        {
            out.extend_from_slice(&json[copied..=begin]);
            out.extend_from_slice(bytes_to_hex(&id).as_bytes());
            copied = end - 1;
        }
    }
    if copied == 0 {
        return None;
    }
    out.extend_from_slice(&json[copied..]);
    Some(out)
}

/// The position after the closing quote of the string that begins at `begin`.
fn end_of_string(json: &[u8], begin: usize) -> usize {
    let mut is_escaped = false;
    for (place, &byte) in json.iter().enumerate().skip(begin + 1) {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' => is_escaped = true,
            b'"' => return place + 1,
            _ => {}
        }
    }
    json.len()
}

/// The position of the string after a colon, including both quotes.
fn string_after_colon(json: &[u8], at: usize) -> Option<(usize, usize)> {
    let next = |from: usize| {
        let space = json[from..].iter().position(|byte| !byte.is_ascii_whitespace())?;
        Some((from + space, json[from + space]))
    };
    let (colon, b':') = next(at)? else { return None };
    let (begin, b'"') = next(colon + 1)? else { return None };
    let end = end_of_string(json, begin);
    (end > begin + 1 && json[end - 1] == b'"').then_some((begin, end))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn ids_alone_are_rewritten() {
        let json = br#"{"traceId" : "AAAAAAAAAAEAAAAAAAAAAg==","spanId":"AAAAAAAAAAM=","name":"\"spanId\":\"AAAAAAAAAAM=\"","parentSpanId":""}"#;
        let expected = br#"{"traceId" : "00000000000000010000000000000002","spanId":"0000000000000003","name":"\"spanId\":\"AAAAAAAAAAM=\"","parentSpanId":""}"#;
        assert_eq!(in_hex(json).as_deref(), Some(&expected[..]));
        assert_eq!(in_hex(expected), None);
    }

    proptest! {
        #[test]
        fn any_text_is_survived(text in r#"("traceId"|"spanId"|[:"\\ ]|AAAAAAAAAAM=|é){0,12}"#) {
            let _ = in_hex(text.as_bytes());
        }
    }
}
