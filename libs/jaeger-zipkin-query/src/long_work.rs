//! Decides which traces take long to convert, so that they are converted on other threads.

use prost::Message as _;
use tactus_proto::otlp::ResourceSpans;

const MANY_SPANS: usize = 500;
const MANY_BYTES: usize = 256 << 10;

/// True if there are many spans, or few that are large.
pub(crate) fn takes_long<'a>(resources: impl IntoIterator<Item = &'a ResourceSpans>) -> bool {
    let (mut spans, mut bytes) = (0, 0);
    resources.into_iter().any(|resource| {
        spans += resource.scope_spans.iter().map(|scope| scope.spans.len()).sum::<usize>();
        bytes += if spans > MANY_SPANS { 0 } else { resource.encoded_len() };
        spans > MANY_SPANS || bytes > MANY_BYTES
    })
}

#[cfg(test)]
mod tests {
    use tactus_proto::otlp::{ScopeSpans, Span};

    use super::*;

    #[test]
    fn many_spans_and_large_ones_take_long() {
        let traces = |resources: usize, spans: usize, name: usize| {
            let span = Span { name: "n".repeat(name).into(), ..Span::default() };
            let scope_spans = vec![ScopeSpans { spans: vec![span; spans], ..Default::default() }];
            vec![ResourceSpans { scope_spans, ..Default::default() }; resources]
        };
        assert!(!takes_long(&traces(1, 500, 100)));
        assert!(takes_long(&traces(1, 501, 0)));
        assert!(takes_long(&traces(2, 251, 0)));
        assert!(takes_long(&traces(1, 1, 300_000)));
        assert!(takes_long(&traces(3, 1, 100_000)));
    }
}
