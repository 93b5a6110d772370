//! Who may send.

use ::http::header::WWW_AUTHENTICATE;
use tactus_server::auth::{AuthSettings, Authenticator, hash_password, hash_token};
use tactus_server::tenancy::Tenancy;

use super::tests::{ask, changed, post, receiver};
use super::*;
use crate::testing::{ONE_SPAN, Recorder};

const PROTOBUF: (&str, &str) = ("content-type", "application/x-protobuf");

fn settings(tenancy: Tenancy) -> (tempfile::TempDir, OtlpHttpSettings) {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("users.yaml");
    let (token, other) = (hash_token("writer-token"), hash_token("reader-token"));
    let password = hash_password("secret").unwrap();
    let users = format!(
        "users:\n- {{name: w, token_sha256: {token}, password_hash: '{password}', tenants: [a], roles: [write]}}\n\
         - {{name: r, token_sha256: {other}, tenants: '*', roles: [read]}}\n"
    );
    std::fs::write(&file, users).unwrap();
    let auth = Authenticator::load(AuthSettings::new(file, tenancy.clone())).unwrap();
    let settings = changed(|http| (http.port.tenancy, http.port.auth) = (tenancy, Some(auth)));
    (directory, settings)
}

#[tokio::test]
async fn spans_are_taken_from_writers_for_their_tenants_only() {
    let (_directory, settings) = settings(Tenancy::by_header(false));
    let sink = Recorder::accepting();
    let receiver = receiver(settings, sink.clone());
    let writer = ("authorization", "Bearer writer-token");
    let password = ("authorization", "Basic dzpzZWNyZXQ=");
    let reader = ("authorization", "Bearer reader-token");
    for (headers, status) in [
        (vec![writer], 200),
        (vec![writer, ("x-scope-orgid", "a")], 200),
        (vec![password], 200),
        (vec![writer, ("x-scope-orgid", "b")], 403),
        (vec![reader, ("x-scope-orgid", "a")], 403),
        (vec![("authorization", "Bearer wrong")], 401),
        (vec![], 401),
    ] {
        let headers = [vec![PROTOBUF], headers].concat();
        let answer = ask(&receiver, post(&headers, ONE_SPAN)).await;
        assert_eq!(answer.status, status, "{headers:?}");
        let challenged = answer.headers.contains_key(WWW_AUTHENTICATE);
        assert_eq!(challenged, status == 401);
    }
    let tenants: Vec<_> = sink.pushes.lock().iter().map(|(tenant, _)| tenant.clone()).collect();
    assert_eq!(tenants, ["a", "a", "a"]);
    // Nothing to store is no reason not to ask.
    assert_eq!(ask(&receiver, post(&[PROTOBUF], "")).await.status, 401);
}

#[tokio::test]
async fn preflight_of_a_browser_needs_no_credentials() {
    let (_directory, mut settings) = settings(Tenancy::single());
    settings.http.cors.allowed_origins = vec!["*".to_owned()];
    let receiver = receiver(settings, Recorder::accepting());
    let preflight = Request::options("/v1/traces")
        .header("origin", "https://shop")
        .header("access-control-request-method", "POST")
        .body(Full::default())
        .unwrap();
    assert_eq!(ask(&receiver, preflight).await.status, 204);
}
