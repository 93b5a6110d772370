//! The task that serves one live tail.

use std::{
    ops::ControlFlow,
    sync::{Arc, Weak, atomic::Ordering},
    time::{Duration, Instant},
};

use tactus_api::live_tail::SpanRate;
use tactus_proto::tactus::v1::TailResponse;
use tactus_rpc::QueryContext;
use tokio::{sync::mpsc, time};
use tonic::Status;

use crate::{
    ingester::Ingester,
    open_tails::{
        Tail,
        pushed::{Filter, Pushed},
    },
};

/// After a push, the tail waits this long for further pushes, to evaluate them together.
const GATHER: Duration = Duration::from_millis(50);

/// The reader gets a message at least this often.
const HEARTBEAT: Duration = Duration::from_secs(2);

/// How long a slow reader may take to receive the reason why its tail ended.
const LAST_WAIT: Duration = Duration::from_secs(5);
const DISPLACED: &str =
    "the place of this live tail went to a tenant with fewer (limit: ingester.live_tail.max_tails)";

type Responses = mpsc::Sender<Result<TailResponse, Status>>;

/// Runs a tail until its reader leaves or the ingester stops. If the reader is slow, pushes wait in the queue, and are
/// skipped once it is full.
pub(super) async fn run(
    mut tail: Tail,
    ingester: Weak<Ingester>,
    filter: Arc<Filter>,
    mut rate: SpanRate,
    responses: Responses,
) {
    let (closing, displaced) = (tail.tails.closing.clone(), tail.queue.displaced.clone());
    let work = async {
        let mut response = TailResponse::default();
        while responses.send(Ok(response)).await.is_ok() {
            let pushes = gather(&mut tail).await;
            response = TailResponse::default();
            if !pushes.is_empty() {
                match look_at(&ingester, &filter, &mut rate, &pushes).await {
                    ControlFlow::Continue(looked) => response = looked,
                    ControlFlow::Break(()) => return,
                }
            }
            tail.done(&pushes);
            response.skipped_spans += tail.queue.skipped.swap(0, Ordering::Relaxed);
        }
    };
    let end = tokio::select! {
        () = work => None,
        () = responses.closed() => None,
        () = displaced.cancelled() => Some(Status::resource_exhausted(DISPLACED)),
        () = closing.cancelled() => Some(Status::unavailable("Ingester is shutting down")),
    };
    drop(tail);
    if let Some(status) = end {
        let _ = responses.send_timeout(Err(status), LAST_WAIT).await;
    }
}

/// The pushes that come within a moment; none after a while without any.
async fn gather(tail: &mut Tail) -> Vec<Arc<Pushed>> {
    let Ok(Some(first)) = time::timeout(HEARTBEAT, tail.pushed.recv()).await else {
        return Vec::new();
    };
    time::sleep(GATHER).await;
    let mut pushes = vec![first];
    // Take only as many as there are now. Otherwise pushes that come faster than they are taken would keep this from
    // evaluating them.
    let waiting = tail.pushed.len();
    pushes.extend((0..waiting).map_while(|_| tail.pushed.try_recv().ok()));
    pushes
}

/// Evaluates pushes. This counts as one of the queries that the ingester runs at the same time.
async fn look_at(
    ingester: &Weak<Ingester>,
    filter: &Arc<Filter>,
    rate: &mut SpanRate,
    pushes: &[Arc<Pushed>],
) -> ControlFlow<(), TailResponse> {
    let Some(ingester) = ingester.upgrade() else { return ControlFlow::Break(()) };
    let (filter, pushes) = (Arc::clone(filter), pushes.to_vec());
    let may_show = rate.available(Instant::now());
    let tenant = filter.tenant.clone();
    let looked = ingester
        .query(tenant.as_str(), QueryContext::default(), move |_| filter.look_at(&pushes, may_show))
        .await;
    let Ok(response) = looked else { return ControlFlow::Break(()) };
    rate.take(response.runs.iter().map(|run| run.spans.len()).sum());
    ControlFlow::Continue(response)
}
