//! Caches a value for each combination of label texts, so that no label set is built for a span like one before.

use std::hash::{BuildHasher, Hasher};

use foldhash::fast::RandomState;
use hashbrown::HashTable;

use super::interner::TextId;

/// Tuples kept besides two for each label set of the registry.
const SPARE: usize = 4096;

/// Values by tuples of one width.
#[derive(Debug)]
pub(crate) struct Handles<T> {
    width: usize,
    keys: Vec<TextId>,
    values: Vec<T>,
    index: HashTable<u32>,
    hasher: RandomState,
    epoch: u64,
}

impl<T> Handles<T> {
    /// For tuples of `width` numbers.
    pub(crate) fn new(width: usize) -> Self {
        Self {
            width,
            keys: Vec::new(),
            values: Vec::new(),
            index: HashTable::new(),
            hasher: RandomState::default(),
            epoch: 0,
        }
    }

    /// Forgets everything.
    pub(crate) fn clear(&mut self) {
        self.keys.clear();
        self.values.clear();
        self.index.clear();
    }

    /// Forgets everything if it is of another epoch of the registry, or if there is too much for so many label sets.
    #[inline]
    pub(crate) fn keep_within(&mut self, epoch: u64, label_sets: u64) {
        let most = SPARE
            .saturating_add(usize::try_from(label_sets).unwrap_or(usize::MAX).saturating_mul(2));
        if self.epoch != epoch || self.values.len() > most {
            self.clear();
            self.epoch = epoch;
        }
    }

    #[inline]
    fn hash(hasher: &RandomState, key: &[TextId]) -> u64 {
        let mut state = hasher.build_hasher();
        state.write(bytemuck::cast_slice(key));
        state.finish()
    }

    /// The place of the value of a tuple.
    #[inline]
    pub(crate) fn find(&self, key: &[TextId]) -> Option<usize> {
        let hash = Self::hash(&self.hasher, key);
        let (keys, width) = (&self.keys, self.width);
        let equal = |place: &u32| {
            let start = *place as usize * width;
            keys[start..start + width] == *key
        };
        self.index.find(hash, equal).map(|place| *place as usize)
    }

    /// Keeps the value of a tuple that has none yet; returns its place.
    pub(crate) fn insert(&mut self, key: &[TextId], value: T) -> usize {
        debug_assert_eq!(key.len(), self.width);
        let place = self.values.len();
        self.keys.extend_from_slice(key);
        self.values.push(value);
        let (keys, width, hasher) = (&self.keys, self.width, &self.hasher);
        self.index.insert_unique(Self::hash(hasher, key), place as u32, |place| {
            let start = *place as usize * width;
            Self::hash(hasher, &keys[start..start + width])
        });
        place
    }

    /// The value at a place.
    #[inline]
    pub(crate) fn at(&mut self, place: usize) -> &mut T {
        &mut self.values[place]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tuple_is_found_until_the_epoch_changes() {
        let mut handles = Handles::new(2);
        let place = handles.insert(&[1, 2], 'a');
        handles.insert(&[2, 1], 'b');
        assert_eq!(handles.find(&[1, 2]), Some(place));
        assert_eq!(*handles.at(place), 'a');
        assert_eq!(handles.find(&[1, 3]), None);
        handles.keep_within(0, 0);
        assert!(handles.find(&[2, 1]).is_some());
        handles.keep_within(1, 0);
        assert_eq!(handles.find(&[2, 1]), None);
    }

    #[test]
    fn number_of_tuples_is_bounded_by_the_label_sets() {
        let mut handles = Handles::new(1);
        for number in 0..SPARE as u32 + 3 {
            handles.insert(&[number], ());
        }
        handles.keep_within(0, 2);
        assert!(handles.find(&[0]).is_some());
        handles.keep_within(0, 1);
        assert_eq!(handles.find(&[0]), None);
    }
}
