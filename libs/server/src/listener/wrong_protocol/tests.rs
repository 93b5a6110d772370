use http_body_util::BodyExt as _;
use hyper::service::service_fn;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio_util::sync::CancellationToken;

use super::*;
use crate::listener::{BoundListener, serve};
use crate::testing::{client, get, http2_client, read, socket};

async fn port(settings: ListenerSettings) -> BoundListener {
    let service = service_fn(|request: Request<ReceivedBody>| async move {
        request.into_body().collect().await.unwrap();
        Ok::<_, Infallible>(Response::new(Full::from("done")))
    });
    serve(socket().await, settings, service, CancellationToken::new()).unwrap()
}

fn grpc_port() -> ListenerSettings {
    let advice = Advice::of("OTLP over gRPC").with("OTLP over HTTP", Some(4318));
    ListenerSettings { protocols: Protocols::Http2, advice, ..ListenerSettings::default() }
}

fn http_port() -> ListenerSettings {
    let advice = Advice::of("OTLP over HTTP").with("OTLP over gRPC", Some(4317));
    ListenerSettings { has_grpc: false, advice, ..ListenerSettings::default() }
}

fn post(port: &BoundListener, content_type: &str) -> Request<Full<Bytes>> {
    Request::post(format!("http://{}/x", port.local_addr()))
        .header(CONTENT_TYPE, content_type)
        .body(Full::from(vec![b'a'; 200_000]))
        .unwrap()
}

#[tokio::test]
async fn http_at_a_port_for_grpc_is_told_where_to_go() {
    let port = port(grpc_port()).await;
    let text = "this port speaks OTLP over gRPC; OTLP over HTTP is on port 4318\n";
    // The body is larger than what the system holds of it.
    let answer = client().request(post(&port, "application/x-protobuf")).await.unwrap();
    let (status, headers, body) = read(answer).await;
    assert_eq!((status, body.as_str()), (400, text));
    assert_eq!(headers["connection"], "close");
    let answer = http2_client().request(post(&port, "application/x-protobuf")).await.unwrap();
    let (status, _, body) = read(answer).await;
    assert_eq!((status, body.as_str()), (415, text));
    // Those of its own are answered.
    for content_type in ["application/grpc", "application/grpc+proto"] {
        let answer = http2_client().request(post(&port, content_type)).await.unwrap();
        assert_eq!(read(answer).await.2, "done");
    }
}

#[tokio::test]
async fn grpc_at_a_port_without_it_is_told_where_to_go() {
    let without = port(http_port()).await;
    for content_type in ["application/grpc", "application/grpc+proto", "application/grpc;x=y"] {
        let answer = http2_client().request(post(&without, content_type)).await.unwrap();
        let (status, headers, body) = read(answer).await;
        assert_eq!(
            (status, body.as_str(), &headers["grpc-status"]),
            (200, "", &"12".parse().unwrap())
        );
        let status = tonic::Status::from_header_map(&headers).unwrap();
        let text = "this port speaks OTLP over HTTP; OTLP over gRPC is on port 4317";
        assert_eq!(status.message(), text);
    }
    for (client, content_type) in [
        (client(), "application/grpc"),
        (http2_client(), "application/grpc-web"),
        (http2_client(), "application/x-protobuf"),
    ] {
        let answer = client.request(post(&without, content_type)).await.unwrap();
        assert_eq!(read(answer).await.2, "done");
    }
    let with = port(ListenerSettings::default()).await;
    let answer = http2_client().request(post(&with, "application/grpc")).await.unwrap();
    assert_eq!(read(answer).await.2, "done");
}

#[tokio::test]
async fn tls_handshake_at_a_port_in_clear_gets_an_answer_in_clear() {
    // A client of Go says of it that the server gave an HTTP response to an HTTPS client.
    for settings in [grpc_port(), http_port()] {
        let port = port(settings).await;
        let mut connection = TcpStream::connect(port.local_addr()).await.unwrap();
        let hello = [&[0x16, 3, 1, 0, 200, 1, 0, 0, 196, 3, 3][..], &[7; 194]].concat();
        connection.write_all(&hello).await.unwrap();
        let mut answer = String::new();
        connection.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 400 Bad Request\r\n"), "{answer}");
    }
}

#[test]
fn advice_without_another_port_says_what_the_port_speaks() {
    let text = |settings: &ListenerSettings| Port::new(([0; 4], 1).into(), settings).text;
    let of = |protocols| ListenerSettings { protocols, ..ListenerSettings::default() };
    assert_eq!(text(&of(Protocols::Http2)), "this port speaks gRPC");
    assert_eq!(text(&of(Protocols::Both)), "this port speaks HTTP");
    let chosen_by_the_system = Advice::of("HTTP").with("gRPC", Some(0));
    assert_eq!(chosen_by_the_system, Advice::of("HTTP").with("gRPC", None));
}

#[tokio::test]
async fn get_of_http2_at_a_port_for_grpc_is_left_to_its_service() {
    let port = port(grpc_port()).await;
    let url = format!("http://{}/", port.local_addr());
    assert_eq!(read(http2_client().request(get(&url)).await.unwrap()).await.2, "done");
}
