//! A receiver on a loopback port.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use http::{HeaderMap, StatusCode};
use parking_lot::Mutex;
use prost::Message;
use tokio::sync::Notify;

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct WriteRequest {
    #[prost(message, repeated, tag = "1")]
    pub(super) timeseries: Vec<TimeSeries>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct TimeSeries {
    #[prost(message, repeated, tag = "1")]
    pub(super) labels: Vec<Label>,
    #[prost(message, repeated, tag = "2")]
    pub(super) samples: Vec<Sample>,
    #[prost(message, repeated, tag = "3")]
    pub(super) exemplars: Vec<ExemplarMessage>,
    #[prost(message, repeated, tag = "4")]
    pub(super) histograms: Vec<HistogramMessage>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Label {
    #[prost(string, tag = "1")]
    pub(super) name: String,
    #[prost(string, tag = "2")]
    pub(super) value: String,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Sample {
    #[prost(double, tag = "1")]
    pub(super) value: f64,
    #[prost(int64, tag = "2")]
    pub(super) timestamp: i64,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct ExemplarMessage {
    #[prost(message, repeated, tag = "1")]
    pub(super) labels: Vec<Label>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct HistogramMessage {
    #[prost(uint64, optional, tag = "1")]
    pub(super) count_int: Option<u64>,
}

/// What becomes of a request.
#[derive(Clone, Copy, Debug)]
pub(super) enum Then {
    /// Judged as Prometheus does: a sample that is older than the last one of its series, or another one of that time, costs
    /// the whole request.
    Take,
    /// Answered so, and not looked at.
    Status(StatusCode),
    /// 429, and after so many seconds again.
    RetryAfter(u64),
    /// Taken, and so many samples confirmed.
    Confirm(u64),
    /// No answer.
    Hang,
}

#[derive(Clone, Debug)]
pub(super) struct Request {
    pub(super) at: Instant,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

impl Request {
    pub(super) fn decoded(&self) -> WriteRequest {
        let body = snap::raw::Decoder::new().decompress_vec(&self.body).unwrap();
        WriteRequest::decode(&*body).unwrap()
    }
}

#[derive(Debug)]
struct Received {
    requests: Vec<Request>,
    next: VecDeque<Then>,
    others: Then,
    samples: HashMap<String, Vec<(i64, f64)>>,
    taken: usize,
    refused: usize,
    hanging: usize,
}

#[derive(Clone)]
pub(super) struct Receiver {
    url: String,
    received: Arc<Mutex<Received>>,
    go: Arc<Notify>,
}

impl Receiver {
    pub(super) async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/write", listener.local_addr().unwrap());
        Self::serve(listener, url)
    }

    pub(super) fn serve<L: axum::serve::Listener>(listener: L, url: String) -> Self
    where
        L::Addr: std::fmt::Debug,
    {
        let received = Received {
            requests: Vec::new(),
            next: VecDeque::new(),
            others: Then::Take,
            samples: HashMap::new(),
            taken: 0,
            refused: 0,
            hanging: 0,
        };
        let receiver = Self { url, received: Arc::new(Mutex::new(received)), go: Arc::default() };
        let router = Router::new().route("/write", post(write)).with_state(receiver.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        receiver
    }

    pub(super) fn url(&self) -> String {
        self.url.clone()
    }

    /// Of the next requests, before what was set.
    pub(super) fn then(&self, next: impl IntoIterator<Item = Then>) {
        self.received.lock().next.extend(next);
    }

    pub(super) fn set(&self, then: Then) {
        let mut received = self.received.lock();
        received.next.clear();
        received.others = then;
    }

    pub(super) fn judge_then_hang(&self, count: usize) {
        let mut received = self.received.lock();
        received.next = std::iter::repeat_n(Then::Take, count).collect();
        received.others = Then::Hang;
    }

    /// Fails the requests that hang and all others.
    pub(super) async fn fail(&self) {
        self.set(Then::Status(StatusCode::SERVICE_UNAVAILABLE));
        self.go.notify_waiters();
        while self.hanging() > 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    pub(super) fn requests(&self) -> Vec<Request> {
        self.received.lock().requests.clone()
    }

    pub(super) fn samples(&self, name: &str) -> Vec<(i64, f64)> {
        self.received.lock().samples.get(name).cloned().unwrap_or_default()
    }

    /// Taken or refused.
    pub(super) fn answered(&self) -> usize {
        let received = self.received.lock();
        received.taken + received.refused
    }

    pub(super) fn refused(&self) -> usize {
        self.received.lock().refused
    }

    pub(super) fn hanging(&self) -> usize {
        self.received.lock().hanging
    }
}

/// Counts a request that hangs for as long as its connection lasts.
struct Hanging(Receiver);

impl Drop for Hanging {
    fn drop(&mut self) {
        self.0.received.lock().hanging -= 1;
    }
}

async fn write(State(receiver): State<Receiver>, headers: HeaderMap, body: Bytes) -> Response {
    let then = {
        let mut received = receiver.received.lock();
        let request = Request { at: Instant::now(), headers, body: body.clone() };
        received.requests.push(request.clone());
        let then = received.next.pop_front().unwrap_or(received.others);
        match then {
            Then::Take => return received.take(&request).into_response(),
            Then::Hang => received.hanging += 1,
            _ => {}
        }
        then
    };
    match then {
        Then::Status(status) => (status, "no\nreally").into_response(),
        Then::RetryAfter(seconds) => {
            (StatusCode::TOO_MANY_REQUESTS, [("retry-after", seconds.to_string())]).into_response()
        }
        Then::Confirm(samples) => {
            let name = "x-prometheus-remote-write-samples-written";
            (StatusCode::NO_CONTENT, [(name, samples.to_string())]).into_response()
        }
        Then::Take | Then::Hang => {
            let hanging = Hanging(receiver.clone());
            receiver.go.notified().await;
            drop(hanging);
            StatusCode::SERVICE_UNAVAILABLE.into_response()
        }
    }
}

impl Received {
    fn take(&mut self, request: &Request) -> StatusCode {
        let mut after: HashMap<String, Vec<(i64, f64)>> = HashMap::new();
        for series in request.decoded().timeseries {
            assert!(series.labels.windows(2).all(|pair| pair[0].name < pair[1].name));
            assert!(series.labels.iter().all(|label| !label.value.is_empty()));
            let name = series.labels.iter().find(|label| label.name == "__name__");
            let name = name.map(|label| label.value.clone()).unwrap();
            for sample in series.samples {
                let new = after.entry(name.clone()).or_default();
                let before = self.samples.get(&name).and_then(|samples| samples.last());
                match new.last().or(before) {
                    Some((time, value)) if *time == sample.timestamp && *value == sample.value => {}
                    Some((time, _)) if *time >= sample.timestamp => {
                        self.refused += 1;
                        return StatusCode::BAD_REQUEST;
                    }
                    _ => new.push((sample.timestamp, sample.value)),
                }
            }
        }
        for (name, samples) in after {
            self.samples.entry(name).or_default().extend(samples);
        }
        self.taken += 1;
        StatusCode::NO_CONTENT
    }
}
