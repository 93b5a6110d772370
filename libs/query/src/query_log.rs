//! Lists running queries and the last slow ones, for people who want to know what keeps a system busy, and lets them
//! stop a query.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tactus_api::{Error, Result};
use tactus_config::sections::query_frontend::QueryLog as Settings;
use tactus_model::TenantId;
use tactus_proto::tempopb::SearchMetrics;
use tactus_storage::Uuid;
use tokio_util::sync::CancellationToken;

/// Bytes kept of the text of a query.
const MAX_TEXT_BYTES: usize = 16 << 10;

/// A query as people are shown it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Asked {
    /// TraceQL, or what there is instead: tags, the id of a trace.
    pub(crate) text: String,
    /// Unix nanoseconds; `None`: whatever is stored.
    pub(crate) range: Option<(u64, u64)>,
}

impl Asked {
    pub(crate) fn new(text: impl Into<String>) -> Self {
        Self { text: text.into(), range: None }
    }

    /// Within this time, unix nanoseconds.
    pub(crate) fn within(self, start: u64, end: u64) -> Self {
        Self { range: Some((start, end)), ..self }
    }
}

/// The progress of a query.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Progress {
    pub(crate) jobs: u32,
    pub(crate) done_jobs: u32,
    pub(crate) blocks: u32,
    pub(crate) inspected_bytes: u64,
}

/// A query of which the log knows.
#[derive(Debug)]
pub(crate) struct KnownQuery {
    pub(crate) id: String,
    pub(crate) tenants: Vec<TenantId>,
    /// The kind of query, as in the metric label `op`.
    pub(crate) kind: &'static str,
    pub(crate) asked: Asked,
    /// Unix nanoseconds.
    pub(crate) started: u64,
    began: Instant,
    progress: Mutex<Progress>,
    stop: CancellationToken,
}

impl KnownQuery {
    pub(crate) fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }

    pub(crate) fn progress(&self) -> Progress {
        *self.progress.lock()
    }

    /// True if a request of these tenants may see the query.
    fn is_of(&self, tenants: &[TenantId]) -> bool {
        self.tenants.iter().all(|tenant| tenants.contains(tenant))
    }
}

/// A query that took long.
#[derive(Debug, Clone)]
pub(crate) struct SlowQuery {
    pub(crate) query: Arc<KnownQuery>,
    pub(crate) took: Duration,
    /// The error, if it ended without an answer.
    pub(crate) failure: Option<String>,
}

tokio::task_local! {
    /// The query that this task runs.
    static CURRENT: Arc<KnownQuery>;
}

fn note(change: impl FnOnce(&mut Progress)) {
    let _ = CURRENT.try_with(|query| change(&mut query.progress.lock()));
}

/// Notes the work of the query that this task runs.
pub(crate) fn note_work(work: &SearchMetrics) {
    note(|progress| {
        *progress = Progress {
            jobs: work.total_jobs,
            done_jobs: work.completed_jobs,
            blocks: work.total_blocks,
            inspected_bytes: work.inspected_bytes,
        };
    });
}

/// Notes further jobs of the query that this task runs, which is not one search but finds traces, several at a time.
pub(crate) fn note_jobs(jobs: usize) {
    let jobs = u32::try_from(jobs).unwrap_or(u32::MAX);
    note(|progress| progress.jobs = progress.jobs.saturating_add(jobs));
}

/// Notes that one of these jobs was answered.
pub(crate) fn note_answer(inspected_bytes: u64) {
    note(|progress| {
        progress.done_jobs = progress.done_jobs.saturating_add(1);
        progress.inspected_bytes = progress.inspected_bytes.saturating_add(inspected_bytes);
    });
}

/// Notes that the query looks into this many blocks. It may look into the same for each trace, so the most count.
pub(crate) fn note_blocks(blocks: usize) {
    let blocks = u32::try_from(blocks).unwrap_or(u32::MAX);
    note(|progress| progress.blocks = progress.blocks.max(blocks));
}

/// Running queries, and the last slow ones.
#[derive(Debug, Default)]
pub(crate) struct QueryLog {
    settings: Settings,
    /// By id. Admission limits their number.
    running: Mutex<BTreeMap<String, Arc<KnownQuery>>>,
    slow: Mutex<VecDeque<SlowQuery>>,
}

impl QueryLog {
    pub(crate) fn new(settings: Settings) -> Self {
        Self { settings, ..Self::default() }
    }

    pub(crate) fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Runs a query, which is in the list meanwhile.
    ///
    /// Errors: those of the query; [`Error::Stopped`] if somebody stops it. Then it is dropped, and with it its jobs.
    pub(crate) async fn run<T>(
        &self,
        tenants: &[TenantId],
        kind: &'static str,
        mut asked: Asked,
        query: impl Future<Output = Result<T>>,
    ) -> Result<T> {
        asked.text.truncate(asked.text.floor_char_boundary(MAX_TEXT_BYTES));
        // Otherwise the memory of what was cut off stays with it.
        asked.text.shrink_to_fit();
        let known = Arc::new(KnownQuery {
            id: Uuid::new_v4().to_string(),
            tenants: tenants.to_vec(),
            kind,
            asked,
            started: tactus_clock::unix_nanos(),
            began: Instant::now(),
            progress: Mutex::default(),
            stop: CancellationToken::new(),
        });
        self.running.lock().insert(known.id.clone(), Arc::clone(&known));
        let mut listed =
            Listed { log: self, query: &known, failure: Some("the client left".to_owned()) };
        let result = tokio::select! {
            biased;
            () = known.stop.cancelled() => Err(Error::Stopped),
            result = CURRENT.scope(Arc::clone(&known), query) => result,
        };
        listed.failure = result.as_ref().err().map(ToString::to_string);
        result
    }

    /// Queries that run, of which someone who asks for these tenants may know; the oldest first.
    pub(crate) fn running(&self, tenants: &[TenantId]) -> Vec<Arc<KnownQuery>> {
        let running = self.running.lock();
        let mut found: Vec<_> =
            running.values().filter(|query| query.is_of(tenants)).cloned().collect();
        drop(running);
        found.sort_by_key(|query| query.began);
        found
    }

    /// The last slow ones, likewise; the last first.
    pub(crate) fn slow(&self, tenants: &[TenantId]) -> Vec<SlowQuery> {
        let slow = self.slow.lock();
        slow.iter().rev().filter(|slow| slow.query.is_of(tenants)).cloned().collect()
    }

    /// Stops a query of these tenants. False if there is none.
    pub(crate) fn stop(&self, id: &str, tenants: &[TenantId]) -> bool {
        let running = self.running.lock();
        let found = running.get(id).filter(|query| query.is_of(tenants));
        found.inspect(|query| query.stop.cancel()).is_some()
    }
}

/// A query in the list. It has ended, in whatever way, when this is dropped.
struct Listed<'q> {
    log: &'q QueryLog,
    query: &'q Arc<KnownQuery>,
    failure: Option<String>,
}

impl Drop for Listed<'_> {
    fn drop(&mut self) {
        self.log.running.lock().remove(&self.query.id);
        let (took, settings) = (self.query.elapsed(), &self.log.settings);
        if took < settings.slow_after.as_std() || settings.max_slow_queries == 0 {
            return;
        }
        let query = Arc::clone(self.query);
        let mut slow = self.log.slow.lock();
        while slow.len() >= settings.max_slow_queries {
            let place = least_missed(&slow);
            slow.remove(place);
        }
        slow.push_back(SlowQuery { query, took, failure: self.failure.take() });
    }
}

/// The place of the query that makes room for another: the oldest of those that have most.
fn least_missed(slow: &VecDeque<SlowQuery>) -> usize {
    let mut places: HashMap<&[TenantId], Vec<usize>> = HashMap::new();
    for (place, slow) in slow.iter().enumerate() {
        places.entry(&slow.query.tenants).or_default().push(place);
    }
    let most = places.into_values().max_by_key(|places| (places.len(), Reverse(places[0])));
    most.map_or(0, |places| places[0])
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::pending;
    use tactus_config::GoDuration;

    fn tenants(names: &[&str]) -> Vec<TenantId> {
        names.iter().map(|name| TenantId::parse(name).unwrap()).collect()
    }

    fn log(max_slow_queries: usize) -> QueryLog {
        QueryLog::new(Settings { slow_after: GoDuration::ZERO, max_slow_queries })
    }

    #[tokio::test]
    async fn query_that_is_stopped_is_dropped_and_says_so() {
        struct Dropped<'d>(&'d Mutex<bool>);
        impl Drop for Dropped<'_> {
            fn drop(&mut self) {
                *self.0.lock() = true;
            }
        }
        let (log, dropped) = (log(2), Mutex::new(false));
        let (a, b) = (tenants(&["a"]), tenants(&["b"]));
        let query = async {
            let _dropped = Dropped(&dropped);
            note_work(&SearchMetrics { total_jobs: 7, completed_jobs: 3, ..Default::default() });
            pending::<Result<()>>().await
        };
        let stop = async {
            tokio::task::yield_now().await;
            assert!(log.running(&b).is_empty());
            let running = log.running(&a).pop().unwrap();
            assert_eq!((running.kind, running.asked.text.as_str()), ("search", "{ }"));
            assert_eq!((running.progress().jobs, running.progress().done_jobs), (7, 3));
            assert!(!log.stop(&running.id, &b) && !log.stop("other", &a));
            assert!(log.stop(&running.id, &a));
        };
        let (result, ()) = tokio::join!(log.run(&a, "search", Asked::new("{ }"), query), stop);
        assert_eq!(result, Err(Error::Stopped));
        assert!(*dropped.lock() && log.running(&a).is_empty());
        let slow = log.slow(&a).pop().unwrap();
        assert_eq!(slow.failure, Some(Error::Stopped.to_string()));
    }

    #[tokio::test]
    async fn work_of_traces_adds_up() {
        let (log, a) = (log(2), tenants(&["a"]));
        let query = async {
            for (blocks, bytes) in [(3, 10), (2, 5)] {
                note_jobs(2);
                note_blocks(blocks);
                note_answer(bytes);
            }
            Ok(())
        };
        log.run(&a, "traces", Asked::new("2 traces"), query).await.unwrap();
        let done = log.slow(&a)[0].query.progress();
        let expected = Progress { jobs: 4, done_jobs: 2, blocks: 3, inspected_bytes: 15 };
        assert_eq!(done, expected);
        // Outside of a query nobody asks.
        note_jobs(1);
    }

    #[tokio::test]
    async fn slow_queries_of_one_tenant_do_not_push_out_those_of_another() {
        let log = log(3);
        for (number, tenant) in ["a", "b", "b", "b", "b"].into_iter().enumerate() {
            let asked = Asked::new(number.to_string());
            log.run(&tenants(&[tenant]), "search", asked, async { Ok(()) }).await.unwrap();
        }
        let texts = |tenant| {
            let slow = log.slow(&tenants(&[tenant]));
            slow.iter().map(|slow| slow.query.asked.text.clone()).collect::<Vec<_>>()
        };
        assert_eq!(
            (texts("a"), texts("b")),
            (vec!["0".to_owned()], vec!["4".to_owned(), "3".to_owned()])
        );
    }

    #[tokio::test]
    async fn last_slow_queries_are_remembered() {
        let (log, a) = (log(3), tenants(&["a", "b"]));
        for number in 0..5 {
            let run = log.run(&a, "search", Asked::new(number.to_string()), async { Ok(()) });
            run.await.unwrap();
        }
        // A client that leaves drops its query.
        let left = log.run(&a, "search", Asked::new("left"), pending::<Result<()>>());
        let _ = tokio::time::timeout(Duration::from_millis(1), left).await;
        let slow = log.slow(&a);
        let texts: Vec<_> = slow.iter().map(|slow| slow.query.asked.text.as_str()).collect();
        assert_eq!(texts, ["left", "4", "3"]);
        assert_eq!(slow[0].failure.as_deref(), Some("the client left"));
        assert!(log.slow(&tenants(&["a"])).is_empty(), "it is also of another tenant");
        assert!(log.running(&a).is_empty());
    }
}
