//! Bodies of frames that are made one at a time, of those of another body.

use std::pin::Pin;
use std::task::{Context, Poll};

use axum::BoxError;
use axum::body::Body;
use bytes::Bytes;
use futures_util::stream::try_unfold;
use http_body::{Frame, SizeHint};
use http_body_util::{BodyExt as _, StreamBody};

/// A frame, and what makes those after it; `None` at the end.
pub(super) type Step<S> = Result<Option<(Frame<Bytes>, S)>, BoxError>;

/// The body whose frames `next` makes of a state. The state is dropped at the end of the body, and at an error.
pub(super) fn body_of<S, F>(state: S, next: impl FnMut(S) -> F + Send + 'static) -> Body
where
    S: Send + 'static,
    F: Future<Output = Step<S>> + Send + 'static,
{
    Body::new(StreamBody::new(try_unfold(state, next)))
}

/// As [`body_of`], of a body that tells its length.
pub(crate) fn body_of_length<S, F>(
    length: SizeHint,
    state: S,
    next: impl FnMut(S) -> F + Send + 'static,
) -> Body
where
    S: Send + 'static,
    F: Future<Output = Step<S>> + Send + 'static,
{
    Body::new(OfLength { length, frames: body_of(state, next) })
}

struct OfLength {
    length: SizeHint,
    frames: Body,
}

impl http_body::Body for OfLength {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        Pin::new(&mut self.frames).poll_frame(cx).map_err(axum::Error::into_inner)
    }

    fn size_hint(&self) -> SizeHint {
        self.length
    }
}

/// The next of a body. An error is the one that broke the body off, for extractors look for the cause behind few errors.
pub(crate) async fn next_frame(body: &mut Body) -> Result<Option<Frame<Bytes>>, BoxError> {
    body.frame().await.transpose().map_err(axum::Error::into_inner)
}
