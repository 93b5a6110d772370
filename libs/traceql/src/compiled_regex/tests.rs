use super::CompiledRegex;

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
