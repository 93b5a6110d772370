//! Origins: the names of what is sent to the same replicas at once. See `SpanRun.origin`.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use parking_lot::Mutex;

/// Bits of the number within a stream.
const NUMBER_BITS: u32 = 24;

/// Gives the origins of one tenant and one replica set.
#[derive(Debug)]
pub(crate) struct Stream {
    /// The origin given last; 0 before the first.
    last: Mutex<u64>,
    /// How many streams there are.
    count: Arc<AtomicUsize>,
}

impl Stream {
    /// A stream that is counted in `count` for as long as it is kept.
    pub(crate) fn counted(count: &Arc<AtomicUsize>) -> Arc<Self> {
        count.fetch_add(1, Ordering::Relaxed);
        Arc::new(Self { last: Mutex::default(), count: Arc::clone(count) })
    }

    /// An origin that nobody else has. After 2^24 - 1 of them a new stream begins.
    pub(crate) fn next(&self) -> u64 {
        let mut last = self.last.lock();
        let numbers = (1 << NUMBER_BITS) - 1;
        if *last & numbers == numbers || *last == 0 {
            *last = new_stream();
        }
        *last += 1;
        *last
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.count.fetch_sub(1, Ordering::Relaxed);
    }
}

/// 40 random bits above the number 0; never all zero.
fn new_stream() -> u64 {
    let random = (uuid::Uuid::new_v4().as_u128() >> 88) as u64;
    random.max(1) << NUMBER_BITS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_count_up_and_a_new_stream_follows_the_last() {
        let count = Arc::default();
        let stream = Stream::counted(&count);
        let first = stream.next();
        assert_eq!(first & 0xff_ffff, 1);
        assert_eq!(stream.next(), first + 1);
        *stream.last.lock() = first | 0xff_ffff;
        let other = stream.next();
        assert_eq!(other & 0xff_ffff, 1);
        assert_ne!(other >> 24, first >> 24);
        assert_ne!(first >> 24, 0);
        drop(stream);
        assert_eq!(count.load(Ordering::Relaxed), 0);
    }
}
