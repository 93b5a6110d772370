//! Rollback, refused spans and panicking readers leave nothing behind.

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::*;

/// What a push does, in small numbers that make collisions likely.
#[derive(Debug, Clone)]
struct Push {
    service: u8,
    scope: u8,
    spans: Vec<(u8, u8, u8)>,
}

impl Push {
    fn messages(&self) -> Vec<Vec<u8>> {
        let span = |&(trace, id, text): &(u8, u8, u8)| {
            let mut message = span(trace, id, 0, &format!("name {text}"), &[b'v', text]);
            let key = format!("key {text}");
            put_message_field(&mut message, 9, &key_value(&key, AnyValueRef::String(&[text])));
            message
        };
        self.spans.iter().map(span).collect()
    }

    fn owners(&self, builder: &mut BatchBuilder) -> (u32, u32) {
        let mut scope = Vec::new();
        put_bytes_field(&mut scope, 1, format!("scope {}", self.scope).as_bytes());
        let resource = resource(&format!("service {}", self.service));
        (builder.resource(&resource).unwrap(), builder.scope(&scope).unwrap())
    }

    fn append(&self, builder: &mut BatchBuilder) {
        let (resource, scope) = self.owners(builder);
        let spans = scope_spans(&self.messages());
        builder.append_scope_spans(resource, scope, &spans, |_, _| true).unwrap();
    }
}

fn pushes(count: usize) -> impl Strategy<Value = Vec<Push>> {
    let spans = proptest::collection::vec((1u8..5, 1u8..9, 0u8..12), 0..5);
    let push =
        (0u8..3, 0u8..3, spans).prop_map(|(service, scope, spans)| Push { service, scope, spans });
    proptest::collection::vec(push, 0..count)
}

fn builder_of(pushes: &[Push]) -> BatchBuilder {
    let mut builder = BatchBuilder::new(BuilderLimits { max_attribute_bytes: 6 });
    pushes.iter().for_each(|push| push.append(&mut builder));
    builder
}

fn too_deep() -> Vec<u8> {
    let mut deep = Vec::new();
    for _ in 0..200 {
        deep = encode_array(std::iter::once(AnyValueRef::Encoded(&deep)));
    }
    key_value("deep", AnyValueRef::Encoded(&deep))
}

#[test]
fn panicking_reader_leaves_the_builder_whole() {
    let push = |text| Push { service: 1, scope: 1, spans: vec![(1, text, text)] };
    let mut builder = builder_of(&[push(1)]);
    let result = catch_unwind(AssertUnwindSafe(|| builder.with_batch(|_| panic!("reader"))));
    assert!(result.is_err());
    push(2).append(&mut builder);
    assert_eq!(builder.finish(), builder_of(&[push(1), push(2)]).finish());
}

#[test]
fn malformed_pushes_do_not_accumulate() {
    let mut builder = builder_of(&[Push { service: 1, scope: 1, spans: vec![(1, 1, 1)] }]);
    let before = builder.heap_bytes();
    for number in 0..2_000u32 {
        let mark = builder.mark();
        let text = format!("{number} {}", "x".repeat(500));
        let resource = builder.resource(&resource(&text)).unwrap();
        let scope = builder.scope(b"").unwrap();
        let mut spans = scope_spans(&[span(9, 9, 0, &text, text.as_bytes())]);
        spans.push(0xff);
        assert!(builder.append_scope_spans(resource, scope, &spans, |_, _| true).is_err());
        builder.rollback(mark);
    }
    // Vectors keep some spare capacity.
    assert!(builder.heap_bytes() < before + 50_000, "{before} {}", builder.heap_bytes());
}

#[test]
fn rollback_of_a_large_push_gives_memory_back() {
    let mut builder = builder_of(&[Push { service: 1, scope: 1, spans: vec![(1, 1, 1)] }]);
    let mark = builder.mark();
    let spans: Vec<_> = (0..40_000u32)
        .map(|number| {
            let text = number.to_string();
            let mut message = span(1, 1, 0, &text, text.as_bytes());
            put_message_field(&mut message, 1, &u128::from(number + 1).to_le_bytes());
            put_message_field(&mut message, 9, &key_value(&text, AnyValueRef::Bool(true)));
            message
        })
        .collect();
    builder.append_scope_spans(0, 0, &scope_spans(&spans), |_, _| true).unwrap();
    assert!(builder.heap_bytes() > 5_000_000);
    builder.rollback(mark);
    // The guess for what follows a key that is gone must not make room for it again.
    let next = Push { service: 1, scope: 1, spans: vec![(1, 2, 2)] };
    next.append(&mut builder);
    assert!(builder.heap_bytes() < 300_000, "{}", builder.heap_bytes());
}

proptest! {
    #[test]
    fn rollback_restores_batch_and_codes(
        kept in pushes(4),
        dropped in pushes(4),
        cut in any::<prop::sample::Index>(),
        after in pushes(4),
    ) {
        let mut builder = builder_of(&kept);
        let shown = builder.with_batch(SpanBatch::clone);
        let truncated = builder.truncated_attributes();
        let mark = builder.mark();
        dropped.iter().for_each(|push| push.append(&mut builder));
        if let Some(push) = dropped.last() {
            let (resource, scope) = push.owners(&mut builder);
            let spans = scope_spans(&push.messages());
            let cut = cut.index(spans.len() + 1);
            let _ = builder.append_scope_spans(resource, scope, &spans[..cut], |_, _| true);
        }
        let before = builder.copy_before(mark);
        prop_assert_eq!(encode_traces_data(&before), encode_traces_data(&shown));
        builder.rollback(mark);
        prop_assert_eq!(builder.with_batch(SpanBatch::clone), shown);
        prop_assert_eq!(builder.truncated_attributes(), truncated);
        after.iter().for_each(|push| push.append(&mut builder));
        let all: Vec<_> = kept.into_iter().chain(after).collect();
        prop_assert_eq!(builder.finish(), builder_of(&all).finish());
    }

    #[test]
    fn rollback_after_any_bytes_restores_the_batch(
        kept in pushes(3),
        bytes in proptest::collection::vec(any::<u8>(), 0..200),
        after in pushes(3),
    ) {
        let mut builder = builder_of(&kept);
        let mark = builder.mark();
        let _ = builder.resource(&bytes);
        let _ = builder.scope(&bytes);
        let _ = builder.append_scope_spans(0, 0, &bytes, |_, _| true);
        let mut framed = span(1, 1, 0, "framed", b"framed");
        put_message_field(&mut framed, 9, &bytes);
        let _ = builder.append_scope_spans(0, 0, &scope_spans(&[framed]), |_, _| true);
        builder.rollback(mark);
        after.iter().for_each(|push| push.append(&mut builder));
        let all: Vec<_> = kept.into_iter().chain(after).collect();
        prop_assert_eq!(builder.finish(), builder_of(&all).finish());
    }

    #[test]
    fn spans_left_out_leave_nothing(
        push in pushes(2),
        reasons in proptest::collection::vec(0u8..4, 10),
    ) {
        let mut builder = builder_of(&[]);
        let mut kept = push.clone();
        for (push, kept) in push.iter().zip(&mut kept) {
            let mut messages = push.messages();
            let mut refused = (0, 0);
            for (message, reason) in messages.iter_mut().zip(&reasons) {
                match reason {
                    1 => put_message_field(message, 1, &[0xee; 16]),
                    2 => {
                        put_message_field(message, 9, &too_deep());
                        refused.0 += 1;
                    }
                    3 => {
                        put_message_field(message, 2, b"");
                        refused.1 += 1;
                    }
                    _ => {}
                }
            }
            let (resource, scope) = push.owners(&mut builder);
            let admit = |trace, _| trace != TraceId([0xee; 16]);
            let too_deep =
                builder.append_scope_spans(resource, scope, &scope_spans(&messages), admit);
            prop_assert_eq!((too_deep.unwrap(), builder.take_refused_ids()), refused);
            let mut reasons = reasons.iter();
            kept.spans.retain(|_| reasons.next() == Some(&0));
        }
        let truncated = builder.truncated_attributes();
        let mut expected = builder_of(&kept);
        prop_assert_eq!(truncated, expected.truncated_attributes());
        prop_assert_eq!(builder.with_batch(SpanBatch::clone), expected.with_batch(SpanBatch::clone));
    }
}
