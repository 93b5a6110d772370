//! Reads and changes values at paths.

use tactus_config::Value;

/// The value at a dotted path.
pub(super) fn get<'a>(values: &'a Value, path: &str) -> Option<&'a Value> {
    path.split('.').try_fold(values, |value, key| match value {
        Value::Map(entries) => entries.iter().find(|(name, _)| name == key).map(|(_, value)| value),
        _ => None,
    })
}

/// Removes the value at a dotted path, and maps that become empty. Returns the value.
pub(super) fn take(values: &mut Value, path: &str) -> Option<Value> {
    let path: Vec<String> = path.split('.').map(str::to_owned).collect();
    take_at(values, &path)
}

/// As `take`, with the path as keys, which may contain dots.
pub(super) fn take_at(values: &mut Value, path: &[String]) -> Option<Value> {
    let (first, rest) = path.split_first()?;
    let Value::Map(entries) = values else { return None };
    let position = entries.iter().position(|(name, _)| name == first)?;
    if rest.is_empty() {
        return Some(entries.remove(position).1);
    }
    let taken = take_at(&mut entries[position].1, rest)?;
    if matches!(&entries[position].1, Value::Map(left) if left.is_empty()) {
        entries.remove(position);
    }
    Some(taken)
}

/// Puts a value at a dotted path. Maps are merged. False if there is another value already, which stays.
pub(super) fn put(values: &mut Value, path: &str, value: Value) -> bool {
    let path: Vec<String> = path.split('.').map(str::to_owned).collect();
    put_at(values, &path, value)
}

/// As `put`, with the path as keys, which may contain dots.
pub(super) fn put_at(values: &mut Value, path: &[String], value: Value) -> bool {
    let Some((first, rest)) = path.split_first() else { return merge(values, value) };
    let Value::Map(entries) = values else { return false };
    match entries.iter().position(|(name, _)| name == first) {
        Some(position) => put_at(&mut entries[position].1, rest, value),
        None => {
            let mut inner = if rest.is_empty() { value.clone() } else { Value::Map(Vec::new()) };
            let placed = rest.is_empty() || put_at(&mut inner, rest, value);
            entries.push((first.clone(), inner));
            placed
        }
    }
}

/// Merges a value into an existing one, maps key by key. False if some of it was there already.
fn merge(there: &mut Value, value: Value) -> bool {
    match (there, value) {
        (Value::Map(_), Value::Map(entries)) if entries.is_empty() => true,
        (there @ Value::Map(_), Value::Map(entries)) => {
            let mut placed = true;
            for (key, value) in entries {
                placed &= put_at(there, &[key], value);
            }
            placed
        }
        _ => false,
    }
}

/// The paths of values that contain a text that `matches`.
pub(super) fn paths_of_texts(values: &Value, matches: &dyn Fn(&str) -> bool) -> Vec<Vec<String>> {
    fn within(value: &Value, matches: &dyn Fn(&str) -> bool) -> bool {
        match value {
            Value::Text(text) => matches(text),
            Value::List(items) => items.iter().any(|item| within(item, matches)),
            Value::Map(entries) => entries.iter().any(|(_, value)| within(value, matches)),
            _ => false,
        }
    }
    let Value::Map(entries) = values else { return Vec::new() };
    let mut found = Vec::new();
    for (key, value) in entries {
        if let Value::Map(_) = value {
            let below = paths_of_texts(value, matches);
            found.extend(below.into_iter().map(|path| [vec![key.clone()], path].concat()));
        } else if within(value, matches) {
            found.push(vec![key.clone()]);
        }
    }
    found
}

/// A whole number.
pub(super) fn integer(value: &Value) -> Option<i64> {
    match value {
        Value::Int(number) => i64::try_from(*number).ok(),
        Value::Verbatim(text) => match text.parse::<i64>() {
            Ok(number) => Some(number),
            // Tools that read and write values turn large numbers into floats.
            Err(_) => text
                .parse::<f64>()
                .ok()
                .filter(|n| n.fract() == 0.0 && n.abs() < 1e15)
                .map(|n| n as i64),
        },
        _ => None,
    }
}

/// A text.
pub(super) fn text(value: &Value) -> Option<&str> {
    match value {
        Value::Text(text) => Some(text),
        _ => None,
    }
}

/// A map of these entries.
pub(super) fn map<const N: usize>(entries: [(&str, Value); N]) -> Value {
    Value::Map(entries.into_iter().map(|(key, value)| (key.to_owned(), value)).collect())
}
