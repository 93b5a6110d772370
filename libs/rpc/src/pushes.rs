//! Sends pushes to one ingester as messages of a long-lived call.
//!
//! A call of its own costs a push more than its bytes do: a request, a task and headers on both sides. So pushes are
//! frames of one call to each ingester. The call is opened when there is something to push, and again after it has
//! ended. A push gets the same answer as with a call of its own. If the call breaks, every push that was sent and not
//! answered fails.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use parking_lot::Mutex;
use tactus_proto::tactus::v1::{PushAnswer, PushResponse, pushes_client::PushesClient};
use tactus_telemetry::self_tracing::traceparent;
use tonic::{Code, Status, Streaming, body::Body, codegen::tokio_stream};

use crate::{channels::Connection, frame::WithBody};

mod call;

use call::{Call, FrameBody, Outcome};

/// Larger pushes have calls of their own. Other pushes should not wait behind them, and a frame that a server refuses
/// because of its length ends the whole call.
pub const MAX_STREAMED_BYTES: usize = 1 << 20;

/// An ingester without support for streams is asked again after this time, because it may have been replaced.
const UNARY_FOR: Duration = Duration::from_secs(60);
/// A push is tried on this many calls, if the earlier ones ended without reading it.
const MAX_CALLS: usize = 3;

/// The pushes to one ingester.
#[derive(Debug)]
pub(crate) struct PushStream {
    connection: Connection,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
enum State {
    #[default]
    Closed,
    /// The call, which may have ended meanwhile.
    Open(Arc<Call>),
    /// The ingester does not support streams; found out at this time.
    Unary(Instant),
}

/// The outcome of a push.
pub(crate) enum Pushed {
    /// The answer, as with a call of its own.
    Answered(Result<PushResponse, Status>),
    /// Not pushed, because the ingester only takes pushes in calls of their own.
    NoStreams,
}

impl PushStream {
    /// A stream without a call yet.
    pub(crate) fn new(connection: Connection) -> Arc<Self> {
        Arc::new(Self { connection, state: Mutex::default() })
    }

    /// Pushes an encoded `PushRequest`. If the future is dropped, the push may be stored nevertheless.
    pub(crate) async fn push(self: &Arc<Self>, push: &Bytes) -> Pushed {
        for _ in 0..MAX_CALLS {
            let Some(call) = self.call() else { return Pushed::NoStreams };
            match call.push(push.clone(), traceparent().unwrap_or_default()).await {
                Outcome::Answered(answer) => return Pushed::Answered(answer),
                Outcome::Unread => {}
                Outcome::NoStreams => return Pushed::NoStreams,
            }
        }
        Pushed::Answered(Err(Status::unavailable("the ingester reads no pushes at the moment")))
    }

    /// The open call; `None` if the ingester does not support one.
    fn call(self: &Arc<Self>) -> Option<Arc<Call>> {
        let mut state = self.state.lock();
        match &*state {
            State::Open(call) if call.is_open() => return Some(Arc::clone(call)),
            State::Unary(since) if since.elapsed() < UNARY_FOR => return None,
            _ => {}
        }
        let call = Arc::new(Call::default());
        *state = State::Open(Arc::clone(&call));
        let (connection, of_task) = (self.connection.clone(), Arc::clone(&call));
        let stream = Arc::downgrade(self);
        tokio::spawn(async move {
            let ended = run(connection, &of_task).await;
            let is_unknown = matches!(&ended, Err(status) if status.code() == Code::Unimplemented);
            if let (true, Some(stream)) = (is_unknown, stream.upgrade()) {
                *stream.state.lock() = State::Unary(Instant::now());
            }
            of_task.end(|is_sent| match &ended {
                Err(_) if is_unknown => Outcome::NoStreams,
                Err(status) if is_sent => Outcome::Answered(Err(status.clone())),
                // The push may have been stored.
                Ok(()) if is_sent => {
                    Outcome::Answered(Err(Status::unknown("the ingester ended the call")))
                }
                _ => Outcome::Unread,
            });
        });
        Some(call)
    }
}

impl Drop for PushStream {
    fn drop(&mut self) {
        if let State::Open(call) = self.state.get_mut() {
            call.close();
        }
    }
}

/// Makes a call, and distributes its answers until it ends.
async fn run(connection: Connection, call: &Arc<Call>) -> Result<(), Status> {
    let of_call = Arc::clone(call);
    let framed = WithBody::new(connection.channel(), move || Body::new(FrameBody::of(&of_call)));
    let mut client = PushesClient::with_interceptor(framed, connection.clone())
        .max_decoding_message_size(connection.max_receive_bytes());
    match client.stream(tokio_stream::empty()).await {
        Ok(answers) => read(answers.into_inner(), call).await,
        Err(status) => {
            // As with calls of their own, pushes fail with the connection.
            if status.code() != Code::Unimplemented {
                call.end(|_| Outcome::Answered(Err(status.clone())));
            }
            Err(status)
        }
    }
}

async fn read(mut answers: Streaming<PushAnswer>, call: &Call) -> Result<(), Status> {
    while let Some(answer) = answers.message().await? {
        call.answered(answer);
    }
    Ok(())
}
