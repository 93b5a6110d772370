use super::*;
use proptest::prelude::*;

fn go(text: &str) -> i64 {
    parse_go(text).unwrap().0
}

#[test]
fn go_duration_with_valid_text_parses() {
    assert_eq!(go("1h30m"), 5_400 * SECOND);
    assert_eq!(go("1.5h"), 5_400 * SECOND);
    assert_eq!(go("-1m"), -60 * SECOND);
    assert_eq!(go("0"), 0);
    assert_eq!(go("+0"), 0);
    assert_eq!(go(".5s"), SECOND / 2);
    assert_eq!(go("1.s"), SECOND);
    assert_eq!(go("100us"), 100 * MICROSECOND);
    assert_eq!(go("100\u{b5}s"), 100 * MICROSECOND);
    assert_eq!(go("100\u{3bc}s"), 100 * MICROSECOND);
    assert_eq!(go("2562047h47m16.854775807s"), i64::MAX);
    assert_eq!(go("-2562047h47m16.854775808s"), i64::MIN);
    assert_eq!(go("0.3333333333333333333333h"), 1_199_999_999_999);
}

#[test]
fn go_duration_with_invalid_text_is_refused() {
    for text in ["1d", "1 h", "5", "", "-", ".", "s", "1h ", "2562048h", "1.2.3s", "9e3s", "1µ"] {
        assert!(parse_go(text).is_err(), "{text:?}");
    }
    assert_eq!(
        parse_go("14d").unwrap_err().to_string(),
        "time: unknown unit \"d\" in duration \"14d\""
    );
    assert_eq!(parse_go("5").unwrap_err().to_string(), "time: missing unit in duration \"5\"");
    assert_eq!(parse_go("x").unwrap_err().to_string(), "time: invalid duration \"x\"");
}

#[test]
fn go_duration_prints_canonically() {
    for (nanos, text) in [
        (900 * SECOND, "15m0s"),
        (90 * SECOND, "1m30s"),
        (SECOND * 3 / 2, "1.5s"),
        (100 * MILLISECOND, "100ms"),
        (0, "0s"),
        (168 * HOUR, "168h0m0s"),
        (1, "1ns"),
        (1_500, "1.5\u{b5}s"),
        (-SECOND, "-1s"),
        (i64::MAX, "2562047h47m16.854775807s"),
        (i64::MIN, "-2562047h47m16.854775808s"),
    ] {
        assert_eq!(GoDuration(nanos).to_string(), text);
    }
}

#[test]
fn prometheus_duration_follows_its_grammar() {
    for (text, nanos) in [
        ("7d", 7 * DAY),
        ("1h30m", 90 * MINUTE),
        ("0", 0),
        ("0s", 0),
        ("1y1w1d1h1m1s1ms", 373 * DAY + HOUR + MINUTE + SECOND + MILLISECOND),
    ] {
        assert_eq!(parse_prometheus(text).unwrap().0, nanos, "{text}");
    }
    for (text, message) in [
        ("", "empty duration string"),
        ("30", "not a valid duration string: \"30\""),
        ("30m1h", "not a valid duration string: \"30m1h\""),
        ("1h1h", "not a valid duration string: \"1h1h\""),
        ("1.5h", "not a valid duration string: \"1.5h\""),
        ("-1h", "not a valid duration string: \"-1h\""),
        ("5x", "unknown unit \"x\" in duration \"5x\""),
        ("999999999999999999999h", "duration out of range"),
        ("99999999y", "duration out of range"),
    ] {
        assert_eq!(parse_prometheus(text).unwrap_err().to_string(), message);
    }
}

#[test]
fn prometheus_duration_prints_canonically() {
    for (text, printed) in [
        ("14d", "2w"),
        ("15d", "15d"),
        ("90m", "1h30m"),
        ("0", "0s"),
        ("365d", "1y"),
        ("10s", "10s"),
    ] {
        assert_eq!(parse_prometheus(text).unwrap().to_string(), printed);
    }
}

#[test]
fn std_conversion_clamps_negative_values() {
    assert_eq!(GoDuration(-1).as_std(), std::time::Duration::ZERO);
    assert_eq!(GoDuration(-1).non_zero(), None);
    assert_eq!(GoDuration::millis(5).as_std(), std::time::Duration::from_millis(5));
    assert_eq!(GoDuration::from(std::time::Duration::MAX), GoDuration::INFINITE);
}

proptest! {
    #[test]
    fn go_duration_survives_print_and_parse(nanos: i64) {
        prop_assert_eq!(parse_go(&GoDuration(nanos).to_string()), Ok(GoDuration(nanos)));
    }

    #[test]
    fn prometheus_duration_survives_print_and_parse(millis in 0..i64::MAX / MILLISECOND) {
        let duration = PromDuration::millis(millis);
        prop_assert_eq!(parse_prometheus(&duration.to_string()), Ok(duration));
    }

    #[test]
    fn any_text_never_panics(text: String) {
        let _ = parse_go(&text);
        let _ = parse_prometheus(&text);
    }
}
