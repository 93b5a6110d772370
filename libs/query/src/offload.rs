//! Runs long work on threads that may block.

use std::sync::{Arc, LazyLock};
use std::thread::available_parallelism;
use std::time::Duration;

use tactus_api::{Error, Result};
use tactus_server::bodies::{AnswerMemory, Bodies, NoRoom};
use tactus_work::memory::Room;
use tactus_work::{Held, Over, Slot, SlotLimits, Slots, Stop, Work};
use tokio::time::timeout;

use crate::current_query::{current_tenants, current_work};

/// This many tenants can each use as many threads as there are processors.
const TENANTS_AT_WORK: usize = 64;
/// Pieces of work of a tenant that may wait. Its queries are fewer.
const WAITING_PER_TENANT: usize = 10_000;

/// While it waits for its turn, a query checks at this interval whether it has to end.
const LOOK_IN_LINE_EVERY: Duration = Duration::from_millis(20);

/// While it waits for memory that others will give back soon, a query looks at this interval, for five seconds.
const LOOK_EVERY: Duration = Duration::from_millis(5);
const MOST_LOOKS: u32 = 1_000;

/// Whose long work is done in this process. Threads are not taken away from work that has begun: it may not ask for long.
static SLOTS: LazyLock<Slots> = LazyLock::new(|| {
    let threads = available_parallelism().map_or(1, usize::from);
    Slots::new(SlotLimits {
        per_tenant: threads,
        total: threads.saturating_mul(TENANTS_AT_WORK),
        newcomers: 0,
        waiting_per_tenant: WAITING_PER_TENANT,
    })
});

/// Runs long work on a thread that may block, and short work right here. The work ends when nobody waits for it, or
/// when the limits of this task's query are reached. Long work of a tenant uses at most as many threads as there are
/// processors.
pub async fn offload<T: Send + 'static>(
    is_long: bool,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T> {
    let (stop, _stop_on_drop) = Stop::new();
    let bounds = current_work().stopped_by(stop);
    let done = if is_long {
        let slot = match current_tenants() {
            Some(tenants) => Some(turn_of(tenants, &bounds).await?),
            None => None,
        };
        let task = tokio::task::spawn_blocking(move || {
            // The slot is kept until the thread is free, even if the caller has gone.
            let _slot = slot;
            bounds.run(work)
        });
        task.await.map_err(|error| Error::Internal(error.to_string()))?
    } else {
        bounds.run(work)
    };
    done.map_err(error_of)
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

/// Waits for a slot. Errors: too many wait, or the query has to end because others need its memory.
async fn turn_of(tenants: u64, bounds: &Work) -> Result<Slot> {
    let mut slot = std::pin::pin!(SLOTS.enter(tenants));
    loop {
        match timeout(LOOK_IN_LINE_EVERY, slot.as_mut()).await {
            Ok(slot) => return slot.map_err(|_| Error::QueueFull),
            Err(_) => bounds.run(|| ()).map_err(error_of)?,
        }
    }
}

/// As [`offload`], for long work for which nobody waits. It begins when it is the turn of this task's tenants. Call it
/// within a runtime.
pub(crate) fn offload_later(work: impl FnOnce() + Send + 'static) {
    let tenants = current_tenants();
    tokio::spawn(async move {
        let slot = match tenants {
            Some(tenants) => match SLOTS.enter(tenants).await {
                Ok(slot) => Some(slot),
                Err(_) => return,
            },
            None => None,
        };
        tokio::task::spawn_blocking(move || {
            let _slot = slot;
            work();
        });
    });
}

/// Takes memory for this many bytes of the query of this task in all, with what `held` has already.
///
/// Errors: [`Error::TooManyBytes`], or that the query needs more than there is; the query is over.
pub(crate) async fn hold(held: &mut Held, bytes: usize) -> Result<()> {
    for _ in 0..MOST_LOOKS {
        match current_work().run(|| held.try_grow_to(bytes)).map_err(error_of)? {
            Room::Enough => return Ok(()),
            Room::Soon => tokio::time::sleep(LOOK_EVERY).await,
            Room::None => break,
        }
    }
    // It says why.
    current_work().run(|| ()).map_err(error_of)?;
    Err(Error::TooManyBytes)
}

fn error_of(over: Over) -> Error {
    match over {
        Over::Cancelled => Error::Cancelled,
        Over::Deadline => Error::ApiTimeout,
        Over::Memory => Error::TooManyBytes,
        over => Error::LimitExceeded(over.to_string()),
    }
}
