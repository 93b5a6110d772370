//! The memory of an answer before it is sent.

use std::sync::Arc;

use bytes::Bytes;

use super::sending::SMALL;
use super::{Bodies, Held, NoRoom};

/// Memory for what an answer is made of, counted as it grows; given back when it is dropped. Unlike an answer that is being
/// sent it is not cut off for others.
#[derive(Debug)]
pub struct AnswerMemory {
    bodies: Arc<Bodies>,
    held: Option<Held>,
    bytes: u64,
    counted: u64,
}

impl AnswerMemory {
    /// Nothing yet.
    pub fn of(bodies: &Arc<Bodies>) -> Self {
        Self { bodies: Arc::clone(bodies), held: None, bytes: 0, counted: 0 }
    }

    /// Memory of `bytes` bytes for an answer that is not made yet. Errors: that much memory did not become free within
    /// five seconds.
    pub async fn ahead(bodies: &Arc<Bodies>, bytes: u64) -> Result<Self, NoRoom> {
        let held = bodies.nothing();
        held.take_ahead(bytes).await?;
        Ok(Self { bodies: Arc::clone(bodies), held: Some(held), bytes, counted: bytes })
    }

    /// Bytes so far.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Adds this many bytes; up to 64 KiB in all are not counted. Errors: there is no memory, even after five seconds.
    pub async fn add(&mut self, bytes: u64) -> Result<(), NoRoom> {
        let sum = self.bytes.saturating_add(bytes);
        if sum >= SMALL {
            let held = self.held.get_or_insert_with(|| self.bodies.nothing());
            let more = sum - self.counted;
            held.take_for_answer(more).await?;
            self.counted = sum;
        }
        self.bytes = sum;
        Ok(())
    }
}

/// Bytes that keep `held` until nobody refers to any of them.
pub fn held_bytes(bytes: impl Into<Bytes>, held: impl Send + 'static) -> Bytes {
    Bytes::from_owner(HeldBytes { bytes: bytes.into(), _held: held })
}

struct HeldBytes<H> {
    bytes: Bytes,
    _held: H,
}

impl<H> AsRef<[u8]> for HeldBytes<H> {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tactus_work::memory::Budget;

    #[tokio::test(start_paused = true)]
    async fn memory_that_is_taken_ahead_keeps_no_place_of_answers_that_wait() {
        let all = Budget::new(1_600_000);
        let bodies = Bodies::within(&all);
        let held = AnswerMemory::ahead(&bodies, 1_500_000).await.unwrap();
        let ahead = {
            let bodies = Arc::clone(&bodies);
            tokio::spawn(async move { AnswerMemory::ahead(&bodies, 1_000_000).await })
        };
        tokio::task::yield_now().await;
        let waiting = tokio::spawn(async move { AnswerMemory::of(&bodies).add(99_000).await });
        tokio::task::yield_now().await;
        let all_of_it = all.reserve(100_000).unwrap();
        tokio::task::yield_now().await;
        drop((held, all_of_it));
        assert_eq!((waiting.await.unwrap(), ahead.await.unwrap().is_ok()), (Ok(()), true));
        assert_eq!(all.used(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn answer_is_counted_as_it_grows_unless_it_is_small() {
        let all = Budget::new(1_000_000);
        let bodies = Bodies::within(&all);
        let mut memory = AnswerMemory::of(&bodies);
        memory.add(60_000).await.unwrap();
        assert_eq!(all.used(), 0);
        memory.add(40_000).await.unwrap();
        memory.add(500_000).await.unwrap();
        assert_eq!(all.used(), 600_000);
        let mut other = AnswerMemory::of(&bodies);
        assert_eq!(other.add(500_000).await, Err(NoRoom));
        assert_eq!(other.add(60_000).await, Ok(()), "small ones pass");
        let bytes = held_bytes(vec![1, 2], memory);
        let part = bytes.slice(1..);
        drop(bytes);
        assert_eq!((all.used(), &part[..]), (600_000, &[2][..]));
        drop(part);
        assert_eq!(all.used(), 0);
    }
}
