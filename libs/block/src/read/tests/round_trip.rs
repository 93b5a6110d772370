//! What our writer writes reads back equal, up to the order rules of the format.

use super::generated::{Shape, batch};
use super::pruning::check_pruning;
use super::*;
use crate::{BlockBuilder, BlockWriter, BuilderSettings, Compression, WriterSettings};
use proptest::prelude::*;
use std::collections::HashSet;
use tactus_model::AttributeSelection;
use tactus_model::merge::SpanSlice;
use tactus_storage::meta::{ColumnOption, ColumnScope};

fn dedicated_columns(version: BlockVersion) -> Vec<DedicatedColumn> {
    use ColumnScope::{Event, Resource, Span};
    if version == BlockVersion::VParquet5 {
        let options = vec![ColumnOption::Array, ColumnOption::Blob];
        return vec![
            DedicatedColumn::string(Resource, "ip"),
            DedicatedColumn::int(Resource, "n"),
            DedicatedColumn { options, ..DedicatedColumn::string(Span, "customer") },
            DedicatedColumn::string(Span, "db.statement"),
            DedicatedColumn::int(Span, "http.status_code"),
            DedicatedColumn::int(Span, "region"),
            DedicatedColumn::string(Event, "http.url"),
            DedicatedColumn::int(Event, "thread.id"),
        ];
    }
    vec![
        // As Tempo before 2.10 listed them: `cluster` and `http.url` have columns of their own, and take a slot all the same.
        DedicatedColumn::string(Resource, "cluster"),
        DedicatedColumn::string(Resource, "ip"),
        DedicatedColumn::string(Span, "http.url"),
        DedicatedColumn::string(Span, "customer"),
        DedicatedColumn::string(Span, "db.statement"),
    ]
}

/// A block of these batches, each a row group.
pub(super) fn written(
    version: BlockVersion,
    batches: &[SpanBatch],
    compression: Compression,
    page_bytes: usize,
) -> (Bytes, BlockFacts) {
    let dedicated_columns = dedicated_columns(version);
    let settings = WriterSettings {
        version,
        dedicated_columns: dedicated_columns.clone(),
        compression,
        page_bytes,
        ..WriterSettings::default()
    };
    let mut writer = BlockWriter::new(Vec::new(), settings).unwrap();
    for batch in batches {
        writer.write_row_group(batch).unwrap();
    }
    let (data, summary) = writer.finish().unwrap();
    let facts = BlockFacts {
        size: summary.size,
        footer_size: summary.footer_size,
        version,
        dedicated_columns,
    };
    (data.into(), facts)
}

fn sorted(batch: &SpanBatch, list: &AttributeList, owner: usize) -> Vec<String> {
    let mut attributes = shown(batch, list, owner);
    attributes.sort();
    attributes
}

/// Everything about each span of a trace as text, in order of span id.
pub(super) fn spans_of(batch: &SpanBatch, trace: usize) -> Vec<String> {
    let spans = &batch.spans;
    let text = |code: u32| batch.strings.display(code).into_owned();
    let mut out: Vec<String> = (0..batch.len())
        .filter(|&i| spans.trace[i] as usize == trace)
        .map(|i| {
            let (resource, scope) = (spans.resource[i] as usize, spans.scope[i] as usize);
            let events: Vec<_> = batch
                .events
                .range(i)
                .map(|event| {
                    let attributes = sorted(batch, &batch.events.attributes, event);
                    let events = &batch.events;
                    let dropped = events.dropped_attributes[event];
                    (events.time[event], text(events.name[event]), dropped, attributes)
                })
                .collect();
            let links: Vec<_> = batch
                .links
                .range(i)
                .map(|link| {
                    let links = &batch.links;
                    let attributes = sorted(batch, &links.attributes, link);
                    let ids = (links.trace_id[link], links.span_id[link]);
                    let dropped = links.dropped_attributes[link];
                    (ids, text(links.trace_state[link]), dropped, attributes)
                })
                .collect();
            format!(
                "{:?} {:?} {} {} {} {} {} {} {} {:?} {:?} {:?} {} {} {:?} {:?} {:?}",
                spans.span_id[i],
                spans.parent_span_id[i],
                spans.start[i],
                spans.duration[i],
                text(spans.name[i]),
                spans.kind[i],
                spans.status[i],
                text(spans.status_message[i]),
                text(spans.trace_state[i]),
                (spans.dropped_attributes[i], spans.dropped_events[i], spans.dropped_links[i]),
                sorted(batch, &batch.span_attributes, i),
                sorted(batch, &batch.resources.attributes, resource),
                text(batch.scopes.name[scope]),
                text(batch.scopes.version[scope]),
                sorted(batch, &batch.scopes.attributes, scope),
                events,
                links,
            )
        })
        .collect();
    out.sort();
    out
}

/// Spans that are chosen by their ids are what they are among all, in one row and in several.
pub(super) fn check_chosen_spans(reader: &BlockReader, group: usize) {
    let traces = reader.row_groups()[group].traces;
    for rows in [0..1, 0..traces, traces / 3..traces / 2 + 1] {
        let all = reader.read_rows(group, rows.clone(), &Projection::all()).unwrap();
        for of in [1, 2, 5] {
            let slice = SpanSlice::new(of / 2, of).unwrap();
            let is_chosen = |id| slice.has(id);
            let columns = Projection::all();
            let found = reader.read_chosen_spans(group, rows.clone(), &columns, &is_chosen);
            let found = found.unwrap();
            let count = all.spans.span_id.iter().filter(|id| slice.has(**id)).count();
            assert_eq!(found.len(), count);
            for trace in 0..all.traces.ids.len() {
                let ids = all.spans.span_id.iter().filter(|id| slice.has(**id));
                let ids: HashSet<_> = ids.map(|id| format!("{id:?}")).collect();
                let mut expected = spans_of(&all, trace);
                expected.retain(|span| span.split(' ').next().is_some_and(|id| ids.contains(id)));
                assert_eq!(spans_of(&found, trace), expected);
            }
            // Columns that need not be asked for to know the spans.
            let keys = |keys: &[&str]| {
                AttributeSelection::Keys(keys.iter().map(|key| key.as_bytes().to_vec()).collect())
            };
            let few = Projection {
                status: true,
                event_name: true,
                resource_attributes: keys(&["ip"]),
                span_attributes: keys(&["customer", "n"]),
                ..Projection::default()
            };
            let some = reader.read_chosen_spans(group, rows.clone(), &few, &is_chosen).unwrap();
            let text = |batch: &SpanBatch, codes: &[u32]| -> Vec<String> {
                codes.iter().map(|&code| batch.strings.display(code).into_owned()).collect()
            };
            assert_eq!(some.spans.status, found.spans.status);
            assert_eq!(some.events.starts, found.events.starts);
            assert_eq!(text(&some, &some.events.name), text(&found, &found.events.name));
            for span in 0..count {
                let picked = |batch: &SpanBatch,
                              list: &AttributeList,
                              owner,
                              keys: &[&str]|
                 -> Vec<String> {
                    let mut all = sorted(batch, list, owner);
                    all.retain(|text| keys.contains(&text.split('=').next().unwrap()));
                    all
                };
                let of_span = |batch: &SpanBatch| {
                    picked(batch, &batch.span_attributes, span, &["customer", "n"])
                };
                assert_eq!(of_span(&some), of_span(&found));
                let ip = |batch: &SpanBatch| {
                    let owner = batch.spans.resource[span] as usize;
                    picked(batch, &batch.resources.attributes, owner, &["ip"])
                };
                assert_eq!(ip(&some), ip(&found));
            }
        }
    }
}

fn check(
    version: BlockVersion,
    batches: &[SpanBatch],
    compression: Compression,
    page_bytes: usize,
) {
    let (data, facts) = written(version, batches, compression, page_bytes);
    let reader = BlockReader::open(Arc::new(BytesSource::new(data)), &facts).unwrap();
    assert_eq!(reader.row_groups().len(), batches.len());
    for (group, expected) in batches.iter().enumerate() {
        let found = reader.read_row_group(group, &Projection::all()).unwrap();
        assert_eq!(found.traces.ids, expected.traces.ids);
        assert_eq!(found.len(), expected.len());
        for trace in 0..expected.traces.ids.len() {
            assert_eq!(spans_of(&found, trace), spans_of(expected, trace));
        }
        // One trace in three, to save time.
        for (trace, &id) in expected.traces.ids.iter().enumerate().step_by(3) {
            let alone = reader.read_trace(id).unwrap().unwrap();
            assert_eq!(spans_of(&alone, 0), spans_of(expected, trace));
        }
        check_chosen_spans(&reader, group);
        check_pruning(&reader, group, &found);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]

    #[test]
    fn random_batches_read_back(
        seed in any::<u64>(), traces in 1u64..20, max_spans in 1u64..12, max_attributes in 0u64..9,
        strings in 1u64..40, odd_values in any::<bool>(), codec in 0usize..3, page_bytes in 1usize..4000,
        is_v5 in any::<bool>(),
    ) {
        let shape = |traces| Shape { traces, max_spans, max_attributes, strings, odd_values };
        let batches = [
            batch(seed, 0, shape(traces)),
            batch(seed ^ 1, traces, shape(1 + traces / 2)),
        ];
        let codec = [Compression::None, Compression::Snappy, Compression::Zstd(1)][codec];
        let version = if is_v5 { BlockVersion::VParquet5 } else { BlockVersion::VParquet4 };
        check(version, &batches, codec, page_bytes);
    }
}

#[test]
fn many_pages_and_large_lists_read_back() {
    let shape =
        Shape { traces: 60, max_spans: 60, max_attributes: 12, strings: 2000, odd_values: true };
    let batches = [batch(7, 0, shape)];
    for version in [BlockVersion::VParquet4, BlockVersion::VParquet5] {
        check(version, &batches, Compression::Snappy, 512);
    }
}

/// Readers derive the places of values from the list of columns in the meta.
#[test]
fn columns_that_a_version_cannot_have_move_no_value() {
    let blob = DedicatedColumn {
        options: vec![ColumnOption::Blob],
        ..DedicatedColumn::string(ColumnScope::Span, "db.statement")
    };
    let dedicated_columns = vec![
        DedicatedColumn::string(ColumnScope::Span, "http.url"),
        DedicatedColumn::int(ColumnScope::Span, "n"),
        blob,
        DedicatedColumn::string(ColumnScope::Span, "customer"),
        DedicatedColumn::string(ColumnScope::Resource, "cluster"),
        DedicatedColumn::string(ColumnScope::Resource, "ip"),
        DedicatedColumn::string(ColumnScope::Span, "region"),
    ];
    let shape = Shape { traces: 20, max_spans: 8, max_attributes: 9, strings: 6, odd_values: true };
    let expected = batch(7, 0, shape);
    let settings = BuilderSettings {
        writer: WriterSettings {
            version: BlockVersion::VParquet4,
            dedicated_columns,
            ..WriterSettings::default()
        },
        bloom_false_positive: 0.01,
        bloom_shard_bytes: 1 << 10,
    };
    let mut builder = BlockBuilder::new(Vec::new(), &settings, 20).unwrap();
    builder.write_row_group(&expected).unwrap();
    let built = builder.finish().unwrap();
    let mut meta = BlockMeta::default();
    built.describe(&mut meta);
    let names: Vec<&str> = meta.dedicated_columns.iter().map(|it| it.name.as_str()).collect();
    assert_eq!(names, ["customer", "ip", "region"]);
    let source = Arc::new(BytesSource::new(built.sink.into()));
    let reader = BlockReader::open(source, &facts_of(&meta).unwrap()).unwrap();
    let found = reader.read_row_group(0, &Projection::all()).unwrap();
    for trace in 0..expected.traces.ids.len() {
        assert_eq!(spans_of(&found, trace), spans_of(&expected, trace));
    }
}
