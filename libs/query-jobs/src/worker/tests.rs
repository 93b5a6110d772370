//! The worker with frontends that a test plays itself, message by message.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream;
use parking_lot::Mutex;
use prost::Message as _;
use tactus_proto::tactus::v1::frontend_message::Message as ToWorker;
use tactus_proto::tactus::v1::ingester_server::Ingester;
use tactus_proto::tactus::v1::job::Request as JobRequest;
use tactus_proto::tactus::v1::job_answer::Result as JobResult;
use tactus_proto::tactus::v1::worker_message::Message as FromWorker;
use tactus_proto::tactus::v1::{
    CancelJob, FindTraceRequest, FrontendHello, FrontendMessage, HoldingsRequest, Job, JobAnswer,
    Ping, TagsRequest, WorkerHello,
};
use tactus_telemetry::metrics::Registry;
use tactus_work::memory::{Budget, TOO_MANY_BYTES};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tonic::Code;

use super::*;
use doubles::{Blocks, Recent};

mod doubles;

/// The streams that a worker opened, by address.
type Opened = Arc<Mutex<HashMap<String, Vec<FakeFrontend>>>>;

/// The other end of a stream.
struct FakeFrontend {
    messages: mpsc::UnboundedSender<Result<FrontendMessage, Status>>,
    answers: Outbound,
}

impl FakeFrontend {
    fn say(&self, message: ToWorker) {
        let _ = self.messages.send(Ok(FrontendMessage { message: Some(message) }));
    }

    fn give(&self, id: u64, request: JobRequest) {
        self.say(ToWorker::Job(Job { id, request: Some(request), ..Job::default() }));
    }

    async fn next(&mut self) -> Option<FromWorker> {
        Some(self.answers.next().await?.message.unwrap())
    }

    async fn hello(&mut self) -> WorkerHello {
        match self.next().await {
            Some(FromWorker::Hello(hello)) => hello,
            other => panic!("no hello but {other:?}"),
        }
    }

    async fn answer(&mut self) -> JobAnswer {
        match self.next().await {
            Some(FromWorker::Answer(answer)) => JobAnswer::decode(answer).unwrap(),
            other => panic!("no answer but {other:?}"),
        }
    }

    async fn failure(&mut self) -> (u64, Code, String) {
        let answer = self.answer().await;
        match answer.result {
            Some(JobResult::Failure(failure)) => {
                (answer.id, Code::from_i32(failure.code), failure.message)
            }
            other => panic!("no failure but {other:?}"),
        }
    }
}

struct Setup {
    opened: Opened,
    recent: Arc<Recent>,
    addresses: watch::Sender<Vec<String>>,
    stop: CancellationToken,
    worker: JoinHandle<()>,
}

impl Setup {
    /// A worker with 20 slots. Frontends at addresses that start with `no` cannot be reached.
    fn new(addresses: &[&str]) -> Self {
        Self::sending(addresses, 1_000, &Bodies::unbounded())
    }

    /// One that answers with so many bytes at most, within this memory.
    fn sending(addresses: &[&str], max_send_bytes: usize, memory: &Arc<Bodies>) -> Self {
        let opened = Opened::default();
        let streams = Arc::clone(&opened);
        let dial: Dial = Arc::new(move |address, answers| {
            let streams = Arc::clone(&streams);
            Box::pin(async move {
                if address.starts_with("no") {
                    return Err(Status::unavailable("no way"));
                }
                let (messages, receiver) = mpsc::unbounded_channel();
                let inbound = stream::unfold(receiver, async |mut receiver| {
                    receiver.recv().await.map(|message| (message, receiver))
                });
                let frontend = FakeFrontend { messages, answers };
                streams.lock().entry(address).or_default().push(frontend);
                Ok(inbound.boxed())
            })
        });
        let mut section = Section::default();
        section.frontend_worker.id = "querier".to_owned();
        section.frontend_worker.grpc_client_config.max_recv_msg_size = 10_000;
        section.frontend_worker.grpc_client_config.max_send_msg_size = max_send_bytes;
        let recent = Arc::new(Recent::default());
        let jobs = JobServices { querier: Arc::new(Blocks), ingester: Arc::clone(&recent) as _ };
        let worker = Worker::new(section, jobs, Arc::clone(memory), dial, &Registry::new());
        let addresses = addresses.iter().map(ToString::to_string).collect();
        let (addresses, receiver) = watch::channel(addresses);
        let stop = CancellationToken::new();
        let worker = tokio::spawn(worker.run(receiver, stop.clone()));
        Self { opened, recent, addresses, stop, worker }
    }

    /// The next stream that the worker opens to an address.
    async fn opened(&self, address: &str) -> FakeFrontend {
        loop {
            let found = self.opened.lock().get_mut(address).and_then(Vec::pop);
            match found {
                Some(frontend) => return frontend,
                None => tokio::time::sleep(Duration::from_millis(1)).await,
            }
        }
    }

    fn point_at(&self, addresses: &[&str]) {
        self.addresses.send_replace(addresses.iter().map(ToString::to_string).collect());
    }
}

fn find() -> JobRequest {
    JobRequest::FindRecentTrace(FindTraceRequest::default())
}

fn hang() -> JobRequest {
    JobRequest::RecentTags(TagsRequest::default())
}

#[test]
fn slots_are_shared_by_frontends() {
    // Check 34.
    let shared = |slots, frontends| {
        let section = Section { max_concurrent_queries: slots, ..Section::default() };
        (0..frontends).map(|place| slots_of(&section, place, frontends)).collect::<Vec<_>>()
    };
    assert_eq!(shared(20, 3), [7, 7, 6]);
    assert_eq!(shared(20, 1), [20]);
    assert_eq!(shared(2, 3), [1, 1, 1]);
    let mut each = Section::default();
    each.frontend_worker.match_max_concurrent = false;
    each.frontend_worker.parallelism = 2;
    assert_eq!(slots_of(&each, 5, 9), 2);
}

#[tokio::test(start_paused = true)]
async fn jobs_are_answered_over_the_stream_they_came_by() {
    let setup = Setup::new(&["one"]);
    let mut one = setup.opened("one").await;
    let hello = one.hello().await;
    assert!(hello.querier_id.starts_with("querier-"), "{}", hello.querier_id);
    assert_eq!((hello.slots, hello.version), (20, 1));
    assert_eq!(hello.max_message_bytes, 10_000);
    one.give(7, find());
    let answer = one.answer().await;
    assert!(matches!((answer.id, answer.result), (7, Some(JobResult::FindRecentTrace(_)))));
    one.say(ToWorker::Ping(Ping {}));
    assert!(matches!(one.next().await, Some(FromWorker::Pong(_))));
    one.say(ToWorker::Job(Job { id: 8, ..Job::default() }));
    assert_eq!(one.failure().await.1, Code::Unimplemented);
    one.give(9, JobRequest::SearchBlock(Default::default()));
    assert_eq!(one.failure().await, (9, Code::InvalidArgument, "as the double says".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn answer_above_the_limit_fails_and_names_the_setting() {
    let setup = Setup::new(&["one"]);
    let mut one = setup.opened("one").await;
    one.hello().await;
    setup.recent.trace_bytes.store(1_000, Ordering::Relaxed);
    one.give(1, find());
    let (_, code, text) = one.failure().await;
    assert_eq!(code, Code::ResourceExhausted);
    assert!(
        text.contains("querier.frontend_worker.grpc_client_config.max_send_msg_size"),
        "{text}"
    );
    // The frontend may take less still.
    one.say(ToWorker::Hello(FrontendHello { version: 1, max_message_bytes: 300 }));
    setup.recent.trace_bytes.store(250, Ordering::Relaxed);
    one.give(2, find());
    assert_eq!(one.failure().await.1, Code::ResourceExhausted);
    setup.recent.trace_bytes.store(200, Ordering::Relaxed);
    one.give(3, find());
    assert_eq!(one.answer().await.id, 3);
}

#[tokio::test(start_paused = true)]
async fn answers_take_memory_until_they_are_sent_and_fail_where_there_is_none() {
    let all = Budget::new(400_000);
    let setup = Setup::sending(&["one"], 1_000_000, &Bodies::within(&all));
    let mut one = setup.opened("one").await;
    one.hello().await;
    setup.recent.trace_bytes.store(150_000, Ordering::Relaxed);
    for id in 1..4 {
        one.give(id, find());
    }
    let began = Instant::now();
    // Nobody reads the first two, so that there is no room for the third.
    tokio::time::sleep(Duration::from_secs(6)).await;
    assert!((300_000..400_000).contains(&all.used()), "{}", all.used());
    let answered = [one.answer().await.id, one.answer().await.id];
    let (refused, code, text) = one.failure().await;
    assert_eq!((code, text.as_str()), (Code::ResourceExhausted, TOO_MANY_BYTES));
    let mut ids = [answered[0], answered[1], refused];
    ids.sort_unstable();
    assert_eq!((ids, all.used()), ([1, 2, 3], 0), "after {:?}", began.elapsed());
    one.give(4, find());
    assert_eq!(one.answer().await.id, 4);
}

#[tokio::test(start_paused = true)]
async fn job_takes_memory_until_it_is_answered_and_fails_where_there_is_none() {
    let all = Budget::new(400_000);
    let setup = Setup::sending(&["one"], 1_000, &Bodies::within(&all));
    let mut one = setup.opened("one").await;
    one.hello().await;
    let large = || {
        let query = "x".repeat(75_000);
        JobRequest::RecentTags(TagsRequest { query, ..TagsRequest::default() })
    };
    one.give(1, large());
    one.give(2, large());
    let (id, code, text) = one.failure().await;
    assert_eq!((id, code, text.as_str()), (2, Code::ResourceExhausted, TOO_MANY_BYTES));
    assert!((300_000..301_000).contains(&all.used()), "{}", all.used());
    assert_eq!(setup.recent.running.load(Ordering::Relaxed), 1);
    one.give(3, find());
    assert_eq!(one.answer().await.id, 3, "small ones pass");
    one.say(ToWorker::Cancel(CancelJob { id: 1 }));
    assert_eq!((one.failure().await.0, all.used()), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn job_ends_when_it_is_cancelled_or_its_time_is_over_or_it_panics() {
    let setup = Setup::new(&["one"]);
    let mut one = setup.opened("one").await;
    one.hello().await;
    one.give(1, hang());
    one.give(2, find());
    assert_eq!(one.answer().await.id, 2);
    assert_eq!(setup.recent.running.load(Ordering::Relaxed), 1);
    one.say(ToWorker::Cancel(CancelJob { id: 99 }));
    one.say(ToWorker::Cancel(CancelJob { id: 1 }));
    let (id, code, _) = one.failure().await;
    assert_eq!((id, code), (1, Code::Cancelled));
    assert_eq!(setup.recent.running.load(Ordering::Relaxed), 0);
    one.say(ToWorker::Job(Job { id: 3, timeout_ms: 50, request: Some(hang()), ..Job::default() }));
    let (id, code, _) = one.failure().await;
    assert_eq!((id, code), (3, Code::DeadlineExceeded));
    assert_eq!(setup.recent.running.load(Ordering::Relaxed), 0);
    one.give(4, JobRequest::Holdings(HoldingsRequest::default()));
    assert_eq!(one.failure().await, (4, Code::Internal, "job panicked".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn broken_stream_drops_its_jobs_and_is_opened_again() {
    let setup = Setup::new(&["one"]);
    let mut one = setup.opened("one").await;
    one.hello().await;
    one.give(1, hang());
    one.give(2, find());
    one.answer().await;
    drop(one);
    let started = Instant::now();
    let mut one = setup.opened("one").await;
    assert!(started.elapsed() < Duration::from_millis(80));
    assert_eq!(setup.recent.running.load(Ordering::Relaxed), 0);
    one.hello().await;
}

#[tokio::test(start_paused = true)]
async fn silent_frontend_is_given_up() {
    let setup = Setup::new(&["one"]);
    let mut one = setup.opened("one").await;
    one.hello().await;
    one.give(1, hang());
    let started = Instant::now();
    assert!(one.next().await.is_none());
    assert_eq!(started.elapsed().as_secs(), 10);
    assert_eq!(setup.recent.running.load(Ordering::Relaxed), 0);
    setup.opened("one").await;
}

/// Messages that a frontend may send ahead of what it reads, to a worker of 20 slots.
const AHEAD: usize = 4 * 20 + 256 + 64;

#[tokio::test(start_paused = true)]
async fn frontend_that_reads_nothing_is_not_read_for_ever() {
    let setup = Setup::new(&["one"]);
    let say: [fn(&FakeFrontend, u64); 2] =
        [|one, _| one.say(ToWorker::Ping(Ping {})), |one, id| one.give(id, find())];
    for say in say {
        let mut deaf = setup.opened("one").await;
        deaf.hello().await;
        let started = Instant::now();
        (0..10_000).for_each(|id| say(&deaf, id));
        let next = setup.opened("one").await;
        assert_eq!(started.elapsed().as_secs(), 10);
        setup.opened.lock().entry("one".to_owned()).or_default().push(next);
        let mut waited = 0;
        while deaf.next().await.is_some() {
            waited += 1;
        }
        assert_eq!(waited, AHEAD);
    }
    // One that reads gets all of its answers.
    let mut one = setup.opened("one").await;
    one.hello().await;
    (0..1_000).for_each(|id| one.give(id, find()));
    for _ in 0..1_000 {
        one.answer().await;
    }
}

#[tokio::test(start_paused = true)]
async fn frontends_come_and_go() {
    let setup = Setup::new(&["two", "one", "no", "one"]);
    let mut one = setup.opened("one").await;
    let mut two = setup.opened("two").await;
    // In their order: no, one, two.
    assert_eq!((one.hello().await.slots, two.hello().await.slots), (7, 6));
    two.give(5, hang());
    two.give(6, find());
    two.answer().await;
    setup.point_at(&["one"]);
    assert!(matches!(two.next().await, Some(FromWorker::Leaving(_))));
    assert_eq!(one.hello().await.slots, 20);
    // It still answers what it has.
    two.say(ToWorker::Cancel(CancelJob { id: 5 }));
    assert_eq!(two.failure().await.0, 5);
    drop(two);
    setup.point_at(&["one", "two"]);
    assert_eq!(one.hello().await.slots, 10);
    assert_eq!(setup.opened("two").await.hello().await.slots, 10);
}

#[tokio::test(start_paused = true)]
async fn worker_that_stops_answers_what_it_runs() {
    let setup = Setup::new(&["one", "no"]);
    let mut one = setup.opened("one").await;
    one.hello().await;
    one.give(1, hang());
    one.give(2, find());
    one.answer().await;
    setup.stop.cancel();
    assert!(matches!(one.next().await, Some(FromWorker::Leaving(_))));
    // Sent before the frontend knew.
    one.give(3, find());
    assert_eq!(one.answer().await.id, 3);
    one.say(ToWorker::Cancel(CancelJob { id: 1 }));
    assert_eq!(one.failure().await.0, 1);
    assert!(!setup.worker.is_finished());
    drop(one);
    setup.worker.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn worker_that_stops_does_not_wait_for_ever() {
    let setup = Setup::new(&["one"]);
    let mut one = setup.opened("one").await;
    one.hello().await;
    one.give(1, hang());
    setup.stop.cancel();
    let started = Instant::now();
    let pings = async {
        loop {
            tokio::time::sleep(Duration::from_secs(2)).await;
            one.say(ToWorker::Ping(Ping {}));
        }
    };
    tokio::select! {
        done = setup.worker => done.unwrap(),
        () = pings => {}
    }
    assert_eq!(started.elapsed().as_secs(), 30);
    assert_eq!(setup.recent.running.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn names_are_looked_up() {
    let addresses = addresses_of("localhost:3000").await.unwrap();
    let all_local = |address: &String| address.parse::<SocketAddr>().unwrap().ip().is_loopback();
    assert!(!addresses.is_empty() && addresses.iter().all(all_local), "{addresses:?}");
    assert!(addresses_of("localhost").await.is_err());
    let (sender, mut receiver) = watch::channel(Vec::new());
    let stop = CancellationToken::new();
    let every = Duration::from_secs(3600);
    let task = tokio::spawn(keep_resolving("localhost:3000".into(), every, sender, stop.clone()));
    receiver.changed().await.unwrap();
    assert_eq!(*receiver.borrow(), addresses);
    stop.cancel();
    task.await.unwrap();
}
