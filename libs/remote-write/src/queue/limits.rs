//! The bounds of a queue, and what is lost by them.

use std::cmp::Ordering;
use std::time::{Duration, Instant};

use tactus_wal::{Frame, PartId, Position};

use super::Queue;
use crate::cursor::Place;
use crate::entry::{Counts, FrameReader};

/// Bounds of the log of one tenant.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Size from which a part is closed, in bytes, unless definitions of series take more than a quarter of it.
    pub(crate) part_bytes: u64,
    /// Most bytes of all parts; a part that is written may exceed it by one collection.
    pub(crate) max_bytes: u64,
    /// Age from which a part is dropped.
    pub(crate) max_age: Duration,
}

/// Why something was dropped unsent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DropReason {
    QueueFull,
    TooOld,
}

/// What one remote lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Loss {
    pub(crate) remote: usize,
    pub(crate) counts: Counts,
    pub(crate) reason: DropReason,
}

impl Queue {
    /// Drops the oldest parts while the log is over its limits; the part that is written stays. Returns what the
    /// remotes lost.
    pub(crate) fn enforce_limits(&self, now: Instant) -> Vec<Loss> {
        let mut losses = Vec::new();
        loop {
            let Some(oldest) = self.wal.parts().into_iter().find(|part| !part.in_use) else {
                return losses;
            };
            let newest = self.state.lock().newest.get(&oldest.id).copied();
            let age = newest.map(|newest| now.saturating_duration_since(newest));
            let reason = if age.is_some_and(|age| age > self.limits.max_age) {
                DropReason::TooOld
            } else if self.bytes() > self.limits.max_bytes {
                DropReason::QueueFull
            } else {
                return losses;
            };
            let end = Position { part: PartId::from_number(oldest.id.number() + 1), offset: 0 };
            let lost = self.unread(oldest.id, end).into_iter().enumerate();
            let lost = lost.filter(|(_, counts)| counts.total() > 0);
            losses.extend(lost.map(|(remote, counts)| Loss { remote, counts, reason }));
            let before = self.bytes();
            self.release(oldest.id);
            if self.bytes() >= before {
                // It could not be deleted: the next collection tries again.
                return losses;
            }
            self.state.lock().dropped = end;
            self.progress.notify_waiters();
        }
    }

    /// What each remote has not read of what earlier processes left.
    pub(crate) fn left_behind(&self) -> Vec<Counts> {
        let committed = self.state.lock().committed;
        self.unread(PartId::default(), committed)
    }

    /// What follows this place of what earlier processes left.
    pub(super) fn unread_from(&self, place: Place) -> Counts {
        let committed = self.state.lock().committed;
        let unread = self.unread_by(&[place], PartId::default(), committed);
        unread.first().copied().unwrap_or_default()
    }

    /// What each remote has not read of the frames from `part` to `end`.
    fn unread(&self, part: PartId, end: Position) -> Vec<Counts> {
        let read: Vec<Place> = self.state.lock().remotes.iter().map(|remote| remote.read).collect();
        self.unread_by(&read, part, end)
    }

    /// The same for those who have read up to these places.
    fn unread_by(&self, read: &[Place], part: PartId, end: Position) -> Vec<Counts> {
        let mut unread = vec![Counts::default(); read.len()];
        let Some(furthest_behind) = read.iter().map(|place| place.position()).min() else {
            return unread;
        };
        let start = furthest_behind.max(Position { part, offset: 0 });
        let mut tail = self.wal.tail(start);
        while start < end
            && let Ok(Some(Frame { position, payload })) =
                self.next_frame_before(&mut tail, end, &mut 0)
        {
            let Ok(frame) = FrameReader::new(&payload) else { continue };
            for (place, unread) in read.iter().zip(&mut unread) {
                match place.position().cmp(&position) {
                    Ordering::Less => unread.merge(frame.counts()),
                    Ordering::Equal => unread.merge(counts_after(frame, place.entries)),
                    Ordering::Greater => {}
                }
            }
        }
        unread
    }
}

/// Counts of the entries of a frame except the first `skipped`.
fn counts_after(mut frame: FrameReader<'_>, skipped: u64) -> Counts {
    let mut counts = Counts::default();
    let mut index = 0;
    while let Ok(Some(entry)) = frame.next_entry() {
        if index >= skipped
            && let Some(kind) = entry.kind()
        {
            counts.add(kind);
        }
        index += 1;
    }
    counts
}
