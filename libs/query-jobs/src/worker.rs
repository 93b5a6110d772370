//! The worker of a querier: takes jobs from query-frontends. Each frontend has a stream, over which jobs come and
//! answers go.
//!
//! ```text
//! addresses of frontends -> a stream to each, with its share of the slots -> jobs -> querier, recent data
//! ```
//!
//! If a stream breaks, its jobs are dropped, the frontend gives them to another querier, and the stream is opened
//! again. A querier that stops tells the frontends first, and finishes its running jobs.

mod dial;
mod jobs;
mod stream;

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::sync::Arc;

use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;
use tactus_config::sections::querier::Querier as Section;
use tactus_proto::tactus::v1::FrontendMessage;
use tactus_rpc::jobs::JobServices;
use tactus_server::bodies::Bodies;
use tactus_server::observe::RequestMetrics;
use tactus_telemetry::metrics::{Counter, Registry};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tonic::Status;

pub use dial::{Outbound, addresses_of, dial_by, keep_resolving};

/// Opens a stream to the frontend at an address, which is sent the messages of the second argument.
pub type Dial =
    Arc<dyn Fn(String, Outbound) -> BoxFuture<'static, Result<Inbound, Status>> + Send + Sync>;

/// The messages of a frontend.
pub type Inbound = BoxStream<'static, Result<FrontendMessage, Status>>;

/// Jobs that a querier runs at a time for the frontend at this place of this many.
fn slots_of(section: &Section, place: usize, frontends: usize) -> usize {
    if !section.frontend_worker.match_max_concurrent {
        return section.frontend_worker.parallelism.max(1);
    }
    let (slots, frontends) = (section.max_concurrent_queries, frontends.max(1));
    let extra = usize::from(place < slots % frontends);
    (slots / frontends + extra).max(1)
}

/// A worker.
#[derive(Clone)]
pub struct Worker {
    shared: Arc<Shared>,
}

struct Shared {
    section: Section,
    /// What frontends tell this querier apart by: its name, and more, so that no two have the same.
    id: String,
    services: JobServices,
    /// Memory of answers until they are sent.
    memory: Arc<Bodies>,
    dial: Dial,
    executed: Counter,
    requests: RequestMetrics,
}

tactus_telemetry::debug_of!(it: Worker { section = it.shared.section });

/// The stream to one frontend.
struct Frontend {
    slots: watch::Sender<usize>,
    leave: CancellationToken,
}

impl Worker {
    /// A worker whose jobs these services run. `section`: `querier`. `memory`: of answers, until they are sent.
    pub fn new(
        section: Section,
        services: JobServices,
        memory: Arc<Bodies>,
        dial: Dial,
        registry: &Registry,
    ) -> Self {
        let executed = registry.counter(
            "tempo_querier_worker_request_executed_total",
            "Jobs of query-frontends that were run.",
        );
        let random = RandomState::new().build_hasher().finish();
        let id = format!("{}-{random:016x}", section.frontend_worker.id);
        let requests = RequestMetrics::register(registry);
        let shared = Shared { section, id, services, memory, dial, executed, requests };
        Self { shared: Arc::new(shared) }
    }

    /// Works for the frontends at these addresses (`host:port`), as they change, until `stop`. Returns when the jobs that
    /// ran then are answered, or took longer than they may.
    pub async fn run(self, mut addresses: watch::Receiver<Vec<String>>, stop: CancellationToken) {
        let mut streams = JoinSet::new();
        let mut frontends: HashMap<String, Frontend> = HashMap::new();
        let mut is_open = true;
        while !stop.is_cancelled() {
            let wanted = addresses_in_order(&addresses.borrow_and_update());
            self.connect(&wanted, &mut frontends, &mut streams);
            tokio::select! {
                changed = addresses.changed(), if is_open => is_open = changed.is_ok(),
                Some(_) = streams.join_next() => {}
                () = stop.cancelled() => {}
            }
        }
        // Streams watch these tokens, so that each announces that it leaves.
        frontends.values().for_each(|frontend| frontend.leave.cancel());
        while streams.join_next().await.is_some() {}
    }

    /// Opens and leaves streams, and gives each its share of the slots.
    fn connect(
        &self,
        wanted: &[String],
        frontends: &mut HashMap<String, Frontend>,
        streams: &mut JoinSet<()>,
    ) {
        frontends.retain(|address, frontend| {
            let stays = wanted.contains(address);
            if !stays {
                frontend.leave.cancel();
            }
            stays
        });
        for (place, address) in wanted.iter().enumerate() {
            let slots = slots_of(&self.shared.section, place, wanted.len());
            if let Some(frontend) = frontends.get(address) {
                frontend.slots.send_if_modified(|known| std::mem::replace(known, slots) != slots);
                continue;
            }
            let (sender, receiver) = watch::channel(slots);
            let leave = CancellationToken::new();
            let shared = Arc::clone(&self.shared);
            streams.spawn(stream::keep(shared, address.clone(), receiver, leave.clone()));
            frontends.insert(address.clone(), Frontend { slots: sender, leave });
        }
    }
}

/// The addresses in order, each once, so that every querier numbers them alike.
fn addresses_in_order(addresses: &[String]) -> Vec<String> {
    let mut addresses = addresses.to_vec();
    addresses.sort_unstable();
    addresses.dedup();
    addresses
}
