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

/// Rewrites the file with these properties and the schema as `edit` changes its text. A column
/// that was boolean and no longer is gets zeros.
fn rewritten(
    sample: &Sample,
    properties: WriterPropertiesBuilder,
    edit: impl Fn(String) -> String,
) -> BlockReader {
    let reader = SerializedFileReader::new(sample.data.clone()).unwrap();
    let mut text = Vec::new();
    print_schema(&mut text, reader.metadata().file_metadata().schema());
    let schema = parse_message_type(&edit(String::from_utf8(text).unwrap())).unwrap();
    let properties = Arc::new(properties.build());
    let mut writer = SerializedFileWriter::new(Vec::new(), Arc::new(schema), properties).unwrap();
    for group in 0..reader.num_row_groups() {
        let from = reader.get_row_group(group).unwrap();
        let mut to = writer.next_row_group().unwrap();
        let mut column = 0;
        while let Some(mut out) = to.next_column().unwrap() {
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
            column += 1;
        }
        to.close().unwrap();
    }
    let data = Bytes::from(writer.into_inner().unwrap());
    let facts = BlockFacts { size: data.len() as u64, footer_size: 0, ..sample.facts.clone() };
    BlockReader::open(Arc::new(BytesSource::new(data)), &facts).unwrap()
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
            assert_eq!(other.find_row_group(id, None).unwrap(), Some(group));
            let found = other.read_trace(id, None).unwrap().unwrap();
            let wanted = original.read_trace(id, None).unwrap().unwrap();
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
    let batch = reader.read_trace(id, None).unwrap().unwrap();
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
