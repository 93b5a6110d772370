//! Processes eight levels at a time: a word with one byte for each entry, and masks with the high bit of each byte.

use crate::decoding::hybrid::Levels;

use super::chunk::PageLevels;

/// The high bit of each byte.
const HIGH: u64 = 0x8080_8080_8080_8080;
const ONES: u64 = 0x0101_0101_0101_0101;

/// The levels of eight entries.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LevelWord {
    rep: u64,
    def: u64,
    /// Marks the entries that the page has.
    present: u64,
}

impl LevelWord {
    /// Entries that repeat below `level`.
    #[inline(always)]
    pub(crate) fn repeats_below(self, level: u8) -> u64 {
        at_least(self.rep, level + 1) & self.present
    }

    /// Entries that are defined to `level` or deeper.
    #[inline(always)]
    pub(crate) fn defined_to(self, level: u8) -> u64 {
        at_least(self.def, level) & self.present
    }
}

/// Sets the high bit of each byte that is at least `threshold`. Levels are below 128, so no sum carries into the next
/// byte.
#[inline(always)]
fn at_least(word: u64, threshold: u8) -> u64 {
    word + ONES * u64::from(128 - threshold)
}

/// Number of marks.
#[inline(always)]
pub(crate) fn count(marks: u64) -> usize {
    ((marks >> 7).wrapping_mul(ONES) >> 56) as usize
}

/// The number of marks up to and including the lowest mark of `upto`.
#[inline(always)]
pub(crate) fn count_through(marks: u64, upto: u64) -> usize {
    count(marks & (upto ^ upto.wrapping_sub(1)))
}

/// For each byte of a word of repetition levels, how many bytes up to and including it are below `level`.
#[inline(always)]
pub(crate) fn starts_through(rep: u64, level: u8) -> [u8; 8] {
    let below = (!at_least(rep, level) & HIGH) >> 7;
    below.wrapping_mul(ONES).to_le_bytes()
}

/// The levels of a page in words.
#[inline]
pub(crate) fn for_each_word<E>(
    page: PageLevels<'_>,
    mut visit: impl FnMut(LevelWord) -> Result<(), E>,
) -> Result<(), E> {
    let splat = |level: u8| ONES * u64::from(level);
    match (page.rep, page.def) {
        (Levels::Constant(rep), Levels::Constant(def)) => {
            words(page.entries, |_| splat(rep), |_| splat(def), &mut visit)
        }
        (Levels::Constant(rep), Levels::Each(def)) => {
            words(page.entries, |_| splat(rep), |at| load(def, at), &mut visit)
        }
        (Levels::Each(rep), Levels::Constant(def)) => {
            words(page.entries, |at| load(rep, at), |_| splat(def), &mut visit)
        }
        (Levels::Each(rep), Levels::Each(def)) => {
            words(page.entries, |at| load(rep, at), |at| load(def, at), &mut visit)
        }
    }
}

#[inline(always)]
fn words<E>(
    entries: usize,
    rep: impl Fn(usize) -> u64,
    def: impl Fn(usize) -> u64,
    visit: &mut impl FnMut(LevelWord) -> Result<(), E>,
) -> Result<(), E> {
    let whole = entries / 8 * 8;
    for at in (0..whole).step_by(8) {
        visit(LevelWord { rep: rep(at), def: def(at), present: HIGH })?;
    }
    if whole < entries {
        let present = HIGH >> (64 - 8 * (entries - whole));
        visit(LevelWord { rep: rep(whole), def: def(whole), present })?;
    }
    Ok(())
}

#[inline(always)]
fn load(levels: &[u8], at: usize) -> u64 {
    let rest = &levels[at..];
    match rest.first_chunk::<8>() {
        Some(bytes) => u64::from_le_bytes(*bytes),
        None => {
            let mut bytes = [0; 8];
            bytes[..rest.len()].copy_from_slice(rest);
            u64::from_le_bytes(bytes)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn masks_agree_with_a_loop_over_entries(
            levels in proptest::collection::vec((0u8..6, 0u8..6), 0..40), level in 0u8..6,
        ) {
            let (rep, def): (Vec<u8>, Vec<u8>) = levels.iter().copied().unzip();
            let page = PageLevels { entries: rep.len(), rep: Levels::Each(&rep), def: Levels::Each(&def) };
            let (mut below, mut defined) = (Vec::new(), Vec::new());
            let done: Result<(), ()> = for_each_word(page, |word| {
                for byte in 0..8 {
                    below.push(word.repeats_below(level) >> (8 * byte + 7) & 1 == 1);
                    defined.push(word.defined_to(level) >> (8 * byte + 7) & 1 == 1);
                }
                let marks = word.defined_to(level);
                assert_eq!(count(marks), marks.count_ones() as usize);
                assert_eq!(count_through(marks, marks), usize::from(marks != 0));
                Ok(())
            });
            prop_assert_eq!(done, Ok(()));
            for (entry, &(rep, def)) in levels.iter().enumerate() {
                prop_assert_eq!(below[entry], rep > level);
                prop_assert_eq!(defined[entry], def >= level);
            }
            prop_assert!(!defined[levels.len()..].contains(&true));
        }
    }
}
