//! Work on threads that may block.

use tactus_api::{Error, Result};
use tactus_work::{Over, Stop};

use crate::queue::current_query;

/// Runs work that may take long on a thread that may block, short work right here; until nobody waits for it, and within
/// what is left to the query of this task.
pub async fn offload<T: Send + 'static>(
    is_long: bool,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T> {
    let (stop, _stop_on_drop) = Stop::new();
    let bounds = current_query().work().stopped_by(stop);
    let done = if is_long {
        let task = tokio::task::spawn_blocking(move || bounds.run(work));
        task.await.map_err(|error| Error::Internal(error.to_string()))?
    } else {
        bounds.run(work)
    };
    done.map_err(|over| match over {
        Over::Cancelled => Error::Cancelled,
        Over::Deadline => Error::ApiTimeout,
        over => Error::LimitExceeded(over.to_string()),
    })
}
