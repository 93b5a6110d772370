use super::*;

#[test]
fn committed_manual_equals_the_generated_one() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/configuration.md");
    let generated = manual();
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(path, &generated).unwrap();
    }
    let committed = std::fs::read_to_string(path).unwrap_or_default();
    assert!(committed == generated, "docs/configuration.md is old: run with UPDATE_DOCS=1");
}

#[test]
fn every_key_has_a_meaning_and_stands_once() {
    let mut seen = std::collections::HashSet::new();
    for row in rows() {
        assert!(!row.meaning.is_empty(), "{}", row.path);
        assert!(seen.insert(row.path.clone()), "{} stands twice", row.path);
    }
}
