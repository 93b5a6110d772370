//! Streams over a connection.

use tactus_proto::tempopb::streaming_querier_client::StreamingQuerierClient;
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::Code;
use tonic::transport::{Channel, Server};

use super::*;
use crate::streaming_service;

async fn connect(api: &Api) -> StreamingQuerierClient<Channel> {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let service = streaming_service(Arc::clone(&api.frontend));
    let server = Server::builder().add_service(service);
    tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
    StreamingQuerierClient::connect(format!("http://{address}")).await.unwrap()
}

/// A search of these tenants.
fn search_of(tenants: &str) -> tonic::Request<SearchRequest> {
    let mut request = tonic::Request::new(search("{}"));
    request.metadata_mut().insert("x-scope-orgid", tenants.parse().unwrap());
    request
}

#[tokio::test]
async fn search_is_streamed_with_its_trailers() {
    let api = Api::new(Setup { blocks: &[V4, V5], ..Setup::default() }).await;
    let mut client = connect(&api).await;
    let mut stream = client.search(search("{ status = error }")).await.unwrap().into_inner();
    // On a busy machine it also says how far it is.
    let mut names = Vec::new();
    while let Some(message) = stream.message().await.unwrap() {
        names.extend(message.traces.into_iter().map(|trace| trace.root_trace_name));
    }
    names.dedup();
    assert_eq!(names, ["GET /api"]);
    let trailers = stream.trailers().await.unwrap();
    assert!(trailers.is_none_or(|trailers| !trailers.contains_key("x-tactus-partial")));
    let api = Api::new(Setup { blocks: &[V4, V5], ..Setup::default() }).await;
    api.cut_data(V4);
    let mut client = connect(&api).await;
    let mut stream = client.search(search("{ status = ok }")).await.unwrap().into_inner();
    let mut messages = 0;
    while stream.message().await.unwrap().is_some() {
        messages += 1;
    }
    assert!(messages > 0);
    let trailers = stream.trailers().await.unwrap().unwrap();
    assert_eq!(trailers.get("x-tactus-partial").unwrap(), "true");
}

#[tokio::test]
async fn tenants_are_taken_from_the_metadata() {
    let tenancy = Tenancy::by_header(true);
    let api = Api::new(Setup { blocks: &[], tenancy, ..Setup::default() }).await;
    let mut client = connect(&api).await;
    let missing = client.search(search("{}")).await.unwrap_err();
    assert_eq!((missing.code(), missing.message()), (Code::Unauthenticated, "no org id"));
    let wrong = client.search(search_of("a/b")).await.unwrap_err();
    assert_eq!(
        (wrong.code(), wrong.message()),
        (Code::InvalidArgument, "tenant ID 'a/b' contains unsupported character '/'")
    );
    let mut stream = client.search(search_of("b|a|b")).await.unwrap().into_inner();
    let answer = stream.message().await.unwrap().unwrap();
    assert_eq!(answer.metrics.unwrap().total_jobs, 2);
    let tenants: Vec<_> =
        api.recent.searches.lock().iter().map(|search| search.tenant.clone()).collect();
    assert_eq!(tenants, ["a", "b"]);

    let tenancy = Tenancy::by_header(false);
    let api = Api::new(Setup { blocks: &[], tenancy, ..Setup::default() }).await;
    let several = connect(&api).await.search(search_of("a|b")).await.unwrap_err();
    assert_eq!(
        (several.code(), several.message()),
        (Code::InvalidArgument, "multiple org IDs present")
    );
}

#[tokio::test]
async fn client_that_leaves_ends_its_jobs() {
    let blocks = Blocks::new(eager()).await;
    for number in 0..9 {
        blocks.add(number, (0, 100));
    }
    let mut client = connect(&blocks.api).await;
    blocks.querier.calls.hang(true);
    let mut stream = client.search(search("{}")).await.unwrap().into_inner();
    // The difference after recent data.
    assert!(stream.message().await.unwrap().is_some());
    while blocks.querier.calls.running() == 0 {
        tokio::task::yield_now().await;
    }
    drop(stream);
    while blocks.querier.calls.running() > 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

#[tokio::test]
async fn question_may_be_as_long_as_its_query_but_not_much_longer() {
    let ask = async |longest: usize, bytes: usize| {
        let mut settings = Settings::default();
        settings.section.max_query_expression_size_bytes = longest;
        let api = Api::new(Setup { blocks: &[], settings, ..Setup::default() }).await;
        let query = format!("{{ name = \"{}\" }}", "x".repeat(bytes));
        connect(&api).await.search(search(&query)).await.map(|_| ())
    };
    for (longest, limit) in [(131_072, 1_048_576), (1_000_000, 2_000_000)] {
        ask(longest, longest - 100).await.unwrap();
        let error = ask(longest, limit).await.unwrap_err();
        assert_eq!(error.code(), Code::OutOfRange);
        assert!(error.message().contains(&format!("{limit} bytes")), "{}", error.message());
    }
}

#[tokio::test]
async fn requests_and_answers_are_bounded() {
    let settings =
        Settings { max_request_bytes: 1_000, max_message_bytes: 1_000, ..Settings::default() };
    let api = Api::new(Setup { blocks: &[], settings, ..Setup::default() }).await;
    let mut client = connect(&api).await;
    let query = format!("{{ name = \"{}\" }}", "x".repeat(2_000));
    let error = client.search(search(&query)).await.unwrap_err();
    assert_eq!(error.code(), Code::OutOfRange);
    let mut large = trace(1, 5);
    large.root_trace_name = "x".repeat(2_000);
    *api.recent.traces.lock() = vec![large];
    let mut stream = client.search(search("{}")).await.unwrap().into_inner();
    assert_eq!(stream.message().await.unwrap_err().code(), Code::OutOfRange);
}
