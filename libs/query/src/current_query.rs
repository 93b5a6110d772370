//! The query that a task works for: when it ends, what it may use, whose it is.

use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::sync::Arc;
use std::time::Duration;

use tactus_model::TenantId;
use tactus_rpc::QueryContext;
use tactus_work::memory::QueryMemory;
use tactus_work::{Line, Work};
use tokio::time::Instant;

tokio::task_local! {
    /// The query of this task.
    static QUERY: CurrentQuery;
}

/// What holds for all jobs of a query.
pub(crate) struct CurrentQuery {
    /// When nobody waits for it any more.
    deadline: Option<Instant>,
    /// What is told of it with each job, but for the deadline.
    context: QueryContext,
    /// The same for all queries of the same tenants: see [`Line`].
    tenants: u64,
    /// With the memory that it may hold.
    work: Work,
}

impl CurrentQuery {
    /// Of the query of this task, if it is one's, when nobody waits for it any more, and what is told of it besides.
    pub(crate) fn get() -> Option<(Option<Instant>, QueryContext)> {
        QUERY.try_with(|query| (query.deadline, query.context)).ok()
    }
}

/// Runs a query of these tenants whose jobs need not be done after `time`, and may use so much of the processors of each
/// process; zero is no limit. It is not ended then. `memory`: of what this process holds for queries, if they are bounded by it.
pub(crate) async fn as_query<T>(
    tenants: &[TenantId],
    time: Duration,
    max_cpu_time: Duration,
    memory: Option<&Arc<QueryMemory>>,
    query: impl Future<Output = T>,
) -> T {
    // Different for each.
    let number = RandomState::new().build_hasher().finish().max(1);
    let context = QueryContext { query: number, deadline: None, max_cpu_time };
    let deadline = Instant::now().checked_add(time).filter(|_| !time.is_zero());
    let tenants = Line::of(&joined(tenants), &[]).tenant;
    let work =
        memory.map(|memory| Work::default().holding(memory, tenants, number)).unwrap_or_default();
    QUERY.scope(CurrentQuery { deadline, context, tenants, work }, query).await
}

/// Runs what is done of a query of these tenants besides, such as writing its answer: its long work takes their turns.
pub async fn as_part_of_query<T>(tenants: &[TenantId], part: impl Future<Output = T>) -> T {
    as_query(tenants, Duration::ZERO, Duration::ZERO, None, part).await
}

/// Whose query this task is of, if that is known.
pub(crate) fn current_tenants() -> Option<u64> {
    QUERY.try_with(|query| query.tenants).ok()
}

/// Work for the query of this task on a thread of this process; outside of one nothing bounds it.
pub(crate) fn current_work() -> Work {
    let bound = |query: &CurrentQuery| {
        let deadline = query.deadline.map(Instant::into_std);
        QueryContext { deadline, ..query.context }.bound(query.work.clone())
    };
    QUERY.try_with(bound).unwrap_or_default()
}

/// The tenants as one name.
pub(crate) fn joined(tenants: &[TenantId]) -> String {
    tenants.iter().map(TenantId::as_str).collect::<Vec<_>>().join("|")
}
