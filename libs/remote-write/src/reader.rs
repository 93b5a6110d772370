//! Reads the queue for one remote: converts frames to the samples and labels that are sent.

use std::sync::Arc;

use tactus_wal::{Frame, PartId, Position, Tail};

use super::cursor::Place;
use super::entry::{Counts, Entry, FrameReader, Kind};
use super::queue::Queue;
use super::relabel::Relabeling;
use super::wire::{self, Item, Labels, Value};

/// What was read at once.
#[derive(Debug, Default)]
pub(crate) struct Window {
    pub(crate) items: Vec<Item>,
    /// Left out by relabelling.
    pub(crate) relabeled_away: Counts,
    /// Bad parts and frames that were passed over.
    pub(crate) damaged: u64,
    /// Where the next window begins: what becomes of the cursor when this one is sent.
    pub(crate) end: Place,
}

/// How much to read at once.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Bound {
    /// This many items, and the exemplars of the last one.
    Items(usize),
    /// Up to where a window ended that an earlier process was sending.
    Place(Place),
}

/// Reads the queue for one remote, in order.
pub(crate) struct Reader {
    queue: Arc<Queue>,
    remote: usize,
    relabeling: Arc<Relabeling>,
    tail: Tail,
    /// Part that `series` belongs to.
    part: PartId,
    /// Series of the part by number; `None`: relabelling left it out.
    series: Vec<Option<Labels>>,
    frame: Option<Frame>,
    /// Bytes of the frame that are read, and entries.
    done_bytes: usize,
    done_entries: u64,
    /// Entries of the next frame to pass over: they were sent before the restart.
    skip: Option<Place>,
}

impl Reader {
    /// Goes on where the remote was.
    pub(crate) fn new(queue: Arc<Queue>, remote: usize, relabeling: Arc<Relabeling>) -> Self {
        let place = queue.mark(remote).unwrap_or_default().done;
        // Definitions come from the start of the part.
        let start = Position { part: place.part, offset: 0 };
        Self {
            tail: queue.tail(start),
            queue,
            remote,
            relabeling,
            part: place.part,
            series: Vec::new(),
            frame: None,
            done_bytes: 0,
            done_entries: 0,
            skip: (place != Place::at(start)).then_some(place),
        }
    }

    /// Reads what is committed, up to the bound.
    ///
    /// Errors: the log cannot be read now; the items so far are kept for the next call.
    pub(crate) fn fill(&mut self, window: &mut Window, bound: Bound) -> tactus_wal::Result<()> {
        let filled = self.fill_from_frames(window, bound);
        window.end = self.place();
        if self.skip.is_none() {
            self.queue.set_read(self.remote, window.end);
        }
        filled
    }

    /// True before anything that is no longer to be read with this bound.
    fn is_full(&self, window: &Window, bound: Bound, position: Position) -> bool {
        match bound {
            Bound::Items(limit) => window.items.len() >= limit,
            Bound::Place(end) => {
                let Position { part, offset } = position;
                Place { part, offset, entries: self.done_entries } >= end
            }
        }
    }

    /// Where the next window begins.
    pub(crate) fn place(&self) -> Place {
        match (&self.frame, self.skip) {
            (_, Some(place)) => place,
            (Some(frame), None) => Place {
                part: frame.position.part,
                offset: frame.position.offset,
                entries: self.done_entries,
            },
            (None, None) => Place::at(self.tail.position()),
        }
    }

    fn fill_from_frames(&mut self, window: &mut Window, bound: Bound) -> tactus_wal::Result<()> {
        loop {
            if self.frame.is_none() {
                if matches!(bound, Bound::Items(limit) if window.items.len() >= limit) {
                    return Ok(());
                }
                let Some(frame) = self.queue.next_frame(&mut self.tail, &mut window.damaged)?
                else {
                    self.pass_skipped();
                    return Ok(());
                };
                if frame.position.part != self.part {
                    self.part = frame.position.part;
                    self.series.clear();
                }
                (self.done_bytes, self.done_entries) = (0, 0);
                self.frame = Some(frame);
            }
            let Some(frame) = self.frame.take() else { continue };
            if self.read_entries(&frame, window, bound) {
                self.frame = Some(frame);
                return Ok(());
            }
        }
    }

    /// At the end of what there is, behind the place to go on from or not: that is found.
    fn pass_skipped(&mut self) {
        if self.skip.is_some_and(|place| self.tail.position() >= place.position()) {
            self.skip = None;
        }
    }

    /// True if the window is full before the frame ends.
    fn read_entries(&mut self, frame: &Frame, window: &mut Window, bound: Bound) -> bool {
        if self.skip.is_some_and(|place| frame.position > place.position()) {
            self.skip = None;
        }
        let mut reader = match FrameReader::new(&frame.payload) {
            Ok(reader) => reader,
            Err(error) => return self.give_up(frame, window, error),
        };
        if self.done_bytes > 0 {
            reader.go_to(self.done_bytes, &frame.payload);
        }
        loop {
            let before = reader;
            let entry = match reader.next_entry() {
                Ok(Some(entry)) => entry,
                Ok(None) => return false,
                Err(error) => return self.give_up(frame, window, error),
            };
            let with_last =
                matches!(bound, Bound::Items(_)) && entry.kind() == Some(Kind::Exemplar);
            if self.is_full(window, bound, frame.position) && !with_last {
                self.done_bytes = before.position(&frame.payload);
                return true;
            }
            let sent = self.skip.is_some_and(|place| {
                frame.position < place.position() || self.done_entries < place.entries
            });
            self.done_entries += 1;
            self.take(entry, sent, window);
        }
    }

    fn give_up(
        &mut self,
        frame: &Frame,
        window: &mut Window,
        error: super::entry::Damaged,
    ) -> bool {
        let error = &error as &dyn std::error::Error;
        let Position { part, offset } = frame.position;
        tracing::error!(dir = %self.queue.dir().display(), %part, offset, error, "remote-write queue damaged");
        window.damaged += 1;
        false
    }

    fn take(&mut self, entry: Entry<'_>, sent: bool, window: &mut Window) {
        let kind = entry.kind();
        let (id, timestamp_ms, value) = match entry {
            Entry::Define(labels) => {
                let labels = if self.relabeling.is_empty() {
                    Some(wire::label_fields(&labels))
                } else {
                    self.relabeling.apply(&labels).map(|labels| wire::label_fields(&labels))
                };
                self.series.push(labels);
                return;
            }
            Entry::Float { id, timestamp_ms, value } => (id, timestamp_ms, Value::Float(value)),
            Entry::Histogram { id, timestamp_ms, value } => {
                (id, timestamp_ms, Value::Histogram(Box::new(value)))
            }
            Entry::Exemplar { id, timestamp_ms, value, label, trace_id } => {
                let (label, trace_id) = (label.into(), trace_id.into());
                (id, timestamp_ms, Value::Exemplar { value, label, trace_id })
            }
        };
        if sent {
            return;
        }
        match self.series.get(id as usize) {
            Some(Some(labels)) => {
                let labels = Arc::clone(labels);
                window.items.push(Item { labels, timestamp_ms, value });
            }
            Some(None) => {
                if let Some(kind) = kind {
                    window.relabeled_away.add(kind);
                }
            }
            // Its definition was in a damaged frame before this one.
            None => window.damaged += 1,
        }
    }
}
