//! How traces wait for memory.

use std::time::Duration;

use tactus_api::{Error, Result};
use tactus_work::memory::TOO_MANY_BYTES;
use tokio::time::Instant;

/// The first pause. Each further pause is longer, up to the second value.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// An answer that has not begun is refused after this time.
const LONGEST_WAIT_TO_BEGIN: Duration = Duration::from_secs(30);

/// Waits again and again, each time longer, for memory that others hold.
pub(crate) struct WaitForRoom {
    pause: Duration,
    until: Option<Instant>,
}

impl WaitForRoom {
    /// For an answer that has not begun.
    pub(crate) fn to_begin() -> Self {
        Self { pause: FIRST_PAUSE, until: Some(Instant::now() + LONGEST_WAIT_TO_BEGIN) }
    }

    /// For an answer that has begun: it waits as long as its step may take.
    pub(crate) fn to_go_on() -> Self {
        Self { pause: FIRST_PAUSE, until: None }
    }

    /// Waits for a moment. Errors: the error, if it says something else, or if the answer has waited too long to begin.
    pub(crate) async fn after(&mut self, error: Error) -> Result<()> {
        if !is_no_room(&error) || self.until.is_some_and(|until| Instant::now() >= until) {
            return Err(error);
        }
        tokio::time::sleep(self.pause).await;
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
        Ok(())
    }
}

/// True if another service, or this one, had no memory.
fn is_no_room(error: &Error) -> bool {
    match error {
        Error::TooManyBytes => true,
        Error::Unavailable(text) => text.contains(TOO_MANY_BYTES),
        _ => false,
    }
}
