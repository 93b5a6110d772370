use super::*;

const SECOND: u64 = 1_000_000_000;

fn time(first_nanos: u64, last_nanos: u64, block_id: &[u8]) -> BlockTime {
    BlockTime { first_nanos, last_nanos, block_id: Bytes::copy_from_slice(block_id) }
}

fn stored(block_times: Vec<BlockTime>, slack: u64) -> Result<Stored, MalformedStored> {
    Stored::of(&MetricsRequest { block_times, ..MetricsRequest::default() }, slack)
}

#[test]
fn span_may_be_in_a_block_of_its_time() {
    let times = vec![time(30, 40, b""), time(10, 20, b""), time(12, 14, b"")];
    let stored = stored(times, 0).unwrap();
    let (times, usual) =
        (stored.times(&HashSet::new(), (0, 1_000)), stored.usual(SystemTime::now()));
    let touches = |first, last| times.touch((first, last), usual);
    for start in [10, 15, 20, 30, 40] {
        assert!(touches(start, start), "{start}");
    }
    for start in [1, 9, 21, 29, 41, 900] {
        assert!(!touches(start, start), "{start}");
    }
    assert!(touches(1, 10) && touches(21, 30) && touches(1, 900) && !touches(41, 900));
    assert!(!touches(1_001, 2_000), "not asked for");
}

#[test]
fn time_of_a_block_whose_spans_are_counted_here_does_not_matter() {
    let (own, other) = (Uuid::from_u128(1), Uuid::from_u128(2));
    let times = vec![time(10, 20, own.as_bytes()), time(15, 30, other.as_bytes())];
    let stored = stored(times, 0).unwrap();
    let of_blocks = |counted: &[Uuid]| {
        let counted = counted.iter().copied().collect();
        stored.times(&counted, (0, 1_000)).of_blocks
    };
    assert_eq!(of_blocks(&[]), [(10, 30)]);
    assert_eq!(of_blocks(&[own]), [(15, 30)]);
    assert_eq!(of_blocks(&[own, other]), []);
}

#[test]
fn span_of_a_time_that_blocks_do_not_tell_may_be_in_any() {
    let cut = UNIX_EPOCH + std::time::Duration::from_secs(500);
    let stored = stored(vec![time(100 * SECOND, 200 * SECOND, b"")], 60 * SECOND).unwrap();
    let (times, usual) = (stored.times(&HashSet::new(), (0, u64::MAX)), stored.usual(cut));
    assert_eq!(usual, (440 * SECOND, 560 * SECOND));
    let touches = |start| times.touch((start, start), usual);
    assert!(touches(439 * SECOND) && touches(561 * SECOND) && touches(150 * SECOND));
    assert!(!touches(440 * SECOND) && !touches(560 * SECOND));
}

#[test]
fn malformed_requests_are_refused() {
    assert!(stored(vec![time(0, 1, &[1; 16])], 0).is_ok());
    assert!(stored(vec![time(0, 1, &[1; 15])], 0).is_err());
    let traces = |id: &'static [u8]| MetricsRequest {
        stored_traces: vec![TraceSpans { trace_id: Bytes::from_static(id), spans: vec![1, 2] }],
        ..MetricsRequest::default()
    };
    assert!(Stored::of(&traces(&[1; 15]), 0).is_err());
    let known = Stored::of(&traces(&[1; 16]), 0).unwrap();
    assert_eq!(known.spans[&TraceId([1; 16])], HashSet::from([1, 2]));
}
