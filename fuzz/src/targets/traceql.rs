//! Queries.

use tactus_config::{YamlNode, parse_yaml};
use tactus_traceql::eval::CompiledQuery;
use tactus_traceql::{RootExpr, completion, parse, parse_attribute, validate};

/// Parsing, validation, completion and compilation neither panic nor overflow the stack, and the canonical text of a query
/// reads back as itself.
pub(crate) fn feed(input: &[u8]) {
    let Ok(query) = std::str::from_utf8(input) else { return };
    let _ = parse_attribute(query);
    let _ = completion(query, None, 100);
    let Ok(root) = parse(query) else { return };
    let canonical = root.to_string();
    let again = parse(&canonical).expect("canonical text parses");
    assert_eq!(again.to_string(), canonical);
    let class = |root: &RootExpr| validate(root).map_err(|error| error.to_string());
    assert_eq!(class(&root), class(&again));
    if class(&root).is_ok() {
        let _ = CompiledQuery::compile(&root);
    }
}

/// Every text of the recorded queries.
pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let text = include_str!("../../../conformance/traceql_queries.yaml");
    let mut seeds = Vec::new();
    texts(&parse_yaml(text).expect("the recorded queries are YAML"), &mut seeds);
    seeds
}

fn texts(node: &YamlNode, out: &mut Vec<Vec<u8>>) {
    out.extend(node.text().map(|text| text.as_bytes().to_vec()));
    for item in node.items().unwrap_or_default() {
        texts(item, out);
    }
    for (_, value) in node.pairs().into_iter().flatten() {
        texts(value, out);
    }
}
