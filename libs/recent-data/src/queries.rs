//! Runs queries: limits how many run per tenant and in total, on which threads, and for how long.

use std::{sync::Arc, thread::available_parallelism};

use tactus_rpc::QueryContext;
use tactus_telemetry::metrics::{Kind, Registry};
use tactus_work::memory::QueryMemory;
use tactus_work::{Gate, Line, MOST_NEWCOMERS, Over, Run, SlotLimits, Slots, Stop};
use tokio::runtime::Handle;
use tonic::Status;

/// As many tenants could have their full number of queries running. Half of them can; of what is left, others take less.
/// Most of these queries wait for their turn.
const TENANTS_AT_WORK: usize = 8;
/// Most waiting queries of a tenant. Query-frontends allow fewer.
const WAITING_PER_TENANT: usize = 10_000;

/// The limits on queries, and whose turn it is.
pub(crate) struct Queries {
    slots: Slots,
    gate: Arc<Gate>,
    memory: Arc<QueryMemory>,
}

tactus_telemetry::debug_of!(it: Queries { running = it.slots.running() });

impl Queries {
    /// Allows `per_tenant` queries of a tenant at a time, on as many threads as there are processors. `memory` bounds
    /// what they hold.
    pub(crate) fn new(per_tenant: usize, memory: Arc<QueryMemory>, registry: &Registry) -> Self {
        let slots = Slots::new(SlotLimits {
            per_tenant,
            total: per_tenant.saturating_mul(TENANTS_AT_WORK),
            newcomers: MOST_NEWCOMERS,
            waiting_per_tenant: WAITING_PER_TENANT,
        });
        let threads = available_parallelism().map_or(1, usize::from);
        let running = slots.clone();
        registry.register_collector(move |out| {
            let help = "Queries that the ingester works on.";
            out.family("tactus_ingester_queries_running", help, Kind::Gauge);
            out.sample(&[], running.running() as f64);
        });
        Self { slots, gate: Arc::new(Gate::new(threads, u64::MAX)), memory }
    }

    /// Runs a query on a thread of its own when it is its turn, as long as somebody waits for it.
    ///
    /// Errors: the caller is gone, the query ran out of time, or it exceeded a limit.
    pub(crate) async fn run<R: Send + 'static>(
        &self,
        tenant: &str,
        context: QueryContext,
        run: impl FnOnce() -> R + Send + 'static,
    ) -> Result<R, Status> {
        let (stop, _stop_on_drop) = Stop::new();
        let line = Line::of(tenant, &[&context.query.to_string()]);
        let giving_way = Arc::clone(&self.gate);
        let work = context
            .work()
            .holding(&self.memory, line.tenant, context.query)
            .stopped_by(stop)
            .giving_way(move || giving_way.give_way(line));
        let slot = self.slots.enter(line.tenant).await;
        let slot = slot.map_err(|full| Status::unavailable(full.to_string()))?;
        let runtime = Handle::current();
        let spawn = move |run: Run| drop(runtime.spawn_blocking(run));
        let result = self.gate.run(line, spawn, move |turn| {
            // The slot is kept until the query has ended, even if the caller has gone.
            let _slot = slot;
            (work.run(run), turn)
        });
        result.await.map_err(|_| Status::internal("query failed"))?.map_err(status_of)
    }
}

fn status_of(over: Over) -> Status {
    let text = over.to_string();
    match over {
        Over::Cancelled => Status::cancelled(text),
        Over::Deadline => Status::deadline_exceeded(text),
        _ => Status::resource_exhausted(text),
    }
}
