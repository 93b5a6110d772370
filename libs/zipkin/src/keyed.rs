//! Key-value lists in which each key is once: the last value, at the place of the first.

use std::collections::HashMap;

use bytes::Bytes;

/// Lists up to this length are searched from one end to the other.
const MAX_SEARCHED: usize = 16;

/// A list of distinct keys. Adding is cheap for short lists and does not degrade for long ones.
#[derive(Debug, Clone)]
pub(crate) struct Keyed<V> {
    entries: Vec<(Bytes, V)>,
    /// Places by key, once the list is long.
    places: HashMap<Bytes, usize>,
}

impl<V> Default for Keyed<V> {
    fn default() -> Self {
        Self { entries: Vec::new(), places: HashMap::new() }
    }
}

impl<V> Keyed<V> {
    fn place(&self, key: &[u8]) -> Option<usize> {
        if self.entries.len() <= MAX_SEARCHED {
            return self.entries.iter().position(|(known, _)| known == key);
        }
        self.places.get(key).copied()
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(crate) fn get(&self, key: &[u8]) -> Option<&V> {
        self.entries.get(self.place(key)?).map(|(_, value)| value)
    }

    pub(crate) fn contains(&self, key: &[u8]) -> bool {
        self.place(key).is_some()
    }

    pub(crate) fn set(&mut self, key: Bytes, value: V) {
        if let Some((_, known)) = self.place(&key).and_then(|place| self.entries.get_mut(place)) {
            *known = value;
            return;
        }
        self.push(key, value);
    }

    /// Adds a key that is known not to be there.
    pub(crate) fn push(&mut self, key: Bytes, value: V) {
        let place = self.entries.len();
        if place == MAX_SEARCHED {
            let keys = self.entries.iter().enumerate();
            self.places = keys.map(|(place, (key, _))| (key.clone(), place)).collect();
        }
        if place >= MAX_SEARCHED {
            self.places.insert(key.clone(), place);
        }
        self.entries.push((key, value));
    }

    /// Takes out the entries for which `taken` is true.
    pub(crate) fn remove_all(&mut self, taken: impl Fn(&[u8]) -> bool) {
        if !self.entries.iter().any(|(key, _)| taken(key)) {
            return;
        }
        let entries = std::mem::take(&mut self.entries);
        self.places.clear();
        for (key, value) in entries.into_iter().filter(|(key, _)| !taken(key)) {
            self.set(key, value);
        }
    }

    pub(crate) fn into_entries(self) -> Vec<(Bytes, V)> {
        self.entries
    }
}

impl<V> FromIterator<(Bytes, V)> for Keyed<V> {
    fn from_iter<I: IntoIterator<Item = (Bytes, V)>>(entries: I) -> Self {
        let mut list = Self::default();
        for (key, value) in entries {
            list.set(key, value);
        }
        list
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn last_value_wins_at_the_first_place_in_short_and_long_lists() {
        for length in [3, 16, 17, 40] {
            let key = |n: usize| Bytes::from(n.to_string());
            let mut list: Keyed<usize> = (0..length).map(|n| (key(n), n)).collect();
            list.set(key(1), 700);
            list.set(key(length - 1), 800);
            assert_eq!(list.get(b"1"), Some(&700));
            list.remove_all(|key| key == b"0");
            assert!(!list.contains(b"0"));
            let entries = list.into_entries();
            assert_eq!(entries.len(), length - 1);
            assert_eq!(entries[0], (key(1), 700));
            assert_eq!(entries[length - 2], (key(length - 1), 800));
        }
    }
}
