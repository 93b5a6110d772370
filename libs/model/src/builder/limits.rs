//! Limits that keep the builder's 32-bit numbers from overflowing, and its memory in proportion to its input.

use bytemuck::Pod;

use super::{AppendError, BatchBuilder};
use crate::batch::each_span_column;
use crate::{AttributeList, Buffer, SpanBatch};

/// Divisor: a new batch reserves this fraction more than the last one used.
const SLACK: usize = 16;

/// Once a batch has this many bytes of strings, it takes no further message.
const MAX_STRING_BYTES: usize = 1 << 30;

/// The largest message that is accepted. Its strings take at most four times its bytes (a list that is cut is encoded
/// again), so that all strings together stay below 4 GiB.
pub(super) const MAX_MESSAGE_BYTES: usize = 1 << 29;

/// Once a batch has this many rows or attributes of one kind, it takes no further message. One message adds at most
/// 2^28.
const MAX_ROWS: usize = 1 << 31;

/// Bytes added to the size of each push before entries are limited by it, so that a small push may hold anything.
const FREE_BYTES: usize = 128 << 10;

/// A push may have one event or link for each this many of its bytes.
///
/// A link takes 36 bytes of memory and an event 20. An empty one has two bytes in the request; one with an id or a time
/// has 11 or more.
const BYTES_PER_ENTRY: usize = 8;

/// The same for attributes, which take 13 bytes of memory each. One with a key and a value has seven bytes or more.
pub(super) const BYTES_PER_ATTRIBUTE: usize = 6;

/// An empty batch with the capacity that another one used, because a column that grows step by step is copied each
/// time.
pub(super) fn with_capacity_of(like: &SpanBatch) -> SpanBatch {
    let mut new = SpanBatch::default();
    reserve(&mut new.traces.ids, &like.traces.ids);
    let (to, from) = (&mut new.spans, &like.spans);
    macro_rules! reserve_like {
        ($column:ident) => {
            reserve(&mut to.$column, &from.$column);
        };
    }
    each_span_column!(reserve_like);
    reserve(&mut to.origin, &from.origin);
    reserve(&mut new.events.starts, &like.events.starts);
    reserve(&mut new.events.time, &like.events.time);
    reserve(&mut new.events.name, &like.events.name);
    reserve(&mut new.events.dropped_attributes, &like.events.dropped_attributes);
    reserve(&mut new.links.starts, &like.links.starts);
    reserve_list(&mut new.span_attributes, &like.span_attributes);
    reserve_list(&mut new.events.attributes, &like.events.attributes);
    new
}

fn reserve_list(to: &mut AttributeList, like: &AttributeList) {
    reserve(&mut to.starts, &like.starts);
    reserve(&mut to.keys, &like.keys);
    reserve(&mut to.types, &like.types);
    reserve(&mut to.payloads, &like.payloads);
}

fn reserve<T: Pod>(to: &mut Buffer<T>, like: &Buffer<T>) {
    to.make_mut().reserve_exact(like.len() + like.len() / SLACK);
}

/// How many more bytes' worth of events, links and attributes the current push may add.
#[derive(Debug)]
pub(super) struct EntryBudget {
    left: usize,
}

impl Default for EntryBudget {
    fn default() -> Self {
        Self { left: FREE_BYTES }
    }
}

impl EntryBudget {
    /// Counts the bytes of a ScopeSpans message.
    pub(super) fn add_message(&mut self, bytes: usize) {
        self.left = self.left.saturating_add(bytes);
    }

    /// Bytes that are left.
    #[inline]
    pub(super) fn left(&self) -> usize {
        self.left
    }

    /// Counts an event or link.
    #[inline]
    pub(super) fn spend(&mut self) -> Result<(), AppendError> {
        self.take(BYTES_PER_ENTRY)
    }

    /// Counts an attribute.
    #[inline]
    pub(super) fn spend_attribute(&mut self) -> Result<(), AppendError> {
        self.take(BYTES_PER_ATTRIBUTE)
    }

    #[inline]
    fn take(&mut self, bytes: usize) -> Result<(), AppendError> {
        self.left = self.left.checked_sub(bytes).ok_or(AppendError::TooLarge)?;
        Ok(())
    }
}

impl BatchBuilder {
    /// Checks that everything a message may hold still gets a 32-bit number.
    pub(super) fn check_limits(&self, message: &[u8]) -> Result<(), AppendError> {
        let batch = &self.batch;
        let rows = [
            batch.len(),
            batch.events.time.len(),
            batch.links.trace_id.len(),
            batch.resources.len(),
            batch.scopes.len(),
            batch.span_attributes.len(),
            batch.events.attributes.len(),
            batch.links.attributes.len(),
            batch.resources.attributes.len(),
            batch.scopes.attributes.len(),
        ];
        check(message.len(), self.reader.strings.dictionary().byte_len(), &rows)
    }
}

fn check(message_bytes: usize, string_bytes: usize, rows: &[usize]) -> Result<(), AppendError> {
    if message_bytes > MAX_MESSAGE_BYTES {
        return Err(AppendError::TooLarge);
    }
    if string_bytes > MAX_STRING_BYTES || rows.iter().any(|&rows| rows > MAX_ROWS) {
        return Err(AppendError::Full);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_ends_before_32_bits_do() {
        assert_eq!(check(MAX_MESSAGE_BYTES, MAX_STRING_BYTES, &[0, MAX_ROWS]), Ok(()));
        assert_eq!(check(MAX_MESSAGE_BYTES + 1, 0, &[]), Err(AppendError::TooLarge));
        assert_eq!(check(0, MAX_STRING_BYTES + 1, &[]), Err(AppendError::Full));
        assert_eq!(check(0, 0, &[0, MAX_ROWS + 1]), Err(AppendError::Full));
        assert!(MAX_STRING_BYTES + 4 * MAX_MESSAGE_BYTES < u32::MAX as usize);
        assert!(MAX_ROWS + MAX_MESSAGE_BYTES / 2 < u32::MAX as usize);
    }
}
