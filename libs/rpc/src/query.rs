//! The limits of a query, which are passed in the metadata of each request, within a process and between processes.

use std::time::{Duration, Instant};

use tactus_work::{Budgets, Work};
use tonic::Request;
use tonic::metadata::{MetadataMap, MetadataValue};

/// `query;processor milliseconds;milliseconds left`, in hexadecimal; 0 is unknown or no limit.
const NAME: &str = "tactus-query";

/// The query that a request is part of.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct QueryContext {
    /// Random, the same in all requests of the query; 0 if it is not known.
    pub query: u64,
    /// When nobody waits for it any more.
    pub deadline: Option<Instant>,
    /// Processor time that it may use in one process; zero is no limit.
    pub max_cpu_time: Duration,
}

impl QueryContext {
    /// The context in the metadata of a request; empty if there is none that can be read.
    pub fn of(metadata: &MetadataMap) -> Self {
        let text = metadata.get(NAME).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let mut fields = text.split(';').map(|field| u64::from_str_radix(field, 16).unwrap_or(0));
        let mut next = || fields.next().unwrap_or(0);
        let (query, cpu, left) = (next(), next(), next());
        let deadline = (left > 0).then(|| Instant::now().checked_add(Duration::from_millis(left)));
        Self { query, deadline: deadline.flatten(), max_cpu_time: Duration::from_millis(cpu) }
    }

    /// The context of a request, and its message.
    pub fn split<T>(request: Request<T>) -> (Self, T) {
        (Self::of(request.metadata()), request.into_inner())
    }

    /// Writes the context into the metadata of a request.
    pub fn write(&self, metadata: &mut MetadataMap) {
        let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let left = self.deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        // 0 would mean that there is no deadline.
        let left = left.map_or(0, |left| millis(left).max(1));
        let text = format!("{:x};{:x};{left:x}", self.query, millis(self.max_cpu_time));
        if let Ok(value) = MetadataValue::try_from(text) {
            metadata.insert(NAME, value);
        }
    }

    /// The limits for work on behalf of the query, on a thread of this process.
    pub fn work(&self) -> Work {
        self.bound(Work::default())
    }

    /// Adds the limits of the query to those of `work`.
    pub fn bound(&self, work: Work) -> Work {
        let budget = Budgets::of_process().of(self.query, self.max_cpu_time);
        work.until(self.deadline).within(budget)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let deadline = Some(Instant::now() + Duration::from_secs(60));
        let max_cpu_time = Duration::from_secs(90);
        let context = QueryContext { query: u64::MAX, deadline, max_cpu_time };
        let mut metadata = MetadataMap::new();
        context.write(&mut metadata);
        let read = QueryContext::of(&metadata);
        assert_eq!((read.query, read.max_cpu_time), (u64::MAX, max_cpu_time));
        let left = read.deadline.unwrap().saturating_duration_since(Instant::now());
        assert!(left > Duration::from_secs(50) && left <= Duration::from_secs(60), "{left:?}");
        let past = QueryContext { deadline: Some(Instant::now()), ..context };
        past.write(&mut metadata);
        assert!(QueryContext::of(&metadata).deadline.is_some());
    }

    #[test]
    fn unreadable_context_is_none() {
        for text in ["", "x", ";;", "ffffffffffffffffffffff"] {
            let mut metadata = MetadataMap::new();
            metadata.insert(NAME, text.parse().unwrap());
            assert_eq!(QueryContext::of(&metadata), QueryContext::default(), "{text}");
        }
        assert_eq!(QueryContext::of(&MetadataMap::new()), QueryContext::default());
    }
}
