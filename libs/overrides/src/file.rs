//! The operator's file with limits of tenants, which may be gzipped.

use std::time::Duration;

use tactus_config::{
    Config, Environment, ExpandError, PerTenantFile, PerTenantOverrides, Value, expand,
    read_yaml_document, to_yaml_document, variable_warnings,
};
use tactus_operator_files::{Content, Location, WatchedFile, read_bounded};

/// The largest file after decompression. A real one is smaller; a disk full of zeros is not.
const MAX_BYTES: u64 = 64 << 20;
/// Limit of a request for the file.
const FETCH_TIMEOUT: Duration = Duration::from_secs(30);

/// The file at `overrides.per_tenant_override_config`, which must not be empty. Errors: no client for a URL.
pub(crate) fn watched(place: &str) -> Result<WatchedFile, String> {
    Location::new(place, MAX_BYTES, FETCH_TIMEOUT).map(WatchedFile::new)
}

/// Decompresses, expands and parses the file. Errors are worded for people.
pub(crate) fn parse(
    place: &str,
    content: &Content,
    config: &Config,
    expand_env: bool,
) -> Result<PerTenantFile, String> {
    let bytes = content.bytes.as_slice();
    let unpacked = if place.ends_with(".gz") {
        let unpacked = read_bounded(flate2::read::MultiGzDecoder::new(bytes), MAX_BYTES);
        unpacked.map_err(|error| error.to_string())?
    } else {
        bytes.to_vec()
    };
    let mut text = String::from_utf8(unpacked).map_err(|error| error.to_string())?;
    let env = |name: &str| std::env::var(name).ok();
    let of_variables = variable_warnings(&text, expand_env, env);
    let mut hint = "";
    if expand_env {
        let expanded = expand_texts(&text, &env);
        if let Some(expanded) = expanded.map_err(|error| error.to_string())? {
            (text, hint) = (expanded, " (lines as they are after variables are expanded)");
        }
    }
    let parsed = PerTenantOverrides::parse(&text, config);
    let mut file = parsed.map_err(|error| format!("{error}{hint}"))?;
    file.advice.extend(of_variables);
    Ok(file)
}

/// The file with variables expanded; `None` if there is nothing to expand. As in Tempo, the file is read before that: comments
/// are not expanded, and a text may become a number or a list.
fn expand_texts(text: &str, env: Environment<'_>) -> Result<Option<String>, ExpandError> {
    match read_yaml_document(text) {
        Ok(document) => {
            let expanded = expand_value(&document, env)?;
            Ok((expanded != document).then(|| to_yaml_document(&expanded)))
        }
        // It may be YAML only once it is expanded, as `[${A}, ${B}]`.
        Err(_) => expand(text, env).map(|expanded| (expanded != text).then_some(expanded)),
    }
}

fn expand_value(value: &Value, env: Environment<'_>) -> Result<Value, ExpandError> {
    Ok(match value {
        Value::Text(text) => expand_text(text, env)?,
        Value::List(items) => {
            let items = items.iter().map(|item| expand_value(item, env));
            Value::List(items.collect::<Result<_, _>>()?)
        }
        Value::Map(entries) => {
            let expand_entry = |(key, value): &(String, Value)| -> Result<_, ExpandError> {
                Ok((expand(key, env)?, expand_value(value, env)?))
            };
            Value::Map(entries.iter().map(expand_entry).collect::<Result<_, _>>()?)
        }
        other => other.clone(),
    })
}

/// A text that could stand without quotes is read again, in case it is a number or a list now. What is a text, or no value at
/// all, such as a comment or an anchor, stays whole.
fn expand_text(text: &str, env: Environment<'_>) -> Result<Value, ExpandError> {
    let expanded = expand(text, env)?;
    let is_plain = || unquoted(text) == Some(Value::Text(text.to_owned()));
    let read = match expanded != text && !expanded.contains('#') && is_plain() {
        true => unquoted(&expanded),
        false => None,
    };
    Ok(match read {
        Some(Value::Null) if !expanded.trim().is_empty() => Value::Text(expanded),
        Some(Value::Text(_)) | None => Value::Text(expanded),
        Some(value) => value,
    })
}

/// What a text means after a key; `None` if it cannot stand there.
fn unquoted(text: &str) -> Option<Value> {
    match read_yaml_document(&format!("key: {text}")).ok()? {
        Value::Map(mut entries) if entries.len() == 1 => entries.pop().map(|(_, value)| value),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expanded(text: &str) -> Option<String> {
        let env = |name: &str| match name {
            "N" => Some("5".to_owned()),
            "LIST" => Some("[a, b]".to_owned()),
            "COLOR" => Some("#fff".to_owned()),
            "AND" => Some("&x".to_owned()),
            "TEXT" => Some("a: 'b' # c".to_owned()),
            _ => None,
        };
        expand_texts(text, &env).unwrap()
    }

    #[test]
    fn variables_that_are_not_set_are_told() {
        let text = "overrides: {a: {ingestion: {max_traces_per_user: ${TACTUS_NOT_SET}}}}";
        let content = Content::new(text.as_bytes().to_vec());
        let file = parse("limits.yaml", &content, &Config::default(), true).unwrap();
        let expected = "the environment has no TACTUS_NOT_SET: ${TACTUS_NOT_SET} is empty (line 1)";
        assert!(file.advice.iter().any(|told| told == expected), "{:?}", file.advice);
    }

    #[test]
    fn comments_stay_and_are_told_from_texts() {
        for text in [
            "a: 1 # ${X-1}\n",
            "a: b#c # ${X-1}\n",
            "a: it's # ${X-1}\n",
            "a: 'it''s # b' # ${X-1}\n",
            "a: \"b\n  c \\\" # d\" # ${X-1}\n",
            "a: |- # ${X-1}\n  b # c\n",
            "a: ['# b',\"# c\"] # ${X-1}\n",
        ] {
            assert_eq!(expanded(text), None, "{text}");
        }
        let text = "\
# ${X-1}
a: 'it''s # ${N}' # ${X-1}
b: |-
  ${N} # c
c: \"d
  \\\\d # ${N}\"
";
        let expected = "a: \"it's # 5\"\nb: \"5 # c\"\nc: \"d \\\\d # 5\"\n";
        assert_eq!(expanded(text).as_deref(), Some(expected));
    }

    #[test]
    fn values_of_variables_become_what_they_are_without_quotes() {
        for (text, expected) in [
            ("a: ${N}00", "a: 500\n"),
            ("a: ${NONE}", "a: null\n"),
            ("a: ${LIST}", "a:\n  - a\n  - b\n"),
            ("a: '[${N}]'", "a: \"[5]\"\n"),
            ("a: ${COLOR}", "a: \"#fff\"\n"),
            ("a: ${AND}", "a: \"&x\"\n"),
            ("a: ${TEXT}", "a: \"a: 'b' # c\"\n"),
            ("t${N}: {a: 1}", "t5:\n  a: 1\n"),
            // No YAML before it is expanded.
            ("a: [${N}]", "a: [5]"),
        ] {
            assert_eq!(expanded(text).as_deref(), Some(expected), "{text}");
        }
    }
}
