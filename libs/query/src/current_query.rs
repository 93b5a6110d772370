//! The query that a task works for: its deadline, its limits and its tenants.

use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::sync::Arc;
use std::time::Duration;

use tactus_model::TenantId;
use tactus_rpc::QueryContext;
use tactus_work::memory::QueryMemory;
use tactus_work::turns::in_place;
use tactus_work::{Line, Work};
use tokio::time::Instant;

tokio::task_local! {
    /// The query of this task.
    static QUERY: CurrentQuery;
}

/// What is the same for all jobs of a query.
pub(crate) struct CurrentQuery {
    /// The time after which nobody waits for it any more.
    deadline: Option<Instant>,
    /// What each job is told of the query, besides the deadline.
    context: QueryContext,
    /// The same for all queries of the same tenants: see [`Line`].
    tenants: u64,
    /// The limits of the query, including its memory.
    work: Work,
}

impl CurrentQuery {
    /// Deadline and context of the query that this task works for; `None` outside of a query.
    pub(crate) fn get() -> Option<(Option<Instant>, QueryContext)> {
        QUERY.try_with(|query| (query.deadline, query.context)).ok()
    }
}

/// Different for each query.
pub(crate) fn new_number() -> u64 {
    RandomState::new().build_hasher().finish().max(1)
}

/// Runs a query of these tenants. Its jobs need not be done after `time`, but the query itself is not ended then. In
/// each process all that runs under its number may use the given processor time; zero is no limit. `memory` bounds what this
/// process holds for it.
pub(crate) async fn as_query<T>(
    number: u64,
    tenants: &[TenantId],
    time: Duration,
    max_cpu_time: Duration,
    memory: Option<&Arc<QueryMemory>>,
    query: impl Future<Output = T>,
) -> T {
    let context = QueryContext { query: number, deadline: None, max_cpu_time };
    let deadline = Instant::now().checked_add(time).filter(|_| !time.is_zero());
    let tenants = Line::of(&joined(tenants), &[]).tenant;
    let work =
        memory.map(|memory| Work::default().holding(memory, tenants, number)).unwrap_or_default();
    // It waits for memory on a thread that serves connections. Those that would give it back may be among its other tasks.
    let work = work.waiting_by(|wait| in_place(wait));
    QUERY.scope(CurrentQuery { deadline, context, tenants, work }, query).await
}

/// Runs further work on behalf of a query of these tenants, such as writing its answer: its long work waits for their
/// turns.
pub async fn as_part_of_query<T>(tenants: &[TenantId], part: impl Future<Output = T>) -> T {
    as_query(new_number(), tenants, Duration::ZERO, Duration::ZERO, None, part).await
}

/// The place in line of what is done for the current query. All that is done outside of queries has one.
pub(crate) fn current_line() -> Line {
    let line = |query: &CurrentQuery| Line { tenant: query.tenants, query: query.context.query };
    QUERY.try_with(line).unwrap_or_default()
}

/// Limits for work on a thread of this process on behalf of the current query. Outside of a query there are none.
pub(crate) fn current_work() -> Work {
    let bound = |query: &CurrentQuery| {
        let deadline = query.deadline.map(Instant::into_std);
        QueryContext { deadline, ..query.context }.bound(query.work.clone())
    };
    QUERY.try_with(bound).unwrap_or_default()
}

/// The names of the tenants, joined.
pub(crate) fn joined(tenants: &[TenantId]) -> String {
    tenants.iter().map(TenantId::as_str).collect::<Vec<_>>().join("|")
}
