//! A combined trace span by span, and a part of one.

use bytes::Bytes;

use super::{CombinedTrace, ResourceGroup, ScopeGroup};

impl CombinedTrace {
    /// OTLP Resource messages with the Span messages of each, in the order of an answer.
    pub fn spans_by_resource(
        &self,
    ) -> impl Iterator<Item = (&Bytes, impl Iterator<Item = &Bytes>)> {
        self.resources.iter().map(|group| {
            let spans = group.scopes.iter().flat_map(|scope| &scope.spans);
            (&group.resource, spans)
        })
    }

    /// OTLP Resource and InstrumentationScope messages with the Span messages of each, in the order of an answer.
    pub fn spans_by_scope(&self) -> impl Iterator<Item = (&Bytes, &Bytes, &[Bytes])> {
        self.resources.iter().flat_map(|group| {
            let scopes = group.scopes.iter();
            scopes.map(|scope| (&group.resource, &scope.scope, scope.spans.as_slice()))
        })
    }

    /// Bytes of all messages, about the memory that the trace takes.
    pub fn bytes(&self) -> usize {
        let groups = self.resources.iter().map(|group| {
            group.resource.len() + group.scopes.iter().map(|scope| scope.scope.len()).sum::<usize>()
        });
        groups.sum::<usize>() + self.span_bytes()
    }

    /// The spans that `keep` wants of their OTLP Span messages, with their resources and scopes.
    pub fn filtered(&self, mut keep: impl FnMut(&Bytes) -> bool) -> Self {
        let mut resources = Vec::new();
        for group in &self.resources {
            let mut scopes = Vec::new();
            for scope in &group.scopes {
                let spans: Vec<_> = scope.spans.iter().filter(|span| keep(span)).cloned().collect();
                if !spans.is_empty() {
                    scopes.push(ScopeGroup { scope: scope.scope.clone(), spans });
                }
            }
            if !scopes.is_empty() {
                resources.push(ResourceGroup { resource: group.resource.clone(), scopes });
            }
        }
        Self { resources, truncated: self.truncated }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filtered_trace_has_no_empty_groups() {
        let span = Bytes::from_static;
        let scope = |spans: Vec<Bytes>| ScopeGroup { scope: Bytes::from_static(b"s"), spans };
        let group = |scopes| ResourceGroup { resource: Bytes::from_static(b"rr"), scopes };
        let trace = CombinedTrace {
            resources: vec![
                group(vec![scope(vec![span(b"a"), span(b"bb")]), scope(vec![span(b"bb")])]),
                group(vec![scope(vec![span(b"a")])]),
            ],
            truncated: true,
        };
        assert_eq!(trace.bytes(), 2 * 2 + 3 + 6);
        let part = trace.filtered(|span| span.len() == 2);
        let expected = group(vec![scope(vec![span(b"bb")]), scope(vec![span(b"bb")])]);
        assert_eq!(part, CombinedTrace { resources: vec![expected], truncated: true });
        let spans: Vec<_> = part.spans_by_resource().flat_map(|(_, spans)| spans).collect();
        assert_eq!(spans, [b"bb".as_slice(), b"bb"]);
        let by_scope: Vec<_> = trace.spans_by_scope().map(|(_, _, spans)| spans.len()).collect();
        assert_eq!(by_scope, [2, 1, 1]);
        assert!(trace.filtered(|_| false).is_empty());
    }
}
