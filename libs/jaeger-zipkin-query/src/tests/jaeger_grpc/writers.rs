//! What a Jaeger in front writes.

use parking_lot::Mutex;
use prost::Message as _;
use tactus_model::TenantId;
use tactus_proto::jaeger::storage::v1;
use tactus_proto::jaeger::storage::v1::archive_span_reader_plugin_client::ArchiveSpanReaderPluginClient;
use tactus_proto::jaeger::storage::v1::archive_span_writer_plugin_client::ArchiveSpanWriterPluginClient;
use tactus_proto::jaeger::storage::v1::plugin_capabilities_client::PluginCapabilitiesClient;
use tactus_proto::jaeger::storage::v1::span_writer_plugin_client::SpanWriterPluginClient;
use tactus_proto::jaeger::storage::v1::streaming_span_writer_plugin_client::StreamingSpanWriterPluginClient;
use tactus_proto::otlp::trace_service_client::TraceServiceClient;
use tactus_proto::otlp::{
    ExportTraceServiceRequest, ExportTraceServiceResponse, ResourceSpans, ScopeSpans, Span,
};
use tonic::codec::CompressionEncoding;

use super::*;

/// Tenant and spans of each write.
type Written = Arc<Mutex<Vec<(String, Vec<Span>)>>>;

/// Where spans go. `refused`: and what clients are told.
fn writer(refused: Option<Status>) -> (WriteSpans, Written) {
    let written = Written::default();
    let into = Arc::clone(&written);
    let write: WriteSpans = Arc::new(move |tenant: TenantId, request| {
        let (into, refused) = (Arc::clone(&into), refused.clone());
        Box::pin(async move {
            let request = ExportTraceServiceRequest::decode(request).unwrap();
            let scopes = request.resource_spans.into_iter().flat_map(|spans| spans.scope_spans);
            let spans = scopes.flat_map(|scope| scope.spans).collect();
            into.lock().push((tenant.to_string(), spans));
            refused.map_or_else(|| Ok(ExportTraceServiceResponse::default()), Err)
        })
    });
    (write, written)
}

async fn connect_to(api: &Api, write: Option<WriteSpans>) -> Channel {
    let address = serve(api, write).await;
    Channel::from_shared(format!("http://{address}")).unwrap().connect().await.unwrap()
}

async fn api() -> Api {
    Api::new(Setup { blocks: &[], ..Setup::default() }).await
}

fn span(number: u8) -> v1::WriteSpanRequest {
    let process =
        api_v2::Process { service_name: Bytes::from_static(b"svc"), ..Default::default() };
    let span = api_v2::Span {
        trace_id: Bytes::from_static(&[1; 16]),
        span_id: Bytes::copy_from_slice(&[number; 8]),
        operation_name: Bytes::from_static(b"op"),
        start_time: at(1_700_000_000),
        process: Some(process),
        ..Default::default()
    };
    v1::WriteSpanRequest { span: Some(span) }
}

fn export(name: &'static str) -> ExportTraceServiceRequest {
    let span = Span { name: Bytes::from_static(name.as_bytes()), ..Default::default() };
    let scope = ScopeSpans { spans: vec![span], ..Default::default() };
    ExportTraceServiceRequest {
        resource_spans: vec![ResourceSpans { scope_spans: vec![scope], ..Default::default() }],
    }
}

#[tokio::test]
async fn spans_of_the_first_generation_are_written_as_otlp() {
    let (write, written) = writer(None);
    let channel = connect_to(&api().await, Some(write)).await;
    let mut client = SpanWriterPluginClient::new(channel.clone());
    client.write_span(span(1)).await.unwrap();
    client.close(v1::CloseWriterRequest {}).await.unwrap();
    let one = written.lock().pop().unwrap();
    assert_eq!((one.0.as_str(), one.1.len()), ("single-tenant", 1));
    assert_eq!((&one.1[0].name[..], &one.1[0].span_id[..]), (&b"op"[..], &[1; 8][..]));
    let mut client = StreamingSpanWriterPluginClient::new(channel.clone());
    let spans: Vec<_> = (0..1_300).map(|number| span((number % 255 + 1) as u8)).collect();
    client.write_span_stream(tokio_stream::iter(spans)).await.unwrap();
    let counts: Vec<_> = written.lock().iter().map(|(_, spans)| spans.len()).collect();
    assert_eq!(counts, [512, 512, 276]);
    let (sender, receiver) = tokio::sync::mpsc::channel(1);
    written.lock().clear();
    let stream = tokio_stream::wrappers::ReceiverStream::new(receiver);
    let open = tokio::spawn(async move { client.write_span_stream(stream).await });
    sender.send(span(1)).await.unwrap();
    // Although the stream stays open.
    while written.lock().is_empty() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    drop(sender);
    open.await.unwrap().unwrap();
    let mut wrong = span(1);
    wrong.span.as_mut().unwrap().trace_id = Bytes::from_static(b"x");
    written.lock().clear();
    let mut client = StreamingSpanWriterPluginClient::new(channel.clone());
    let spans = tokio_stream::iter([span(1), span(2), wrong.clone(), span(3)]);
    let refused = client.write_span_stream(spans).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
    assert_eq!(written.lock()[0].1.len(), 2, "those before are stored");
    let refused = SpanWriterPluginClient::new(channel).write_span(wrong).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
}

#[tokio::test]
async fn export_is_handed_on_as_it_came() {
    let (write, written) = writer(None);
    let channel = connect_to(&api().await, Some(write)).await;
    let mut client = TraceServiceClient::new(channel).send_compressed(CompressionEncoding::Gzip);
    client.export(export("op")).await.unwrap();
    assert_eq!(&written.lock()[0].1[0].name[..], b"op");
    client.export(ExportTraceServiceRequest::default()).await.unwrap();
    assert_eq!(written.lock().len(), 1);
}

#[tokio::test]
async fn refusal_of_a_write_reaches_the_client() {
    let (write, _) = writer(Some(Status::resource_exhausted("RATE_LIMITED: x")));
    let channel = connect_to(&api().await, Some(write)).await;
    let expected = (Code::ResourceExhausted, "RATE_LIMITED: x".to_owned());
    let refused = TraceServiceClient::new(channel.clone()).export(export("op")).await;
    assert_eq!(refusal(refused.unwrap_err()), expected);
    let refused = SpanWriterPluginClient::new(channel).write_span(span(1)).await;
    assert_eq!(refusal(refused.unwrap_err()), expected);
}

#[tokio::test]
async fn tenant_of_a_write_must_be_named() {
    let (write, written) = writer(None);
    let setup = Setup { tenancy: Tenancy::by_header(true), blocks: &[], ..Setup::default() };
    let channel = connect_to(&Api::new(setup).await, Some(write)).await;
    let mut client = TraceServiceClient::new(channel);
    let missing = client.export(export("op")).await.unwrap_err();
    assert_eq!(refusal(missing), (Code::Unauthenticated, "no org id".to_owned()));
    let of = |tenant: &str| {
        let mut request = tonic::Request::new(export("op"));
        request.metadata_mut().insert("x-scope-orgid", tenant.parse().unwrap());
        request
    };
    let several = client.export(of("a|b")).await.unwrap_err();
    assert_eq!(several.code(), Code::InvalidArgument);
    client.export(of("a")).await.unwrap();
    assert_eq!(written.lock()[0].0, "a");
}

#[tokio::test]
async fn process_that_stores_no_spans_says_who_does() {
    let channel = connect_to(&api().await, None).await;
    let exported = TraceServiceClient::new(channel.clone()).export(export("op")).await;
    let written = SpanWriterPluginClient::new(channel.clone()).write_span(span(1)).await;
    let streamed = StreamingSpanWriterPluginClient::new(channel.clone())
        .write_span_stream(tokio_stream::iter(vec![span(1)]))
        .await;
    let statuses =
        [exported.unwrap_err(), written.unwrap_err(), streamed.unwrap_err()].map(refusal);
    for (code, text) in statuses {
        assert!(code == Code::Unimplemented && text.contains("OTLP"), "{text}");
    }
    let mut client = PluginCapabilitiesClient::new(channel);
    let found = client.capabilities(v1::CapabilitiesRequest {}).await.unwrap().into_inner();
    assert!(!found.streaming_span_writer && !found.archive_span_reader);
}

#[tokio::test]
async fn there_is_no_archive() {
    let channel = connect_to(&api().await, Some(writer(None).0)).await;
    let mut client = ArchiveSpanReaderPluginClient::new(channel.clone());
    let request = v1::GetTraceRequest { trace_id: sample_id(), ..Default::default() };
    let read = client.get_archive_trace(request).await.unwrap_err();
    let mut client = ArchiveSpanWriterPluginClient::new(channel.clone());
    let written = client.write_archive_span(span(1)).await.unwrap_err();
    assert_eq!((read.code(), written.code()), (Code::Unimplemented, Code::Unimplemented));
    let mut client = PluginCapabilitiesClient::new(channel);
    let found = client.capabilities(v1::CapabilitiesRequest {}).await.unwrap().into_inner();
    assert!(found.streaming_span_writer && !found.archive_span_writer);
}
