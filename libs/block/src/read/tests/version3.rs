//! vParquet3: what an independent writer writes reads back, but for what the format cannot keep.

use super::generated::{Shape, batch};
use super::pruning::check_pruning;
use super::round_trip::{check_chosen_spans, spans_of};
use super::vparquet3::{self, Settings};
use super::*;
use proptest::prelude::*;
use tactus_model::any_value::{AnyValueRef, DecodedValue, decode};
use tactus_model::wire::put_message_field;
use tactus_storage::meta::ColumnScope;

fn dedicated_columns() -> Vec<DedicatedColumn> {
    vec![
        DedicatedColumn::string(ColumnScope::Resource, "ip"),
        // These have columns of their own, and take a slot all the same.
        DedicatedColumn::string(ColumnScope::Span, "http.url"),
        DedicatedColumn::string(ColumnScope::Resource, "cluster"),
        DedicatedColumn::string(ColumnScope::Span, "customer"),
        DedicatedColumn::string(ColumnScope::Span, "db.statement"),
    ]
}

fn open(data: Vec<u8>, cache: Option<Arc<ColumnCache>>) -> crate::Result<BlockReader> {
    let facts = BlockFacts {
        size: data.len() as u64,
        footer_size: 0,
        version: BlockVersion::VParquet3,
        dedicated_columns: dedicated_columns(),
    };
    BlockReader::open_with_cache(Arc::new(BytesSource::new(data.into())), &facts, cache)
}

fn settings(odd: u64, page_rows: usize) -> Settings {
    Settings {
        dedicated_columns: dedicated_columns(),
        json_events: odd & 1 != 0,
        dictionaries: odd & 2 == 0,
        pages_v2: odd & 4 == 0,
        page_rows,
    }
}

/// The batch without what vParquet3 has no place for.
fn kept(batch: &SpanBatch) -> SpanBatch {
    let mut kept = batch.clone();
    let zeros = |count: usize| tactus_model::Buffer::from(vec![0u32; count]);
    kept.resources.dropped_attributes = zeros(batch.resources.len());
    kept.scopes.dropped_attributes = zeros(batch.scopes.len());
    kept.scopes.attributes = AttributeList::default();
    for _ in 0..batch.scopes.len() {
        kept.scopes.attributes.end_owner();
    }
    // Bytes have no column; those of events and links are in messages.
    for list in [&mut kept.span_attributes, &mut kept.resources.attributes] {
        *list = changed(list, |attribute| {
            let is_bytes = match attribute.value(&batch.strings) {
                AnyValueRef::Encoded(message) => {
                    matches!(decode(message), Ok(DecodedValue::Bytes(_)))
                }
                _ => false,
            };
            let unset = Attribute { value_type: ValueType::Unset, payload: 0, ..attribute };
            Some(if is_bytes { unset } else { attribute })
        });
    }
    kept
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]

    #[test]
    fn random_batches_read_back_from_version_3(
        seed in any::<u64>(), traces in 1u64..12, max_spans in 1u64..10, max_attributes in 0u64..9,
        strings in 1u64..40, odd in 0u64..16, page_rows in 1usize..30,
    ) {
        let shape = |traces| Shape { traces, max_spans, max_attributes, strings, odd_values: odd & 8 == 0 };
        let batches = [batch(seed, 0, shape(traces)), batch(seed ^ 1, traces, shape(1 + traces / 2))];
        let data = vparquet3::write(&batches, &settings(odd, page_rows));
        let cache = (seed % 2 == 0).then(|| Arc::new(ColumnCache::new(1 << 30)));
        let reader = open(data, cache).unwrap();
        assert_eq!(reader.columns().len(), 76);
        for (group, expected) in batches.iter().enumerate() {
            let expected = &kept(expected);
            let found = reader.read_row_group(group, &Projection::all()).unwrap();
            prop_assert_eq!(&found.traces.ids, &expected.traces.ids);
            prop_assert_eq!(found.len(), expected.len());
            for trace in 0..expected.traces.ids.len() {
                prop_assert_eq!(spans_of(&found, trace), spans_of(expected, trace));
            }
            for (trace, &id) in expected.traces.ids.iter().enumerate().step_by(2) {
                let alone = reader.read_trace(id).unwrap().unwrap();
                prop_assert_eq!(spans_of(&alone, 0), spans_of(expected, trace));
            }
            check_pruning(&reader, group, &found);
            check_chosen_spans(&reader, group);
        }
    }
}

/// One span with some events or links, to change and write.
fn one_span() -> SpanBatch {
    let shape = Shape { traces: 1, max_spans: 1, max_attributes: 0, strings: 1, odd_values: false };
    let mut one = batch(3, 0, shape);
    (one.events, one.links) = Default::default();
    one.events.starts.push(0);
    one.links.starts.push(0);
    one
}

#[test]
fn links_that_are_no_messages_are_an_error() {
    let reader = open(vparquet3::write(&[one_span()], &settings(0, 10)), None).unwrap();
    let batch = reader.read_row_group(0, &Projection::all()).unwrap();
    assert_eq!(batch.links.starts.as_slice(), [0, 0]);

    let mut linked = one_span();
    let mut strings = tactus_model::DictionaryBuilder::default();
    let code = strings.intern(b"state");
    linked.links.trace_id.push(TraceId(std::array::from_fn(|i| 11 * i as u8)));
    linked.links.span_id.push(tactus_model::SpanId([2; 8]));
    linked.links.trace_state.push(code);
    linked.links.dropped_attributes.push(0);
    linked.links.attributes.end_owner();
    linked.links.starts = vec![0, 1].into();
    let mut data = vparquet3::write(&[linked], &settings(0, 10));
    let at = data.windows(4).position(|window| window == [0x0a, 16, 0, 11]).unwrap();
    // A length beyond the end of the message.
    data[at + 1] = 100;
    let mut reader = open(data, None).unwrap();
    assert!(reader.read_row_group(0, &Projection::default()).is_ok());
    Arc::get_mut(&mut reader.file).unwrap().verify = false;
    let error = reader.read_row_group(0, &Projection::all()).unwrap_err();
    assert!(error.to_string().contains("links of a span are malformed"), "{error}");
}

#[test]
fn values_of_events_may_be_messages_json_or_neither() {
    let mut pool = strings::StringPool::default();
    let mut read = |stored: &[u8]| {
        let (value_type, payload) = attributes::from_either(stored, &mut pool).unwrap();
        let holds = value_type.holds_code();
        let bytes = if holds { pool.get(payload as u32).to_vec() } else { Vec::new() };
        (value_type, if holds { 0 } else { payload }, bytes)
    };
    let mut bytes_value = Vec::new();
    put_message_field(&mut bytes_value, 7, b"\xff\xff");
    assert_eq!(read(b""), (ValueType::Unset, 0, Vec::new()));
    assert_eq!(read(b"\x0a\x01x"), (ValueType::String, 0, b"x".to_vec()));
    assert_eq!(read(b"\x18\x07"), (ValueType::Int, 7, Vec::new()));
    assert_eq!(read(br#"{"intValue":"7"}"#), (ValueType::Int, 7, Vec::new()));
    assert_eq!(read(br#"{"stringValue":"{"}"#), (ValueType::String, 0, b"{".to_vec()));
    assert_eq!(read(b"{no json"), (ValueType::String, 0, b"{no json".to_vec()));
    assert_eq!(read(b"\xff\xff"), (ValueType::Other, 0, bytes_value));
}
