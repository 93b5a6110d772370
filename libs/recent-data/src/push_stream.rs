//! Pushes that arrive as frames of one long-lived call.
//!
//! Each frame is a push of its own: it takes memory, waits for its turn, and is stored, counted and answered like a
//! push with a call of its own. Frames are read as long as there is memory for them and fewer than `max_pushes` are
//! being stored. When the connection is about to end, no more frames are read, those that were read are answered, and
//! the other side is told which frame was the last one.

use std::{
    collections::VecDeque,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use futures_util::{
    FutureExt,
    future::{BoxFuture, Fuse},
    stream::{FuturesUnordered, Stream, StreamExt},
};
use prost::Message;
use tactus_proto::tactus::v1::{
    PushAnswer, PushFrame, ingester_server::Ingester as Unary, pushes_server::Pushes as Protocol,
};
use tactus_server::{
    bodies::{Bodies, Held},
    listener::Leaving,
    observe::RequestMetrics,
};
use tonic::{Code, Request, Response, Status, Streaming, codegen::BoxStream};
use tracing::Instrument;

use crate::ingester::Ingester;

/// A push counts as a call of this service and method.
const SERVICE: &str = "/tactus.v1.Ingester";
const METHOD: &str = "Push";

/// The service of such calls.
#[derive(Clone)]
pub struct PushStreams(Arc<Shared>);

struct Shared {
    ingester: Arc<Ingester>,
    bodies: Arc<Bodies>,
    metrics: RequestMetrics,
    /// Most pushes of one call that are stored at the same time.
    max_pushes: usize,
}

impl PushStreams {
    /// `max_pushes`: of one call at the same time; 0: limited by memory only.
    pub fn new(
        ingester: Arc<Ingester>,
        bodies: Arc<Bodies>,
        metrics: RequestMetrics,
        max_pushes: u32,
    ) -> Self {
        let max_pushes = if max_pushes == 0 { usize::MAX } else { max_pushes as usize };
        Self(Arc::new(Shared { ingester, bodies, metrics, max_pushes }))
    }
}

#[tonic::async_trait]
impl Protocol for PushStreams {
    type StreamStream = BoxStream<PushAnswer>;

    async fn stream(
        &self,
        request: Request<Streaming<PushFrame>>,
    ) -> Result<Response<Self::StreamStream>, Status> {
        let leaving = match request.extensions().get::<Leaving>() {
            Some(leaving) => leaving.clone().begun().boxed(),
            None => std::future::pending().boxed(),
        };
        Ok(Response::new(Box::pin(Answers {
            shared: Arc::clone(&self.0),
            frames: Some(request.into_inner()),
            leaving: leaving.fuse(),
            last_number: 0,
            arriving: None,
            pushes: FuturesUnordered::new(),
            ready: VecDeque::new(),
        })))
    }
}

/// A frame and its memory, or the error if there was no memory.
type Arrived = (PushFrame, Result<Held, Status>);

/// The answers to the frames of a call.
struct Answers {
    shared: Arc<Shared>,
    /// `None` once no more are read.
    frames: Option<Streaming<PushFrame>>,
    leaving: Fuse<BoxFuture<'static, ()>>,
    /// The number of the frame that was read last.
    last_number: u64,
    /// That frame while it waits for memory.
    arriving: Option<BoxFuture<'static, Arrived>>,
    pushes: FuturesUnordered<BoxFuture<'static, PushAnswer>>,
    /// Answers to send before those of pushes that are still running.
    ready: VecDeque<Result<PushAnswer, Status>>,
}

impl Answers {
    /// Starts the pushes of the frames that have arrived.
    fn read(&mut self, cx: &mut Context<'_>) {
        if self.frames.is_some() && self.leaving.poll_unpin(cx).is_ready() {
            self.frames = None;
            let number = self.last_number;
            let last = PushAnswer { number, is_leaving: true, ..PushAnswer::default() };
            self.ready.push_back(Ok(last));
        }
        while self.pushes.len() < self.shared.max_pushes {
            if let Some(arriving) = &mut self.arriving {
                let Poll::Ready((frame, held)) = arriving.poll_unpin(cx) else { return };
                self.arriving = None;
                self.pushes.push(Arc::clone(&self.shared).push(frame, held).boxed());
                continue;
            }
            let Some(frames) = &mut self.frames else { return };
            match frames.poll_next_unpin(cx) {
                Poll::Ready(Some(Ok(frame))) => {
                    self.last_number = frame.number;
                    let bodies = Arc::clone(&self.shared.bodies);
                    let arrive = async move {
                        let held = bodies.hold_message(frame.encoded_len()).await;
                        (frame, held)
                    };
                    self.arriving = Some(arrive.boxed());
                }
                Poll::Ready(Some(Err(error))) => {
                    self.frames = None;
                    self.ready.push_back(Err(error));
                }
                Poll::Ready(None) => self.frames = None,
                Poll::Pending => return,
            }
        }
    }

    /// True if there are answers to come.
    fn is_working(&self) -> bool {
        self.arriving.is_some() || !self.pushes.is_empty()
    }
}

impl Stream for Answers {
    type Item = Result<PushAnswer, Status>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        loop {
            // Frames that were read are answered, whatever happens to later frames.
            if let Poll::Ready(Some(answer)) = this.pushes.poll_next_unpin(cx) {
                return Poll::Ready(Some(Ok(answer)));
            }
            let before = this.pushes.len();
            this.read(cx);
            match this.ready.front() {
                Some(Err(_)) if this.is_working() => {}
                Some(_) => return Poll::Ready(this.ready.pop_front()),
                None => {}
            }
            if this.frames.is_none() && !this.is_working() {
                return Poll::Ready(None);
            }
            if this.pushes.len() == before {
                return Poll::Pending;
            }
        }
    }
}

impl Shared {
    /// Stores the push of a frame.
    async fn push(self: Arc<Self>, frame: PushFrame, held: Result<Held, Status>) -> PushAnswer {
        let PushFrame { number, traceparent, push } = frame;
        let traceparent = Some(traceparent.as_str()).filter(|text| !text.is_empty());
        let call = self.metrics.call(SERVICE, METHOD, traceparent);
        let span = call.span();
        let stored = async {
            let _held = held?;
            let Some(push) = push else {
                return Err(Status::invalid_argument("a frame without a push"));
            };
            Unary::push(&*self.ingester, Request::new(push)).await
        };
        let result = stored.instrument(span).await;
        call.end(result.as_ref().map_or_else(Status::code, |_| Code::Ok));
        match result {
            Ok(response) => {
                let response = Some(response.into_inner());
                PushAnswer { number, response, ..PushAnswer::default() }
            }
            Err(status) => {
                let (code, message) = (status.code() as u32, status.message().to_owned());
                PushAnswer { number, code, message, ..PushAnswer::default() }
            }
        }
    }
}

#[cfg(test)]
mod tests;
