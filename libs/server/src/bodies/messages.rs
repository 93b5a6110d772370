//! Counts the memory of gRPC answer messages until they are sent.
//!
//! Data that is not in a message yet must be counted by the service itself: see [`AnswerMemory`](super::AnswerMemory).

use std::sync::Arc;

use axum::body::Body;
use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body as _, Frame};

use super::frames::{Step, body_of, next_frame};
use super::sending::{Outgoing, SMALL, next_piece};
use super::{Bodies, NoRoom, no_room_status};

/// A body whose large frames take memory, one at a time, and are sent in small pieces. Where there is no room, or others
/// need it, the call ends with a status.
pub(super) fn counted_messages(body: Body, bodies: Arc<Bodies>) -> Body {
    // Its end is told with the head of the answer, where a status may be.
    if body.is_end_stream() {
        return body;
    }
    body_of(Left { body, bodies, sending: None }, Left::next)
}

/// What is left of a body.
struct Left {
    body: Body,
    bodies: Arc<Bodies>,
    /// A large frame on its way.
    sending: Option<Outgoing<Bytes>>,
}

impl Left {
    async fn next(mut self) -> Step<Self> {
        let sending = match self.sending.take() {
            Some(sending) => sending,
            None => {
                let data = match next_frame(&mut self.body).await?.map(Frame::into_data) {
                    Some(Ok(data)) => data,
                    Some(Err(trailers)) => return Ok(Some((trailers, self))),
                    None => return Ok(None),
                };
                let bytes = data.len() as u64;
                if bytes < SMALL {
                    return Ok(Some((Frame::data(data), self)));
                }
                match Outgoing::hold(&self.bodies, bytes, data).await {
                    Ok(sending) => sending,
                    Err(NoRoom) => return self.refuse(),
                }
            }
        };
        let piece = sending.with(|bytes| (next_piece(bytes), bytes.is_empty()));
        let Some((piece, is_last)) = piece else { return self.refuse() };
        self.sending = (!is_last).then_some(sending);
        Ok(Some((Frame::data(piece), self)))
    }

    /// Ends the call.
    fn refuse(mut self) -> Step<Self> {
        // The rest is not needed any more.
        self.body = Body::empty();
        let mut trailers = HeaderMap::new();
        no_room_status().add_header(&mut trailers)?;
        Ok(Some((Frame::trailers(trailers), self)))
    }
}

#[cfg(test)]
mod tests {
    use axum::BoxError;
    use http_body_util::BodyExt as _;

    use super::*;
    use crate::bodies::AnswerMemory;
    use tactus_work::memory::Budget;

    async fn next(body: &mut Body) -> Option<Frame<Bytes>> {
        body.frame().await.map(Result::unwrap)
    }

    fn messages(bodies: &Arc<Bodies>, sizes: &[usize]) -> Body {
        let frames: Vec<_> =
            sizes.iter().map(|&size| Ok::<_, BoxError>(Bytes::from(vec![7; size]))).collect();
        let body = Body::from_stream(futures_util::stream::iter(frames));
        counted_messages(body, Arc::clone(bodies))
    }

    fn status(frame: Frame<Bytes>) -> (String, String) {
        let trailers = frame.into_trailers().unwrap();
        let text = |name: &str| trailers[name].to_str().unwrap().to_owned();
        (text("grpc-status"), text("grpc-message"))
    }

    #[tokio::test]
    async fn each_message_is_counted_while_it_is_sent() {
        let all = Budget::new(1 << 20);
        let bodies = Bodies::within(&all);
        let mut body = messages(&bodies, &[1_000, 150_000, 200_000]);
        let mut sizes = Vec::new();
        let mut used = Vec::new();
        while let Some(frame) = next(&mut body).await {
            sizes.push(frame.into_data().unwrap().len());
            used.push(all.used());
        }
        assert_eq!(sizes.iter().sum::<usize>(), 351_000);
        assert_eq!(sizes[..4], [1_000, 65_536, 65_536, 18_928]);
        assert_eq!(used[..5], [0, 150_000, 150_000, 0, 200_000]);
        assert_eq!(all.used(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn call_that_nobody_reads_ends_with_a_status_for_the_sake_of_others() {
        let bodies = Bodies::within(&Budget::new(1_000_000));
        let mut stuck = messages(&bodies, &[800_000, 800_000]);
        assert!(next(&mut stuck).await.unwrap().is_data());
        let mut other = messages(&bodies, &[900_000]);
        assert!(next(&mut other).await.unwrap().is_data());
        let (code, text) = status(next(&mut stuck).await.unwrap());
        assert_eq!(code, "14");
        assert!(text.contains("server.max_inflight_bytes"), "{text}");
        assert!(next(&mut stuck).await.is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn message_without_room_is_refused_after_a_while() {
        let bodies = Bodies::within(&Budget::new(1_000_000));
        let mut kept = AnswerMemory::of(&bodies);
        kept.add(900_000).await.unwrap();
        let mut late = messages(&bodies, &[200_000]);
        assert_eq!(status(next(&mut late).await.unwrap()).0, "14");
        drop(kept);
        assert!(next(&mut messages(&bodies, &[200_000])).await.unwrap().is_data());
    }
}
