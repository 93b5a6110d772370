//! Reads of rings whose ingesters answer, fail, hang or are late as a test says.

mod doubles;
mod silent;

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};

use prost::Message as _;
use tactus_proto::otlp::{ExportTraceServiceRequest, ResourceSpans, ScopeSpans, Span};
use tactus_proto::tactus::v1::{
    FindTraceRequest, Holder, HoldingsRequest, MetricsRequest, PushRequest, SearchRequest, SoFar,
    TagValuesRequest, TagsRequest, ingester_server::Ingester,
};
use tactus_ring::{Instance, RingSettings};
use tactus_work::memory::{Budget, TOO_MANY_BYTES};
use tokio::time::Instant;
use tonic::{Code, Request, Status};

use super::*;
use Behaviour::{Answer, Fail, Hang, Lack, Late, LetGo, Unsupported};
use doubles::{Behaviour, Double};

const SECOND: Duration = Duration::from_secs(1);

struct Cluster {
    recent: RecentData,
    ring: Arc<Ring>,
    doubles: HashMap<String, Arc<Double>>,
    registry: Registry,
}

/// Ingesters `a`, `b` … that behave so.
fn cluster(factor: usize, behaviours: &[Behaviour]) -> Cluster {
    cluster_with(factor, behaviours, |_| {})
}

/// These whose settings `set` changes.
fn cluster_with(
    factor: usize,
    behaviours: &[Behaviour],
    set: impl FnOnce(&mut RecentParts),
) -> Cluster {
    let name = |at: usize| char::from(b'a' + at as u8).to_string();
    let mut doubles = HashMap::new();
    let mut instances = Vec::new();
    for (at, &behaviour) in behaviours.iter().enumerate() {
        let name = name(at);
        // Each holds every key in a ring of as many as there are replicas.
        instances.push(Instance::active(&name, &name, vec![1 + at as u32 * 1_000]));
        doubles.insert(name.clone(), Arc::new(Double::new(&name, behaviour)));
    }
    let ring_settings =
        RingSettings { replication_factor: factor, ..RingSettings::new("ingester") };
    let ring = Ring::fixed(ring_settings, instances);
    let by_id = doubles.clone();
    let registry = Registry::new();
    let mut parts = RecentParts {
        section: Section::default(),
        in_ingesters: 900 * SECOND,
        ring: Arc::clone(&ring),
        ingester_at: Arc::new(move |instance| Arc::clone(&by_id[&*instance.id]) as _),
        shard_size_of: Arc::new(|_| 0),
        memory: Bodies::unbounded(),
    };
    set(&mut parts);
    Cluster { recent: RecentData::new(parts, &registry), ring, doubles, registry }
}

impl Cluster {
    /// Which ingesters' traces are found, and whether the answer is partial.
    async fn search(&self) -> Result<(String, bool), Status> {
        let search = SearchRequest { tenant: "t".into(), limit: 20, ..Default::default() };
        let answer = self.recent.search(Request::new(search)).await?.into_inner();
        let mut ids: Vec<_> = answer.traces.into_iter().map(|trace| trace.trace_id).collect();
        ids.sort();
        Ok((ids.concat(), answer.partial))
    }

    async fn find(&self) -> Result<(String, bool), Status> {
        let find = FindTraceRequest {
            tenant: "t".into(),
            trace_id: vec![7; 16].into(),
            ..Default::default()
        };
        let answer = self.recent.find_trace(Request::new(find)).await?.into_inner();
        Ok((String::from_utf8(answer.trace.to_vec()).unwrap(), answer.partial))
    }

    /// The number of series, and which ingesters did not answer.
    async fn metrics(&self, holders: &[&str]) -> Result<(usize, String), Status> {
        let holder = |id: &&str| Holder { ingester_id: (*id).into(), ..Holder::default() };
        let holders = holders.iter().map(holder).collect();
        let metrics = MetricsRequest { tenant: "t".into(), holders, ..Default::default() };
        let answer = self.recent.metrics(Request::new(metrics)).await?.into_inner();
        assert_eq!(answer.partial, !answer.silent_ingesters.is_empty());
        Ok((answer.series.len(), answer.silent_ingesters.concat()))
    }

    /// Whose holdings are known if these are not asked, and whether something is missing.
    async fn holdings(&self, without: &[&str]) -> (String, bool) {
        let without_ingesters = without.iter().map(|id| (*id).to_owned()).collect();
        let tenant = "t".to_owned();
        let request = HoldingsRequest { tenant, without_ingesters, ..Default::default() };
        let answer = self.recent.holdings(Request::new(request)).await.unwrap().into_inner();
        let ids: Vec<_> = answer.holders.iter().map(|holder| &*holder.ingester_id).collect();
        (ids.concat(), answer.partial)
    }

    fn asked(&self) -> String {
        let asked =
            |(name, double): (&String, &Arc<Double>)| (double.calls() > 0).then(|| name.clone());
        let mut asked: Vec<_> = self.doubles.iter().filter_map(asked).collect();
        asked.sort();
        asked.concat()
    }

    fn running(&self) -> usize {
        self.doubles.values().map(|double| double.running()).sum()
    }

    fn change(&self, change: impl Fn(&mut Instance)) {
        let view = self.ring.view();
        let mut instances: Vec<_> =
            view.instances().iter().map(|found| (**found).clone()).collect();
        instances.iter_mut().for_each(change);
        self.ring.replace(instances);
    }
}

fn found(text: &str, partial: bool) -> (String, bool) {
    (text.to_owned(), partial)
}

#[tokio::test(start_paused = true)]
async fn as_many_ingesters_may_fail_as_replication_makes_up_for() {
    for (factor, behaviours, expected) in [
        (1, &[Answer][..], found("a", false)),
        (1, &[Answer, Fail(Code::Unavailable)], found("a", true)),
        (1, &[Answer, Hang, Answer], found("ac", true)),
        (2, &[Answer, Late(SECOND)], found("ab", false)),
        (2, &[Answer, Fail(Code::Unavailable)], found("a", true)),
        (3, &[Answer, Answer, Answer], found("abc", false)),
        (3, &[Answer, Fail(Code::Unavailable), Answer], found("ac", false)),
        (1, &[Answer, Lack], found("ab", true)),
        (2, &[Answer, Lack], found("ab", true)),
        (3, &[Answer, Lack, Answer], found("abc", false)),
        (3, &[Answer, Lack, Fail(Code::Unavailable)], found("ab", true)),
        (3, &[Hang, Answer, Answer, Answer], found("bcd", false)),
        (3, &[Fail(Code::Unavailable), Answer, Hang], found("b", true)),
        (3, &[Fail(Code::DataLoss), Answer, Fail(Code::Internal), Answer], found("bd", true)),
    ] {
        let cluster = cluster(factor, behaviours);
        assert_eq!(cluster.search().await.unwrap(), expected, "{factor} {behaviours:?}");
        assert_eq!(cluster.running(), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn answer_that_is_complete_waits_for_the_others_only_a_little() {
    for (behaviour, expected, millis) in [
        // Each time once more for what they hold.
        (Late(Duration::from_millis(50)), "abc", 100),
        (Late(SECOND), "ab", 200),
        (Hang, "ab", 200),
        (Answer, "abc", 0),
    ] {
        let cluster = cluster(3, &[Answer, Answer, behaviour]);
        let started = Instant::now();
        assert_eq!(cluster.search().await.unwrap(), found(expected, false));
        assert_eq!(started.elapsed().as_millis() as u64 / 10 * 10, millis, "{behaviour:?}");
        assert_eq!(cluster.running(), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn answer_with_gaps_waits_for_whatever_there_is() {
    let behaviours = [Fail(Code::Unavailable), Late(5 * SECOND), Hang];
    let cluster = cluster(3, &behaviours);
    let started = Instant::now();
    assert_eq!(cluster.search().await.unwrap(), found("b", true));
    // A second for what they hold.
    assert_eq!(started.elapsed().as_secs(), 31);
    let failures = "tactus_querier_ingester_failures_total{op=\"search\",code=\"unavailable\"} 2";
    let text = cluster.registry.encode();
    assert!(
        text.contains(failures) && text.contains("\ntempo_querier_ingester_clients 3\n"),
        "{text}"
    );
}

#[tokio::test(start_paused = true)]
async fn answer_is_an_error_if_nobody_answers_or_gaps_are_not_allowed() {
    let status = |cluster: Cluster| async move { cluster.search().await.unwrap_err().code() };
    let failing = [Fail(Code::Unavailable), Hang];
    assert_eq!(status(cluster(1, &failing)).await, Code::Unavailable);
    let strict = |behaviours: &[Behaviour]| {
        cluster_with(3, behaviours, |parts| parts.section.strict_recent_reads = true)
    };
    let one = [Answer, Fail(Code::Internal)];
    assert_eq!(
        status(cluster_with(1, &one, |parts| parts.section.strict_recent_reads = true)).await,
        Code::Unavailable
    );
    let three = [Answer, Answer, Fail(Code::Internal)];
    assert_eq!(strict(&three).search().await.unwrap(), found("ab", false));
    // Nobody is there to fail.
    let empty = cluster(3, &[]);
    assert_eq!(empty.search().await.unwrap(), found("", true));
    assert_eq!(status(strict(&[])).await, Code::Unavailable);
}

#[tokio::test(start_paused = true)]
async fn failure_of_the_query_itself_is_passed_on_at_once() {
    for (failure, code) in [
        (Fail(Code::InvalidArgument), Code::InvalidArgument),
        (Fail(Code::ResourceExhausted), Code::ResourceExhausted),
        (Unsupported, Code::Unimplemented),
    ] {
        let cluster = cluster(3, &[Hang, failure, Answer]);
        assert_eq!(cluster.search().await.unwrap_err().code(), code);
        assert_eq!(cluster.running(), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn other_service_at_the_address_of_a_dead_ingester_counts_as_one_failed_ingester() {
    let cluster_of = |factor| cluster(factor, &[Answer, Fail(Code::Unimplemented), Answer]);
    let cluster = cluster_of(3);
    assert_eq!(cluster.search().await.unwrap(), found("ac", false));
    assert_eq!(cluster.find().await.unwrap(), found("ac", false));
    assert_eq!(cluster.holdings(&[]).await, found("ac", false));
    assert_eq!(cluster.metrics(&["a", "b"]).await.unwrap(), (0, "b".to_owned()));
    assert_eq!(cluster_of(1).search().await.unwrap(), found("ac", true));
}

#[tokio::test(start_paused = true)]
async fn stale_entry_never_fails_a_read() {
    // Check 22: one of five is stale without replication; check 23: one and two of ten with three replicas.
    for (factor, count, stale, partial) in
        [(1, 5, 1, true), (3, 10, 1, false), (3, 10, 2, true), (3, 10, 9, true)]
    {
        let cluster = cluster(factor, &vec![Answer; count]);
        let first: Vec<_> = (0..stale).map(|at| char::from(b'a' + at as u8).to_string()).collect();
        cluster.change(|instance| instance.alive = !first.contains(&instance.id.to_string()));
        let (found, is_partial) = cluster.search().await.unwrap();
        assert_eq!((found.len(), is_partial), (count - stale, partial));
    }
}

#[tokio::test(start_paused = true)]
async fn ingesters_that_may_be_left_out_are_asked_late_or_when_one_fails() {
    let delay = (2 * SECOND).into();
    let cluster_of = |behaviours: &[Behaviour]| {
        cluster_with(3, behaviours, |parts| parts.section.extra_query_delay = delay)
    };
    let quick = cluster_of(&[Answer, Answer, Answer]);
    assert_eq!(quick.search().await.unwrap(), found("ab", false));
    assert_eq!(quick.asked(), "ab");
    let started = Instant::now();
    let failing = cluster_of(&[Answer, Fail(Code::Unavailable), Answer]);
    assert_eq!(failing.search().await.unwrap(), found("ac", false));
    assert_eq!(started.elapsed().as_millis() / 100, 0);
    let hanging = cluster_of(&[Answer, Hang, Answer]);
    assert_eq!(hanging.search().await.unwrap(), found("ac", false));
    assert_eq!(started.elapsed().as_millis() / 100, 31);
}

#[tokio::test(start_paused = true)]
async fn tenant_of_a_shard_asks_only_its_ingesters() {
    let size = Arc::new(AtomicUsize::new(3));
    let cluster = cluster_with(1, &[Answer; 10], |parts| {
        parts.section.shuffle_sharding_ingesters_enabled = true;
        parts.section.shuffle_sharding_ingesters_lookback_period = (3_600 * SECOND).into();
        let size = Arc::clone(&size);
        parts.shard_size_of = Arc::new(move |_| size.load(Ordering::Relaxed));
    });
    let ingesters = async || cluster.search().await.unwrap().0.len();
    assert_eq!(ingesters().await, 10, "the shard may have been larger before the start");
    tokio::time::advance(3_600 * SECOND).await;
    assert_eq!(ingesters().await, 3);
    // What was written to the larger shard is still there.
    size.store(2, Ordering::Relaxed);
    assert_eq!(ingesters().await, 10);
    tokio::time::advance(3_600 * SECOND).await;
    assert_eq!(ingesters().await, 2);
}

#[tokio::test(start_paused = true)]
async fn look_back_of_a_shard_is_no_shorter_than_ingesters_keep_spans() {
    let cluster = cluster_with(1, &[Answer; 10], |parts| {
        parts.section.shuffle_sharding_ingesters_enabled = true;
        parts.section.shuffle_sharding_ingesters_lookback_period = SECOND.into();
        parts.shard_size_of = Arc::new(|_| 3);
    });
    let ingesters = async || cluster.search().await.unwrap().0.len();
    assert_eq!(ingesters().await, 10);
    tokio::time::advance(899 * SECOND).await;
    assert_eq!(ingesters().await, 10);
    tokio::time::advance(SECOND).await;
    assert_eq!(ingesters().await, 3);
}

#[tokio::test(start_paused = true)]
async fn stand_in_of_a_dead_ingester_is_asked_as_long_as_it_may_hold_spans() {
    let cluster = cluster_with(1, &[Answer; 10], |parts| {
        parts.section.shuffle_sharding_ingesters_enabled = true;
        parts.section.shuffle_sharding_ingesters_lookback_period = (3_600 * SECOND).into();
        parts.shard_size_of = Arc::new(|_| 2);
    });
    let search = async || cluster.search().await.unwrap();
    assert_eq!(search().await.0.len(), 10);
    tokio::time::advance(3_600 * SECOND).await;
    let (shard, _) = search().await;
    assert_eq!(shard.len(), 2);
    cluster.change(|instance| instance.alive = !shard.starts_with(&*instance.id));
    let (without, is_partial) = search().await;
    assert!(without.len() == 2 && is_partial, "the dead one may hold spans: {without}");
    cluster.change(|instance| instance.alive = true);
    let (all, is_partial) = search().await;
    assert!(all.len() == 3 && without.chars().all(|name| all.contains(name)) && !is_partial);
    tokio::time::advance(3_600 * SECOND).await;
    assert_eq!(search().await, found(&shard, false));
}

#[tokio::test(start_paused = true)]
async fn metrics_ask_the_holders_alone_and_need_them_all() {
    let cluster_of = |behaviours: &[Behaviour]| cluster(3, behaviours);
    let cluster = cluster_of(&[Answer, Answer, Late(SECOND), Answer]);
    assert_eq!(cluster.metrics(&["a", "c"]).await.unwrap(), (2, String::new()));
    assert_eq!(cluster.asked(), "ac");
    assert_eq!(cluster.metrics(&["a", "z"]).await.unwrap_err().code(), Code::Aborted);
    for behaviour in [Fail(Code::Unavailable), Hang] {
        let cluster = cluster_of(&[Answer, behaviour, Answer]);
        assert_eq!(cluster.metrics(&["a", "b"]).await.unwrap(), (0, "b".to_owned()));
        assert_eq!(cluster.metrics(&["b"]).await.unwrap(), (0, "b".to_owned()));
    }
    let cluster = cluster_of(&[Answer, Fail(Code::Aborted), Answer]);
    assert_eq!(cluster.metrics(&["a", "b"]).await.unwrap_err().code(), Code::Aborted);
    let cluster = cluster_of(&[Answer, Fail(Code::ResourceExhausted), Answer]);
    assert_eq!(cluster.metrics(&["a", "b"]).await.unwrap_err().code(), Code::ResourceExhausted);
    let cluster = cluster_of(&[Answer, Fail(Code::Aborted), Answer]);
    assert_eq!(cluster.metrics(&[]).await.unwrap_err().code(), Code::Aborted);
    let cluster = cluster_of(&[Answer, Answer, Answer]);
    cluster.change(|instance| instance.alive = &*instance.id != "b");
    assert_eq!(cluster.metrics(&["a", "b"]).await.unwrap_err().code(), Code::Aborted);
}

#[tokio::test(start_paused = true)]
async fn answer_of_an_ingester_that_lacks_spans_is_used_and_it_counts_as_failed() {
    for (behaviours, is_partial) in [([Answer, Lack, Answer], false), ([Answer, Lack, Lack], true)]
    {
        let cluster = cluster(3, &behaviours);
        cluster.doubles.values().for_each(|double| double.has_spans());
        assert_eq!(cluster.search().await.unwrap(), found("abc", is_partial));
        assert_eq!(*cluster.doubles["a"].searches.lock(), [vec![]], "none leaves it a trace");
        assert_eq!(cluster.find().await.unwrap(), found("abc", is_partial));
        let recent = &cluster.recent;
        let tags = TagsRequest { tenant: "t".into(), ..Default::default() };
        let tags = recent.tags(Request::new(tags)).await.unwrap().into_inner();
        assert_eq!((tags.scopes[0].tags.len(), tags.partial), (4, is_partial));
        let values = TagValuesRequest { tenant: "t".into(), ..Default::default() };
        let values = recent.tag_values(Request::new(values)).await.unwrap().into_inner();
        assert_eq!((values.values.len(), values.partial), (4, is_partial));
        let metrics = MetricsRequest { tenant: "t".into(), ..Default::default() };
        let metrics = recent.metrics(Request::new(metrics)).await.unwrap().into_inner();
        assert_eq!((metrics.series.len(), metrics.partial), (3, is_partial));
        assert_eq!(cluster.holdings(&[]).await, found("abc", is_partial));
        // Holdings have said it.
        assert_eq!(cluster.metrics(&["a", "b", "c"]).await.unwrap(), (3, String::new()));
    }
}

#[tokio::test(start_paused = true)]
async fn search_tells_each_holder_what_all_have_and_falls_back_on_asking_all() {
    let cluster_of = |factor, behaviours: &[Behaviour]| {
        let cluster = cluster(factor, behaviours);
        cluster.doubles.values().for_each(|double| double.has_spans());
        cluster
    };
    let three = cluster_of(3, &[Answer, Answer, Answer]);
    assert_eq!(three.search().await.unwrap(), found("abc", false));
    let told = three.doubles["a"].searches.lock().clone();
    let [holders] = &told[..] else { panic!("{told:?}") };
    let mut ids: Vec<_> = holders.iter().map(|holder| holder.ingester_id.clone()).collect();
    ids.sort();
    assert_eq!(ids.concat(), "abc");
    // Nobody relies on traces that may have been dropped.
    assert!(holders.iter().all(|holder| holder.complete == [7, 7, 9, 9]));
    assert!(holders.iter().all(|holder| holder.thinned.is_empty()));
    for double in three.doubles.values() {
        assert_eq!(*double.searches.lock(), told, "all are told the same");
    }
    // For a while they are not asked again, unless somebody else is to be asked.
    let calls = |cluster: &Cluster| cluster.doubles["a"].calls();
    assert_eq!(calls(&three), 2);
    three.search().await.unwrap();
    assert_eq!(calls(&three), 3);
    three.change(|instance| instance.alive = &*instance.id != "c");
    assert_eq!(three.search().await.unwrap(), found("ab", false));
    assert_eq!(calls(&three), 5);
    tokio::time::sleep(2 * SECOND).await;
    three.search().await.unwrap();
    assert_eq!(calls(&three), 7);
    let without = cluster_of(3, &[Answer, Hang, Answer]);
    assert_eq!(without.search().await.unwrap(), found("ac", false));
    assert_eq!(without.doubles["a"].searches.lock()[0].len(), 2);
    assert_eq!(without.doubles["b"].searches.lock().len(), 0);
    for code in [Code::Aborted, Code::Unavailable, Code::DeadlineExceeded] {
        let cluster = cluster_of(3, &[Answer, LetGo(code), Answer]);
        assert_eq!(cluster.search().await.unwrap(), found("abc", false), "{code:?}");
        let told = cluster.doubles["b"].searches.lock();
        assert_eq!(told.iter().map(Vec::len).collect::<Vec<_>>(), [3, 0], "{code:?}");
    }
    let failing = cluster_of(3, &[Answer, LetGo(Code::InvalidArgument), Answer]);
    assert_eq!(failing.search().await.unwrap_err().code(), Code::InvalidArgument);
    // Too few say what they have, and no copies.
    for (factor, behaviours) in [
        (3, &[Fail(Code::Unavailable), Answer, Fail(Code::Unavailable)][..]),
        (1, &[Answer, Answer]),
    ] {
        let cluster = cluster_of(factor, behaviours);
        cluster.search().await.unwrap();
        assert_eq!(*cluster.doubles["b"].searches.lock(), [vec![]]);
    }
}

#[tokio::test(start_paused = true)]
async fn what_was_found_so_far_is_asked_of_all_without_turns() {
    let cluster = cluster(3, &[Answer, Answer, Answer]);
    let so_far = SoFar::Asked.into();
    let search = SearchRequest { tenant: "t".into(), limit: 20, so_far, ..Default::default() };
    let found = cluster.recent.search(Request::new(search)).await.unwrap().into_inner();
    assert_eq!(found.traces.len(), 3);
    let told = |id: &str| cluster.doubles[id].searches.lock().clone();
    assert!(
        ["a", "b", "c"].iter().all(|id| told(id) == [vec![]]),
        "turns would be those of a search"
    );
}

#[tokio::test(start_paused = true)]
async fn holdings_are_those_of_all_that_answer() {
    let cluster = cluster(3, &[Answer, Fail(Code::Unavailable), Answer]);
    assert_eq!(cluster.holdings(&[]).await, found("ac", false));
}

#[tokio::test(start_paused = true)]
async fn names_and_values_of_all_are_put_together_within_their_limits() {
    let cluster = cluster(1, &[Answer, Answer, Answer]);
    let tags = |max_bytes| {
        let request = TagsRequest { tenant: "t".into(), max_bytes, ..Default::default() };
        let answer = cluster.recent.tags(Request::new(request));
        async { answer.await.unwrap().into_inner() }
    };
    let answer = tags(0).await;
    assert_eq!(answer.scopes.len(), 1);
    assert_eq!(answer.scopes[0].tags, ["a", "b", "c", "common"]);
    assert!(!answer.truncated && !answer.partial);
    let answer = tags(8).await;
    assert_eq!(answer.scopes[0].tags, ["a", "b", "common"]);
    assert!(answer.truncated);
    let values = |max_values| {
        let request = TagValuesRequest { tenant: "t".into(), max_values, ..Default::default() };
        let answer = cluster.recent.tag_values(Request::new(request));
        async { answer.await.unwrap().into_inner() }
    };
    let answer = values(0).await;
    let found: Vec<_> = answer.values.iter().map(|value| &*value.value).collect();
    assert_eq!((found, answer.truncated), (vec!["a", "b", "c", "common"], false));
    let answer = values(2).await;
    assert_eq!((answer.values.len(), answer.truncated), (2, true));
}

#[tokio::test(start_paused = true)]
async fn parts_of_a_trace_are_one_message_and_equal_ones_are_one_part() {
    let cluster = cluster(3, &[Answer, Answer, Answer]);
    assert_eq!(cluster.find().await.unwrap(), found("abc", false));
    cluster.doubles.values().for_each(|double| double.is_replica(true));
    assert_eq!(cluster.find().await.unwrap(), found("common", false));
}

#[tokio::test]
async fn spans_and_bad_tenants_are_refused() {
    let cluster = cluster(1, &[Answer]);
    let pushed = cluster.recent.push(Request::new(PushRequest::default())).await.unwrap_err();
    assert_eq!(pushed.code(), Code::Unimplemented);
    let search = SearchRequest { tenant: "../x".into(), ..Default::default() };
    let status = cluster.recent.search(Request::new(search)).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
    assert_eq!(cluster.asked(), "");
}

#[tokio::test(start_paused = true)]
async fn answers_count_as_they_come_and_once_more_while_one_is_made_of_them() {
    const BYTES: usize = 300_000;
    for (room, replicas_differ, is_enough) in [
        (7 * BYTES, true, true),
        // For all three, but not for their sum besides.
        (5 * BYTES, true, false),
        (5 * BYTES, false, true),
        // Not for all three.
        (2 * BYTES, false, false),
    ] {
        let all = Budget::new(room as u64);
        let bodies = Bodies::within(&all);
        let cluster = cluster_with(3, &[Answer; 3], |parts| parts.memory = bodies);
        for (name, double) in &cluster.doubles {
            let text = if replicas_differ { name } else { "a" };
            double.holds(text.repeat(BYTES));
        }
        let found = cluster.find().await;
        assert_eq!(all.used(), 0, "all is given back");
        match found {
            Ok((trace, _)) => {
                let parts = if replicas_differ { 3 } else { 1 };
                assert!(is_enough && trace.len() >= parts * BYTES, "{room} {}", trace.len());
            }
            Err(status) => {
                assert!(!is_enough, "{room} {status}");
                let said = (status.code(), status.message());
                assert_eq!(said, (Code::ResourceExhausted, TOO_MANY_BYTES));
                assert!(!cluster.search().await.unwrap().1, "small ones pass");
            }
        }
    }
}

#[tokio::test]
async fn span_that_several_replicas_have_is_in_the_answer_once() {
    let span = |id: u8| Span {
        trace_id: vec![7; 16].into(),
        span_id: vec![id; 8].into(),
        // Takes more than is put together at once.
        name: "n".repeat(100_000).into(),
        ..Span::default()
    };
    let held = |ids: &[u8]| {
        let scope =
            ScopeSpans { spans: ids.iter().map(|&id| span(id)).collect(), ..Default::default() };
        let resource = ResourceSpans { scope_spans: vec![scope], ..Default::default() };
        ExportTraceServiceRequest { resource_spans: vec![resource] }.encode_to_vec()
    };
    let cluster = cluster(3, &[Answer; 3]);
    for (name, ids) in [("a", &[1, 2][..]), ("b", &[2, 1, 3]), ("c", &[3, 2])] {
        cluster.doubles[name].holds(held(ids));
    }
    let find =
        FindTraceRequest { tenant: "t".into(), trace_id: vec![7; 16].into(), ..Default::default() };
    let answer = cluster.recent.find_trace(Request::new(find)).await.unwrap().into_inner();
    let found = ExportTraceServiceRequest::decode(answer.trace).unwrap();
    let scopes = found.resource_spans.into_iter().flat_map(|resource| resource.scope_spans);
    let ids: Vec<_> = scopes.flat_map(|scope| scope.spans).map(|span| span.span_id[0]).collect();
    assert_eq!(ids, [1, 2, 3]);
}
