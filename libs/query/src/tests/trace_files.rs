//! Memory and size of files with traces.

use std::convert::Infallible;
use std::io::Write as _;

use flate2::Compression;
use flate2::write::GzEncoder;
use tactus_api::Error;
use tactus_model::TenantId;

use super::*;
use crate::current_query::as_part_of_query;

async fn api(max_bytes: usize, max_inflight_bytes: u64) -> Api {
    let mut settings = Settings::default();
    settings.section.trace_files.max_bytes = max_bytes;
    settings.section.trace_files.max_inflight_bytes = max_inflight_bytes;
    Api::new(Setup { settings, blocks: &[], ..Setup::default() }).await
}

fn gzip(content: &[u8]) -> Body {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(content).unwrap();
    Body::from(encoder.finish().unwrap())
}

#[tokio::test]
async fn file_waits_for_no_memory_and_gives_its_own_back() {
    let api = api(1_000, 1_000).await;
    let budget = &api.frontend.files.all;
    let file = || Body::from(vec![b' '; 100]);
    let held = budget.reserve(300).unwrap();
    let refused = api.frontend.receive_file(file()).await.unwrap_err();
    assert_eq!((refused.http_status().as_u16(), refused), (429, Error::TooManyFiles));
    drop(held);
    for body in [file(), gzip(&[b' '; 100])] {
        let received = api.frontend.receive_file(body).await.unwrap();
        assert_eq!((received.bytes.len(), budget.used()), (100, 800));
        drop(received);
        assert_eq!(budget.used(), 0);
    }
}

#[tokio::test]
async fn file_that_becomes_too_large_is_refused() {
    let api = api(1_000, 1 << 20).await;
    for body in [Body::from(vec![0; 1_001]), gzip(&vec![0; 10 << 20])] {
        let refused = api.frontend.receive_file(body).await.unwrap_err();
        assert!(matches!(refused, Error::LimitExceeded(_)), "{refused}");
    }
    assert_eq!(api.frontend.receive_file(gzip(&[0; 1_000])).await.unwrap().bytes.len(), 1_000);
    assert_eq!(api.frontend.files.all.used(), 0);
}

#[tokio::test]
async fn file_takes_memory_as_it_arrives_and_a_tenant_leaves_some_to_others() {
    let api = api(1_000, 2_000).await;
    let budget = &api.frontend.files.all;
    let receive = |tenant: &str, body: Body| {
        let tenants = [TenantId::parse(tenant).unwrap()];
        let frontend = Arc::clone(&api.frontend);
        tokio::spawn(async move { as_part_of_query(&tenants, frontend.receive_file(body)).await })
    };
    let (mut senders, mut slow) = (Vec::new(), Vec::new());
    for bytes in [450, 450, 60] {
        let (sender, parts) = tokio::sync::mpsc::channel::<Result<Bytes, Infallible>>(1);
        sender.send(Ok(Bytes::from(vec![b' '; bytes]))).await.unwrap();
        let parts = tokio_stream::wrappers::ReceiverStream::new(parts);
        slow.push(receive("a", Body::from_stream(parts)));
        // As soon as the first part was taken.
        drop(sender.reserve().await.unwrap());
        senders.push(sender);
    }
    until_used(budget, 960).await;
    let file = || Body::from(vec![b' '; 100]);
    let refused = receive("a", file()).await.unwrap().unwrap_err();
    assert_eq!(refused, Error::TooManyFiles, "it takes 800, and a tenant may have 1750");
    assert_eq!(receive("b", file()).await.unwrap().unwrap().bytes.len(), 100);
    drop(senders.pop());
    assert_eq!(slow.pop().unwrap().await.unwrap().unwrap().bytes.len(), 60);
    for task in slow {
        task.abort();
    }
}

async fn until_used(budget: &Budget, bytes: u64) {
    while budget.used() < bytes {
        tokio::task::yield_now().await;
    }
}
