//! Properties of the parser over generated input.

use proptest::prelude::*;
use tactus_traceql::{CompiledRegex, completion, parse, validate};

/// Whatever the text: no panic, and an accepted query's canonical text is a fixed point.
fn check(query: &str) {
    let _ = completion(query, None, 100);
    let Ok(root) = parse(query) else { return };
    let _ = validate(&root);
    let canonical = root.to_string();
    let again = parse(&canonical);
    assert!(again.is_ok(), "{query:?} has canonical text {canonical:?}: {again:?}");
    let Ok(again) = again else { return };
    assert_eq!(again.to_string(), canonical, "from {query:?}");
    let class = |root| validate(root).map_err(|error| error.to_string());
    assert_eq!(class(&root), class(&again), "from {query:?}");
}

fn literal() -> impl Strategy<Value = String> {
    prop_oneof![
        any::<u32>().prop_map(|value| value.to_string()),
        any::<f64>()
            .prop_map(|value| format!("{:?}", value.abs()))
            .prop_filter("has a literal", |text| text.starts_with(|c: char| c.is_ascii_digit())),
        (0u64..1 << 62).prop_map(|nanoseconds| format!("{nanoseconds}ns")),
        "\"[a-z`\\\\\"]{0,4}\"".prop_map(|text| {
            let inner = &text[1..text.len() - 1];
            format!("\"{}\"", inner.replace('\\', "\\\\").replace('"', "\\\""))
        }),
        "`[^`\u{0}]{0,4}`",
        proptest::sample::select(vec![
            "true", "false", "ok", "error", "client", "minInt", "maxInt", "1h30m", "1e3", ".5"
        ])
        .prop_map(str::to_owned),
    ]
}

fn attribute() -> impl Strategy<Value = String> {
    let scope = proptest::sample::select(vec![
        ".",
        "span.",
        "resource.",
        "event.",
        "link.",
        "instrumentation.",
        "parent.",
        "parent.span.",
        "parent.resource.",
    ]);
    let name = prop_oneof!["[a-z][a-z0-9./-]{0,5}", "\"[^\"\\\\\u{0}]{0,5}\"", "span[.]x"];
    let intrinsic = proptest::sample::select(vec![
        "duration",
        "span:name",
        "trace:id",
        "status",
        "kind",
        "parent",
        "nestedSetParent",
        "event:name",
        "link:traceID",
        "instrumentation:version",
        "rootServiceName",
    ]);
    prop_oneof![
        (scope, name).prop_map(|(scope, name)| format!("{scope}{name}")),
        intrinsic.prop_map(str::to_owned),
    ]
}

fn field() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![literal(), attribute()];
    let binary = proptest::sample::select(vec![
        "+", "-", "*", "/", "%", "^", "=", "!=", "<", "<=", ">", ">=", "=~", "!~", "&&", "||",
    ]);
    let wrap = proptest::sample::select(vec![
        ("-", ""),
        ("!", ""),
        ("(", ")"),
        ("", " = nil"),
        ("", " != nil"),
        ("nil = ", ""),
        ("nil != ", ""),
        ("!(", ")"),
        ("-(", ")"),
    ]);
    leaf.prop_recursive(5, 24, 2, move |inner| {
        prop_oneof![
            (inner.clone(), binary.clone(), inner.clone())
                .prop_map(|(left, operator, right)| format!("{left} {operator} {right}")),
            (wrap.clone(), inner)
                .prop_map(|((before, after), inner)| format!("{before} {inner} {after}")),
        ]
    })
}

fn pipeline() -> impl Strategy<Value = String> {
    let number = prop_oneof!["[0-9]{1,3}", "[0-9]{1,3}[.][0-9]", Just("2s".to_owned())];
    let leaf = prop_oneof![
        field().prop_map(|field| format!("{{ {field} }}")),
        field().prop_map(|field| format!("by({field})")),
        field().prop_map(|field| format!("max({field})")),
        attribute().prop_map(|attribute| format!("select({attribute}, name)")),
        attribute().prop_map(|attribute| format!("min_over_time({attribute}) by (name)")),
        proptest::sample::select(vec![
            "{}",
            "count()",
            "coalesce()",
            "rate()",
            "topk(5)",
            "bottomk(2)",
            "quantile_over_time(duration, .5)",
            "compare({status = error}, 3)",
        ])
        .prop_map(str::to_owned),
        number,
    ];
    let binary = proptest::sample::select(vec![
        "|", "|", "|", "&&", "||", ">", "<", ">>", "<<", "~", "!>", "!~", "&>>", "=", "!=", "<=",
        ">=", "+", "-", "*", "/", "%", "^",
    ]);
    leaf.prop_recursive(4, 12, 2, move |inner| {
        prop_oneof![
            (inner.clone(), binary.clone(), inner.clone())
                .prop_map(|(left, operator, right)| format!("{left} {operator} {right}")),
            inner.clone().prop_map(|inner| format!("({inner})")),
            inner.clone().prop_map(|inner| format!("-{inner}")),
            inner.prop_map(|inner| format!("{inner} with(a=1, b=`x`)")),
        ]
    })
}

/// Pieces of queries in any order.
fn pieces() -> impl Strategy<Value = String> {
    let piece = proptest::sample::select(vec![
        "{", "}", "(", ")", "|", "&&", "||", "!", "-", "=", "!=", "=~", ">", ">>", "&<", "~", ",",
        ".a", "span.b", "parent.", "nil", "1", "2.5", "1s", "`x`", "\"", "'", "name", "trace:",
        "id", "by", "count()", "max(", "rate()", "topk(1)", "with(", "a", "//", "/*", "\n", "é",
    ]);
    proptest::collection::vec(piece, 0..24).prop_map(|pieces| pieces.join(" "))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn parse_any_bytes_does_not_panic(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
        let text = String::from_utf8_lossy(&bytes);
        check(&text);
        check(&format!("{{ {text} }}"));
    }

    #[test]
    fn parse_any_text_does_not_panic(text in "\\PC{0,32}") {
        check(&text);
        check(&format!("{{ .a = {text} }}"));
    }

    #[test]
    fn parse_any_pieces_does_not_panic(text in pieces()) {
        check(&text);
        check(&format!("{{ {text} }}"));
    }

    #[test]
    fn field_canonical_text_is_a_fixed_point(text in field()) {
        check(&format!("{{ {text} }}"));
    }

    #[test]
    fn query_canonical_text_is_a_fixed_point(text in pipeline()) {
        check(&text);
    }

    #[test]
    fn regex_of_any_bytes_does_not_panic(
        pattern in proptest::collection::vec(any::<u8>(), 0..24),
        text in "([\\[\\]\\\\(){}?*+|^$.a-cpPQExdwsbzi0-9:,&~<>-]|é){0,16}",
    ) {
        for pattern in [pattern.as_slice(), text.as_bytes()] {
            if let Ok(regex) = CompiledRegex::new(pattern) {
                regex.is_match(pattern);
            }
        }
    }
}
