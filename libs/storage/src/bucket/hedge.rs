//! Hedged reads: ask again when the first answer takes long, use whichever comes first.

use std::time::Duration;

use futures_util::stream::{FuturesUnordered, StreamExt};

use super::metrics;

/// Runs `read`, and once more after each further `after` without an answer, at most `up_to` times
/// at once. The first success wins; a failure counts only when nothing else is in flight.
pub(super) async fn first<T, E, F>(
    read: impl Fn() -> F,
    after: Duration,
    up_to: usize,
) -> Result<T, E>
where
    F: Future<Output = Result<T, E>>,
{
    let mut running = FuturesUnordered::new();
    let mut started = 1;
    running.push(read());
    loop {
        tokio::select! {
            Some(result) = running.next() => {
                if result.is_ok() || running.is_empty() {
                    return result;
                }
            }
            () = tokio::time::sleep(after), if started < up_to => {
                started += 1;
                metrics::hedged();
                running.push(read());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[tokio::test]
    async fn stuck_first_read_is_overtaken_by_the_second() {
        let calls = Cell::new(0);
        let read = || {
            calls.set(calls.get() + 1);
            let number = calls.get();
            async move {
                if number == 1 {
                    std::future::pending::<()>().await;
                }
                Ok::<_, ()>(number)
            }
        };
        assert_eq!(first(read, Duration::from_millis(1), 2).await, Ok(2));
        assert_eq!(calls.get(), 2);
    }

    #[tokio::test]
    async fn failed_read_is_not_repeated() {
        let calls = Cell::new(0);
        let read = || {
            calls.set(calls.get() + 1);
            std::future::ready(Err::<(), _>("no"))
        };
        assert_eq!(first(read, Duration::from_secs(60), 3).await, Err("no"));
        assert_eq!(calls.get(), 1);
    }
}
