//! Kinds and states of spans as labels name them.

use std::borrow::Cow;

/// The kind of a span; a number that is none shows as it is.
pub(crate) fn kind_text(kind: u8) -> Cow<'static, str> {
    let known = match kind {
        0 => "SPAN_KIND_UNSPECIFIED",
        1 => "SPAN_KIND_INTERNAL",
        2 => "SPAN_KIND_SERVER",
        3 => "SPAN_KIND_CLIENT",
        4 => "SPAN_KIND_PRODUCER",
        5 => "SPAN_KIND_CONSUMER",
        other => return other.to_string().into(),
    };
    known.into()
}

/// The status of a span; a number that is none shows as it is.
pub(crate) fn status_text(status: u8) -> Cow<'static, str> {
    let known = match status {
        0 => "STATUS_CODE_UNSET",
        1 => "STATUS_CODE_OK",
        2 => "STATUS_CODE_ERROR",
        other => return other.to_string().into(),
    };
    known.into()
}

/// Seconds between a start and an end, of a span's duration: 0 for one that ends before it starts.
#[inline]
pub(crate) fn seconds(duration: u64) -> f64 {
    if duration > i64::MAX as u64 { 0.0 } else { duration as f64 / 1e9 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_kind_shows_its_number() {
        let kinds = [0, 1, 2, 3, 4, 5, 9].map(kind_text);
        let expected = [
            "SPAN_KIND_UNSPECIFIED",
            "SPAN_KIND_INTERNAL",
            "SPAN_KIND_SERVER",
            "SPAN_KIND_CLIENT",
            "SPAN_KIND_PRODUCER",
            "SPAN_KIND_CONSUMER",
            "9",
        ];
        assert_eq!(kinds, expected);
        assert_eq!(
            [0, 1, 2].map(status_text).concat(),
            "STATUS_CODE_UNSETSTATUS_CODE_OKSTATUS_CODE_ERROR"
        );
    }

    #[test]
    fn span_that_ends_before_it_starts_lasts_nothing() {
        assert_eq!(seconds(100_000_000), 0.1);
        assert_eq!(seconds(5_u64.wrapping_sub(9)), 0.0);
    }
}
