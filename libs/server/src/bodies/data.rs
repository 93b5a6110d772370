//! The data of a body, without trailers and errors.

use std::pin::Pin;
use std::task::{Context, Poll};

use axum::BoxError;
use axum::body::Body;
use bytes::Bytes;
use http_body::{Body as _, Frame};

/// The next part of a body.
pub(super) enum Part {
    /// A part of its data.
    Data(Bytes),
    /// Trailers, an error or the end: whoever counts data passes it on.
    Other(Option<Result<Frame<Bytes>, BoxError>>),
}

/// The next of a body. An error is the one that broke the body off, for extractors look for the cause behind few errors.
pub(super) fn poll_part(body: &mut Body, cx: &mut Context<'_>) -> Poll<Part> {
    Pin::new(body).poll_frame(cx).map(|next| match next {
        Some(Ok(frame)) => match frame.into_data() {
            Ok(data) => Part::Data(data),
            Err(other) => Part::Other(Some(Ok(other))),
        },
        Some(Err(error)) => Part::Other(Some(Err(error.into_inner()))),
        None => Part::Other(None),
    })
}
