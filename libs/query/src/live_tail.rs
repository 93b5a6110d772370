//! Live tails: combines the spans that all ingesters receive into one stream for a reader.
//!
//! A task asks each ingester of the ring, also those that join later. Nothing waits for a slow reader: spans that do
//! not fit are dropped, the oldest first, and counted.

mod merge;

#[cfg(test)]
mod tests;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::{BoxStream, SelectAll, StreamExt as _, once, unfold};
use tactus_api::live_tail::parse_filter;
use tactus_api::{Error, Result};
use tactus_config::sections::query_frontend::FrontendLiveTail;
use tactus_model::TenantId;
use tactus_proto::DynLiveTail;
use tactus_proto::tactus::v1::{TailRequest, TailResponse};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use tonic::{Code, Request, Status};

use crate::admission::{Admission, Admitted};
use crate::tags::refused;
use merge::Merge;
pub(crate) use merge::Update;

/// Shortest time between two updates to the reader.
const UPDATE_EVERY: Duration = Duration::from_millis(200);
/// If there are no news, the reader is told so after this time.
const SILENCE: Duration = Duration::from_secs(5);
/// Ingesters without a stream are asked again at this interval.
const ASK_EVERY: Duration = Duration::from_secs(1);
/// After the first loss they are asked again this soon, then after pauses that grow up to [`ASK_EVERY`].
const FIRST_PAUSE: Duration = Duration::from_millis(50);
/// If nothing was lost for this long, a loss is a first one.
const SETTLED: Duration = Duration::from_secs(5);
/// An ingester that sends nothing for this long is gone. A running one sends something every 2 seconds.
const GONE_AFTER: Duration = Duration::from_secs(10);

/// An ingester whose spans the tail shows.
#[derive(Clone)]
pub struct TailSource {
    /// Its name in the ring.
    pub id: String,
    /// Its service.
    pub service: Arc<DynLiveTail>,
}

tactus_telemetry::debug_of!(TailSource { id });

/// Returns the ingesters that exist now.
pub type TailSources = Arc<dyn Fn() -> Vec<TailSource> + Send + Sync>;

/// The live tails of a query-frontend.
#[derive(Clone)]
pub struct LiveTails {
    settings: FrontendLiveTail,
    sources: TailSources,
    /// The number of ingesters that store each span.
    copies: u64,
    open: Arc<Admission>,
    /// Cancelled when the process stops.
    stop: CancellationToken,
}

tactus_telemetry::debug_of!(LiveTails { settings });

/// A message to the reader.
#[derive(Debug)]
pub(crate) enum News {
    Update(Update),
    /// The tail has been open for as long as it may be.
    Expired,
    /// The process stops: another may go on.
    Stopping,
    Failed(Status),
}

/// The canonical text of a tail's filter. Errors: the query is not a filter on single spans.
pub(crate) fn filter(query: &str) -> Result<String> {
    Ok(parse_filter(query).map_err(refused)?.to_string())
}

impl LiveTails {
    /// Live tails of these ingesters, of which `copies` store each span. `stop` ends all tails.
    pub fn new(
        settings: FrontendLiveTail,
        sources: TailSources,
        copies: usize,
        stop: CancellationToken,
    ) -> Self {
        let copies = u64::try_from(copies.max(1)).unwrap_or(u64::MAX);
        Self { settings, sources, copies, open: Arc::default(), stop }
    }

    /// Number of open tails of these tenants.
    pub(crate) fn open_tails(&self, tenants: &[TenantId]) -> usize {
        tenants.iter().map(|tenant| self.open.in_flight(tenant.as_str())).sum()
    }

    /// Starts a tail, which ends when the returned value is dropped. `rate`: spans shown a second, if fewer than the
    /// limit. `query`: from [`filter`].
    ///
    /// Errors: a tenant has as many tails as it may.
    pub(crate) fn start(
        &self,
        tenants: &[TenantId],
        query: String,
        rate: Option<u32>,
    ) -> Result<mpsc::Receiver<News>> {
        let limit = self.settings.max_tails_per_tenant;
        let mut admitted = Vec::with_capacity(tenants.len());
        for tenant in tenants {
            let tail = self.open.admit(tenant.as_str(), limit);
            admitted.push(tail.ok_or(Error::TooManyTails { limit })?);
        }
        let most = self.settings.max_spans_per_second;
        let spans_per_second = rate.map_or(most, |rate| rate.min(most));
        let request = |tenant: &TenantId| TailRequest {
            tenant: tenant.to_string(),
            query: query.clone(),
            spans_per_second,
        };
        let (news, reader) = mpsc::channel(1);
        let tail = Tail {
            requests: tenants.iter().map(request).collect(),
            sources: Arc::clone(&self.sources),
            streams: SelectAll::new(),
            followed: HashSet::new(),
            merge: Merge::new(spans_per_second, self.settings.max_buffered_spans, self.copies),
            _admitted: admitted,
        };
        let (stop, max_duration) = (self.stop.clone(), self.settings.max_duration.as_std());
        tokio::spawn(async move {
            let last = tokio::select! {
                last = tail.run(&news) => last,
                () = news.closed() => return,
                () = stop.cancelled() => News::Stopping,
                () = tokio::time::sleep(max_duration) => News::Expired,
            };
            let _ = news.send(last).await;
        });
        Ok(reader)
    }
}

/// An ingester and a tenant.
type Place = (usize, String);

/// A message from a place. After `Err`, nothing more comes.
type Came = (Place, Result<TailResponse, Status>);

struct Tail {
    /// One request for each tenant.
    requests: Vec<TailRequest>,
    sources: TailSources,
    streams: SelectAll<BoxStream<'static, Came>>,
    followed: HashSet<Place>,
    merge: Merge,
    _admitted: Vec<Admitted>,
}

impl Tail {
    /// Runs until the tail ends; returns the last message to the reader.
    async fn run(mut self, news: &mpsc::Sender<News>) -> News {
        let (mut ask_at, mut pause) = (Instant::now(), FIRST_PAUSE);
        let mut last_loss = None;
        let mut next_update = Instant::now();
        let mut silent_until = Instant::now() + SILENCE;
        loop {
            let may_tell = self.merge.has_news() || Instant::now() >= silent_until;
            tokio::select! {
                () = sleep_until(ask_at) => {
                    self.follow_all();
                    ask_at = Instant::now() + ASK_EVERY;
                    pause = (pause * 2).min(ASK_EVERY);
                }
                Some((place, came)) = self.streams.next() => match came {
                    Ok(response) => self.merge.add(&place, response),
                    Err(status) if is_final(&status) => return News::Failed(status),
                    Err(status) => {
                        tracing::debug!(ingester = place.1, %status, "a live tail lost an ingester");
                        self.followed.remove(&place);
                        self.merge.lost(&place);
                        let now = Instant::now();
                        if last_loss.replace(now).is_none_or(|last| now - last >= SETTLED) {
                            pause = FIRST_PAUSE;
                        }
                        ask_at = ask_at.min(now + pause);
                    }
                },
                () = sleep_until(silent_until), if !may_tell => {}
                Ok(room) = room(news, next_update), if may_tell => {
                    room.send(News::Update(self.merge.take_update()));
                    next_update = Instant::now() + UPDATE_EVERY;
                    silent_until = Instant::now() + SILENCE;
                }
            }
        }
    }

    /// Opens streams to the ingesters that have none.
    fn follow_all(&mut self) {
        let sources = (self.sources)();
        self.merge.expect(sources.len() * self.requests.len());
        for source in sources {
            for (tenant, request) in self.requests.iter().enumerate() {
                let place = (tenant, source.id.clone());
                if self.followed.insert(place.clone()) {
                    self.streams.push(follow(place, source.service.clone(), request.clone()));
                }
            }
        }
    }
}

/// Waits until an update can be sent, but at least until `at`.
async fn room<'n>(
    news: &'n mpsc::Sender<News>,
    at: Instant,
) -> Result<mpsc::Permit<'n, News>, mpsc::error::SendError<()>> {
    sleep_until(at).await;
    news.reserve().await
}

/// True for an error that all ingesters would return, or that would occur again.
fn is_final(status: &Status) -> bool {
    matches!(status.code(), Code::InvalidArgument | Code::ResourceExhausted)
}

/// The messages of an ingester, and at the end the reason why no more come.
fn follow(
    place: Place,
    service: Arc<DynLiveTail>,
    request: TailRequest,
) -> BoxStream<'static, Came> {
    let opened = async move {
        match timeout(GONE_AFTER, service.tail(Request::new(request))).await {
            Ok(answer) => answer.map(tonic::Response::into_inner),
            Err(_) => Err(silent()),
        }
    };
    let responses = once(opened).flat_map(|opened| match opened {
        Err(status) => once(async { Err(status) }).boxed(),
        Ok(stream) => unfold(Some(stream), next_response).boxed(),
    });
    responses.map(move |came| (place.clone(), came)).boxed()
}

type Responses = tonic::codegen::BoxStream<TailResponse>;

/// The next message of a stream, and the rest of the stream. After an error there is no rest.
async fn next_response(
    stream: Option<Responses>,
) -> Option<(Result<TailResponse, Status>, Option<Responses>)> {
    let mut stream = stream?;
    let status = match timeout(GONE_AFTER, stream.next()).await {
        Ok(Some(Ok(response))) => return Some((Ok(response), Some(stream))),
        Ok(Some(Err(status))) => status,
        Ok(None) => Status::unavailable("the ingester left"),
        Err(_) => silent(),
    };
    Some((Err(status), None))
}

fn silent() -> Status {
    Status::deadline_exceeded("the ingester is silent")
}
