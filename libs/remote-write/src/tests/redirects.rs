//! Receivers that answer with a redirect.

use axum::Router;
use axum::routing::{any, post};
use http::HeaderMap;
use tactus_config::Secret;
use tactus_config::sections::remote_write::BasicAuth;
use tokio::net::TcpListener;

use super::connections::{last, secure};
use super::receiver::{Receiver, Then};
use super::*;
use crate::answer::{Answer, judge};
use crate::client::Client;
use crate::wire::Protocol;

/// A server at `/write` that sends there with such a status, and answers yes at `/elsewhere` to whatever comes.
async fn redirecting(status: u16, location: String) -> String {
    let status = StatusCode::from_u16(status).unwrap();
    let redirect = move || {
        let elsewhere = [("location", location.clone())];
        async move { (status, elsewhere) }
    };
    let router =
        Router::new().route("/write", post(redirect)).route("/elsewhere", any(|| async { "yes" }));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/write", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await });
    url
}

/// How the answer to an empty request is judged; or why there is none.
async fn judged(change: impl FnOnce(&mut Config)) -> Result<Answer, String> {
    let mut config = Config::default();
    change(&mut config);
    let client = Client::new(&config).unwrap();
    let answered = client.send(HeaderMap::new(), bytes::Bytes::new()).await;
    Ok(judge(answered.map_err(|error| error.to_string())?, Protocol::V1, true).await)
}

#[tokio::test(flavor = "multi_thread")]
async fn redirect_that_drops_the_samples_is_a_refusal_and_one_that_keeps_them_is_followed() {
    for (status, failed) in [(301, 1), (302, 1), (303, 1), (307, 0), (308, 0)] {
        let url = redirecting(status, "/elsewhere".to_owned()).await;
        let receiver = Receiver::start().await;
        let change = |config: &mut Config| config.url = url;
        let process = Process::start(tempfile::tempdir().unwrap(), quick(change, &receiver));
        process.collect(1_000, 1);
        process.flush().await;
        let text = process.registry.encode();
        let line = text
            .lines()
            .find(|line| line.starts_with("prometheus_remote_storage_samples_failed_total{"));
        let count = line.and_then(|line| line.rsplit(' ').next()).map(str::to_owned);
        assert_eq!(count.as_deref(), Some(&*failed.to_string()), "{status}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn another_port_of_the_host_gets_the_samples_with_the_credentials() {
    let receiver = Receiver::start().await;
    // What an address of a redirect says of credentials is not used.
    let location = receiver.url().replace("http://", "http://other:name@");
    let url = redirecting(307, location).await;
    let change = |config: &mut Config| {
        config.url = url;
        config.basic_auth = Some(BasicAuth {
            username: "user".to_owned(),
            password: Secret::new("secret"),
            ..BasicAuth::default()
        });
    };
    let process = Process::start(tempfile::tempdir().unwrap(), quick(change, &receiver));
    process.collect(1_000, 1);
    process.flush().await;
    assert_eq!(receiver.samples("calls_0_total"), [(1_000, 1_000.0)]);
    let sent = last(&receiver, "authorization");
    assert_eq!(sent.as_deref(), Some("Basic dXNlcjpzZWNyZXQ="));
    assert_eq!(last(&receiver, "x-scope-orgid").as_deref(), Some("team-a"));
    let host = receiver.url().replace("http://", "").replace("/write", "");
    assert_eq!(last(&receiver, "host"), Some(host));
}

#[tokio::test(flavor = "multi_thread")]
async fn another_host_gets_no_credentials_and_its_refusal_says_so() {
    let receiver = Receiver::start().await;
    let elsewhere = receiver.url().replace("127.0.0.1", "localhost");
    let url = redirecting(308, elsewhere).await;
    for (status, note) in [
        (StatusCode::UNAUTHORIZED, true),
        (StatusCode::FORBIDDEN, true),
        (StatusCode::BAD_REQUEST, false),
    ] {
        receiver.set(Then::Status(status));
        for token in ["abc", ""] {
            let change = |config: &mut Config| {
                config.url = url.clone();
                config.bearer_token = Secret::new(token);
            };
            let note = match note && !token.is_empty() {
                true => " (a redirect led to another host, to which credentials are not sent)",
                false => "",
            };
            let expected = format!("server returned HTTP status {status}{note}: no");
            assert_eq!(judged(change).await, Ok(Answer::Refused(expected)));
            assert_eq!(last(&receiver, "authorization"), None);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn redirects_have_an_end_and_lead_to_http_only() {
    let circle = redirecting(307, "/write".to_owned()).await;
    let answer = judged(|config| config.url = circle.clone()).await;
    assert_eq!(answer, Err("too many redirects".to_owned()));
    let other = redirecting(307, "ftp://127.0.0.1/write".to_owned()).await;
    let answer = judged(|config| config.url = other).await;
    assert_eq!(answer, Err("a redirect leads to an address that is not HTTP".to_owned()));
    let answer = judged(|config| {
        config.url = circle;
        config.follow_redirects = false;
    });
    let refused = "server returned HTTP status 307 Temporary Redirect: ".to_owned();
    assert_eq!(answer.await, Ok(Answer::Refused(refused)));
}

#[tokio::test(flavor = "multi_thread")]
async fn redirect_from_http_to_https_is_followed_with_the_configured_authority() {
    let (receiver, _, authority) = secure("127.0.0.1").await;
    let url = redirecting(308, receiver.url()).await;
    let change = |config: &mut Config| {
        config.url = url.clone();
        config.tls_config.ca = authority;
        config.bearer_token = Secret::new("abc");
    };
    let process = Process::start(tempfile::tempdir().unwrap(), quick(change, &receiver));
    process.collect(1_000, 1);
    process.flush().await;
    assert_eq!(receiver.samples("calls_0_total"), [(1_000, 1_000.0)]);
    assert_eq!(last(&receiver, "authorization").as_deref(), Some("Bearer abc"));
    let untrusted = judged(|config| config.url = url).await;
    assert!(untrusted.is_err(), "{untrusted:?}");
    assert_eq!(receiver.requests().len(), 1);
}
