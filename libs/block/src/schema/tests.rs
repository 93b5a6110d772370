use std::path::PathBuf;

use parquet::basic::{Compression, Encoding, Repetition};
use parquet::file::reader::{FileReader, SerializedFileReader};
use tactus_storage::BlockMeta;
use tactus_storage::meta::{ColumnOption, default_columns, filter_for_vparquet4};

use super::*;

type Block = SerializedFileReader<std::fs::File>;

/// A sample block and the dedicated columns of its meta.
fn sample_block(version: BlockVersion) -> (Block, Vec<DedicatedColumn>) {
    let id = match version {
        BlockVersion::VParquet5 => "22222222-2222-4222-8222-222222222222",
        _ => "11111111-1111-4111-8111-111111111111",
    };
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../../conformance/blocks")
        .join(version.as_str())
        .join("single-tenant")
        .join(id);
    let meta = std::fs::read(path.join("meta.json")).unwrap();
    let columns = BlockMeta::from_json(&meta).unwrap().dedicated_columns.to_vec();
    let data = std::fs::File::open(path.join("data.parquet")).unwrap();
    (SerializedFileReader::new(data).unwrap(), columns)
}

const VERSIONS: [BlockVersion; 2] = [BlockVersion::VParquet4, BlockVersion::VParquet5];

fn v4() -> Schema {
    Schema::new(BlockVersion::VParquet4, &[]).unwrap()
}

fn v5(columns: &[DedicatedColumn]) -> Schema {
    Schema::new(BlockVersion::VParquet5, columns).unwrap()
}

fn path(schema: &Schema, leaf: usize) -> String {
    schema.descriptor().column(leaf).path().string()
}

#[test]
fn schemas_equal_the_sample_blocks_leaf_by_leaf() {
    for version in VERSIONS {
        let (block, columns) = sample_block(version);
        let theirs = block.metadata().file_metadata().schema_descr();
        let schema = Schema::new(version, &columns).unwrap();
        let ours = schema.descriptor();
        assert_eq!(ours.num_columns(), theirs.num_columns());
        assert_eq!(ours.root_schema().name(), theirs.root_schema().name());
        for (ours, theirs) in ours.columns().iter().zip(theirs.columns()) {
            let path = theirs.path().string();
            assert_eq!(ours.path().string(), path);
            assert_eq!(ours.physical_type(), theirs.physical_type(), "{path}");
            assert_eq!(ours.logical_type_ref(), theirs.logical_type_ref(), "{path}");
            assert_eq!(ours.converted_type(), theirs.converted_type(), "{path}");
            assert_eq!(ours.max_rep_level(), theirs.max_rep_level(), "{path}");
            assert_eq!(ours.max_def_level(), theirs.max_def_level(), "{path}");
            assert_eq!(
                ours.self_type().get_basic_info().repetition(),
                theirs.self_type().get_basic_info().repetition(),
                "{path}"
            );
        }
    }
}

#[test]
fn encodings_equal_the_sample_blocks() {
    for version in VERSIONS {
        let (block, columns) = sample_block(version);
        let schema = Schema::new(version, &columns).unwrap();
        for leaf in 0..schema.leaf_count() {
            let column = block.metadata().row_group(0).column(leaf);
            let has = |encoding| column.encodings().any(|found| found == encoding);
            let theirs = if has(Encoding::RLE_DICTIONARY) {
                LeafEncoding::Dictionary
            } else if has(Encoding::DELTA_BINARY_PACKED) {
                LeafEncoding::DeltaBinary
            } else if has(Encoding::DELTA_LENGTH_BYTE_ARRAY) {
                LeafEncoding::DeltaLength
            } else {
                LeafEncoding::Plain
            };
            assert_eq!(schema.storage(leaf).encoding, theirs, "{}", path(&schema, leaf));
            let is_blob = matches!(column.compression(), Compression::ZSTD(_));
            let compression = schema.storage(leaf).compression;
            assert_eq!(compression == LeafCompression::Blob, is_blob, "{}", path(&schema, leaf));
        }
    }
}

#[test]
fn leaf_counts_are_those_of_the_format() {
    let columns = |scope, strings, ints| {
        let string = move |n| DedicatedColumn::string(scope, &format!("s{n}"));
        let int = move |n| DedicatedColumn::int(scope, &format!("i{n}"));
        (0..strings).map(string).chain((0..ints).map(int))
    };
    let all = |strings, ints| -> Vec<DedicatedColumn> {
        let scopes = [ColumnScope::Resource, ColumnScope::Span, ColumnScope::Event];
        scopes.into_iter().flat_map(|scope| columns(scope, strings, ints)).collect()
    };
    assert_eq!(v4().leaf_count(), 103);
    assert_eq!(v5(&[]).leaf_count(), 78);
    assert_eq!(v5(&default_columns()).leaf_count(), 92);
    assert_eq!(v5(&all(10, 5)).leaf_count(), 123);
    assert_eq!(v5(&all(20, 5)).leaf_count(), 153);
    // What there is no slot for stays generic.
    assert_eq!(v5(&all(23, 9)).leaf_count(), 153);
    assert_eq!(v5(&all(23, 9)).event_columns.len(), 25);
}

#[test]
fn leaf_names_are_at_the_numbers_of_the_format() {
    let schema = v4();
    let leaves = &schema.leaves;
    let spans = "rs.list.element.ss.list.element.Spans.list.element.";
    assert_eq!(leaves.nested_parent, 49);
    assert_eq!(path(&schema, 49), format!("{spans}ParentID"));
    assert_eq!(leaves.span_attributes.value, 61);
    assert_eq!(path(&schema, 61), format!("{spans}Attrs.list.element.Value.list.element"));
    assert_eq!(schema.descriptor().column(61).max_def_level(), 5);
    assert_eq!(leaves.link_dropped_attributes, 88);
    assert_eq!(schema.resource_columns[0].leaf, leaves.resource_service_name);
    assert_eq!(schema.span_columns.last().unwrap().leaf, 102);
    assert_eq!(leaves.derived, None);

    let schema = v5(&[]);
    let leaves = &schema.leaves;
    assert_eq!((leaves.service_stats_name, leaves.resource_service_name), (7, 10));
    assert_eq!((leaves.resource_attributes.key, leaves.resource_dropped_attributes), (11, 18));
    assert_eq!((leaves.scope_name, leaves.span_id, leaves.span_name), (19, 29, 35));
    assert_eq!((leaves.span_attributes.key, leaves.event_attributes.key), (42, 52));
    assert_eq!((leaves.link_attributes.key, leaves.span_dropped_links), (64, 72));
    let derived = leaves.derived.unwrap();
    assert_eq!((derived.child_count, derived.span_count), (34, 77));
    assert_eq!(derived.start_rounded, [73, 74, 75, 76]);
    let levels = schema.descriptor().column(77);
    assert_eq!((levels.max_rep_level(), levels.max_def_level()), (2, 2));
}

#[test]
fn blob_column_of_the_sample_block_is_leaf_87() {
    let (_, columns) = sample_block(BlockVersion::VParquet5);
    let schema = v5(&columns);
    assert_eq!(schema.leaf_count(), 96);
    assert_eq!(path(&schema, 87), "rs.ss.Spans.DedicatedAttributes.String08");
    let repetition = schema.descriptor().column(87).self_type().get_basic_info().repetition();
    assert_eq!(repetition, Repetition::REPEATED);
    let expected =
        LeafStorage { encoding: LeafEncoding::DeltaLength, compression: LeafCompression::Blob };
    assert_eq!(schema.storage(87), expected);
    let column = schema.span_columns.iter().find(|column| column.leaf == 87).unwrap();
    assert_eq!(column.name.as_deref(), Some("customer"));
}

#[test]
fn int32_and_trace_ids_are_never_dictionary_coded() {
    let mut blob = DedicatedColumn::string(ColumnScope::Span, "blob");
    blob.options.push(ColumnOption::Blob);
    let columns = [default_columns(), vec![blob]].concat();
    for schema in [v4(), v5(&[]), v5(&columns)] {
        for (leaf, column) in schema.descriptor().columns().iter().enumerate() {
            let encoding = schema.storage(leaf).encoding;
            if column.physical_type() == PhysicalType::INT32 || leaf == schema.leaves.trace_id {
                assert_ne!(encoding, LeafEncoding::Dictionary, "{}", column.path());
            }
            if column.path().string().ends_with(".Key") {
                assert_eq!(encoding, LeafEncoding::Dictionary);
            }
        }
    }
}

#[test]
fn columns_of_vparquet4_are_those_of_the_filtered_list() {
    let columns = filter_for_vparquet4(&default_columns());
    let schema = Schema::new(BlockVersion::VParquet4, &columns).unwrap();
    let fifth = &schema.span_columns[7];
    assert_eq!(fifth.name.as_deref(), Some("http.route"));
    assert!(path(&schema, fifth.leaf).ends_with("DedicatedAttributes.String05"));
    assert!(schema.span_columns[8..].iter().all(|column| column.name.is_none()));
    assert_eq!(schema.resource_columns.len(), 9 + SLOTS_OF_VPARQUET4);
    assert!(schema.event_columns.is_empty());
}

#[test]
fn attributes_with_a_column_already_get_no_second_one() {
    let service = DedicatedColumn::string(ColumnScope::Resource, "service.name");
    let schema = v5(&[service, DedicatedColumn::string(ColumnScope::Resource, "ip")]);
    let names: Vec<_> =
        schema.resource_columns.iter().map(|column| column.name.as_deref()).collect();
    assert_eq!(names, [Some("service.name"), None, Some("ip")]);
}

#[test]
fn versions_that_are_only_read_have_no_schema() {
    assert!(matches!(Schema::new(BlockVersion::VParquet3, &[]), Err(Error::NotWritten(_))));
}
