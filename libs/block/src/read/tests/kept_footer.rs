//! What is kept of a footer, against what the library makes of it.

use parquet::file::statistics::Statistics;

use super::*;
use crate::read::kept_footer::KeptChunk;

#[test]
fn kept_footer_says_what_the_file_does_in_a_part_of_the_memory() {
    for version in VERSIONS {
        let sample = load(version);
        let source = BytesSource::new(sample.data.clone());
        let BlockFacts { size, footer_size, .. } = sample.facts;
        let (decoded, _) = footer::read_footer(&source, size, footer_size).unwrap();
        let kept = KeptFooter::of(&decoded);
        let columns = decoded.file_metadata().schema_descr().columns();
        let (mut chunks, mut bounded) = (0, 0);
        for (group, kept_group) in decoded.row_groups().iter().zip(kept.row_groups()) {
            assert_eq!(group.columns().len(), kept_group.columns().len());
            for (leaf, (chunk, kept_chunk)) in
                group.columns().iter().zip(kept_group.columns()).enumerate()
            {
                assert_eq!(kept.path(leaf), columns[leaf].path().string());
                assert_eq!(kept_chunk.byte_range(), chunk.byte_range());
                let index = chunk.offset_index_offset().zip(chunk.offset_index_length());
                assert_eq!(kept_chunk.offset_index(), index);
                assert_eq!(kept_chunk.dictionary_page_offset(), chunk.dictionary_page_offset());
                assert_eq!(kept_chunk.num_values, chunk.num_values());
                if let Some(Statistics::Int64(bounds)) = chunk.statistics() {
                    let bounds = bounds.min_opt().copied().zip(bounds.max_opt().copied());
                    assert_eq!(kept_chunk.integer_bounds(), bounds);
                    bounded += usize::from(bounds.is_some());
                }
                chunks += 1;
            }
        }
        assert!(bounded > 0 && chunks > 100, "{bounded} {chunks}");
        assert!(kept.path(columns.len()).is_empty());
        let (own, whole) = (kept.heap_bytes(), decoded.memory_size());
        let of_chunks = chunks * size_of::<KeptChunk>();
        assert!(own > of_chunks && 3 * of_chunks < whole, "{own} {of_chunks} {whole}");
    }
}
