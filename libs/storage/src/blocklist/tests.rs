use std::time::Duration;

use jiff::Timestamp;
use proptest::prelude::*;

use super::*;
use crate::meta::{BlockVersion, Extension};

fn meta() -> BlockMeta {
    BlockMeta::new(BlockVersion::VParquet4, "t", Uuid::new_v4())
}

fn compacted(meta: &BlockMeta, second: i64) -> Arc<CompactedBlockMeta> {
    let compacted_time = Timestamp::from_second(second).unwrap();
    Arc::new(CompactedBlockMeta { meta: meta.clone(), compacted_time })
}

fn marked(meta: &BlockMeta) -> BlockChanges {
    BlockChanges {
        remove: vec![meta.block_id],
        add_compacted: vec![compacted(meta, 1000)],
        ..BlockChanges::default()
    }
}

fn with(level: u32, sources: &[&BlockMeta]) -> BlockMeta {
    let mut meta = meta();
    meta.compaction_level = level;
    name_sources(&mut meta, sources.iter().map(|source| source.block_id).collect());
    meta
}

fn name_sources(meta: &mut BlockMeta, sources: Vec<Uuid>) {
    meta.extension = Some(Box::new(Extension { sources, ..Extension::default() }));
}

fn blocks(live: &[&BlockMeta], marked: &[&BlockMeta]) -> TenantBlocks {
    let live = live.iter().map(|meta| Arc::new((*meta).clone())).collect();
    TenantBlocks::new(live, marked.iter().map(|meta| compacted(meta, 1000)).collect())
}

fn ids<'a>(metas: impl IntoIterator<Item = &'a Arc<BlockMeta>>) -> Vec<Uuid> {
    metas.into_iter().map(|meta| meta.block_id).collect()
}

fn sorted(metas: &[&BlockMeta]) -> Vec<Uuid> {
    let mut ids: Vec<_> = metas.iter().map(|meta| meta.block_id).collect();
    ids.sort_unstable();
    ids
}

/// What is queried a moment after the blocks were marked.
fn queried(blocks: &TenantBlocks) -> Vec<Uuid> {
    let now = Timestamp::from_second(1001).unwrap();
    let queried = blocks.queryable(now, Duration::from_secs(60));
    let mut ids: Vec<_> = queried.map(|meta| meta.block_id).collect();
    ids.sort_unstable();
    ids
}

/// Ends a poll that started before nothing and saw these blocks of tenant `t`.
fn poll(list: &Blocklist, live: &[&BlockMeta], marked: &[&BlockMeta]) {
    let start = list.start_poll();
    finish(list, &start, live, marked);
}

fn finish(list: &Blocklist, start: &PollStart, live: &[&BlockMeta], marked: &[&BlockMeta]) {
    let tenants = HashMap::from([("t".to_owned(), Arc::new(blocks(live, marked)))]);
    list.finish_poll(start, tenants, Vec::new(), NotNew::default());
}

#[test]
fn block_added_while_a_poll_runs_stays_through_it() {
    let list = Blocklist::new();
    let start = list.start_poll();
    let block = meta();
    list.add_block(block.clone());
    assert!(list.tenant("t").has_live(block.block_id));
    list.finish_poll(&start, HashMap::new(), Vec::new(), NotNew::default());
    assert!(list.tenant("t").has_live(block.block_id));
    // The next one starts with it, and says what became of it.
    assert_eq!(list.start_poll().own["t"].add.len(), 1);
    list.finish_poll(&list.start_poll(), HashMap::new(), Vec::new(), NotNew::default());
    assert!(list.tenants().is_empty() && list.start_poll().own.is_empty());
}

#[test]
fn change_that_a_poll_did_not_see_is_given_to_the_next_one() {
    let list = Blocklist::new();
    let block = meta();
    list.add_block(block.clone());
    for _ in 0..3 {
        let start = list.start_poll();
        let unseen = start.own.clone().into_iter().collect();
        list.finish_poll(&start, start.before.as_ref().clone(), unseen, NotNew::default());
    }
    assert!(list.tenant("t").has_live(block.block_id));
    assert_eq!(list.start_poll().own["t"].add[0].block_id, block.block_id);
}

#[test]
fn block_added_again_takes_the_new_meta() {
    let list = Blocklist::new();
    let block = meta();
    list.add_block(block.clone());
    list.add_block(BlockMeta { size: 7, ..block });
    let tenant = list.tenant("t");
    assert_eq!((tenant.live().len(), tenant.live()[0].size), (1, 7));
}

#[test]
fn announced_blocks_find_room_again_once_a_poll_has_looked_for_them() {
    let list = Blocklist::new();
    let max_bytes = meta().memory_bytes() * 5 / 2;
    let announce = || {
        let block = meta();
        let id = block.block_id;
        list.add_announced(block, max_bytes).unwrap();
        list.tenant("t").has_live(id)
    };
    for _ in 0..2 {
        assert_eq!([announce(), announce(), announce()], [true, true, false]);
        let start = list.start_poll();
        assert!(start.own["t"].is_part);
        list.finish_poll(&start, HashMap::new(), Vec::new(), NotNew::default());
    }
    // One that the poll does not see, and one that comes while it runs, have their room still.
    assert!(announce());
    let start = list.start_poll();
    assert!(announce());
    let unseen = start.own.clone().into_iter().collect();
    list.finish_poll(&start, start.before.as_ref().clone(), unseen, NotNew::default());
    assert!(!announce());
}

#[test]
fn list_that_was_read_too_long_ago_may_lack_blocks_until_it_is_read_again() {
    let list = Blocklist::with_max_age(Some(Duration::ZERO));
    // A poll of the future leaves a list that has no age yet.
    let poll = |is_fresh: bool, kept: &[&str]| {
        let mut start = list.start_poll();
        if is_fresh {
            start.begun += Duration::from_secs(3_600);
        }
        let not_new = kept.iter().map(|&tenant| (tenant.to_owned(), None)).collect();
        list.finish_poll(&start, HashMap::new(), Vec::new(), not_new);
    };
    let lacks = || ["t", "other"].map(|tenant| list.is_part(tenant));
    assert_eq!((lacks(), list.is_part_of_any()), ([false, false], false));
    poll(false, &[]);
    assert_eq!((lacks(), list.is_part_of_any()), ([true, true], true));
    assert!(ListGaps::of(&list, ["t"]).any());
    // What could not be read stays as old as it was.
    for _ in 0..2 {
        poll(true, &["t"]);
        assert_eq!((lacks(), list.is_part_of_any()), ([true, false], true));
    }
    poll(true, &[]);
    assert_eq!((lacks(), list.is_part_of_any()), ([false, false], false));
    poll(true, &["t"]);
    assert_eq!((lacks(), list.is_part_of_any()), ([false, false], false));

    // An index that is read now may be older.
    let list = Blocklist::with_max_age(Some(Duration::from_secs(60)));
    for (age, is_part) in [(50, false), (70, true), (0, false)] {
        let not_new = NotNew::from([("t".to_owned(), Some(Duration::from_secs(age)))]);
        list.finish_poll(&list.start_poll(), HashMap::new(), Vec::new(), not_new);
        assert_eq!([list.is_part("t"), list.is_part_of_any()], [is_part; 2], "{age}");
        assert!(!list.is_part("other"));
    }

    let list = Blocklist::new();
    finish(&list, &list.start_poll(), &[], &[]);
    assert!(!list.is_part("t") && !list.is_part_of_any());
}

#[test]
fn compacted_block_leaves_the_live_ones_even_if_a_poll_still_lists_it() {
    let list = Blocklist::new();
    let block = meta();
    list.add_block(block.clone());
    let check = || {
        let tenant = list.tenant("t");
        assert!(!tenant.has_live(block.block_id) && tenant.has_compacted(block.block_id));
    };
    let start = list.start_poll();
    list.change("t", marked(&block));
    finish(&list, &start, &[&block], &[]);
    check();
}

#[test]
fn added_block_that_another_process_compacted_does_not_come_back() {
    let list = Blocklist::new();
    let block = meta();
    let start = list.start_poll();
    list.add_block(block.clone());
    finish(&list, &start, &[], &[&block]);
    assert!(!list.tenant("t").has_live(block.block_id));
}

#[test]
fn tenant_without_blocks_is_not_listed() {
    let list = Blocklist::new();
    let block = meta();
    list.change("t", marked(&block));
    assert_eq!(list.tenants(), ["t"]);
    let cleared =
        BlockChanges { remove_compacted: vec![block.block_id], ..BlockChanges::default() };
    list.change("t", cleared);
    assert!(list.tenants().is_empty());
}

#[test]
fn queryable_has_each_recent_block_once() {
    let (live, recent, old) = (meta(), meta(), meta());
    let blocks = TenantBlocks::new(
        vec![Arc::new(live.clone())],
        vec![compacted(&live, 1000), compacted(&recent, 1000), compacted(&old, 10)],
    );
    let now = Timestamp::from_second(1100).unwrap();
    let queried = blocks.queryable(now, Duration::from_secs(60));
    let ids: Vec<_> = queried.map(|meta| meta.block_id).collect();
    assert_eq!(ids, [live.block_id, recent.block_id]);
}

#[test]
fn snapshot_does_not_change_later() {
    let list = Blocklist::new();
    let before = list.snapshot();
    list.add_block(meta());
    assert!(before.is_empty() && !list.snapshot().is_empty());
}

#[test]
fn sources_of_a_live_block_are_superseded_and_come_back_without_it() {
    let (one, two, other) = (meta(), meta(), meta());
    let merged = with(1, &[&one, &two]);
    let all = blocks(&[&one, &two, &other, &merged], &[]);
    assert_eq!(ids(all.live()), sorted(&[&other, &merged]));
    assert_eq!(ids(all.superseded()), sorted(&[&one, &two]));
    assert_eq!(all.superseded_by(one.block_id), Some(merged.block_id));
    assert_eq!(queried(&all), sorted(&[&other, &merged]));
    assert!(all.has_live(one.block_id));
    assert_eq!(all.meta(two.block_id), Some(&two));

    let list = Blocklist::new();
    poll(&list, &[&one, &two, &merged], &[]);
    let gone = BlockChanges { remove: vec![merged.block_id], ..BlockChanges::default() };
    list.change("t", gone);
    assert_eq!(ids(list.tenant("t").live()), sorted(&[&one, &two]));
}

#[test]
fn block_that_was_written_is_answered_instead_of_its_sources_at_once() {
    let list = Blocklist::new();
    let (one, two) = (meta(), meta());
    poll(&list, &[&one, &two], &[]);
    list.add_block(with(1, &[&one, &two]));
    let tenant = list.tenant("t");
    assert_eq!((tenant.live().len(), tenant.superseded().len()), (1, 2));
    // The reverse order: what is merged already comes late.
    let list = Blocklist::new();
    list.add_block(with(1, &[&one, &two]));
    list.add_block(one.clone());
    assert_eq!(ids(list.tenant("t").superseded()), [one.block_id]);
}

#[test]
fn rewritten_block_of_the_same_level_is_read_whatever_its_id() {
    let mut old = meta();
    for new_id in [1u128, u128::MAX] {
        old.block_id = Uuid::from_u128(1 << 64);
        let mut new = with(0, &[&old]);
        new.block_id = Uuid::from_u128(new_id);
        assert_eq!(ids(blocks(&[&old, &new], &[]).live()), [new.block_id]);
    }
}

#[test]
fn chain_ends_in_one_live_block_even_through_compacted_ones() {
    let first = meta();
    let second = with(1, &[&first]);
    let third = with(2, &[&second]);
    let all = blocks(&[&first, &second, &third], &[]);
    assert_eq!(ids(all.live()), [third.block_id]);
    assert_eq!(all.superseded_by(first.block_id), Some(third.block_id));
    let marked = blocks(&[&first, &third], &[&second]);
    assert_eq!(ids(marked.live()), [third.block_id]);
    assert_eq!(queried(&marked), [third.block_id]);
}

#[test]
fn compacted_block_supersedes_only_while_it_is_queried() {
    // Its successor is not known yet, or there is none.
    let first = meta();
    let second = with(1, &[&first]);
    let all = blocks(&[&first], &[&second]);
    assert_eq!(ids(all.live()), [first.block_id]);
    assert_eq!(queried(&all), [second.block_id]);
    let later = Timestamp::from_second(2000).unwrap();
    let queried: Vec<_> = all.queryable(later, Duration::from_secs(60)).collect();
    assert_eq!(queried, [&first]);
}

#[test]
fn source_that_was_just_marked_is_not_queried_beside_its_successor() {
    let first = meta();
    let second = with(1, &[&first]);
    assert_eq!(queried(&blocks(&[&second], &[&first])), [second.block_id]);
    assert_eq!(queried(&blocks(&[], &[&first, &second])), [second.block_id]);
    // Both files exist for a moment.
    assert_eq!(queried(&blocks(&[&second, &first], &[&first])), [second.block_id]);
}

#[test]
fn blocks_that_name_themselves_or_each_other_do_not_vanish() {
    let mut selfish = meta();
    let id = selfish.block_id;
    name_sources(&mut selfish, vec![id, id]);
    let (mut one, mut two) = (meta(), with(3, &[]));
    name_sources(&mut one, vec![two.block_id]);
    name_sources(&mut two, vec![one.block_id]);
    let below = meta();
    let mut three = with(1, &[&below]);
    name_sources(&mut three, vec![one.block_id, below.block_id]);
    let all = blocks(&[&selfish, &one, &two], &[]);
    assert_eq!(ids(all.live()), sorted(&[&selfish, &two]));
    assert_eq!(ids(all.superseded()), [one.block_id]);
    let all = blocks(&[&one, &two, &three, &below], &[]);
    assert_eq!(ids(all.live()), [three.block_id]);
    // The same among those that are compacted.
    assert_eq!(queried(&blocks(&[], &[&one, &two])), [two.block_id]);
}

#[test]
fn of_blocks_made_of_the_same_one_is_read() {
    let (one, two, three) = (meta(), meta(), meta());
    let (left, right) = (with(1, &[&one, &two]), with(1, &[&two, &one]));
    let higher = if left.block_id > right.block_id { &left } else { &right };
    assert_eq!(ids(blocks(&[&left, &right, &one, &two], &[]).live()), [higher.block_id]);
    let more = with(1, &[&three, &one, &two]);
    assert_eq!(ids(blocks(&[&left, &right, &more], &[]).live()), [more.block_id]);
    let overlapping = with(1, &[&two, &three]);
    let both = blocks(&[&left, &overlapping], &[]);
    assert_eq!(ids(both.live()), sorted(&[&left, &overlapping]));
}

#[test]
fn version_that_cannot_be_read_is_known_but_neither_queried_nor_believed() {
    let old = meta();
    let mut newer = with(1, &[&old]);
    newer.format = "vParquet9".to_owned();
    let mut ancient = meta();
    ancient.format = "v2".to_owned();
    let all = blocks(&[&old, &newer, &ancient], &[]);
    assert_eq!(ids(all.live()), sorted(&[&old, &newer, &ancient]));
    assert_eq!(queried(&all), [old.block_id]);
    assert_eq!(ids(all.unreadable()), sorted(&[&newer, &ancient]));
    assert!(queried(&blocks(&[], &[&ancient])).is_empty());
}

#[test]
fn block_that_is_named_twice_is_there_once() {
    let block = meta();
    let all = blocks(&[&block, &block], &[&block, &block]);
    assert_eq!((all.live().len(), all.compacted().len()), (1, 1));
    assert_eq!(queried(&all), [block.block_id]);
}

#[test]
fn very_long_lists_of_sources_take_no_time() {
    let names: Vec<Uuid> = (0..50_000).map(Uuid::from_u128).collect();
    let mut metas = [meta(), meta()];
    metas.iter_mut().for_each(|meta| name_sources(meta, names.clone()));
    assert_eq!(blocks(&[&metas[0], &metas[1]], &[]).live().len(), 2);
    let same: Vec<_> = (0..2_000).map(|_| with(0, &[&metas[0]])).collect();
    assert!(!blocks(&same.iter().collect::<Vec<_>>(), &[]).live().is_empty());
}

/// What can be asked of the blocks.
fn facts(blocks: &TenantBlocks) -> impl PartialEq + std::fmt::Debug + use<> {
    (ids(blocks.live()), ids(blocks.superseded()), blocks.compacted().to_vec(), queried(blocks))
}

proptest! {
    /// Blocks that were changed step by step are what they would be if they had been polled.
    #[test]
    fn changes_give_the_same_as_a_poll_of_the_result(
        sources in proptest::collection::vec(proptest::collection::vec(0u128..12, 0..4), 12),
        levels in proptest::collection::vec(0u32..3, 12),
        steps in proptest::collection::vec((0usize..12, 0u8..4), 1..20),
        polled in 0usize..12,
    ) {
        let metas: Vec<BlockMeta> = (1u128..).zip(sources.iter().zip(&levels)).map(|(id, of)| {
            let mut meta = with(*of.1, &[]);
            meta.block_id = Uuid::from_u128(id);
            // Some sources are nobody's.
            name_sources(&mut meta, of.0.iter().map(|id| Uuid::from_u128(2 * id + 1)).collect());
            meta
        }).collect();
        let mut changed = blocks(&metas[..polled].iter().collect::<Vec<_>>(), &[]);
        let mut live: Vec<usize> = (0..polled).collect();
        let mut marked: Vec<usize> = Vec::new();
        for (place, step) in steps {
            let (meta, id) = (&metas[place], metas[place].block_id);
            let mut changes = BlockChanges::default();
            match step {
                0 => {
                    changes.add.push(Arc::new(meta.clone()));
                    if !marked.contains(&place) && !live.contains(&place) {
                        live.push(place);
                    }
                }
                1 => {
                    changes.remove.push(id);
                    changes.add_compacted.push(compacted(meta, 1000));
                    live.retain(|live| *live != place);
                    if !marked.contains(&place) {
                        marked.push(place);
                    }
                }
                2 => {
                    changes.remove.push(id);
                    live.retain(|live| *live != place);
                }
                _ => {
                    changes.remove_compacted.push(id);
                    marked.retain(|marked| *marked != place);
                }
            }
            changed = changed.changed_by(&changes);
            let of = |places: &[usize]| places.iter().map(|place| &metas[*place]).collect::<Vec<_>>();
            prop_assert_eq!(facts(&changed), facts(&blocks(&of(&live), &of(&marked))));
        }
    }

    /// Spans are what the blocks at the bottom hold. Whatever names whatever: no live block is hidden
    /// but by one that is read and holds it, as the names say.
    #[test]
    fn no_block_is_hidden_without_one_that_claims_it(
        edges in proptest::collection::vec((0usize..10, 0usize..10), 0..25),
        levels in proptest::collection::vec(0u32..3, 10),
        marked in proptest::collection::vec(any::<bool>(), 10),
    ) {
        let mut metas: Vec<BlockMeta> = levels.iter().map(|level| with(*level, &[])).collect();
        for (place, id) in (1u128..).zip(&mut metas) {
            id.block_id = Uuid::from_u128(place);
        }
        let id = |place: usize| Uuid::from_u128(place as u128 + 1);
        for (place, meta) in metas.iter_mut().enumerate() {
            let named = edges.iter().filter(|(from, _)| *from == place).map(|(_, to)| id(*to));
            name_sources(meta, named.collect());
        }
        let (dead, alive): (Vec<_>, Vec<_>) =
            metas.iter().partition(|meta| marked[meta.block_id.as_u128() as usize - 1]);
        let all = blocks(&alive, &dead);
        prop_assert_eq!(all.all_live().count(), alive.len());
        for (shown, roots) in [
            (ids(all.live()), ids(all.live())),
            (queried(&all), queried(&all)),
        ] {
            // All that the shown blocks hold, by name or by being made of no more.
            let mut held: Vec<Uuid> = roots;
            let mut at = 0;
            while at < held.len() {
                let holder = &metas[held[at].as_u128() as usize - 1];
                for meta in &metas {
                    let made_of = meta.sources();
                    let is_held = holder.sources().contains(&meta.block_id)
                        || !made_of.is_empty()
                            && made_of.iter().all(|id| holder.sources().contains(id));
                    if is_held && !held.contains(&meta.block_id) {
                        held.push(meta.block_id);
                    }
                }
                at += 1;
            }
            for meta in &alive {
                prop_assert!(held.contains(&meta.block_id), "{} of {:?}", meta.block_id, shown);
            }
        }
    }
}
