//! Rows of resources and scopes, found by their encoded messages.

use std::hash::BuildHasher;

use foldhash::fast::RandomState;
use hashbrown::HashTable;

use super::{attribute::AttributeReader, limits::BYTES_PER_ATTRIBUTE};
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
