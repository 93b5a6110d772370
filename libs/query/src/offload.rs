//! Runs long work on threads that may block.

use std::sync::Arc;
use std::time::Duration;

use tactus_api::{Error, Result};
use tactus_server::bodies::{AnswerMemory, Bodies, NoRoom};
use tactus_work::memory::Room;
use tactus_work::{Held, Over, Slot, Stop, Work};
use tokio::time::timeout;

use crate::current_query::{current_line, current_work};
use crate::long_work::{LongWork, give_way};

/// While it waits for a thread, a query checks at this interval whether it has to end.
const LOOK_IN_LINE_EVERY: Duration = Duration::from_millis(20);

/// While it waits for memory that others will give back soon, a query looks at this interval, for five seconds.
const LOOK_EVERY: Duration = Duration::from_millis(5);
const MOST_LOOKS: u32 = 1_000;

/// Runs long work on a thread that may block, and short work right here. The work ends when nobody waits for it, or
/// when the limits of this task's query are reached.
///
/// Tenants take turns with long work that checks whether it is over: it lets others go first there. So serving threads must
/// not wait for a lock that is held meanwhile.
pub async fn offload<T: Send + 'static>(
    is_long: bool,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T> {
    let (stop, _stop_on_drop) = Stop::new();
    let bounds = current_work().stopped_by(stop);
    if !is_long {
        return bounds.run(work).map_err(error_of);
    }
    let line = current_line();
    let slot = slot_of(line.tenant, &bounds).await?;
    let bounds = bounds.giving_way(give_way);
    let done = LongWork::of_process().run(line, slot, move || bounds.run(work)).await;
    done.map_err(|error| Error::Internal(error.to_string()))?.map_err(error_of)
}

/// As [`offload`], within memory for an answer of this many bytes. Errors: there is none.
pub(crate) async fn offload_within<T: Send + 'static>(
    memory: &Arc<Bodies>,
    bytes: u64,
    is_long: bool,
    write: impl FnOnce() -> T + Send + 'static,
) -> Result<T> {
    let mut taken = AnswerMemory::of(memory);
    taken.add(bytes).await.map_err(|NoRoom| Error::TooManyBytes)?;
    offload(is_long, write).await
}

/// Waits for a place for a thread. Errors: too many wait, or the query has to end because others need its memory.
async fn slot_of(tenant: u64, bounds: &Work) -> Result<Slot> {
    let mut slot = std::pin::pin!(LongWork::of_process().enter(tenant));
    loop {
        match timeout(LOOK_IN_LINE_EVERY, slot.as_mut()).await {
            Ok(slot) => return slot.map_err(|_| Error::QueueFull),
            Err(_) => bounds.run(|| ()).map_err(error_of)?,
        }
    }
}

/// As [`offload`], for long work for which nobody waits. Its limits are its own. Call it within a runtime.
pub(crate) fn offload_later(work: impl FnOnce() + Send + 'static) {
    let (line, threads) = (current_line(), LongWork::of_process());
    tokio::spawn(async move {
        if let Ok(slot) = threads.enter(line.tenant).await {
            // A panic is logged where it happens.
            let _ = threads.run(line, slot, work).await;
        }
    });
}

/// Takes memory for this many bytes of the query of this task in all, with what `held` has already.
///
/// Errors: [`Error::TooManyBytes`], or that the query needs more than there is; the query is over.
pub(crate) async fn hold(held: &mut Held, bytes: usize) -> Result<()> {
    for _ in 0..MOST_LOOKS {
        match run_here(|| held.try_grow_to(bytes))? {
            Room::Enough => return Ok(()),
            Room::Soon => tokio::time::sleep(LOOK_EVERY).await,
            Room::None => break,
        }
    }
    // It says why.
    run_here(|| ())?;
    Err(Error::TooManyBytes)
}

/// Runs short work of the query of this task right here: what it holds counts as memory of the query.
///
/// Errors: the query is over, perhaps because there is no memory for that.
pub(crate) fn run_here<T>(work: impl FnOnce() -> T) -> Result<T> {
    current_work().run(work).map_err(error_of)
}

fn error_of(over: Over) -> Error {
    match over {
        Over::Cancelled => Error::Cancelled,
        Over::Deadline => Error::ApiTimeout,
        Over::Memory => Error::TooManyBytes,
        Over::TooLarge { .. } => Error::NeedsTooMuchMemory(over.to_string()),
        over => Error::LimitExceeded(over.to_string()),
    }
}
