//! Bounds the bytes of values on their way here from memcached, over all connections of the process: each may bring a
//! hundred values, and a server may send more than anybody stored. The client of redis has no place for such a bound.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use crate::store::{Error, Result};

/// The values of all connections. Their buffers may take twice that.
pub(crate) static IN_TRANSIT: Transit = Transit::new(64 << 20);

/// What connections take together.
#[derive(Debug)]
pub(crate) struct Transit {
    max_bytes: usize,
    used: AtomicUsize,
}

impl Transit {
    pub(crate) const fn new(max_bytes: usize) -> Self {
        Self { max_bytes, used: AtomicUsize::new(0) }
    }

    /// The share of a call, nothing yet.
    pub(crate) fn share(&self) -> Share<'_> {
        Share { transit: self, bytes: 0 }
    }
}

/// What one call takes; given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Share<'t> {
    transit: &'t Transit,
    bytes: usize,
}

impl Share<'_> {
    /// So many bytes more have arrived. Errors: [`Error::Crowded`] if they are too many, and the call must end.
    pub(crate) fn grow(&mut self, bytes: usize) -> Result<()> {
        self.bytes += bytes;
        let used = self.transit.used.fetch_add(bytes, Relaxed) + bytes;
        if used > self.transit.max_bytes { Err(Error::Crowded) } else { Ok(()) }
    }
}

impl Drop for Share<'_> {
    fn drop(&mut self) {
        self.transit.used.fetch_sub(self.bytes, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_share_a_bound_and_give_back_what_they_took() {
        let transit = Transit::new(10);
        let (mut one, mut other) = (transit.share(), transit.share());
        assert!(one.grow(6).is_ok() && other.grow(4).is_ok());
        assert!(matches!(other.grow(1), Err(Error::Crowded)));
        drop(other);
        assert!(one.grow(4).is_ok());
        drop(one);
        assert_eq!(transit.used.load(Relaxed), 0);
    }
}
