//! Names that are not UTF-8. Lists and answers show U+FFFD in place of their other bytes.

use tactus_query::quoted;

/// The condition that a text is not UTF-8 and begins with `start`.
///
/// No pattern of TraceQL matches bytes that are not UTF-8, so the rest of the text can be anything.
pub(crate) fn not_utf8(field: &str, start: &str) -> String {
    let mut begins = format!("{field} >= {}", quoted(start));
    if let Some(end) = after(start) {
        begins.push_str(&format!(" && {field} < {}", quoted(&end)));
    }
    format!("({begins} && !({field} =~ `.*`))")
}

/// A text that comes after all that begin with `start`; `None`: none differs in the last character only.
fn after(start: &str) -> Option<String> {
    let mut end = start.to_owned();
    let last = end.pop()?;
    end.push(char::from_u32(u32::from(last) + 1)?);
    Some(end)
}

#[cfg(test)]
pub(crate) mod tests {
    use bytes::Bytes;
    use prost::Message as _;
    use tactus_api::request::parse_traceql;
    use tactus_model::{BatchBuilder, BuilderLimits};
    use tactus_proto::otlp::{ScopeSpans, Span};
    use tactus_traceql::eval::{CompiledQuery, Window};

    use super::*;

    /// Whether a span of this name meets a condition.
    pub(crate) fn is_met(condition: &str, name: &[u8]) -> bool {
        let span = Span {
            trace_id: Bytes::from_static(&[1; 16]),
            span_id: Bytes::from_static(&[1; 8]),
            name: Bytes::copy_from_slice(name),
            ..Span::default()
        };
        let spans = ScopeSpans { spans: vec![span], ..ScopeSpans::default() }.encode_to_vec();
        let mut builder = BatchBuilder::new(BuilderLimits::default());
        assert_eq!(builder.append_run(b"", b"", &spans, |_, _| true), Ok(0));
        let root = parse_traceql(&format!("{{ {condition} }}"), 0).unwrap();
        let query = CompiledQuery::compile(&root).unwrap();
        !query.find_matches(&builder.finish(), Window::default()).unwrap().is_empty()
    }

    #[test]
    fn texts_that_are_not_utf8_are_found_by_how_they_begin() {
        let cases: [(&str, &[u8], bool); 13] = [
            ("caf", b"caf\xe9", true),
            ("caf", b"caf\xff\xff bar", true),
            ("caf", b"caf", false),
            ("caf", "caf\u{e9}".as_bytes(), false),
            ("caf", b"cab\xe9", false),
            ("caf", b"cag\xe9", false),
            ("\u{e9}", b"\xc3\xa9\xe9", true),
            ("\u{e9}", b"\xc3\xaa\xe9", false),
            ("\u{10ffff}", "\u{10ffff}".as_bytes(), false),
            ("\u{10ffff}", b"\xf4\x8f\xbf\xbf\xe9", true),
            ("", b"\xe9", true),
            ("", b"caf\xe9", true),
            ("", b"", false),
        ];
        for (start, name, expected) in cases {
            assert_eq!(is_met(&not_utf8("name", start), name), expected, "{start:?} {name:?}");
        }
    }
}
