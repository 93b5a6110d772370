//! A set of row numbers as bits.

/// Which rows of a table have a property; one bit a row.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bitmap {
    /// Bits past `len` are 0.
    words: Vec<u64>,
    len: usize,
}

impl Bitmap {
    /// No row of `len`.
    pub fn none(len: usize) -> Self {
        Self { words: vec![0; len.div_ceil(64)], len }
    }

    /// All `len` rows.
    pub fn all(len: usize) -> Self {
        let mut bitmap = Self { words: vec![u64::MAX; len.div_ceil(64)], len };
        bitmap.clear_tail();
        bitmap
    }

    /// The rows of `len` for which `test` holds.
    #[inline]
    pub fn from_fn(len: usize, mut test: impl FnMut(usize) -> bool) -> Self {
        let mut words = Vec::with_capacity(len.div_ceil(64));
        let mut base = 0;
        while base < len {
            let mut word = 0;
            for bit in 0..(len - base).min(64) {
                word |= u64::from(test(base + bit)) << bit;
            }
            words.push(word);
            base += 64;
        }
        Self { words, len }
    }

    /// The rows whose value satisfies `test`.
    #[inline]
    pub fn from_values<T: Copy>(values: &[T], mut test: impl FnMut(T) -> bool) -> Self {
        let mut words = Vec::with_capacity(values.len().div_ceil(64));
        for chunk in values.chunks(64) {
            let mut word = 0;
            for (bit, &value) in chunk.iter().enumerate() {
                word |= u64::from(test(value)) << bit;
            }
            words.push(word);
        }
        Self { words, len: values.len() }
    }

    /// The rows `i` for which this set holds row `owners[i]`.
    pub fn gather(&self, owners: &[u32]) -> Self {
        Self::from_values(owners, |owner| self.contains(owner as usize))
    }

    /// Number of rows, in the set or not.
    pub fn len(&self) -> usize {
        self.len
    }

    /// True if no row is in the set.
    pub fn is_empty(&self) -> bool {
        self.words.iter().all(|&word| word == 0)
    }

    /// Number of rows in the set.
    pub fn count(&self) -> usize {
        self.words.iter().map(|word| word.count_ones() as usize).sum()
    }

    /// True if the row is in the set; false for a row past the end.
    #[inline]
    pub fn contains(&self, row: usize) -> bool {
        self.words.get(row / 64).is_some_and(|word| word >> (row % 64) & 1 == 1)
    }

    /// Adds a row. Rows past the end are ignored.
    #[inline]
    pub fn insert(&mut self, row: usize) {
        if row < self.len {
            self.words[row / 64] |= 1 << (row % 64);
        }
    }

    /// Keeps the rows that are in `other` too.
    pub fn intersect(&mut self, other: &Self) {
        for (word, other) in self.words.iter_mut().zip(&other.words) {
            *word &= other;
        }
    }

    /// Adds the rows of `other`, which has the same length.
    pub fn unite(&mut self, other: &Self) {
        for (word, other) in self.words.iter_mut().zip(&other.words) {
            *word |= other;
        }
    }

    /// Removes the rows of `other`.
    pub fn subtract(&mut self, other: &Self) {
        for (word, other) in self.words.iter_mut().zip(&other.words) {
            *word &= !other;
        }
    }

    /// Turns the set into its complement.
    pub fn invert(&mut self) {
        self.words.iter_mut().for_each(|word| *word = !*word);
        self.clear_tail();
    }

    /// The rows of the set, ascending.
    pub fn rows(&self) -> impl Iterator<Item = usize> + '_ {
        self.words.iter().enumerate().flat_map(|(index, &word)| {
            let mut rest = word;
            std::iter::from_fn(move || {
                (rest != 0).then(|| {
                    let bit = rest.trailing_zeros() as usize;
                    rest &= rest - 1;
                    index * 64 + bit
                })
            })
        })
    }

    fn clear_tail(&mut self) {
        let used = self.len % 64;
        if used != 0
            && let Some(last) = self.words.last_mut()
        {
            *last &= (1 << used) - 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn operations_agree_with_vectors_of_booleans(
            pairs in proptest::collection::vec((any::<bool>(), any::<bool>()), 0..200),
        ) {
            let len = pairs.len();
            let left = Bitmap::from_fn(len, |row| pairs[row].0);
            let right = Bitmap::from_values(&pairs, |pair| pair.1);
            let rows = |test: &dyn Fn(bool, bool) -> bool| -> Vec<usize> {
                (0..len).filter(|&row| test(pairs[row].0, pairs[row].1)).collect()
            };
            let apply = |operation: &dyn Fn(&mut Bitmap)| -> Vec<usize> {
                let mut result = left.clone();
                operation(&mut result);
                result.rows().collect()
            };
            prop_assert_eq!(apply(&|b| b.intersect(&right)), rows(&|l, r| l && r));
            prop_assert_eq!(apply(&|b| b.unite(&right)), rows(&|l, r| l || r));
            prop_assert_eq!(apply(&|b| b.subtract(&right)), rows(&|l, r| l && !r));
            prop_assert_eq!(apply(&|b| b.invert()), rows(&|l, _| !l));
            prop_assert_eq!(left.count(), rows(&|l, _| l).len());
            prop_assert_eq!(Bitmap::all(len).count(), len);
            let mut inserted = Bitmap::none(len);
            rows(&|l, _| l).iter().for_each(|&row| inserted.insert(row));
            prop_assert_eq!(inserted, left);
        }
    }
}
