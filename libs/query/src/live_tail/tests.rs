use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;
use tactus_config::GoDuration;
use tactus_proto::tactus::v1::live_tail_server::LiveTail;
use tactus_proto::tactus::v1::{TailRun, TailSpan};
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::Response;
use tonic::codegen::BoxStream;

use super::merge::Counts;
use super::*;

type Told = Result<TailResponse, Status>;

/// An ingester that says what a test has it say.
#[derive(Default)]
struct Double {
    asked: AtomicUsize,
    /// Answer of the next call instead of a stream.
    refusal: Mutex<Option<Status>>,
    stream: Mutex<Option<mpsc::UnboundedSender<Told>>>,
    request: Mutex<Option<TailRequest>>,
}

#[tonic::async_trait]
impl LiveTail for Double {
    type TailStream = BoxStream<TailResponse>;

    async fn tail(
        &self,
        request: Request<TailRequest>,
    ) -> Result<Response<Self::TailStream>, Status> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        *self.request.lock() = Some(request.into_inner());
        if let Some(status) = self.refusal.lock().take() {
            return Err(status);
        }
        let (sender, receiver) = mpsc::unbounded_channel();
        sender.send(Ok(TailResponse::default())).unwrap();
        *self.stream.lock() = Some(sender);
        Ok(Response::new(Box::pin(UnboundedReceiverStream::new(receiver))))
    }
}

impl Double {
    fn tell(&self, told: Told) {
        self.stream.lock().as_ref().unwrap().send(told).unwrap();
    }

    fn hang_up(&self) {
        self.stream.lock().take();
    }
}

fn spans(origin: u64, names: &[&str]) -> Told {
    let span = |name: &&str| TailSpan { name: (*name).to_owned(), ..TailSpan::default() };
    let run = TailRun {
        origin,
        matched_spans: names.len() as u64,
        spans: names.iter().map(span).collect(),
    };
    Ok(TailResponse { runs: vec![run], skipped_spans: 0 })
}

const SETTINGS: FrontendLiveTail = FrontendLiveTail {
    max_tails_per_tenant: 2,
    max_spans_per_second: 100,
    max_buffered_spans: 10,
    max_duration: GoDuration::minutes(10),
};

fn ingesters(count: usize) -> Vec<Arc<Double>> {
    (0..count).map(|_| Arc::default()).collect()
}

fn tails(ingesters: &[Arc<Double>]) -> LiveTails {
    let ingesters = ingesters.to_vec();
    let sources: TailSources = Arc::new(move || {
        let source = |(number, double): (usize, &Arc<Double>)| TailSource {
            id: format!("ingester-{number}"),
            service: Arc::clone(double) as _,
        };
        ingesters.iter().enumerate().map(source).collect()
    });
    LiveTails::new(SETTINGS, sources, 3, CancellationToken::new())
}

fn tenant() -> Vec<TenantId> {
    vec![TenantId::parse("a").unwrap()]
}

/// Reads updates until one is as wanted; returns the names of all spans on the way.
async fn read_until(
    news: &mut mpsc::Receiver<News>,
    is_wanted: impl Fn(&Counts) -> bool,
) -> Vec<String> {
    let mut names = Vec::new();
    loop {
        match news.recv().await.unwrap() {
            News::Update(update) => {
                names.extend(update.spans.into_iter().map(|span| span.name));
                if is_wanted(&update.counts) {
                    return names;
                }
            }
            end => panic!("{end:?}"),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn replicas_of_all_ingesters_are_shown_once() {
    let ingesters = ingesters(3);
    let mut news = tails(&ingesters).start(&tenant(), filter("").unwrap(), Some(5_000)).unwrap();
    read_until(&mut news, |counts| counts.followed == 3 && counts.expected == 3).await;
    let request = ingesters[0].request.lock().clone().unwrap();
    assert_eq!((request.tenant.as_str(), request.spans_per_second), ("a", 100));
    for ingester in &ingesters {
        ingester.tell(spans(7, &["x", "y"]));
    }
    ingesters[2].tell(spans(8, &["z"]));
    let mut names = read_until(&mut news, |counts| counts.matched == 3).await;
    names.sort();
    assert_eq!(names, ["x", "y", "z"]);
}

#[tokio::test(start_paused = true)]
async fn ingester_that_is_lost_is_asked_again() {
    let ingesters = ingesters(2);
    *ingesters[1].refusal.lock() = Some(Status::unavailable("not yet"));
    let mut news = tails(&ingesters).start(&tenant(), "{ }".to_owned(), None).unwrap();
    read_until(&mut news, |counts| counts.followed == 2).await;
    assert_eq!(ingesters[1].asked.load(Ordering::Relaxed), 2);
    tokio::time::sleep(UPDATE_EVERY).await;
    ingesters[0].hang_up();
    read_until(&mut news, |counts| counts.followed == 1).await;
    let lost = Instant::now();
    read_until(&mut news, |counts| counts.followed == 2).await;
    assert_eq!(lost.elapsed().as_millis() / 10 * 10, 200, "with the next update");
    ingesters[0].tell(spans(0, &["again"]));
    // The other one says nothing any more, and is given up after a while.
    let names = read_until(&mut news, |counts| counts.followed == 1).await;
    assert_eq!(names, ["again"]);
}

#[tokio::test(start_paused = true)]
async fn reader_that_is_slow_gets_the_newest_spans() {
    let ingesters = ingesters(1);
    let mut news = tails(&ingesters).start(&tenant(), "{ }".to_owned(), None).unwrap();
    read_until(&mut news, |counts| counts.followed == 1).await;
    for number in 0..30 {
        ingesters[0].tell(spans(0, &[&number.to_string()]));
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    let names = read_until(&mut news, |counts| counts.shown + counts.dropped == 30).await;
    assert_eq!(names.last().map(String::as_str), Some("29"));
    assert!((10..=20).contains(&names.len()), "{names:?}");
}

#[tokio::test(start_paused = true)]
async fn tenant_has_as_many_tails_as_it_may() {
    let ingesters = ingesters(1);
    let tails = tails(&ingesters);
    let first = tails.start(&tenant(), "{ }".to_owned(), None).unwrap();
    let _second = tails.start(&tenant(), "{ }".to_owned(), None).unwrap();
    let refused = tails.start(&tenant(), "{ }".to_owned(), None).unwrap_err();
    assert_eq!(refused, Error::TooManyTails { limit: 2 });
    assert_eq!(refused.http_status(), 429);
    let other = vec![TenantId::parse("b").unwrap()];
    tails.start(&other, "{ }".to_owned(), None).unwrap();
    drop(first);
    tokio::time::sleep(Duration::from_millis(1)).await;
    let _third = tails.start(&tenant(), "{ }".to_owned(), None).unwrap();
    assert!(matches!(filter("{ } >> { }"), Err(Error::Invalid(_))));
}

#[tokio::test(start_paused = true)]
async fn tail_ends_in_time_and_by_an_ingester_that_refuses() {
    let ingesters = ingesters(1);
    let tails = tails(&ingesters);
    let mut news = tails.start(&tenant(), "{ }".to_owned(), None).unwrap();
    let began = Instant::now();
    let end = loop {
        match news.recv().await.unwrap() {
            News::Update(_) => {}
            end => break end,
        }
        // As real ingesters do.
        let _ = ingesters[0].stream.lock().as_ref().map(|it| it.send(Ok(TailResponse::default())));
    };
    assert!(matches!(end, News::Expired), "{end:?}");
    assert_eq!(began.elapsed().as_secs(), 600);
    assert!(news.recv().await.is_none());
    *ingesters[0].refusal.lock() = Some(Status::resource_exhausted("too many"));
    let mut news = tails.start(&tenant(), "{ }".to_owned(), None).unwrap();
    assert!(
        matches!(news.recv().await, Some(News::Failed(status)) if status.message() == "too many")
    );
}
