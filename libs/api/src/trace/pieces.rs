//! A trace in pieces, so that an answer is written and sent before all of it is known.

use bytes::Bytes;

use super::{CombinedTrace, ResourceGroup, ScopeGroup};

/// Resources of a smaller trace may be repeated up to this many bytes.
const REPEATED_BYTES: usize = 64 << 10;

/// The spans of a trace in their order, some at a time, with their resources and scopes.
#[derive(Debug)]
pub struct Pieces {
    resources: std::vec::IntoIter<ResourceGroup>,
    /// The current resource, and its remaining scopes.
    resource: Bytes,
    scopes: std::vec::IntoIter<ScopeGroup>,
    /// The current scope, and its remaining spans.
    scope: Bytes,
    spans: std::vec::IntoIter<Bytes>,
    piece_bytes: usize,
    /// Bytes of resources that may still be repeated for their scopes. `None`: no resource is.
    repeatable: Option<usize>,
    /// The current resource stands again for each of its scopes.
    is_repeated: bool,
}

impl CombinedTrace {
    /// The trace in pieces of about this many bytes each, at least one span. If its resource and scope have more, which each piece
    /// repeats, a piece has as many bytes of spans.
    pub fn into_pieces(self, piece_bytes: usize) -> Pieces {
        Pieces {
            resources: self.resources.into_iter(),
            resource: Bytes::new(),
            scopes: Vec::new().into_iter(),
            scope: Bytes::new(),
            spans: Vec::new().into_iter(),
            piece_bytes,
            repeatable: None,
            is_repeated: false,
        }
    }

    /// As [`Self::into_pieces`], with the resource again for each of its scopes: Kiali reads only the first scope of a resource.
    ///
    /// The trace at most doubles, unless it is small: a resource that would repeat more keeps its scopes together. A large resource with
    /// many scopes would otherwise make a small trace a very large answer.
    pub fn into_pieces_by_scope(self, piece_bytes: usize) -> Pieces {
        let repeatable = Some(self.bytes().max(REPEATED_BYTES));
        Pieces { repeatable, ..self.into_pieces(piece_bytes) }
    }

    /// As [`Self::bytes`], at most, with the resource again for each of its scopes.
    pub fn bytes_by_scope(&self) -> usize {
        let (bytes, repeated) = (self.bytes(), self.resources.iter().map(repeated_bytes));
        bytes + repeated.fold(0, usize::saturating_add).min(bytes.max(REPEATED_BYTES))
    }
}

fn repeated_bytes(group: &ResourceGroup) -> usize {
    group.resource.len().saturating_mul(group.scopes.len().saturating_sub(1))
}

impl Pieces {
    /// The next span. Also sets the current resource and scope to those of the span.
    fn next_span(&mut self) -> Option<Bytes> {
        loop {
            if let Some(span) = self.spans.next() {
                return Some(span);
            }
            if let Some(ScopeGroup { scope, spans }) = self.scopes.next() {
                (self.scope, self.spans) = (scope, spans.into_iter());
                continue;
            }
            let group = self.resources.next()?;
            let left = self.repeatable.and_then(|bytes| bytes.checked_sub(repeated_bytes(&group)));
            self.is_repeated = left.is_some();
            self.repeatable = left.or(self.repeatable);
            (self.resource, self.scopes) = (group.resource, group.scopes.into_iter());
        }
    }

    /// The numbers of resources and scopes that remain, which identify the current scope.
    fn place(&self) -> (usize, usize) {
        (self.resources.len(), self.scopes.len())
    }
}

impl Iterator for Pieces {
    type Item = CombinedTrace;

    fn next(&mut self) -> Option<CombinedTrace> {
        let (mut resources, mut bytes) = (Vec::<ResourceGroup>::new(), 0);
        let (mut last, mut enough) = (None::<(usize, usize)>, self.piece_bytes.max(1));
        while bytes < enough {
            let Some(span) = self.next_span() else { break };
            bytes += span.len().max(1);
            let place = self.place();
            if last.is_none() {
                enough = enough.max(2 * (self.resource.len() + self.scope.len()));
            }
            if last.is_none_or(|(resource, scope)| {
                resource != place.0 || (self.is_repeated && scope != place.1)
            }) {
                let resource = self.resource.clone();
                bytes += resource.len();
                resources.push(ResourceGroup { resource, scopes: Vec::new() });
            }
            let Some(group) = resources.last_mut() else { break };
            if last != Some(place) {
                bytes += self.scope.len();
                group.scopes.push(ScopeGroup { scope: self.scope.clone(), spans: Vec::new() });
            }
            last = Some(place);
            if let Some(scope) = group.scopes.last_mut() {
                scope.spans.push(span);
            }
        }
        (!resources.is_empty()).then_some(CombinedTrace { resources, truncated: false })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trace() -> CombinedTrace {
        let scope = |name: &'static str, spans: usize| ScopeGroup {
            scope: name.into(),
            spans: (0..spans).map(|number| Bytes::from(vec![number as u8; 10])).collect(),
        };
        let resources = vec![
            ResourceGroup { resource: "a".into(), scopes: vec![scope("x", 3), scope("y", 4)] },
            ResourceGroup { resource: "b".into(), scopes: vec![scope("x", 1)] },
            ResourceGroup { resource: "b".into(), scopes: vec![scope("x", 5)] },
        ];
        CombinedTrace { resources, truncated: false }
    }

    fn flat(trace: &CombinedTrace) -> Vec<(Bytes, Bytes, Bytes)> {
        let scopes = trace.spans_by_scope();
        let spans = scopes.flat_map(|(resource, scope, spans)| {
            spans.iter().map(|span| (resource.clone(), scope.clone(), span.clone()))
        });
        spans.collect()
    }

    #[test]
    fn pieces_have_every_span_once_in_order_with_its_owners() {
        for piece_bytes in [0, 1, 10, 25, 40, 1_000] {
            let pieces: Vec<_> = trace().into_pieces(piece_bytes).collect();
            let all: Vec<_> = pieces.iter().flat_map(flat).collect();
            assert_eq!(all, flat(&trace()), "{piece_bytes}");
            let most = piece_bytes.max(1).div_ceil(10);
            assert!(pieces.iter().all(|piece| (1..=most).contains(&piece.spans())));
        }
        assert_eq!(trace().into_pieces(1_000).next(), Some(trace()));
        assert!(CombinedTrace::default().into_pieces(10).next().is_none());
    }

    #[test]
    fn resource_counts_again_for_each_scope() {
        let scope = |number: u8| {
            let spans = vec![Bytes::from(vec![number; 10])];
            ScopeGroup { scope: "x".into(), spans }
        };
        let (resource, scopes) = (Bytes::from(vec![7; 100]), (0..8).map(scope).collect());
        let trace =
            CombinedTrace { resources: vec![ResourceGroup { resource, scopes }], truncated: false };
        let whole = flat(&trace);
        let pieces: Vec<_> = trace.into_pieces_by_scope(333).collect();
        let resources: Vec<_> = pieces.iter().map(|piece| piece.resources.len()).collect();
        assert_eq!(resources, [3, 3, 2]);
        assert!(pieces.iter().all(|piece| piece.bytes() <= 333));
        assert_eq!(pieces.iter().flat_map(flat).collect::<Vec<_>>(), whole);
    }

    #[test]
    fn resource_that_each_piece_repeats_at_most_doubles_the_trace() {
        let spans = (0..1_000).map(|number| Bytes::from(vec![number as u8; 10])).collect();
        let scopes = vec![ScopeGroup { scope: Bytes::from(vec![7; 100]), spans }];
        let resource = Bytes::from(vec![7; 900]);
        let trace =
            CombinedTrace { resources: vec![ResourceGroup { resource, scopes }], truncated: false };
        let (whole, pieces) = (trace.bytes(), trace.into_pieces(100));
        let bytes: Vec<_> = pieces.map(|piece| piece.bytes()).collect();
        assert!(bytes.len() == 10 && bytes.iter().sum::<usize>() < 2 * whole, "{bytes:?}");
    }
}
