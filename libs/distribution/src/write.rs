//! Sends an export to its replicas, and waits for a quorum of each trace.
//!
//! The client does not wait for the slowest replica: once the answer is known, the remaining calls go on in a task of
//! their own, within their timeout. Until then all calls run in the task of the request, because tasks that wake each
//! other cost more than a push of few spans.

use std::{future::ready, sync::Arc, time::Duration};

use futures_util::{
    future::BoxFuture,
    stream::{FuturesUnordered, StreamExt},
};
use tactus_proto::tactus::v1::{PushRequest, PushResponse, Refusal};
use tactus_ring::Instance;
use tactus_rpc::Shared;
use tactus_work::memory::Reservation;
use tokio::{
    runtime::Handle,
    time::{Instant, sleep_until},
};
use tonic::{Code, Request, Status};
use tracing::Instrument;

use crate::{
    group::Export,
    metrics::Metrics,
    peers::Peers,
    placement::Placement,
    votes::{Send, Votes, is_unfit},
};

/// Estimated memory of a request, and of each call for it, in addition to its bytes.
pub(crate) const CALL_BYTES: u64 = 4096;

/// Where and how exports are sent.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Writer<'a> {
    pub(crate) peers: &'a Peers,
    pub(crate) metrics: &'a Metrics,
    pub(crate) placement: &'a Placement,
    /// Seats without a reply get a stand-in after this.
    pub(crate) hedging_delay: Duration,
    /// The client is answered within this time.
    pub(crate) deadline: Duration,
    /// True if each call encodes the push for itself. Otherwise all calls share the encoded bytes.
    pub(crate) compresses: bool,
}

type Reply = (usize, Result<PushResponse, Status>);

impl Writer<'_> {
    /// Sends all groups. Returns the refused spans once each group has its quorum, or else the error that keeps them
    /// from being stored.
    pub(crate) async fn write(
        self,
        export: &Export,
        mut reservation: Reservation,
        held_bytes: u64,
    ) -> Result<Vec<Refusal>, Status> {
        let groups = export.groups.iter().map(|group| (group.set, group.spans));
        let mut votes = Votes::new(self.placement, groups);
        // Slices keep the whole request in memory until the last call that uses one ends.
        let pinned = Arc::new(reservation.split(held_bytes));
        let has_replicas = self.placement.has_replicas();
        let suspects = self.suspects();
        let is_suspect = |at: u32| suspects.get(at as usize).is_some_and(|is_suspect| *is_suspect);
        let started = Instant::now();
        let late = sleep_until(started + self.hedging_delay);
        let deadline = sleep_until(started + self.deadline);
        tokio::pin!(late, deadline);
        let mut is_late = false;
        let mut replies = Calls::default();
        let mut pushes = Pushes { export, reservation, compresses: self.compresses, last: None };
        let mut sends = votes.first_sends();
        let first = sends.len();
        if has_replicas && suspects.contains(&true) {
            sends.append(&mut votes.stand_ins(is_suspect, is_suspect));
        }
        self.metrics.hedged_pushes.inc_by((sends.len() - first) as u64);
        loop {
            for send in sends.drain(..) {
                let push = pushes.of(&send.groups);
                let held = (push.held, Arc::clone(&pinned));
                replies.0.push(self.start(&send, push.request, push.bytes, held));
            }
            if let Some(status) = votes.failure() {
                return Err(status);
            }
            if votes.is_quorum() && (is_late || votes.is_settled()) {
                return Ok(votes.refusals());
            }
            tokio::select! {
                Some((call, reply)) = replies.0.next() => {
                    let moves = reply.as_ref().is_err_and(|s| has_replicas || was_not_stored(s));
                    let replaces = reply.as_ref().is_err_and(|s| !is_unfit(s));
                    votes.replied(call, reply);
                    if moves && replaces {
                        sends = votes.stand_ins(|_| is_late && has_replicas, is_suspect);
                        self.metrics.hedged_pushes.inc_by(sends.len() as u64);
                    }
                }
                () = &mut late, if !is_late => {
                    is_late = true;
                    // Without origins, a span that two ingesters store would count twice.
                    if has_replicas && !votes.is_quorum() {
                        sends = votes.stand_ins(|_| true, is_suspect);
                        self.metrics.hedged_pushes.inc_by(sends.len() as u64);
                    }
                }
                () = &mut deadline => {
                    return Err(Status::unavailable("ingesters did not answer in time"));
                }
            }
        }
    }

    /// For each instance of the placement: whether its calls failed or were late several times in a row. Empty if no
    /// ingester is suspect.
    fn suspects(self) -> Vec<bool> {
        if !self.peers.has_suspects() {
            return Vec::new();
        }
        let is_suspect =
            |instance: &Arc<Instance>| self.peers.of(instance, self.metrics).is_suspect();
        self.placement.instances().iter().map(is_suspect).collect()
    }

    fn start(
        self,
        send: &Send,
        push: Request<PushRequest>,
        bytes: u64,
        held: impl std::marker::Send + 'static,
    ) -> BoxFuture<'static, Reply> {
        let instance = self.placement.instance(send.instance);
        let peer = self.peers.of(instance, self.metrics);
        let push = self.peers.start(peer, instance, push, bytes, held);
        let call = send.call;
        Box::pin(async move { (call, push.await) })
    }
}

/// Calls that have started. They run to their end whether or not somebody waits for them.
#[derive(Default)]
struct Calls(FuturesUnordered<BoxFuture<'static, Reply>>);

impl Drop for Calls {
    fn drop(&mut self) {
        if let (false, Ok(runtime)) = (self.0.is_empty(), Handle::try_current()) {
            let rest = std::mem::take(&mut self.0).for_each(|_| ready(()));
            runtime.spawn(rest.in_current_span());
        }
    }
}

/// The pushes of an export. Replicas with the same groups share one, which is encoded once.
struct Pushes<'a> {
    export: &'a Export,
    reservation: Reservation,
    compresses: bool,
    /// The push encoded last. The pushes of a replica set follow each other, so that one is enough.
    last: Option<Encoded>,
}

/// A push, and the memory that it takes once encoded.
struct Encoded {
    groups: Vec<usize>,
    push: Shared<PushRequest>,
    bytes: u64,
    held: Arc<Reservation>,
}

/// A push for one call.
struct ForCall {
    request: Request<PushRequest>,
    /// Bytes of this call without the shared, encoded push.
    bytes: u64,
    /// The memory of the call, and that of the encoded push.
    held: (Reservation, Arc<Reservation>),
}

impl Pushes<'_> {
    fn of(&mut self, groups: &[usize]) -> ForCall {
        let known = self.last.take().filter(|last| last.groups == groups && !self.compresses);
        let encoded = known.unwrap_or_else(|| {
            let bytes = groups.iter().map(|group| self.export.groups[*group].bytes()).sum();
            Encoded {
                groups: groups.to_vec(),
                push: Shared::new(self.export.push_of(groups.iter().copied())),
                bytes,
                held: Arc::new(self.reservation.split(bytes)),
            }
        });
        let call = self.reservation.split(CALL_BYTES);
        let held = (call, Arc::clone(&encoded.held));
        let (request, bytes) = (encoded.push.request(), encoded.bytes + CALL_BYTES);
        self.last = Some(encoded);
        ForCall { request, bytes, held }
    }
}

/// True if the answer says that nothing of the push was stored. After a timeout all of it may have been. The last three come
/// from another program, or another cluster's, that got the address of an ingester which died.
fn was_not_stored(status: &Status) -> bool {
    matches!(
        status.code(),
        Code::Unavailable
            | Code::ResourceExhausted
            | Code::FailedPrecondition
            | Code::Unimplemented
            | Code::Unauthenticated
            | Code::PermissionDenied
    )
}
