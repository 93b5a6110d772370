use std::sync::atomic::{AtomicU64, Ordering};

use proptest::prelude::*;
use tactus_block::BuilderSettings;
use tactus_block::read::BlockReader;
use tactus_storage::bloom::{BloomEstimate, BloomShard, shard_of};
use tactus_storage::meta::BlockVersion;

use super::*;
use crate::testing::{
    Random, Shape, Span, TestBlock, builder_settings, merged, random_spans, sorted,
};
use crate::{Cancelled, Unattended};

const VERSIONS: [BlockVersion; 2] = [BlockVersion::VParquet4, BlockVersion::VParquet5];

fn any_settings(random: &mut Random) -> BuilderSettings {
    builder_settings(VERSIONS[random.below(2) as usize], random.below(2) == 0)
}

/// Random blocks of random versions and columns, and their spans as they are read back.
fn random_blocks(random: &mut Random, count: u64, shape: Shape) -> Vec<(TestBlock, Vec<Span>)> {
    (0..count)
        .map(|_| {
            let spans = random_spans(random, shape);
            let (settings, group) = (any_settings(random), 1 + random.below(9) as usize);
            let block = TestBlock::new(&spans, &settings, group);
            let spans = block.spans();
            (block, spans)
        })
        .collect()
}

fn readers(blocks: &[(TestBlock, Vec<Span>)]) -> Vec<BlockReader> {
    blocks.iter().map(|(block, _)| block.reader().unwrap()).collect()
}

fn settings(builder: BuilderSettings) -> RewriteSettings {
    RewriteSettings { row_group_spans: 40, ..RewriteSettings::new(builder) }
}

fn run(readers: &[BlockReader], settings: &RewriteSettings) -> Merged<Vec<u8>> {
    merge_blocks(readers, Vec::new(), settings, &Changes::default(), &Unattended).unwrap()
}

fn spans_of(merged: Merged<Vec<u8>>, settings: &RewriteSettings) -> Vec<Span> {
    let block = merged.block.map(|built| TestBlock::built(built, &settings.builder));
    block.map_or_else(Vec::new, |block| block.spans())
}

const SHAPE: Shape = Shape { pool: 30, traces: 25, spans: 6 };
const SMALL: Shape = Shape { pool: 8, traces: 6, spans: 3 };

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn merge_of_random_blocks_is_that_of_their_spans(
        seed: u64, count in 0u64..7, memory in 1u64..400_000,
    ) {
        let mut random = Random(seed);
        let blocks = random_blocks(&mut random, count, SHAPE);
        let expected = merged(blocks.iter().map(|(_, spans)| spans));
        let mut settings = settings(any_settings(&mut random));
        settings.memory_bytes = memory;
        let merged = run(&readers(&blocks), &settings);
        let stats = merged.stats;
        prop_assert_eq!(merged.block.is_none(), expected.is_empty());
        if let Some(built) = &merged.block {
            check_files(built, &expected);
        }
        let read: u64 = blocks.iter().map(|(_, spans)| spans.len() as u64).sum();
        prop_assert_eq!(stats.spans_read, read);
        prop_assert_eq!(stats.spans_written, expected.len() as u64);
        prop_assert_eq!(stats.spans_read - stats.duplicate_spans, stats.spans_written);
        prop_assert_eq!(stats.blocks_read, count);
        let start = expected.iter().map(|span| span.start).min();
        prop_assert_eq!(merged.range.map(|(start, _)| start), start);
        prop_assert_eq!(sorted(spans_of(merged, &settings)), expected);
    }

    #[test]
    fn memory_makes_no_difference_to_the_bytes(seed: u64, memory in 80_000u64..2_000_000) {
        let mut random = Random(seed);
        let blocks = random_blocks(&mut random, 4, SHAPE);
        let mut settings = settings(any_settings(&mut random));
        settings.row_group_bytes = 20_000;
        let whole = run(&readers(&blocks), &settings);
        settings.memory_bytes = memory;
        let parts = run(&readers(&blocks), &settings);
        let bytes = |merged: Merged<Vec<u8>>| merged.block.map(|block| (block.sink, block.blooms));
        prop_assert_eq!(bytes(whole), bytes(parts));
    }

    /// Page headers and the footer have no checksum in Parquet, so some bits can still change what is read.
    #[test]
    fn damaged_input_never_panics_and_is_the_one_to_blame(
        seed: u64, at in any::<prop::sample::Index>(), bit in 0u8..8, cut in any::<bool>(),
    ) {
        let mut random = Random(seed);
        let mut blocks = random_blocks(&mut random, 3, SMALL);
        let mut data = blocks[1].0.data.to_vec();
        let at = at.index(data.len());
        if cut { data.truncate(at) } else { data[at] ^= 1 << bit }
        blocks[1].0.data = data.into();
        // What cannot be opened is never merged.
        let Ok(damaged) = blocks[1].0.reader() else { return Ok(()) };
        prop_assert!(!cut);
        let readers =
            [blocks[0].0.reader().unwrap(), damaged, blocks[2].0.reader().unwrap()];
        let settings = settings(any_settings(&mut random));
        match merge_blocks(&readers, Vec::new(), &settings, &Changes::default(), &Unattended) {
            Err(Error::Input { input, .. } | Error::Unordered { input }) => prop_assert_eq!(input, 1),
            Err(other) => prop_assert!(false, "{}", other),
            Ok(_) => {}
        }
    }

    #[test]
    fn damaged_values_are_an_error_of_their_input(at in 0usize..4_000, bit in 0u8..8) {
        let good = block(&[span(1, 1, 5)]);
        let (mut bad, _) = block(&[span(1, 2, 5), span(2, 1, 4_000)]);
        let text = bad.data.windows(64).position(|part| part == [b'x'; 64]);
        let mut data = bad.data.to_vec();
        data[text.unwrap() + at.min(3_900)] ^= 1 << bit;
        bad.data = data.into();
        let readers = [good.0.reader().unwrap(), bad.reader().unwrap()];
        let settings = settings(builder_settings(BlockVersion::VParquet4, false));
        let merged = merge_blocks(&readers, Vec::new(), &settings, &Changes::default(), &Unattended);
        let is_blamed = matches!(merged, Err(Error::Input { input: 1, .. }));
        prop_assert!(is_blamed);
    }
}

/// Order, row groups, bloom filters and index fit the spans.
fn check_files(built: &BuiltBlock<Vec<u8>>, spans: &[Span]) {
    let mut ids: Vec<TraceId> = spans.iter().map(|span| TraceId(span.trace)).collect();
    ids.dedup();
    let summary = &built.summary;
    assert_eq!((summary.traces, summary.spans), (ids.len() as u64, spans.len() as u64));
    assert_eq!(summary.last_ids.last(), ids.last());
    assert!(summary.last_ids.is_sorted_by(|a, b| a < b));
    for id in &ids {
        let shard = shard_of(&id.0, built.blooms.len() as u32) as usize;
        assert!(BloomShard::decode(built.blooms[shard].clone()).unwrap().may_contain(&id.0));
    }
    let mut rest = ids.as_slice();
    for last in &summary.last_ids {
        let traces = rest.partition_point(|id| id <= last);
        let (group, after) = rest.split_at(traces);
        let in_group = |span: &&Span| group.contains(&TraceId(span.trace));
        assert!(group.len() == 1 || spans.iter().filter(in_group).count() <= 40);
        rest = after;
    }
}

fn span(trace: u8, id: u64, length: usize) -> Span {
    let mut span = Span { trace: [trace; 16], id, start: 1_000 + id, ..Span::default() };
    span.attributes.insert("text".to_owned(), crate::testing::Value::Text("x".repeat(length)));
    span
}

fn block(spans: &[Span]) -> (TestBlock, Vec<Span>) {
    let block = TestBlock::new(spans, &builder_settings(BlockVersion::VParquet4, false), 3);
    let spans = block.spans();
    (block, spans)
}

fn ids(spans: &[Span]) -> Vec<u64> {
    spans.iter().map(|span| span.id).collect()
}

#[test]
fn trace_over_the_limit_keeps_its_largest_fragment_and_what_fits() {
    let small = block(&[span(1, 1, 10), span(1, 2, 10)]);
    let large = block(&[span(1, 3, 900), span(1, 4, 900), span(1, 1, 10)]);
    let more = block(&[span(1, 5, 10), span(1, 6, 2000), span(1, 7, 10), span(2, 9, 10)]);
    let mut settings = settings(builder_settings(BlockVersion::VParquet4, false));
    settings.max_trace_bytes = 3_200;
    let merged = run(&readers(&[small, large, more]), &settings);
    let stats = merged.stats;
    // The large fragment goes first: span 6 alone is more than it has. Of the others those until the first that does
    // not fit.
    assert_eq!((stats.traces_cut, stats.duplicate_spans), (1, 1));
    assert_eq!(stats.spans_cut, 2);
    assert_eq!(merged.cut_traces.iter().map(|(_, spans)| spans).collect::<Vec<_>>(), [2]);
    assert_eq!(ids(&sorted(spans_of(merged, &settings))), [1, 2, 5, 6, 7, 9]);
}

#[test]
fn trace_over_the_limit_in_one_block_is_kept() {
    let one = block(&[span(1, 1, 2_000), span(1, 2, 2_000), span(2, 1, 10)]);
    let other = block(&[span(2, 1, 10), span(2, 2, 10), span(3, 1, 5_000)]);
    let mut settings = settings(builder_settings(BlockVersion::VParquet4, false));
    settings.max_trace_bytes = 1_000;
    let merged = run(&readers(&[one, other]), &settings);
    assert_eq!((merged.stats.traces_cut, merged.stats.spans_written), (0, 5));
    assert_eq!((merged.stats.traces_combined, merged.stats.traces_written), (1, 3));
}

#[test]
fn copies_of_a_trace_do_not_count_against_the_limit() {
    let copy = || block(&[span(1, 1, 400), span(1, 2, 400)]);
    let mut settings = settings(builder_settings(BlockVersion::VParquet4, false));
    settings.max_trace_bytes = 1_200;
    let merged = run(&readers(&[copy(), copy(), copy()]), &settings);
    assert_eq!((merged.stats.traces_cut, merged.stats.duplicate_spans), (0, 4));
    assert_eq!(ids(&spans_of(merged, &settings)), [1, 2]);
}

#[test]
fn removed_traces_are_gone_from_data_and_bloom_filters() {
    let blocks = [block(&[span(1, 1, 5), span(2, 1, 5)]), block(&[span(2, 2, 5)])];
    let settings = settings(builder_settings(BlockVersion::VParquet4, false));
    let remove = |traces: &[u8]| Changes {
        remove: traces.iter().map(|&trace| TraceId([trace; 16])).collect(),
        ..Changes::default()
    };
    let run = |changes: &Changes| {
        merge_blocks(&readers(&blocks), Vec::new(), &settings, changes, &Unattended).unwrap()
    };
    let merged = run(&remove(&[2, 9]));
    assert_eq!((merged.stats.traces_removed, merged.stats.spans_removed), (1, 2));
    assert_eq!(merged.range, Some((1_001, 1_001)));
    let bloom = merged.block.as_ref().unwrap().blooms[0].clone();
    assert!(!BloomShard::decode(bloom).unwrap().may_contain(&[2; 16]));
    assert_eq!(spans_of(merged, &settings), [span(1, 1, 5)]);

    let nothing = run(&remove(&[1, 2]));
    assert!(nothing.block.is_none() && nothing.range.is_none());
    assert_eq!(nothing.stats.spans_removed, 3);
}

#[test]
fn bloom_filters_are_sized_for_the_traces_of_all_inputs() {
    let blocks = [block(&[span(1, 1, 5)]), block(&[span(1, 2, 5)])];
    let settings = settings(builder_settings(BlockVersion::VParquet4, false));
    let built = run(&readers(&blocks), &settings).block.unwrap();
    assert_eq!(built.summary.traces, 1);
    let hashes = u64::from_be_bytes(built.blooms[0][8..16].try_into().unwrap());
    assert_eq!(hashes, BloomEstimate::new(2, 0.01).hashes);
}

#[test]
fn unordered_input_is_named() {
    let good = block(&[span(1, 1, 5), span(2, 1, 5)]);
    let bad = block(&[span(5, 1, 5), span(6, 1, 5)]);
    let readers = readers(&[good, bad]);
    let mut stats = RewriteStats::default();
    // As if a row group with a larger id stood before.
    let mut again = Input::new(1, &readers[1]);
    again.last_id = Some(TraceId([9; 16]));
    let error = again.read_window(1 << 20, &mut stats).unwrap_err();
    assert!(matches!(error, Error::Unordered { input: 1 }), "{error}");
}

struct StopAfter(AtomicU64);

impl Control for StopAfter {
    fn check(&self) -> Result<(), Cancelled> {
        let left = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| n.checked_sub(1));
        left.map(drop).map_err(|_| Cancelled)
    }
}

#[test]
fn merge_can_be_cancelled_at_every_check() {
    let mut random = Random(7);
    let blocks = random_blocks(&mut random, 3, SHAPE);
    let settings = settings(builder_settings(BlockVersion::VParquet4, false));
    let changes = Changes::default();
    for checks in 0.. {
        let control = StopAfter(AtomicU64::new(checks));
        match merge_blocks(&readers(&blocks), Vec::new(), &settings, &changes, &control) {
            Err(error) => assert!(matches!(error, Error::Cancelled), "{error}"),
            Ok(merged) => {
                assert!(checks > 5, "only {checks} checks");
                let expected = crate::testing::merged(blocks.iter().map(|(_, spans)| spans));
                assert_eq!(sorted(spans_of(merged, &settings)), expected);
                break;
            }
        }
    }
}

struct Watch(std::sync::Mutex<Vec<(u64, u64)>>);

impl Control for Watch {
    fn check(&self) -> Result<(), Cancelled> {
        Ok(())
    }

    fn progress(&self, done: u64, total: u64) {
        self.0.lock().unwrap().push((done, total));
    }
}

#[test]
fn progress_ascends_to_the_end() {
    let mut random = Random(9);
    let blocks = random_blocks(&mut random, 4, SHAPE);
    let settings = settings(builder_settings(BlockVersion::VParquet4, false));
    let watch = Watch(Vec::new().into());
    merge_blocks(&readers(&blocks), Vec::new(), &settings, &Changes::default(), &watch).unwrap();
    let seen = watch.0.into_inner().unwrap();
    assert!(seen.is_sorted());
    let &(done, total) = seen.last().unwrap();
    assert_eq!(done, total);
    assert!(total > 0 && total < blocks.iter().map(|(block, _)| block.data.len() as u64).sum());
}

#[derive(Debug)]
struct Failing(usize);

impl Write for Failing {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0 = self.0.checked_sub(bytes.len()).ok_or_else(|| {
            std::io::Error::other(tactus_storage::Error::NotFound { key: "k".to_owned() })
        })?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn failing_sink_is_the_output_and_shows_the_error_of_the_store() {
    let blocks = [block(&[span(1, 1, 5), span(2, 1, 5)])];
    let settings = settings(builder_settings(BlockVersion::VParquet4, false));
    for room in [0, 100, 3000] {
        let changes = Changes::default();
        let sink = Failing(room);
        let error =
            merge_blocks(&readers(&blocks), sink, &settings, &changes, &Unattended).unwrap_err();
        assert!(matches!(error, Error::Output(_)), "{error}");
        assert!(error.is_not_found());
    }
}

#[test]
fn large_trace_over_small_memory_passes() {
    let spans: Vec<Span> = (0..3_000).map(|id| span(1, id, 20)).chain([span(2, 1, 5)]).collect();
    let blocks = [block(&spans[..2_000]), block(&spans[1_000..])];
    let mut settings = settings(builder_settings(BlockVersion::VParquet4, false));
    settings.memory_bytes = 1_000;
    let merged = run(&readers(&blocks), &settings);
    assert_eq!((merged.stats.duplicate_spans, merged.stats.row_groups_written), (1_000, 2));
    assert_eq!(sorted(spans_of(merged, &settings)), sorted(spans));
}

#[test]
fn giant_traces_of_several_blocks_are_not_held_together() {
    let builder = builder_settings(BlockVersion::VParquet4, false);
    let block = |number: u64| {
        let span = |id: u64| Span {
            trace: [number as u8; 16],
            id: number << 8 | id,
            name: format!("{id}{}", "x".repeat(1 << 20)),
            ..Span::default()
        };
        TestBlock::new(&(0..14).map(span).collect::<Vec<_>>(), &builder, 1).reader().unwrap()
    };
    let mut settings = settings(builder.clone());
    settings.memory_bytes = 8 << 20;
    let blocks: Vec<_> = (1..=4).map(block).collect();
    let merge = |blocks: &[BlockReader]| {
        merge_blocks(blocks, std::io::sink(), &settings, &Changes::default(), &Unattended)
    };
    let error = merge(&blocks).unwrap_err();
    assert!(matches!(error, Error::TooLarge { spans: 14, mib: 14.., .. }), "{error}");
    // By itself, and with another, each can be rewritten.
    assert_eq!(merge(&blocks[..1]).unwrap().stats.spans_written, 14);
    assert_eq!(merge(&blocks[..2]).unwrap().stats.spans_written, 28);
}
