use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::service::service_fn;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Notify;

use super::*;
use crate::testing::{client, get, http2_client, read, read_until_frame, socket};

/// A port whose requests begin, tell so, and end when they are allowed to.
struct SlowPort {
    listener: BoundListener,
    begun: Arc<Notify>,
    finish: Arc<Notify>,
    shutdown: CancellationToken,
}

async fn slow_port(settings: ListenerSettings) -> SlowPort {
    let (begun, finish) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let shutdown = CancellationToken::new();
    let (began, may_finish) = (begun.clone(), finish.clone());
    let service = service_fn(move |_: Request<ReceivedBody>| {
        let (began, may_finish) = (began.clone(), may_finish.clone());
        async move {
            began.notify_one();
            may_finish.notified().await;
            Ok::<_, Infallible>(Response::new(Full::new(Bytes::from_static(b"done"))))
        }
    });
    let listener =
        serve(socket().await, settings, service, shutdown.clone()).expect("a bound socket");
    SlowPort { listener, begun, finish, shutdown }
}

#[tokio::test]
async fn request_in_flight_is_finished_after_shutdown_began() {
    for client in [client(), http2_client()] {
        let port = slow_port(ListenerSettings::default()).await;
        let url = format!("http://{}/", port.listener.local_addr());
        let request = tokio::spawn(client.request(get(&url)));
        port.begun.notified().await;
        port.shutdown.cancel();
        port.finish.notify_one();
        let (status, _, body) = read(request.await.unwrap().unwrap()).await;
        assert_eq!((status, &*body), (200, "done"));
        port.listener.stopped().await;
        assert!(client.request(get(&url)).await.is_err());
    }
}

#[tokio::test]
async fn request_that_outlasts_the_drain_timeout_is_cut() {
    for client in [client(), http2_client()] {
        let drain_timeout = Duration::from_millis(10);
        let port = slow_port(ListenerSettings { drain_timeout, ..Default::default() }).await;
        let url = format!("http://{}/", port.listener.local_addr());
        let request = tokio::spawn(client.request(get(&url)));
        port.begun.notified().await;
        port.shutdown.cancel();
        port.listener.stopped().await;
        assert!(request.await.unwrap().is_err());
    }
}

#[tokio::test]
async fn idle_and_silent_connections_do_not_hold_up_shutdown() {
    let port = slow_port(ListenerSettings::default()).await;
    let address = port.listener.local_addr();
    let client = client();
    port.finish.notify_one();
    client.request(get(&format!("http://{address}/"))).await.unwrap();
    let mut silent = TcpStream::connect(address).await.unwrap();
    let mut half_a_request = TcpStream::connect(address).await.unwrap();
    half_a_request.write_all(b"GET / HT").await.unwrap();
    port.shutdown.cancel();
    port.listener.stopped().await;
    assert_eq!(silent.read(&mut [0; 1]).await.unwrap_or(0), 0);
}

#[tokio::test(start_paused = true)]
async fn client_of_http2_that_answers_nothing_does_not_hold_up_shutdown() {
    const SETTINGS: u8 = 4;
    let drain_timeout = Duration::from_secs(600);
    let settings = ListenerSettings { drain_timeout, header_timeout: None, ..Default::default() };
    let port = slow_port(settings).await;
    let mut silent = TcpStream::connect(port.listener.local_addr()).await.unwrap();
    silent.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await.unwrap();
    read_until_frame(&mut silent, SETTINGS).await;
    let began = tokio::time::Instant::now();
    port.shutdown.cancel();
    port.listener.stopped().await;
    assert!(began.elapsed() < Duration::from_secs(60), "{:?}", began.elapsed());
}

#[tokio::test]
async fn connection_without_a_request_is_closed_after_the_idle_timeout() {
    let settings = ListenerSettings {
        protocols: Protocols::Http1,
        idle_timeout: Some(Duration::from_millis(10)),
        ..ListenerSettings::default()
    };
    let port = slow_port(settings).await;
    let mut silent = TcpStream::connect(port.listener.local_addr()).await.unwrap();
    assert_eq!(silent.read(&mut [0; 1]).await.unwrap(), 0);
}

#[tokio::test]
async fn connection_over_its_age_is_closed_and_its_request_finished() {
    let settings = ListenerSettings {
        max_connection_age: Some(Duration::from_millis(10)),
        ..ListenerSettings::default()
    };
    let port = slow_port(settings).await;
    let mut connection = TcpStream::connect(port.listener.local_addr()).await.unwrap();
    connection.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    port.begun.notified().await;
    tokio::time::timeout(Duration::from_millis(30), connection.readable()).await.unwrap_err();
    port.finish.notify_one();
    let mut answer = String::new();
    connection.read_to_string(&mut answer).await.unwrap();
    assert!(answer.contains("connection: close") && answer.ends_with("done"), "{answer}");
}

#[tokio::test]
async fn answer_before_the_end_of_a_request_says_that_the_connection_ends() {
    let port = slow_port(ListenerSettings::default()).await;
    let mut connection = TcpStream::connect(port.listener.local_addr()).await.unwrap();
    let head = b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 4\r\n\r\nb";
    connection.write_all(head).await.unwrap();
    port.begun.notified().await;
    port.finish.notify_one();
    let mut answer = String::new();
    connection.read_to_string(&mut answer).await.unwrap();
    assert!(answer.contains("connection: close") && answer.ends_with("done"), "{answer}");
}

#[tokio::test]
async fn connections_over_the_limit_wait_for_a_place() {
    let port = slow_port(ListenerSettings { max_connections: 1, ..Default::default() }).await;
    let url = format!("http://{}/", port.listener.local_addr());
    let first = tokio::spawn(client().request(get(&url)));
    port.begun.notified().await;
    let second = tokio::spawn(client().request(get(&url)));
    port.finish.notify_one();
    // Its client is dropped with the task, so that the connection ends.
    first.await.unwrap().unwrap();
    port.begun.notified().await;
    port.finish.notify_one();
    second.await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn idle_connection_gives_its_place_to_one_that_waits() {
    let port = slow_port(ListenerSettings { max_connections: 1, ..Default::default() }).await;
    let mut idle = TcpStream::connect(port.listener.local_addr()).await.unwrap();
    // HTTP/2 without a request. No other limit ends it.
    idle.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await.unwrap();
    let url = format!("http://{}/", port.listener.local_addr());
    let waiting = tokio::spawn(client().request(get(&url)));
    let begun = tokio::time::timeout(Duration::from_secs(600), port.begun.notified());
    begun.await.unwrap();
    port.finish.notify_one();
    waiting.await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn request_of_a_client_that_does_not_know_yet_of_the_end_is_answered() {
    const HEADERS: u8 = 1;
    const GOAWAY: u8 = 7;
    let port = slow_port(ListenerSettings { max_connections: 1, ..Default::default() }).await;
    let mut idle = TcpStream::connect(port.listener.local_addr()).await.unwrap();
    idle.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await.unwrap();
    let url = format!("http://{}/", port.listener.local_addr());
    let waiting = tokio::spawn(client().request(get(&url)));
    read_until_frame(&mut idle, GOAWAY).await;
    // GET of `/`, in words of the static table.
    idle.write_all(b"\0\0\x03\x01\x05\0\0\0\x01\x82\x86\x84").await.unwrap();
    port.begun.notified().await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    port.finish.notify_one();
    read_until_frame(&mut idle, HEADERS).await;
    // The client does not close its side, but now nothing is open.
    port.begun.notified().await;
    port.finish.notify_one();
    waiting.await.unwrap().unwrap();
}

#[tokio::test]
async fn bind_error_names_the_address() {
    let error = bind("256.0.0.1:1").await.unwrap_err();
    assert!(error.to_string().starts_with("listen on 256.0.0.1:1: "), "{error}");
    assert!(bind(":0").await.is_ok());
}
