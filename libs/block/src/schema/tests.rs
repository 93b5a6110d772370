use std::path::PathBuf;

use parquet::file::reader::{FileReader, SerializedFileReader};

use super::*;

fn sample_block() -> SerializedFileReader<std::fs::File> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(
        "../../../shared/conformance/blocks/vParquet4/single-tenant/\
         11111111-1111-4111-8111-111111111111/data.parquet",
    );
    SerializedFileReader::new(std::fs::File::open(path).unwrap()).unwrap()
}

#[test]
fn schema_equals_the_sample_block_leaf_by_leaf() {
    let block = sample_block();
    let theirs = block.metadata().file_metadata().schema_descr();
    let ours = descriptor();
    assert_eq!((ours.num_columns(), theirs.num_columns()), (LEAF_COUNT, LEAF_COUNT));
    assert_eq!(ours.root_schema().name(), theirs.root_schema().name());
    for (ours, theirs) in ours.columns().iter().zip(theirs.columns()) {
        let path = theirs.path().string();
        assert_eq!(ours.path().string(), path);
        assert_eq!(ours.physical_type(), theirs.physical_type(), "{path}");
        assert_eq!(ours.logical_type_ref(), theirs.logical_type_ref(), "{path}");
        assert_eq!(ours.converted_type(), theirs.converted_type(), "{path}");
        assert_eq!(ours.max_rep_level(), theirs.max_rep_level(), "{path}");
        assert_eq!(ours.max_def_level(), theirs.max_def_level(), "{path}");
    }
}

#[test]
fn encodings_equal_the_sample_block() {
    use parquet::basic::Encoding;
    let block = sample_block();
    for leaf in 0..LEAF_COUNT {
        let column = block.metadata().row_group(0).column(leaf);
        let path = column.column_path().string();
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
        assert_eq!(encoding_of(leaf), theirs, "{path}");
    }
}

#[test]
fn leaf_numbers_name_the_columns_they_say() {
    let path = |leaf: usize| descriptor().column(leaf).path().string();
    let spans = "rs.list.element.ss.list.element.Spans.list.element.";
    assert_eq!(path(leaf::SPAN_NESTED_PARENT), format!("{spans}ParentID"));
    let value = leaf::SPAN_ATTRIBUTES.value;
    assert_eq!(value, 61);
    assert_eq!(path(value), format!("{spans}Attrs.list.element.Value.list.element"));
    assert_eq!(descriptor().column(value).max_def_level(), 5);
    assert_eq!(
        path(leaf::LINK_DROPPED_ATTRIBUTES),
        format!("{spans}Links.list.element.DroppedAttributesCount")
    );
    assert_eq!(path(leaf::SPAN_DEDICATED + 9), format!("{spans}DedicatedAttributes.String10"));
    assert_eq!(
        path(leaf::RESOURCE_DEDICATED),
        "rs.list.element.Resource.DedicatedAttributes.String01"
    );
}

#[test]
fn int32_and_trace_ids_are_never_dictionary_coded() {
    for (leaf, column) in descriptor().columns().iter().enumerate() {
        if column.physical_type() == PhysicalType::INT32 || leaf == leaf::TRACE_ID {
            assert_ne!(encoding_of(leaf), LeafEncoding::Dictionary, "{}", column.path());
        }
        if column.path().string().ends_with(".Key") {
            assert_eq!(encoding_of(leaf), LeafEncoding::Dictionary);
        }
    }
}
