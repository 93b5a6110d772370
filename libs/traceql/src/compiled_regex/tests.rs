use std::time::Duration;

use proptest::prelude::*;
use tactus_work::{Budgets, Over, Work, memory};

use super::bounded::MAX_STEPS;
use super::{CompiledRegex, InvalidRegex, Patterns, check, translate};

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
    assert!(matches(r"cart\ call[\ ]", "cart call ") && matches("a\\\tb[\\\x01]", "a\tb\x01"));
    assert!(CompiledRegex::new(r"\é".as_bytes()).is_err() && CompiledRegex::new(br"\i").is_err());
    assert!(matches("[[a]", "[") && matches("[a&&b]", "&") && matches("[a~~b]+", "a~"));
    assert!(matches("[]a]", "]") && matches("[a-]+", "a-") && matches("[--/]+", "-./"));
    assert!(matches(r"[\]\-\x41\x{42}]+", "]-AB"));
    assert!(matches(r"\Qa.b\E.", "a.bc") && !matches(r"\Qa.b\E", "axb"));
    assert!(matches(r"\101\x41\x{1F600}\07", "AA😀\x07"));
    assert!(matches("(?P<n>a)(?:b)(?i:c)(?s-i:d)", "abCd"));
}

#[test]
fn repetition_of_a_repetition_is_refused_as_re2_does() {
    for pattern in ["a**", "a*+", "a++", "a?*", "a+??", "a{2}{3}", "a{2}*", "(a)*{2,}", "[a]?+"] {
        assert!(CompiledRegex::new(pattern.as_bytes()).is_err(), "{pattern}");
    }
    for (pattern, value) in [
        ("a*?b+?c??d{2}?", "aabbdd"),
        ("(?:a*)*(b+)?", "aab"),
        ("a*\\*", "aa*"),
        ("a*{,2}", "aa{,2}"),
        ("a+{01}", "aa{01}"),
        ("a{", "a{"),
        ("[*+?]*", "?*+"),
    ] {
        assert!(matches(pattern, value), "{pattern}");
    }
}

#[test]
fn pattern_that_closes_a_group_it_did_not_open_is_refused() {
    for pattern in ["a)|(b", "a)(b", ")", "(a))", "(?i)a)|(?:b", r"\(a)|(b"] {
        assert!(CompiledRegex::new(pattern.as_bytes()).is_err(), "{pattern}");
    }
    assert!(matches(r"(a)|((?i:b))[)(]\)\Q)\E?", "B()"), "only parentheses of groups count");
}

#[test]
fn named_classes_are_those_of_re2() {
    for pattern in ["[[:foo:]]", "[[:^foo:]]", "[[:Alpha:]]", "[[::]]", "[a[:x]y:]"] {
        assert!(CompiledRegex::new(pattern.as_bytes()).is_err(), "{pattern}");
    }
    assert!(matches("[[:^alpha:][:xdigit:]]+", "1f-") && !matches("[[:word:]]", "-"));
    assert!(matches("[[:]+", "[:") && matches("[[.a.]", "."), "brackets without a name");
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
    let repeats = |pattern: &str| match CompiledRegex::new(pattern.as_bytes()) {
        Err(InvalidRegex::Repeats(repeats)) => Some(repeats),
        _ => None,
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

/// Of `a` and `b`, always the same.
fn random_text(bytes: usize) -> Vec<u8> {
    let mut seed = 1u32;
    let next = || {
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        if seed >> 31 == 0 { b'a' } else { b'b' }
    };
    std::iter::repeat_with(next).take(bytes).collect()
}

#[test]
fn query_is_asked_within_a_long_text() {
    // Nearly every byte makes a state that was not there before.
    let regex = CompiledRegex::new(b"(?:[ab]*a[ab]{400})x").expect("valid");
    let text = random_text(200_000);
    let limit = Duration::from_millis(50);
    let budget = Budgets::default().of(0, limit).expect("a limit");
    let result = Work::default().within(Some(budget.clone())).run(|| regex.is_match(&text));
    assert_eq!(result, Err(Over::CpuTime { limit }));
    assert!(budget.used() < limit * 20, "{:?}", budget.used());
}

/// What the library says whose engines are not bounded.
fn library_says(pattern: &str, value: &[u8]) -> bool {
    let translated = translate::from_re2(pattern).expect("valid");
    regex::bytes::Regex::new(&format!("^(?s:{translated})$")).expect("valid").is_match(value)
}

#[test]
fn patterns_of_a_query_are_bounded_together() {
    let pattern = |number: usize| format!("[a-z]{{{}}}\\pL{{10}}", 1 + number);
    let mut bytes = 0;
    let refused = (0..1000).find_map(|number| check(pattern(number).as_bytes(), &mut bytes).err());
    assert_eq!(refused, Some(InvalidRegex::TooLargeTogether { limit: 1 << 24 }));
    check(b"[a-z]{1}\\pL{10}", &mut 0).expect("alone it is small");
}

#[test]
fn classes_that_take_long_to_put_together_are_refused() {
    let many: String = (0..40_000u32).filter_map(|i| char::from_u32(0x1000 + 2 * i)).collect();
    let alternatives: String = many.chars().map(|it| format!("|{it}")).collect();
    for pattern in [
        format!("[{many}]"),
        format!("(?i)[{many}]x"),
        format!("[ab]{alternatives}"),
        r"\pL".repeat(20_000),
        format!("(?i)[{}]", r"\PL".repeat(1_000)),
        r"(?i)[b-\x{10ffff}]".repeat(5_000),
    ] {
        let result = CompiledRegex::new(pattern.as_bytes());
        assert_eq!(result.err(), Some(InvalidRegex::Classes), "{pattern:.40}");
    }
    let some: String = many.chars().take(1_500).collect();
    assert!(matches(&format!("(?i)[{some}]+"), "\u{1002}"));
    let words: Vec<_> = (0..5_000).map(|number| format!("service-{number}")).collect();
    assert!(matches(&words.join("|"), "service-4999"));
}

#[test]
fn what_is_determined_of_many_patterns_fits_into_their_room() {
    let patterns = Patterns::default();
    let text = random_text(40_000);
    let mut kept = Vec::new();
    for number in 0..80 {
        let pattern = format!("(?:[ab]*a[ab]{{{}}})c", 20 + number);
        let regex = patterns.compile(pattern.as_bytes()).expect("valid");
        assert!(!text.chunks(2_000).any(|text| regex.is_match(text)));
        kept.push(regex);
    }
    let held = patterns.room.held();
    assert!(held > 1 << 20 && held <= 1 << 25, "{held}");
    drop(kept);
    assert_eq!(patterns.room.held(), 0);
}

#[test]
fn what_is_determined_counts_in_the_memory_of_the_query_and_is_given_up_where_none_is_left() {
    let text = random_text(40_000);
    let found_within = |bytes: u64| {
        let all = memory::Budget::new(bytes);
        let work = Work::default().holding(&memory::QueryMemory::within(&all), 7, 1);
        work.run(|| {
            let patterns = Patterns::default();
            let mut kept = Vec::new();
            for number in 0..20 {
                let pattern = format!("(?:[ab]*a[ab]{{{}}})c", 20 + number);
                let regex = patterns.compile(pattern.as_bytes()).expect("valid");
                assert!(!text.chunks(2_000).any(|text| regex.is_match(text)));
                assert!(regex.is_match(format!("{}c", "a".repeat(60)).as_bytes()));
                kept.push(regex);
            }
            (all.used(), patterns.room.held())
        })
    };
    let (used, held) = found_within(1 << 25).expect("enough memory");
    assert!(used > 1 << 20 && used as usize + (1 << 20) > held, "{used} {held}");
    let (used, held) = found_within(1 << 16).expect("a query needs none of it");
    assert!(used <= 1 << 16 && held < 1 << 20, "{used} {held}");
}

#[test]
fn unanchored_patterns_have_the_room_of_the_others() {
    let patterns = Patterns::default();
    let text = random_text(20_000);
    let mut kept = Vec::new();
    for number in 0..80 {
        let pattern = format!("[ab]*a[ab]{{{}}}[c-z]", 14 + number % 3);
        let regex = patterns.clone().compile_unanchored(&pattern, 1 << 20).expect("valid");
        assert!(!text.chunks(2_000).any(|text| regex.is_match(text)));
        assert!(regex.is_match(format!("{}c", "a".repeat(20)).as_bytes()));
        kept.push(regex);
    }
    let held = patterns.room.held();
    assert!(held > 1 << 24 && held <= 1 << 25, "{held}");
    drop(kept);
    assert_eq!(patterns.room.held(), 0);
}

#[test]
fn unanchored_patterns_are_refused_by_syntax_and_size() {
    let compile =
        |pattern: &str| Patterns::default().compile_unanchored(pattern, 1 << 16).map(drop);
    let unclosed = "a(".to_owned();
    let library = regex::bytes::Regex::new(&unclosed).expect_err("unclosed").to_string();
    assert_eq!(compile(&unclosed), Err(InvalidRegex::Syntax(library)));
    assert_eq!(compile("\\pL{100}"), Err(InvalidRegex::TooLarge { limit: 1 << 16 }));
    assert_eq!(compile(&"[\\pL\\pN]".repeat(1_000)), Err(InvalidRegex::Classes));
}

#[test]
fn words_of_unicode_are_found_in_long_values_that_are_not_ascii() {
    let regex = Patterns::default().compile_unanchored(r"\bpaid\b", 1 << 20).expect("valid");
    for size in [1, 100_000] {
        let long = "é ".repeat(size);
        assert!(regex.is_match(format!("{long}paid").as_bytes()));
        assert!(!regex.is_match(format!("{long}épaid").as_bytes()));
    }
    // Without an automaton this would take too many steps.
    let regex = Patterns::default().compile_unanchored(r"\bpaid\b|x{900}", 1 << 20);
    let regex = regex.expect("valid");
    let long = format!("{} é", "ab ".repeat(200_000));
    let result = Work::default().run(|| regex.is_match(long.as_bytes()));
    assert_eq!(result, Err(Over::RegexSteps { bytes: long.len(), limit: MAX_STEPS }));
}

#[test]
fn compiling_is_part_of_the_query() {
    let limit = Duration::from_millis(20);
    let budget = Budgets::default().of(0, limit);
    let mut compiled = 0;
    let result = Work::default().within(budget).run(|| {
        while compiled < 100_000 {
            let pattern =
                format!("[a-z]{{{}}}\\pL{{{}}}x", compiled % 100, 1 + compiled / 100 % 10);
            match CompiledRegex::new(format!("{pattern}{compiled}").as_bytes()) {
                Ok(_) => compiled += 1,
                Err(error) => return assert_eq!(error, InvalidRegex::Over),
            }
        }
    });
    assert_eq!(result, Err(Over::CpuTime { limit }));
    assert!(compiled < 100_000, "{compiled}");
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
        let expected = library_says(&pattern, text.as_bytes());
        prop_assert_eq!(fast.is_match(text.as_bytes()), expected);
        prop_assert_eq!(slow.is_match(text.as_bytes()), expected);
    }

    #[test]
    fn unanchored_patterns_match_as_the_library_does(
        pattern in prop::collection::vec(prop::sample::select(&[
            "a", "b", "[ab]", ".", "é", r"\b", r"\B", r"(?-u:\b)", "^", "$", "(?m:^)", "(?m:$)", r"\w", r"(?-u:\xff)", "(?i:A)", "(a|b)", "b*", "a{2,3}?", "|",
        ]), 0..6),
        text in prop::collection::vec(prop::sample::select(vec![
            &b"a"[..], b"b", b"A", b" ", b"\n", b"_", "é".as_bytes(), b"\xff", b"\xc3",
        ]), 0..12),
        times in prop::sample::select(&[1usize, 1, 3_000]),
    ) {
        let pattern = pattern.concat();
        let Ok(library) = regex::bytes::Regex::new(&pattern) else { return Ok(()) };
        let regex = Patterns::default().compile_unanchored(&pattern, 1 << 20).expect("valid");
        let mut values = vec![text.concat()];
        // Long ones are looked at in pieces.
        values.push([vec![b'x'; 20 * times], text.concat(), vec![b'x'; times]].concat());
        values.push([b"x ".repeat(20 * times), text.concat()].concat());
        for value in values {
            prop_assert_eq!(regex.is_match(&value), library.is_match(&value), "{} {:?}", pattern, text);
        }
    }
}
