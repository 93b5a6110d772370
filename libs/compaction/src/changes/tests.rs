use std::collections::BTreeMap;
use std::time::Duration;

use proptest::prelude::*;
use tactus_model::{Projection, span_end};
use tactus_storage::meta::BlockVersion;
use tactus_traceql::eval::CompiledQuery;
use tactus_traceql::parse_and_validate;

use super::*;
use crate::testing::{
    Attributes, Random, Shape, Span, TestBlock, Value, builder_settings, merged, random_spans,
    sorted,
};
use crate::{Error, RewriteSettings, RewriteStats, Unattended, merge_blocks};

fn query(text: &str) -> CompiledQuery {
    CompiledQuery::compile(&parse_and_validate(text).unwrap()).unwrap()
}

/// The spans of the blocks merged with the changes, and what was done.
fn run(blocks: &[Vec<Span>], changes: &Changes) -> (Vec<Span>, RewriteStats) {
    let builder = builder_settings(BlockVersion::VParquet4, true);
    let readers: Vec<_> =
        blocks.iter().map(|spans| TestBlock::new(spans, &builder, 4).reader().unwrap()).collect();
    let settings = RewriteSettings { row_group_spans: 30, ..RewriteSettings::new(builder) };
    let done = merge_blocks(&readers, Vec::new(), &settings, changes, &Unattended).unwrap();
    let Some(built) = done.block else { return (Vec::new(), done.stats) };
    let block = TestBlock::built(built, &settings.builder);
    let reader = block.reader().unwrap();
    for group in 0..reader.row_groups().len() {
        let batch = reader.read_row_group(group, &Projection::default()).unwrap();
        assert!(batch.len() <= 30 || batch.traces.ids.len() == 1);
    }
    (sorted(block.spans()), done.stats)
}

const SHAPE: Shape = Shape { pool: 30, traces: 25, spans: 5 };
const BASE: u64 = 1_700_000_000_000_000_000;
const SECOND: u64 = 1_000_000_000;

/// Blocks in each of which a span is only once: which of two is first depends on the order in the file.
fn blocks(seed: u64) -> Vec<Vec<Span>> {
    let mut random = Random(seed);
    (0..3).map(|_| merged([&random_spans(&mut random, SHAPE)])).collect()
}

fn is_text(attributes: &Attributes, key: &str, text: &str) -> bool {
    attributes.get(key) == Some(&Value::Text(text.to_owned()))
}

/// Spans of each trace.
fn traces(spans: &[Span]) -> BTreeMap<[u8; 16], Vec<Span>> {
    let mut traces: BTreeMap<_, Vec<Span>> = BTreeMap::new();
    spans.iter().for_each(|span| traces.entry(span.trace).or_default().push(span.clone()));
    traces
}

/// A rule as a function on one span's attributes: what the rewrite must do.
fn redacted(span: &Span, scope: RedactionScope, key: &str, action: &RedactionAction) -> Span {
    let edit = |attributes: &mut Attributes, own: RedactionScope| {
        if scope != RedactionScope::Any && scope != own {
            return;
        }
        let Some(value) = attributes.get_mut(key) else { return };
        match action {
            RedactionAction::Remove => drop(attributes.remove(key)),
            RedactionAction::Replace(text) => *value = Value::Text(text.clone()),
            RedactionAction::Hash => {
                let text = match &*value {
                    Value::Text(text) => text.clone().into_bytes(),
                    Value::Int(number) => number.to_string().into_bytes(),
                    Value::Double(bits) => f64::from_bits(*bits).to_string().into_bytes(),
                    Value::Bool(value) => value.to_string().into_bytes(),
                    Value::Encoded(_, bytes) => bytes.clone(),
                    Value::Unset => return,
                };
                let digest = ring::digest::digest(&ring::digest::SHA256, &text);
                let hash = tactus_model::bytes_to_hex(digest.as_ref());
                *value = Value::Text(format!("sha256:{hash}"));
            }
        }
    };
    let mut span = span.clone();
    edit(&mut span.resource, RedactionScope::Resource);
    edit(&mut span.scope.2, RedactionScope::Scope);
    edit(&mut span.attributes, RedactionScope::Span);
    span.events.iter_mut().for_each(|event| edit(&mut event.3, RedactionScope::Event));
    span.links.iter_mut().for_each(|link| edit(&mut link.4, RedactionScope::Link));
    span
}

const SCOPES: [RedactionScope; 6] = [
    RedactionScope::Any,
    RedactionScope::Resource,
    RedactionScope::Scope,
    RedactionScope::Span,
    RedactionScope::Event,
    RedactionScope::Link,
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn retention_keeps_what_the_first_class_says(
        seed: u64, service in 0u64..40, errors in 0u64..40, other in 0u64..40,
        for_ever in any::<bool>(), remove in 0u64..3, first in 0u64..60, length in 0u64..60,
    ) {
        let blocks = blocks(seed);
        let spans = merged(&blocks);
        let class = |name: &str, seconds: Option<u64>| RetentionClass {
            name: name.to_owned(),
            query: query(name),
            keep: seconds.map(Duration::from_secs),
        };
        let now = BASE + 30 * SECOND;
        let within = (BASE - 30 * SECOND + first * SECOND, BASE + (first + length) * SECOND);
        let of_errors = (!for_ever).then_some(errors);
        let remove: RemoveTraces =
            spans.iter().step_by(7).take(remove as usize).map(|span| TraceId(span.trace)).collect();
        let changes = Changes {
            retention: Some(RetentionClasses {
                classes: vec![
                    class("{ resource.service.name = \"service0\" }", Some(service)),
                    class("{ status = error } | count() > 1", of_errors),
                ],
                keep: Some(Duration::from_secs(other)),
                now,
                within,
            }),
            remove: remove.clone(),
            redact: Vec::new(),
        };
        let mut expected = Vec::new();
        let (mut expired, mut gone) = (0, 0);
        for (trace, spans) in traces(&spans) {
            let end = spans.iter().map(|span| span_end(span.start, span.duration)).max().unwrap();
            let end = end.max(within.0).min(within.1);
            let is_service = spans.iter().any(|span| is_text(&span.resource, "service.name", "service0"));
            let errors = spans.iter().filter(|span| span.status == 2).count();
            let keep = if is_service {
                Some(service)
            } else if errors > 1 {
                of_errors
            } else {
                Some(other)
            };
            if remove.contains(&TraceId(trace)) {
                gone += 1;
            } else if keep.is_some_and(|keep| end + keep * SECOND < now) {
                expired += spans.len() as u64;
            } else {
                expected.extend(spans);
            }
        }
        let (found, stats) = run(&blocks, &changes);
        prop_assert_eq!(stats.spans_expired, expired);
        prop_assert_eq!(stats.traces_removed, gone);
        prop_assert_eq!(found, sorted(expected));
    }

    #[test]
    fn redaction_changes_the_chosen_values_only(
        seed: u64, scope in 0usize..6, key in 0usize..4, action in 0u8..3, filter in 0u8..3,
        second in 0u64..3,
    ) {
        let blocks = blocks(seed);
        let key = ["customer", "region", "http.status_code", "service.name"][key];
        let scope = SCOPES[scope];
        let action = [
            RedactionAction::Remove,
            RedactionAction::Replace("value 3".to_owned()),
            RedactionAction::Hash,
        ][usize::from(action)].clone();
        let rule = Redaction {
            name: String::new(),
            scope,
            key: key.as_bytes().to_vec(),
            action: action.clone(),
            filter: (filter == 1).then(|| query("{ kind = client && status != ok }")),
            range: (filter == 2).then_some(TimeRange {
                start: BASE + second * SECOND,
                end: BASE + second * SECOND,
            }),
        };
        let is_chosen = |span: &Span| match filter {
            1 => span.kind == 3 && span.status != 1,
            2 => span.start == BASE + second * SECOND,
            _ => true,
        };
        let spans = merged(&blocks);
        let expected: Vec<Span> = spans.iter().map(|span| match is_chosen(span) {
            true => redacted(span, scope, key, &action),
            false => span.clone(),
        }).collect();
        let changed = spans.iter().zip(&expected).any(|(before, after)| before != after);
        let changes = Changes { redact: vec![rule], ..Changes::default() };
        let (found, stats) = run(&blocks, &changes);
        prop_assert_eq!(stats.values_redacted > 0, changed);
        prop_assert_eq!(found, sorted(expected));
    }
}

#[test]
fn redacted_text_is_nowhere_in_the_file() {
    let secret = "person@example.org";
    let mut span = Span { trace: [1; 16], id: 1, start: BASE, ..Span::default() };
    let value = Value::Text(secret.to_owned());
    span.attributes.insert("mail".to_owned(), value.clone());
    span.resource.insert("mail".to_owned(), value.clone());
    span.scope.2.insert("mail".to_owned(), value.clone());
    span.events.push((BASE, "sent".to_owned(), 0, Attributes::from([("mail".to_owned(), value)])));
    let builder = builder_settings(BlockVersion::VParquet4, true);
    let holds_it = |data: &[u8]| data.windows(secret.len()).any(|part| part == secret.as_bytes());
    let block = TestBlock::new(std::slice::from_ref(&span), &builder, 1);
    assert!(holds_it(&block.data));
    let rule = Redaction {
        name: "mail".to_owned(),
        scope: RedactionScope::Any,
        key: b"mail".to_vec(),
        action: RedactionAction::Hash,
        filter: None,
        range: None,
    };
    let changes = Changes { redact: vec![rule], ..Changes::default() };
    let settings = RewriteSettings::new(builder);
    let readers = [block.reader().unwrap()];
    let done = merge_blocks(&readers, Vec::new(), &settings, &changes, &Unattended).unwrap();
    assert_eq!(done.stats.values_redacted, 4);
    assert!(!holds_it(&done.block.unwrap().sink));
}

#[test]
fn hashing_a_hash_changes_nothing() {
    let mut span = Span { trace: [1; 16], id: 1, start: BASE, ..Span::default() };
    span.attributes.insert("a".to_owned(), Value::Text("secret".to_owned()));
    let rule = || Redaction {
        name: String::new(),
        scope: RedactionScope::Span,
        key: b"a".to_vec(),
        action: RedactionAction::Hash,
        filter: None,
        range: None,
    };
    let once = run(&[vec![span]], &Changes { redact: vec![rule()], ..Changes::default() }).0;
    let again = Changes { redact: vec![rule()], ..Changes::default() };
    let (twice, stats) = run(std::slice::from_ref(&once), &again);
    assert_eq!((twice, stats.values_redacted), (once, 0));
}

#[test]
fn rules_see_what_rules_before_them_left() {
    let mut span = Span { trace: [1; 16], id: 1, start: BASE, ..Span::default() };
    span.attributes.insert("a".to_owned(), Value::Text("old".to_owned()));
    span.attributes.insert("b".to_owned(), Value::Text("new".to_owned()));
    let rule = |key: &str, action, filter: Option<&str>| Redaction {
        name: String::new(),
        scope: RedactionScope::Span,
        key: key.as_bytes().to_vec(),
        action,
        filter: filter.map(query),
        range: None,
    };
    let changes = Changes {
        redact: vec![
            rule("a", RedactionAction::Replace("new".to_owned()), None),
            rule("b", RedactionAction::Remove, Some("{ span.a = \"new\" }")),
            rule("a", RedactionAction::Remove, Some("{ span.a = \"old\" }")),
        ],
        ..Changes::default()
    };
    let (found, stats) = run(&[vec![span.clone()]], &changes);
    span.attributes = Attributes::from([("a".to_owned(), Value::Text("new".to_owned()))]);
    assert_eq!((found, stats.values_redacted), (vec![span], 2));
}

#[test]
fn query_that_cannot_be_evaluated_is_named() {
    let text = "({ } | by(name)) > { }";
    let Ok(root) = parse_and_validate(text) else { return };
    let Ok(filter) = CompiledQuery::compile(&root) else { return };
    let rule = Redaction {
        name: "split".to_owned(),
        scope: RedactionScope::Span,
        key: b"a".to_vec(),
        action: RedactionAction::Remove,
        filter: Some(filter),
        range: None,
    };
    let mut spans: Vec<Span> = (1..3)
        .map(|id| Span {
            trace: [1; 16],
            id,
            name: format!("op{id}"),
            start: BASE,
            ..Span::default()
        })
        .collect();
    spans[0].attributes.insert("a".to_owned(), Value::Int(1));
    let mut batch = crate::testing::encode(&spans);
    let error = redact::apply_all(&[rule], &mut batch).unwrap_err();
    assert!(matches!(&error, Error::Invalid(text) if text.contains("split")), "{error}");
}
