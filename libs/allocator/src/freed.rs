//! Limits how many freed pages the allocator keeps instead of giving them back to the system.

use std::{thread, time::Duration};

use tikv_jemalloc_ctl::{Access, AsName, Mib, Result, epoch};

/// If the arenas together keep more freed bytes than this, they give them back. A steady load of some 100 000 spans a
/// second frees less.
const KEPT_BYTES: usize = 64 << 20;

/// Time between checks of the arenas while much is freed.
const LOOK: Duration = Duration::from_millis(250);
/// And while little is, at most: a check reads the counts of all sizes in all arenas, which is much for an idle process.
const LAST_LOOK: Duration = Duration::from_secs(1);

struct Freed {
    page_bytes: usize,
    arenas: u32,
    dirty: Mib<[usize; 4]>,
    decay: Mib<[usize; 3]>,
}

/// Starts a thread that checks for as long as the process lives. Call it once: a second thread would mistake the decay
/// times that the first one sets for the configured ones.
pub(crate) fn keep_few() -> Result<()> {
    let mut freed = Freed::open()?;
    let look = move || {
        let mut pause = LOOK;
        loop {
            thread::sleep(pause);
            // A failure is not reported, because the next check tries again.
            let is_little =
                freed.give_back_beyond(KEPT_BYTES).is_ok_and(|kept| kept < KEPT_BYTES / 4);
            pause = if is_little { (pause * 2).min(LAST_LOOK) } else { LOOK };
        }
    };
    // If the thread cannot start, the time limit alone gives pages back.
    let _ = thread::Builder::new().name("freed-memory".to_owned()).spawn(look);
    Ok(())
}

impl Freed {
    fn open() -> Result<Self> {
        Ok(Self {
            page_bytes: b"arenas.page\0".as_slice().name().read()?,
            arenas: b"arenas.narenas\0".as_slice().name().read()?,
            dirty: b"stats.arenas.0.pdirty\0".as_slice().name().mib()?,
            decay: b"arena.0.dirty_decay_ms\0".as_slice().name().mib()?,
        })
    }

    /// Freed bytes of each arena.
    fn by_arena(&mut self) -> Result<Vec<usize>> {
        epoch::advance()?;
        let of_arena = |arena| {
            self.dirty[2] = arena;
            // An arena that was never used cannot be read.
            self.dirty.read().unwrap_or(0) * self.page_bytes
        };
        Ok((0..self.arenas as usize).map(of_arena).collect())
    }

    /// Returns how much was freed.
    fn give_back_beyond(&mut self, kept_bytes: usize) -> Result<usize> {
        let arenas = self.by_arena()?;
        let freed = arenas.iter().sum();
        if freed <= kept_bytes {
            return Ok(freed);
        }
        let share = kept_bytes / arenas.len();
        for (arena, _) in arenas.iter().enumerate().filter(|(_, bytes)| **bytes > share) {
            self.decay[1] = arena;
            // A decay time of zero gives all freed pages back at once.
            let time: isize = self.decay.update(0)?;
            self.decay.write(time)?;
        }
        Ok(freed)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A burst that ingest has freed goes long before its time.
    pub(crate) fn burst_goes_back() {
        let mut freed = Freed::open().unwrap();
        let mut bytes = || freed.by_arena().unwrap().iter().sum::<usize>();
        drop(crate::for_ingest(|| vec![1_u8; 4 * KEPT_BYTES]));
        assert!(bytes() > 2 * KEPT_BYTES, "{}", bytes());
        freed.give_back_beyond(KEPT_BYTES).unwrap();
        let left = freed.by_arena().unwrap();
        assert!(left.iter().sum::<usize>() <= KEPT_BYTES, "{left:?}");
    }
}
