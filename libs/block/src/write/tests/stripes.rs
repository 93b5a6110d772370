//! Where column chunks lie in a file.

use std::ops::Range;

use parquet::file::reader::FileReader;
use tactus_model::SpanBatch;
use tactus_storage::meta::BlockVersion;

use super::read_back::{open, read_column};
use super::samples::{SampleSpan, batch};
use crate::schema::Schema;
use crate::{BlockWriter, WriterSettings};

/// The file of some row groups in stripes of so many bytes.
fn written(row_groups: &[SpanBatch], stripe_bytes: u64) -> Vec<u8> {
    let settings = WriterSettings { stripe_bytes, ..WriterSettings::default() };
    let mut writer = BlockWriter::new(Vec::new(), settings).unwrap();
    for batch in row_groups {
        writer.write_row_group(batch).unwrap();
    }
    writer.finish().unwrap().0
}

/// Row groups of one trace each, alike in size.
fn row_groups(count: u8) -> Vec<SpanBatch> {
    let span = |trace| SampleSpan { id: 1, start: u64::from(trace), ..SampleSpan::default() };
    (1..=count).map(|trace| batch(&[(trace, vec![span(trace)])])).collect()
}

/// The bytes of each leaf of each row group.
fn places(file: &[u8]) -> Vec<Vec<Range<u64>>> {
    let file = open(file.to_vec());
    let groups = file.metadata().row_groups().iter();
    let range = |(start, length): (u64, u64)| start..start + length;
    groups
        .map(|group| group.columns().iter().map(|chunk| range(chunk.byte_range())).collect())
        .collect()
}

/// From the first byte of some chunks to the last, and how many bytes they have.
fn extent<'a>(chunks: impl Iterator<Item = &'a Range<u64>>) -> (Range<u64>, u64) {
    let (first, last, bytes) = chunks.fold((u64::MAX, 0, 0), |(first, last, bytes), chunk| {
        (first.min(chunk.start), last.max(chunk.end), bytes + chunk.end - chunk.start)
    });
    (first..last, bytes)
}

#[test]
fn columns_of_a_stripe_lie_together_and_hot_ones_next_to_those_of_the_next() {
    let groups = row_groups(8);
    let of_one = extent(places(&written(&groups[..1], 0))[0].iter()).1;
    // A row group more or less of slightly another size.
    let places = places(&written(&groups, of_one * 5 / 2));
    let schema = Schema::new(BlockVersion::VParquet4, &[]).unwrap();
    let leaves = &schema.leaves;
    for stripe in places.chunks(2) {
        let (range, bytes) = extent(stripe.iter().flatten());
        assert_eq!(range.end - range.start, bytes, "a stripe is one range");
        for leaf in 0..schema.leaf_count() {
            let (range, bytes) = extent(stripe.iter().map(|chunks| &chunks[leaf]));
            assert_eq!(range.end - range.start, bytes, "a column of a stripe is one range");
        }
    }
    let hot = [leaves.trace_id, leaves.trace_start, leaves.trace_end];
    let cold = [leaves.parent_span_id, leaves.link_trace_id];
    let together = |groups: Range<usize>, leaves: &[usize]| {
        let chunks =
            places[groups].iter().flat_map(|chunks| leaves.iter().map(|&leaf| &chunks[leaf]));
        let (range, bytes) = extent(chunks);
        range.end - range.start == bytes
    };
    for count in 1..=hot.len() {
        assert!(together(0..4, &hot[..count]) && together(4..8, &hot[..count]));
        assert!(!together(2..6, &hot[..count]));
    }
    assert!(cold.iter().all(|&leaf| !together(0..4, &[leaf])));
}

#[test]
fn middle_of_a_row_group_as_readers_of_splits_reckon_it_is_in_the_file() {
    // From small to large and back, so that little follows a large one.
    let span = |trace, id| SampleSpan { id, start: u64::from(trace), ..SampleSpan::default() };
    let of =
        |trace: u8, spans: u8| batch(&[(trace, (1..=spans).map(|id| span(trace, id)).collect())]);
    let sizes = [1, 40, 200, 1, 1, 250, 3];
    let groups: Vec<_> = (1..).zip(sizes).map(|(trace, spans)| of(trace, spans)).collect();
    for count in 1..=groups.len() {
        for stripe_bytes in [0, 3_000, 8_000, 20_000, 1 << 20] {
            let bytes = written(&groups[..count], stripe_bytes);
            let size = bytes.len() as i64;
            for group in open(bytes).metadata().row_groups() {
                let middle = group.column(0).byte_range().0 as i64 + group.compressed_size() / 2;
                assert!(middle < size, "{count} row groups in stripes of {stripe_bytes}");
            }
        }
    }
}

#[test]
fn chunks_have_the_same_content_wherever_they_lie() {
    let groups = row_groups(7);
    let files = [0, 3_000, 12_000, 1 << 20].map(|stripe_bytes| written(&groups, stripe_bytes));
    let [expected, others @ ..] = files.map(open);
    let leaves = expected.metadata().file_metadata().schema_descr().num_columns();
    for other in others {
        for group in 0..groups.len() {
            let metadata = |file: &parquet::file::reader::SerializedFileReader<_>| {
                let group = file.metadata().row_group(group);
                (
                    group.num_rows(),
                    group.total_byte_size(),
                    group.ordinal(),
                    group.compressed_size(),
                )
            };
            assert_eq!(metadata(&other), metadata(&expected));
            let chunks = other.metadata().row_group(group).columns();
            let first = chunks.iter().map(|chunk| chunk.byte_range().0).min();
            let offset = other.metadata().row_group(group).file_offset();
            assert_eq!(offset.map(|offset| offset as u64), first);
            for leaf in 0..leaves {
                let column = read_column(&other, group, leaf);
                assert_eq!(column, read_column(&expected, group, leaf));
            }
        }
    }
}
