//! Heads of requests over HTTP/2 that do not end.

use super::*;

const HEADERS: u8 = 1;
const END_STREAM: u8 = 1;
const END: u8 = 5;

/// The frames of a head whose last one is missing, with so many lines of a byte.
fn unfinished_head(stream: u32, lines: usize) -> Bytes {
    // GET of `/`, in words of the static table, and a line that is put into the table of the connection.
    let mut block = vec![0x82, 0x86, 0x84, 0x40, 1, b'a', 0];
    block.resize(block.len() + lines, 0xbe);
    frame(HEADERS, END_STREAM, stream, &block)
}

#[tokio::test]
async fn head_that_does_not_end_is_cut_also_beside_a_request_that_is_open() {
    let settings = ListenerSettings { header_timeout: Some(SHORT), ..patient() };
    let service = service_fn(|_: Request<ReceivedBody>| {
        std::future::pending::<Result<Response<Full<Bytes>>, Infallible>>()
    });
    let port = serve(socket().await, settings, service, CancellationToken::new()).unwrap();
    for before in [Bytes::new(), frame(HEADERS, END, 1, &[0x82, 0x86, 0x84])] {
        let mut stream = connect(&port).await;
        let sent = [PREFACE, &before, &unfinished_head(3, 10)].concat();
        stream.write_all(&sent).await.unwrap();
        let cut = tokio::time::timeout(Duration::from_secs(20), until_closed(&mut stream));
        assert!(cut.await.is_ok(), "{before:?}");
    }
}

#[tokio::test]
async fn heads_that_do_not_end_make_room_for_others() {
    let port = full_port(1).await;
    let mut begun = Vec::new();
    for _ in 0..20 {
        let mut stream = connect(&port).await;
        // The port may have cut it by then.
        let _ = stream.write_all(&[PREFACE, &unfinished_head(1, 1_000)].concat()).await;
        begun.push(stream);
    }
    let closed = begun.iter_mut().map(|stream| Box::pin(until_closed(stream)));
    let closed = futures_util::future::select_all(closed);
    assert!(tokio::time::timeout(Duration::from_secs(20), closed).await.is_ok());
    serves(&port).await;
}
