//! The requests of a tenant that wait for its generators, and the tasks that send them.

use std::{collections::VecDeque, panic::AssertUnwindSafe, sync::Arc};

use futures_util::{FutureExt as _, future::BoxFuture};
use parking_lot::Mutex;
use tactus_telemetry::metrics::Gauge;
use tokio_util::task::TaskTracker;

use super::Job;

/// How large a queue is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct QueueSettings {
    /// Requests that may wait.
    pub(super) requests: usize,
    /// Requests sent at a time.
    pub(super) workers: usize,
}

/// A queue of requests. Its tasks live as long as there is something to send, even after the queue was dropped.
pub(super) struct Queue(Arc<Line>);

/// What the queue and its tasks share.
struct Line {
    settings: QueueSettings,
    tasks: TaskTracker,
    send: Box<SendJob>,
    state: Mutex<State>,
}

/// Sends a request.
type SendJob = dyn Fn(Job) -> BoxFuture<'static, ()> + Send + Sync;

struct State {
    /// Each with the gauge that counts it.
    waiting: VecDeque<(Job, Gauge)>,
    /// Tasks that send.
    working: usize,
}

impl Queue {
    /// An empty queue, whose requests are sent by tasks of this tracker.
    pub(super) fn new(
        settings: QueueSettings,
        tasks: &TaskTracker,
        send: impl Fn(Job) -> BoxFuture<'static, ()> + Send + Sync + 'static,
    ) -> Self {
        let state = Mutex::new(State { waiting: VecDeque::new(), working: 0 });
        Self(Arc::new(Line { settings, tasks: tasks.clone(), send: Box::new(send), state }))
    }

    pub(super) fn settings(&self) -> QueueSettings {
        self.0.settings
    }

    /// False if the queue is full, or its tracker closed. `length`: counts the request as long as it waits.
    pub(super) fn offer(&self, job: Job, length: &Gauge) -> bool {
        let Line { settings, tasks, state, .. } = &*self.0;
        if tasks.is_closed() {
            return false;
        }
        let mut state = state.lock();
        if state.working < settings.workers {
            state.working += 1;
            tasks.spawn(work(Arc::clone(&self.0), job));
            return true;
        }
        let has_room = state.waiting.len() < settings.requests;
        if has_room {
            length.inc();
            state.waiting.push_back((job, length.clone()));
        }
        has_room
    }
}

/// Sends a request, then those that wait. Counts in [`State::working`] until none is left.
async fn work(line: Arc<Line>, first: Job) {
    let mut next = Some(first);
    while let Some(job) = next {
        // Whatever happens to one, the others are sent. The panic is in the log.
        let _ = AssertUnwindSafe((line.send)(job)).catch_unwind().await;
        // Looking for a job and ending the task happen under one lock, so a request that is queued later starts a task
        // of its own.
        let mut state = line.state.lock();
        next = state.waiting.pop_front().map(|(job, length)| {
            length.dec();
            job
        });
        state.working -= usize::from(next.is_none());
    }
}
