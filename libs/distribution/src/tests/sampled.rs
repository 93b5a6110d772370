//! Which spans are counted for adaptive sampling.

use bytes::Bytes;
use tactus_config::sections::sampling::AdaptiveSampling;
use tactus_model::TenantId;
use tactus_model::wire::{put_bytes_field, put_message_field};
use tactus_receivers::TraceSink;
use tactus_sampling::{Adaptive, Metrics};
use tactus_storage::{Bucket, BucketSettings};
use tonic::Code;

use super::doubles::{Behaviour, Cluster};

/// A distributor that counts, and what keeps its bucket.
fn counting() -> (tempfile::TempDir, Cluster) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().to_owned();
    let bucket = Bucket::open(&BucketSettings::Local { path }).unwrap();
    let cluster = Cluster::new(1, 1);
    let metrics = Metrics::new(&cluster.registry);
    let adaptive = Adaptive::new(AdaptiveSampling::default(), "a", bucket, metrics);
    let Cluster { doubles, ring, distributor, registry, limits } = cluster;
    let distributor = distributor.with_adaptive_sampling(Some(adaptive));
    (folder, Cluster { doubles, ring, distributor, registry, limits })
}

fn attribute(key: &str, value: &str) -> Vec<u8> {
    let (mut of_value, mut attribute) = (vec![], vec![]);
    put_bytes_field(&mut of_value, 1, value.as_bytes());
    put_bytes_field(&mut attribute, 1, key.as_bytes());
    put_message_field(&mut attribute, 2, &of_value);
    attribute
}

/// So many sampled root spans, the first of which has no valid id.
fn request(spans: u8) -> Bytes {
    let (mut scope_spans, mut resource, mut resource_spans, mut request) =
        (vec![], vec![], vec![], vec![]);
    for number in 0..spans {
        let mut span = Vec::new();
        put_bytes_field(&mut span, 1, &[number; 16]);
        put_bytes_field(&mut span, 2, &[1; 8]);
        put_bytes_field(&mut span, 5, b"op");
        put_message_field(&mut span, 9, &attribute("sampler.type", "probabilistic"));
        put_message_field(&mut span, 9, &attribute("sampler.param", "0.001"));
        put_message_field(&mut scope_spans, 2, &span);
    }
    put_message_field(&mut resource, 1, &attribute("service.name", "svc"));
    put_message_field(&mut resource_spans, 1, &resource);
    put_message_field(&mut resource_spans, 2, &scope_spans);
    put_message_field(&mut request, 1, &resource_spans);
    request.into()
}

#[tokio::test]
async fn only_spans_that_are_stored_count() {
    let (_folder, cluster) = counting();
    let counted = || cluster.metric("tactus_sampling_counted_spans_total");
    let push = || cluster.distributor.push(TenantId::single(), request(4));
    push().await.unwrap();
    assert_eq!(counted(), 3.0);
    cluster.doubles[0].behaves(Behaviour::Fail(Code::Unavailable));
    push().await.unwrap_err();
    cluster.doubles[0].behaves(Behaviour::Refuse("live_traces_exceeded", 3));
    push().await.unwrap();
    assert_eq!(counted(), 3.0);
    cluster.doubles[0].behaves(Behaviour::Refuse("live_traces_exceeded", 1));
    push().await.unwrap();
    assert_eq!(counted(), 6.0);
}
