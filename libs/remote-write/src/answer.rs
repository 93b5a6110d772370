//! Interprets the answer of a remote write receiver.

use std::time::Duration;

use http::{HeaderMap, StatusCode};
use reqwest::Response;

use super::connections::Answered;
use super::entry::Counts;
use super::wire::Protocol;

/// Bytes of an answer that are read.
const MAX_BODY_BYTES: usize = 1024;

/// Longest pause that a receiver can ask for.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(3600);

/// How a batch is handled.
#[derive(Debug, PartialEq)]
pub(super) enum Answer {
    /// Done. Of the second protocol: what the receiver says it has written.
    Accepted { written: Option<Counts> },
    /// No other try will do.
    Refused(String),
    /// Another try may do, after the usual pause or the one asked for.
    Failed { error: String, retry_after: Option<Duration> },
}

pub(super) async fn judge(answered: Answered, protocol: Protocol, retry_on_429: bool) -> Answer {
    let Answered { mut response, withheld } = answered;
    let status = response.status();
    let headers = std::mem::take(response.headers_mut());
    let body = body(&mut response).await;
    if status.is_success() {
        let written = (protocol == Protocol::V2).then(|| written(&headers));
        return Answer::Accepted { written };
    }
    let line = body.lines().next().unwrap_or_default();
    let wants_credentials = matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN);
    let why = withheld.filter(|_| wants_credentials).map(|reason| format!(" ({reason})"));
    let why = why.unwrap_or_default();
    let error = format!("server returned HTTP status {status}{why}: {line}");
    let again = status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS && retry_on_429;
    match again {
        true => Answer::Failed { error, retry_after: retry_after(&headers) },
        false => Answer::Refused(error),
    }
}

/// The start of the answer. What follows is read and left, so that the connection can be used again.
async fn body(response: &mut Response) -> String {
    let mut bytes = Vec::new();
    let mut left = 64 * MAX_BODY_BYTES;
    // A body that breaks off says no less about the status.
    while let Ok(Some(chunk)) = response.chunk().await {
        let room = MAX_BODY_BYTES.saturating_sub(bytes.len());
        bytes.extend_from_slice(&chunk[..chunk.len().min(room)]);
        left = left.saturating_sub(chunk.len());
        if left == 0 {
            break;
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Seconds or a date; `None` also for one that is over.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(http::header::RETRY_AFTER)?.to_str().ok()?.trim();
    let pause = match text.parse::<u64>() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => {
            let date = jiff::fmt::rfc2822::parse(text).ok()?.timestamp();
            Duration::try_from(date.duration_since(jiff::Timestamp::now())).ok()?
        }
    };
    (!pause.is_zero()).then(|| pause.min(MAX_RETRY_AFTER))
}

fn written(headers: &HeaderMap) -> Counts {
    let count = |name: &str| {
        let value = headers.get(name).and_then(|value| value.to_str().ok());
        value.and_then(|value| value.trim().parse().ok()).unwrap_or(0)
    };
    Counts {
        floats: count("x-prometheus-remote-write-samples-written"),
        histograms: count("x-prometheus-remote-write-histograms-written"),
        exemplars: count("x-prometheus-remote-write-exemplars-written"),
    }
}

/// What was sent and, as the receiver says, not written.
pub(super) fn not_written(sent: Counts, written: Option<Counts>) -> Option<Counts> {
    let written = written?;
    let missing = Counts {
        floats: sent.floats.saturating_sub(written.floats),
        histograms: sent.histograms.saturating_sub(written.histograms),
        exemplars: sent.exemplars.saturating_sub(written.exemplars),
    };
    (missing.total() > 0).then_some(missing)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(value: &str) -> Option<Duration> {
        let mut headers = HeaderMap::new();
        headers.insert(http::header::RETRY_AFTER, value.parse().unwrap());
        retry_after(&headers)
    }

    #[test]
    fn retry_after_takes_seconds_and_dates_and_is_bounded() {
        assert_eq!(asked("7"), Some(Duration::from_secs(7)));
        assert_eq!(asked("0"), None);
        assert_eq!(asked("soon"), None);
        assert_eq!(asked("99999999"), Some(MAX_RETRY_AFTER));
        assert_eq!(asked("Wed, 21 Oct 2015 07:28:00 GMT"), None);
        let later = asked("Wed, 21 Oct 2099 07:28:00 GMT");
        assert_eq!(later, Some(MAX_RETRY_AFTER));
    }

    #[test]
    fn answer_without_confirmation_counts_everything_as_not_written() {
        let sent = Counts { floats: 3, histograms: 0, exemplars: 1 };
        assert_eq!(not_written(sent, None), None);
        assert_eq!(not_written(sent, Some(sent)), None);
        assert_eq!(not_written(sent, Some(written(&HeaderMap::new()))), Some(sent));
    }
}
