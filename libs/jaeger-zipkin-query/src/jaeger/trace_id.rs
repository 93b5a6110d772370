//! Trace ids as Jaeger's clients write them.

use base64::Engine as _;
use base64::alphabet::{STANDARD, URL_SAFE};
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use tactus_model::TraceId;

use super::error::{JaegerError, Result};

/// Longest text of an id in base64.
const MAX_BASE64: usize = 24;

const LENIENT: GeneralPurposeConfig =
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);

/// The id of a text: 1 to 32 hexadecimal digits, without leading zeros or with them, or base64 of 16 bytes in either
/// alphabet, padded or not.
///
/// Errors: [`JaegerError::Invalid`] for anything else, and for the id that is all zero.
pub fn parse_trace_id(text: &str) -> Result<TraceId> {
    let invalid = || JaegerError::Invalid(format!("cannot parse trace ID {text:?}"));
    let id = TraceId::from_hex(text).or_else(|| from_base64(text)).ok_or_else(invalid)?;
    if id.is_zero() { Err(invalid()) } else { Ok(id) }
}

fn from_base64(text: &str) -> Option<TraceId> {
    if text.len() > MAX_BASE64 {
        return None;
    }
    let decode = |alphabet| GeneralPurpose::new(alphabet, LENIENT).decode(text).ok();
    let bytes = decode(&STANDARD).or_else(|| decode(&URL_SAFE))?;
    let bytes: [u8; 16] = bytes.try_into().ok()?;
    Some(TraceId(bytes))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn ids_are_read_in_every_form() {
        let expected = TraceId::from_hex("10000000000000002").unwrap();
        for text in [
            "00000000000000010000000000000002",
            "10000000000000002",
            "AAAAAAAAAAEAAAAAAAAAAg==",
            "AAAAAAAAAAEAAAAAAAAAAg",
        ] {
            assert_eq!(parse_trace_id(text), Ok(expected), "{text}");
        }
        let all_set = TraceId([0xfb; 16]);
        assert_eq!(parse_trace_id("+/v7+/v7+/v7+/v7+/v7+w=="), Ok(all_set));
        assert_eq!(parse_trace_id("-_v7-_v7-_v7-_v7-_v7-w"), Ok(all_set));
        assert_eq!(parse_trace_id("FBFBFBFBfbfbfbfbfbfbfbfbfbfbfbfb"), Ok(all_set));
    }

    #[test]
    fn other_texts_are_refused() {
        let long = "0".repeat(33);
        for text in ["", "xyz!", "0", "00", "QQQQ", "é", &long] {
            let error = parse_trace_id(text).unwrap_err();
            assert!(matches!(error, JaegerError::Invalid(_)), "{text}");
        }
    }

    proptest! {
        #[test]
        fn ids_of_any_text_never_panic(text in "\\PC{0,40}") {
            let _ = parse_trace_id(&text);
        }
    }
}
