//! The scope of a job's answer, which says for which other requests it may be cached.

use std::fmt;
use std::str::FromStr;

/// The requests to which this is the answer, in addition to the one that was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AnswerScope {
    /// The number of row groups that the job covered.
    pub row_groups: u32,
    /// Other time ranges with the same answer.
    pub times: Times,
}

/// Time ranges with the same answer as the one asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Times {
    /// Only the time range that was asked for.
    Asked,
    /// Every time range: the job does not depend on it.
    Any,
    /// Ranges that start at or before the first time and end at or after the second, in unix nanoseconds. The first may
    /// be later than the second.
    Around(u64, u64),
}

impl Times {
    /// True if the answer holds for a range with these ends, both inclusive.
    pub fn hold(self, start: u64, end: u64) -> bool {
        match self {
            Self::Asked => false,
            Self::Any => true,
            Self::Around(first, last) => start <= first && last <= end,
        }
    }
}

impl fmt::Display for AnswerScope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ", self.row_groups)?;
        match self.times {
            Times::Asked => f.write_str("asked"),
            Times::Any => f.write_str("any"),
            Times::Around(first, last) => write!(f, "{first} {last}"),
        }
    }
}

/// Not the text of an [`AnswerScope`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not the scope of an answer")]
pub struct InvalidScope;

impl FromStr for AnswerScope {
    type Err = InvalidScope;

    fn from_str(text: &str) -> Result<Self, InvalidScope> {
        let words: Vec<_> = text.split(' ').collect();
        let number = |text: &str| text.parse::<u64>().map_err(|_| InvalidScope);
        let (row_groups, times) = match words[..] {
            [row_groups, "asked"] => (row_groups, Times::Asked),
            [row_groups, "any"] => (row_groups, Times::Any),
            [row_groups, first, last] => (row_groups, Times::Around(number(first)?, number(last)?)),
            _ => return Err(InvalidScope),
        };
        Ok(Self { row_groups: row_groups.parse().map_err(|_| InvalidScope)?, times })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn scopes() -> impl Strategy<Value = AnswerScope> {
        let around = any::<(u64, u64)>().prop_map(|(first, last)| Times::Around(first, last));
        let times = prop_oneof![Just(Times::Asked), Just(Times::Any), around];
        (any::<u32>(), times).prop_map(|(row_groups, times)| AnswerScope { row_groups, times })
    }

    proptest! {
        #[test]
        fn text_reads_back(scope in scopes()) {
            prop_assert_eq!(scope.to_string().parse(), Ok(scope));
        }

        #[test]
        fn other_text_is_invalid_or_a_scope(text in "[0-9]{0,30} ?(any|asked|[0-9 -]{0,30})") {
            if let Ok(scope) = text.parse::<AnswerScope>() {
                prop_assert_eq!(scope.to_string().parse(), Ok(scope));
            }
        }
    }

    #[test]
    fn ranges_around_the_times_hold() {
        let times = Times::Around(5, 9);
        assert!(times.hold(5, 9) && times.hold(0, u64::MAX));
        assert!(!times.hold(6, 9) && !times.hold(5, 8));
        assert!(Times::Around(9, 5).hold(7, 7), "a range within the only trace");
    }
}
