//! Reads several ranges of one object with few requests.

use std::ops::Range;

use bytes::Bytes;

/// Bytes between two ranges that are cheaper to read than a second request.
const MAX_GAP_BYTES: u64 = 1 << 20;
/// Ranges are not joined beyond this, so that large ones are fetched side by side.
const MAX_JOINED_BYTES: u64 = 8 << 20;

/// Joins ranges that lie close together. Every non-empty range is within one of the result, which
/// is sorted by start.
pub(super) fn join(ranges: &[Range<u64>]) -> Vec<Range<u64>> {
    let mut sorted: Vec<_> = ranges.iter().filter(|range| !range.is_empty()).cloned().collect();
    sorted.sort_unstable_by_key(|range| (range.start, range.end));
    let mut joined: Vec<Range<u64>> = Vec::with_capacity(sorted.len());
    for range in sorted {
        match joined.last_mut() {
            Some(last) if belongs_to(last, &range) => last.end = last.end.max(range.end),
            _ => joined.push(range),
        }
    }
    joined
}

fn belongs_to(last: &Range<u64>, range: &Range<u64>) -> bool {
    let contained = range.end <= last.end;
    let close = range.start <= last.end.saturating_add(MAX_GAP_BYTES);
    contained || (close && range.end - last.start <= MAX_JOINED_BYTES)
}

/// Cuts `range` out of the joined ranges and their bytes; empty for an empty range.
pub(super) fn cut(range: &Range<u64>, joined: &[Range<u64>], bytes: &[Bytes]) -> Bytes {
    let holder = joined
        .iter()
        .zip(bytes)
        .find(|(whole, _)| whole.start <= range.start && range.end <= whole.end);
    match holder {
        Some((whole, bytes)) if !range.is_empty() => {
            // Fits: it is within the bytes, which are in memory.
            let start = (range.start - whole.start) as usize;
            let end = (range.end - whole.start) as usize;
            bytes.slice(start..end)
        }
        _ => Bytes::new(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn close_ranges_are_joined_and_far_ones_not() {
        let far = 3 * MAX_GAP_BYTES;
        let ranges = [far..far + 1, 10..20, 0..5, 15..30];
        assert_eq!(join(&ranges), [0..30, far..far + 1]);
    }

    #[test]
    fn large_ranges_stay_apart() {
        let half = MAX_JOINED_BYTES / 2 + 1;
        assert_eq!(join(&[0..half, half..2 * half]), [0..half, half..2 * half]);
    }

    #[test]
    fn empty_ranges_are_never_fetched() {
        assert!(join(&[5..5, 7..7]).is_empty());
        assert_eq!(cut(&(5..5), &[], &[]), Bytes::new());
    }

    proptest! {
        #[test]
        fn every_range_gets_its_own_bytes(
            pairs in proptest::collection::vec((0u64..20_000_000, 0u64..9_000_000), 0..12),
        ) {
            // The address stands for the bytes: a slice of a long static zero run keeps its place.
            let ranges: Vec<_> = pairs.iter().map(|(start, length)| *start..start + length).collect();
            let joined = join(&ranges);
            prop_assert!(joined.is_sorted_by_key(|range| range.start));
            let object = Bytes::from(vec![0u8; 30_000_000]);
            let bytes: Vec<_> =
                joined.iter().map(|r| object.slice(r.start as usize..r.end as usize)).collect();
            for range in ranges.iter().filter(|range| !range.is_empty()) {
                let piece = cut(range, &joined, &bytes);
                prop_assert_eq!(piece.len() as u64, range.end - range.start);
                let place = piece.as_ptr() as usize - object.as_ptr() as usize;
                prop_assert_eq!(place as u64, range.start);
            }
        }
    }
}
