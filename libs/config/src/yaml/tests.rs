use super::*;
use proptest::prelude::*;

mod leniency;

fn node(text: &str) -> Node {
    parse(text).unwrap()
}

fn plain(text: &str) -> Resolved {
    resolve(&Scalar::new(text, true))
}

#[test]
fn document_keeps_lines_of_keys_and_values() {
    let root = node("# comment\na: 1\nb:\n  c: x\n  d:\n  - y\n");
    let (key, value) = &root.entries().unwrap()[1];
    assert_eq!((key.text.as_str(), key.line), ("b", 3));
    assert_eq!(value.get("c").unwrap().line, 4);
    assert!(matches!(&value.get("d").unwrap().content, Content::List(items) if items[0].line == 6));
}

#[test]
fn document_that_is_empty_is_an_empty_mapping() {
    for text in ["", "# only a comment\n", "\n\n"] {
        assert_eq!(node(text).entries().unwrap().len(), 0, "{text:?}");
    }
    assert!(node("~").is_null());
}

#[test]
fn second_document_is_not_read() {
    let root = node("a: 1\n---\nb: [\n");
    assert!(root.get("a").is_some() && root.get("b").is_none());
}

#[test]
fn aliases_and_merge_keys_are_expanded() {
    let root = node(
        "base: &base {a: 1, b: 2}\nother: &other {b: 3, c: 4}\n\
         one: {<<: *base, b: 9}\nmany: {<<: [*base, *other]}\nalias: *base\n",
    );
    let text = |path: [&str; 2]| match &root.get(path[0]).unwrap().get(path[1]).unwrap().content {
        Content::Scalar(scalar) => scalar.text.clone(),
        other => panic!("{other:?}"),
    };
    assert_eq!(text(["one", "a"]), "1");
    assert_eq!(text(["one", "b"]), "9");
    assert_eq!(text(["many", "b"]), "2");
    assert_eq!(text(["many", "c"]), "4");
    assert_eq!(text(["alias", "b"]), "2");
}

#[test]
fn broken_documents_are_refused_with_a_line() {
    for (text, line) in [
        ("a: [1\nb: 2\n", 2),
        ("a: 1\n b: 2\n", 2),
        ("a:\n  <<: 5\n", 2),
        ("? [a]\n: b\n", 1),
        ("a: *unknown\n", 1),
        ("a: &x [*x]\n", 1),
    ] {
        let error = parse(text).unwrap_err();
        assert!(error.to_string().starts_with(&format!("yaml: line {line}")), "{text:?}: {error}");
    }
}

#[test]
fn file_of_its_own_is_one_document_whose_errors_have_a_place() {
    let root = parse_alone("users:\n- {id: 0123, none: ~}\n").unwrap();
    let (key, users) = root.pairs().unwrap().next().unwrap();
    let user = &users.items().unwrap()[0];
    assert_eq!((key, user.line()), ("users", 2));
    let texts: Vec<_> = user.pairs().unwrap().map(|(key, node)| (key, node.text())).collect();
    assert_eq!(texts, [("id", Some("0123")), ("none", None)]);
    for (text, place) in [
        ("a: [1\nb: 2\n", "line 2, column 2"),
        ("a: 1\n--- \nb: 2\n", "line 2, column 1"),
        ("? [a]\n: b\n", "line 1, column 5"),
        ("a:\n  <<: 5\nb: 1\n", "line 2"),
    ] {
        let error = parse_alone(text).unwrap_err();
        assert_eq!(error.place(), place, "{text:?}: {error}");
    }
    assert!(parse_alone("---\na: 1\n...\n").is_ok());
}

#[test]
fn hostile_documents_are_refused() {
    let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..12 {
        let alias = format!("*a{}", level - 1);
        bomb.push_str(&format!("a{level}: &a{level} [{}]\n", [alias.as_str(); 10].join(", ")));
    }
    assert!(parse(&bomb).unwrap_err().cause.contains("aliasing (limit: "));
    assert!(parse(&"[".repeat(100_000)).is_err());
    assert!(parse(&"{a: ".repeat(5_000)).is_err());
    // A long text is a single node, and a part within anchors is kept by each of them.
    let text = "x".repeat(100_000);
    let aliases = "*a, ".repeat(10_000);
    let copied = "aliasing (limit: 32 MiB of copies";
    let error = parse(&format!("a: &a {text}\nb: [{aliases}]")).unwrap_err();
    assert!(error.cause.contains(copied), "{error}");
    let anchors: String = (0..90).map(|level| format!("&a{level} [")).collect();
    let nested = format!("{anchors}{}{}", "0,".repeat(100_000), "]".repeat(90));
    assert!(parse(&nested).unwrap_err().cause.contains(copied));
    let mut deep = "a0: &a0 [x]\n".to_owned();
    for level in 1..300 {
        deep.push_str(&format!("a{level}: &a{level} [*a{}]\n", level - 1));
    }
    assert!(parse(&deep).unwrap_err().cause.contains("deeply"));
}

#[test]
fn document_of_many_nodes_without_an_alias_is_read() {
    let entry = "- {a: 1, b: [2, 3], c: 4}\n";
    let root = node(&entry.repeat(60_000));
    assert_eq!(root.items().unwrap().len(), 60_000);
}

#[test]
fn very_many_keys_are_merged_in_no_time() {
    let keys: String = (0..100_000).map(|key| format!("k{key}: 1, ")).collect();
    let started = std::time::Instant::now();
    let root = node(&format!("<<: {{{keys}}}\nk7: 2\n"));
    assert_eq!(root.entries().unwrap().len(), 100_000);
    assert_eq!(root.get("k7").unwrap().text(), Some("2"));
    assert!(started.elapsed() < std::time::Duration::from_secs(10), "{:?}", started.elapsed());
}

#[test]
fn plain_scalars_resolve_as_yaml_1_1() {
    for text in ["y", "Yes", "ON", "true", "True"] {
        assert_eq!(plain(text), Resolved::Bool(true), "{text}");
    }
    for text in ["n", "No", "OFF", "FALSE"] {
        assert_eq!(plain(text), Resolved::Bool(false), "{text}");
    }
    for text in ["", "~", "null", "Null", "NULL"] {
        assert_eq!(plain(text), Resolved::Null, "{text}");
    }
    for (text, number) in [
        ("017", 15),
        ("0x1f", 31),
        ("0X1F", 31),
        ("0o17", 15),
        ("0b11", 3),
        ("1_000", 1_000),
        ("-0x10", -16),
        ("+5", 5),
        ("0", 0),
    ] {
        assert_eq!(plain(text), Resolved::Int(number), "{text}");
    }
    for (text, number) in
        [("1.5e+07", 1.5e7), (".5", 0.5), ("5.", 5.0), ("08", 8.0), ("-.inf", f64::NEG_INFINITY)]
    {
        assert_eq!(plain(text), Resolved::Float(number), "{text}");
    }
    for text in ["yES", "1h", "10MB", "nan", "inf", "+-1", "0x", "1e", ".", "1.2.3", "190:20"] {
        assert_eq!(plain(text), Resolved::Text, "{text}");
    }
    let quoted = Scalar::new("yes", false);
    assert_eq!(resolve(&quoted), Resolved::Text);
}

#[test]
fn difference_shows_only_what_changed() {
    let map = |entries: &[(&str, Value)]| {
        Value::Map(entries.iter().map(|(k, v)| ((*k).to_owned(), v.clone())).collect())
    };
    let base =
        map(&[("a", Value::Int(1)), ("b", map(&[("c", Value::Int(2)), ("d", Value::Int(3))]))]);
    let ours =
        map(&[("a", Value::Int(1)), ("b", map(&[("c", Value::Int(9)), ("d", Value::Int(3))]))]);
    assert_eq!(base.difference(&base), None);
    assert_eq!(ours.difference(&base), Some(map(&[("b", map(&[("c", Value::Int(9))]))])));
}

#[test]
fn text_that_others_read_as_a_date_is_quoted() {
    let written = |text: &str| inline(&Value::Text(text.to_owned()));
    for date in ["2020-01-01", "2020-1-2"] {
        assert_eq!(written(date), format!("\"{date}\""));
    }
    for other in ["2020-01", "20-01-01", "2020-01-01-a", "2020-jan-01", "2020-001-01"] {
        assert_eq!(written(other), other);
    }
}

fn any_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::Bool),
        any::<i64>().prop_map(|number| Value::Int(number.into())),
        "\\PC{0,12}|[-~a-z0-9 :#'\"\\\\\n\t\u{85}\u{2028}\u{feff}]{0,8}|yes|null|1e5|0x1f|2024-01-01".prop_map(Value::Text),
    ];
    leaf.prop_recursive(4, 40, 5, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::List),
            prop::collection::btree_map("[a-z*]{0,5}|\\PC{1,4}|no|7", inner, 0..5).prop_map(
                |map| Value::Map(map.into_iter().filter(|(key, _)| key != "<<").collect())
            ),
        ]
    })
}

fn read_back(node: &Node) -> Value {
    match &node.content {
        Content::Scalar(scalar) => match resolve(scalar) {
            Resolved::Null => Value::Null,
            Resolved::Bool(flag) => Value::Bool(flag),
            Resolved::Int(number) => Value::Int(number),
            Resolved::Float(number) => Value::Float(number),
            Resolved::Text => Value::Text(scalar.text.clone()),
        },
        Content::List(items) => Value::List(items.iter().map(read_back).collect()),
        Content::Map(entries) => Value::Map(
            entries.iter().map(|(key, node)| (key.text.clone(), read_back(node))).collect(),
        ),
    }
}

proptest! {
    #[test]
    fn emitted_yaml_reads_back(value in any_value()) {
        let text = emit(&value);
        prop_assert_eq!(read_back(&parse(&text).unwrap()), value, "{}", text);
    }

    #[test]
    fn emitted_yaml_is_yaml_to_another_reader(value in any_value()) {
        let text = emit(&value);
        let parsed: Result<serde_yaml::Value, _> = serde_yaml::from_str(&text);
        prop_assert!(parsed.is_ok(), "{:?}\n{}", parsed, text);
    }

    #[test]
    fn any_text_never_panics(text in "[a-c:{}\\[\\]\\-? \n#&*!|>'\"<%@,.0-9\u{e9}]{0,60}") {
        let _ = parse(&text);
    }
}

#[test]
fn second_document_is_noticed_unless_it_is_empty() {
    for text in ["a: 1\n---\nb: 2\n", "---\na: 1\n--- b\n", "---\n---\n- a\n"] {
        assert!(has_second_document(text), "{text}");
    }
    for text in ["", "a: 1\n", "---\na: 1\n", "a: 1\n---\n", "---\na: 1\n...\n"] {
        assert!(!has_second_document(text), "{text}");
    }
}
