//! Traces by id in blocks.

use super::*;

#[tokio::test]
async fn trace_is_found_in_every_block_that_has_it() {
    let sample = Sample::new(&[V4, V5]).await;
    for (id, spans) in [
        ("463ac35c9f6413ad", 4),
        ("af7651916cd43dd8448eb211c80319c", 4),
        ("5b8efff798038103d269b633813fc60c", 1),
        ("ffffffffffffffffffffffffffffffff", 3),
    ] {
        let found = sample.find(id, &[V4, V5]).await.unwrap();
        assert_eq!(span_count(&found.traces), [spans, spans], "{id}");
        assert!(found.inspected_bytes > 0);
    }
    let absent = sample.find("42", &[V4, V5]).await.unwrap();
    assert!(absent.traces.is_empty() && absent.damaged_blocks == 0);
    assert_eq!(absent.inspected_bytes, 0, "the bloom filters are cached");
}

#[tokio::test]
async fn of_a_large_trace_a_block_gives_the_part_that_is_asked_for() {
    let sample = Sample::new(&[V4, V5]).await;
    let id = tactus_model::TraceId::from_hex("463ac35c9f6413ad").unwrap();
    let find = |large_spans, span_ids: Bytes| FindTraceRequest {
        tenant: TENANT.into(),
        trace_id: id.0.to_vec().into(),
        large_spans,
        span_ids,
        ..FindTraceRequest::default()
    };
    let whole = sample.find_part(find(4, Bytes::new()), &[V4, V5]).await.unwrap();
    assert!(!whole.is_part, "four spans are not more than four");
    assert_eq!(whole.traces, sample.find("463ac35c9f6413ad", &[V4, V5]).await.unwrap().traces);
    let heads = sample.find_part(find(3, Bytes::new()), &[V4, V5]).await.unwrap();
    assert!(heads.is_part);
    assert_eq!(span_count(&heads.traces), [4, 4]);
    for (head, whole) in spans_of(&heads.traces).iter().zip(spans_of(&whole.traces)) {
        let id = |span: &Span| (span.span_id.clone(), span.parent_span_id.clone());
        let time = |span: &Span| (span.start_time_unix_nano, span.end_time_unix_nano);
        assert_eq!((id(head), time(head)), (id(&whole), time(&whole)));
        assert_eq!((&head.name, head.kind), (&whole.name, whole.kind));
        assert_eq!((head.events.len(), head.links.len()), (whole.events.len(), whole.links.len()));
        assert!(head.attributes.is_empty());
    }
    // Client and server of a call share an id.
    let mut expected = spans_of(&sample.find("463ac35c9f6413ad", &[V4]).await.unwrap().traces);
    let span_id = expected[1].span_id.clone();
    expected.retain(|span| span.span_id == span_id);
    let found = sample.find_part(find(3, span_id), &[V4]).await.unwrap();
    assert_eq!((found.is_part, spans_of(&found.traces)), (true, expected));
    let none = sample.find_part(find(3, Bytes::from_static(&[9; 8])), &[V4]).await.unwrap();
    assert!(none.is_part && none.traces.is_empty());
}

#[tokio::test]
async fn part_of_too_many_bytes_comes_out_of_blocks_in_slices() {
    let sample = Sample::new(&[V4, V5]).await;
    let id = tactus_model::TraceId::from_hex("463ac35c9f6413ad").unwrap();
    let find = |slices, slice, max_part_bytes| FindTraceRequest {
        tenant: TENANT.into(),
        trace_id: id.0.to_vec().into(),
        large_spans: 3,
        query: "{ span.customer != nil && status = error }".into(),
        slices,
        slice,
        max_part_bytes,
        ..FindTraceRequest::default()
    };
    let all = sample.find_part(find(0, 0, 0), &[V4, V5]).await.unwrap();
    assert_eq!(all.part_bytes, all.traces.iter().map(|trace| trace.len() as u64).sum::<u64>());
    // Each alone has fewer.
    let refused = sample.find_part(find(0, 0, all.part_bytes - 1), &[V4, V5]).await.unwrap();
    assert!(refused.is_part && refused.traces.is_empty());
    assert!(refused.part_bytes >= all.part_bytes - 1, "{}", refused.part_bytes);
    let mut found = Vec::new();
    for slice in 0..3 {
        let part = sample.find_part(find(3, slice, all.part_bytes - 1), &[V4, V5]).await.unwrap();
        found.extend(spans_of(&part.traces));
    }
    let mut expected = spans_of(&all.traces);
    let key = |span: &Span| (span.span_id.clone(), span.kind);
    found.sort_by_key(key);
    expected.sort_by_key(key);
    assert_eq!(found, expected);
}
