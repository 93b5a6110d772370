use std::time::Duration;

use proptest::prelude::*;
use tactus_work::{Budgets, Over, Work};

use super::CompiledRegex;
use super::bounded::MAX_STEPS;

fn matches(pattern: &str, value: &str) -> bool {
    let regex = CompiledRegex::new(pattern.as_bytes());
    regex.unwrap_or_else(|error| panic!("{pattern}: {error}")).is_match(value.as_bytes())
}

#[test]
fn patterns_match_the_whole_value() {
    assert!(!matches("b", "abc"));
    assert!(matches("a.b", "a\nb"));
    assert!(matches("a|b", "b") && !matches("a|b", "ab"));
    assert!(matches("", "") && !matches("", "a"));
    assert!(matches("(?i)select|auth", "SELECT") && matches("(?i)select|auth", "auth"));
    assert!(!matches("select", "SELECT"));
    assert!(matches("plain-text", "plain-text") && !matches("plain-text", "plain-texts"));
}

#[test]
fn wildcards_around_texts_match_what_holds_the_texts_in_order() {
    assert!(matches(".*b.*", "abc") && matches(".*b.*", "b") && !matches(".*b.*", "ac"));
    assert!(!matches(".+b.*", "b") && matches(".+b.*", "ab"));
    assert!(matches("ab.*cde.*", "ab-cde") && !matches("ab.*cde.*", "cde-ab"));
    assert!(matches("a.*?", "a") && matches("a..*", "ab") && !matches("a..*", "a"));
    assert!(matches("(?i).*B.*", "abc") && matches(".*", "") && matches(".*.+", "x"));
    let regex = CompiledRegex::new(b".*b.*").expect("valid");
    assert!(!regex.is_match(b"\xff") && regex.is_match("éb".as_bytes()));
}

#[test]
fn classes_are_ascii() {
    assert!(!matches(r"\d", "\u{661}") && matches(r"\d", "1"));
    assert!(matches(r"\D", "\u{661}") && matches(r"[^\d]", "\u{661}"));
    assert!(!matches(r"\w", "é") && matches(r"[\wé]+", "aé_1"));
    assert!(!matches(r"\s", "\u{a0}") && !matches(r"\s", "\x0b"));
    assert!(matches(r".*\bx\b.*", "é x") && matches(r"é\bx", "éx"));
    assert!(matches(r"[[:alpha:]]+", "abc") && matches(r"\p{Greek}\pL", "Ωa"));
    assert!(matches(r"\p{^Greek}", "a") && !matches(r"\P{Greek}", "Ω"));
}

#[test]
fn what_only_the_crate_gives_a_meaning_is_literal() {
    assert!(matches("GET /api/products/{id}", "GET /api/products/{id}"));
    assert!(matches("x{,2}", "x{,2}") && matches("x{2,}", "xxx"));
    assert!(matches(r"\<a\>\_\-", "<a>_-"));
    assert!(matches("[[a]", "[") && matches("[a&&b]", "&") && matches("[a~~b]+", "a~"));
    assert!(matches("[]a]", "]") && matches("[a-]+", "a-") && matches("[--/]+", "-./"));
    assert!(matches(r"[\]\-\x41\x{42}]+", "]-AB"));
    assert!(matches(r"\Qa.b\E.", "a.bc") && !matches(r"\Qa.b\E", "axb"));
    assert!(matches(r"\101\x41\x{1F600}\07", "AA😀\x07"));
    assert!(matches("(?P<n>a)(?:b)(?i:c)(?s-i:d)", "abCd"));
}

#[test]
fn foreign_syntax_is_refused() {
    for pattern in [
        "[",
        "(",
        "(?=x)",
        r"\1",
        r"\C",
        r"\Z",
        r"\h",
        r"\u{41}",
        "(?x)a",
        "(?u)a",
        "a{1001}",
        "*",
        "[b-a]",
        r"a\",
        r"\p{Nope}",
        r"\pé\",
        "[a",
    ] {
        assert!(CompiledRegex::new(pattern.as_bytes()).is_err(), "{pattern}");
    }
    assert!(CompiledRegex::new(b"\xff").is_err());
}

#[test]
fn repetition_bombs_are_refused_by_size() {
    assert!(CompiledRegex::new(b"(a{1000}){1000}").is_err());
    assert!(CompiledRegex::new(b"((((a{100}){100}){100}){100}){100}").is_err());
    assert!(matches(".{1,1000}", "abc"));
}

#[test]
fn bytes_that_are_not_utf8_can_be_matched_around() {
    let regex = CompiledRegex::new(b"a.*").expect("valid");
    assert!(regex.is_match(b"abc"));
    assert!(!regex.is_match(b"\xff"));
    assert_eq!(CompiledRegex::new(b"abc").expect("valid").literal(), Some(b"abc".as_slice()));
    assert_eq!(CompiledRegex::new(b"a.c").expect("valid").literal(), None);
}

#[test]
fn counts_within_counts_are_refused_as_re2_does() {
    let repeats = |pattern: &str| {
        CompiledRegex::new(pattern.as_bytes()).err().and_then(|error| error.repeats)
    };
    assert_eq!(repeats("(a{1,100}){1,50}b"), Some(5000));
    assert_eq!(repeats("((?:xa{3,}|y{2}){7}c{5}){50}"), Some(1050));
    for pattern in ["(a{100}){10}", "(?:a{1,500}b{1,500})+c{1000}", "((a*)+)*", "(a{2}b{3}){166}"] {
        assert_eq!(repeats(pattern), None, "{pattern}");
    }
}

#[test]
fn text_of_too_many_steps_ends_the_query_with_the_limit() {
    let regex = CompiledRegex::new(b"(?:[a-z]{1,200}x?){1,4}").expect("valid");
    let long = vec![b'a'; 10_000_000];
    assert!(!regex.is_match(&long), "nobody's query");
    let result = Work::default().run(|| regex.is_match(&long));
    assert_eq!(result, Err(Over::RegexSteps { bytes: long.len(), limit: MAX_STEPS }));
    assert_eq!(Work::default().run(|| regex.is_match(&long[..700])), Ok(true));
}

#[test]
fn query_is_asked_within_a_long_text() {
    // Nearly every byte makes a state that was not there before.
    let regex = CompiledRegex::new(b"(?:[ab]*a[ab]{400})x").expect("valid");
    let mut seed = 1u32;
    let mut next = || {
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        if seed >> 31 == 0 { b'a' } else { b'b' }
    };
    let text: Vec<u8> = (0..200_000).map(|_| next()).collect();
    let limit = Duration::from_millis(50);
    let budget = Budgets::default().of(0, limit).expect("a limit");
    let result = Work::default().within(Some(budget.clone())).run(|| regex.is_match(&text));
    assert_eq!(result, Err(Over::CpuTime { limit }));
    assert!(budget.used() < limit * 20, "{:?}", budget.used());
}

proptest! {
    #[test]
    fn long_texts_match_as_short_ones_do(
        pattern in prop::collection::vec(prop::sample::select(&["a", "b", "[ab]", ".", "a[ab]{3}", "(ab){1,3}", "b?"]), 1..5),
        tail in prop::collection::vec(prop::sample::select(&["a", "b", "[ab]", ".", "\\bb", "x*"]), 0..3),
        text in "[abx]{0,12}",
    ) {
        // The same with as many states as make the text long.
        let pattern = format!("(?:{})*{}", pattern.concat(), tail.concat());
        let slow = format!("{pattern}|y{{1000}}(?:[a-z]{{500}}[0-9]{{500}}){{1}}");
        let text = text.repeat(200);
        let (fast, slow) = (CompiledRegex::new(pattern.as_bytes()), CompiledRegex::new(slow.as_bytes()));
        let (fast, slow) = (fast.expect("valid"), slow.expect("valid"));
        prop_assert_eq!(fast.matcher.regex_says(text.as_bytes()), slow.is_match(text.as_bytes()));
    }
}
