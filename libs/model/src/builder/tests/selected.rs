use std::sync::Arc;

use super::*;

fn keys(of: &[&str]) -> Arc<SelectedKeys> {
    let mut keys = SelectedKeys::default();
    for key in of {
        keys.add(key);
    }
    Arc::new(keys)
}

fn selected(limits: BuilderLimits, of: &[&str], spans: &[Vec<u8>]) -> (SelectedBatch, u64) {
    let mut builder = BatchBuilder::selecting(limits, keys(of));
    let left_out = builder.append_run(b"", b"", &scope_spans(spans), |_, _| true).unwrap();
    (builder.finish_selected(), left_out)
}

/// The attributes of each span, as texts.
fn attributes(batch: &SpanBatch) -> Vec<Vec<(Vec<u8>, String)>> {
    let texts = |row: usize| {
        let pair = |attribute: crate::Attribute| {
            let value = format!("{:?}", attribute.value(&batch.strings));
            (batch.strings.get(attribute.key).to_vec(), value)
        };
        batch.span_attributes.of(row).map(pair).collect()
    };
    (0..batch.len()).map(texts).collect()
}

#[test]
fn only_selected_attributes_are_kept_and_sizes_are_of_whole_spans() {
    let span = span(1, 2, 3, "work", b"hello");
    let (one, left_out) =
        selected(BuilderLimits::default(), &["list", "absent"], std::slice::from_ref(&span));
    assert_eq!((one.batch.len(), left_out), (1, 0));
    // The message is as a client writes it that leaves out what is zero.
    assert_eq!(one.sizes, [span.len() as u32]);
    let kept = attributes(&one.batch);
    assert_eq!(kept[0].iter().map(|(key, _)| &key[..]).collect::<Vec<_>>(), [b"list"]);
    assert!(one.batch.events.time.is_empty() && one.batch.links.trace_id.is_empty());
    assert!(!one.batch.strings.parts().0.windows(5).any(|text| text == b"hello"));
}

#[test]
fn flags_count_in_the_size_if_they_are_not_zero() {
    let mut link = Vec::new();
    put_message_field(&mut link, 1, &[9; 16]);
    put_message_field(&mut link, 2, &[9; 8]);
    link.extend([6 << 3 | 5, 1, 1, 0, 0]);
    let mut span = Vec::new();
    put_message_field(&mut span, 1, &[1; 16]);
    put_message_field(&mut span, 2, &[2; 8]);
    put_message_field(&mut span, 13, &link);
    put_message_field(&mut span, 15, b"");
    span.extend([0x85, 0x01, 1, 3, 0, 0]);
    let (one, _) = selected(BuilderLimits::default(), &[], std::slice::from_ref(&span));
    assert_eq!(one.sizes, [span.len() as u32]);
    let zero = [&span[..span.len() - 4], &[0; 4]].concat();
    let (one, _) = selected(BuilderLimits::default(), &[], &[zero]);
    assert_eq!(one.sizes, [span.len() as u32 - 6]);
}

#[test]
fn span_that_is_nested_too_deeply_is_left_out_whether_it_is_selected_or_not() {
    let mut deep = Vec::new();
    any_value::encode(&mut deep, AnyValueRef::Int(1));
    for _ in 0..=MAX_DEPTH {
        deep = encode_array([AnyValueRef::Encoded(&deep)].into_iter());
    }
    let pair = key_value("deep", AnyValueRef::Encoded(&deep));
    let mut event = Vec::new();
    put_message_field(&mut event, 3, &pair);
    let mut of_span = span(1, 1, 0, "a", b"");
    put_message_field(&mut of_span, 9, &pair);
    let mut of_event = span(1, 2, 0, "b", b"");
    put_message_field(&mut of_event, 11, &event);
    let spans = [of_span, span(1, 3, 0, "c", b""), of_event];
    let (batch, left_out) = selected(BuilderLimits::default(), &[], &spans);
    assert_eq!((batch.batch.len(), batch.sizes.len(), left_out), (1, 1, 2));
}

#[test]
fn rollback_takes_sizes_along() {
    let mut builder = BatchBuilder::selecting(BuilderLimits::default(), keys(&[]));
    let mark = builder.mark();
    builder.append_run(b"", b"", &scope_spans(&[span(1, 1, 0, "a", b"x")]), |_, _| true).unwrap();
    builder.rollback(mark);
    let last = span(1, 2, 0, "longer", b"x");
    builder.append_run(b"", b"", &scope_spans(std::slice::from_ref(&last)), |_, _| true).unwrap();
    assert_eq!(builder.finish_selected().sizes, [last.len() as u32]);
}

proptest! {
    #[test]
    fn selecting_every_key_gives_the_same_spans_as_not_selecting(
        texts in prop::collection::vec((".{0,12}", "[a-z]{1,12}", prop::collection::vec(any::<u8>(), 0..20), any::<bool>()), 1..6),
        limit in prop_oneof![Just(0usize), 3usize..12],
    ) {
        let limits = BuilderLimits { max_attribute_bytes: limit };
        let of = |(at, (name, key, text, root)): (usize, &(String, String, Vec<u8>, bool))| {
            let mut span = span(1, at as u8 + 1, u8::from(!root), name, text);
            put_message_field(&mut span, 9, &key_value(key, AnyValueRef::String(text)));
            let list = encode_array([AnyValueRef::String(text), AnyValueRef::Bool(true)].into_iter());
            put_message_field(&mut span, 9, &key_value(key, AnyValueRef::Encoded(&list)));
            span
        };
        let spans: Vec<_> = texts.iter().enumerate().map(of).collect();
        let mut whole = BatchBuilder::new(limits);
        whole.append_run(b"", b"", &scope_spans(&spans), |_, _| true).unwrap();
        let whole = whole.finish();
        let wanted = attributes(&whole);
        let names: Vec<String> =
            wanted.iter().flatten().map(|(key, _)| String::from_utf8(key.clone()).unwrap()).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let (some, _) = selected(limits, &names, &spans);
        prop_assert_eq!(attributes(&some.batch), wanted);
        prop_assert_eq!(some.batch.spans.duration.to_vec(), whole.spans.duration.to_vec());
        // Cut or not, a size is that of the span when it is written again.
        for (row, size) in some.sizes.iter().enumerate() {
            if limit == 0 {
                prop_assert_eq!(*size as usize, spans[row].len());
            } else {
                prop_assert!(*size as usize <= spans[row].len());
            }
        }
    }
}
