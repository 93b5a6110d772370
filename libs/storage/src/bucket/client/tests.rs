use object_store::StaticCredentialProvider;
use object_store::aws::{AwsCredential, AwsCredentialProvider};
use object_store::client::{HttpRequestBody, HttpResponseBody};

use super::*;

/// Answers everything with one status.
#[derive(Debug)]
struct Answering(u16);

#[async_trait::async_trait]
impl HttpService for Answering {
    async fn call(&self, _: HttpRequest) -> Result<HttpResponse, HttpError> {
        Ok(answer(self.0))
    }
}

fn answer(status: u16) -> HttpResponse {
    let mut answer = HttpResponse::new(HttpResponseBody::from(Vec::<u8>::new()));
    *answer.status_mut() = status.try_into().unwrap();
    answer
}

fn request(method: Method, bytes: usize) -> HttpRequest {
    let mut request = HttpRequest::new(HttpRequestBody::from(vec![0; bytes]));
    *request.method_mut() = method;
    *request.uri_mut() = "http://store/traces/x".parse().unwrap();
    request
}

#[test]
fn time_of_an_upload_grows_with_its_length_and_that_of_other_requests_does_not() {
    let seconds = |bytes| upload_time(&request(Method::PUT, bytes)).unwrap().as_secs();
    assert_eq!((seconds(100), seconds(8 << 20)), (30, 30 + 128));
    for method in [Method::GET, Method::HEAD, Method::DELETE, Method::POST] {
        assert_eq!(upload_time(&request(method, 8 << 20)), None);
    }
}

fn counted(client: impl HttpService, region: Option<Arc<NamedRegion>>) -> Counted {
    Counted {
        client: HttpClient::new(client),
        uploads: HttpClient::new(Answering(201)),
        metadata: HttpClient::new(Answering(202)),
        credential_servers: CredentialServers::besides("http://store"),
        encryption: None,
        region,
    }
}

/// Refuses all requests but those that are signed for its region.
#[derive(Debug)]
struct OfRegion(&'static str);

#[async_trait::async_trait]
impl HttpService for OfRegion {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let signed = request.headers().get("authorization");
        let signed = signed.and_then(|value| value.to_str().ok()).unwrap_or_default();
        if signed.contains(&format!("/{}/s3/", self.0)) {
            return Ok(answer(200));
        }
        let text = format!(
            "<Error><Code>AuthorizationHeaderMalformed</Code><Region>{}</Region></Error>",
            self.0
        );
        let mut refusal = HttpResponse::new(HttpResponseBody::from(text));
        *refusal.status_mut() = http::StatusCode::BAD_REQUEST;
        Ok(refusal)
    }
}

#[tokio::test]
async fn region_that_the_store_names_signs_the_same_request_and_all_others() {
    let credential = AwsCredential { key_id: "a".into(), secret_key: "s".into(), token: None };
    let provider: AwsCredentialProvider = Arc::new(StaticCredentialProvider::new(credential));
    let region = Arc::new(NamedRegion::default());
    region.sign_with(&provider);
    let asked = counted(OfRegion("fr-par"), Some(region));
    for method in [Method::GET, Method::DELETE] {
        assert_eq!(asked.call(request(method, 1)).await.unwrap().status().as_u16(), 200);
    }
    // One region is configured: the refusal stays as it is.
    let answer = counted(OfRegion("fr-par"), None).call(request(Method::GET, 1)).await.unwrap();
    assert_eq!(answer.status().as_u16(), 400);
}

#[tokio::test]
async fn refusal_after_the_region_is_named_is_the_answer() {
    let region = Arc::new(NamedRegion::default());
    assert!(region.learn("<Code>InvalidRegion</Code><Region>other</Region>"));
    let credential = AwsCredential { key_id: "a".into(), secret_key: "s".into(), token: None };
    let provider: AwsCredentialProvider = Arc::new(StaticCredentialProvider::new(credential));
    region.sign_with(&provider);
    let asked = counted(OfRegion("fr-par"), Some(region));
    let answer = asked.call(request(Method::GET, 1)).await.unwrap();
    assert_eq!(answer.status().as_u16(), 400);
    let mut text = Vec::new();
    answers::read_first(answer.into_body(), 1000, &mut text).await.unwrap();
    assert!(String::from_utf8(text).unwrap().contains("fr-par"));
}

#[tokio::test]
async fn uploads_go_by_the_client_without_a_limit_of_its_own() {
    let counted = counted(Answering(200), None);
    for (method, status) in [(Method::GET, 200), (Method::PUT, 201), (Method::POST, 200)] {
        assert_eq!(counted.call(request(method, 1)).await.unwrap().status().as_u16(), status);
    }
}

#[test]
fn long_upload_that_failed_for_a_passing_reason_is_sent_once_more() {
    let failed = |kind| Err(HttpError::new_boxed(kind, "cut".into()));
    let minute = Duration::from_secs(60);
    let is_repeated_after = |took| is_repeated(&failed(HttpErrorKind::Interrupted), took);
    assert!(is_repeated_after(minute) && is_repeated_after(9 * minute));
    // The library repeats the one, and the signature of the other is too old.
    assert!(!is_repeated_after(minute / 2) && !is_repeated_after(10 * minute));
    for (status, is_passing) in [(200, false), (403, false), (412, false), (429, true), (503, true)]
    {
        assert_eq!(is_repeated(&Ok(answer(status)), minute), is_passing, "{status}");
    }
    assert!(is_repeated(&failed(HttpErrorKind::Timeout), 3 * minute));
    assert!(!is_repeated(&failed(HttpErrorKind::Decode), 3 * minute));
}

#[test]
fn writes_with_a_condition_are_told_apart() {
    for (name, value) in
        [("if-none-match", "*"), ("if-match", "\"x\""), ("x-goog-if-generation-match", "0")]
    {
        let mut put = request(Method::PUT, 1);
        assert!(!has_condition(&put));
        put.headers_mut().insert(name, HeaderValue::from_static(value));
        assert!(has_condition(&put), "{name}");
    }
}

#[test]
fn pauses_that_the_library_would_panic_on_are_made_longer() {
    let pauses = |first, longest| {
        let backoff = retry(1, GoDuration::millis(first), GoDuration::millis(longest)).backoff;
        (backoff.init_backoff.as_millis(), backoff.max_backoff.as_millis())
    };
    assert_eq!(pauses(200, 1000), (200, 1000));
    assert_eq!(pauses(3000, 1000), (3000, 3000));
    assert_eq!((pauses(0, 1000), pauses(0, 0), pauses(-5, 0)), ((1, 1000), (1, 1), (1, 1)));
}
