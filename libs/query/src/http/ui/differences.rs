//! Finds what distinguishes some spans from the rest of the spans of a query.
//!
//! It uses TraceQL's `compare()` with many values of each attribute, so that what is frequent on one side only is
//! counted on the other side as well. Attributes are ranked by the Jensen-Shannon divergence of the shares, each taken
//! at the bound of its Wilson interval that is nearest to the other side. So values that were seen only a few times,
//! such as ids, do not count.

mod comparison;

use std::collections::{BTreeMap, HashMap, HashSet};

use axum::extract::Extension;
use serde_json::{Value, json};

use tactus_traceql::metrics::{LabelValue, Series};
use tactus_work::tick;

use crate::http::{Answer, Answered, Asked};
use crate::offload::offload;
use crate::trace_lookup::quoted;
use comparison::comparison;

/// Attributes, and values of each, in an answer.
const SHOWN_ATTRIBUTES: usize = 50;
const SHOWN_VALUES: usize = 8;
/// Of a normal distribution so many deviations hold 95 %.
const DEVIATIONS: f64 = 1.96;
/// Shares that differ by less are the same.
const SAME_SHARE: f64 = 0.02;
/// Answers of more series are ranked away from the threads that serve connections.
const INLINE_SERIES: usize = 500;
/// Units of work for ranking a value.
const UNITS_OF_VALUE: u32 = 100;

/// `?q={ … }&selection={ … }`, with `start` and `end` as of a metrics query: of the spans of `q`, those that are also in
/// `selection` against the others.
pub(super) async fn differences(Extension(call): Asked) -> Answered {
    let limits = call.frontend.metrics_limits(&call.tenants);
    let parsed = call.parse(move |params| comparison(params, &limits));
    let (query, selection) = parsed.await?;
    let found = call.frontend.query_metrics(&call.tenants, &query).await?;
    let series = found.answer.series;
    let ranked = offload(series.len() > INLINE_SERIES, move || rank(series, &selection));
    let ranked = call.frontend.within_limits(&call.tenants, ranked).await?;
    Ok(Answer::json(&ranked).partial(found.partial))
}

/// How many spans of the selection and of the rest have a value.
#[derive(Debug, Default, Clone, Copy, PartialEq)]
struct Counts {
    selection: f64,
    baseline: f64,
}

impl Counts {
    fn of(&mut self, is_selection: bool) -> &mut f64 {
        if is_selection { &mut self.selection } else { &mut self.baseline }
    }
}

#[derive(Debug, Default)]
struct Attribute {
    /// Spans that have it.
    total: Counts,
    values: HashMap<LabelValue, Counts>,
}

/// A value, `None` where the attribute is missing, with what it adds to the score.
type Scored = (f64, Option<LabelValue>, Counts);

/// Attributes that tell the sides apart most first. Ends early once the query is over.
fn rank(series: Vec<Series>, selection: &str) -> Value {
    let attributes = attributes(series);
    let mut all = Counts::default();
    for Attribute { total, .. } in attributes.values() {
        all.selection = all.selection.max(total.selection);
        all.baseline = all.baseline.max(total.baseline);
    }
    let outside = outside_of_texts(selection);
    let words: HashSet<&str> = outside.split(ends_word).collect();
    let mut ranked: Vec<(f64, bool, String, Vec<Scored>)> = Vec::new();
    for (name, attribute) in attributes {
        if tick(UNITS_OF_VALUE.saturating_mul(1 + attribute.values.len() as u32)) {
            break;
        }
        let values = scored(attribute, all);
        let score: f64 = values.iter().map(|(score, ..)| score).sum();
        if score > 0.0 {
            let is_implied = names(&words, &name);
            ranked.push((score.min(1.0), is_implied, name, values));
        }
    }
    // What the selection names differs by its making.
    ranked.sort_by(|one, other| {
        one.1.cmp(&other.1).then(other.0.total_cmp(&one.0)).then_with(|| one.2.cmp(&other.2))
    });
    ranked.truncate(SHOWN_ATTRIBUTES);
    let have_same_shares = |one: &[Scored], other: &[Scored]| {
        let shown = |values: &[Scored]| values.len().min(SHOWN_VALUES);
        let mut pairs = one.iter().zip(other).take(SHOWN_VALUES);
        shown(one) == shown(other) && pairs.all(|(one, other)| is_same(one.2, other.2, all))
    };
    let shown = ranked.iter().enumerate().map(|(at, (score, is_implied, name, values))| {
        let same = |other: &usize| *other != at && have_same_shares(values, &ranked[*other].3);
        let moves_with: Vec<&String> =
            (0..ranked.len()).filter(same).map(|other| &ranked[other].2).collect();
        let values: Vec<_> = values.iter().take(SHOWN_VALUES).map(|it| show(name, it)).collect();
        json!({
            "name": name, "score": score, "implied": is_implied, "values": values, "movesWith": moves_with,
        })
    });
    json!({
        "selection": all.selection,
        "baseline": all.baseline,
        "attributes": shown.collect::<Vec<_>>(),
    })
}

fn attributes(series: Vec<Series>) -> BTreeMap<String, Attribute> {
    let mut attributes: BTreeMap<String, Attribute> = BTreeMap::new();
    for Series { labels, points, .. } in series {
        if tick(UNITS_OF_VALUE) {
            break;
        }
        let [(_, LabelValue::String(side)), (name, value)] = &labels[..] else { continue };
        let (side, is_total) = match side.strip_suffix("_total") {
            Some(side) => (side, true),
            None => (&**side, false),
        };
        let count: f64 = points.iter().map(|(_, count)| count).sum();
        let attribute = attributes.entry(name.to_string()).or_default();
        let counts = match is_total {
            true => &mut attribute.total,
            false => attribute.values.entry(value.clone()).or_default(),
        };
        *counts.of(side == "selection") += count;
    }
    attributes
}

/// Values that tell the sides apart most first, also those that do not.
fn scored(attribute: Attribute, all: Counts) -> Vec<Scored> {
    let Attribute { total, mut values } = attribute;
    values.remove(&LabelValue::Nil);
    let missing = Counts {
        selection: (all.selection - total.selection).max(0.0),
        baseline: (all.baseline - total.baseline).max(0.0),
    };
    let values = values.into_iter().map(|(value, counts)| (Some(value), counts));
    let missing = (missing != Counts::default()).then_some((None, missing));
    let score = |(value, counts): (_, Counts)| (divergence(counts, all), value, counts);
    let mut scored: Vec<Scored> = values.chain(missing).map(score).collect();
    scored.sort_by(|one, other| {
        let text = |value: &Option<LabelValue>| value.as_ref().map(|it| it.text().into_owned());
        let by_score = other.0.total_cmp(&one.0);
        let by_count = other.2.selection.total_cmp(&one.2.selection);
        by_score.then(by_count).then_with(|| text(&one.1).cmp(&text(&other.1)))
    });
    scored
}

/// What a value adds to the divergence of the sides, in bits: at least, with 95 % confidence.
fn divergence(counts: Counts, all: Counts) -> f64 {
    let selection = wilson(counts.selection, all.selection);
    let baseline = wilson(counts.baseline, all.baseline);
    let (p, q) = if selection.0 > baseline.1 {
        (selection.0, baseline.1)
    } else if baseline.0 > selection.1 {
        (selection.1, baseline.0)
    } else {
        return 0.0;
    };
    let middle = f64::midpoint(p, q);
    let part = |share: f64| if share > 0.0 { share * (share / middle).log2() } else { 0.0 };
    f64::midpoint(part(p), part(q)).max(0.0)
}

/// Where the share of which `count` of `all` is a sample lies, with 95 % confidence.
fn wilson(count: f64, all: f64) -> (f64, f64) {
    if all <= 0.0 {
        return (0.0, 1.0);
    }
    let share = (count / all).clamp(0.0, 1.0);
    let square = DEVIATIONS * DEVIATIONS / all;
    let middle = share + square / 2.0;
    let reach = DEVIATIONS * (share * (1.0 - share) / all + square / (4.0 * all)).sqrt();
    let bound = |value: f64| (value / (1.0 + square)).clamp(0.0, 1.0);
    (bound(middle - reach), bound(middle + reach))
}

/// Whether two values have the same shares of both sides: then mostly on the same spans.
fn is_same(one: Counts, other: Counts, all: Counts) -> bool {
    let near = |a: f64, b: f64, of: f64| (a - b).abs() <= SAME_SHARE * of;
    near(one.selection, other.selection, all.selection)
        && near(one.baseline, other.baseline, all.baseline)
}

/// Whether the words of a query in its canonical text name an attribute, with its scope or without one.
fn names(words: &HashSet<&str>, attribute: &str) -> bool {
    let unscoped = attribute.find('.').map(|dot| &attribute[dot..]);
    words.contains(attribute) || unscoped.is_some_and(|name| words.contains(name))
}

fn ends_word(character: char) -> bool {
    character.is_whitespace() || "(){}!&|,".contains(character)
}

/// A query with a space in the place of each text.
fn outside_of_texts(query: &str) -> String {
    let mut outside = String::with_capacity(query.len());
    let mut characters = query.chars();
    let mut quote = None;
    while let Some(character) = characters.next() {
        match quote {
            Some(end) if character == end => quote = None,
            Some('"') if character == '\\' => drop(characters.next()),
            Some(_) => {}
            None if matches!(character, '"' | '`') => {
                quote = Some(character);
                outside.push(' ');
            }
            None => outside.push(character),
        }
    }
    outside
}

fn show(name: &str, (_, value, counts): &Scored) -> Value {
    json!({
        "value": value.as_ref().map(|value| value.text()),
        "selection": counts.selection,
        "baseline": counts.baseline,
        "condition": condition(name, value.as_ref()),
    })
}

/// The TraceQL condition that finds the spans with a value; `None` if it cannot be told.
fn condition(name: &str, value: Option<&LabelValue>) -> Option<String> {
    let candidates = match value {
        None | Some(LabelValue::Nil) => vec!["nil".to_owned()],
        Some(LabelValue::String(text)) => {
            vec![double_quoted(text), text.to_string()]
        }
        Some(value) => vec![value.text().into_owned()],
    };
    let conditions = candidates.into_iter().map(|literal| format!("{name} = {literal}"));
    let is_valid = |it: &String| tactus_traceql::parse_and_validate(&format!("{{ {it} }}")).is_ok();
    conditions.into_iter().find(is_valid)
}

/// A text as people write it, and the form of the search page: in double quotes where that needs no codes.
fn double_quoted(text: &str) -> String {
    if text.contains(char::is_control) {
        return quoted(text);
    }
    format!("\"{}\"", text.replace('\\', r"\\").replace('"', r#"\""#))
}

#[cfg(test)]
mod tests {
    use tactus_work::{Over, Work, end};

    use super::*;

    fn one(side: &str, name: &str, value: LabelValue, count: f64) -> Series {
        let side = LabelValue::String(side.into());
        let labels = vec![("__meta_type".into(), side), (name.into(), value)];
        Series { labels, points: vec![(0, count)], exemplars: Vec::new() }
    }

    fn text(value: &str) -> LabelValue {
        LabelValue::String(value.into())
    }

    /// Both sides of an attribute: value, spans of the selection, spans of the rest.
    fn series(name: &str, values: &[(&str, f64, f64)]) -> Vec<Series> {
        let mut all = Vec::new();
        let sum = |of: fn(&(&str, f64, f64)) -> f64| values.iter().map(of).sum();
        all.push(one("selection_total", name, LabelValue::Nil, sum(|it| it.1)));
        all.push(one("baseline_total", name, LabelValue::Nil, sum(|it| it.2)));
        for &(value, selection, baseline) in values {
            all.push(one("selection", name, text(value), selection));
            all.push(one("baseline", name, text(value), baseline));
        }
        all
    }

    fn order(ranked: &Value) -> Vec<&str> {
        let all = ranked["attributes"].as_array().unwrap();
        all.iter().map(|it| it["name"].as_str().unwrap()).collect()
    }

    #[test]
    fn attributes_are_ranked_by_what_they_tell_and_the_selection_s_own_come_last() {
        let mut all = series("name", &[("charge", 100.0, 900.0)]);
        all.extend(series("resource.region", &[("us", 92.0, 30.0), ("eu", 8.0, 870.0)]));
        all.extend(series("resource.zone", &[("us-2", 91.0, 28.0), ("eu-1", 9.0, 872.0)]));
        all.extend(series("span.tier", &[("gold", 60.0, 450.0), ("free", 40.0, 450.0)]));
        all.extend(series("status", &[("error", 100.0, 0.0), ("ok", 0.0, 900.0)]));
        let ids: Vec<_> = (0..100).map(|id| (format!("id {id}"), 1.0, 9.0)).collect();
        let ids: Vec<_> = ids.iter().map(|(id, a, b)| (id.as_str(), *a, *b)).collect();
        all.extend(series("span.order", &ids));
        let ranked = rank(
            all,
            r#"{ status = error && span.x = `span.tier` && span.y = "a \" span.tier " }"#,
        );
        assert_eq!(
            (ranked["selection"].as_f64(), ranked["baseline"].as_f64()),
            (Some(100.0), Some(900.0))
        );
        assert_eq!(order(&ranked)[..2], ["resource.region", "resource.zone"]);
        assert_eq!(order(&ranked).last(), Some(&"status"));
        assert!(!order(&ranked).contains(&"span.order") && !order(&ranked).contains(&"name"));
        let region = &ranked["attributes"][0];
        assert_eq!(region["movesWith"], json!(["resource.zone"]));
        let shown = &region["values"][0];
        assert_eq!(
            (&shown["value"], &shown["condition"]),
            (&json!("us"), &json!("resource.region = \"us\""))
        );
        let status = ranked["attributes"].as_array().unwrap().last().unwrap();
        assert_eq!(
            (&status["implied"], &status["values"][0]["condition"]),
            (&json!(true), &json!("status = error"))
        );
    }

    #[test]
    fn what_the_selection_names_comes_last_and_nothing_is_ranked_once_the_query_is_over() {
        let values = [("x", 100.0, 0.0), ("y", 0.0, 900.0)];
        let all: Vec<_> = (0..=SHOWN_ATTRIBUTES)
            .flat_map(|number| series(&format!("span.a{number}"), &values))
            .collect();
        let ranked = rank(all.clone(), "{ span.b = 1 || .a0 = 2 }");
        assert_eq!(order(&ranked).len(), SHOWN_ATTRIBUTES);
        assert!(!order(&ranked).contains(&"span.a0"), "it is implied, so it comes last");
        let mut over = Value::Null;
        let ended = Work::default().run(|| {
            end(Over::Cancelled);
            over = rank(all, "{ }");
        });
        assert_eq!((order(&over).len(), ended), (0, Err(Over::Cancelled)));
    }

    #[test]
    fn missing_attribute_is_a_value() {
        let mut all = series("name", &[("charge", 100.0, 900.0)]);
        all.extend(series("span.retry", &[("yes", 90.0, 9.0)]));
        let ranked = rank(all, "{ }");
        let values = ranked["attributes"][0]["values"].as_array().unwrap();
        let missing = values.iter().find(|it| it["value"].is_null()).unwrap();
        assert_eq!(
            (missing["selection"].as_f64(), missing["baseline"].as_f64()),
            (Some(10.0), Some(891.0))
        );
        assert_eq!(missing["condition"], "span.retry = nil");
    }

    #[test]
    fn few_spans_tell_nothing_and_a_side_without_spans_nothing_at_all() {
        let some = series("span.a", &[("x", 2.0, 1.0), ("y", 0.0, 2.0)]);
        assert!(order(&rank(some, "{ }")).is_empty());
        assert!(order(&rank(series("span.a", &[("x", 50.0, 0.0)]), "{ }")).is_empty());
        assert!(order(&rank(Vec::new(), "{ }")).is_empty());
    }
}
