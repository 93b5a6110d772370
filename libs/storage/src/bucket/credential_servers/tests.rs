use std::collections::VecDeque;
use std::sync::Arc;

use object_store::client::{HttpRequestBody, HttpService};

use super::*;

fn request(url: &str) -> HttpRequest {
    let mut request = HttpRequest::new(HttpRequestBody::empty());
    *request.uri_mut() = url.parse().unwrap();
    request
}

fn asked(store: &str, url: &str) -> Option<String> {
    CredentialServers::besides(store).asked_by(&request(url))
}

#[test]
fn requests_to_the_store_and_to_others_are_told_apart() {
    for (store, url) in [
        ("http://minio:9000", "http://minio:9000/traces/x"),
        ("https://MinIO:443", "https://minio/traces/x"),
        ("http://127.0.0.1:1/acme", "http://127.0.0.1:1/acme/traces/x?Action=y"),
        ("http://[::1]:1", "http://[::1]:1/x"),
        ("http://127.1:1", "http://127.1:1/x"),
        ("http://[0::1]", "http://[0::1]:80/x"),
    ] {
        assert_eq!(asked(store, url), None, "{url}");
    }
    let sts = "https://minio/?Action=AssumeRoleWithWebIdentity&RoleArn=x";
    assert_eq!(asked("https://minio", sts).unwrap(), "minio:443");
    let instance = "http://169.254.169.254/latest/api/token";
    assert_eq!(asked("https://minio", instance).unwrap(), "169.254.169.254:80");
    assert_eq!(asked("http://minio:9000", "http://minio:9001/x").unwrap(), "minio:9001");
}

/// What a server says to one question after the other: status and text, or why nothing.
type Script = VecDeque<Result<(u16, String), HttpErrorKind>>;

#[derive(Debug, Clone, Default)]
struct Giver(Arc<Mutex<Script>>);

#[async_trait::async_trait]
impl HttpService for Giver {
    async fn call(&self, _: HttpRequest) -> Result<HttpResponse, HttpError> {
        let (status, text) = match self.0.lock().pop_front().unwrap() {
            Ok(said) => said,
            Err(kind) => return Err(HttpError::new_boxed(kind, "nobody is there".into())),
        };
        let mut answer = HttpResponse::new(text.into());
        *answer.status_mut() = status.try_into().unwrap();
        Ok(answer)
    }
}

impl Giver {
    fn says(&self, said: Result<(u16, String), HttpErrorKind>) {
        self.0.lock().push_back(said);
    }

    /// Status and text of what the store's client gets.
    async fn asked(
        &self,
        servers: &CredentialServers,
        path: &str,
    ) -> Result<(u16, String), HttpErrorKind> {
        let client = HttpClient::new(self.clone());
        let request = request(&format!("http://giver{path}"));
        let answer = servers.ask("giver:80".to_owned(), &client, request).await;
        let (parts, body) = answer.map_err(|error| error.kind())?.into_parts();
        let text = String::from_utf8(body.bytes().await.unwrap().to_vec()).unwrap();
        Ok((parts.status.as_u16(), text))
    }
}

const SESSION: &str = "/latest/api/token";
const ROLE: &str = "/latest/meta-data/iam/security-credentials/";

fn credentials(seconds: i64) -> String {
    let end = Timestamp::from_second(Timestamp::now().as_second() + seconds).unwrap();
    format!(r#"{{"AccessKeyId":"a","Expiration":"{end}"}}"#)
}

#[tokio::test]
async fn credentials_that_are_still_valid_count_while_their_server_gives_none() {
    let (giver, servers) = (Giver::default(), CredentialServers::besides("http://store"));
    let first = credentials(280);
    giver.says(Ok((200, first.clone())));
    assert_eq!(giver.asked(&servers, "/creds").await, Ok((200, first.clone())));
    for said in [
        Err(HttpErrorKind::Connect),
        Err(HttpErrorKind::Interrupted),
        Ok((503, "later".to_owned())),
        Ok((403, "no".to_owned())),
        Ok((200, "<html>".to_owned())),
        Ok((200, "{}".to_owned())),
        Ok((200, "what?".to_owned())),
        Err(HttpErrorKind::Timeout),
    ] {
        giver.says(said);
        assert_eq!(giver.asked(&servers, "/creds").await, Ok((200, first.clone())));
    }
    // After the silence it is left alone for a while.
    assert_eq!(giver.asked(&servers, "/creds").await, Ok((200, first)));

    let servers = CredentialServers::besides("http://store");
    giver.says(Ok((200, credentials(-1))));
    giver.asked(&servers, "/creds").await.unwrap();
    giver.says(Err(HttpErrorKind::Connect));
    assert_eq!(giver.asked(&servers, "/creds").await, Err(HttpErrorKind::Connect));
}

#[tokio::test]
async fn role_of_an_instance_counts_while_its_metadata_is_away() {
    let (giver, servers) = (Giver::default(), CredentialServers::besides("http://store"));
    let document = credentials(280);
    let paths = [SESSION, ROLE, "/latest/meta-data/iam/security-credentials/reader"];
    let answers = ["session", "reader", document.as_str()].map(str::to_owned);
    for (path, text) in paths.iter().zip(&answers) {
        giver.says(Ok((200, text.clone())));
        assert_eq!(giver.asked(&servers, path).await, Ok((200, text.clone())));
    }
    for (path, (status, text)) in paths.iter().zip([(403, ""), (200, "reader"), (200, &*document)])
    {
        giver.says(Err(HttpErrorKind::Connect));
        assert_eq!(giver.asked(&servers, path).await, Ok((status, text.to_owned())));
    }
}

#[tokio::test]
async fn instance_without_sessions_is_asked_without_one() {
    for said in
        [Err(HttpErrorKind::Timeout), Ok((404, "what?".to_owned())), Ok((403, String::new()))]
    {
        let (giver, servers) = (Giver::default(), CredentialServers::besides("http://store"));
        giver.says(said);
        assert_eq!(giver.asked(&servers, SESSION).await, Ok((403, String::new())));
        giver.says(Ok((200, "reader".to_owned())));
        assert_eq!(giver.asked(&servers, ROLE).await, Ok((200, "reader".to_owned())));
    }
    // What may pass is asked for again.
    let (giver, servers) = (Giver::default(), CredentialServers::besides("http://store"));
    giver.says(Ok((503, "later".to_owned())));
    assert_eq!(giver.asked(&servers, SESSION).await, Err(HttpErrorKind::Interrupted));
}

#[test]
fn server_that_refuses_is_left_alone_only_after_a_while() {
    let (mut server, start) = (Server::default(), Instant::now());
    let mut is_paused_after = |milliseconds: u64| {
        let now = start + Duration::from_millis(milliseconds);
        server.failed(Form::Document, start, now, false);
        server.is_paused(Form::Document, now) && !server.is_paused(Form::Document, now + PAUSE)
    };
    assert!(!is_paused_after(0) && !is_paused_after(4900) && is_paused_after(5000));
    assert!(server.answered(Form::Role, &Bytes::from_static(b"reader"), Timestamp::now()));
    assert!(!server.is_paused(Form::Document, start + PAUSE));
    server.failed(Form::Session, start, start, true);
    assert!(server.is_paused(Form::Session, start) && !server.is_paused(Form::Role, start));
}

#[test]
fn metadata_servers_are_told_by_their_addresses() {
    for (address, is_metadata) in [
        ("http://metadata.google.internal/computeMetadata/v1/x", true),
        ("http://169.254.169.254/latest/api/token", true),
        ("http://169.254.170.2/v2/credentials", true),
        ("http://169.254.169.254:80/metadata/identity/oauth2/token", true),
        ("http://[fd00:ec2::254]/latest/api/token", true),
        ("http://[fe80::1]/x", true),
        ("https://sts.eu-west-1.amazonaws.com/", false),
        ("https://169.254.169.254/", false),
        ("http://10.0.0.1/x", false),
        ("http://metadata.example.com/x", false),
    ] {
        assert_eq!(is_metadata_server(&address.parse().unwrap()), is_metadata, "{address}");
    }
}
