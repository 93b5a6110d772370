//! Spans taken and refused, per receiver and transport.

use tactus_model::walk::count_spans;
use tactus_telemetry::metrics::{Counter, CounterVec};
use tactus_work::turns::read_in_turn;

use crate::sink::{PushError, PushOutcome};

tactus_telemetry::metrics! {
    /// `tempo_receiver_accepted_spans` and `tempo_receiver_refused_spans`, no `_total` by tradition, and
    /// the packets that were dropped.
    #[derive(Clone)]
    pub struct ReceiverMetrics {
        accepted: CounterVec<2> = "tempo_receiver_accepted_spans", "Spans that a receiver took and passed on.", ["receiver", "transport"];
        refused: CounterVec<2> = "tempo_receiver_refused_spans",
            "Spans that a receiver took and could not pass on.", ["receiver", "transport"];
        dropped_packets: CounterVec<3> = "tactus_receiver_dropped_packets_total",
            "UDP packets whose spans were lost; the sender is not told.", ["receiver", "transport", "reason"];
    }
}

impl ReceiverMetrics {
    /// The counters of one receiver: its type, as `otlp`, and its transport, as `grpc`.
    pub(crate) fn of(&self, receiver: &str, transport: &str) -> SpanCounters {
        let labels = [&*full_name(receiver), transport];
        SpanCounters { accepted: self.accepted.with(labels), refused: self.refused.with(labels) }
    }

    /// The counters of dropped packets of one receiver; all reasons are there from the start.
    pub(crate) fn dropped_packets(&self, receiver: &str, transport: &str) -> DroppedPackets {
        let receiver = full_name(receiver);
        DroppedPackets(DropReason::ALL.map(|reason| {
            (reason, self.dropped_packets.with([&receiver, transport, reason.label()]))
        }))
    }
}

tactus_model::words! {
    /// Why a packet was dropped: the label `reason`.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub(crate) enum DropReason: label {
        /// Longer than packets may be.
        Truncated = "truncated",
        /// No tenant is configured, and packets name none.
        NoTenant = "no_tenant",
        /// Workers do not keep up.
        QueueFull = "queue_full",
        /// The first byte is of no protocol.
        UnknownProtocol = "unknown_protocol",
        /// A call that is not served.
        UnknownMethod = "unknown_method",
        /// Damaged.
        Malformed = "malformed",
        /// Spans that break a rule, as an id of zero.
        Invalid = "invalid",
        /// The tenant sends too much.
        RateLimited = "rate_limited",
        /// The spans could not be stored.
        NotStored = "not_stored",
    }
}

/// The label `receiver` of a type of receivers.
fn full_name(receiver: &str) -> String {
    format!("{receiver}/{receiver}_receiver")
}

/// Dropped packets of one receiver and transport.
#[derive(Clone)]
pub(crate) struct DroppedPackets([(DropReason, Counter); DropReason::ALL.len()]);

impl DroppedPackets {
    pub(crate) fn count(&self, reason: DropReason) {
        if let Some((_, counter)) = self.0.iter().find(|(known, _)| *known == reason) {
            counter.inc();
        }
    }
}

/// The counters of one receiver and transport.
#[derive(Clone)]
pub(crate) struct SpanCounters {
    accepted: Counter,
    refused: Counter,
}

impl SpanCounters {
    /// Counts the spans of a request that the sink answered. Spans of a request that cannot be
    /// decoded count nowhere; those of a failed one are counted here, off the hot path.
    /// `tenant`: as in [`Line`](tactus_work::Line).
    pub(crate) async fn count(
        &self,
        result: &Result<PushOutcome, PushError>,
        request: &[u8],
        tenant: impl FnOnce() -> u64,
    ) {
        match result {
            Ok(outcome) => {
                self.accepted.inc_by(outcome.accepted_spans);
                self.refused.inc_by(outcome.rejected_spans);
            }
            Err(PushError::Malformed(_)) => {}
            Err(_) => {
                self.refuse(request, tenant).await;
            }
        }
    }

    /// Counts the spans of a request that is refused. Returns false if it can be read and holds none: it succeeds then,
    /// whoever sends it.
    pub(crate) async fn refuse(&self, request: &[u8], tenant: impl FnOnce() -> u64) -> bool {
        let spans = read_in_turn(tenant, request.len(), || count_spans(request)).await;
        self.refused.inc_by(*spans.as_ref().unwrap_or(&0));
        spans != Ok(0)
    }
}
