//! Records the requests of a connection and their responses in its activity.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context, Poll, ready};

use ::http::{
    HeaderValue, Request, Response, Version,
    header::{CONNECTION, CONTENT_TYPE},
};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use hyper::service::Service;

use super::Activity;
use crate::listener::backlog::{Piece, Share};
use crate::listener::linger::ReceivedBody;
use crate::listener::{ConnectionInfo, Leaving};

/// A service whose requests are noted, and know their connection.
#[derive(Clone)]
pub(in crate::listener) struct WatchedService<S> {
    pub(in crate::listener) service: S,
    pub(in crate::listener) activity: Arc<Activity>,
    pub(in crate::listener) info: ConnectionInfo,
    pub(in crate::listener) leaving: Leaving,
}

impl<S, B> Service<Request<Incoming>> for WatchedService<S>
where
    S: Service<Request<ReceivedBody>, Response = Response<B>>,
{
    type Response = Response<WatchedBody<B>>;
    type Error = S::Error;
    type Future = WatchedFuture<S::Future>;

    fn call(&self, mut request: Request<Incoming>) -> Self::Future {
        let open = OpenRequest::new(&self.activity);
        if request.version() < Version::HTTP_2 {
            self.activity.needs_no_window();
        }
        request.extensions_mut().insert(self.info);
        request.extensions_mut().insert(self.leaving.clone());
        let request = request.map(|body| ReceivedBody::new(body, &self.activity));
        let share = Arc::clone(&self.activity.share);
        WatchedFuture { open: Some(open), share, future: Box::pin(self.service.call(request)) }
    }
}

/// Counts a request until it is dropped.
struct OpenRequest {
    activity: Arc<Activity>,
    sends: bool,
}

impl OpenRequest {
    fn new(activity: &Arc<Activity>) -> Self {
        activity.request_began();
        Self { activity: activity.clone(), sends: false }
    }

    /// From now on there is something to write.
    fn sends(&mut self) {
        self.sends = true;
        self.activity.wrote.store(self.activity.now(), Relaxed);
        self.activity.sending.fetch_add(1, Relaxed);
    }

    /// What comes next of the response is not there yet.
    fn waits(&mut self) {
        if std::mem::take(&mut self.sends) {
            self.activity.sending.fetch_sub(1, Relaxed);
        }
    }
}

impl Drop for OpenRequest {
    fn drop(&mut self) {
        self.waits();
        self.activity.request_ended();
    }
}

/// A response in the making.
pub(in crate::listener) struct WatchedFuture<F> {
    open: Option<OpenRequest>,
    share: Arc<Share>,
    future: Pin<Box<F>>,
}

impl<F, B, E> Future for WatchedFuture<F>
where
    F: Future<Output = Result<Response<B>, E>>,
{
    type Output = Result<Response<WatchedBody<B>>, E>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut response = ready!(self.future.as_mut().poll(cx))?;
        let mut open = self.open.take();
        if open.as_ref().is_some_and(|open| open.activity.may_receive_more()) {
            // The connection ends with this response, so that its client must not send another request on it.
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        let is_timed = !is_grpc(&response);
        if let Some(open) = &mut open
            && is_timed
        {
            open.sends();
        }
        let share = Arc::clone(&self.share);
        Poll::Ready(Ok(response.map(|body| WatchedBody {
            body: Box::pin(body),
            share,
            open,
            is_timed,
        })))
    }
}

fn is_grpc<B>(response: &Response<B>) -> bool {
    let content_type = response.headers().get(CONTENT_TYPE).map(HeaderValue::as_bytes);
    content_type.is_some_and(|value| value.starts_with(b"application/grpc"))
}

/// A response body that keeps its request open, and counts what of it the connection holds.
pub(in crate::listener) struct WatchedBody<B> {
    body: Pin<Box<B>>,
    share: Arc<Share>,
    open: Option<OpenRequest>,
    /// Its client has to read what there is.
    is_timed: bool,
}

impl<B: Body> Body for WatchedBody<B> {
    type Data = Piece<B::Data>;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Piece<B::Data>>, B::Error>>> {
        let polled = self.body.as_mut().poll_frame(cx);
        let is_timed = self.is_timed;
        if let Some(open) = self.open.as_mut().filter(|_| is_timed) {
            match &polled {
                Poll::Pending => open.waits(),
                Poll::Ready(_) if !open.sends => open.sends(),
                Poll::Ready(_) => {}
            }
        }
        let frame = ready!(polled);
        let counted = |frame: Frame<B::Data>| frame.map_data(|data| Piece::new(data, &self.share));
        Poll::Ready(frame.map(|frame| frame.map(counted)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
