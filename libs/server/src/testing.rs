//! Helpers that the tests of this crate share.

use ::http::{HeaderMap, Request, Response};
use axum::Router;
use axum::body::Body;
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use tokio::io::AsyncReadExt as _;
use tokio::net::{TcpListener, TcpStream};
use tower::ServiceExt;

use crate::listener;

pub(crate) type HttpClient = Client<HttpConnector, Full<Bytes>>;

/// A socket on a free port of this machine.
pub(crate) async fn socket() -> TcpListener {
    listener::bind("127.0.0.1:0").await.expect("loopback has free ports")
}

pub(crate) fn client() -> HttpClient {
    Client::builder(TokioExecutor::new()).build_http()
}

/// A client that speaks HTTP/2 from the first byte.
pub(crate) fn http2_client() -> HttpClient {
    Client::builder(TokioExecutor::new()).http2_only(true).build_http()
}

pub(crate) fn get(url: &str) -> Request<Full<Bytes>> {
    Request::get(url).body(Full::default()).expect("tests use valid urls")
}

/// Status, headers and body of a response from the network.
pub(crate) async fn read(response: Response<Incoming>) -> (u16, HeaderMap, String) {
    split(response.map(Body::new)).await
}

/// Reads frames of HTTP/2 up to one of this type.
pub(crate) async fn read_until_frame(stream: &mut TcpStream, kind: u8) {
    let mut head = [0; 9];
    loop {
        stream.read_exact(&mut head).await.expect("the frame comes");
        let length = usize::from(head[1]) << 8 | usize::from(head[2]);
        stream.read_exact(&mut vec![0; length]).await.expect("the frame is whole");
        if head[3] == kind {
            return;
        }
    }
}

/// Asks a router without a network.
pub(crate) async fn ask(router: &Router, request: Request<Body>) -> (u16, HeaderMap, String) {
    split(router.clone().oneshot(request).await.unwrap_or_else(|never| match never {})).await
}

async fn split(response: Response<Body>) -> (u16, HeaderMap, String) {
    let (head, body) = response.into_parts();
    let body = body.collect().await.expect("the response arrives whole").to_bytes();
    (head.status.as_u16(), head.headers, String::from_utf8_lossy(&body).into_owned())
}
