//! Dictionaries and statistics answer without reading values.

use super::*;
use std::collections::BTreeSet;
use tactus_model::any_value::{AnyValueRef, DecodedValue, array_elements, decode};

fn groups_with(reader: &BlockReader, column: &StringColumn, wanted: &str) -> Vec<usize> {
    (0..reader.row_groups().len())
        .filter(|&group| {
            let predicate = |found: &[u8]| found == wanted.as_bytes();
            reader.row_group_may_contain_string(group, column, &predicate).unwrap()
        })
        .collect()
}

#[test]
fn dictionaries_rule_row_groups_out() {
    use StringColumn::*;
    let cases = [
        (Name, "GET /api", vec![0]),
        (Name, "nothing", vec![]),
        (ResourceAttribute(b"service.name".to_vec()), "frontend", vec![0]),
        (ResourceAttribute(b"ip".to_vec()), "10.0.0.2", vec![0]),
        (ResourceAttribute(b"absent".to_vec()), "10.0.0.2", vec![]),
        (SpanAttribute(b"strs".to_vec()), "b", vec![0]),
        (SpanAttribute(b"strs".to_vec()), "zzz", vec![]),
        (SpanAttribute(b"customer".to_vec()), "acme", vec![0]),
        (EventAttribute(b"exception.message".to_vec()), "kaboom", vec![0]),
        (EventName, "exception", vec![0]),
        (ScopeName, "otel-go", vec![0]),
        (ScopeVersion, "2.0.0", vec![0]),
        (ScopeAttribute(b"scope.attr".to_vec()), "x", vec![0]),
        (LinkAttribute(b"link.attr".to_vec()), "y", vec![0]),
        (RootServiceName, "frontend", vec![0]),
    ];
    for version in VERSIONS {
        let reader = load(version).open();
        let last = reader.row_groups().len() - 1;
        for (column, wanted, mut expected) in cases.clone() {
            if version == BlockVersion::VParquet3 {
                match &column {
                    // Arrays have no dictionary.
                    SpanAttribute(key) if key == b"strs" => expected = vec![0],
                    // Scopes have no attributes.
                    ScopeAttribute(_) => expected = vec![],
                    _ => {}
                }
            }
            // A blob column of vParquet5 has no dictionary, so it rules nothing out.
            if version == BlockVersion::VParquet5 && column == SpanAttribute(b"customer".to_vec()) {
                expected = (0..=last).collect();
            }
            assert_eq!(groups_with(&reader, &column, wanted), expected, "{column:?} {wanted}");
        }
        assert_eq!(groups_with(&reader, &RootSpanName, "root-2"), [last]);
        // No dictionary: every row group may have it.
        assert_eq!(groups_with(&reader, &StatusMessage, "boom").len(), last + 1);
    }
}

#[test]
fn keys_and_strings_come_from_dictionaries() {
    for version in VERSIONS {
        let reader = load(version).open();
        let keys = |owner| {
            let mut keys = Vec::new();
            let visit = &mut |key: &[u8]| keys.push(String::from_utf8_lossy(key).into_owned());
            assert!(reader.visit_attribute_keys(0, owner, visit).unwrap());
            keys
        };
        let has = |owner, key: &str| {
            let has = keys(owner).iter().any(|found| found == key);
            assert_eq!(reader.row_group_may_have_key(0, owner, key.as_bytes()).unwrap(), has);
            has
        };
        for key in ["region", "customer", "strs", "http.status_code", "n"] {
            assert!(has(AttributeOwner::Span, key), "{key}");
        }
        for key in ["service.name", "ip", "res.int", "k8s.pod.name"] {
            assert!(has(AttributeOwner::Resource, key), "{key}");
        }
        assert!(!has(AttributeOwner::Span, "url.route"));
        assert!(has(AttributeOwner::Event, "retry"));
        if version == BlockVersion::VParquet3 {
            assert!(keys(AttributeOwner::Scope).is_empty());
            assert!(!reader.visit_attribute_keys(0, AttributeOwner::Link, &mut |_| {}).unwrap());
        } else {
            assert_eq!(keys(AttributeOwner::Scope), ["scope.attr"]);
            assert_eq!(keys(AttributeOwner::Link), ["link.attr"]);
        }

        let strings = |column| {
            let mut strings = Vec::new();
            let visit = &mut |text: &[u8]| strings.push(String::from_utf8_lossy(text).into_owned());
            let complete = reader.visit_strings(0, &column, visit).unwrap();
            (complete, strings)
        };
        let services = strings(StringColumn::ResourceAttribute(b"service.name".to_vec()));
        assert!(services.0 && services.1.contains(&"frontend".to_owned()), "{services:?}");
        // Integers have no dictionary, and one span has a string under this key.
        assert!(!strings(StringColumn::SpanAttribute(b"http.status_code".to_vec())).0);
        assert!(!strings(StringColumn::SpanAttribute(b"strs".to_vec())).0);
        assert_eq!(strings(StringColumn::SpanAttribute(b"absent".to_vec())), (true, Vec::new()));
    }
}

#[test]
fn bounds_enclose_all_values() {
    for version in VERSIONS {
        let reader = load(version).open();
        for group in 0..reader.row_groups().len() {
            let batch = reader.read_row_group(group, &Projection::all()).unwrap();
            let bounds = |column| reader.row_group_bounds(group, column).unwrap();
            let extent =
                |values: &[u64]| (*values.iter().min().unwrap(), *values.iter().max().unwrap());
            let widened = |values: &[u8]| values.iter().map(|v| u64::from(*v)).collect::<Vec<_>>();
            let summaries = batch.traces.summaries.as_ref().unwrap();
            assert_eq!(bounds(NumberColumn::SpanStart), extent(&batch.spans.start));
            assert_eq!(bounds(NumberColumn::SpanDuration), extent(&batch.spans.duration));
            assert_eq!(bounds(NumberColumn::Kind), extent(&widened(&batch.spans.kind)));
            assert_eq!(bounds(NumberColumn::Status), extent(&widened(&batch.spans.status)));
            assert_eq!(bounds(NumberColumn::TraceStart), extent(&summaries.start));
            assert_eq!(bounds(NumberColumn::TraceEnd), extent(&summaries.end));
        }
        assert_eq!(reader.row_group_bounds(99, NumberColumn::Kind), None);
    }
}

/// Asks for a string, and notes whether it was found among all of them.
struct Within<'s> {
    string: &'s [u8],
    found: std::cell::Cell<bool>,
}

impl StringPredicate for Within<'_> {
    fn holds(&self, string: &[u8]) -> bool {
        string == self.string
    }

    fn may_hold_within(&self, bytes: &[u8]) -> bool {
        let found = self.string.is_empty()
            || bytes.windows(self.string.len()).any(|window| window == self.string);
        self.found.set(self.found.get() | found);
        found
    }
}

#[test]
fn every_string_lies_within_the_bytes_that_are_asked_first() {
    for version in VERSIONS {
        let reader = load(version).open();
        let service = StringColumn::ResourceAttribute(b"service.name".to_vec());
        for column in [StringColumn::Name, service] {
            let mut strings = Vec::new();
            let mut visit = |string: &[u8]| strings.push(string.to_vec());
            if !reader.visit_strings(0, &column, &mut visit).unwrap() {
                continue;
            }
            assert!(!strings.is_empty());
            let names = [b"no such string".to_vec()];
            for string in strings.iter().chain(&names) {
                let within = Within { string, found: false.into() };
                let may = reader.row_group_may_contain_string(0, &column, &within).unwrap();
                assert_eq!(may, strings.contains(string), "{column:?} {string:?}");
                assert_eq!(within.found.get(), may);
            }
        }
    }
}

/// The strings of an attribute's value: itself, or its elements.
fn strings_of(batch: &SpanBatch, attribute: Attribute) -> Vec<Vec<u8>> {
    match attribute.value(&batch.strings) {
        AnyValueRef::String(text) => vec![text.to_vec()],
        AnyValueRef::Encoded(message) if attribute.value_type == ValueType::StringArray => {
            let DecodedValue::Array(elements) = decode(message).unwrap() else { return Vec::new() };
            let elements = array_elements(elements).map(|element| match element.unwrap() {
                DecodedValue::String(text) => text.to_vec(),
                other => panic!("{other:?} among strings"),
            });
            elements.collect()
        }
        _ => Vec::new(),
    }
}

/// What dictionaries tell of a row group agrees with what is in it.
pub(super) fn check_pruning(reader: &BlockReader, group: usize, batch: &SpanBatch) {
    type Column = fn(Vec<u8>) -> StringColumn;
    let lists: [(AttributeOwner, &AttributeList, Column); 5] = [
        (AttributeOwner::Span, &batch.span_attributes, StringColumn::SpanAttribute),
        (AttributeOwner::Resource, &batch.resources.attributes, StringColumn::ResourceAttribute),
        (AttributeOwner::Scope, &batch.scopes.attributes, StringColumn::ScopeAttribute),
        (AttributeOwner::Event, &batch.events.attributes, StringColumn::EventAttribute),
        (AttributeOwner::Link, &batch.links.attributes, StringColumn::LinkAttribute),
    ];
    for (owner, list, column) in lists {
        let mut told = BTreeSet::new();
        let complete =
            reader.visit_attribute_keys(group, owner, &mut |key| told.extend([key.to_vec()]));
        let complete = complete.unwrap();
        let attributes: Vec<_> = (0..list.owners()).flat_map(|owner| list.of(owner)).collect();
        for attribute in attributes {
            let key = batch.strings.get(attribute.key).to_vec();
            assert!(!complete || told.contains(&key), "{owner:?} {key:?}");
            let strings = strings_of(batch, attribute);
            let mut seen = BTreeSet::new();
            let all = reader
                .visit_strings(group, &column(key.clone()), &mut |text| {
                    seen.extend([text.to_vec()])
                })
                .unwrap();
            for string in strings {
                let is = |found: &[u8]| found == string;
                assert!(
                    reader.row_group_may_contain_string(group, &column(key.clone()), &is).unwrap()
                );
                assert!(!all || seen.contains(&string));
            }
        }
    }
}

#[test]
fn what_dictionaries_tell_of_the_samples_agrees_with_what_is_in_them() {
    for version in VERSIONS {
        let reader = load(version).open();
        for group in 0..reader.row_groups().len() {
            let batch = reader.read_row_group(group, &Projection::all()).unwrap();
            check_pruning(&reader, group, &batch);
        }
    }
}
