//! Clients that mean harm, or are merely slow.

use std::convert::Infallible;
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use http_body::Frame;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::service::service_fn;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::*;
use crate::testing::{get, http2_client, read, read_until_frame, socket};

mod http2_heads;

const SHORT: Duration = Duration::from_millis(40);
const LONG: Duration = Duration::from_secs(3600);
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

/// A port that answers with so many bytes.
async fn port(settings: ListenerSettings, answer: usize) -> BoundListener {
    let body = Bytes::from(vec![b'x'; answer]);
    let service = service_fn(move |_: Request<ReceivedBody>| {
        let body = body.clone();
        async move { Ok::<_, Infallible>(Response::new(Full::new(body))) }
    });
    serve(socket().await, settings, service, CancellationToken::new()).unwrap()
}

/// A port that reads the body, and answers with its length.
async fn reading_port(settings: ListenerSettings) -> BoundListener {
    let service = service_fn(|request: Request<ReceivedBody>| async move {
        let read = request.into_body().collect().await;
        let length = read.map_or(0, |body| body.to_bytes().len());
        Ok::<_, Infallible>(Response::new(Full::new(Bytes::from(length.to_string()))))
    });
    serve(socket().await, settings, service, CancellationToken::new()).unwrap()
}

/// Long times for everything; tests shorten one.
fn patient() -> ListenerSettings {
    ListenerSettings {
        handshake_timeout: LONG,
        header_timeout: Some(LONG),
        idle_timeout: Some(LONG),
        write_timeout: Some(LONG),
        ..ListenerSettings::default()
    }
}

async fn connect(port: &BoundListener) -> TcpStream {
    TcpStream::connect(port.local_addr()).await.unwrap()
}

/// Reads until the other side ends the connection, however it does.
async fn until_closed(stream: &mut TcpStream) -> Vec<u8> {
    let mut received = Vec::new();
    let _ = stream.read_to_end(&mut received).await;
    received
}

#[tokio::test]
async fn head_that_trickles_is_cut_however_often_a_byte_comes() {
    let port = port(ListenerSettings { header_timeout: Some(SHORT), ..patient() }, 1).await;
    for already_used in [false, true] {
        let mut stream = connect(&port).await;
        if already_used {
            stream.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
            let mut answer = [0; 12];
            stream.read_exact(&mut answer).await.unwrap();
            assert_eq!(&answer, b"HTTP/1.1 200");
        }
        let begun = std::time::Instant::now();
        let (mut reader, mut writer) = stream.split();
        let trickle = async {
            writer.write_all(b"GET / HTTP/1.1\r\n").await?;
            loop {
                writer.write_all(b"a: b\r\n").await?;
                tokio::time::sleep(SHORT / 8).await;
            }
        };
        let mut rest = Vec::new();
        tokio::select! {
            result = trickle => { let _: std::io::Result<()> = result; }
            result = reader.read_to_end(&mut rest) => { let _ = result; }
        }
        assert!(begun.elapsed() < SHORT * 20, "{:?}", begun.elapsed());
    }
}

#[tokio::test]
async fn silent_client_is_cut_and_an_idle_one_told_to_go() {
    let silent = port(ListenerSettings { header_timeout: Some(SHORT), ..patient() }, 1).await;
    assert_eq!(until_closed(&mut connect(&silent).await).await, b"");
    let idle = port(ListenerSettings { idle_timeout: Some(SHORT), ..patient() }, 1).await;
    let mut stream = connect(&idle).await;
    stream.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    assert!(until_closed(&mut stream).await.starts_with(b"HTTP/1.1 200"));
    let mut stream = connect(&idle).await;
    stream.write_all(PREFACE).await.unwrap();
    // Settings, acknowledgements, then GOAWAY.
    read_until_frame(&mut stream, 7).await;
}

#[tokio::test]
async fn idle_http2_client_that_ignores_goaway_is_cut() {
    let settings =
        ListenerSettings { idle_timeout: Some(SHORT), handshake_timeout: SHORT, ..patient() };
    let port = port(settings, 1).await;
    let mut stream = connect(&port).await;
    stream.write_all(PREFACE).await.unwrap();
    until_closed(&mut stream).await;
}

#[tokio::test]
async fn client_that_does_not_read_its_response_is_cut() {
    let settings = ListenerSettings { write_timeout: Some(SHORT), ..patient() };
    let port = port(settings, 64 << 20).await;
    let mut stream = connect(&port).await;
    stream.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    // Long enough to fill the buffers of the kernel, and then to be found out.
    let mut received = 0;
    let mut buffer = vec![0; 1 << 20];
    tokio::time::sleep(SHORT * 10).await;
    while let Ok(1..) = stream.read(&mut buffer).await.inspect(|count| received += count) {}
    assert!(received < 64 << 20, "{received}");
}

#[tokio::test]
async fn response_that_the_server_goes_on_with_later_is_not_cut() {
    let settings = ListenerSettings { write_timeout: Some(SHORT), ..patient() };
    let service = service_fn(|_: Request<ReceivedBody>| async {
        let parts = futures_util::stream::unfold(0, async |part| {
            tokio::time::sleep(SHORT * part * 3).await;
            (part < 3).then(|| (Ok::<_, Infallible>(Frame::data(Bytes::from("x"))), part + 1))
        });
        Ok::<_, Infallible>(Response::new(StreamBody::new(parts)))
    });
    let port = serve(socket().await, settings, service, CancellationToken::new()).unwrap();
    let mut stream = connect(&port).await;
    stream.write_all(b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await.unwrap();
    let answer = until_closed(&mut stream).await;
    assert!(answer.ends_with(b"\r\n0\r\n\r\n"), "{}", answer.escape_ascii());
}

/// A bound that is full with what one connection holds, and a port within it.
async fn full_port(answer: usize) -> BoundListener {
    let settings = ListenerSettings { backlog: Backlog::new(300 << 10), ..patient() };
    port(settings, answer).await
}

/// That what the port sends and is sent arrives still.
async fn serves(port: &BoundListener) {
    let mut stream = connect(port).await;
    let head = format!(
        "GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\na: {}\r\n\r\n",
        "a".repeat(60_000)
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    assert!(until_closed(&mut stream).await.starts_with(b"HTTP/1.1 200"));
}

#[tokio::test]
async fn heads_that_do_not_end_make_room_for_others() {
    let port = full_port(1).await;
    let head = format!("GET / HTTP/1.1\r\nhost: x\r\na: {}", "a".repeat(60_000));
    let mut begun = Vec::new();
    for _ in 0..20 {
        let mut stream = connect(&port).await;
        stream.write_all(head.as_bytes()).await.unwrap();
        begun.push(stream);
    }
    // Some are cut, for 20 of them are too much.
    let (oldest, _, _) = futures_util::future::select_all(
        begun.iter_mut().map(|stream| Box::pin(until_closed(stream))),
    )
    .await;
    assert_eq!(oldest, b"");
    serves(&port).await;
}

#[tokio::test]
async fn answers_over_http2_that_are_not_read_make_room_for_others() {
    let port = full_port(40_000).await;
    // A window of a byte for each stream: the rest of each answer waits at the server.
    let window = frame(4, 0, 0, &[0, 4, 0, 0, 0, 1]);
    let mut asked = Vec::new();
    for _ in 0..3 {
        let mut stream = connect(&port).await;
        let mut bytes = BytesMut::from(&b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..]);
        bytes.put(window.clone());
        for number in 0..5 {
            bytes.put(frame(1, 0x5, 2 * number + 1, &[0x82, 0x86, 0x84]));
        }
        stream.write_all(&bytes).await.unwrap();
        asked.push(stream);
    }
    let closed = asked.iter_mut().map(|stream| Box::pin(until_closed(stream)));
    futures_util::future::select_all(closed).await;
    serves(&port).await;
}

#[tokio::test]
async fn requests_of_which_no_body_comes_make_room_for_others() {
    // For twenty open requests.
    let settings = ListenerSettings { backlog: Backlog::new(160 << 10), ..patient() };
    let port = reading_port(settings).await;
    let mut begun = Vec::new();
    for _ in 0..2 {
        let mut stream = connect(&port).await;
        let mut bytes = BytesMut::from(PREFACE);
        for number in 0..15 {
            // `:method: POST`, `:scheme: http`, `:path: /`; more is to come.
            bytes.put(frame(1, 0x4, 2 * number + 1, &[0x83, 0x86, 0x84]));
        }
        stream.write_all(&bytes).await.unwrap();
        begun.push(stream);
    }
    let closed = begun.iter_mut().map(|stream| Box::pin(until_closed(stream)));
    futures_util::future::select_all(closed).await;
    serves(&port).await;
}

/// How much of a request that nobody reads a new client of HTTP/2 may send.
async fn room_of_one_more(port: &BoundListener, open: &mut Vec<TcpStream>) -> u64 {
    const ACKNOWLEDGED: u8 = 1;
    const SETTINGS: u8 = 4;
    const PING: u8 = 6;
    const WINDOW_UPDATE: u8 = 8;
    let mut stream = connect(port).await;
    stream.write_all(PREFACE).await.unwrap();
    let (mut of_connection, mut of_stream, mut head) = (65_535, 65_535, [0; 9]);
    loop {
        stream.read_exact(&mut head).await.unwrap();
        let mut payload = vec![0; usize::from(head[1]) << 8 | usize::from(head[2])];
        stream.read_exact(&mut payload).await.unwrap();
        let number = |bytes: &[u8]| u64::from(u32::from_be_bytes(bytes.try_into().unwrap()));
        match (head[3], head[4]) {
            // A window that is wider than the first one is told before a ping that is sent after this is answered.
            (SETTINGS, ACKNOWLEDGED) => {
                stream.write_all(&frame(PING, 0, 0, &[0; 8])).await.unwrap();
            }
            (SETTINGS, _) => {
                if let Some(setting) = payload.chunks(6).find(|setting| setting[..2] == [0, 4]) {
                    of_stream = number(&setting[2..]);
                }
            }
            (WINDOW_UPDATE, _) => of_connection += number(&payload),
            (PING, ACKNOWLEDGED) => break,
            _ => {}
        }
    }
    open.push(stream);
    of_connection.min(of_stream * 4)
}

#[tokio::test]
async fn clients_of_http2_may_send_less_ahead_the_more_there_are() {
    let settings = ListenerSettings { backlog: Backlog::new(16 << 20), ..patient() };
    let port = port(settings, 1).await;
    let mut open = Vec::new();
    assert_eq!(room_of_one_more(&port, &mut open).await, 1 << 20);
    for _ in 0..100 {
        room_of_one_more(&port, &mut open).await;
    }
    assert!(room_of_one_more(&port, &mut open).await < 65_536);
    drop(open);
    // Others of HTTP/1.1 take no part in it.
    let mut kept = Vec::new();
    for _ in 0..100 {
        let mut stream = connect(&port).await;
        stream.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
        stream.read_exact(&mut [0; 12]).await.unwrap();
        kept.push(stream);
    }
    let mut open = Vec::new();
    tokio::time::timeout(Duration::from_secs(30), async {
        while room_of_one_more(&port, &mut open).await < 1 << 20 {
            open.clear();
        }
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn head_that_is_too_large_is_refused() {
    let settings = ListenerSettings { max_head_bytes: 8 << 10, max_headers: 20, ..patient() };
    let port = port(settings, 1).await;
    let long = format!("GET / HTTP/1.1\r\nhost: x\r\na: {}\r\n\r\n", "a".repeat(20 << 10));
    let many = format!("GET / HTTP/1.1\r\nhost: x\r\n{}\r\n", "a: b\r\n".repeat(30));
    for head in [long, many] {
        let mut stream = connect(&port).await;
        // The port may end the connection while the head is sent.
        let _ = stream.write_all(head.as_bytes()).await;
        let answer = until_closed(&mut stream).await;
        let answer = String::from_utf8_lossy(&answer);
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 431"), "{answer}");
    }
    let client = http2_client();
    let url = format!("http://{}/", port.local_addr());
    let mut request = get(&url);
    let value = "a".repeat(20 << 10).parse().unwrap();
    request.headers_mut().insert("a", value);
    let status = client.request(request).await.map(|response| response.status().as_u16());
    assert!(!matches!(status, Ok(200)), "{status:?}");
    assert_eq!(read(client.request(get(&url)).await.unwrap()).await.0, 200);
}

/// A frame of HTTP/2.
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Bytes {
    let mut bytes = BytesMut::new();
    bytes.put_uint(payload.len() as u64, 3);
    bytes.put_u8(kind);
    bytes.put_u8(flags);
    bytes.put_u32(stream);
    bytes.put(payload);
    bytes.freeze()
}

#[tokio::test]
async fn requests_opened_and_reset_in_a_rush_end_the_connection() {
    let port = port(patient(), 1).await;
    let mut stream = connect(&port).await;
    let mut flood = BytesMut::from(PREFACE);
    for number in 0..500 {
        let id = number * 2 + 1;
        // `:method: GET`, `:scheme: http`, `:path: /` of the static table.
        flood.put(frame(1, 0x5, id, &[0x82, 0x86, 0x84]));
        flood.put(frame(3, 0, id, &8_u32.to_be_bytes()));
    }
    let _ = stream.write_all(&flood).await;
    // ENHANCE_YOUR_CALM in the GOAWAY.
    let answer = until_closed(&mut stream).await;
    assert!(answer.windows(4).any(|four| four == 11_u32.to_be_bytes()), "{answer:?}");
}

#[tokio::test]
async fn headers_that_never_end_end_the_connection() {
    let port = port(ListenerSettings { max_head_bytes: 16 << 10, ..patient() }, 1).await;
    let mut stream = connect(&port).await;
    stream.write_all(PREFACE).await.unwrap();
    // HEADERS without END_HEADERS, then CONTINUATION for ever: a literal header of 8 KB each.
    let mut header = vec![0x00, 1, b'a', 0x7f];
    header.extend([0x81, 0x3e]);
    header.extend(vec![b'a'; 8192 - 6]);
    let mut sent = 0;
    let mut kind = 1;
    while stream.write_all(&frame(kind, 0, 1, &header)).await.is_ok() && sent < 64 << 20 {
        sent += header.len();
        kind = 9;
    }
    assert!(sent < 64 << 20, "{sent}");
}

/// Ends when it is dropped.
struct Running(std::sync::Arc<std::sync::atomic::AtomicUsize>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.fetch_sub(1, std::sync::atomic::Ordering::SeqCst);
    }
}

#[tokio::test]
async fn request_ends_when_its_client_left_something_unread_behind() {
    use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
    let running = std::sync::Arc::new(AtomicUsize::new(0));
    let count = running.clone();
    let service = service_fn(move |_: Request<ReceivedBody>| {
        count.fetch_add(1, SeqCst);
        let running = Running(count.clone());
        async move {
            let _running = running;
            std::future::pending::<Result<Response<Full<Bytes>>, Infallible>>().await
        }
    });
    let port = serve(socket().await, patient(), service, CancellationToken::new()).unwrap();
    let head = "GET / HTTP/1.1\r\nhost: x\r\n";
    for behind in ["\r\n", "\r\nGET / HTTP/1.1\r\nhost: x\r\n\r\n", "content-length: 9\r\n\r\nx"] {
        let mut stream = connect(&port).await;
        stream.write_all(format!("{head}{behind}").as_bytes()).await.unwrap();
        while running.load(SeqCst) == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        drop(stream);
        let gone = async {
            while running.load(SeqCst) > 0 {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        assert!(tokio::time::timeout(Duration::from_secs(20), gone).await.is_ok(), "{behind:?}");
    }
}

const CHUNKED: &[u8] =
    b"POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n";

#[tokio::test]
async fn length_of_a_chunk_that_never_ends_is_cut() {
    for port in [port(patient(), 1).await, reading_port(patient()).await] {
        let mut stream = connect(&port).await;
        stream.write_all(CHUNKED).await.unwrap();
        let zeros = [b'0'; 1 << 16];
        let cut = async { while stream.write_all(&zeros).await.is_ok() {} };
        tokio::time::timeout(Duration::from_secs(20), cut).await.unwrap();
    }
}

#[tokio::test]
async fn body_of_many_short_chunks_is_read_to_its_end() {
    let mut stream = connect(&reading_port(patient()).await).await;
    stream.write_all(CHUNKED).await.unwrap();
    // In all the lengths take more bytes than one of them may.
    let chunks = b"000000000001\r\nx\r\n".repeat(1000);
    for _ in 0..320 {
        stream.write_all(&chunks).await.unwrap();
    }
    stream.write_all(b"0\r\n\r\n").await.unwrap();
    let answer = String::from_utf8(until_closed(&mut stream).await).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("320000"), "{answer}");
}

/// Sends the head of a long request and then its body, a piece now and then, until the port takes no more.
async fn send_slowly(stream: &mut TcpStream, pieces: usize) -> std::io::Result<()> {
    let piece = vec![b'x'; 64 << 10];
    let head =
        format!("POST / HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n", pieces * piece.len());
    stream.write_all(head.as_bytes()).await?;
    for _ in 0..pieces {
        tokio::time::sleep(Duration::from_millis(1)).await;
        stream.write_all(&piece).await?;
    }
    Ok(())
}

#[tokio::test]
async fn answer_from_before_the_body_was_read_arrives_at_a_client_that_sends_on() {
    // Answers without reading, as to a path that does not exist.
    let port = port(patient(), 3).await;
    for _ in 0..5 {
        let mut stream = connect(&port).await;
        send_slowly(&mut stream, 60).await.unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.unwrap();
        let answer = String::from_utf8(answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("\r\n\r\nxxx"), "{answer}");
    }
}

#[tokio::test]
async fn body_of_an_answered_request_is_read_within_bytes_and_time() {
    let lasting = Linger { max_bytes: u64::MAX, max_time: LONG };
    for linger in [Linger { max_bytes: 1 << 20, ..lasting }, Linger { max_time: SHORT, ..lasting }]
    {
        let port = port(ListenerSettings { linger, ..patient() }, 1).await;
        assert!(send_slowly(&mut connect(&port).await, 1_000_000).await.is_err());
    }
}

#[tokio::test]
async fn port_that_closes_does_not_wait_for_a_client_that_sends_on() {
    let service = service_fn(|_: Request<ReceivedBody>| async {
        Ok::<_, Infallible>(Response::new(Full::new(Bytes::from_static(b"x"))))
    });
    let shutdown = CancellationToken::new();
    let settings = ListenerSettings { drain_timeout: LONG, ..patient() };
    let port = serve(socket().await, settings, service, shutdown.clone()).unwrap();
    let mut stream = connect(&port).await;
    send_slowly(&mut stream, 5).await.unwrap();
    stream.write_all(b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\n").await.unwrap();
    assert!(until_closed(&mut stream).await.starts_with(b"HTTP/1.1 200"));
    shutdown.cancel();
    port.stopped().await;
}

#[tokio::test]
async fn thousands_of_idle_connections_are_held_and_others_served() {
    let port = port(patient(), 1).await;
    let mut held = Vec::new();
    for _ in 0..400 {
        held.push(connect(&port).await);
    }
    let url = format!("http://{}/", port.local_addr());
    assert_eq!(read(http2_client().request(get(&url)).await.unwrap()).await.0, 200);
    let mut last = held.pop().unwrap();
    last.write_all(b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await.unwrap();
    assert!(until_closed(&mut last).await.starts_with(b"HTTP/1.1 200"));
}

#[tokio::test]
async fn client_behind_a_balancer_has_its_own_address() {
    let service = service_fn(|request: Request<ReceivedBody>| async move {
        let info = request.extensions().get::<ConnectionInfo>().unwrap();
        Ok::<_, Infallible>(Response::new(info.client.to_string()))
    });
    let settings = ListenerSettings { proxy_protocol: true, ..patient() };
    let port = serve(socket().await, settings, service, CancellationToken::new()).unwrap();
    let mut stream = connect(&port).await;
    let request = b"PROXY TCP4 192.0.2.1 192.0.2.2 1234 80\r\nGET / HTTP/1.0\r\n\r\n";
    stream.write_all(request).await.unwrap();
    assert!(until_closed(&mut stream).await.ends_with(b"192.0.2.1:1234"));
    // A probe, which comes without a balancer. Its first byte says nothing yet.
    let mut stream = connect(&port).await;
    stream.write_all(b"P").await.unwrap();
    tokio::time::sleep(SHORT).await;
    stream.write_all(b"OST / HTTP/1.0\r\n\r\n").await.unwrap();
    let own = stream.local_addr().unwrap().to_string();
    assert!(until_closed(&mut stream).await.ends_with(own.as_bytes()));
}
