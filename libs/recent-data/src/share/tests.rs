use proptest::prelude::*;
use tactus_proto::tactus::v1::KeptTraces;

use super::kept_traces::trace_mark;
use super::*;

const STREAM: u64 = 1 << 24;

fn holder(id: &str, complete: &[u64], incomplete: &[u64]) -> Holder {
    Holder {
        ingester_id: id.to_owned(),
        complete: complete.to_vec(),
        incomplete: incomplete.to_vec(),
        ..Holder::default()
    }
}

/// What each of the holders counts.
fn shares(holders: &[Holder], stored: &[u64]) -> Vec<Vec<u64>> {
    let request = MetricsRequest {
        holders: holders.to_vec(),
        stored_origins: stored.to_vec(),
        ..MetricsRequest::default()
    };
    let of = |holder: &Holder| Share::of(&request, &holder.ingester_id).unwrap().unwrap();
    holders.iter().map(|holder| of(holder).mine.bounds()).collect()
}

#[test]
fn origins_are_shared_out_stream_by_stream() {
    let all: Vec<u64> =
        (1..=300).flat_map(|stream| [stream * STREAM + 1, stream * STREAM + 9]).collect();
    let holders = ["a", "b", "c"].map(|id| holder(id, &all, &[]));
    let shares = shares(&holders, &[]);
    for share in &shares {
        let streams = share.len() / 2;
        assert!((70..130).contains(&streams), "{streams}");
    }
    let mut sum = OriginSet::new();
    for share in &shares {
        let share = OriginSet::from_bounds(share).unwrap();
        assert!(!sum.intersects(&share));
        sum.unite(&share);
    }
    assert_eq!(sum.bounds(), all);
}

#[test]
fn stored_origins_are_not_counted_and_incomplete_ones_only_if_nobody_has_all() {
    let own = |shares: Vec<Vec<u64>>| shares.concat();
    assert_eq!(own(shares(&[holder("a", &[1, 9], &[])], &[4, 5])), [1, 3, 6, 9]);
    let holders = [holder("a", &[], &[1, 9]), holder("b", &[3, 4], &[])];
    assert_eq!(shares(&holders, &[8, 9]), [vec![1, 2, 5, 7], vec![3, 4]]);
    let holders = [holder("a", &[], &[1, 9]), holder("b", &[], &[1, 9])];
    assert_eq!(own(shares(&holders, &[])), [1, 9], "one of them");
}

#[test]
fn request_without_holders_is_about_spans_without_replicas() {
    assert!(Share::of(&MetricsRequest::default(), "a").unwrap().is_none());
    let asked = MetricsRequest { holders: vec![holder("b", &[1, 9], &[])], ..Default::default() };
    let share = Share::of(&asked, "a").unwrap().unwrap();
    assert!(share.counts_origin(0) && !share.counts_origin(1));
    for bounds in [&[1][..], &[2, 1], &[0, u64::MAX]] {
        let asked =
            MetricsRequest { holders: vec![holder("b", bounds, &[])], ..Default::default() };
        assert_eq!(Share::of(&asked, "a").unwrap_err(), MalformedHolders);
    }
}

#[test]
fn rank_is_the_same_in_every_release() {
    let first = |stream| ["a", "b", "c"].into_iter().min_by_key(|id| rank(stream, id)).unwrap();
    let order: String = (1..13).map(first).collect();
    assert_eq!(order, "abccabbcacbc");
}

#[test]
fn spans_without_origin_count_unless_their_block_is_read() {
    let block = Uuid::from_u128(7 << 100);
    let request = |stored: &[u64]| MetricsRequest {
        holders: vec![holder("a", &[], &[])],
        stored_origins: stored.to_vec(),
        ..MetricsRequest::default()
    };
    let share = |stored: &[u64]| Share::of(&request(stored), "a").unwrap().unwrap();
    let origin = none_origin(Some(block));
    assert!(origin != 0 && is_of_block(origin));
    assert!(share(&[]).counts_origin(origin) && !share(&[origin, origin]).counts_origin(origin));
    assert_eq!(none_origin(None), 0);
}

#[test]
fn of_copies_with_other_origins_the_highest_counts() {
    let request = MetricsRequest {
        holders: vec![holder("a", &[5, 6], &[]), holder("b", &[7, 7], &[9, 9])],
        stored_origins: vec![1, 2],
        ..MetricsRequest::default()
    };
    let share = Share::of(&request, "a").unwrap().unwrap();
    let weights = [8, 0, 3 << 24, 5, 7, 9, 1].map(|origin| share.weight(origin));
    let (one, stored) = (|origin| Some((1, origin)), Some((usize::MAX, u64::MAX)));
    let nothing = Some((0, 0));
    assert_eq!(weights, [None, nothing, nothing, one(5), one(7), one(9), stored]);
}

#[test]
fn of_copies_the_one_that_more_ingesters_have_counts() {
    // The client sent push 5 again as push 6 while "c" was down.
    let holders = ["a", "b"].map(|id| holder(id, &[5, 6], &[]));
    let holders = holders.into_iter().chain([holder("c", &[5, 5], &[])]).collect();
    let request = MetricsRequest { holders, ..MetricsRequest::default() };
    for id in ["a", "b", "c"] {
        let share = Share::of(&request, id).unwrap().unwrap();
        assert!(share.weight(5) > share.weight(6), "{id} counts push 5 if it has both");
    }
}

fn trace(number: u8) -> TraceId {
    TraceId([number; 16])
}

/// What an ingester has of each of some origins: nothing, everything, or these of four traces.
#[derive(Debug, Clone)]
enum Has {
    Nothing,
    All,
    Kept(Vec<u8>),
}

fn has() -> impl Strategy<Value = Has> {
    prop_oneof![
        2 => Just(Has::Nothing),
        1 => Just(Has::All),
        5 => prop::sample::subsequence(vec![0, 1, 2, 3], 0..4).prop_map(Has::Kept),
    ]
}

/// As Holdings says it; `origins` of the streams 1, 2, ...
fn holder_of(id: &str, has: &[Has]) -> Holder {
    let mut holder = holder(id, &[], &[]);
    for (number, has) in has.iter().enumerate() {
        let origin = (number as u64 + 1) * STREAM + 1;
        if matches!(has, Has::Nothing) {
            continue;
        }
        holder.complete.extend([origin; 2]);
        if let Has::Kept(kept) = has {
            holder.thinned.extend([origin; 2]);
            let mut traces: Vec<u32> = kept.iter().map(|&it| trace_mark(trace(it))).collect();
            traces.sort_unstable();
            holder.kept.push(KeptTraces { origin, traces });
        }
    }
    holder
}

proptest! {
    #[test]
    fn what_any_ingester_kept_is_counted_once(
        has in prop::collection::vec(prop::collection::vec(has(), 6), 1..4),
        tells_same in any::<bool>(),
    ) {
        let ids = &["a", "b", "c"][..has.len()];
        let mut holders: Vec<_> =
            ids.iter().zip(&has).map(|(id, has)| holder_of(id, has)).collect();
        // What all of them kept need not be told.
        if !tells_same {
            let all = holders.clone();
            for holder in &mut holders {
                let kept: Vec<_> = holder.kept.drain(..).collect();
                let differs = |it: &KeptTraces| {
                    let mut others = all.iter().flat_map(|other| &other.kept);
                    others.any(|other| other.origin == it.origin && other.traces != it.traces)
                };
                holder.kept = kept.into_iter().filter(differs).collect();
            }
        }
        let request = MetricsRequest { holders, ..MetricsRequest::default() };
        let shares: Vec<_> =
            ids.iter().map(|id| Share::of(&request, id).unwrap().unwrap()).collect();
        for number in 0..6 {
            let origin = (number as u64 + 1) * STREAM + 1;
            for it in 0..4 {
                let holds = |has: &[Has]| match &has[number] {
                    Has::Nothing => false,
                    Has::All => true,
                    Has::Kept(kept) => kept.contains(&it),
                };
                let is_there = has.iter().any(|has| holds(has));
                let counted = has.iter().zip(&shares);
                let counted = counted
                    .filter(|(has, share)| holds(has) && share.counts(origin, trace(it)))
                    .count();
                prop_assert_eq!(counted, usize::from(is_there), "origin {}, trace {}", number, it);
            }
        }
    }
}

#[test]
fn what_blocks_lack_counts_unless_the_own_block_is_read() {
    let block = none_origin(Some(Uuid::from_u128(7 << 100)));
    let mut holder = holder("a", &[1, 3], &[]);
    holder.thinned = vec![2, 3];
    let request = MetricsRequest {
        holders: vec![holder],
        stored_origins: vec![1, 2, block, block],
        thinned_origins: vec![2, 2],
        ..MetricsRequest::default()
    };
    let share = Share::of(&request, "a").unwrap().unwrap();
    let counts = |origin, of_block| share.counts(share.origin(origin, of_block), trace(1));
    assert_eq!([1, 2, 3].map(|origin| counts(origin, 0)), [false, true, true]);
    assert_eq!([1, 2, 3].map(|origin| counts(origin, block)), [false, false, true]);
    assert_eq!([1, 2, 3].map(|origin| share.may_be_stored(origin)), [false, true, false]);
}

#[test]
fn traces_that_were_dropped_since_the_request_are_noticed() {
    let mut holder = holder("a", &[1, 3], &[]);
    holder.thinned = vec![2, 2];
    let request = MetricsRequest { holders: vec![holder], ..MetricsRequest::default() };
    let share = Share::of(&request, "a").unwrap().unwrap();
    let set = |bounds: &[u64]| OriginSet::from_bounds(bounds).unwrap();
    let held = |complete: &[u64], thinned: &[u64]| HeldOrigins {
        complete: set(complete),
        thinned: set(thinned),
        ..HeldOrigins::default()
    };
    assert!(
        share.is_there(&held(&[1, 9], &[2, 2])) && share.is_there(&held(&[1, 9], &[2, 2, 9, 9]))
    );
    assert!(!share.is_there(&held(&[1, 9], &[2, 3])) && !share.is_there(&held(&[2, 9], &[2, 2])));
}

#[test]
fn mark_of_a_trace_is_the_same_in_every_release() {
    assert_eq!([0, 1].map(|it| trace_mark(trace(it))), [0x6969_1905, 0x312e_c415]);
}
