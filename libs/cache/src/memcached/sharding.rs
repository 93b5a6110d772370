//! Which server has a key.

use std::cmp::Ordering;

use xxhash_rust::xxh64::xxh64;

/// Sorts names as people do: `cache-2` before `cache-10`, so that a further replica takes the last place and most keys
/// stay where they are.
pub(super) fn sort(names: &mut [String]) {
    names.sort_by(|one, other| natural(one.as_bytes(), other.as_bytes()));
}

/// Numbers by their value, everything else by its bytes.
fn natural(mut one: &[u8], mut other: &[u8]) -> Ordering {
    let (first, second) = (one, other);
    loop {
        let (digits, other_digits) = (number(one), number(other));
        if !digits.is_empty() && !other_digits.is_empty() {
            let by_value = by_value(digits, other_digits);
            if by_value.is_ne() {
                return by_value;
            }
            (one, other) = (&one[digits.len()..], &other[other_digits.len()..]);
            continue;
        }
        match (one.split_first(), other.split_first()) {
            (Some((a, rest)), Some((b, other_rest))) if a == b => (one, other) = (rest, other_rest),
            (Some((a, _)), Some((b, _))) => return a.cmp(b),
            (None, None) => return first.cmp(second),
            (None, Some(_)) => return Ordering::Less,
            (Some(_), None) => return Ordering::Greater,
        }
    }
}

/// The digits at the start.
fn number(text: &[u8]) -> &[u8] {
    let digits = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    &text[..digits]
}

fn by_value(one: &[u8], other: &[u8]) -> Ordering {
    let significant = |digits: &[u8]| {
        let zeros = digits.iter().take_while(|&&digit| digit == b'0').count();
        digits[zeros..].to_vec()
    };
    let (one, other) = (significant(one), significant(other));
    one.len().cmp(&other.len()).then_with(|| one.cmp(&other))
}

/// The number of the server, of so many, that has a key. With one server more only the keys move that it gets.
pub(super) fn server_of(key: &str, servers: usize) -> usize {
    jump(xxh64(key.as_bytes(), 0), servers)
}

/// The jump consistent hash of Lamping and Veach.
fn jump(mut key: u64, buckets: usize) -> usize {
    let (mut bucket, mut next) = (0i64, 0i64);
    while next < buckets as i64 {
        bucket = next;
        key = key.wrapping_mul(2_862_933_555_777_941_757).wrapping_add(1);
        let step = (1u64 << 31) as f64 / ((key >> 33) + 1) as f64;
        next = ((bucket + 1) as f64 * step) as i64;
    }
    bucket as usize
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn numbers_in_names_sort_by_value() {
        let mut names =
            ["m-10:1", "m-9:1", "m-9:02", "a", "m-1:11211", "m-1:2", "", "10.0.0.2", "10.0.0.10"]
                .map(str::to_owned);
        sort(&mut names);
        let sorted =
            ["", "10.0.0.2", "10.0.0.10", "a", "m-1:2", "m-1:11211", "m-9:1", "m-9:02", "m-10:1"];
        assert_eq!(names, sorted);
    }

    #[test]
    fn jump_matches_known_values() {
        // Of the paper's function, as other implementations test it.
        for (key, buckets, expected) in [
            (1, 1, 0),
            (42, 57, 43),
            (0xdead_10cc, 1, 0),
            (0xdead_10cc, 666, 361),
            (256, 1024, 520),
        ] {
            assert_eq!(jump(key, buckets), expected, "{key} {buckets}");
        }
    }

    proptest! {
        #[test]
        fn further_server_takes_keys_from_others_only(key in any::<u64>(), servers in 1..100usize) {
            let (before, after) = (jump(key, servers), jump(key, servers + 1));
            prop_assert!(before < servers && (after == before || after == servers));
        }

        #[test]
        fn natural_order_is_an_order(names in prop::collection::vec("[a0-2.-]{0,6}", 0..8)) {
            for a in &names {
                for b in &names {
                    let order = natural(a.as_bytes(), b.as_bytes());
                    prop_assert_eq!(order.reverse(), natural(b.as_bytes(), a.as_bytes()));
                    prop_assert_eq!(order.is_eq(), a == b);
                    for c in &names {
                        if order.is_le() && natural(b.as_bytes(), c.as_bytes()).is_le() {
                            prop_assert!(natural(a.as_bytes(), c.as_bytes()).is_le());
                        }
                    }
                }
            }
        }
    }
}
