//! Byte strings of a tenant, each with a number that stays the same from batch to batch.

use std::hash::BuildHasher;

use foldhash::fast::RandomState;
use hashbrown::HashTable;

/// Number of a text. 0 is the empty one.
pub(crate) type TextId = u32;

/// The empty text.
pub(crate) const EMPTY: TextId = 0;

/// Texts and their numbers.
#[derive(Debug)]
pub(crate) struct Interner {
    texts: Vec<Box<[u8]>>,
    free: Vec<TextId>,
    index: HashTable<TextId>,
    hasher: RandomState,
    bytes: usize,
}

impl Default for Interner {
    fn default() -> Self {
        Self {
            texts: vec![Box::default()],
            free: Vec::new(),
            index: HashTable::new(),
            hasher: RandomState::default(),
            bytes: 0,
        }
    }
}

impl Interner {
    /// The number of a text.
    pub(crate) fn intern(&mut self, text: &[u8]) -> TextId {
        if text.is_empty() {
            return EMPTY;
        }
        let hash = self.hasher.hash_one(text);
        let texts = &self.texts;
        if let Some(&id) = self.index.find(hash, |&id| *texts[id as usize] == *text) {
            return id;
        }
        self.bytes += text.len();
        let id = match self.free.pop() {
            Some(id) => {
                self.texts[id as usize] = text.into();
                id
            }
            None => {
                self.texts.push(text.into());
                (self.texts.len() - 1) as TextId
            }
        };
        let (texts, hasher) = (&self.texts, &self.hasher);
        self.index.insert_unique(hash, id, |&id| hasher.hash_one(&*texts[id as usize]));
        id
    }

    /// The text of a number; empty for one that was forgotten.
    #[inline]
    pub(crate) fn get(&self, id: TextId) -> &[u8] {
        self.texts.get(id as usize).map_or(b"", |text| text)
    }

    /// Texts kept, the empty one left out.
    pub(crate) fn len(&self) -> usize {
        self.index.len()
    }

    /// Bytes of all texts.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Forgets texts but those of these numbers; the numbers of others are given anew.
    pub(crate) fn retain(&mut self, live: impl Iterator<Item = TextId>) {
        let mut keeps = vec![false; self.texts.len()];
        for id in live {
            if let Some(keep) = keeps.get_mut(id as usize) {
                *keep = true;
            }
        }
        let texts = &mut self.texts;
        self.index.retain(|id| keeps[*id as usize]);
        self.free.clear();
        for (id, keep) in keeps.iter().enumerate().skip(1) {
            if !keep {
                self.bytes -= texts[id].len();
                texts[id] = Box::default();
                self.free.push(id as TextId);
            }
        }
        if self.index.is_empty() {
            *self = Self::default();
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn text_has_one_number_until_it_is_forgotten() {
        let mut interner = Interner::default();
        assert_eq!(interner.intern(b""), EMPTY);
        let (a, b) = (interner.intern(b"a"), interner.intern(b"bb"));
        assert_eq!((interner.intern(b"a"), interner.get(b), interner.bytes()), (a, &b"bb"[..], 3));
        interner.retain([b].into_iter());
        assert_eq!((interner.len(), interner.bytes(), interner.get(a)), (1, 2, &b""[..]));
        let c = interner.intern(b"c");
        assert_eq!((c, interner.intern(b"bb")), (a, b), "the free number is given anew");
    }

    proptest! {
        #[test]
        fn numbers_lead_back_to_their_texts(
            steps in proptest::collection::vec(("[a-c]{0,3}", any::<bool>()), 1..80),
        ) {
            let mut interner = Interner::default();
            let mut kept: Vec<(TextId, String)> = Vec::new();
            for (text, forget) in steps {
                let id = interner.intern(text.as_bytes());
                kept.push((id, text));
                if forget {
                    kept.retain(|(id, _)| id % 2 == 0);
                    interner.retain(kept.iter().map(|(id, _)| *id));
                }
                for (id, text) in &kept {
                    prop_assert_eq!(interner.get(*id), text.as_bytes());
                }
            }
        }
    }
}
