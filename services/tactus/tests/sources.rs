//! The same query over the same spans wherever they are: live, in segments, in blocks, and in all three at once.
//!
//! What one batch of all spans answers is what ingester, querier and query-frontend together have to answer.

#[path = "sources/all.rs"]
mod all;
#[path = "sources/sampled.rs"]
mod sampled;
#[path = "sources/sent_again.rs"]
mod sent_again;
#[path = "../../../libs/traceql/tests/slow/slow.rs"]
#[expect(dead_code, reason = "the slow evaluator is held against one batch elsewhere")]
mod slow;
#[path = "../../../libs/traceql/tests/slow_metrics/slow_metrics.rs"]
#[expect(dead_code, clippy::panic, reason = "only its queries are used")]
mod slow_metrics;
#[path = "sources/tail_sampled.rs"]
mod tail_sampled;

use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use proptest::prelude::*;
use tactus_api::RequestedRange;
use tactus_api::request::{MetricsQuery, SearchKind, SearchQuery};
use tactus_api::search::{SearchCombiner, to_message};
use tactus_config::sections::overrides::Limits;
use tactus_model::{OfTenant, SpanBatch, TenantId};
use tactus_proto::tactus::v1::ingester_server::Ingester as _;
use tactus_proto::tactus::v1::{PushRequest, SpanRun};
use tactus_proto::tempopb::{SearchMetrics, TraceSearchMetadata};
use tactus_query::{Frontend, Parts};
use tactus_query_jobs::Querier;
use tactus_recent_data::{BlockWritten, Ingester};
use tactus_server::tenancy::Tenancy;
use tactus_storage::meta::{ColumnScope, DedicatedColumn};
use tactus_storage::{Blocklist, Bucket, BucketSettings};
use tactus_telemetry::metrics::Registry;
use tactus_traceql::eval::{CompiledQuery, SearchOptions, Window};
use tactus_traceql::metrics::{
    AnswerOptions, CompiledMetrics, Grid, MetricsCollector, MetricsCombiner, MetricsOptions, Series,
};
use tactus_traceql::{RootExpr, parse_and_validate};
use tokio::runtime::Runtime;
use tonic::Request;

use all::All;
use slow::batches::{Group, encoded, live_batch};
use slow::data::{BASE, groups, without_repeated_keys};
use slow::queries::search;
use slow_metrics::queries::{adjustable, graph, metrics};

const TENANT: &str = "t1";
const SECOND: u64 = 1_000_000_000;
const SPANS_SHOWN: u32 = 4;

static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| Runtime::new().expect("a runtime"));

fn tenant() -> TenantId {
    TenantId::parse(TENANT).expect("a tenant")
}

/// Ingester, querier and query-frontend of one process, over a folder of its own.
struct Services {
    folder: tempfile::TempDir,
    ingester: Arc<Ingester>,
    /// Others that have copies of its spans.
    others: Vec<Arc<Ingester>>,
    frontend: Arc<Frontend>,
    blocklist: Arc<Blocklist>,
}

impl Services {
    fn new() -> Self {
        Self::with(1)
    }

    /// With so many ingesters.
    fn with(ingesters: usize) -> Self {
        Self::opened(ingesters, |_, _| {})
    }

    /// The same, each with settings of its own.
    fn opened(ingesters: usize, set: impl Fn(usize, &mut tactus_recent_data::Settings)) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let registry = Registry::new();
        let path = folder.path().join("bucket");
        let bucket = Bucket::open(&BucketSettings::Local { path }).expect("a bucket");
        let blocklist = Arc::new(Blocklist::new());
        let open = |number: usize| {
            let path = folder.path().join(format!("ingester-{number}"));
            let mut settings = tactus_recent_data::Settings::new(path);
            // Everything in many small parts, and nothing by the clock.
            settings.ingester_id = format!("ingester-{number}");
            settings.fsync_interval = None;
            settings.chunk_spans = 3;
            settings.row_group_spans = 3;
            settings.range_slack = Duration::ZERO;
            // In a cluster, spans are served for a while after they came into a block.
            settings.hold_flushed = Duration::from_secs(if number == 0 { 0 } else { 3600 });
            settings.dedicated_columns = OfTenant::all(vec![
                DedicatedColumn::string(ColumnScope::Span, "a"),
                DedicatedColumn::string(ColumnScope::Resource, "b"),
            ]);
            set(number, &mut settings);
            let written = BlockWritten::listed(Arc::clone(&blocklist));
            Ingester::open(settings, bucket.clone(), written, &Registry::new())
                .expect("a fresh directory")
        };
        let ingester = open(0);
        let others: Vec<_> = (1..ingesters).map(open).collect();
        let all = All([&[Arc::clone(&ingester)], &others[..]].concat());
        let querier = Querier::new(
            tactus_query_jobs::Settings::default(),
            bucket,
            Arc::clone(&blocklist),
            &registry,
        );
        let mut settings = tactus_query::Settings::default();
        settings.section.search.target_bytes_per_job = 1;
        settings.section.metrics.target_bytes_per_job = 1;
        settings.replicated = ingesters > 1;
        let parts = Parts {
            settings,
            tenancy: Tenancy::single(),
            limits: Arc::new(|_| Arc::new(Limits::built_in())),
            ingester: if ingesters > 1 { Arc::new(all) } else { Arc::clone(&ingester) as _ },
            querier: Arc::new(querier),
            blocklist: Arc::clone(&blocklist),
        };
        let frontend = Frontend::new(parts, &registry);
        Self { folder, ingester, others, frontend, blocklist }
    }

    fn ingesters(&self) -> Vec<Arc<Ingester>> {
        [&[Arc::clone(&self.ingester)], &self.others[..]].concat()
    }

    async fn push(&self, groups: &[Group]) {
        self.push_to(&self.ingester, groups, 0).await;
    }

    async fn push_to(&self, ingester: &Ingester, groups: &[Group], origin: u64) {
        let mut push = PushRequest { tenant: TENANT.to_owned(), ..PushRequest::default() };
        for (place, group) in groups.iter().enumerate() {
            let [resource, scope, scope_spans] = encoded(group);
            push.resources.push(resource.into());
            push.scopes.push(scope.into());
            let (resource, scope) = (place as u32, place as u32);
            push.runs.push(SpanRun { resource, scope, scope_spans: scope_spans.into(), origin });
        }
        let answer = ingester.push(Request::new(push)).await.expect("there is room");
        assert_eq!(answer.into_inner().refusals, []);
    }

    fn tenant_in_bucket(&self) -> PathBuf {
        self.folder.path().join("bucket").join(TENANT)
    }

    /// Leaves everything that is live in segments: no block can be written where a file has its folder's name.
    async fn cut(&self) {
        let folder = self.tenant_in_bucket();
        let aside = self.folder.path().join("aside");
        let had_blocks = std::fs::rename(&folder, &aside).is_ok();
        std::fs::write(&folder, "").expect("writable");
        for ingester in self.ingesters() {
            // One that holds nothing has nothing to fail at.
            let result = ingester.flush_all().await;
            assert!(result.is_err() || self.ingesters().len() > 1, "the bucket takes nothing");
        }
        std::fs::remove_file(&folder).expect("writable");
        if had_blocks {
            std::fs::rename(&aside, &folder).expect("writable");
        }
    }

    async fn flush(&self) {
        self.ingester.flush_all().await.expect("the bucket is writable");
    }

    fn blocks(&self) -> usize {
        self.blocklist.tenant(TENANT).live().len()
    }

    async fn search(&self, search: &Search) -> Option<Vec<String>> {
        let (start, end) = search.seconds.unwrap_or((BASE / SECOND - 1, BASE / SECOND + 60));
        let query = SearchQuery {
            kind: SearchKind::TraceQl {
                text: search.text.clone(),
                root: Box::new(search.root.clone()),
            },
            limit: search.limit,
            spans_per_span_set: SPANS_SHOWN,
            range: RequestedRange { start: start * SECOND, end: end * SECOND, since: None },
            explain: false,
        };
        let answer = self.frontend.search(&[tenant()], &query).await.ok()?;
        assert!(!answer.partial);
        Some(shown(answer.response.traces))
    }

    async fn series(&self, query: &Metrics) -> Option<Vec<Series>> {
        let metrics = MetricsQuery {
            text: query.text.clone(),
            root: query.root.clone(),
            start: query.start,
            end: query.end,
            step: query.step,
            exemplars: 0,
            max_series: 0,
            is_instant: query.is_instant,
            explain: false,
        };
        let answer = self.frontend.query_metrics(&[tenant()], &metrics).await.ok()?;
        assert!(!answer.partial);
        Some(answer.answer.series)
    }
}

struct Search {
    text: String,
    root: RootExpr,
    /// Unix seconds.
    seconds: Option<(u64, u64)>,
    limit: u32,
}

impl fmt::Debug for Search {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} in {:?}, at most {}", self.text, self.seconds, self.limit)
    }
}

impl Search {
    fn of_batch(&self, batch: &SpanBatch) -> Option<Vec<String>> {
        let query = CompiledQuery::compile(&self.root).expect("it is valid");
        let (start, end) = self.seconds.unwrap_or_default();
        let matches = query.find_matches(batch, Window::from_seconds(start, end)).ok()?;
        let options = SearchOptions { limit: 0, spans_per_span_set: SPANS_SHOWN as usize };
        let mut combiner = SearchCombiner::new(0);
        let found = query.assemble(batch, &matches, &options);
        combiner.add(found.into_iter().map(to_message).collect());
        Some(shown(combiner.finish(SearchMetrics::default()).traces))
    }

    /// Whether `found` is what the query may find of all matches. Which matches a limit leaves is open, unless the newest
    /// are asked for.
    fn answered_by(&self, found: &Option<Vec<String>>, all: &Option<Vec<String>>) -> bool {
        let (Some(found), Some(all)) = (found, all) else {
            // A query that fails on some traces may not get to see them: they can be known not to match.
            return all.is_none();
        };
        let wanted = all.len().min(self.limit as usize);
        if self.root.hints.most_recent() || wanted == all.len() {
            return found[..] == all[..wanted];
        }
        found.len() == wanted && found.iter().all(|trace| all.contains(trace))
    }
}

/// Everything about each trace but the order of its spansets, which is left open.
fn shown(mut traces: Vec<TraceSearchMetadata>) -> Vec<String> {
    for trace in &mut traces {
        trace.span_set = None;
        trace.span_sets.sort_by_cached_key(|set| format!("{set:?}"));
    }
    let texts = traces.iter().map(|trace| {
        // The counts are in a map without order.
        let mut stats: Vec<_> = trace.service_stats.iter().collect();
        stats.sort_by_key(|(name, _)| name.as_str());
        let TraceSearchMetadata { trace_id, root_service_name, root_trace_name, .. } = trace;
        let times = (trace.start_time_unix_nano, trace.duration_ms);
        let sets = &trace.span_sets;
        format!("{trace_id} {root_service_name} {root_trace_name} {times:?} {stats:?}\n  {sets:#?}")
    });
    texts.collect()
}

struct Metrics {
    text: String,
    root: RootExpr,
    start: u64,
    end: u64,
    step: u64,
    is_instant: bool,
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { text, start, end, step, is_instant, .. } = self;
        write!(f, "{text} from {start} to {end} by {step}, instant: {is_instant}")
    }
}

impl Metrics {
    fn of_batch(&self, batch: &SpanBatch) -> Option<Vec<Series>> {
        let grid = match self.is_instant {
            true => Grid::instant(self.start, self.end),
            false => Grid::range(self.start, self.end, self.step, None),
        };
        let query = CompiledMetrics::compile(&self.root, grid, MetricsOptions::default())
            .expect("it is valid");
        let options = AnswerOptions { is_instant: self.is_instant, ..AnswerOptions::default() };
        let mut combiner = MetricsCombiner::new(&self.root, grid, options);
        if query.is_never() {
            return Some(Vec::new());
        }
        let mut collector = MetricsCollector::new(&query);
        collector.observe(&query, batch, None).ok()?;
        combiner.add(collector.finish(&query)).ok()?;
        Some(combiner.finish().ok()?.series)
    }
}

/// Sums may differ in their last digits: the order of addition is open.
fn same_series(found: &Option<Vec<Series>>, expected: &Option<Vec<Series>>) -> bool {
    let (Some(found), Some(expected)) = (found, expected) else {
        return expected.is_none();
    };
    let close = |one: f64, other: f64| {
        one == other || (one - other).abs() <= 1e-9 * one.abs().max(other.abs())
    };
    let same = |(found, expected): (&Series, &Series)| {
        let mut points = found.points.iter().zip(&expected.points);
        found.labels == expected.labels
            && found.points.len() == expected.points.len()
            && points.all(|(one, other)| one.0 == other.0 && close(one.1, other.1))
    };
    found.len() == expected.len() && found.iter().zip(expected).all(same)
}

/// Groups that blocks hold as they are.
fn storable_groups() -> impl Strategy<Value = Vec<Group>> {
    groups().prop_map(without_repeated_keys)
}

fn searches() -> impl Strategy<Value = Vec<Search>> {
    let seconds = (0u64..6, 1u64..4).prop_map(|(start, length)| {
        let start = BASE / SECOND + start - 1;
        (start, start + length)
    });
    let limit = prop_oneof![2 => Just(1000u32), 1 => 1u32..4];
    let hint = prop_oneof![2 => Just(""), 1 => Just(" with(most_recent=true)")];
    let one = (search(), hint, prop::option::weighted(0.2, seconds), limit);
    prop::collection::vec(one, 8).prop_map(|queries| {
        let valid = queries.into_iter().filter_map(|(text, hint, seconds, limit)| {
            let text = text + hint;
            let root = parse_and_validate(&text).ok()?;
            Some(Search { text, root, seconds, limit })
        });
        valid.collect()
    })
}

fn metrics_queries() -> impl Strategy<Value = Vec<Metrics>> {
    let at = |hundreds: u64| BASE + hundreds * SECOND / 10;
    let times = (0u64..30, 1u64..40, 1u64..50, prop::bool::weighted(0.2));
    let adjusted = prop_oneof![2 => adjustable(), 1 => graph()];
    let adjusted = adjusted.prop_map(|query| query + " with(adjusted=true)");
    let query = prop_oneof![4 => metrics(), 2 => graph(), 1 => adjusted];
    prop::collection::vec((query, times), 8).prop_map(move |queries| {
        let valid = queries.into_iter().filter_map(|(text, (start, length, step, is_instant))| {
            let root = parse_and_validate(&text).ok()?;
            let (start, end) = (at(start), at(start + length));
            let step = if is_instant { end - start } else { step * SECOND / 10 };
            Some(Metrics { text, root, start, end, step, is_instant })
        });
        valid.collect()
    })
}

fn check(
    state: &str,
    services: &Services,
    batch: &SpanBatch,
    searches: &[Search],
    metrics: &[Metrics],
) -> Result<(), TestCaseError> {
    for search in searches {
        let found = RUNTIME.block_on(services.search(search));
        let expected = search.of_batch(batch);
        prop_assert!(
            search.answered_by(&found, &expected),
            "{state}: {search:?}\n  found    {found:#?}\n  expected {expected:#?}"
        );
    }
    for query in metrics {
        let found = RUNTIME.block_on(services.series(query));
        let expected = query.of_batch(batch);
        prop_assert!(
            same_series(&found, &expected),
            "{state}: {}\n  found    {found:?}\n  expected {expected:?}",
            query.text
        );
    }
    Ok(())
}

/// All spans together: live, cut, flushed.
fn check_states(
    groups: &[Group],
    searches: &[Search],
    metrics: &[Metrics],
) -> Result<(), TestCaseError> {
    let batch = live_batch(groups);
    let services = Services::new();
    RUNTIME.block_on(services.push(groups));
    check("live", &services, &batch, searches, metrics)?;
    RUNTIME.block_on(services.cut());
    prop_assert_eq!(services.blocks(), 0);
    check("segments", &services, &batch, searches, metrics)?;
    RUNTIME.block_on(services.flush());
    prop_assert_eq!(services.blocks(), 1);
    check("block", &services, &batch, searches, metrics)
}

fn traces_of(groups: &[Group]) -> Vec<u128> {
    let mut traces: Vec<u128> =
        groups.iter().flat_map(|group| &group.spans).map(|span| span.trace).collect();
    traces.sort_unstable();
    traces.dedup();
    traces
}

fn of_trace(groups: &[Group], trace: u128) -> Vec<Group> {
    let mut groups = groups.to_vec();
    groups.iter_mut().for_each(|group| group.spans.retain(|span| span.trace == trace));
    groups.retain(|group| !group.spans.is_empty());
    groups
}

/// Each trace at some of three ingesters, which write blocks when they like.
fn check_replicas(
    groups: &[Group],
    metrics: &[Metrics],
    steps: &[(u8, u8)],
) -> Result<(), TestCaseError> {
    let batch = live_batch(groups);
    let services = Services::with(3);
    let ingesters = services.ingesters();
    for (number, trace) in traces_of(groups).into_iter().enumerate() {
        let (replicas, flushing) = steps[number % steps.len()];
        let origin = u64::from(replicas) << 24 | (number as u64 + 1);
        for (bit, ingester) in ingesters.iter().enumerate() {
            if replicas & 1 << bit != 0 {
                RUNTIME.block_on(services.push_to(ingester, &of_trace(groups, trace), origin));
            }
            if flushing & 1 << bit != 0 {
                RUNTIME.block_on(ingester.flush_all()).expect("the bucket is writable");
            }
        }
    }
    check("replicas", &services, &batch, &[], metrics)?;
    RUNTIME.block_on(services.others[0].flush_all()).expect("the bucket is writable");
    check("more in blocks", &services, &batch, &[], metrics)
}

/// The traces one after the other: some in blocks, some in segments, some live; then each in a block.
fn check_splits(
    groups: &[Group],
    searches: &[Search],
    metrics: &[Metrics],
) -> Result<(), TestCaseError> {
    let batch = live_batch(groups);
    let services = Services::new();
    let traces = traces_of(groups);
    for (place, &trace) in traces.iter().enumerate() {
        RUNTIME.block_on(services.push(&of_trace(groups, trace)));
        match (traces.len() - 1 - place) % 3 {
            2 => RUNTIME.block_on(services.flush()),
            1 => RUNTIME.block_on(services.cut()),
            _ => {}
        }
    }
    check("everywhere", &services, &batch, searches, metrics)?;
    RUNTIME.block_on(services.flush());
    check("blocks", &services, &batch, searches, metrics)
}

/// The spans of each trace in three pushes: segments, further segments, live.
fn check_pieces(
    groups: &[Group],
    searches: &[Search],
    metrics: &[Metrics],
) -> Result<(), TestCaseError> {
    let batch = live_batch(groups);
    let services = Services::new();
    for piece in 0..3 {
        let (mut groups, mut number) = (groups.to_vec(), 0);
        for group in &mut groups {
            group.spans.retain(|_| {
                number += 1;
                number % 3 == piece
            });
        }
        groups.retain(|group| !group.spans.is_empty());
        if groups.is_empty() {
            continue;
        }
        RUNTIME.block_on(services.push(&groups));
        if piece < 2 {
            RUNTIME.block_on(services.cut());
        }
    }
    check("pieces", &services, &batch, searches, metrics)
}

proptest! {
    #![proptest_config(ProptestConfig { max_shrink_iters: 200, ..slow::cases(16) })]

    #[test]
    fn searches_answer_alike_in_all_states(
        groups in storable_groups(),
        searches in searches(),
    ) {
        check_states(&groups, &searches, &[])?;
    }

    #[test]
    fn searches_answer_alike_however_traces_are_spread(
        groups in storable_groups(),
        searches in searches(),
    ) {
        check_splits(&groups, &searches, &[])?;
    }

    #[test]
    fn searches_answer_alike_when_traces_arrive_in_pieces(
        groups in storable_groups(),
        searches in searches(),
    ) {
        check_pieces(&groups, &searches, &[])?;
    }

    #[test]
    fn metrics_answer_alike_in_all_states(
        groups in storable_groups(),
        metrics in metrics_queries(),
    ) {
        check_states(&groups, &[], &metrics)?;
    }

    #[test]
    fn metrics_answer_alike_however_traces_are_spread(
        groups in storable_groups(),
        metrics in metrics_queries(),
    ) {
        check_splits(&groups, &[], &metrics)?;
    }
    #[test]
    fn metrics_answer_alike_when_traces_arrive_in_pieces(
        groups in storable_groups(),
        metrics in metrics_queries(),
    ) {
        check_pieces(&groups, &[], &metrics)?;
    }

    #[test]
    fn metrics_answer_alike_where_spans_have_replicas(
        groups in storable_groups(),
        metrics in metrics_queries(),
        steps in prop::collection::vec((1u8..8, 0u8..8), 1..6),
    ) {
        check_replicas(&groups, &metrics, &steps)?;
    }
}
