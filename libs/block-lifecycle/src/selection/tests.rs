use proptest::prelude::*;
use tactus_model::fnv1a_32;

use super::*;

const NOW: i64 = 1_700_000_000 + 10 * 24 * 3600;

const WINDOW: Duration = Duration::from_secs(3600);

fn settings() -> Compaction {
    Compaction { max_input_blocks: 4, ..Compaction::default() }
}

fn block(end: i64, level: u32, objects: u64) -> Arc<BlockMeta> {
    let mut meta = BlockMeta::new(BlockVersion::VParquet4, "single-tenant", Uuid::new_v4());
    meta.end_time = Timestamp::from_second(end).unwrap();
    meta.compaction_level = level;
    meta.total_objects = objects;
    meta.size = 1000;
    Arc::new(meta)
}

fn selected(blocks: &[Arc<BlockMeta>]) -> Vec<Selected> {
    select("single-tenant", blocks, &settings(), WINDOW, Timestamp::from_second(NOW).unwrap())
}

#[test]
fn old_window_is_owned_by_its_number() {
    let blocks = [block(1_700_000_060, 0, 1), block(1_700_000_060, 3, 1)];
    let found = selected(&blocks);
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].owner, "single-tenant-472222-0");
    assert_eq!(fnv1a_32(found[0].owner.as_bytes()), 3_025_465_099);
}

#[test]
fn recent_blocks_are_merged_level_by_level() {
    let end = NOW - 60;
    let blocks = [block(end, 0, 1), block(end, 1, 1), block(end, 1, 1), block(end, 0, 1)];
    let found = selected(&blocks);
    let levels: Vec<Vec<u32>> = found
        .iter()
        .map(|job| job.blocks.iter().map(|meta| meta.compaction_level).collect())
        .collect();
    assert_eq!(levels, [vec![0, 0], vec![1, 1]]);
    assert!(found[1].owner.starts_with("single-tenant-1-"));
}

#[test]
fn window_at_the_border_is_left_alone() {
    let border = NOW - ACTIVE_SECONDS;
    assert!(selected(&[block(border, 0, 1), block(border, 0, 1)]).is_empty());
}

#[test]
fn different_windows_versions_columns_and_factors_stay_apart() {
    let end = 1_700_000_060;
    let base = block(end, 0, 1);
    let other = |change: &dyn Fn(&mut BlockMeta)| {
        let mut meta = (*block(end, 0, 1)).clone();
        change(&mut meta);
        Arc::new(meta)
    };
    let different = [
        other(&|meta| meta.format = "vParquet5".to_owned()),
        other(&|meta| meta.replication_factor = 1),
        other(&|meta| meta.dedicated_columns = tactus_storage::meta::default_columns().into()),
        other(&|meta| meta.end_time = Timestamp::from_second(end - 3600).unwrap()),
        other(&|meta| meta.format = "v2".to_owned()),
        other(&|meta| meta.size = 0),
    ];
    for meta in different {
        assert!(selected(&[Arc::clone(&base), Arc::clone(&meta)]).is_empty(), "{meta:?}");
    }
    let adopted = [Arc::clone(&base), other(&|meta| meta.format = "vParquet5".to_owned())];
    let now = Timestamp::from_second(NOW).unwrap();
    let adopting = Compaction { adopt_block_settings: true, ..settings() };
    assert_eq!(select("t", &adopted, &adopting, WINDOW, now).len(), 1);
}

#[test]
fn blocks_of_two_kinds_are_merged_whatever_their_sizes_the_smallest_first() {
    let sized = |format: &str, objects: u64| {
        let meta = block(1_700_000_060, 0, objects);
        Arc::new(BlockMeta { format: format.to_owned(), ..(*meta).clone() })
    };
    let old = [2, 4, 6].map(|objects| sized("vParquet4", objects));
    let new = [1, 3, 5].map(|objects| sized("vParquet5", objects));
    let found = selected(&[old, new].concat());
    let sizes: Vec<Vec<u64>> = found
        .iter()
        .map(|job| job.blocks.iter().map(|meta| meta.total_objects).collect())
        .collect();
    assert_eq!(sizes, [vec![1, 3, 5], vec![2, 4, 6]]);
}

#[test]
fn limits_on_objects_bytes_and_inputs_hold() {
    let end = 1_700_000_060;
    let large = [block(end, 0, 4_000_000), block(end, 0, 4_000_000)];
    assert!(selected(&large).is_empty());
    let many: Vec<_> = (0..9).map(|_| block(end, 0, 1)).collect();
    let counts: Vec<_> = selected(&many).iter().map(|job| job.blocks.len()).collect();
    assert_eq!(counts, [4, 4]);
    let tight = Compaction { max_block_bytes: 2500, ..settings() };
    let now = Timestamp::from_second(NOW).unwrap();
    let found = select("t", &many, &tight, WINDOW, now);
    assert!(found.iter().all(|job| job.blocks.len() == 2));
}

#[test]
fn merged_block_has_no_footer_that_readers_refuse() {
    let with = |records: u32, footer: u32| {
        let meta = block(1_700_000_060, 0, 1);
        Arc::new(BlockMeta { total_records: records, footer_size: footer, ..(*meta).clone() })
    };
    assert_eq!(selected(&[with(10, 150_000), with(1_500, 0), with(1_500, 0)])[0].blocks.len(), 3);
    assert!(selected(&[with(2_000, 0), with(2_000, 0)]).is_empty());
    assert!(selected(&[with(1, 40 << 20), with(1, 40 << 20)]).is_empty());
}

proptest! {
    #[test]
    fn each_block_is_in_one_merge_at_most(
        specs in proptest::collection::vec((0i64..40 * 3600, 0u32..12, 1u64..4_000_000), 0..60)
    ) {
        let blocks: Vec<_> =
            specs.iter().map(|&(age, level, objects)| block(NOW - age, level, objects)).collect();
        let found = selected(&blocks);
        let mut seen = std::collections::HashSet::new();
        for job in &found {
            prop_assert!((2..=4).contains(&job.blocks.len()));
            let objects: u64 = job.blocks.iter().map(|meta| meta.total_objects).sum();
            prop_assert!(objects <= 6_000_000);
            for meta in &job.blocks {
                prop_assert!(seen.insert(meta.block_id));
                prop_assert_eq!(
                    meta.end_unix_seconds().div_euclid(3600),
                    job.blocks[0].end_unix_seconds().div_euclid(3600)
                );
            }
        }
        // The order of the list says nothing.
        let mut turned = blocks.clone();
        turned.reverse();
        prop_assert_eq!(selected(&turned), found);
    }

    #[test]
    fn merging_comes_to_an_end(count in 2usize..80) {
        let mut blocks: Vec<_> = (0..count).map(|_| block(1_700_000_060, 0, 1)).collect();
        let mut rounds = 0;
        while let Some(job) = selected(&blocks).into_iter().next() {
            let gone: Vec<_> = job.blocks.iter().map(|meta| meta.block_id).collect();
            let level = job.blocks.iter().map(|meta| meta.compaction_level).max().unwrap() + 1;
            let objects = job.blocks.iter().map(|meta| meta.total_objects).sum();
            blocks.retain(|meta| !gone.contains(&meta.block_id));
            blocks.push(block(1_700_000_060, level, objects));
            rounds += 1;
            prop_assert!(rounds < count);
        }
        prop_assert_eq!(blocks.len(), 1);
    }
}
