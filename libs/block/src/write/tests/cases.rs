use bytes::Bytes;
use parquet::basic::Compression as Codec;
use parquet::file::reader::{FileReader, SerializedFileReader};
use proptest::prelude::*;
use tactus_model::SpanBatch;
use tactus_storage::meta::{BlockVersion, ColumnOption, ColumnScope, DedicatedColumn};

use super::checks::{check_chunk, check_column};
use super::expected;
use super::expected_columns::{Dedicated, Slots};
use super::read_back::{Leaf, open, read_column};
use super::samples::{SampleSpan, Value, batch, trace_id, traces};
use crate::schema::Schema;
use crate::schema::leaf::Leaves;
use crate::{BlockSummary, BlockWriter, Compression, Error, WriterSettings};

fn settings(compression: Compression) -> WriterSettings {
    let dedicated_columns = vec![
        DedicatedColumn::string(ColumnScope::Resource, "ip"),
        DedicatedColumn::string(ColumnScope::Span, "region"),
        DedicatedColumn::string(ColumnScope::Span, "l"),
    ];
    WriterSettings { dedicated_columns, compression, page_bytes: 24, ..Default::default() }
}

fn settings_of_v5(compression: Compression) -> WriterSettings {
    use ColumnScope::{Event, Resource, Span};
    let options = vec![ColumnOption::Array, ColumnOption::Blob];
    let dedicated_columns = vec![
        DedicatedColumn::string(Resource, "cluster"),
        DedicatedColumn::int(Resource, "x"),
        DedicatedColumn::string(Resource, "service.name"),
        DedicatedColumn::int(Span, "http.status_code"),
        DedicatedColumn { options, ..DedicatedColumn::string(Span, "l") },
        DedicatedColumn::string(Span, "k"),
        DedicatedColumn::int(Span, "region"),
        DedicatedColumn::string(Event, "ev"),
        DedicatedColumn::int(Event, "unused"),
    ];
    let version = BlockVersion::VParquet5;
    WriterSettings { version, dedicated_columns, compression, page_bytes: 24, ..Default::default() }
}

fn dedicated() -> Dedicated {
    let slots = |strings| Slots { strings, ints: Vec::new() };
    Dedicated {
        resource: slots(vec!["ip"]),
        span: slots(vec!["region", "l"]),
        ..Dedicated::default()
    }
}

fn dedicated_of_v5() -> Dedicated {
    Dedicated {
        is_v5: true,
        // The second string is a name that no attribute has: that of `service.name` is taken.
        resource: Slots { strings: vec!["cluster", "(none)"], ints: vec!["x"] },
        span: Slots { strings: vec!["l", "k"], ints: vec!["http.status_code", "region"] },
        event: Slots { strings: vec!["ev"], ints: vec!["unused"] },
    }
}

fn v4() -> Leaves {
    Schema::new(BlockVersion::VParquet4, &[]).unwrap().leaves
}

fn write(batches: &[SpanBatch], settings: WriterSettings) -> (Vec<u8>, BlockSummary) {
    let mut writer = BlockWriter::new(Vec::new(), settings).unwrap();
    for batch in batches {
        writer.write_row_group(batch).unwrap();
    }
    writer.finish().unwrap()
}

fn file_of(traces: &[(u8, Vec<SampleSpan>)]) -> SerializedFileReader<Bytes> {
    open(write(&[batch(traces)], settings(Compression::Zstd(1))).0)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(160))]

    #[test]
    fn files_hold_what_was_written(
        traces in traces(),
        is_v5 in any::<bool>(),
        cut in 0usize..8,
        compression in prop::sample::select(vec![Compression::Zstd(1), Compression::Snappy, Compression::None]),
    ) {
        let (first, second) = traces.split_at(cut.min(traces.len()));
        let parts: Vec<_> = [first, second].into_iter().filter(|part| !part.is_empty()).collect();
        let batches: Vec<SpanBatch> = parts.iter().map(|part| batch(part)).collect();
        let (settings, dedicated) = match is_v5 {
            true => (settings_of_v5(compression), dedicated_of_v5()),
            false => (settings(compression), dedicated()),
        };
        let schema = Schema::new(settings.version, &settings.dedicated_columns).unwrap();
        let (data, summary) = write(&batches, settings);

        prop_assert_eq!(summary.size, data.len() as u64);
        let footer = &data[data.len() - 8..data.len() - 4];
        prop_assert_eq!(&summary.footer_size.to_le_bytes(), footer);
        prop_assert_eq!(summary.row_groups as usize, parts.len());
        prop_assert_eq!(summary.traces as usize, traces.len());
        prop_assert_eq!(summary.spans as usize, traces.iter().map(|trace| trace.1.len()).sum::<usize>());
        let last_ids: Vec<_> = parts.iter().map(|part| trace_id(part[part.len() - 1].0)).collect();
        prop_assert_eq!(summary.last_ids, last_ids);

        let file = open(data);
        for (row_group, part) in parts.iter().enumerate() {
            prop_assert_eq!(file.metadata().row_group(row_group).ordinal(), Some(row_group as i16 as _));
            let codec = match compression {
                Compression::None => Codec::UNCOMPRESSED,
                Compression::Snappy => Codec::SNAPPY,
                Compression::Zstd(_) => Codec::ZSTD(Default::default()),
            };
            for (leaf, expected) in expected::columns(&schema, part, &dedicated).iter().enumerate() {
                check_column(&file, &schema, row_group, leaf, expected);
                check_chunk(&file, &schema, row_group, leaf, expected, codec);
            }
        }
    }
}

fn span(id: u8, parent: u8, name: &str, kind: u8) -> SampleSpan {
    let name = name.as_bytes().to_vec();
    SampleSpan {
        id,
        parent,
        name,
        kind,
        start: 1_000 + u64::from(id),
        duration: 5,
        ..Default::default()
    }
}

fn integers(file: &SerializedFileReader<Bytes>, leaf: usize) -> Vec<i64> {
    let values = read_column(file, 0, leaf).values.into_iter();
    values
        .map(|value| if let Leaf::Integer(number) = value { number } else { panic!("{value:?}") })
        .collect()
}

fn texts(file: &SerializedFileReader<Bytes>, leaf: usize) -> Vec<String> {
    let values = read_column(file, 0, leaf).values.into_iter();
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    values
        .map(|value| if let Leaf::Bytes(bytes) = value { text(bytes) } else { panic!("{value:?}") })
        .collect()
}

fn nested(file: &SerializedFileReader<Bytes>) -> Vec<(i64, i64, i64)> {
    let left = integers(file, v4().nested_left);
    let right = integers(file, v4().nested_right);
    let parent = integers(file, v4().nested_parent);
    (0..left.len()).map(|at| (left[at], right[at], parent[at])).collect()
}

fn with_service(mut span: SampleSpan, name: &str) -> SampleSpan {
    span.resource.0 = vec![("service.name", Value::Text(name.as_bytes().to_vec()))];
    span
}

#[test]
fn shared_span_ids_hang_by_kind() {
    let spans = vec![
        with_service(span(0xb1, 0, "root", 2), "web"),
        with_service(span(0xb2, 0xb1, "rpc", 3), "web"),
        with_service(span(0xb2, 0xb1, "rpc", 2), "backend"),
        with_service(span(0xb3, 0xb2, "work", 1), "backend"),
    ];
    let file = file_of(&[(1, spans)]);
    assert_eq!(nested(&file), [(1, 8, -1), (2, 3, 1), (4, 7, 1), (5, 6, 4)]);
    assert_eq!(texts(&file, v4().root_service_name), ["web"]);
    assert_eq!(texts(&file, v4().service_stats_name), ["backend", "web"]);
    assert_eq!(integers(&file, v4().service_stats_span_count), [2, 2]);
}

#[test]
fn last_of_two_roots_names_the_trace() {
    let spans = vec![span(1, 0, "root-1", 0), span(2, 1, "d1-child", 0), span(3, 0, "root-2", 0)];
    let file = file_of(&[(1, spans)]);
    assert_eq!(nested(&file), [(1, 4, -1), (2, 3, 1), (5, 6, -1)]);
    assert_eq!(texts(&file, v4().root_span_name), ["root-2"]);
}

#[test]
fn root_of_several_at_one_time_does_not_depend_on_the_order_of_arrival() {
    let roots = || {
        let at = |mut span: SampleSpan, start| {
            span.start = start;
            span
        };
        vec![
            at(with_service(span(3, 0, "third", 0), "c"), 5),
            at(with_service(span(9, 0, "first", 0), "a"), 4),
            at(with_service(span(1, 0, "second", 0), "b"), 5),
        ]
    };
    for turn in 0..3 {
        let mut spans = roots();
        spans.rotate_left(turn);
        let file = file_of(&[(1, spans)]);
        assert_eq!(texts(&file, v4().root_span_name), ["third"], "turned by {turn}");
        assert_eq!(texts(&file, v4().root_service_name), ["c"]);
    }
}

#[test]
fn traces_without_a_tree_have_no_numbers() {
    let orphan = with_service(span(2, 1, "orphan", 5), "svc");
    let triple = vec![span(1, 0, "a", 0), span(1, 0, "a", 1), span(1, 0, "a", 2)];
    let file = file_of(&[(1, vec![orphan]), (2, triple)]);
    assert_eq!(nested(&file), [(0, 0, 0); 4]);
    assert_eq!(texts(&file, v4().root_span_name), ["", "a"]);
    assert_eq!(texts(&file, v4().root_service_name), ["", ""]);
}

#[test]
fn combined_traces_have_statistics_of_all_their_spans() {
    let at = |mut span: SampleSpan, start: u64, end: u64| {
        (span.start, span.duration) = (start, end - start);
        span
    };
    let spans = vec![
        with_service(at(span(1, 0, "root", 2), 0, 250), "frontend"),
        with_service(at(span(2, 1, "b", 1), 50, 60), "frontend"),
        with_service(at(span(3, 1, "call", 3), 100, 200), "frontend"),
        with_service(at(span(4, 3, "q", 2), 110, 190), "db"),
    ];
    let file = file_of(&[(1, spans)]);
    assert_eq!(nested(&file), [(1, 8, -1), (2, 3, 1), (4, 7, 1), (5, 6, 4)]);
    assert_eq!(texts(&file, v4().service_stats_name), ["db", "frontend"]);
    assert_eq!(integers(&file, v4().service_stats_span_count), [1, 3]);
    assert_eq!(integers(&file, v4().trace_end), [250]);
    assert_eq!(texts(&file, v4().root_span_name), ["root"]);
}

#[test]
fn invalid_utf8_is_kept() {
    let name = vec![0xff, 0xfe, b'x'];
    let file = file_of(&[(1, vec![SampleSpan { name: name.clone(), ..Default::default() }])]);
    assert_eq!(read_column(&file, 0, v4().span_name).values, [Leaf::Bytes(name)]);
}

#[test]
fn string_in_and_out_of_arrays_is_one_dictionary_entry() {
    let text = || Value::Text(b"same".to_vec());
    let attributes = vec![("a", Value::Array(vec![text(), text()])), ("b", text())];
    let file = file_of(&[(1, vec![SampleSpan { attributes, ..Default::default() }])]);
    assert_eq!(texts(&file, v4().span_attributes.value), ["same"; 3]);
    let group = file.get_row_group(0).unwrap();
    let mut pages = group.get_column_page_reader(v4().span_attributes.value).unwrap();
    assert_eq!(pages.get_next_page().unwrap().unwrap().num_values(), 1);
}

#[test]
fn trace_ids_have_no_leading_zeros_as_text() {
    let mut batch = batch(&[(1, vec![])]);
    let id = tactus_model::TraceId::from_hex("0af7651916cd43dd8448eb211c80319c").unwrap();
    batch.traces.ids.make_mut()[0] = id;
    let file = open(write(&[batch], WriterSettings::default()).0);
    assert_eq!(read_column(&file, 0, v4().trace_id).values, [Leaf::Bytes(id.0.to_vec())]);
    assert_eq!(texts(&file, v4().trace_id_text), ["af7651916cd43dd8448eb211c80319c"]);
}

#[test]
fn batches_out_of_order_are_refused() {
    let refused = |mutate: fn(&mut SpanBatch)| {
        let mut batch = batch(&[(5, vec![span(1, 0, "a", 0)]), (7, vec![span(2, 0, "b", 0)])]);
        mutate(&mut batch);
        let mut writer = BlockWriter::new(Vec::new(), WriterSettings::default()).unwrap();
        writer.write_row_group(&batch)
    };
    assert!(refused(|_| ()).is_ok());
    let ids = |batch: &mut SpanBatch| batch.traces.ids.make_mut().reverse();
    assert!(matches!(refused(ids), Err(Error::Unsorted)));
    let same = |batch: &mut SpanBatch| batch.traces.ids.make_mut()[1] = trace_id(5);
    assert!(matches!(refused(same), Err(Error::Unsorted)));
    let spans = |batch: &mut SpanBatch| batch.spans.trace.make_mut().reverse();
    assert!(matches!(refused(spans), Err(Error::Unsorted)));
    let none = |batch: &mut SpanBatch| *batch = SpanBatch::default();
    assert!(matches!(refused(none), Err(Error::IncompleteBatch(_))));
    let projected = |batch: &mut SpanBatch| batch.spans.kind = Default::default();
    assert!(matches!(refused(projected), Err(Error::IncompleteBatch(_))));
    let string = |batch: &mut SpanBatch| batch.spans.name.make_mut()[0] = 99;
    assert!(matches!(refused(string), Err(Error::IncompleteBatch(_))));
    let scope = |batch: &mut SpanBatch| batch.spans.scope.make_mut()[1] = 2;
    assert!(matches!(refused(scope), Err(Error::IncompleteBatch(_))));
}

#[test]
fn row_groups_out_of_order_are_refused() {
    let mut writer = BlockWriter::new(Vec::new(), WriterSettings::default()).unwrap();
    writer.write_row_group(&batch(&[(5, vec![])])).unwrap();
    for id in [4, 5] {
        let result = writer.write_row_group(&batch(&[(id, vec![])]));
        assert!(matches!(result, Err(Error::NotAscending { .. })), "{id}");
    }
    writer.write_row_group(&batch(&[(6, vec![])])).unwrap();
    assert_eq!(writer.finish().unwrap().1.row_groups, 2);
}

#[test]
fn batch_with_much_in_each_trace_becomes_several_row_groups() {
    let span = |id: u8| SampleSpan {
        resource: (vec![("service.name", Value::Text(b"shop".to_vec()))], 0),
        ..span(id, 0, "a", 1)
    };
    let batch = batch(&[1, 2, 3].map(|id| (id, vec![span(id)])));
    for (most, groups) in [(1_000, 1), (1, 3)] {
        let mut writer = BlockWriter::new(Vec::new(), WriterSettings::default()).unwrap();
        let infos = writer.write_row_groups(&batch, most).unwrap();
        assert_eq!(infos.len(), groups);
        assert_eq!(infos.iter().map(|info| info.traces).sum::<u64>(), 3);
        let (data, summary) = writer.finish().unwrap();
        assert_eq!((summary.row_groups as usize, summary.spans), (groups, 3));
        assert_eq!(summary.last_ids.last(), Some(&trace_id(3)));
        let file = open(data);
        let found = read_column(&file, groups - 1, v4().resource_service_name).values;
        assert_eq!(found.last(), Some(&Leaf::Bytes(b"shop".to_vec())));
    }
}

#[test]
fn key_that_an_owner_has_twice_stays_generic() {
    let text = |text: &str| Value::Text(text.as_bytes().to_vec());
    let with = |attributes| SampleSpan { attributes, ..span(1, 0, "a", 1) };
    let twice = vec![("region", text("x")), ("b", text("y")), ("region", text("z"))];
    let once = vec![("region", text("w"))];
    let file = file_of(&[(1, vec![with(twice)]), (2, vec![with(once)])]);
    assert_eq!(texts(&file, v4().span_attributes.value), ["x", "y", "z"]);
    assert_eq!(texts(&file, v4().span_attributes.key), ["region", "b", "region"]);
}

#[test]
fn unknown_zstd_levels_are_refused() {
    let settings = WriterSettings { compression: Compression::Zstd(77), ..Default::default() };
    assert!(BlockWriter::new(Vec::new(), settings).is_err());
}

#[test]
fn versions_that_are_only_read_are_refused() {
    let settings = WriterSettings { version: BlockVersion::VParquet3, ..Default::default() };
    let refused = BlockWriter::new(Vec::new(), settings);
    assert!(matches!(refused, Err(Error::NotWritten("vParquet3"))));
}

#[test]
fn blobs_are_cut_into_pages_by_their_own_size() {
    let long = Value::Text(vec![b'x'; 400]);
    let trace = |id| {
        let attributes = vec![("l", long.clone())];
        (id, vec![SampleSpan { attributes, ..SampleSpan::default() }])
    };
    let traces: Vec<_> = (1..=20).map(trace).collect();
    let settings = WriterSettings { page_bytes: 1_000, ..settings_of_v5(Compression::Zstd(1)) };
    let schema = Schema::new(settings.version, &settings.dedicated_columns).unwrap();
    let blob = schema.span_columns.iter().find(|column| column.is_blob).unwrap().leaf;
    let file = open(write(&[batch(&traces)], settings).0);
    let index = file.metadata().page_index().unwrap();
    let pages = index.offset_index(0, blob).unwrap().page_locations();
    assert_eq!(pages.len(), 7);
}
