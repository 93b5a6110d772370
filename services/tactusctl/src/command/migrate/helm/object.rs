//! Values within an object of Kubernetes, such as a HelmRelease.

use tactus_config::{Value, read_yaml_document};

use super::{origin, values};
use crate::arguments::Chart;

/// Objects that have values.
const KINDS: [&str; 3] = ["HelmRelease", "HelmChart", "Application"];

/// The values of a file, and what an object around them says.
#[derive(Debug)]
pub(super) struct Given {
    pub(super) values: Value,
    /// The chart of Tempo that the object names.
    pub(super) chart: Option<Chart>,
    /// Keys to look at, with the reasons.
    pub(super) notes: Vec<(String, String)>,
}

/// Takes the values out of a file, which may have objects, one of them with values.
///
/// Errors: not YAML, no mapping, no object with values or several.
pub(super) fn open(text: &str) -> Result<Given, String> {
    let first = mapping(read_yaml_document(text)?)?;
    if kind_of(&first).is_none() {
        return Ok(Given { values: first, chart: None, notes: Vec::new() });
    }
    let mut objects = Vec::new();
    // At the start of a line this is a border of documents, even within a text.
    for (index, part) in text.split("\n---").enumerate() {
        let object = read_yaml_document(part).and_then(mapping);
        objects.push(object.map_err(|error| format!("document {}: {error}", index + 1))?);
    }
    objects.retain(|object| kind_of(object).is_some_and(|kind| KINDS.contains(&kind)));
    let object = match objects.as_slice() {
        [object] => object,
        [] => {
            let kind = kind_of(&first).unwrap_or_default();
            return Err(format!(
                "an object of Kubernetes of the kind {kind}, not values of a chart: pass the values alone, such as what is \
                 below spec.values of a HelmRelease"
            ));
        }
        several => {
            let count = several.len();
            return Err(format!("{count} objects that may have values: pass one of them alone"));
        }
    };
    match kind_of(object) {
        Some(kind @ "HelmRelease") => {
            let chart = values::get(object, "spec.chart.spec.chart");
            of_object(kind, object, chart, &["spec.values"], &["spec.valuesFrom"])
        }
        Some(kind @ "HelmChart") => {
            let chart = values::get(object, "spec.chart");
            let places = ["spec.values", "spec.valuesContent"];
            of_object(kind, object, chart, &places, &["spec.set", "spec.valuesSecrets"])
        }
        _ => application(object),
    }
}

/// The kind of an object of Kubernetes; `None` of any other document.
fn kind_of(document: &Value) -> Option<&str> {
    values::get(document, "apiVersion")?;
    values::get(document, "kind").and_then(values::text)
}

/// A document, with flags as Helm reads them.
fn mapping(value: Value) -> Result<Value, String> {
    match value.with_flags() {
        Value::Null => Ok(Value::Map(Vec::new())),
        map @ Value::Map(_) => Ok(map),
        _ => Err("a values file is a mapping".to_owned()),
    }
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Text(text) => text.trim().is_empty(),
        Value::List(all) => all.is_empty(),
        Value::Map(all) => all.is_empty(),
        _ => false,
    }
}

/// Takes the values that are in the first of `places` that has some. `others` have values that are not in the file.
fn of_object(
    kind: &str,
    document: &Value,
    chart: Option<&Value>,
    places: &[&str],
    others: &[&str],
) -> Result<Given, String> {
    let there = places.iter().filter_map(|place| Some((*place, values::get(document, place)?)));
    let found: Vec<_> = there.collect();
    let filled = found.iter().find(|(_, value)| !is_empty(value));
    let Some(&(place, value)) = filled.or(found.first()) else {
        let places = places.join(" or ");
        return Err(format!(
            "an object of the kind {kind} without {places}: pass the file with the values of the chart"
        ));
    };
    let values = match value {
        Value::Text(text) => read_yaml_document(text).and_then(mapping),
        other => mapping(other.clone()),
    };
    let values = values.map_err(|error| format!("{place}: {error}"))?;
    let why = format!(
        "values of an object of the kind {kind}: keys are named from here on, and the result belongs in its place, with \
         tactus as the chart"
    );
    let mut notes = vec![(place.to_owned(), why)];
    for other in others {
        if values::get(document, other).is_some_and(|value| !is_empty(value)) {
            let why = "further values, which are not read from here: convert them by themselves";
            notes.push(((*other).to_owned(), why.to_owned()));
        }
    }
    Ok(Given { values, chart: chart.and_then(values::text).and_then(origin::named), notes })
}

/// Takes the values of the source of an Application, which may have several sources.
fn application(document: &Value) -> Result<Given, String> {
    const PLACES: [&str; 2] = ["helm.valuesObject", "helm.values"];
    const OTHERS: [&str; 3] = ["helm.valueFiles", "helm.parameters", "helm.fileParameters"];
    let mut sources = Vec::new();
    if let Some(source) = values::get(document, "spec.source") {
        sources.push(("spec.source".to_owned(), source));
    }
    if let Some(Value::List(all)) = values::get(document, "spec.sources") {
        let named = all.iter().enumerate();
        sources.extend(named.map(|(index, source)| (format!("spec.sources.{index}"), source)));
    }
    sources.retain(|(_, source)| PLACES.iter().any(|place| values::get(source, place).is_some()));
    let is_of_tempo = |source: &Value| {
        let chart = values::get(source, "chart").and_then(values::text);
        chart.and_then(origin::named).is_some()
    };
    if sources.len() > 1 {
        sources.retain(|(_, source)| is_of_tempo(source));
    }
    let [(at, source)] = sources.as_slice() else {
        return Err(
            "an object of the kind Application without exactly one source of Tempo's chart that has helm.valuesObject or \
             helm.values: pass the values alone"
                .to_owned(),
        );
    };
    let chart = values::get(source, "chart");
    let mut given = of_object("Application", source, chart, &PLACES, &OTHERS)?;
    for (key, _) in &mut given.notes {
        *key = format!("{at}.{key}");
    }
    Ok(given)
}
