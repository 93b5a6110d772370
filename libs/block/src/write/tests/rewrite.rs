//! The sample blocks, read and written again: the same columns come out, value by value.

use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use parquet::basic::{Compression as Codec, Encoding};
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::schema::printer::print_schema;
use tactus_model::Projection;
use tactus_storage::BlockMeta;
use tactus_storage::meta::BlockVersion;

use super::read_back::{Leaf, open, read_column};
use crate::read::{BlockFacts, BlockReader, BytesSource};
use crate::schema::Schema;
use crate::{BlockWriter, Compression, WriterSettings};

struct Rewritten {
    theirs: SerializedFileReader<Bytes>,
    ours: SerializedFileReader<Bytes>,
    schema: Schema,
}

fn rewritten(version: BlockVersion, id: &str, compression: Compression) -> Rewritten {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../../conformance/blocks")
        .join(version.as_str())
        .join("single-tenant")
        .join(id);
    let meta = BlockMeta::from_json(&std::fs::read(folder.join("meta.json")).unwrap()).unwrap();
    let data = Bytes::from(std::fs::read(folder.join("data.parquet")).unwrap());
    let facts = BlockFacts {
        size: meta.size,
        footer_size: meta.footer_size,
        version,
        dedicated_columns: meta.dedicated_columns.to_vec(),
    };
    let reader = BlockReader::open(Arc::new(BytesSource::new(data.clone())), &facts).unwrap();
    let dedicated_columns = meta.dedicated_columns.to_vec();
    let schema = Schema::new(version, &dedicated_columns).unwrap();
    let settings =
        WriterSettings { version, dedicated_columns, compression, ..WriterSettings::default() };
    let mut writer = BlockWriter::new(Vec::new(), settings).unwrap();
    for group in 0..reader.row_groups().len() {
        let batch = reader.read_row_group(group, &Projection::all()).unwrap();
        writer.write_row_group(&batch).unwrap();
    }
    let (ours, _) = writer.finish().unwrap();
    Rewritten { theirs: open(data.to_vec()), ours: open(ours), schema }
}

fn version5(compression: Compression) -> Rewritten {
    rewritten(BlockVersion::VParquet5, "22222222-2222-4222-8222-222222222222", compression)
}

fn text_of_schema(file: &SerializedFileReader<Bytes>) -> String {
    let mut text = Vec::new();
    print_schema(&mut text, file.metadata().file_metadata().schema());
    String::from_utf8(text).unwrap()
}

fn compare(rewritten: &Rewritten, differs: impl Fn(usize) -> bool) {
    let Rewritten { theirs, ours, schema } = rewritten;
    assert_eq!(text_of_schema(ours), text_of_schema(theirs));
    assert_eq!(ours.metadata().num_row_groups(), theirs.metadata().num_row_groups());
    for group in 0..theirs.metadata().num_row_groups() {
        for leaf in (0..schema.leaf_count()).filter(|&leaf| !differs(leaf)) {
            let path = schema.descriptor().column(leaf).path().string();
            assert_eq!(
                read_column(ours, group, leaf),
                read_column(theirs, group, leaf),
                "{path} of row group {group}"
            );
        }
    }
}

#[test]
fn vparquet4_sample_comes_out_as_it_was() {
    let id = "11111111-1111-4111-8111-111111111111";
    compare(&rewritten(BlockVersion::VParquet4, id, Compression::Zstd(1)), |_| false);
}

#[test]
fn vparquet5_sample_comes_out_as_it_was() {
    let rewritten = version5(Compression::Zstd(1));
    let child_count = rewritten.schema.leaves.derived.unwrap().child_count;
    compare(&rewritten, |leaf| leaf == child_count);

    // The sample has the number of another trace where a trace has no root.
    let values = |file: &SerializedFileReader<Bytes>| -> Vec<Leaf> {
        let groups = 0..file.metadata().num_row_groups();
        groups.flat_map(|group| read_column(file, group, child_count).values).collect()
    };
    let (ours, theirs) = (values(&rewritten.ours), values(&rewritten.theirs));
    let different: Vec<_> =
        ours.iter().zip(&theirs).filter(|(ours, theirs)| ours != theirs).collect();
    assert_eq!(different, [(&Leaf::Integer(0), &Leaf::Integer(2))]);
}

#[test]
fn blob_columns_are_zstd_without_dictionary_and_bounds() {
    const BLOB: usize = 87;
    for compression in [Compression::Zstd(1), Compression::Snappy, Compression::None] {
        let Rewritten { ours, schema, .. } = version5(compression);
        assert_eq!(schema.leaf_count(), 96);
        for group in 0..ours.metadata().num_row_groups() {
            let chunk = ours.metadata().row_group(group).column(BLOB);
            let path = chunk.column_path().string();
            assert_eq!(path, "rs.ss.Spans.DedicatedAttributes.String08");
            assert!(matches!(chunk.compression(), Codec::ZSTD(_)));
            assert_eq!(chunk.dictionary_page_offset(), None);
            let encodings: Vec<Encoding> = chunk.encodings().collect();
            assert!(encodings.contains(&Encoding::DELTA_LENGTH_BYTE_ARRAY), "{encodings:?}");
            let statistics = chunk.statistics().unwrap();
            assert!(statistics.min_bytes_opt().is_none() && statistics.max_bytes_opt().is_none());
            assert_eq!(chunk.column_index_offset(), None);
            assert!(chunk.offset_index_offset().is_some());
        }
        compare_values(&ours, BLOB);
    }
}

/// Every filler trace has `customer`, so that the blob column holds it.
fn compare_values(file: &SerializedFileReader<Bytes>, leaf: usize) {
    let groups = 0..file.metadata().num_row_groups();
    let values = groups.flat_map(|group| read_column(file, group, leaf).values);
    let filler =
        values.filter(|value| matches!(value, Leaf::Bytes(text) if text.starts_with(b"cust-")));
    assert_eq!(filler.count(), 240);
}
