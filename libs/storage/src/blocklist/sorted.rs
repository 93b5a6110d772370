//! Vectors sorted by block id, changed without looking at every block.

use std::collections::BTreeMap;

use uuid::Uuid;

/// What has the id of a block.
pub(super) trait HasBlockId {
    fn id(&self) -> Uuid;
}

/// The entry of a block.
pub(super) fn find<T: HasBlockId>(sorted: &[T], id: Uuid) -> Option<&T> {
    sorted.binary_search_by_key(&id, HasBlockId::id).ok().map(|place| &sorted[place])
}

/// A copy without the blocks of `remove` and with those of `add`, which replace others of their id.
pub(super) fn edited<T: HasBlockId + Clone>(
    sorted: &[T],
    remove: impl Iterator<Item = Uuid>,
    add: impl Iterator<Item = T>,
) -> Vec<T> {
    let mut edits: BTreeMap<Uuid, Option<T>> = remove.map(|id| (id, None)).collect();
    edits.extend(add.map(|entry| (entry.id(), Some(entry))));
    let mut copy = Vec::with_capacity(sorted.len() + edits.len());
    let mut copied = 0;
    for (id, entry) in edits {
        let (place, after) = match sorted.binary_search_by_key(&id, HasBlockId::id) {
            Ok(place) => (place, place + 1),
            Err(place) => (place, place),
        };
        copy.extend_from_slice(&sorted[copied..place]);
        copy.extend(entry);
        copied = after;
    }
    copy.extend_from_slice(&sorted[copied..]);
    copy
}
