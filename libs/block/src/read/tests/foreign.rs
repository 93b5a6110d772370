//! The sample block rewritten by the Parquet library: other pages, encodings, codecs and schemas.

use super::*;
use parquet::basic::{Compression, Encoding, GzipLevel, Type as PhysicalType, ZstdLevel};
use parquet::column::reader::{ColumnReaderImpl, get_typed_column_reader};
use parquet::column::writer::{ColumnWriter, get_typed_column_writer_mut};
use parquet::data_type::{BoolType, ByteArrayType, DataType, DoubleType, Int32Type, Int64Type};
use parquet::file::properties::{
    EnabledStatistics, WriterProperties, WriterPropertiesBuilder, WriterVersion,
};
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::file::writer::{SerializedColumnWriter, SerializedFileWriter};
use parquet::schema::parser::parse_message_type;
use parquet::schema::printer::print_schema;
use parquet::schema::types::SchemaDescriptor;
use tactus_storage::meta::ColumnScope;

/// Values (those that are defined), definition and repetition levels of a column.
type Levels<V> = (Vec<V>, Vec<i16>, Vec<i16>);

fn read_column<T: DataType>(mut reader: ColumnReaderImpl<T>) -> Levels<T::T> {
    let (mut values, mut def, mut rep) = (Vec::new(), Vec::new(), Vec::new());
    reader.read_records(usize::MAX >> 8, Some(&mut def), Some(&mut rep), &mut values).unwrap();
    (values, def, rep)
}

fn write_column<T: DataType>(writer: &mut SerializedColumnWriter<'_>, column: &Levels<T::T>) {
    let (values, def, rep) = column;
    let untyped: &mut ColumnWriter<'_> = writer.untyped();
    let typed = get_typed_column_writer_mut::<T>(untyped);
    // Columns of traces have no levels.
    let given = |levels: &'_ [i16]| !levels.is_empty();
    let def = Some(&def[..]).filter(|levels| given(levels));
    let rep = Some(&rep[..]).filter(|levels| given(levels));
    typed.write_batch(values, def, rep).unwrap();
}

/// Opens the file rewritten with these properties and the schema as `edit` changes its text.
fn rewritten(
    sample: &Sample,
    properties: WriterPropertiesBuilder,
    edit: impl Fn(String) -> String,
) -> BlockReader {
    let data = rewrite(sample, properties, edit);
    let facts = BlockFacts { size: data.len() as u64, footer_size: 0, ..sample.facts.clone() };
    BlockReader::open(Arc::new(BytesSource::new(data)), &facts).unwrap()
}

/// As [`rewrite_groups`], with all row groups.
fn rewrite(
    sample: &Sample,
    properties: WriterPropertiesBuilder,
    edit: impl Fn(String) -> String,
) -> Bytes {
    let groups: Vec<_> = (0..sample.open().row_groups().len()).map(Some).collect();
    rewrite_groups(sample, properties, &groups, edit)
}

/// With these row groups; `None` for one without rows.
///
/// Each column is that of the same path. Where there is none it is that of the same place, or the one before once more
/// if the file gets more columns. One that was boolean and no longer
/// is gets zeros.
fn rewrite_groups(
    sample: &Sample,
    properties: WriterPropertiesBuilder,
    groups: &[Option<usize>],
    edit: impl Fn(String) -> String,
) -> Bytes {
    let reader = SerializedFileReader::new(sample.data.clone()).unwrap();
    let mut text = Vec::new();
    print_schema(&mut text, reader.metadata().file_metadata().schema());
    let schema = Arc::new(parse_message_type(&edit(String::from_utf8(text).unwrap())).unwrap());
    let properties = Arc::new(properties.build());
    let leaves = SchemaDescriptor::new(Arc::clone(&schema));
    let mut writer = SerializedFileWriter::new(Vec::new(), schema, properties).unwrap();
    let paths: Vec<_> = reader.metadata().file_metadata().schema_descr().columns().to_vec();
    for group in groups {
        let mut to = writer.next_row_group().unwrap();
        let (mut place, mut last) = (0, 0);
        while let Some(mut out) = to.next_column().unwrap() {
            let Some(group) = group else {
                out.close().unwrap();
                continue;
            };
            let from = reader.get_row_group(*group).unwrap();
            let path = leaves.column(place).path().clone();
            let same = paths.iter().position(|leaf| *leaf.path() == path);
            let column =
                same.unwrap_or(if leaves.num_columns() == paths.len() { place } else { last });
            last = column;
            let physical = from.metadata().column(column).column_type();
            let values = from.get_column_reader(column).unwrap();
            let is_int = matches!(out.untyped(), ColumnWriter::Int32ColumnWriter(_));
            match physical {
                PhysicalType::BOOLEAN if is_int => {
                    let (values, def, rep) =
                        read_column::<BoolType>(get_typed_column_reader(values));
                    write_column::<Int32Type>(&mut out, &(vec![0; values.len()], def, rep));
                }
                PhysicalType::BOOLEAN => {
                    let column = read_column::<BoolType>(get_typed_column_reader(values));
                    write_column::<BoolType>(&mut out, &column);
                }
                PhysicalType::INT32 => {
                    let column = read_column::<Int32Type>(get_typed_column_reader(values));
                    write_column::<Int32Type>(&mut out, &column);
                }
                PhysicalType::INT64 => {
                    let column = read_column::<Int64Type>(get_typed_column_reader(values));
                    write_column::<Int64Type>(&mut out, &column);
                }
                PhysicalType::DOUBLE => {
                    let column = read_column::<DoubleType>(get_typed_column_reader(values));
                    write_column::<DoubleType>(&mut out, &column);
                }
                _ => {
                    let column = read_column::<ByteArrayType>(get_typed_column_reader(values));
                    write_column::<ByteArrayType>(&mut out, &column);
                }
            }
            out.close().unwrap();
            place += 1;
        }
        to.close().unwrap();
    }
    Bytes::from(writer.into_inner().unwrap())
}

/// Everything of a row group that text can show.
fn content(reader: &BlockReader, group: usize) -> Vec<String> {
    let batch = reader.read_row_group(group, &Projection::all()).unwrap();
    let spans = &batch.spans;
    let text = |code: u32| batch.strings.display(code).into_owned();
    let mut out: Vec<String> = (0..batch.len())
        .map(|i| {
            let (resource, scope) = (spans.resource[i] as usize, spans.scope[i] as usize);
            let events: Vec<_> = batch.events.range(i).collect();
            format!(
                "{} {:?} {:?} {} {} {} {} {:?} {:?} {:?} {:?} {:?}",
                spans.trace[i],
                spans.span_id[i],
                spans.parent_span_id[i],
                spans.start[i],
                spans.duration[i],
                text(spans.name[i]),
                spans.nested_parent[i],
                shown(&batch, &batch.span_attributes, i),
                shown(&batch, &batch.resources.attributes, resource),
                shown(&batch, &batch.scopes.attributes, scope),
                events
                    .iter()
                    .map(|&e| (batch.events.time[e], shown(&batch, &batch.events.attributes, e)))
                    .collect::<Vec<_>>(),
                batch
                    .links
                    .range(i)
                    .map(|l| shown(&batch, &batch.links.attributes, l))
                    .collect::<Vec<_>>(),
            )
        })
        .collect();
    out.push(format!("{:?}", batch.traces.ids));
    out
}

fn check_same(sample: &Sample, other: &BlockReader) {
    let original = sample.open();
    assert_eq!(original.row_groups().len(), other.row_groups().len());
    for group in 0..original.row_groups().len() {
        let expected = content(&original, group);
        assert_eq!(content(other, group), expected);
        let batch = original.read_row_group(group, &Projection::default()).unwrap();
        for &id in batch.traces.ids.iter().step_by(5) {
            assert_eq!(other.find_row_group(id).unwrap(), Some(group));
            let found = other.read_trace(id).unwrap().unwrap();
            let wanted = original.read_trace(id).unwrap().unwrap();
            for span in 0..wanted.len() {
                let shown_in = |batch: &SpanBatch| shown(batch, &batch.span_attributes, span);
                assert_eq!(shown_in(&found), shown_in(&wanted));
            }
        }
    }
}

#[test]
fn pages_of_either_version_with_any_codec_read_the_same() {
    let codecs = [
        Compression::UNCOMPRESSED,
        Compression::SNAPPY,
        Compression::GZIP(GzipLevel::default()),
        Compression::ZSTD(ZstdLevel::default()),
        Compression::LZ4_RAW,
    ];
    for version in VERSIONS {
        let sample = load(version);
        for (i, codec) in codecs.into_iter().enumerate() {
            for page in [WriterVersion::PARQUET_1_0, WriterVersion::PARQUET_2_0] {
                let properties = WriterProperties::builder()
                    .set_writer_version(page)
                    .set_compression(codec)
                    .set_dictionary_enabled(i % 2 == 0)
                    .set_data_page_row_count_limit(3)
                    .set_write_batch_size(1);
                check_same(&sample, &rewritten(&sample, properties, |schema| schema));
            }
        }
    }
}

#[test]
fn other_string_encodings_read_the_same() {
    let sample = load(BlockVersion::VParquet4);
    for encoding in [Encoding::DELTA_BYTE_ARRAY, Encoding::DELTA_LENGTH_BYTE_ARRAY, Encoding::PLAIN]
    {
        let reader = SerializedFileReader::new(sample.data.clone()).unwrap();
        let mut properties = WriterProperties::builder().set_dictionary_enabled(false);
        for column in reader.metadata().file_metadata().schema_descr().columns() {
            if column.physical_type() == PhysicalType::BYTE_ARRAY {
                properties = properties.set_column_encoding(column.path().clone(), encoding);
            }
        }
        check_same(&sample, &rewritten(&sample, properties, |schema| schema));
    }
}

#[test]
fn files_without_statistics_and_indexes_read_the_same() {
    let sample = load(BlockVersion::VParquet4);
    let properties = WriterProperties::builder()
        .set_statistics_enabled(EnabledStatistics::None)
        .set_offset_index_disabled(true)
        .set_data_page_row_count_limit(4)
        .set_write_batch_size(1);
    let reader = rewritten(&sample, properties, |schema| schema);
    assert_eq!(reader.row_groups()[0].min_id, None);
    check_same(&sample, &reader);
}

#[test]
fn traces_behind_row_groups_without_rows_are_found() {
    let sample = load(BlockVersion::VParquet4);
    let groups = [Some(0), None, None, Some(1), None, Some(2), None];
    for statistics in [EnabledStatistics::Page, EnabledStatistics::None] {
        let properties = WriterProperties::builder().set_statistics_enabled(statistics);
        let data = rewrite_groups(&sample, properties, &groups, |schema| schema);
        let facts = BlockFacts { size: data.len() as u64, footer_size: 0, ..sample.facts.clone() };
        let reader = BlockReader::open(Arc::new(BytesSource::new(data)), &facts).unwrap();
        let original = sample.open();
        for (place, group) in groups.iter().enumerate() {
            let Some(group) = group else {
                assert!(reader.read_row_group(place, &Projection::all()).unwrap().is_empty());
                continue;
            };
            let batch = original.read_row_group(*group, &Projection::default()).unwrap();
            for &id in batch.traces.ids.iter() {
                assert_eq!(reader.find_row_group(id).unwrap(), Some(place));
            }
            assert_eq!(content(&reader, place), content(&original, *group));
        }
    }
}

#[test]
fn names_of_attributes_are_those_that_spans_have_without_statistics_too() {
    let sample = load(BlockVersion::VParquet4);
    for has_dictionaries in [true, false] {
        let properties = WriterProperties::builder()
            .set_statistics_enabled(EnabledStatistics::None)
            .set_dictionary_enabled(has_dictionaries);
        let reader = rewritten(&sample, properties, |schema| schema);
        for group in 0..reader.row_groups().len() {
            for owner in [AttributeOwner::Resource, AttributeOwner::Span] {
                let names = |reader: &BlockReader| {
                    let mut names = Vec::new();
                    let mut visit = |key: &[u8]| names.push(key.to_vec());
                    let is_complete = reader.visit_attribute_keys(group, owner, &mut visit);
                    names.sort();
                    (is_complete.unwrap(), names)
                };
                match names(&reader) {
                    (true, found) => assert_eq!((true, found), names(&sample.open())),
                    (false, _) => assert!(owner == AttributeOwner::Span || !has_dictionaries),
                }
            }
        }
    }
}

#[test]
fn dictionaries_that_do_not_tell_all_values_rule_nothing_out() {
    let sample = load(BlockVersion::VParquet4);
    // A dictionary of a few bytes: later pages fall back to PLAIN.
    let properties = WriterProperties::builder()
        .set_dictionary_page_size_limit(8)
        .set_data_page_row_count_limit(2)
        .set_write_batch_size(1);
    let reader = rewritten(&sample, properties, |schema| schema);
    check_same(&sample, &reader);
    let may = |wanted: &[u8]| {
        let predicate = |found: &[u8]| found == wanted;
        reader.row_group_may_contain_string(0, &StringColumn::Name, &predicate).unwrap()
    };
    assert!(may(b"GET /api") && may(b"nothing"));
}

#[test]
fn pre_release_files_without_array_flags_tell_arrays_by_their_values() {
    let sample = load(BlockVersion::VParquet4);
    let edit = |schema: String| {
        let schema = schema.replace("REQUIRED BOOLEAN IsArray", "REQUIRED INT32 ValueType");
        schema.replace("ValueUnsupported", "ValueDropped")
    };
    let reader = rewritten(&sample, WriterProperties::builder(), edit);
    let id = TraceId::from_hex("0af7651916cd43dd8448eb211c80319c").unwrap();
    let batch = reader.read_trace(id).unwrap().unwrap();
    let attributes = shown(&batch, &batch.span_attributes, 0);
    for wanted in [
        "strs=[\"a\",\"b\"]",
        "ints=[1,2,3]",
        "doubles=1.5",
        "int=-42",
        "emptyarr=unset",
        "kv=unset",
    ] {
        assert!(attributes.iter().any(|found| found == wanted), "{wanted} in {attributes:?}");
    }
}

#[test]
fn pre_release_files_of_version_3_are_no_damaged_ones() {
    let sample = load(BlockVersion::VParquet3);
    let reader = SerializedFileReader::new(sample.data.clone()).unwrap();
    let mut text = Vec::new();
    print_schema(&mut text, reader.metadata().file_metadata().schema());
    let schema = without(String::from_utf8(text).unwrap(), &["ValueArray"]);
    let resolved = |name: &str| {
        let schema = parse_message_type(&schema.replace("ValueKVList", name)).unwrap();
        let schema = SchemaDescriptor::new(Arc::new(schema));
        columns::Columns::resolve(&schema, sample.facts.version, &sample.facts.dedicated_columns)
    };
    assert!(resolved("ValueDropped").is_ok());
    let error = resolved("ValueKVLisp").unwrap_err();
    assert!(matches!(error, crate::Error::Corrupt { .. }), "{error}");
}

/// The schema without the lines that name one of these leaves.
fn without(schema: String, leaves: &[&str]) -> String {
    let names = |line: &str| {
        let mut words = line.split([' ', ';']);
        words.any(|word| leaves.contains(&word))
    };
    schema.lines().filter(|line| !names(line)).collect::<Vec<_>>().join("\n")
}

#[test]
fn columns_that_are_missing_hold_nothing() {
    for version in VERSIONS {
        let sample = load(version);
        let missing = [
            "DroppedAttributesCount",
            "DroppedEventsCount",
            "DroppedLinksCount",
            "Container",
            "HttpStatusCode",
            "ValueDouble",
            "ValueArray",
        ];
        // Lists of vParquet4 are groups.
        let edit = |schema: String| match version {
            BlockVersion::VParquet4 => without(schema, &missing[..5]),
            _ => without(schema, &missing),
        };
        let reader = rewritten(&sample, WriterProperties::builder(), edit);
        let id = TraceId::from_hex("0af7651916cd43dd8448eb211c80319c").unwrap();
        let batch = reader.read_trace(id).unwrap().unwrap();
        assert_eq!(batch.len(), 4);
        assert_eq!(batch.spans.dropped_attributes.as_slice(), [0; 4]);
        assert_eq!((batch.spans.dropped_links[0], batch.events.dropped_attributes[0]), (0, 0));
        let attributes = shown(&batch, &batch.span_attributes, 0).join(" ");
        assert!(attributes.contains("int=-42") && attributes.contains("bool=true"));
        match version {
            BlockVersion::VParquet3 => assert!(attributes.contains("strs=unset"), "{attributes}"),
            BlockVersion::VParquet4 => {
                assert!(!attributes.contains("http.status_code="), "{attributes}")
            }
            _ => assert!(!attributes.contains("double="), "{attributes}"),
        }
    }
}

#[test]
fn service_statistics_that_are_missing_are_counted() {
    for version in [BlockVersion::VParquet4, BlockVersion::VParquet5] {
        let sample = load(version);
        let reader = rewritten(&sample, WriterProperties::builder(), |schema| {
            without(schema, &["ErrorCount"])
        });
        let projections = [
            Projection::all(),
            Projection { trace_summary: true, service_stats: true, ..Projection::default() },
        ];
        for (group, projection) in (0..reader.row_groups().len()).zip(projections.iter().cycle()) {
            let of = |reader: &BlockReader| {
                let batch = reader.read_row_group(group, projection).unwrap();
                let summaries = batch.traces.summaries.unwrap();
                let names = summaries.service_name.iter();
                let names: Vec<_> =
                    names.map(|&name| batch.strings.display(name).into_owned()).collect();
                let (spans, errors) = (summaries.service_spans, summaries.service_errors);
                (summaries.service_starts, names, spans, errors)
            };
            assert_eq!(of(&reader), of(&sample.open()));
        }
    }
}

#[test]
fn version_5_with_other_dedicated_columns_than_its_meta_is_corrupt() {
    let sample = load(BlockVersion::VParquet5);
    let open = |dedicated_columns: &[DedicatedColumn]| {
        let dedicated_columns = dedicated_columns.to_vec();
        let facts = BlockFacts { dedicated_columns, ..sample.facts.clone() };
        BlockReader::open(Arc::new(BytesSource::new(sample.data.clone())), &facts)
    };
    let columns = &sample.facts.dedicated_columns;
    assert!(open(columns).is_ok());
    let mut other_type = columns.clone();
    other_type[0].column_type = tactus_storage::meta::ColumnType::Int;
    let mut other_scope = columns.clone();
    other_scope[0].scope = tactus_storage::meta::ColumnScope::Event;
    let more = [columns.as_slice(), &[DedicatedColumn::string(ColumnScope::Span, "more")]].concat();
    for wrong in [&columns[1..], &[], &more, &other_type, &other_scope] {
        assert!(matches!(open(wrong), Err(crate::Error::Corrupt { .. })), "{wrong:?}");
    }
}

#[test]
fn version_5_may_have_twenty_string_columns() {
    let sample = load(BlockVersion::VParquet5);
    // The last string column of spans, twelve times more: String09 to String20.
    let edit = |schema: String| {
        let lines = schema.lines().flat_map(|line| {
            let copies =
                if line.contains("String08 ") || line.contains("String08;") { 20 } else { 8 };
            (8..=copies).map(move |slot| line.replace("String08", &format!("String{slot:02}")))
        });
        lines.collect::<Vec<_>>().join("\n")
    };
    let mut columns = sample.facts.dedicated_columns.clone();
    let names: Vec<String> = (9..=22).map(|slot| format!("copy-{slot}")).collect();
    columns.extend(names.iter().map(|name| DedicatedColumn::string(ColumnScope::Span, name)));
    let data = rewrite(&sample, WriterProperties::builder(), edit);
    let facts = BlockFacts {
        size: data.len() as u64,
        dedicated_columns: columns,
        footer_size: 0,
        ..sample.facts.clone()
    };
    let reader = BlockReader::open(Arc::new(BytesSource::new(data)), &facts).unwrap();
    let fixed = &reader.file.columns.span_attributes.fixed;
    let has = |name: &str| fixed.iter().any(|column| column.key == name.as_bytes());
    assert!(has("copy-9") && has("copy-20"));
    // No slot is left for these: they are generic attributes.
    assert!(!has("copy-21") && !has("copy-22"));
    let id = TraceId::from_hex("0af7651916cd43dd8448eb211c80319c").unwrap();
    let batch = reader.read_trace(id).unwrap().unwrap();
    let attributes = shown(&batch, &batch.span_attributes, 0);
    for name in ["customer", "copy-9", "copy-20"] {
        assert!(attributes.contains(&format!("{name}=\"acme\"")), "{attributes:?}");
    }
}

#[test]
fn row_group_that_does_not_exist_is_an_error() {
    for version in VERSIONS {
        let reader = load(version).open();
        // A meta may count a row group more than there are.
        let beyond = reader.row_groups().len();
        assert!(reader.read_row_group(beyond, &Projection::all()).is_err());
    }
}
