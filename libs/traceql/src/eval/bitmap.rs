//! A set of row numbers, stored as bits.

/// Which rows of a table have some property: one bit for each row.
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

    /// The rows whose value satisfies `test`. If the test has no branches and look-ups, the compiler can run it on many
    /// values at once.
    #[inline]
    pub fn from_values<T: Copy>(values: &[T], mut test: impl FnMut(T) -> bool) -> Self {
        let words = values.chunks(64).map(|chunk| word_of(chunk, &mut test)).collect();
        Self { words, len: values.len() }
    }

    /// The rows `i` for which this set contains row `owners[i]`.
    pub fn gather(&self, owners: &[u32]) -> Self {
        if self.is_empty() {
            return Self::none(owners.len());
        }
        if owners.len() < self.len {
            return Self::from_values(owners, |owner| self.contains(owner as usize));
        }
        let flags = self.flags();
        Self::from_values(owners, |owner| flags.get(owner as usize) == Some(&1))
    }

    /// As [`Self::gather`], but only for the rows of `mask`; the result has no others.
    pub(crate) fn gather_among(&self, owners: &[u32], mask: &Self) -> Self {
        let mut rows = mask.clone();
        if mask.is_sparse() || owners.len() != mask.len {
            rows.retain(|row| owners.get(row).is_some_and(|&owner| self.contains(owner as usize)));
        } else {
            rows.intersect(&self.gather(owners));
        }
        rows
    }

    /// True if visiting each row of the set is faster than a pass over all rows.
    pub(crate) fn is_sparse(&self) -> bool {
        self.count() * 16 < self.len
    }

    /// Keeps the rows for which `test` holds.
    #[inline]
    pub fn retain(&mut self, mut test: impl FnMut(usize) -> bool) {
        for (index, word) in self.words.iter_mut().enumerate() {
            let mut rest = *word;
            while rest != 0 {
                let bit = rest.trailing_zeros();
                rest &= rest - 1;
                if !test(index * 64 + bit as usize) {
                    *word &= !(1 << bit);
                }
            }
        }
    }

    /// One byte a row: 1 for those in the set.
    fn flags(&self) -> Vec<u8> {
        let mut flags = Vec::with_capacity(self.words.len() * 64);
        for word in &self.words {
            for byte in word.to_le_bytes() {
                // Each byte keeps only its own bit, and then becomes 1 if that is set.
                let bits = (u64::from(byte) * 0x0101_0101_0101_0101) & 0x8040_2010_0804_0201;
                let ones = ((bits + 0x7f7f_7f7f_7f7f_7f7f) | bits) >> 7 & 0x0101_0101_0101_0101;
                flags.extend_from_slice(&ones.to_le_bytes());
            }
        }
        flags
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
        self.words.iter().enumerate().filter(|(_, word)| **word != 0).flat_map(|(index, &word)| {
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

    /// Adds the rows of `other`, which has the same length, in a range.
    pub(crate) fn unite_range(&mut self, other: &Self, range: std::ops::Range<usize>) {
        for (index, mask) in self.words_in(range) {
            self.words[index] |= other.words[index] & mask;
        }
    }

    /// Number of rows of the set in a range.
    pub(crate) fn count_in(&self, range: std::ops::Range<usize>) -> usize {
        let words = self.words_in(range);
        words.map(|(index, mask)| (self.words[index] & mask).count_ones() as usize).sum()
    }

    /// The words that overlap a range, each with a mask of the range's bits.
    fn words_in(
        &self,
        range: std::ops::Range<usize>,
    ) -> impl Iterator<Item = (usize, u64)> + use<> {
        let (mut row, end) = (range.start, range.end.min(self.len));
        std::iter::from_fn(move || {
            (row < end).then(|| {
                let (index, bit) = (row / 64, row % 64);
                let bits = (end - row).min(64 - bit);
                row += bits;
                (index, (u64::MAX >> (64 - bits)) << bit)
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

/// One bit for each of up to 64 values: 1 if it satisfies the test.
#[inline]
pub(crate) fn word_of<T: Copy>(values: &[T], mut test: impl FnMut(T) -> bool) -> u64 {
    let mut lanes = [0u8; 64];
    for (lane, &value) in lanes.iter_mut().zip(values) {
        *lane = u8::from(test(value));
    }
    pack(&lanes)
}

/// The lowest bit of each lane.
#[inline]
pub(crate) fn pack(lanes: &[u8; 64]) -> u64 {
    let (eights, _) = lanes.as_chunks::<8>();
    let mut word = 0;
    for (index, eight) in eights.iter().enumerate() {
        // Collects the lowest bits of eight bytes in one byte.
        let bits = u64::from_le_bytes(*eight).wrapping_mul(0x0102_0408_1020_4080) >> 56;
        word |= bits << (8 * index);
    }
    word
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
            prop_assert_eq!(apply(&|b| b.retain(|row| pairs[row].1)), rows(&|l, r| l && r));
            prop_assert_eq!(left.count(), rows(&|l, _| l).len());
            prop_assert_eq!(Bitmap::all(len).count(), len);
            let mut inserted = Bitmap::none(len);
            rows(&|l, _| l).iter().for_each(|&row| inserted.insert(row));
            prop_assert_eq!(inserted, left);
        }

        #[test]
        fn gathered_rows_are_those_whose_owner_is_in_the_set(
            set in proptest::collection::vec(any::<bool>(), 1..150),
            owners in proptest::collection::vec(0u32..160, 0..300),
            masked in proptest::collection::vec(any::<bool>(), 300),
            sparse in any::<bool>(),
        ) {
            let bits = Bitmap::from_values(&set, |flag| flag);
            let holds = |row: usize| set.get(owners[row] as usize).copied().unwrap_or(false);
            let expected = Bitmap::from_fn(owners.len(), holds);
            prop_assert_eq!(&bits.gather(&owners), &expected);
            let mask = Bitmap::from_fn(owners.len(), |row| masked[row] && !(sparse && row % 40 > 0));
            let among = Bitmap::from_fn(owners.len(), |row| holds(row) && mask.contains(row));
            prop_assert_eq!(bits.gather_among(&owners, &mask), among);
        }

        #[test]
        fn operations_on_a_range_see_the_rows_in_it(
            pairs in proptest::collection::vec((any::<bool>(), any::<bool>()), 0..300),
            start in 0usize..310,
            length in 0usize..310,
        ) {
            let mut bits = Bitmap::from_values(&pairs, |pair| pair.0);
            let counted = bits.rows().filter(|row| (start..start + length).contains(row)).count();
            prop_assert_eq!(bits.count_in(start..start + length), counted);
            bits.unite_range(&Bitmap::from_values(&pairs, |pair| pair.1), start..start + length);
            let expected = Bitmap::from_fn(pairs.len(), |row| {
                pairs[row].0 || (pairs[row].1 && (start..start + length).contains(&row))
            });
            prop_assert_eq!(bits, expected);
        }
    }
}
