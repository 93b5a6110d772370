use super::{Token, lex};

fn tokens(source: &str) -> Vec<Token> {
    let mut tokens: Vec<Token> = lex(source).into_iter().map(|spanned| spanned.token).collect();
    assert_eq!(tokens.pop(), Some(Token::End));
    tokens
}

fn labels(source: &str) -> Vec<String> {
    tokens(source).iter().map(|token| token.label().to_owned()).collect()
}

fn attribute_text(source: &str) -> String {
    match tokens(source).as_slice() {
        [Token::Attribute { attribute, .. }, ..] => attribute.to_string(),
        other => panic!("{source}: {other:?}"),
    }
}

#[test]
fn symbols_grow_while_the_longer_text_is_known() {
    assert_eq!(
        labels("== <> !=~ !>>= &<<& a=-1"),
        ["=", "=", "<", ">", "!=", "~", "!>>", "=", "&<<", "&", "IDENTIFIER", "=", "-", "INTEGER"]
    );
}

#[test]
fn words_are_keywords_identifiers_or_scopes() {
    assert_eq!(
        labels("span :name span: name trace.x _x1 Ω status"),
        [
            "IDENTIFIER",
            "IDENTIFIER",
            "name",
            "span:",
            "name",
            "IDENTIFIER",
            ".",
            "IDENTIFIER",
            "IDENTIFIER",
            "status"
        ]
    );
}

#[test]
fn comments_are_blanks_outside_of_names_and_strings() {
    assert_eq!(labels("1/* a\n*/2 // tail"), ["INTEGER", "INTEGER"]);
    assert_eq!(attribute_text(".a//b/*c*/ 1"), ".a//b/*c*/");
    assert_eq!(tokens("`//`"), [Token::String(b"//".as_slice().into())]);
    assert_eq!(
        tokens("1 /* a"),
        [Token::Int(1), Token::Invalid("comment not terminated".to_owned())]
    );
}

#[test]
fn durations_convert_in_both_styles() {
    let accepted: &[(&str, i64)] = &[
        ("1d12h", 129_600_000_000_000),
        ("1y2w", (365 + 14) * 86_400_000_000_000),
        ("1s500ms", 1_500_000_000),
        ("2h45m30.5s", 9_930_500_000_000),
        ("1.5h", 5_400_000_000_000),
        ("10.s", 10_000_000_000),
        (".5s", 500_000_000),
        ("100us", 100_000),
        ("100µs", 100_000),
        ("1m1h", 3_660_000_000_000),
        ("0s", 0),
        ("2562047h47m16.854775807s", i64::MAX),
    ];
    for (text, nanoseconds) in accepted {
        assert_eq!(tokens(text), [Token::Duration(*nanoseconds)], "{text}");
    }
    for text in ["1.5d", "1h1d", "1h30", "1d1.5h", "1μs", "1S", "300y", "1h 30m", "2562048h"] {
        assert!(!matches!(tokens(text).as_slice(), [Token::Duration(_)]), "{text}");
    }
}

#[test]
fn numbers_are_decimal_integers_or_go_floats() {
    assert_eq!(tokens("007 9223372036854775807"), [Token::Int(7), Token::Int(i64::MAX)]);
    let floats: &[(&str, f64)] = &[
        ("1.5", 1.5),
        (".5", 0.5),
        ("1.", 1.0),
        ("1e3", 1000.0),
        ("1.5E-3", 0.0015),
        ("0x1p-2", 0.25),
        ("0X1.8p1", 3.0),
        ("08.5", 8.5),
    ];
    for (text, value) in floats {
        assert_eq!(tokens(text), [Token::Float(*value)], "{text}");
    }
    let failures = [
        ("0x10", "strconv.Atoi: parsing \"0x10\": invalid syntax"),
        ("0b1", "strconv.Atoi: parsing \"0b1\": invalid syntax"),
        ("1_000", "strconv.Atoi: parsing \"1_000\": invalid syntax"),
        ("08", "invalid digit '8' in octal literal"),
        ("1e", "exponent has no digits"),
        ("0x", "hexadecimal literal has no digits"),
        (
            "9223372036854775808",
            "strconv.Atoi: parsing \"9223372036854775808\": value out of range",
        ),
        ("1e999", "strconv.ParseFloat: parsing \"1e999\": value out of range"),
    ];
    for (text, message) in failures {
        assert_eq!(tokens(text), [Token::Invalid(message.to_owned())], "{text}");
    }
}

#[test]
fn strings_take_go_escapes_only() {
    let accepted: &[(&str, &[u8])] = &[
        (r#""\a\b\f\n\r\t\v\\\"""#, b"\x07\x08\x0c\n\r\t\x0b\\\""),
        (r#""\u00e9\x41\101\U0001F600""#, "éAA😀".as_bytes()),
        (r#""\xff""#, b"\xff"),
        ("`a\\d\r\n`", b"a\\d\n"),
    ];
    for (text, value) in accepted {
        assert_eq!(tokens(text), [Token::String((*value).into())], "{text}");
    }
    let failures = [
        (r#""\d""#, "invalid char escape"),
        (r#""\'""#, "invalid char escape"),
        (r#""\400""#, "invalid char escape"),
        (r#""\x+1""#, "invalid char escape"),
        (r#""\ud800""#, "invalid char escape"),
        ("\"a\nb\"", "literal not terminated"),
        ("\"a", "literal not terminated"),
        ("`a", "literal not terminated"),
        ("'ab'", "invalid char literal"),
        ("\"a\0\"", "invalid character NUL"),
        ("\0", "invalid character NUL"),
    ];
    for (text, message) in failures {
        assert_eq!(tokens(text), [Token::Invalid(message.to_owned())], "{text:?}");
    }
    assert_eq!(tokens("'a'"), [Token::Identifier("'a'".into())]);
}

#[test]
fn names_take_everything_up_to_an_end_character() {
    let cases = [
        (".a-1 = 1", ".a-1"),
        (".a*.b^2", ".a*.b"),
        (".a[0]'\\@$#?:;/%😝}", ".a[0]'\\@$#?:;/%😝"),
        (".foo\"bar baz\".qux", ".\"foobar baz.qux\""),
        (".foo.\"a \\\" \\\\ b\"", ".\"foo.a \\\" \\\\ b\""),
        (".\"\"", ".\"\""),
        (".\"3foo\"", ".\"3foo\""),
        ("span.3foo", "span.3foo"),
        ("span.resource.foo", "span.resource.foo"),
        (".span.foo", ".span.foo"),
        ("parent.a", "parent.a"),
        ("parent.span.a", "parent.span.a"),
        ("parent.resource.a", "parent.resource.a"),
        ("parent.event.a", "parent.event.a"),
        ("parent.\"span.a\"", "parent.\"span.a\""),
        (".a\u{a0}b", ".a"),
        ("instrumentation.\"a\nb\"", "instrumentation.\"a\nb\""),
    ];
    for (source, canonical) in cases {
        assert_eq!(attribute_text(source), canonical, "{source}");
    }
    let failures = [
        (". foo", "syntax error: unexpected END_ATTRIBUTE, expecting IDENTIFIER"),
        ("span.", "syntax error: unexpected END_ATTRIBUTE, expecting IDENTIFIER"),
        (".\"a\\tb\"", "invalid escape sequence"),
        (".\"foo", "unexpected EOF, expecting \""),
        (".a\0", "invalid character NUL"),
    ];
    for (text, message) in failures {
        assert_eq!(tokens(text), [Token::Invalid(message.to_owned())], "{text:?}");
    }
}
