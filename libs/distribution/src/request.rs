//! Handles one request, from the receiver to the answer.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use async_trait::async_trait;
use bytes::Bytes;
use tactus_config::sections::overrides::Limits;
use tactus_drop_rules::{RuleBook, RuleSet};
use tactus_model::{
    TenantId,
    walk::{count_spans, join_parts},
    wire::WireError,
};
use tactus_proto::tactus::v1::Refusal;
use tactus_receivers::{PushError, PushOutcome, TraceSink};
use tactus_ring::Operation;
use tactus_server::bodies::NoRoom;
use tactus_work::{Line, memory::Reservation, turns::read_in_turn};
use tonic::Status;

use crate::{
    Distributor,
    failure::{BUSY_RETRY, Failure, TENANTS_ARE_TOO_MANY, malformed},
    group::{Export, Grouping},
    limit::Rate,
    push::{CheckedExport, SeenSpans},
    routes::Route,
    write::{CALL_BYTES, Writer},
};

/// Estimate: spans in columns take this many times the bytes of their request.
const COLUMN_FACTOR: u64 = 4;
/// Drop rules for larger requests run on a blocking thread.
pub(crate) const SMALL_REQUEST_BYTES: usize = 32 << 10;
/// Why spans with an invalid id are not stored, here and at ingesters.
const INVALID_SPAN_ID: &str = "invalid_span_id";
/// When more ingesters are known than the ring has plus this many, those that left are forgotten.
const SPARE_PEERS: usize = 16;

/// A request on its way.
struct Arrived<'a> {
    tenant: &'a TenantId,
    limits: Arc<Limits>,
    bytes: Bytes,
    /// Whether metrics generators are to make series of the spans.
    counts: bool,
}

impl Arrived<'_> {
    /// Runs `read`, which reads the request once, when the tenant has a turn.
    async fn read<T>(&self, read: impl FnOnce() -> T) -> T {
        let tenant = || Line::of(self.tenant.as_str(), &[]).tenant;
        read_in_turn(tenant, self.bytes.len(), read).await
    }

    async fn join_parts(&mut self) -> Result<(), PushError> {
        let joined = self.read(|| join_parts(&self.bytes)).await;
        self.bytes = joined.map_err(malformed)?.into();
        Ok(())
    }
}

impl Distributor {
    async fn arrive(
        &self,
        tenant: TenantId,
        request: Bytes,
        counts: bool,
    ) -> Result<PushOutcome, PushError> {
        let started = tokio::time::Instant::now();
        let limits = (self.parts.limits)(&tenant);
        if let Err(refused) = self.tenants.admit(&tenant) {
            // All such tenants wait in one line.
            let spans = read_in_turn(|| 0, request.len(), || count_spans(&request)).await;
            let spans = spans.map_err(malformed)?;
            self.metrics.discard_of_many(TENANTS_ARE_TOO_MANY, spans);
            if let Some(log) = &self.span_log {
                log.some_discarded(&tenant, TENANTS_ARE_TOO_MANY, spans);
            }
            let retry_after = self.parts.settings.retry_after();
            return Err(PushError::RateLimited { message: refused.to_string(), retry_after });
        }
        let delay = limits.ingestion.artificial_delay;
        let delay = delay.unwrap_or(self.parts.settings.section.artificial_delay).as_std();
        let arrived = Arrived { tenant: &tenant, limits, bytes: request, counts };
        let result = self.take(arrived).await;
        if !delay.is_zero() {
            tokio::time::sleep_until(started + delay).await;
        }
        result
    }

    async fn take(&self, mut request: Arrived<'_>) -> Result<PushOutcome, PushError> {
        let started = Instant::now();
        let mut rules = self.rules.as_ref().and_then(|book| Some((book, book.of(request.tenant)?)));
        let reads_spans = rules.is_some() || self.span_log.is_some();
        let route = self.routes.of(request.tenant, request.limits.ingestion.tenant_shard_size);
        let (reservation, columns) = self.reserve(&request, route.as_ref().ok(), reads_spans)?;
        let (mut is_checked, mut dropped) = (false, 0);
        let (export, seen) = loop {
            // What rules leave is walked once more.
            let is_last = rules.is_none();
            let walk = || {
                let route = route.as_deref().ok().filter(|_| is_last);
                let mut seen = SeenSpans::new(route, is_last && self.adaptive.is_some());
                let export = CheckedExport::read(&request.bytes, |span| seen.add(span))?;
                Ok::<_, WireError>((export, seen))
            };
            let (export, seen) = request.read(walk).await.map_err(malformed)?;
            if export.walk.in_parts {
                drop(seen);
                request.join_parts().await?;
                continue;
            }
            if export.received == 0 {
                return Ok(PushOutcome { accepted_spans: dropped, ..PushOutcome::default() });
            }
            if !is_checked {
                self.check(&request, &export)?;
                is_checked = true;
            }
            let Some((book, rules)) = rules.take() else { break (export, seen) };
            drop(seen);
            dropped = self.apply_rules(&mut request, &export, book, rules).await?;
        };
        let _columns = self.span_log.is_some().then_some(columns);
        let SeenSpans { traces, grouping, roots } = seen;
        self.count_usage(&request, &export);
        let accepted = export.valid();
        let invalid = export.received - accepted;
        let mut reasons = Vec::new();
        if invalid > 0 {
            let first = &export.first_problem;
            reasons.push(format!("INVALID_ID: {invalid} spans, the first: {first}"));
        }
        if accepted == 0 {
            // Rules dropped all valid spans.
            let message = reasons.join("; ");
            return Ok(PushOutcome { accepted_spans: dropped, rejected_spans: invalid, message });
        }
        let sampled = roots.map(|roots| roots.of_services(&request.bytes, &export.walk));
        let refusals = match &route {
            Ok(route) => self.write(&request, route, &export, grouping, reservation).await,
            Err(error) => Err(Failure::Ring(error.clone())),
        };
        let refusals = refusals.map_err(|failure| self.failed(&request, accepted, failure))?;
        self.metrics.pushed(traces.estimate(), started.elapsed());
        let has_bad_ids_only = refusals.iter().all(|refusal| refusal.reason == INVALID_SPAN_ID);
        let refused = self.count_refused(&request, refusals, accepted, &mut reasons);
        if refused == accepted && has_bad_ids_only && dropped == 0 {
            // Ids of parents and links, which ingesters check. Nothing is left, as if all ids of spans were invalid.
            return Err(PushError::Invalid(reasons.join("; ")));
        }
        self.offer_copies(&request, export, invalid > 0);
        if let (Some(adaptive), Some(sampled)) = (&self.adaptive, sampled)
            && !sampled.is_empty()
            && refused < accepted
        {
            adaptive.count(request.tenant, &sampled);
        }
        Ok(PushOutcome {
            accepted_spans: accepted - refused + dropped,
            rejected_spans: invalid + refused,
            message: reasons.join("; "),
        })
    }

    /// Reserves memory for a request until it is answered: for its bytes and copies and, if `reads_spans`, for its
    /// spans as columns. Errors: not enough memory is left.
    fn reserve(
        &self,
        request: &Arrived<'_>,
        route: Option<&Arc<Route>>,
        reads_spans: bool,
    ) -> Result<(Reservation, Reservation), PushError> {
        let size = request.bytes.len() as u64;
        let columns = if reads_spans { size.saturating_mul(COLUMN_FACTOR) } else { 0 };
        let (calls, copies) = self.calls_and_copies(route);
        let wanted = size.saturating_mul(1 + copies).saturating_add(CALL_BYTES * (1 + calls));
        let Some(mut reservation) = self.budget.reserve(wanted.saturating_add(columns)) else {
            self.metrics.overload_refusals.inc();
            let message = format!("{NoRoom} (limit: distributor.max_inflight_bytes)");
            return Err(PushError::Unavailable { message, retry_after: BUSY_RETRY });
        };
        let columns = reservation.split(columns);
        Ok((reservation, columns))
    }

    /// Offers copies of a stored request to forwarders and metrics generators, without waiting.
    fn offer_copies(&self, request: &Arrived<'_>, export: CheckedExport, has_invalid: bool) {
        if let Some(forwarders) = &self.forwarders {
            forwarders.offer(request.tenant, &request.bytes, has_invalid);
        }
        if let Some(generators) = &self.generators {
            generators.offer(request.tenant, export, request.counts);
        }
    }

    /// Counts spans that were valid here but that ingesters refused, and adds the reasons to `reasons`.
    fn count_refused(
        &self,
        request: &Arrived<'_>,
        refusals: Vec<Refusal>,
        accepted: u64,
        reasons: &mut Vec<String>,
    ) -> u64 {
        let mut refused = 0;
        for refusal in refusals {
            let spans = refusal.spans.min(accepted - refused);
            self.discard_some(request, &refusal.reason, spans, accepted);
            // What this process finds by itself was told apart above.
            let more = match refusal.reason.as_str() {
                INVALID_SPAN_ID => ": a parent's id must have 8 bytes, ids of a link 16 and 8",
                _ => "",
            };
            reasons.push(format!("{}: {spans} spans{more}", refusal.message));
            refused += spans;
        }
        refused
    }

    /// Replaces a checked request by what the rules leave of it. Returns the spans that they dropped.
    async fn apply_rules(
        &self,
        request: &mut Arrived<'_>,
        export: &CheckedExport,
        book: &RuleBook,
        rules: Arc<RuleSet>,
    ) -> Result<u64, PushError> {
        let (bytes, set) = (request.bytes.clone(), Arc::clone(&rules));
        let applied = if bytes.len() <= SMALL_REQUEST_BYTES {
            set.apply(&bytes)
        } else {
            tokio::task::spawn_blocking(move || set.apply(&bytes))
                .await
                .map_err(|error| PushError::Internal(error.to_string()))?
        };
        let applied = applied.map_err(malformed)?;
        book.count(request.tenant, &rules, &applied);
        self.discard_some(request, "drop_rule", applied.dropped, export.valid());
        request.bytes = applied.request;
        Ok(applied.dropped)
    }

    /// How many calls a request needs if all goes well, and how often its spans are encoded for them.
    fn calls_and_copies(&self, route: Option<&Arc<Route>>) -> (u64, u64) {
        let Some(placement) = route.map(|route| &route.placement) else { return (0, 0) };
        let replicas = placement.replication_factor() as u64;
        match (placement.has_replicas(), placement.only_set()) {
            // All replicas get the same push, so it is encoded once.
            (true, Some(_)) if !self.parts.settings.compresses_pushes => (replicas, 1),
            (true, _) => (replicas, replicas),
            (false, Some(_)) => (0, 0),
            (false, None) => (1, 1),
        }
    }

    /// Rate and ids, and the counts of both.
    fn check(&self, request: &Arrived<'_>, export: &CheckedExport) -> Result<(), PushError> {
        let (tenant, size) = (request.tenant, request.bytes.len() as u64);
        self.metrics.arrived(tenant, size);
        if let Err(limit) = self.limiter.take(tenant, size, self.rate(&request.limits)) {
            self.discard_some(request, "rate_limited", export.received, export.received);
            let message = limit.message(tenant, size);
            let retry_after = match limit.is_never_met(size) {
                true => Duration::ZERO,
                false => self.retry_after(&request.limits),
            };
            return Err(PushError::RateLimited { message, retry_after });
        }
        self.metrics.received(tenant, export.received, size);
        if let Some(log) = &self.span_log {
            log.received(tenant, &request.bytes);
        }
        self.discard_some(request, "invalid_trace_id", export.bad_trace_ids, export.received);
        self.discard_some(request, INVALID_SPAN_ID, export.bad_span_ids, export.received);
        if export.valid() == 0 {
            return Err(PushError::Invalid(export.first_problem.clone()));
        }
        Ok(())
    }

    /// Counts and logs that `spans` of `all` spans of a request are not stored.
    fn discard_some(&self, request: &Arrived<'_>, reason: &str, spans: u64, all: u64) {
        self.metrics.discard(request.tenant, reason, spans);
        match &self.span_log {
            Some(log) if spans == all => log.discarded(request.tenant, &request.bytes, reason),
            Some(log) => log.some_discarded(request.tenant, reason, spans),
            None => {}
        }
    }

    fn rate(&self, limits: &Limits) -> Rate {
        let limits = &limits.ingestion;
        let (rate, burst) = (limits.rate_limit_bytes, limits.burst_size_bytes);
        match &self.parts.distributors {
            Some(ring) if limits.rate_strategy == "global" => {
                let view = ring.view();
                let healthy = view.healthy_count(Operation::Write);
                Rate::global(rate, burst, healthy, view.instances().len())
            }
            _ => Rate::local(rate, burst),
        }
    }

    fn retry_after(&self, limits: &Limits) -> Duration {
        match limits.ingestion.retry_info_enabled {
            true => self.parts.settings.retry_after(),
            false => Duration::ZERO,
        }
    }

    fn count_usage(&self, request: &Arrived<'_>, export: &CheckedExport) {
        if let Some(usage) = &self.usage {
            let limits = &request.limits.cost_attribution;
            usage.observe(request.tenant, limits, &request.bytes, &export.walk);
        }
    }

    /// Sends the valid spans. Returns the refused ones once each trace has its quorum.
    async fn write(
        &self,
        request: &Arrived<'_>,
        route: &Route,
        export: &CheckedExport,
        grouping: Option<Grouping<'_>>,
        reservation: Reservation,
    ) -> Result<Vec<Refusal>, Failure> {
        let (placement, tenant) = (&*route.placement, request.tenant);
        let members = self.parts.ingesters.view();
        if self.peers.len() > members.instances().len() + SPARE_PEERS {
            self.peers.retain(members.instances(), &self.metrics);
        }
        let unusable = |set: usize| placement.sets()[set].error.clone();
        let export = if let Some(grouping) = grouping {
            if let Some(error) = grouping.sets().find_map(unusable) {
                return Err(Failure::Ring(error));
            }
            if u32::try_from(request.bytes.len()).is_err() {
                return Err(Failure::Status(Status::invalid_argument("request of 4 GiB or more")));
            }
            let origin_of = |set| route.next_origin(set);
            grouping.finish(tenant.as_str(), &request.bytes, &export.walk, origin_of)
        } else {
            if let Some(error) = unusable(0) {
                return Err(Failure::Ring(error));
            }
            let spans = export.valid();
            let push = export.push_for(tenant).map_err(Failure::Malformed)?;
            if let ([only], false) = (&*placement.sets()[0].instances, placement.has_replicas()) {
                let instance = placement.instance(*only);
                let peer = self.peers.of(instance, &self.metrics);
                let response = self.peers.push(&peer, instance, push).await;
                return Ok(response.map_err(Failure::Status)?.refusals);
            }
            Export::whole(push, 0, spans, route.next_origin(0))
        };
        let settings = &self.parts.settings;
        let hedging_delay = settings.late_after();
        let writer = Writer {
            peers: &self.peers,
            metrics: &self.metrics,
            placement,
            hedging_delay,
            deadline: settings.remote_timeout + hedging_delay,
            compresses: settings.compresses_pushes,
        };
        let size = request.bytes.len() as u64 + CALL_BYTES;
        writer.write(&export, reservation, size).await.map_err(Failure::Status)
    }

    /// Counts spans that were not stored. Returns what to tell the client.
    fn failed(&self, request: &Arrived<'_>, spans: u64, failure: Failure) -> PushError {
        let (reason, error) = failure.told(self.parts.settings.retry_after());
        match reason {
            TENANTS_ARE_TOO_MANY => self.metrics.discard_of_many(reason, spans),
            _ => self.discard_some(request, reason, spans, spans),
        }
        error
    }
}

#[async_trait]
impl TraceSink for Distributor {
    async fn push(&self, tenant: TenantId, request: Bytes) -> Result<PushOutcome, PushError> {
        self.arrive(tenant, request, true).await
    }

    async fn push_uncounted(
        &self,
        tenant: TenantId,
        request: Bytes,
    ) -> Result<PushOutcome, PushError> {
        self.arrive(tenant, request, false).await
    }
}
