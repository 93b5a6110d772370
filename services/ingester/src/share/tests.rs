use super::*;

const STREAM: u64 = 1 << 24;

fn holder(id: &str, complete: &[u64], incomplete: &[u64]) -> Holder {
    Holder {
        ingester_id: id.to_owned(),
        complete: complete.to_vec(),
        incomplete: incomplete.to_vec(),
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
    assert!(share.counts(0) && !share.counts(1));
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
    assert!(share(&[]).counts(origin) && !share(&[origin, origin]).counts(origin));
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
    let expected = [None, Some(0), Some(0), Some(5), Some(7), Some(9), Some(u64::MAX)];
    assert_eq!(weights, expected);
}
