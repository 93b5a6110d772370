//! Metrics of the checker.

use std::time::Duration;

use tactus_telemetry::metrics::{
    Counter, CounterVec, GaugeVec, HistogramVec, Registry, exponential_buckets,
};

use super::problem::{Problem, Query};

use crate::error::Failure;

/// Something that was skipped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Skipped {
    /// A trace or its second part was not written: a push took longer than the interval, or the server refused or did not answer.
    Push,
    /// A trace was not checked: queries took longer than the interval, or the server did not answer.
    Check,
}

tactus_telemetry::metrics! {
    /// Tempo's names for what its checker counts, so that its alert works, and ours for the rest.
    #[derive(Debug)]
    pub(crate) struct Metrics {
        checks: Counter = "tempo_vulture_trace_total", "Questions about traces that were asked.";
        errors: CounterVec<1> = "tempo_vulture_trace_error_total",
            "Questions about traces without the right answer, by what is wrong.", ["error"];
        failures: Counter = "tempo_vulture_error_total", "Requests, pushes and queries, that were refused or failed.";
        results: CounterVec<3> = "tactus_check_results_total",
            "Questions about traces, by age of the trace, kind of query, and whether the answer was right.", ["age", "query", "result"];
        pushes: CounterVec<2> = "tactus_check_pushes_total",
            "Traces and second parts of traces sent, by what the server said.", ["endpoint", "outcome"];
        push_seconds: HistogramVec<1> = "tactus_check_push_duration_seconds",
            "Time until a push is acknowledged, or is not.", ["endpoint"], &exponential_buckets(0.001, 2.0, 15);
        query_seconds: HistogramVec<2> = "tactus_check_query_duration_seconds",
            "Time until a query is answered, or is not.", ["endpoint", "query"], &exponential_buckets(0.001, 2.0, 15);
        found_seconds: HistogramVec<1> = "tactus_check_found_seconds",
            "Time from the acknowledgement of a trace until it is found in full.", ["query"], &exponential_buckets(0.005, 2.0, 14);
        skipped: CounterVec<1> = "tactus_check_skipped_total",
            "Writes and checks that were skipped because there was no time for them.", ["what"];
        known: GaugeVec<1> = "tactus_check_known_traces", "Traces within the retention that the server has acknowledged.", ["tenant"];
        oldest: GaugeVec<1> = "tactus_check_oldest_known_timestamp_seconds",
            "Unix time of the oldest trace that is known to be there.", ["tenant"];
    }
}

impl Metrics {
    pub(crate) fn new(registry: &Registry) -> Self {
        let metrics = Self::register(registry);
        // An alert on a rate misses the first error if the series did not exist before.
        for error in Problem::LABELS {
            metrics.errors.with([error]);
        }
        for what in [Skipped::Push, Skipped::Check] {
            metrics.skipped(what, 0);
        }
        metrics
    }

    /// Creates the series of an address before it is used.
    pub(crate) fn announce(&self, push_url: &str) {
        for outcome in ["accepted", "refused", "failed"] {
            self.pushes.with([push_url, outcome]);
        }
    }

    pub(crate) fn pushed(&self, url: &str, outcome: &Result<(), Failure>, time: Duration) {
        let label = match outcome {
            Ok(()) => "accepted",
            Err(Failure::Refused(_)) => "refused",
            Err(Failure::Failed(_)) => "failed",
        };
        self.pushes.with([url, label]).inc();
        self.push_seconds.with([url]).observe_duration(time);
        self.answered(outcome);
    }

    pub(crate) fn queried<T>(
        &self,
        url: &str,
        query: Query,
        outcome: &Result<T, Failure>,
        time: Duration,
    ) {
        self.query_seconds.with([url, query.label()]).observe_duration(time);
        self.answered(outcome);
    }

    /// Counts a request that failed; that a trace was not found is an answer.
    pub(crate) fn answered<T>(&self, outcome: &Result<T, Failure>) {
        if outcome.is_err() {
            self.failures.inc();
        }
    }

    /// The answer to a question about a trace of an age.
    pub(crate) fn checked(&self, age: &str, query: Query, problem: Option<&Problem>) {
        self.checks.inc();
        let result = problem.map_or("correct", |problem| problem.label(query));
        self.results.with([age, query.label(), result]).inc();
        if problem.is_some() {
            self.errors.with([result]).inc();
        }
    }

    pub(crate) fn found(&self, query: Query, time: Duration) {
        self.found_seconds.with([query.label()]).observe_duration(time);
    }

    pub(crate) fn skipped(&self, what: Skipped, count: u64) {
        let label = match what {
            Skipped::Push => "push",
            Skipped::Check => "check",
        };
        self.skipped.with([label]).inc_by(count);
    }

    /// `oldest`: since 1970; none while nothing is known.
    pub(crate) fn known(&self, tenant: &str, traces: u64, oldest: Option<Duration>) {
        self.known.with([tenant]).set(traces as f64);
        if let Some(oldest) = oldest {
            self.oldest.with([tenant]).set(oldest.as_secs_f64());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_shown_before_there_are_any() {
        let registry = Registry::new();
        let metrics = Metrics::new(&registry);
        let page = registry.encode();
        assert!(page.contains("tempo_vulture_trace_total 0\n"), "{page}");
        for label in Problem::LABELS {
            assert!(
                page.contains(&format!("tempo_vulture_trace_error_total{{error=\"{label}\"}} 0\n"))
            );
        }
        metrics.checked("10s", Query::Search, Some(&Problem::NotFound));
        metrics.checked("10s", Query::Search, None);
        let page = registry.encode();
        assert!(page.contains("tempo_vulture_trace_total 2\n"));
        assert!(page.contains("tempo_vulture_trace_error_total{error=\"notfound_search\"} 1\n"));
        let result =
            "tactus_check_results_total{age=\"10s\",query=\"search\",result=\"correct\"} 1\n";
        assert!(page.contains(result), "{page}");
    }

    #[test]
    fn requests_that_fail_are_counted_and_wrong_answers_are_not() {
        let registry = Registry::new();
        let metrics = Metrics::new(&registry);
        assert!(registry.encode().contains("tempo_vulture_error_total 0\n"));
        let failure = || Failure::Failed("no route".to_owned());
        metrics.pushed("http://a", &Ok(()), Duration::ZERO);
        metrics.queried("http://a", Query::ById, &Ok(None::<()>), Duration::ZERO);
        metrics.checked("10s", Query::ById, Some(&Problem::NotFound));
        assert!(registry.encode().contains("tempo_vulture_error_total 0\n"));
        metrics.pushed("http://a", &Err(failure()), Duration::ZERO);
        metrics.queried::<()>("http://a", Query::ById, &Err(failure()), Duration::ZERO);
        assert!(registry.encode().contains("tempo_vulture_error_total 2\n"));
    }
}
