//! Rows of resources and scopes, found by their encoded messages.

use std::hash::BuildHasher;

use foldhash::fast::RandomState;
use hashbrown::HashTable;

use super::{AppendError, BatchBuilder, attribute::AttributeReader, limits::BYTES_PER_ATTRIBUTE};
use crate::{
    AttributeList,
    buffer::{mostly_unused, truncate_vec},
    wire::{Reader, WireError},
};

/// The encoded messages of a table's rows, with an index over them.
#[derive(Debug, Default)]
pub(super) struct OwnerIndex {
    messages: Vec<Box<[u8]>>,
    rows: HashTable<u32>,
    hasher: RandomState,
    /// Sum over `messages`.
    message_bytes: usize,
}

impl OwnerIndex {
    /// The row of a message.
    pub(super) fn find(&self, message: &[u8]) -> Option<u32> {
        let hash = self.hasher.hash_one(message);
        self.rows.find(hash, |&row| *self.messages[row as usize] == *message).copied()
    }

    /// Adds the message of the next row.
    pub(super) fn push(&mut self, message: &[u8]) {
        let hash = self.hasher.hash_one(message);
        let row = self.messages.len() as u32;
        self.messages.push(message.into());
        self.message_bytes += message.len();
        let (messages, hasher) = (&self.messages, &self.hasher);
        self.rows.insert_unique(hash, row, |&row| hasher.hash_one(&*messages[row as usize]));
    }

    /// Forgets the rows from `rows` on.
    pub(super) fn truncate(&mut self, rows: usize) {
        for (row, message) in self.messages.iter().enumerate().skip(rows) {
            let hash = self.hasher.hash_one(&**message);
            if let Ok(entry) = self.rows.find_entry(hash, |&other| other as usize == row) {
                entry.remove();
            }
            self.message_bytes -= message.len();
        }
        truncate_vec(&mut self.messages, rows);
        if mostly_unused(self.rows.capacity(), self.rows.len()) {
            let (messages, hasher) = (&self.messages, &self.hasher);
            self.rows
                .shrink_to(2 * messages.len(), |&row| hasher.hash_one(&*messages[row as usize]));
        }
    }

    /// Bytes of memory held.
    pub(super) fn heap_bytes(&self) -> usize {
        self.message_bytes
            + self.messages.capacity() * size_of::<Box<[u8]>>()
            + self.rows.allocation_size()
    }
}

/// A message of at most this many bytes is looked up by its bytes each time, which takes about as long as by its place.
const SMALL_BYTES: usize = 1 << 10;

/// The rows of the large resources and scopes that a push has named so far, by the places of their messages. Thousands of
/// runs may name one of megabytes, which is hashed and compared only once.
///
/// It is of one builder, and of no use once the batch is finished or rolled back.
#[derive(Debug, Default)]
pub struct KnownOwners<'a> {
    resources: KnownRows<'a>,
    scopes: KnownRows<'a>,
}

impl KnownOwners<'_> {
    /// Bytes of the large messages that were named so far.
    pub fn bytes(&self) -> usize {
        self.resources.bytes + self.scopes.bytes
    }
}

/// Messages with their rows; without one if they are nested too deeply.
#[derive(Debug, Default)]
struct KnownRows<'a> {
    rows: HashTable<(&'a [u8], Option<u32>)>,
    hasher: RandomState,
    /// Sum over the messages.
    bytes: usize,
}

impl<'a> KnownRows<'a> {
    /// The row of a message, which `find` returns where it is not known; `None` if it is nested too deeply.
    fn row(
        &mut self,
        message: &'a [u8],
        find: impl FnOnce(&[u8]) -> Result<u32, AppendError>,
    ) -> Result<Option<u32>, AppendError> {
        if message.len() <= SMALL_BYTES {
            return unless_too_deep(find(message));
        }
        let hasher = &self.hasher;
        let hash_of = |message: &[u8]| hasher.hash_one((message.as_ptr() as usize, message.len()));
        let hash = hash_of(message);
        let is_same = |&(known, _): &(&[u8], Option<u32>)| std::ptr::eq(known, message);
        if let Some(&(_, row)) = self.rows.find(hash, is_same) {
            return Ok(row);
        }
        let row = unless_too_deep(find(message))?;
        self.rows.insert_unique(hash, (message, row), |&(known, _)| hash_of(known));
        self.bytes += message.len();
        Ok(row)
    }
}

fn unless_too_deep(row: Result<u32, AppendError>) -> Result<Option<u32>, AppendError> {
    match row {
        Err(AppendError::Malformed(WireError::Depth)) => Ok(None),
        row => row.map(Some),
    }
}

impl BatchBuilder {
    /// The rows of a Resource and an InstrumentationScope message; `None` if either is nested too deeply. `known`: those that
    /// the push has named so far.
    pub fn owners<'a>(
        &mut self,
        known: &mut KnownOwners<'a>,
        resource: &'a [u8],
        scope: &'a [u8],
    ) -> Result<Option<(u32, u32)>, AppendError> {
        let resource = known.resources.row(resource, |message| self.resource(message))?;
        let Some(resource) = resource else { return Ok(None) };
        let scope = known.scopes.row(scope, |message| self.scope(message))?;
        Ok(scope.map(|scope| (resource, scope)))
    }
}

/// A resource or scope may have this many attributes, however few bytes it has.
const FREE_ATTRIBUTES: usize = 1 << 12;

/// Appends the attributes of a resource or scope, and returns its dropped count. Errors: damage, and
/// [`WireError::Hollow`] if it has many more attributes than its bytes justify.
pub(super) fn append_owner(
    message: &[u8],
    attributes_field: u32,
    dropped_field: u32,
    list: &mut AttributeList,
    attributes: &mut AttributeReader,
) -> Result<u32, WireError> {
    let (mut dropped, mut left) = (0, FREE_ATTRIBUTES + message.len() / BYTES_PER_ATTRIBUTE);
    let mut reader = Reader::new(message);
    while let Some((field, value)) = reader.next_field()? {
        if field == attributes_field {
            left = left.checked_sub(1).ok_or(WireError::Hollow)?;
            attributes.append(value.bytes(field)?, list)?;
        } else if field == dropped_field {
            dropped = value.varint(field)? as u32;
        }
    }
    list.end_owner();
    Ok(dropped)
}

/// The name and version of a scope.
pub(super) fn scope_texts(message: &[u8]) -> Result<(&[u8], &[u8]), WireError> {
    let (mut name, mut version): (&[u8], &[u8]) = (b"", b"");
    let mut reader = Reader::new(message);
    while let Some((field, value)) = reader.next_field()? {
        match field {
            1 => name = value.bytes(1)?,
            2 => version = value.bytes(2)?,
            _ => {}
        }
    }
    Ok((name, version))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_message_is_looked_up_once_wherever_it_is_named() {
        let (large, deep) = (vec![1_u8; SMALL_BYTES + 1], vec![2_u8; SMALL_BYTES + 1]);
        let (copy, small) = (large.clone(), vec![1; SMALL_BYTES]);
        let (mut known, mut looked_up) = (KnownRows::default(), Vec::new());
        for message in [&large, &deep, &large, &small, &copy, &small, &deep, &copy, &large] {
            let row = known.row(message, |message| {
                looked_up.push((message[0], message.len()));
                match message[0] {
                    2 => Err(WireError::Depth.into()),
                    _ => Ok(message.len() as u32),
                }
            });
            let expected = (message[0] == 1).then_some(message.len() as u32);
            assert_eq!(row, Ok(expected));
        }
        let (large, small) = (SMALL_BYTES + 1, SMALL_BYTES);
        let expected = [(1, large), (2, large), (1, small), (1, large), (1, small)];
        assert_eq!(looked_up, expected);
        assert_eq!(known.bytes, 3 * large);
    }

    #[test]
    fn other_errors_are_not_kept() {
        let large = vec![1; SMALL_BYTES + 1];
        let mut known = KnownRows::default();
        assert_eq!(known.row(&large, |_| Err(AppendError::Full)), Err(AppendError::Full));
        assert_eq!(known.row(&large, |_| Ok(7)), Ok(Some(7)));
    }
}
