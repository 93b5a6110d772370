//! Ingesters that do as they are told, and a distributor in front of them.

use std::{
    future::pending,
    sync::{Arc, atomic::AtomicUsize},
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::Mutex;
use tactus_config::sections::overrides::{IngestionLimits, Limits};
use tactus_model::wire::{messages, put_message_field};
use tactus_proto::tactus::v1::{self as proto, ingester_server::Ingester};
use tactus_ring::{Instance, Ring, RingSettings};
use tactus_telemetry::metrics::Registry;
use tonic::{Code, Request, Response, Status};

use crate::{Distributor, Parts, Settings};

/// What a double does with a push.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Behaviour {
    Store,
    Fail(Code),
    Hang,
    StoreAfter(Duration),
    /// Stores the push but for so many spans, with this reason.
    Refuse(&'static str, u64),
}

/// An ingester that records what it is sent.
pub(crate) struct Double {
    pub(crate) pushes: Mutex<Vec<proto::PushRequest>>,
    pub(crate) behaviour: Mutex<Behaviour>,
    pub(crate) calls: AtomicUsize,
}

impl Default for Double {
    fn default() -> Self {
        Self {
            pushes: Mutex::default(),
            behaviour: Mutex::new(Behaviour::Store),
            calls: AtomicUsize::new(0),
        }
    }
}

impl Double {
    pub(crate) fn behaves(&self, behaviour: Behaviour) {
        *self.behaviour.lock() = behaviour;
    }

    pub(crate) fn calls(&self) -> usize {
        self.calls.load(std::sync::atomic::Ordering::Relaxed)
    }
}

#[async_trait]
impl Ingester for Double {
    async fn push(
        &self,
        request: Request<proto::PushRequest>,
    ) -> Result<Response<proto::PushResponse>, Status> {
        self.calls.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let mut response = proto::PushResponse::default();
        let behaviour = self.behaviour.lock().clone();
        match behaviour {
            Behaviour::Store => {}
            Behaviour::Fail(code) => return Err(Status::new(code, format!("double: {code:?}"))),
            Behaviour::Hang => pending().await,
            Behaviour::StoreAfter(delay) => tokio::time::sleep(delay).await,
            Behaviour::Refuse(reason, spans) => response.refusals.push(proto::Refusal {
                reason: reason.to_owned(),
                spans,
                message: reason.to_uppercase(),
            }),
        }
        self.pushes.lock().push(request.into_inner());
        Ok(Response::new(response))
    }

    async fn find_trace(
        &self,
        _: Request<proto::FindTraceRequest>,
    ) -> Result<Response<proto::FindTraceResponse>, Status> {
        Err(Status::unimplemented("not part of this test"))
    }

    async fn search(
        &self,
        _: Request<proto::SearchRequest>,
    ) -> Result<Response<proto::SearchResponse>, Status> {
        Err(Status::unimplemented("not part of this test"))
    }

    async fn tags(
        &self,
        _: Request<proto::TagsRequest>,
    ) -> Result<Response<proto::TagsResponse>, Status> {
        Err(Status::unimplemented("not part of this test"))
    }

    async fn tag_values(
        &self,
        _: Request<proto::TagValuesRequest>,
    ) -> Result<Response<proto::TagValuesResponse>, Status> {
        Err(Status::unimplemented("not part of this test"))
    }

    async fn metrics(
        &self,
        _: Request<proto::MetricsRequest>,
    ) -> Result<Response<proto::MetricsResponse>, Status> {
        Err(Status::unimplemented("not part of this test"))
    }

    async fn holdings(
        &self,
        _: Request<proto::HoldingsRequest>,
    ) -> Result<Response<proto::HoldingsResponse>, Status> {
        Err(Status::unimplemented("not part of this test"))
    }
}

/// Doubles in a ring, and a distributor.
pub(crate) struct Cluster {
    pub(crate) doubles: Vec<Arc<Double>>,
    pub(crate) ring: Arc<Ring>,
    pub(crate) distributor: Distributor,
    pub(crate) registry: Registry,
    pub(crate) limits: Arc<Mutex<Limits>>,
}

/// Limits with a rate, in bytes a second, and a burst.
pub(crate) fn rate_limits(rate_limit_bytes: u64, burst_size_bytes: u64) -> Limits {
    let built_in = Limits::built_in();
    let ingestion =
        IngestionLimits { rate_limit_bytes, burst_size_bytes, ..built_in.ingestion.clone() };
    Limits { ingestion, ..built_in }
}

/// An instance whose tokens follow from its number, spread evenly.
pub(crate) fn instance(number: usize) -> Instance {
    let mut state = 0x9e37_79b9_7f4a_7c15u64.wrapping_mul(number as u64 + 1);
    let token = |_| {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 32) as u32
    };
    let tokens: Vec<u32> = (0..32).map(token).collect();
    Instance::active(&format!("ingester-{number}"), &number.to_string(), tokens)
}

impl Cluster {
    pub(crate) fn new(ingesters: usize, replication_factor: usize) -> Self {
        Self::with(Settings::default(), ingesters, replication_factor)
    }

    pub(crate) fn with(settings: Settings, ingesters: usize, replication_factor: usize) -> Self {
        let ring_settings = RingSettings { replication_factor, ..RingSettings::new("ingester") };
        let ring = Ring::fixed(ring_settings, (0..ingesters).map(instance).collect());
        Self::over(settings, ring, ingesters)
    }

    pub(crate) fn over(settings: Settings, ring: Arc<Ring>, ingesters: usize) -> Self {
        let doubles: Vec<Arc<Double>> = (0..ingesters).map(|_| Arc::default()).collect();
        let limits = Arc::new(Mutex::new(Limits::built_in()));
        let (of_tenants, reached) = (Arc::clone(&limits), doubles.clone());
        let registry = Registry::new();
        let parts = Parts {
            settings,
            limits: Arc::new(move |_| Arc::new(of_tenants.lock().clone())),
            ingesters: Arc::clone(&ring),
            ingester_of: Arc::new(move |instance| {
                let number: usize = instance.address.parse().unwrap();
                Arc::<Double>::clone(&reached[number])
            }),
            distributors: None,
        };
        let distributor = Distributor::new(parts, &registry);
        Self { doubles, ring, distributor, registry, limits }
    }

    /// The value of a metric, 0 if it is not there.
    pub(crate) fn metric(&self, series: &str) -> f64 {
        let text = self.registry.encode();
        let line = text.lines().find(|line| line.rsplit_once(' ').is_some_and(|l| l.0 == series));
        line.and_then(|line| line.rsplit_once(' ')).map_or(0.0, |(_, value)| value.parse().unwrap())
    }

    pub(crate) fn calls(&self) -> Vec<usize> {
        self.doubles.iter().map(|double| double.calls()).collect()
    }

    /// Waits until calls that go on in the background had their chance.
    pub(crate) async fn settle(&self) {
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
    }
}

pub(crate) fn span(trace_id: &[u8], span_id: &[u8]) -> Vec<u8> {
    let mut span = Vec::new();
    put_message_field(&mut span, 1, trace_id);
    put_message_field(&mut span, 2, span_id);
    span
}

/// A request of one resource and one scope.
pub(crate) fn export(spans: &[(&[u8], &[u8])]) -> Bytes {
    let (mut scope_spans, mut resource_spans, mut request) = (vec![], vec![], vec![]);
    for (trace_id, span_id) in spans {
        put_message_field(&mut scope_spans, 2, &span(trace_id, span_id));
    }
    put_message_field(&mut resource_spans, 1, b"");
    put_message_field(&mut resource_spans, 2, &scope_spans);
    put_message_field(&mut request, 1, &resource_spans);
    request.into()
}

/// As [`export`], with a resource in two parts.
pub(crate) fn in_parts(spans: &[(&[u8], &[u8])], first: &[u8], second: &[u8]) -> Bytes {
    let whole = export(spans);
    let (mut resource_spans, mut request) = (vec![], vec![]);
    put_message_field(&mut resource_spans, 1, first);
    resource_spans.extend_from_slice(messages(&whole, 1).next().unwrap().unwrap());
    put_message_field(&mut resource_spans, 1, second);
    put_message_field(&mut request, 1, &resource_spans);
    request.into()
}

pub(crate) const GOOD: (&[u8], &[u8]) = (&[1; 16], &[2; 8]);

/// Span ids of a push, in order.
pub(crate) fn span_ids(push: &proto::PushRequest) -> Vec<u64> {
    let mut ids = Vec::new();
    for run in &push.runs {
        let mut reader = tactus_model::wire::Reader::new(&run.scope_spans);
        while let Some((field, value)) = reader.next_field().unwrap() {
            if field == 2 {
                let (_, id) = tactus_model::walk::span_ids(value.bytes(2).unwrap()).unwrap();
                ids.push(u64::from_be_bytes(id.try_into().unwrap()));
            }
        }
    }
    ids
}
