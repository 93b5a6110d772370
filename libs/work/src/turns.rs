//! Turns for reading what has just arrived: what a tenant sends cannot keep all threads that serve connections busy.

use std::sync::LazyLock;
use std::thread::available_parallelism;

use tokio::runtime::{Handle, RuntimeFlavor};

use crate::slots::{SlotLimits, Slots};

/// Fewer bytes are read at once.
const SHORT_BYTES: usize = 64 << 10;

/// More bytes are read while other threads serve the connections of this one: the worst of them take some milliseconds a
/// mebibyte.
const LONG_BYTES: usize = 1 << 20;

/// As many as half of the threads that serve connections, and one at least.
static READS: LazyLock<Slots> = LazyLock::new(half_of_cores);
/// Of more than [`LONG_BYTES`]: nobody else waits for them.
static LONG_READS: LazyLock<Slots> = LazyLock::new(half_of_cores);

fn half_of_cores() -> Slots {
    Slots::new(SlotLimits::of_turns((cores() / 2).max(1)))
}

/// Processors that this process may use.
pub fn cores() -> usize {
    available_parallelism().map_or(2, std::num::NonZero::get)
}

/// Runs `read`, which looks at each of this many bytes once, on a thread that serves connections. Tenants take turns; nobody
/// waits while few read, or for a short read.
///
/// `tenant`: as in [`Line`](crate::Line).
pub async fn read_in_turn<T>(
    tenant: impl FnOnce() -> u64,
    bytes: usize,
    read: impl FnOnce() -> T,
) -> T {
    if bytes <= SHORT_BYTES {
        return read();
    }
    let is_long = bytes > LONG_BYTES;
    let reads = if is_long { &LONG_READS } else { &READS };
    let _turn = reads.turn(tenant()).await;
    if is_long { in_place(read) } else { read() }
}

/// Runs something that takes long on a thread that may serve connections: these go on elsewhere.
pub fn in_place<T>(run: impl FnOnce() -> T) -> T {
    let flavor = Handle::try_current().map(|runtime| runtime.runtime_flavor());
    if flavor.is_ok_and(|flavor| flavor == RuntimeFlavor::MultiThread) {
        tokio::task::block_in_place(run)
    } else {
        run()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    #[test]
    fn long_reads_wait_for_turns_and_short_ones_do_not() {
        let read = |bytes| {
            let read = pin!(read_in_turn(|| 1, bytes, || bytes));
            read.poll(&mut Context::from_waker(Waker::noop()))
        };
        let all = std::iter::from_fn(|| {
            let enter = pin!(READS.enter(2));
            match enter.poll(&mut Context::from_waker(Waker::noop())) {
                Poll::Ready(turn) => turn.ok(),
                Poll::Pending => None,
            }
        });
        let all: Vec<_> = all.collect();
        assert!(!all.is_empty());
        assert!(read(SHORT_BYTES + 1).is_pending());
        assert_eq!(read(SHORT_BYTES), Poll::Ready(SHORT_BYTES));
        assert_eq!(read(LONG_BYTES + 1), Poll::Ready(LONG_BYTES + 1), "there is no runtime");
        drop(all);
        assert_eq!(read(SHORT_BYTES + 1), Poll::Ready(SHORT_BYTES + 1));
    }
}
