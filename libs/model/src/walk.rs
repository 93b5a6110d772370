//! Finds resources, scopes and spans in an OTLP export request without decoding attributes.

use std::ops::Range;

use crate::wire::{Reader, WireError, messages, put_bytes_field, put_message_field};

/// The field that held spans before OTLP renamed libraries to scopes; its content has the field numbers of ScopeSpans.
/// Old senders still use it. It counts only in messages without scope spans.
const LIBRARY_SPANS: u32 = 1000;

/// A request may have this many spans, whatever its size.
const FREE_SPANS: usize = 1 << 12;

/// Beyond that, a request may have one span for each this many of its bytes. The two ids take as many.
///
/// A ScopeSpans message with a span takes some 60 bytes here and twice that in a push. Without this limit, four bytes of a
/// request would be enough for one, and a kilobyte of compressed bytes for a million spans.
const BYTES_PER_SPAN: usize = 28;

/// What a walk found: ranges into the request.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct ExportWalk {
    /// OTLP Resource messages; one a ResourceSpans message that holds a span.
    pub resources: Vec<Range<usize>>,
    /// OTLP InstrumentationScope messages; one a ScopeSpans message that holds a span.
    pub scopes: Vec<Range<usize>>,
    /// ScopeSpans messages that hold at least one span.
    pub runs: Vec<SpanRun>,
    /// A resource or scope comes in several parts, as protobuf allows. The ranges have only the last part;
    /// [`join_parts`] makes a request where each is whole.
    pub in_parts: bool,
    /// All spans so far.
    spans: usize,
}

/// The spans of one ScopeSpans message.
#[derive(Debug, PartialEq, Eq)]
pub struct SpanRun {
    /// Index into [`ExportWalk::resources`].
    pub resource: u32,
    /// Index into [`ExportWalk::scopes`].
    pub scope: u32,
    /// The content of the ScopeSpans message.
    pub scope_spans: Range<usize>,
    /// Its spans.
    pub spans: u32,
}

/// One span as it lies in the request.
#[derive(Debug, Clone, Copy)]
pub struct SpanView<'a> {
    /// Index into [`ExportWalk::runs`].
    pub run: usize,
    /// The Span message.
    pub message: &'a [u8],
    /// Where the span's field of its ScopeSpans message begins in the request, or an earlier field that is no span. The
    /// bytes from here to the end of this span, or of a later one of the same run, are whole fields of a ScopeSpans
    /// message.
    pub start: usize,
    /// Where that field ends.
    pub end: usize,
    /// The trace id as sent, of any length.
    pub trace_id: &'a [u8],
    /// The span id as sent, of any length.
    pub span_id: &'a [u8],
}

/// Walks an ExportTraceServiceRequest, and calls `on_span` for every span.
///
/// Only the fields down to the span's own are read. Attributes are skipped by their length, so that a malformed
/// attribute is found later, when the ingester converts the span.
///
/// Errors: damage, and [`WireError::Hollow`] if the request has many more spans than its bytes justify.
pub fn walk_export<'a>(
    request: &'a [u8],
    mut on_span: impl FnMut(SpanView<'a>),
) -> Result<ExportWalk, WireError> {
    let mut walk = ExportWalk::default();
    let mut reader = Reader::new(request);
    while let Some((field, value)) = reader.next_field()? {
        if field == 1 {
            let message = value.bytes(1)?;
            walk_resource_spans(request, message, &mut walk, &mut on_span)?;
        }
    }
    Ok(walk)
}

/// The spans of an ExportTraceServiceRequest. Errors: as [`walk_export`].
pub fn count_spans(request: &[u8]) -> Result<u64, WireError> {
    walk_export(request, |_| {}).map(|walk| walk.spans as u64)
}

fn walk_resource_spans<'a>(
    request: &'a [u8],
    message: &'a [u8],
    walk: &mut ExportWalk,
    on_span: &mut impl FnMut(SpanView<'a>),
) -> Result<(), WireError> {
    let resource = walk.resources.len() as u32;
    let runs = walk.runs.len();
    walk.resources.push(0..0);
    let (mut has_scope_spans, mut has_library_spans) = (false, false);
    let mut reader = Reader::new(message);
    while let Some((field, value)) = reader.next_field()? {
        match field {
            1 => {
                let part = range_in(request, value.bytes(1)?);
                walk.in_parts |= take_part(&mut walk.resources[resource as usize], part);
            }
            2 => {
                has_scope_spans = true;
                walk_scope_spans(request, value.bytes(2)?, resource, walk, on_span)?;
            }
            LIBRARY_SPANS => has_library_spans = true,
            _ => {}
        }
    }
    if has_library_spans && !has_scope_spans {
        let mut reader = Reader::new(message);
        while let Some((field, value)) = reader.next_field()? {
            if field == LIBRARY_SPANS {
                walk_scope_spans(request, value.bytes(field)?, resource, walk, on_span)?;
            }
        }
    }
    // An empty ResourceSpans takes two bytes. Keeping its resource would take eight times that, and more later on.
    if walk.runs.len() == runs {
        walk.resources.pop();
    }
    Ok(())
}

fn walk_scope_spans<'a>(
    request: &'a [u8],
    message: &'a [u8],
    resource: u32,
    walk: &mut ExportWalk,
    on_span: &mut impl FnMut(SpanView<'a>),
) -> Result<(), WireError> {
    let run = walk.runs.len();
    let (mut scope, mut spans) = (0..0, 0);
    let mut start = range_in(request, message).start;
    let mut reader = Reader::new(message);
    while let Some((field, value)) = reader.next_field()? {
        match field {
            1 => {
                let part = range_in(request, value.bytes(1)?);
                start = part.end;
                walk.in_parts |= take_part(&mut scope, part);
            }
            2 => {
                walk.spans += 1;
                if walk.spans > FREE_SPANS && walk.spans > request.len() / BYTES_PER_SPAN {
                    return Err(WireError::Hollow);
                }
                let span = value.bytes(2)?;
                let end = range_in(request, span).end;
                let (trace_id, span_id) = span_ids(span)?;
                on_span(SpanView { run, message: span, start, end, trace_id, span_id });
                (start, spans) = (end, spans + 1);
            }
            _ => {}
        }
    }
    if spans > 0 {
        let scope_spans = range_in(request, message);
        walk.runs.push(SpanRun { resource, scope: walk.scopes.len() as u32, scope_spans, spans });
        walk.scopes.push(scope);
    }
    Ok(())
}

/// Takes a part of a resource or scope in place of the one before. Returns whether both say something.
fn take_part(last: &mut Range<usize>, part: Range<usize>) -> bool {
    !part.is_empty() && !std::mem::replace(last, part).is_empty()
}

/// An ExportTraceServiceRequest with the parts of each resource, and of each scope, in one message.
///
/// Errors: damage.
pub fn join_parts(request: &[u8]) -> Result<Vec<u8>, WireError> {
    let mut joined = Vec::with_capacity(request.len());
    for resource_spans in messages(request, 1) {
        put_message_field(&mut joined, 1, &join_first(resource_spans?, &[2, LIBRARY_SPANS])?);
    }
    Ok(joined)
}

/// A message with the parts of its field 1 in one; the same of the messages in its fields `within`.
fn join_first(message: &[u8], within: &[u32]) -> Result<Vec<u8>, WireError> {
    let (mut first, mut others) = (Vec::new(), Vec::with_capacity(message.len()));
    let mut reader = Reader::new(message);
    loop {
        let start = message.len() - reader.remaining();
        let Some((field, value)) = reader.next_field()? else { break };
        match field {
            1 => first.extend_from_slice(value.bytes(1)?),
            _ if within.contains(&field) => {
                put_message_field(&mut others, field, &join_first(value.bytes(field)?, &[])?);
            }
            _ => others.extend_from_slice(&message[start..message.len() - reader.remaining()]),
        }
    }
    let mut joined = Vec::with_capacity(first.len() + others.len() + 16);
    put_bytes_field(&mut joined, 1, &first);
    joined.append(&mut others);
    Ok(joined)
}

/// The trace id and span id of a Span message; empty if absent.
///
/// Stops reading when it has both: senders write them first, and the rest of the span is read once, when it becomes a
/// row. If an id occurs again later in the message, that one counts, so [`crate::BatchBuilder`] checks the ids once
/// more.
#[inline]
pub fn span_ids(span: &[u8]) -> Result<(&[u8], &[u8]), WireError> {
    let (mut trace_id, mut span_id): (&[u8], &[u8]) = (b"", b"");
    let mut reader = Reader::new(span);
    while let Some((field, value)) = reader.next_field()? {
        match field {
            1 => trace_id = value.bytes(1)?,
            2 => span_id = value.bytes(2)?,
            _ => {}
        }
        if !trace_id.is_empty() && !span_id.is_empty() {
            break;
        }
    }
    Ok((trace_id, span_id))
}

/// The position of `part`, a subslice of `whole`.
fn range_in(whole: &[u8], part: &[u8]) -> Range<usize> {
    let start = part.as_ptr() as usize - whole.as_ptr() as usize;
    start..start + part.len()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn walk_finds_resource_after_its_spans() {
        let (mut span, mut scope_spans, mut resource_spans, mut request) =
            (vec![], vec![], vec![], vec![]);
        put_bytes_field(&mut span, 1, &[7; 16]);
        put_bytes_field(&mut span, 2, &[8; 8]);
        put_message_field(&mut scope_spans, 2, &span);
        put_message_field(&mut resource_spans, 2, &scope_spans);
        put_message_field(&mut resource_spans, 1, b"\x10\x05");
        put_message_field(&mut request, 1, &resource_spans);
        let mut seen = Vec::new();
        let walk = walk_export(&request, |span| seen.push((span.trace_id, span.span_id))).unwrap();
        assert_eq!(seen, [(&[7u8; 16][..], &[8u8; 8][..])]);
        assert_eq!(&request[walk.resources[0].clone()], b"\x10\x05");
        assert_eq!(walk.runs[0].spans, 1);
        assert_eq!(&request[walk.runs[0].scope_spans.clone()], scope_spans);
    }

    #[test]
    fn ranges_of_spans_are_scope_spans_by_themselves() {
        let (mut scope_spans, mut resource_spans, mut request) = (vec![], vec![], vec![]);
        put_message_field(&mut scope_spans, 1, b"\x0a\x01s");
        for number in 1..=3u8 {
            crate::wire::put_varint_field(&mut scope_spans, 9, 300);
            let mut span = Vec::new();
            put_bytes_field(&mut span, 1, &[number; 16]);
            put_bytes_field(&mut span, 2, &[number; 8]);
            put_message_field(&mut scope_spans, 2, &span);
        }
        put_message_field(&mut resource_spans, 2, &scope_spans);
        put_message_field(&mut request, 1, &resource_spans);
        let mut ranges = Vec::new();
        walk_export(&request, |span| ranges.push(span.start..span.end)).unwrap();
        let spans_in = |range: Range<usize>| {
            let (mut reader, mut ids) = (Reader::new(&request[range]), Vec::new());
            while let Some((field, value)) = reader.next_field().unwrap() {
                assert!(matches!(field, 2 | 9));
                if field == 2 {
                    ids.push(span_ids(value.bytes(2).unwrap()).unwrap().1[0]);
                }
            }
            ids
        };
        assert_eq!(spans_in(ranges[1].clone()), [2]);
        assert_eq!(spans_in(ranges[0].start..ranges[1].end), [1, 2]);
        assert_eq!(spans_in(ranges[1].start..ranges[2].end), [2, 3]);
        assert_eq!(ranges[2].end, request.len());
    }

    #[test]
    fn spans_of_old_senders_count_where_there_are_no_others() {
        let (mut span, mut scope_spans, mut old, mut both) = (vec![], vec![], vec![], vec![]);
        put_bytes_field(&mut span, 1, &[7; 16]);
        put_message_field(&mut scope_spans, 2, &span);
        put_message_field(&mut old, LIBRARY_SPANS, &scope_spans);
        put_message_field(&mut both, LIBRARY_SPANS, &scope_spans);
        put_message_field(&mut both, 2, &scope_spans);
        for resource_spans in [old, both] {
            let mut request = vec![];
            put_message_field(&mut request, 1, &resource_spans);
            assert_eq!(walk_export(&request, |_| {}).unwrap().runs.len(), 1);
            assert_eq!(count_spans(&request), Ok(1));
        }
    }

    #[test]
    fn parts_of_resources_and_scopes_are_joined() {
        let (mut scope_spans, mut resource_spans, mut request) = (vec![], vec![], vec![]);
        put_message_field(&mut scope_spans, 1, b"\x0a\x01s");
        put_message_field(&mut scope_spans, 2, b"\x2a\x01a");
        put_message_field(&mut scope_spans, 1, b"\x12\x01v");
        put_message_field(&mut scope_spans, 3, b"schema");
        put_message_field(&mut scope_spans, 2, b"\x2a\x01b");
        put_message_field(&mut resource_spans, 1, b"\x0a\x02\x10\x05");
        put_message_field(&mut resource_spans, 2, &scope_spans);
        put_message_field(&mut resource_spans, 1, b"\x10\x06");
        put_message_field(&mut request, 1, &resource_spans);
        let walk = walk_export(&request, |_| {}).unwrap();
        assert!(walk.in_parts);
        let joined = join_parts(&request).unwrap();
        let mut spans = Vec::new();
        let walk = walk_export(&joined, |span| spans.push(span.message)).unwrap();
        assert_eq!(spans, [b"\x2a\x01a", b"\x2a\x01b"]);
        assert_eq!(&joined[walk.resources[0].clone()], b"\x0a\x02\x10\x05\x10\x06");
        assert_eq!(&joined[walk.scopes[0].clone()], b"\x0a\x01s\x12\x01v");
        assert!(joined.windows(6).any(|bytes| bytes == b"schema"));
        assert!(!walk.in_parts);
    }

    #[test]
    fn empty_parts_say_nothing() {
        for [first, second] in [[&b""[..], b"\x10\x05"], [b"\x10\x05", b""]] {
            let (mut resource_spans, mut request) = (vec![], vec![]);
            put_message_field(&mut resource_spans, 1, first);
            put_message_field(&mut resource_spans, 1, second);
            put_message_field(&mut resource_spans, 2, b"\x12\x00");
            put_message_field(&mut request, 1, &resource_spans);
            let walk = walk_export(&request, |_| {}).unwrap();
            assert_eq!(&request[walk.resources[0].clone()], b"\x10\x05");
            assert!(!walk.in_parts);
        }
    }

    #[test]
    fn messages_without_spans_leave_nothing() {
        let mut request = b"\x0a\x00".repeat(1_000);
        request.extend_from_slice(b"\x0a\x04\x0a\x02\x10\x05\x0a\x02\x12\x00");
        let walk = walk_export(&request, |_| {}).unwrap();
        assert_eq!(walk, ExportWalk::default());
        assert!(walk.resources.capacity() < 10);
    }

    #[test]
    fn more_spans_than_their_bytes_can_fill_are_an_error() {
        let runs = |span: &[u8], count: usize| {
            let (mut scope_spans, mut resource_spans, mut request) = (vec![], vec![], vec![]);
            put_message_field(&mut scope_spans, 2, span);
            put_message_field(&mut resource_spans, 2, &scope_spans);
            put_message_field(&mut request, 1, &resource_spans);
            walk_export(&request.repeat(count), |_| {}).map(|walk| walk.runs.len())
        };
        let ids = [&[0x0a, 16][..], &[7; 16], &[0x12, 8], &[7; 8]].concat();
        assert_eq!(runs(&ids, 20_000), Ok(20_000));
        assert_eq!(runs(&[], FREE_SPANS), Ok(FREE_SPANS));
        assert_eq!(runs(&[], FREE_SPANS + 1), Err(WireError::Hollow));
    }

    #[test]
    fn walk_of_empty_spans_ends_early() {
        let spans = |span: &[u8], count: usize| {
            let (mut scope_spans, mut resource_spans, mut request) = (vec![], vec![], vec![]);
            put_message_field(&mut scope_spans, 2, span);
            put_message_field(&mut resource_spans, 2, &scope_spans.repeat(count));
            put_message_field(&mut request, 1, &resource_spans);
            let mut seen = 0;
            (walk_export(&request, |_| seen += 1).map(|_| ()), seen)
        };
        let ids = [&[0x0a, 16][..], &[7; 16], &[0x12, 8], &[7; 8]].concat();
        assert_eq!(spans(&ids, 100_000), (Ok(()), 100_000));
        assert_eq!(spans(&[], FREE_SPANS), (Ok(()), FREE_SPANS));
        let (result, seen) = spans(&[], 1_000_000);
        assert_eq!(result, Err(WireError::Hollow));
        assert!(seen < 100_000, "{seen}");
    }

    #[test]
    fn resources_count_only_where_spans_are() {
        let (mut scope_spans, mut full, mut request) = (vec![], vec![], vec![]);
        put_message_field(&mut scope_spans, 2, b"");
        put_message_field(&mut full, 1, b"\x10\x05");
        put_message_field(&mut full, 2, b"");
        put_message_field(&mut full, 2, &scope_spans);
        put_message_field(&mut request, 1, b"");
        put_message_field(&mut request, 1, &full);
        put_message_field(&mut request, 1, b"\x0a\x02\x10\x06");
        put_message_field(&mut request, 1, &full);
        let walk = walk_export(&request, |_| {}).unwrap();
        assert_eq!((walk.resources.len(), walk.scopes.len()), (2, 2));
        let rows: Vec<_> = walk.runs.iter().map(|run| (run.resource, run.scope)).collect();
        assert_eq!(rows, [(0, 0), (1, 1)]);
        assert!(walk.resources.iter().all(|range| &request[range.clone()] == b"\x10\x05"));
    }

    proptest! {
        #[test]
        fn walk_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let is_sound = walk_export(&bytes, |_| {}).is_ok();
            if let Ok(joined) = join_parts(&bytes) {
                let again = walk_export(&joined, |_| {});
                prop_assert!(!is_sound || !again.unwrap().in_parts);
            }
        }
    }
}
