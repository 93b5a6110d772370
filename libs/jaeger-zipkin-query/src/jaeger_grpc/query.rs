//! The parameters of a search, from the messages of four protocols.

use prost_types::Timestamp;
use tonic::Status;

use super::times::{bound, unix_nanos};
use crate::jaeger::{TimeRange, TraceFilter, USUAL_LENGTH};

/// What the messages have in common.
pub(super) struct Parameters {
    pub(super) service: String,
    pub(super) operation: String,
    pub(super) tags: Vec<(String, String)>,
    pub(super) start: Option<Timestamp>,
    pub(super) end: Option<Timestamp>,
    pub(super) shortest: Option<prost_types::Duration>,
    pub(super) longest: Option<prost_types::Duration>,
    pub(super) limit: i32,
    pub(super) raw: bool,
}

/// The [`Parameters`] of a message; `$limit` is the field that says how many traces are asked for.
macro_rules! parameters {
    ($query:ident, $tags:expr, $limit:ident, $raw:expr) => {
        $crate::jaeger_grpc::query::Parameters {
            service: $query.service_name,
            operation: $query.operation_name,
            tags: $tags,
            start: $query.start_time_min,
            end: $query.start_time_max,
            shortest: $query.duration_min,
            longest: $query.duration_max,
            limit: $query.$limit,
            raw: $raw,
        }
    };
}
pub(super) use parameters;

impl Parameters {
    /// The search. Errors: a limit or a range that makes no sense.
    pub(super) fn filter(self) -> Result<TraceFilter, Status> {
        let end = unix_nanos(self.end.as_ref()).unwrap_or_else(tactus_clock::unix_nanos);
        let start = unix_nanos(self.start.as_ref());
        let is_usual_range = start.is_none();
        let start = start.unwrap_or(end.saturating_sub(USUAL_LENGTH.as_nanos() as u64));
        if start > end {
            return Err(Status::invalid_argument("start time min must be before start time max"));
        }
        let limit = u32::try_from(self.limit)
            .map_err(|_| Status::invalid_argument("the number of traces is negative"))?;
        let (min_duration, max_duration) =
            (bound(self.shortest.as_ref()), bound(self.longest.as_ref()));
        if min_duration.zip(max_duration).is_some_and(|(shortest, longest)| shortest > longest) {
            return Err(Status::invalid_argument(
                "the minimum duration must not be greater than the maximum duration",
            ));
        }
        let mut tags = self.tags;
        // Maps have no order; the same search is to be the same query.
        tags.sort();
        Ok(TraceFilter {
            service: self.service,
            operation: self.operation,
            tags,
            range: TimeRange { start, end },
            is_usual_range,
            min_duration,
            max_duration,
            limit,
            raw: self.raw,
        })
    }
}

/// The search of a message that must have one.
pub(super) fn required<Q>(query: Option<Q>) -> Result<Q, Status> {
    query.ok_or_else(|| Status::invalid_argument("missing query"))
}

/// Refuses a condition in the form of a tree.
pub(super) fn no_filter(filter: &[u8]) -> Result<(), Status> {
    if filter.is_empty() {
        return Ok(());
    }
    Err(Status::invalid_argument(
        "query.filter is not supported: use attributes, or search with TraceQL",
    ))
}

/// What is said of a time that is missing.
pub(super) fn is_required(name: &str) -> String {
    format!("{name} is required")
}

/// A range that must be given as a whole. `missing`: what is said otherwise.
pub(super) fn range(
    start: Option<&Timestamp>,
    end: Option<&Timestamp>,
    missing: impl Fn(&'static str) -> String,
) -> Result<TimeRange, Status> {
    let required =
        |time, name| unix_nanos(time).ok_or_else(|| Status::invalid_argument(missing(name)));
    Ok(TimeRange { start: required(start, "start_time")?, end: required(end, "end_time")? })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parameters() -> Parameters {
        Parameters {
            service: "svc".to_owned(),
            operation: String::new(),
            tags: vec![("b".to_owned(), "1".to_owned()), ("a".to_owned(), "2".to_owned())],
            start: Some(Timestamp { seconds: 10, nanos: 0 }),
            end: Some(Timestamp { seconds: 20, nanos: 0 }),
            shortest: None,
            longest: None,
            limit: 0,
            raw: false,
        }
    }

    fn message(parameters: Parameters) -> String {
        parameters.filter().unwrap_err().message().to_owned()
    }

    #[test]
    fn search_has_defaults() {
        let filter = parameters().filter().unwrap();
        assert_eq!((filter.limit, filter.is_usual_range), (0, false));
        assert_eq!(filter.range, TimeRange { start: 10_000_000_000, end: 20_000_000_000 });
        let keys: Vec<_> = filter.tags.iter().map(|(key, _)| key.as_str()).collect();
        assert_eq!(keys, ["a", "b"]);
        let open = Parameters { start: None, end: None, ..parameters() }.filter().unwrap();
        assert_eq!(open.range.end - open.range.start, 48 * 3600 * 1_000_000_000);
        assert!(open.is_usual_range);
    }

    #[test]
    fn search_that_makes_no_sense_is_refused() {
        let late = Some(Timestamp { seconds: 21, nanos: 0 });
        assert!(message(Parameters { start: late, ..parameters() }).contains("before"));
        assert!(message(Parameters { limit: -1, ..parameters() }).contains("negative"));
        let of = |seconds| Some(prost_types::Duration { seconds, nanos: 0 });
        let durations = Parameters { shortest: of(2), longest: of(1), ..parameters() };
        assert!(message(durations).contains("duration"));
    }

    #[test]
    fn filter_is_refused_by_name() {
        assert!(no_filter(b"").is_ok());
        assert!(no_filter(b"x").unwrap_err().message().contains("query.filter"));
    }
}
