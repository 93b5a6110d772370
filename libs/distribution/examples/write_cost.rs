//! Processor time of a million spans on their way through a distributor: walk, grouping by replicas, encoding of the
//! pushes; by the number of ingesters and copies. `cargo run --release -p tactus-distribution --example write_cost`.
#![allow(clippy::print_stdout, reason = "prints its result")]

use std::{fs, sync::Arc};

use bytes::Bytes;
use prost::Message;
use tactus_config::sections::overrides::Limits;
use tactus_distribution::{Distributor, Parts, Settings};
use tactus_model::{TenantId, wire::put_bytes_field, wire::put_message_field};
use tactus_proto::tactus::v1::{self as proto, ingester_server::Ingester};
use tactus_receivers::TraceSink;
use tactus_ring::{Instance, Ring, RingSettings};
use tactus_telemetry::metrics::Registry;
use tonic::{Request, Response, Status};

const SPANS_A_REQUEST: u64 = 2_000;
const REQUESTS: u64 = 500;

/// Encodes what it is sent, as a client of a remote ingester does, or leaves it.
struct Encoder {
    encodes: bool,
}

macro_rules! ingester {
    ($($method:ident: $request:ident -> $response:ident;)*) => {
        #[async_trait::async_trait]
        impl Ingester for Encoder {
            async fn push(
                &self,
                request: Request<proto::PushRequest>,
            ) -> Result<Response<proto::PushResponse>, Status> {
                if self.encodes {
                    std::hint::black_box(request.into_inner().encode_to_vec());
                }
                Ok(Response::new(proto::PushResponse::default()))
            }

            $(async fn $method(
                &self,
                _: Request<proto::$request>,
            ) -> Result<Response<proto::$response>, Status> {
                Err(Status::unimplemented("not part of the measurement"))
            })*
        }
    };
}

ingester! {
    find_trace: FindTraceRequest -> FindTraceResponse;
    search: SearchRequest -> SearchResponse;
    tags: TagsRequest -> TagsResponse;
    tag_values: TagValuesRequest -> TagValuesResponse;
    metrics: MetricsRequest -> MetricsResponse;
    holdings: HoldingsRequest -> HoldingsResponse;
}

/// A request of ten resources; spans of a trace follow each other by `together`. A span has about 600 bytes.
fn request(together: u64) -> Bytes {
    let (mut request, mut span_number) = (Vec::new(), 0u64);
    for resource in 0..10 {
        let mut scope_spans = Vec::new();
        for _ in 0..SPANS_A_REQUEST / 10 {
            let trace = (span_number / together).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            let mut span = Vec::new();
            put_message_field(&mut span, 1, &(u128::from(trace) << 64 | 1).to_be_bytes());
            put_message_field(&mut span, 2, &(span_number + 1).to_be_bytes());
            put_bytes_field(&mut span, 5, b"GET /api/v1/orders/{id}");
            for attribute in 0..10 {
                put_bytes_field(&mut span, 9, &[attribute; 50]);
            }
            put_message_field(&mut scope_spans, 2, &span);
            span_number += 1;
        }
        let mut resource_spans = Vec::new();
        put_message_field(&mut resource_spans, 1, &[resource; 300]);
        put_message_field(&mut resource_spans, 2, &scope_spans);
        put_message_field(&mut request, 1, &resource_spans);
    }
    request.into()
}

fn member(number: u64) -> Instance {
    let token = |n: u64| ((number * 128 + n + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32) as u32;
    let tokens: Vec<u32> = (0..128).map(token).collect();
    Instance::active(&number.to_string(), &number.to_string(), tokens)
}

fn distributor(ingesters: u64, replication_factor: usize, encodes: bool) -> Distributor {
    let ring = RingSettings { replication_factor, ..RingSettings::new("ingester") };
    let mut limits = Limits::built_in();
    limits.ingestion.rate_limit_bytes = 0;
    let limits = Arc::new(limits);
    let parts = Parts {
        settings: Settings::default(),
        limits: Arc::new(move |_| Arc::clone(&limits)),
        ingesters: Ring::fixed(ring, (0..ingesters).map(member).collect()),
        ingester_of: Arc::new(move |_| Arc::new(Encoder { encodes })),
        distributors: None,
    };
    Distributor::new(parts, &Registry::new())
}

/// Processor time of this thread in nanoseconds.
fn processor_nanos() -> u64 {
    let text = fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    text.split(' ').next().and_then(|nanos| nanos.parse().ok()).unwrap_or(0)
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    println!("milliseconds of processor time for a million spans, {SPANS_A_REQUEST} a request");
    for (ingesters, replication_factor) in [(1, 1), (3, 3), (9, 3)] {
        for together in [1, 10] {
            for encodes in [false, true] {
                let distributor = distributor(ingesters, replication_factor, encodes);
                let request = request(together);
                let start = processor_nanos();
                for _ in 0..REQUESTS {
                    let pushed = distributor.push(TenantId::single(), request.clone()).await;
                    assert!(pushed.is_ok(), "{pushed:?}");
                    tokio::task::yield_now().await;
                }
                let nanos = processor_nanos() - start;
                let spans = (REQUESTS * SPANS_A_REQUEST) as f64;
                println!(
                    "N={ingesters} RF={replication_factor}, {together} spans of a trace together, {}: {:.0} ms \
                     ({} MB a million spans)",
                    if encodes { "with encoding" } else { "without encoding" },
                    nanos as f64 / spans,
                    (request.len() as u64 * REQUESTS) >> 20,
                );
            }
        }
    }
}
