//! Several ingesters with copies of the same spans: every span counts once, whoever has it and whatever happens.

use std::{collections::BTreeSet, ops::Range};

use proptest::{collection::vec, prelude::*};
use tactus_tail_sampling::Decider;
use tonic::Status;

use self::cluster::Cluster;
use super::*;
use crate::{TailSampling, test_spans::batch_of_spans};

mod cluster;

const SPANS: &str = "{ span.text != \"no\" } | count_over_time() by (span.n)";
const TRACES: &str = "{ } | count() > 0 | count_over_time() by (span.n)";
const NODES: usize = 3;
const HOUR: Duration = Duration::from_secs(3600);

/// What happens. Nodes are numbers modulo [`NODES`], pushes modulo those there were.
#[derive(Debug, Clone)]
enum Event {
    /// New spans of this stream for the nodes of a mask; a stream of 0 has no origins, and one node.
    Push {
        stream: u8,
        nodes: u8,
        spans: u8,
    },
    /// An earlier push reaches a node late, or once more.
    Again {
        push: u8,
        node: u8,
    },
    /// The client sends an earlier push again, which reaches these nodes and, unless torn, those of the first time.
    Resend {
        push: u8,
        nodes: u8,
        torn: bool,
    },
    Cut(u8),
    Flush(u8),
    /// Segments whose blocks are in the bucket are let go of.
    Release(u8),
    /// Both, at once.
    GiveUp(u8),
    /// Tail sampling, if there is any, decides what is cut.
    Decide(u8),
    Restart(u8),
    /// The blocks that were written come to the block list.
    Poll,
}

/// By trace id.
type Found = Result<BTreeMap<String, u32>, Status>;

/// A query, and what happens while it runs: before the block list is taken and after.
#[derive(Debug, Clone)]
struct Query {
    missing: Option<u8>,
    before: Vec<Event>,
    after: Vec<Event>,
}

fn push(streams: Range<u8>) -> impl Strategy<Value = Event> {
    (streams, 1u8..8, 1u8..5).prop_map(|(stream, nodes, spans)| Event::Push {
        stream,
        nodes,
        spans,
    })
}

/// Without `has_plain` all spans have origins. Else nothing is let go of: spans without an origin that are cut, flushed and
/// let go of within a query cannot be told.
fn event(has_plain: bool) -> BoxedStrategy<Event> {
    let given_up = if has_plain {
        any::<u8>().prop_map(Event::Flush).boxed()
    } else {
        prop_oneof![any::<u8>().prop_map(Event::Release), any::<u8>().prop_map(Event::GiveUp)]
            .boxed()
    };
    prop_oneof![
        6 => push(u8::from(!has_plain)..4),
        2 => given_up,
        3 => (any::<u8>(), any::<u8>()).prop_map(|(push, node)| Event::Again { push, node }),
        2 => any::<u8>().prop_map(Event::Cut),
        1 => any::<u8>().prop_map(Event::Decide),
        2 => any::<u8>().prop_map(Event::Flush),
        1 => any::<u8>().prop_map(Event::Restart),
        1 => Just(Event::Poll),
    ]
    .boxed()
}

fn query(event: BoxedStrategy<Event>) -> impl Strategy<Value = Query> {
    let events = || vec(event.clone(), 0..3);
    (proptest::option::weighted(0.3, any::<u8>()), events(), events())
        .prop_map(|(missing, before, after)| Query { missing, before, after })
}

fn steps() -> impl Strategy<Value = Vec<(Vec<Event>, Query)>> {
    any::<bool>().prop_flat_map(|has_plain| {
        vec((vec(event(has_plain), 0..12), query(event(has_plain))), 1..4)
    })
}

/// A client that sends again, as it does when it was not answered.
fn resent(torn: bool) -> impl Strategy<Value = Vec<Event>> {
    let resend = move |(push, nodes)| Event::Resend { push, nodes, torn };
    let calm = prop_oneof![
        3 => push(1..2),
        3 => (any::<u8>(), 1u8..8).prop_map(resend),
        2 => any::<u8>().prop_map(Event::Cut),
        1 => any::<u8>().prop_map(Event::Restart),
    ];
    let wild = prop_oneof![
        any::<u8>().prop_map(Event::Flush),
        any::<u8>().prop_map(Event::GiveUp),
        Just(Event::Poll),
        (any::<u8>(), any::<u8>()).prop_map(|(push, node)| Event::Again { push, node }),
    ];
    let calm = calm.boxed();
    let all = if torn { prop_oneof![3 => calm, 1 => wild].boxed() } else { calm };
    vec(all, 1..25)
}

/// The traces that stay of those that there are: numbers modulo 5.
fn staying(tail_sampling: &TailSampling) -> BTreeSet<u16> {
    let batch = merge(&[&batch_of_spans(0..5, 5)]).0;
    let kept = Decider::new(Arc::clone(&tail_sampling.policies)).decide(&batch).kept;
    let ids = &batch.traces.ids;
    kept.rows().map(|row| u16::from_be_bytes([ids[row].0[14], ids[row].0[15]])).collect()
}

async fn check(steps: Vec<(Vec<Event>, Query)>, tail_sampling: Option<Arc<TailSampling>>) {
    let staying = tail_sampling.as_deref().map(staying);
    let stays = |span: u16| staying.as_ref().is_none_or(|traces| traces.contains(&(span % 5)));
    let mut cluster = Cluster::with(tail_sampling);
    for (events, query) in steps {
        for event in &events {
            cluster.happen(event).await;
        }
        for text in [SPANS, TRACES] {
            let counts = match cluster.query(&query, text).await {
                Ok(counts) => counts,
                Err(()) => {
                    // Nothing happens meanwhile: the second time it must do.
                    let calm = Query { before: Vec::new(), after: Vec::new(), ..query.clone() };
                    cluster.query(&calm, text).await.expect("all is there")
                }
            };
            let is_right = |(&span, &count): (&u16, &f64)| match stays(span) {
                true => count == 1.0,
                // Until it is dropped.
                false => count <= 1.0,
            };
            assert!(counts.iter().all(is_right), "{text} {counts:?}");
        }
        for text in ["{ span.text != \"no\" }", "{ } | count() > 1", "{ } > { }"] {
            if cluster.search(&query, text).await.is_err() {
                let calm = Query { before: Vec::new(), after: Vec::new(), ..query.clone() };
                cluster.search(&calm, text).await.expect("all is there");
            }
        }
        for node in 0..NODES {
            let held = held(cluster.node(node));
            assert!(held.values().all(|&times| times == 1), "stored once: {held:?}");
        }
    }
}

async fn check_resent(events: Vec<Event>, is_right: impl Fn(f64) -> bool) {
    let mut cluster = Cluster::new();
    for event in &events {
        cluster.happen(event).await;
    }
    for missing in [None, Some(0), Some(1)] {
        let query = Query { missing, before: Vec::new(), after: Vec::new() };
        for text in [SPANS, TRACES] {
            let counts = cluster.query(&query, text).await.expect("all is there");
            assert!(counts.values().copied().all(&is_right), "{text} {counts:?}");
        }
    }
}

fn run(test: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(test);
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 48,
        max_shrink_iters: 300,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn every_span_counts_once(steps in steps()) {
        run(check(steps, None));
    }

    #[test]
    fn every_span_that_tail_sampling_keeps_counts_once(steps in steps()) {
        // By what is the same for all spans of a trace, so that it does not matter which of them have come.
        let some = "policies: [{name: some, type: traceql, \
            traceql: {query: '{ trace:id =~ `.*000[0-2]` }'}}]";
        let tail_sampling = tail_sampling::tail_sampling(some, Duration::ZERO);
        let staying = staying(&tail_sampling).len();
        prop_assert_eq!(staying, 3);
        run(check(steps, Some(tail_sampling)));
    }

    #[test]
    fn span_sent_again_counts_once_where_the_second_time_reaches_all_of_the_first(events in resent(false)) {
        run(check_resent(events, |count| count == 1.0));
    }

    #[test]
    fn span_sent_again_is_never_lost(events in resent(true)) {
        run(check_resent(events, |count| count >= 1.0));
    }
}

#[tokio::test]
async fn push_that_one_ingester_refused_in_part_is_counted_where_it_is_whole() {
    let mut cluster = Cluster::new();
    cluster.nodes[0] = None;
    cluster.open_with(0, Limits { max_live_traces: 1, ..Limits::default() });
    // Spans 1 and 2 have one origin, span 3 the next; each in a trace of its own.
    cluster.new_push(1, 3, 0b11);
    cluster.send_last();
    let first = cluster.pushes[0].0.runs[0].origin;
    let calm = Query { missing: None, before: Vec::new(), after: Vec::new() };
    for event in [Event::Poll, Event::Cut(0), Event::Cut(1), Event::Restart(0), Event::Flush(0)] {
        cluster.happen(&event).await;
        let holders = cluster.holders(&[0, 1]).await;
        assert_eq!(
            (&holders[0].complete[..], &holders[0].incomplete[..]),
            (&[][..], &[first; 2][..])
        );
        assert_eq!(
            (&holders[1].complete[..], holders[1].incomplete.len()),
            (&[first, first + 1][..], 0)
        );
        for text in [SPANS, TRACES] {
            let counts = cluster.query(&calm, text).await.unwrap();
            assert_eq!(counts, BTreeMap::from([(1, 1.0), (2, 1.0), (3, 1.0)]), "{event:?} {text}");
        }
    }
    cluster.happen(&Event::Poll).await;
    let (complete, incomplete) = cluster.known[0].origins();
    assert_eq!((complete.bounds(), incomplete.bounds()), (vec![], vec![first; 2]));
    // Until the others are in blocks as well: rather too few, and said so by the frontend, than twice.
    let counts = cluster.query(&calm, SPANS).await.unwrap();
    assert_eq!(counts, BTreeMap::from([(1, 1.0), (2, 0.0), (3, 1.0)]));
    cluster.happen(&Event::Flush(1)).await;
    cluster.happen(&Event::Poll).await;
    let counts = cluster.query(&calm, SPANS).await.unwrap();
    assert_eq!(counts, BTreeMap::from([(1, 1.0), (2, 1.0), (3, 1.0)]));
}
