//! Large requests that are encoded once, however many services they are sent to.
//!
//! A gRPC client encodes a message again for each call, into a buffer that is copied as it grows. For spans, which go
//! to every replica, that is most of the cost of sending them. Here the first call that needs the message encodes it
//! into a buffer of the right size, and all connections send slices of that buffer.

use std::{
    sync::{Arc, OnceLock},
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body_util::Full;
use prost::Message;
use tonic::{Request, Status, body::Body, codegen::Service};

/// Bytes before a message: whether it is compressed, and its length.
const PREFIX_BYTES: usize = 5;

/// A message that goes to one or more services.
#[derive(Debug)]
pub struct Shared<M> {
    message: M,
    frame: SharedFrame,
}

/// The frame of a message, which the first call creates. It is passed as an extension of each request.
#[derive(Debug, Clone, Default)]
struct SharedFrame(Arc<OnceLock<Bytes>>);

impl<M: Message + Clone> Shared<M> {
    /// A message that is not encoded yet.
    pub fn new(message: M) -> Self {
        Self { message, frame: SharedFrame::default() }
    }

    /// A request with this message. All requests together encode it once, and requests to services of the same process
    /// not at all.
    pub fn request(&self) -> Request<M> {
        let mut request = Request::new(self.message.clone());
        request.extensions_mut().insert(self.frame.clone());
        request
    }
}

/// Takes the message of a request, as a gRPC frame.
///
/// Errors: it is longer than `max_bytes`, or than a frame can be.
pub(crate) fn take_frame<M: Message + Default>(
    request: Request<M>,
    max_bytes: usize,
) -> Result<(Request<M>, Bytes), Status> {
    let (metadata, mut extensions, message) = request.into_parts();
    let shared = extensions.remove::<SharedFrame>().unwrap_or_default();
    let length = shared.0.get().map_or_else(|| message.encoded_len(), |it| it.len() - PREFIX_BYTES);
    if length > max_bytes || u32::try_from(length).is_err() {
        return Err(Status::out_of_range(format!(
            "a message of {length} bytes is longer than the {max_bytes} that may be sent"
        )));
    }
    let frame = shared.0.get_or_init(|| frame(&message, length)).clone();
    Ok((Request::from_parts(metadata, extensions, M::default()), frame))
}

/// The encoded message in a frame.
pub(crate) fn message_of(frame: &Bytes) -> Bytes {
    frame.slice(PREFIX_BYTES..)
}

/// `length` is that of the encoded message, less than 4 GiB.
fn frame(message: &impl Message, length: usize) -> Bytes {
    let mut frame = Vec::with_capacity(PREFIX_BYTES + length);
    frame.push(0);
    frame.extend_from_slice(&(length as u32).to_be_bytes());
    message.encode_raw(&mut frame);
    frame.into()
}

/// A connection whose requests have another body than their client's.
///
/// A client encodes while its body is read, so nothing was encoded of the body that is dropped here.
pub(crate) struct WithBody<C, B> {
    connection: C,
    body: B,
}

impl<C, B: Fn() -> Body> WithBody<C, B> {
    pub(crate) fn new(connection: C, body: B) -> Self {
        Self { connection, body }
    }
}

/// A connection that sends this frame in place of the client's.
pub(crate) fn framed<C>(connection: C, frame: Bytes) -> WithBody<C, impl Fn() -> Body> {
    WithBody::new(connection, move || Body::new(Full::new(frame.clone())))
}

impl<C, B> Service<http::Request<Body>> for WithBody<C, B>
where
    C: Service<http::Request<Body>>,
    B: Fn() -> Body,
{
    type Response = C::Response;
    type Error = C::Error;
    type Future = C::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), C::Error>> {
        self.connection.poll_ready(cx)
    }

    fn call(&mut self, request: http::Request<Body>) -> C::Future {
        let body = (self.body)();
        self.connection.call(request.map(|_| body))
    }
}

#[cfg(test)]
mod tests {
    use std::future::{Ready, ready};

    use http_body_util::BodyExt;
    use tactus_proto::tactus::v1::{
        PushRequest, PushResponse, SpanRun, ingester_client::IngesterClient,
    };
    use tokio::runtime::Builder;
    use tonic::codegen::Body as _;

    use super::*;

    fn push() -> PushRequest {
        let run = |resource| SpanRun {
            resource,
            scope: 0,
            scope_spans: vec![7; 70_000].into(),
            origin: 9,
        };
        PushRequest {
            tenant: "some".to_owned(),
            resources: vec![Bytes::from_static(b"r0"), Bytes::from_static(b"r1")],
            scopes: vec![Bytes::new()],
            runs: vec![run(0), run(1)],
        }
    }

    #[test]
    fn frame_is_what_a_client_would_send_and_is_made_once() {
        let shared = Shared::new(push());
        let encoded = push().encode_to_vec();
        let (rest, first) = take_frame(shared.request(), encoded.len()).unwrap();
        assert_eq!(rest.get_ref(), &PushRequest::default());
        assert_eq!(first[0], 0);
        assert_eq!(first[1..5], (encoded.len() as u32).to_be_bytes());
        assert_eq!(first[5..], encoded);
        let (_, second) = take_frame(shared.request(), encoded.len()).unwrap();
        assert_eq!(first.as_ptr(), second.as_ptr());
        let (_, alone) = take_frame(Request::new(push()), encoded.len()).unwrap();
        assert_eq!(alone, first);
    }

    #[test]
    fn message_beyond_the_limit_is_refused_encoded_or_not() {
        let shared = Shared::new(push());
        let most = push().encoded_len();
        for _ in 0..2 {
            let refused = take_frame(shared.request(), most - 1).unwrap_err();
            assert_eq!(refused.code(), tonic::Code::OutOfRange);
            assert!(take_frame(shared.request(), most).is_ok());
        }
    }

    #[test]
    fn metadata_of_a_request_stays() {
        let mut request = Shared::new(push()).request();
        request.metadata_mut().insert("grpc-timeout", "5S".parse().unwrap());
        let (rest, _) = take_frame(request, usize::MAX).unwrap();
        assert_eq!(rest.metadata().get("grpc-timeout").unwrap(), "5S");
    }

    /// Keeps the body of a request and answers with an empty message.
    #[derive(Clone, Default)]
    struct Recorder(Arc<parking_lot::Mutex<Option<http::Request<Body>>>>);

    impl Service<http::Request<Body>> for Recorder {
        type Response = http::Response<Body>;
        type Error = Status;
        type Future = Ready<Result<Self::Response, Status>>;

        fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Status>> {
            Poll::Ready(Ok(()))
        }

        fn call(&mut self, request: http::Request<Body>) -> Self::Future {
            *self.0.lock() = Some(request);
            let trailers = http::HeaderMap::from_iter([(
                http::HeaderName::from_static("grpc-status"),
                http::HeaderValue::from_static("0"),
            )]);
            let body = Full::new(Bytes::from_static(&[0; 5]));
            ready(Ok(http::Response::new(Body::new(body.with_trailers(ready(Some(Ok(trailers))))))))
        }
    }

    #[test]
    fn client_sends_the_frame_in_one_piece_to_its_own_path() {
        let runtime = Builder::new_current_thread().build().unwrap();
        let (request, frame) = take_frame(Shared::new(push()).request(), usize::MAX).unwrap();
        let recorder = Recorder::default();
        let connection = framed(recorder.clone(), frame.clone());
        let response = runtime.block_on(IngesterClient::new(connection).push(request)).unwrap();
        assert_eq!(response.into_inner(), PushResponse::default());
        let sent = recorder.0.lock().take().unwrap();
        assert_eq!(sent.uri().path(), "/tactus.v1.Ingester/Push");
        assert_eq!(sent.headers().get("content-type").unwrap(), "application/grpc");
        let mut body = sent.into_body();
        let piece = runtime.block_on(body.frame()).unwrap().unwrap().into_data().unwrap();
        assert_eq!((piece.as_ptr(), piece.len()), (frame.as_ptr(), frame.len()));
        assert!(body.is_end_stream());
    }
}
