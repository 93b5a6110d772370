use super::*;
use parking_lot::Mutex;
use tactus_model::wire::put_message_field;
use tactus_proto::tactus::v1 as proto;
use tonic::{Request, Response, Status};

/// An ingester that records pushes and answers as told.
#[derive(Default)]
struct Recorder {
    pushes: Mutex<Vec<proto::PushRequest>>,
    answer: Mutex<Option<Status>>,
    refusals: Vec<proto::Refusal>,
}

#[async_trait]
impl Ingester for Recorder {
    async fn push(
        &self,
        request: Request<proto::PushRequest>,
    ) -> Result<Response<proto::PushResponse>, Status> {
        self.pushes.lock().push(request.into_inner());
        match self.answer.lock().take() {
            Some(status) => Err(status),
            None => Ok(Response::new(proto::PushResponse { refusals: self.refusals.clone() })),
        }
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
}

fn export(spans: &[(&[u8], &[u8])]) -> Bytes {
    let (mut scope_spans, mut resource_spans, mut request) = (vec![], vec![], vec![]);
    for (trace_id, span_id) in spans {
        let mut span = Vec::new();
        put_message_field(&mut span, 1, trace_id);
        put_message_field(&mut span, 2, span_id);
        put_message_field(&mut scope_spans, 2, &span);
    }
    put_message_field(&mut resource_spans, 1, b"");
    put_message_field(&mut resource_spans, 2, &scope_spans);
    put_message_field(&mut request, 1, &resource_spans);
    request.into()
}

async fn push(
    recorder: Recorder,
    settings: Settings,
    request: Bytes,
) -> (Result<PushOutcome, PushError>, Vec<proto::PushRequest>) {
    let recorder = Arc::new(recorder);
    let ingester: Arc<dyn Ingester> = Arc::<Recorder>::clone(&recorder);
    let distributor = Distributor::new(settings, ingester, &Registry::new());
    let result = distributor.push(TenantId::single(), request).await;
    let pushes = std::mem::take(&mut *recorder.pushes.lock());
    (result, pushes)
}

const GOOD: (&[u8], &[u8]) = (&[1; 16], &[2; 8]);

#[tokio::test]
async fn valid_request_goes_on_without_a_copy() {
    let request = export(&[GOOD]);
    let (result, pushes) = push(Recorder::default(), Settings::default(), request.clone()).await;
    assert_eq!(result.unwrap().accepted_spans, 1);
    let run = &pushes[0].runs[0].scope_spans;
    assert!(request.as_ptr_range().contains(&run.as_ptr()));
}

#[tokio::test]
async fn bad_ids_cost_their_own_spans_only() {
    let request = export(&[(&[1; 8], &[2; 8]), GOOD, (&[1; 16], &[0; 8]), (&[0; 16], &[2; 8])]);
    let (result, pushes) = push(Recorder::default(), Settings::default(), request).await;
    let outcome = result.unwrap();
    assert_eq!((outcome.accepted_spans, outcome.rejected_spans), (1, 3));
    assert!(outcome.message.contains("received 64 bits"), "{}", outcome.message);
    assert_eq!(export_spans(&pushes[0]), 1);
}

fn export_spans(push: &proto::PushRequest) -> usize {
    let mut reader = tactus_model::wire::Reader::new(&push.runs[0].scope_spans);
    std::iter::from_fn(|| reader.next_field().unwrap()).count()
}

#[tokio::test]
async fn request_without_a_valid_span_is_refused() {
    let (result, pushes) =
        push(Recorder::default(), Settings::default(), export(&[(&[1; 15], &[2; 8])])).await;
    assert!(matches!(result, Err(PushError::Invalid(text)) if text.contains("received 120 bits")));
    assert!(pushes.is_empty());
}

#[tokio::test]
async fn empty_request_succeeds_and_garbage_does_not() {
    let (result, _) = push(Recorder::default(), Settings::default(), Bytes::new()).await;
    assert_eq!(result, Ok(PushOutcome::default()));
    let garbage = Bytes::from_static(b"\x0a\xff\xff");
    let (result, _) = push(Recorder::default(), Settings::default(), garbage).await;
    assert!(matches!(result, Err(PushError::Malformed(_))));
}

#[tokio::test]
async fn rate_limit_refuses_with_a_retry_hint() {
    let settings = Settings { rate_limit_bytes: 1, burst_size_bytes: 40, ..Settings::default() };
    let request = export(&[GOOD]);
    let recorder = Arc::new(Recorder::default());
    let distributor = Distributor::new(settings, recorder, &Registry::new());
    assert!(distributor.push(TenantId::single(), request.clone()).await.is_ok());
    let refused = distributor.push(TenantId::single(), request).await;
    assert!(
        matches!(refused, Err(PushError::RateLimited { retry_after, .. }) if retry_after == settings.retry_after)
    );
}

#[tokio::test]
async fn request_without_spans_is_not_limited() {
    let settings = Settings { rate_limit_bytes: 1, burst_size_bytes: 1, ..Settings::default() };
    let request = Bytes::from(b"\x0a\x00".repeat(1_000));
    let (result, pushes) = push(Recorder::default(), settings, request).await;
    assert_eq!(result, Ok(PushOutcome::default()));
    assert!(pushes.is_empty());
}

#[tokio::test]
async fn rate_limit_comes_before_what_is_wrong_with_the_spans() {
    let settings = Settings { rate_limit_bytes: 1, burst_size_bytes: 1, ..Settings::default() };
    let request = export(&[(&[1; 15], &[2; 8])]);
    let (result, _) = push(Recorder::default(), settings, request).await;
    assert!(matches!(result, Err(PushError::TooLarge(_))));
}

#[tokio::test]
async fn resources_and_runs_without_a_valid_span_are_left_out() {
    let (bad, good) = (export(&[(&[1; 15], &[2; 8])]), export(&[GOOD]));
    let request = [b"\x0a\x00", &bad[..], b"\x0a\x02\x12\x00", &good[..]].concat();
    let (result, pushes) = push(Recorder::default(), Settings::default(), request.into()).await;
    assert_eq!(result.unwrap().rejected_spans, 1);
    assert_eq!(pushes[0].resources.len(), 2);
    let rows: Vec<_> = pushes[0].runs.iter().map(|run| (run.resource, run.scope)).collect();
    assert_eq!(rows, [(1, 1)]);
}

#[tokio::test]
async fn refusals_of_the_ingester_reach_the_client() {
    let refusals = vec![proto::Refusal {
        reason: "trace_too_large".into(),
        spans: 1,
        message: "TRACE_TOO_LARGE".into(),
    }];
    let recorder = Recorder { refusals, ..Recorder::default() };
    let (result, _) = push(recorder, Settings::default(), export(&[GOOD, GOOD])).await;
    let outcome = result.unwrap();
    assert_eq!((outcome.accepted_spans, outcome.rejected_spans), (1, 1));
    assert_eq!(outcome.message, "TRACE_TOO_LARGE: 1 spans");
    let full = Recorder::default();
    *full.answer.lock() = Some(Status::resource_exhausted("full"));
    let (result, _) = push(full, Settings::default(), export(&[GOOD])).await;
    assert!(matches!(result, Err(PushError::RateLimited { .. })));
}
