//! Indentation that libyaml takes.

use super::*;
use crate::yaml::lenient::relaxed;

/// One of the causes after which a text is tried again.
const CAUSE: &str = "invalid indentation";

#[test]
fn indentation_inside_flow_collections_and_quotes_does_not_count() {
    for (text, proper) in [
        ("server:\n  http_listen_port:\t3201\n", "server:\n  http_listen_port: 3201\n"),
        ("target:\tall\n", "target: all\n"),
        ("m:\n  join: [\n    'a:1',\n]\n", "m:\n  join: [\n    'a:1',\n    ]\n"),
        ("m:\n  join: [\n'a:1',\nb\n]\nc: 1\n", "m:\n  join: [\n    'a:1',\n    b\n    ]\nc: 1\n"),
        ("server: {\nport: 3201\n}\n", "server: {\n  port: 3201\n  }\n"),
        (
            "server: {\n\t\"port\": 3201,\n\t\"a\":\t{}\n}\n",
            "server: {\n  \"port\": 3201,\n  \"a\": {}\n  }\n",
        ),
        ("a:\n  b: \"x # [\n\ny 'z\"\nc: 1\n", "a:\n  b: \"x # [\n\n    y 'z\"\nc: 1\n"),
        ("a:\n  b: 'it''s\n\n{'\nc: 1\n", "a:\n  b: 'it''s\n\n    {'\nc: 1\n"),
        ("a:\n  b: \"x\\\n\\\" y\"\n", "a:\n  b: \"x\\\n    \\\" y\"\n"),
        ("- - {a: [\n1, # ]\n2]\n}\n- b\n", "- - {a: [\n     1, # ]\n     2]\n     }\n- b\n"),
        ("a: {\r\nb: 1\r\n}\r\n", "a: {\r\n  b: 1\r\n  }\r\n"),
    ] {
        let read = parse(text);
        assert!(read.is_ok(), "{text:?}: {read:?}");
        assert_eq!(read, parse(proper), "{text:?}");
    }
}

#[test]
fn wrong_indentation_of_blocks_stays_an_error_at_its_place() {
    for (text, line) in [
        ("a: 1\n b: 2\n", 2),
        ("a:\n   b: 1\n  c: 2\n", 3),
        ("a:\n\tb: 1\n", 2),
        ("a: b\n\tc: 1\n", 1),
        // The first one, which a flow collection could be blamed for, although another remains.
        ("a: [\n1]\nb:\n   c: 1\n  d: 2\n", 2),
        ("a: [\n1\nb: 2\n", 2),
        ("a:\n  b: {c: 1\n}\n d: 1\n", 3),
        // A document ends in the middle of a text.
        ("a: 'x\n---\ny'\n", 1),
    ] {
        let error = parse(text).unwrap_err();
        assert_eq!(error.line, line, "{text:?}: {error}");
    }
}

#[test]
fn only_lines_inside_flow_collections_and_quotes_are_indented() {
    for text in [
        "a: it's [\nb: \"}\" # {\nc: |\n  [\n  \"\n d: x\n  {\ne: >-\n\n  '\nf: 1\n",
        "- a: b\n  [ c\n- &x 'd'\n- !t\n  - {}\n---\n[1,\n2]\n",
        "# [\na: b# [\nb: c:[\n",
    ] {
        assert_eq!(relaxed(text, CAUSE), None, "{text:?}");
    }
    assert_eq!(relaxed("a: [\n1]", "unexpected end of plain scalar"), None);
    assert_eq!(relaxed("a: [\n1]", CAUSE).unwrap(), "a: [\n 1]");
}

#[test]
fn deep_entry_with_very_many_lines_does_not_become_a_huge_text() {
    let text = format!("{}a: [{}", " ".repeat(50_000), "\n1,".repeat(50_000));
    assert_eq!(relaxed(&text, CAUSE), None);
}

/// In brackets and braces, with this before every item and before the end.
fn flow(value: &Value, before: &str) -> String {
    match value {
        Value::List(items) => {
            let items: String =
                items.iter().map(|item| format!("{before}{},", flow(item, before))).collect();
            format!("[{items}{before}]")
        }
        Value::Map(entries) => {
            let entries: String = entries
                .iter()
                .map(|(key, value)| format!("{before}{key}: {},", flow(value, before)))
                .collect();
            format!("{{{entries}{before}}}")
        }
        Value::Text(text) => format!("\"{text}{before}{text}\""),
        other => inline(other),
    }
}

fn any_flow() -> impl Strategy<Value = Value> {
    let leaf =
        prop_oneof![any::<bool>().prop_map(Value::Bool), "[a-z'#{\\[]{1,5}".prop_map(Value::Text),];
    leaf.prop_recursive(4, 30, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::List),
            prop::collection::btree_map("[a-z]{1,4}", inner, 0..4)
                .prop_map(|map| Value::Map(map.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn lines_of_a_flow_collection_may_begin_anywhere(
        value in any_flow(),
        before in prop::sample::select(vec!["\n", "\n ", "\n\t", "\n\t  ", "\n    ", "\r\n"]),
    ) {
        let document = |before: &str| format!("top:\n  key: {}\nnext: 1\n", flow(&value, before));
        prop_assert_eq!(parse(&document(before)), parse(&document("\n      ")));
    }

    #[test]
    fn text_that_is_indented_as_it_should_be_stays(value in any_value()) {
        prop_assert_eq!(relaxed(&emit(&value), CAUSE), None);
    }

    #[test]
    fn any_text_with_tabs_never_panics(text in "[a-c:{}\\[\\]\\-? \n\r\t#&*!|>'\"\\\\%,.0-9\u{e9}]{0,60}") {
        let _ = parse(&text);
        let again = relaxed(&text, CAUSE).unwrap_or_default();
        let breaks = |text: &str| text.matches(['\n', '\r']).count();
        prop_assert!(again.is_empty() || breaks(&again) == breaks(&text));
    }
}
