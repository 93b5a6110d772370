//! The queue of one tenant: a log on disk, to which collections are appended and which each remote reads at its own
//! pace.
//!
//! A part of the log is deleted when every remote has read it. If the log exceeds its limits, the oldest part is
//! deleted even if a remote still needs it, and what is lost is counted.

mod limits;

use std::collections::BTreeMap;
use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::time::Instant;

use parking_lot::Mutex;
use tactus_clock::instant_of;
use tactus_wal::{Frame, PartId, PartInfo, Position, Settings, Tail, Wal};
use tokio::sync::Notify;

use super::cursor::{Cursor, Mark, Opened, Place, RemoteKey};
use super::entry::{Counts, FrameReader};

pub(crate) use limits::{DropReason, Limits, Loss};

pub(crate) struct Queue {
    wal: Wal,
    dir: PathBuf,
    limits: Limits,
    state: Mutex<State>,
    /// One for each remote: something was committed.
    wake: Vec<Notify>,
    /// A remote has got further.
    progress: Notify,
    /// What each remote that is configured no more had not read.
    removed: Vec<Counts>,
}

struct State {
    /// Frames before this position are committed; those that follow belong to a collection that goes on.
    committed: Position,
    /// Parts that end with a collection that failed or was cut off, and where it begins.
    abandoned: BTreeMap<PartId, u64>,
    /// What lies before this position was dropped because of a limit.
    dropped: Position,
    /// When the last collection of a part was committed.
    newest: BTreeMap<PartId, Instant>,
    remotes: Vec<Remote>,
}

struct Remote {
    cursor: Cursor,
    mark: Mark,
    /// As far as it was read; what lies before it is sent or about to be.
    read: Place,
}

impl Queue {
    /// Opens the log in `dir` for the remotes with these keys. A remote that was not there before begins with the next
    /// collection, unless it takes the place of one that is gone; the others go on where they were.
    pub(crate) fn open(
        dir: &Path,
        limits: Limits,
        remotes: &[RemoteKey],
    ) -> Result<Self, tactus_wal::Error> {
        let io = |action: &'static str| {
            move |source| tactus_wal::Error::Io { action, path: dir.to_owned(), source }
        };
        // Labels are data of a tenant: no other user of the machine may read them.
        let created = DirBuilder::new().recursive(true).mode(0o700).create(dir);
        created.map_err(io("create"))?;
        let (cursors, gone) = Cursor::open_all(dir, remotes);
        let marks = cursors.iter().filter_map(|opened| opened.mark).chain(gone.iter().copied());
        let furthest = marks.map(|mark| mark.done.part);
        let settings = Settings {
            // The kernel keeps what is written when the process dies; a crash of the machine may cost the last seconds.
            fsync_interval: None,
            // Parts are closed here, since the definitions in them begin anew.
            part_bytes: u64::MAX,
        };
        let (wal, replay) = Wal::open(dir, settings)?;
        if let Some(furthest) = furthest.max() {
            wal.skip_to(furthest.number().saturating_add(1))?;
        }
        replay.adopt()?;
        let parts = wal.parts();
        let after = |part: &PartInfo| PartId::from_number(part.id.number() + 1);
        let committed = Position { part: parts.last().map(after).unwrap_or_default(), offset: 0 };
        let newest = parts.iter().map(|part| {
            let file = std::fs::metadata(dir.join(format!("{}.wal", part.id)));
            let modified = file.and_then(|file| file.modified());
            (part.id, modified.map_or_else(|_| Instant::now(), instant_of))
        });
        let mut state = State {
            committed,
            abandoned: cut_off(&wal, committed),
            dropped: Position::default(),
            newest: newest.collect(),
            remotes: Vec::new(),
        };
        for Opened { cursor, mark, moved } in cursors {
            let is_written = mark.is_some() && !moved;
            let mark = mark.unwrap_or(Mark { done: Place::at(committed), in_flight: None });
            if !is_written {
                cursor.write(mark).map_err(io("write the cursor in"))?;
            }
            state.remotes.push(Remote { cursor, mark, read: mark.done });
        }
        let mut queue = Self {
            wal,
            dir: dir.to_owned(),
            limits,
            state: Mutex::new(state),
            wake: remotes.iter().map(|_| Notify::new()).collect(),
            progress: Notify::new(),
            removed: Vec::new(),
        };
        queue.removed = gone.iter().map(|mark| queue.unread_from(mark.done)).collect();
        Cursor::forget_others(dir, remotes);
        queue.release_done();
        Ok(queue)
    }

    /// Directory of the log.
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// What each remote that is configured no more had not read when the log was opened.
    pub(crate) fn removed(&self) -> &[Counts] {
        &self.removed
    }

    /// Bytes of the log on disk.
    pub(crate) fn bytes(&self) -> u64 {
        self.wal.total_bytes()
    }

    /// Waits until something was committed since the last wait of this remote.
    pub(crate) async fn committed(&self, remote: usize) {
        match self.wake.get(remote) {
            Some(wake) => wake.notified().await,
            None => std::future::pending().await,
        }
    }

    /// Ends the waiting of all remotes.
    pub(crate) fn wake_all(&self) {
        for wake in &self.wake {
            wake.notify_one();
        }
    }

    /// Appends a frame of a collection that goes on; remotes do not see it yet.
    pub(crate) fn append(&self, frame: &[u8]) -> Result<Position, tactus_wal::Error> {
        self.wal.append(&[frame])
    }

    /// Makes all frames up to `end` visible.
    pub(crate) fn commit(&self, end: Position) {
        let mut state = self.state.lock();
        state.committed = state.committed.max(end);
        state.newest.insert(end.part, Instant::now());
        drop(state);
        self.wake_all();
    }

    /// Closes the current part, and gives up the frames from `from` on, if there are any.
    pub(crate) fn abandon(&self, from: Option<Position>) {
        if let Some(from) = from {
            let mut state = self.state.lock();
            state.abandoned.insert(from.part, from.offset);
            state.newest.insert(from.part, Instant::now());
        }
        self.rotate();
    }

    pub(crate) fn rotate(&self) {
        self.wal.rotate();
    }

    /// True if every remote has passed everything that is committed and was not dropped.
    pub(crate) fn is_drained(&self) -> bool {
        let state = self.state.lock();
        let passed = |remote: &Remote| remote.mark.done.position().max(state.dropped);
        state.remotes.iter().all(|remote| passed(remote) >= state.committed)
    }

    /// Waits until every remote has passed everything that is committed.
    pub(crate) async fn drained(&self) {
        loop {
            // Registered before the look, so that nothing is missed in between.
            let mut progress = std::pin::pin!(self.progress.notified());
            progress.as_mut().enable();
            if self.is_drained() {
                return;
            }
            progress.await;
        }
    }

    /// Deletes what is on disk: every remote has it.
    pub(crate) fn delete(&self) {
        self.rotate();
        for part in self.wal.parts() {
            self.release(part.id);
        }
        Cursor::forget_others(&self.dir, &[]);
    }

    pub(crate) fn limits(&self) -> Limits {
        self.limits
    }

    /// The next committed frame of `tail`, `None` for now if there is none.
    pub(crate) fn next_frame(
        &self,
        tail: &mut Tail,
        damaged: &mut u64,
    ) -> Result<Option<Frame>, tactus_wal::Error> {
        let committed = self.state.lock().committed;
        self.next_frame_before(tail, committed, damaged)
    }

    fn next_frame_before(
        &self,
        tail: &mut Tail,
        end: Position,
        damaged: &mut u64,
    ) -> Result<Option<Frame>, tactus_wal::Error> {
        loop {
            let Some(frame) = tail.next_frame(end, damaged)? else { return Ok(None) };
            let Position { part, offset } = frame.position;
            let given_up = self.state.lock().abandoned.get(&part).copied();
            match given_up {
                Some(from) if offset >= from => {
                    tail.enter(PartId::from_number(part.number() + 1));
                }
                _ => return Ok(Some(frame)),
            }
        }
    }

    pub(crate) fn tail(&self, from: Position) -> Tail {
        self.wal.tail(from)
    }

    pub(crate) fn mark(&self, remote: usize) -> Option<Mark> {
        self.state.lock().remotes.get(remote).map(|remote| remote.mark)
    }

    pub(crate) fn set_read(&self, remote: usize, place: Place) {
        if let Some(remote) = self.state.lock().remotes.get_mut(remote) {
            remote.read = place;
        }
    }

    /// Notes, also for the next start of the process, what a remote is done with and what it is about to send.
    pub(crate) fn set_mark(&self, remote: usize, mark: Mark) {
        {
            let mut state = self.state.lock();
            let Some(remote) = state.remotes.get_mut(remote) else { return };
            if remote.mark == mark {
                return;
            }
            remote.mark = mark;
            if let Err(error) = remote.cursor.write(mark) {
                let error = &error as &dyn std::error::Error;
                // Nothing is lost by it: what is sent already is sent again after a restart.
                tactus_telemetry::log_limited!(warn, dir = %self.dir.display(), error, "cannot write the cursor of the remote-write queue");
            }
        }
        self.release_done();
        self.progress.notify_waiters();
    }

    /// Deletes the closed parts that nobody needs.
    fn release_done(&self) {
        let needed = {
            let state = self.state.lock();
            state.remotes.iter().map(|remote| remote.mark.done.part).min()
        };
        let Some(needed) = needed else { return };
        for part in self.wal.parts() {
            if part.id < needed && !part.in_use {
                self.release(part.id);
            }
        }
    }

    fn release(&self, part: PartId) {
        match self.wal.release(part) {
            Ok(()) | Err(tactus_wal::Error::UnknownPart(_) | tactus_wal::Error::PartInUse(_)) => {}
            Err(error) => {
                let error = &error as &dyn std::error::Error;
                tracing::error!(dir = %self.dir.display(), error, "cannot delete a part of the remote-write queue");
                return;
            }
        }
        let mut state = self.state.lock();
        state.newest.remove(&part);
        state.abandoned.remove(&part);
    }
}

/// The parts whose last collection has no end, and where that collection begins: the process died while it was written.
fn cut_off(wal: &Wal, end: Position) -> BTreeMap<PartId, u64> {
    let mut cut_off = BTreeMap::new();
    let mut tail = wal.tail(Position::default());
    let mut begin = None;
    // An error is met again, and logged, by those who send what is there.
    while let Ok(Some(Frame { position, payload })) = tail.next_frame(end, &mut 0) {
        let Position { part, offset } = position;
        begin = match begin {
            Some((of, begin)) if of == part => Some((part, begin)),
            _ => Some((part, offset)),
        };
        if let Some((part, begin)) = begin {
            cut_off.insert(part, begin);
        }
        if FrameReader::new(&payload).is_ok_and(|frame| frame.ends_collection()) {
            cut_off.remove(&part);
            begin = None;
        }
    }
    cut_off
}

#[cfg(test)]
mod tests;
