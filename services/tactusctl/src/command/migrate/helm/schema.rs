//! The schema of our chart: its values and their types.

use serde_json::Value as Json;
use tactus_config::Value;

use super::values::integer;

const SCHEMA: &str = include_str!("../../../../../../helm/tactus/values.schema.json");

/// `values.schema.json` of the chart.
#[derive(Debug)]
pub(super) struct Schema(Json);

/// Why a value does not fit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Misfit {
    /// There is no such value.
    Unknown,
    /// There is no such value, and it is empty.
    Empty,
    /// It is null, which means the chart's default to Helm.
    Null,
    /// It is of another type.
    Type(String),
}

impl Schema {
    /// Errors: the schema in this program is no JSON.
    pub(super) fn of_chart() -> Result<Self, String> {
        serde_json::from_str(SCHEMA).map(Self).map_err(|error| error.to_string())
    }

    /// All values that are to be looked at by themselves, with their paths: maps only where the schema does not know
    /// their keys.
    pub(super) fn sort(&self, values: &Value) -> Vec<(Vec<String>, Value, Result<(), Misfit>)> {
        let mut sorted = Vec::new();
        self.look(values, Some(&self.0), &mut Vec::new(), &mut sorted);
        sorted
    }

    fn look(
        &self,
        value: &Value,
        schema: Option<&Json>,
        path: &mut Vec<String>,
        sorted: &mut Vec<(Vec<String>, Value, Result<(), Misfit>)>,
    ) {
        let Some(schema) = schema.map(|schema| self.resolved(schema)) else {
            if let Value::Map(entries) = value
                && !entries.is_empty()
            {
                for (key, value) in entries {
                    path.push(key.clone());
                    self.look(value, None, path, sorted);
                    path.pop();
                }
                return;
            }
            let misfit = if says_nothing(value) { Misfit::Empty } else { Misfit::Unknown };
            sorted.push((path.clone(), value.clone(), Err(misfit)));
            return;
        };
        if let (Value::Map(entries), Some(known)) = (value, schema.get("properties")) {
            // An empty map sets nothing.
            for (key, value) in entries {
                path.push(key.clone());
                let inner = known.get(key).or_else(|| {
                    let others = schema.get("additionalProperties");
                    others.filter(|others| **others != Json::Bool(false))
                });
                self.look(value, inner, path, sorted);
                path.pop();
            }
            return;
        }
        let fits = self.fits(value, schema);
        sorted.push((path.clone(), value.clone(), fits));
    }

    fn resolved<'a>(&'a self, schema: &'a Json) -> &'a Json {
        let pointer = schema.get("$ref").and_then(Json::as_str).and_then(|at| at.strip_prefix('#'));
        pointer.and_then(|pointer| self.0.pointer(pointer)).unwrap_or(schema)
    }

    fn fits(&self, value: &Value, schema: &Json) -> Result<(), Misfit> {
        let schema = self.resolved(schema);
        let wrong = |wanted: String| match value {
            Value::Null => Err(Misfit::Null),
            _ => Err(Misfit::Type(format!("the chart tactus wants {wanted} here"))),
        };
        if let Some(Json::Array(choices)) = schema.get("enum") {
            let chosen = choices.iter().any(|choice| match (choice, value) {
                (Json::String(choice), Value::Text(text)) => choice == text,
                (Json::Null, Value::Null) => true,
                _ => false,
            });
            let names = choices.iter().filter_map(Json::as_str).collect::<Vec<_>>().join(", ");
            return if chosen { Ok(()) } else { wrong(format!("one of {names}")) };
        }
        let types: Vec<&str> = match schema.get("type") {
            Some(Json::String(name)) => vec![name],
            Some(Json::Array(names)) => names.iter().filter_map(Json::as_str).collect(),
            _ => return Ok(()),
        };
        if !types.iter().any(|name| is_of(value, name)) {
            return wrong(types.join(" or "));
        }
        let bound = |name: &str| schema.get(name).and_then(Json::as_i64);
        if let Some(number) = integer(value)
            && (bound("minimum").is_some_and(|least| number < least)
                || bound("maximum").is_some_and(|most| number > most))
        {
            let bounds = [("at least", bound("minimum")), ("at most", bound("maximum"))];
            let words =
                bounds.iter().filter_map(|(word, bound)| Some(format!("{word} {}", (*bound)?)));
            return wrong(words.collect::<Vec<_>>().join(" and "));
        }
        Ok(())
    }
}

fn says_nothing(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Text(text) => text.is_empty(),
        Value::List(items) => items.is_empty(),
        Value::Map(entries) => entries.is_empty(),
        _ => false,
    }
}

fn is_of(value: &Value, name: &str) -> bool {
    match name {
        "null" => *value == Value::Null,
        "boolean" => matches!(value, Value::Bool(_)),
        "string" => matches!(value, Value::Text(_)),
        "integer" => integer(value).is_some(),
        "number" => matches!(value, Value::Int(_) | Value::Float(_) | Value::Verbatim(_)),
        "array" => matches!(value, Value::List(_)),
        "object" => matches!(value, Value::Map(_)),
        _ => false,
    }
}
