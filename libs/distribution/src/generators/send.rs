//! Sends one request to the generators that its traces belong to.

use std::{sync::Arc, time::Duration};

use futures_util::future::join_all;
use parking_lot::Mutex;
use tactus_model::TenantId;
use tactus_overrides::LimitsOf;
use tactus_proto::tactus::v1::{GenerateRequest, PushRequest};
use tactus_ring::{Instance, Ring, RingView};
use tactus_rpc::GeneratorOf;
use tactus_telemetry::log_limited;
use tactus_work::{Line, turns::read_in_turn};
use tokio::time::timeout;
use tonic::{Request, Status};

use super::{GeneratorParts, Job, Metrics};
use crate::{group::Grouping, push::CheckedExport, routes::Routes};

/// How long a request may take, whatever the timeout of a single push is.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// Sends requests of all tenants.
pub(super) struct Sender {
    ring: Arc<Ring>,
    routes: Routes,
    generator_of: GeneratorOf,
    limits_of: LimitsOf,
    remote_timeout: Duration,
    metrics: Metrics,
    /// The ring as the metrics know it.
    noted: Mutex<Option<Arc<RingView>>>,
}

impl Sender {
    pub(super) fn new(parts: &GeneratorParts, metrics: Metrics) -> Self {
        Self {
            ring: Arc::clone(&parts.ring),
            // A generator that is not healthy is skipped, because no other one has its traces.
            routes: Routes::new(Arc::clone(&parts.ring), true),
            generator_of: Arc::clone(&parts.generator_of),
            limits_of: Arc::clone(&parts.limits_of),
            remote_timeout: parts.remote_timeout,
            metrics,
            noted: Mutex::default(),
        }
    }

    /// Sends a stored request. The part that a generator did not take is lost.
    pub(super) async fn send(self: Arc<Self>, tenant: TenantId, job: Job) {
        let Job { export, skip, held } = job;
        let sent = self.metrics.queues.sent.with([tenant.as_str()]);
        let failed = self.metrics.queues.failed.with([tenant.as_str()]);
        let sending = async {
            let line = || Line::of(tenant.as_str(), &[]).tenant;
            let divide = || self.pushes(&tenant, &export);
            let pushes = read_in_turn(line, export.request().len(), divide).await?;
            drop(export);
            let calls = pushes.into_iter().map(|(instance, push)| {
                self.push(instance, GenerateRequest { spans: Some(push), skip })
            });
            join_all(calls).await.into_iter().collect::<Result<(), Status>>()
        };
        let result = timeout(REQUEST_TIMEOUT, sending).await;
        match result.unwrap_or_else(|_| Err(Status::deadline_exceeded("no answer in time"))) {
            Ok(()) => sent.inc(),
            Err(status) => {
                failed.inc();
                let (code, error, tenant) = (status.code(), status.message(), tenant.as_str());
                log_limited!(
                    warn,
                    tenant,
                    ?code,
                    error,
                    "failed to forward request to metrics generator"
                );
            }
        }
        drop(held);
    }

    /// The part of each generator: slices of the request, or copies where traces of several generators are mixed.
    fn pushes(
        &self,
        tenant: &TenantId,
        export: &CheckedExport,
    ) -> Result<Vec<(Arc<Instance>, PushRequest)>, Status> {
        let no_generator = |error: tactus_ring::RingError| Status::unavailable(error.to_string());
        let shard = (self.limits_of)(tenant).metrics_generator.ring_size;
        self.note_generators();
        let route = self.routes.of(tenant, shard).map_err(no_generator)?;
        let placement = &*route.placement;
        let malformed = |error: tactus_model::wire::WireError| Status::internal(error.to_string());
        let instance_of = |set: usize| {
            let set = &placement.sets()[set];
            match (&set.error, set.instances.first()) {
                (None, Some(index)) => Ok(Arc::clone(placement.instance(*index))),
                (error, _) => Err(error.clone().map_or_else(
                    || Status::unavailable("no healthy metrics generator"),
                    no_generator,
                )),
            }
        };
        let request = export.request();
        if placement.only_set().is_some() || u32::try_from(request.len()).is_err() {
            return Ok(vec![(instance_of(0)?, export.push_for(tenant).map_err(malformed)?)]);
        }
        // The spans are walked again, because this ring assigns them differently than that of the ingesters.
        let mut grouping = Grouping::new(placement, route.tokens);
        let export = CheckedExport::read(request, |span| grouping.add(span)).map_err(malformed)?;
        let grouped = grouping.finish(tenant.as_str(), request, &export.walk, |_| 0);
        let push = |(at, group): (usize, &crate::group::Group)| {
            Ok((instance_of(group.set)?, grouped.push_of(std::iter::once(at))))
        };
        grouped.groups.iter().enumerate().map(push).collect()
    }

    async fn push(&self, instance: Arc<Instance>, push: GenerateRequest) -> Result<(), Status> {
        let generator = (self.generator_of)(&instance);
        let mut request = Request::new(push);
        request.set_timeout(self.remote_timeout);
        let call = timeout(self.remote_timeout, generator.generate(request)).await;
        let result = call.unwrap_or_else(|_| Err(Status::deadline_exceeded("no answer in time")));
        self.metrics.pushed(&instance.address, result.is_ok());
        result.map(drop)
    }

    fn note_generators(&self) {
        let view = self.ring.view();
        let mut noted = self.noted.lock();
        if noted.as_ref().is_some_and(|noted| Arc::ptr_eq(noted, &view)) {
            return;
        }
        self.metrics.clients.set(view.instances().len() as f64);
        self.metrics.keep_generators(|address| {
            view.instances().iter().any(|instance| &*instance.address == address)
        });
        *noted = Some(view);
    }
}
