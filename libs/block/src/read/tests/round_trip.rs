//! What our writer writes reads back equal, up to the order rules of the format.

use super::generated::{Shape, batch};
use super::pruning::check_pruning;
use super::*;
use crate::{BlockWriter, Compression, WriterSettings};
use proptest::prelude::*;
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
        DedicatedColumn::string(Resource, "ip"),
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
