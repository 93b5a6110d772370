//! The query that a task works for: when it ends, what it may use, whose it is.

use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::time::Duration;

use tactus_model::TenantId;
use tactus_rpc::QueryContext;
use tactus_work::Line;
use tokio::time::Instant;

tokio::task_local! {
    /// The query of this task.
    static QUERY: CurrentQuery;
}

/// What holds for all jobs of a query.
#[derive(Clone, Copy, Default)]
pub(crate) struct CurrentQuery {
    /// When nobody waits for it any more.
    pub(crate) deadline: Option<Instant>,
    /// What is told of it with each job, but for the deadline.
    pub(crate) context: QueryContext,
    /// The same for all queries of the same tenants: see [`Line`].
    tenants: u64,
}

impl CurrentQuery {
    /// The query of this task, if it is one's.
    pub(crate) fn get() -> Option<Self> {
        QUERY.try_with(|query| *query).ok()
    }
}

/// Runs a query of these tenants whose jobs need not be done after `time`, and may use so much of the processors of each
/// process; zero is no limit. It is not ended then.
pub(crate) async fn as_query<T>(
    tenants: &[TenantId],
    time: Duration,
    max_cpu_time: Duration,
    query: impl Future<Output = T>,
) -> T {
    // Different for each.
    let number = RandomState::new().build_hasher().finish().max(1);
    let context = QueryContext { query: number, deadline: None, max_cpu_time };
    let deadline = Instant::now().checked_add(time).filter(|_| !time.is_zero());
    let tenants = Line::of(&joined(tenants), &[]).tenant;
    QUERY.scope(CurrentQuery { deadline, context, tenants }, query).await
}

/// Runs what is done of a query of these tenants besides, such as writing its answer.
pub(crate) async fn as_part_of_query<T>(tenants: &[TenantId], part: impl Future<Output = T>) -> T {
    as_query(tenants, Duration::ZERO, Duration::ZERO, part).await
}

/// Whose query this task is of, if that is known.
pub(crate) fn current_tenants() -> Option<u64> {
    CurrentQuery::get().map(|query| query.tenants)
}

/// The query of this task; nothing is known outside of one.
pub(crate) fn current_query() -> QueryContext {
    let CurrentQuery { deadline, context, .. } = CurrentQuery::get().unwrap_or_default();
    QueryContext { deadline: deadline.map(Instant::into_std), ..context }
}

/// The tenants as one name.
pub(crate) fn joined(tenants: &[TenantId]) -> String {
    tenants.iter().map(TenantId::as_str).collect::<Vec<_>>().join("|")
}
