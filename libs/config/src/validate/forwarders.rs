//! Forwarders.

use super::Invalid;
use crate::sections::distributor::Forwarder;

pub(super) fn validate(forwarders: &[Forwarder]) -> Result<(), Invalid> {
    for (index, forwarder) in forwarders.iter().enumerate() {
        let key = format!("distributor.forwarders.{index}");
        let cause = if forwarder.name.is_empty() {
            "name is empty".to_owned()
        } else if forwarder.backend != "otlpgrpc" {
            format!("{} backend is not supported", forwarder.backend)
        } else if !forwarder.otlpgrpc.tls.insecure && forwarder.otlpgrpc.tls.cert_file.is_empty() {
            "cert_file is empty".to_owned()
        } else if forwarders[..index].iter().any(|other| other.name == forwarder.name) {
            format!("forwarder with name {} already exists", forwarder.name)
        } else {
            filter(&format!("{key}.filter.traces"), forwarder)?;
            continue;
        };
        let text = format!("failed to validate config at index={index}: {cause}");
        return Err(Invalid::new(&key, text));
    }
    Ok(())
}

/// Conditions are filters of TraceQL; those of files made for Tempo are OTTL.
fn filter(key: &str, forwarder: &Forwarder) -> Result<(), Invalid> {
    let conditions = &forwarder.filter.traces;
    if let Some(condition) = conditions.spanevent.first() {
        let key = format!("{key}.spanevent");
        let text = format!(
            "{key}: {condition:?}: events are not left out of spans; spans with such an event are by \
             filter.traces.span, as {{ event:name = \"exception\" }}"
        );
        return Err(Invalid::new(&key, text));
    }
    let is_filter = |condition: &String| condition.trim_start().starts_with('{');
    let wrong = conditions.span.iter().enumerate().find(|(_, condition)| !is_filter(condition));
    let Some((index, condition)) = wrong else { return Ok(()) };
    let key = format!("{key}.span");
    let example = match in_traceql(condition.trim()) {
        Some(filter) => format!("write {filter} instead"),
        None => "write as { span.http.target = \"/healthz\" }".to_owned(),
    };
    let text = format!(
        "{key}.{index}: {condition:?} is no TraceQL filter (OTTL is not known here): {example}"
    );
    Err(Invalid::new(&key, text))
}

/// A simple condition of OTTL as a filter of TraceQL. `None` for one that needs to be written by hand.
fn in_traceql(condition: &str) -> Option<String> {
    let mut filter = String::new();
    let mut rest = condition;
    // What is quoted stays as it is: the name of an attribute, or a value.
    while let Some((before, after)) = rest.split_once('"') {
        let (quoted, after) = after.split_once('"')?;
        if quoted.contains('\\') {
            return None;
        }
        let Some(path) = before.strip_suffix("attributes[") else {
            filter += &format!("{}\"{quoted}\"", words_in_traceql(before)?);
            rest = after;
            continue;
        };
        let (before, scope) = match path.strip_suffix("resource.") {
            Some(before) => (before, "resource"),
            None => (path.strip_suffix("span.").unwrap_or(path), "span"),
        };
        // Attributes of something else.
        if before.ends_with(|c: char| c.is_alphanumeric() || matches!(c, '.' | '_')) {
            return None;
        }
        let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        filter += &words_in_traceql(before)?;
        filter += &match !quoted.is_empty() && quoted.chars().all(is_plain) {
            true => format!("{scope}.{quoted}"),
            false => format!("{scope}.\"{quoted}\""),
        };
        rest = after.strip_prefix(']')?;
    }
    filter += &words_in_traceql(rest)?;
    Some(format!("{{ {filter} }}"))
}

/// A part of a condition that has no quotes.
fn words_in_traceql(part: &str) -> Option<String> {
    let mut text = part.to_owned();
    for (from, to) in [
        ("span.name", "name"),
        ("status.code", "status"),
        ("==", "="),
        (" and ", " && "),
        (" or ", " || "),
    ] {
        text = text.replace(from, to);
    }
    // Their names are in capitals there.
    for prefix in ["STATUS_CODE_", "SPAN_KIND_"] {
        while let Some((before, rest)) = text.split_once(prefix) {
            let end = rest.find(|c: char| !c.is_ascii_uppercase()).unwrap_or(rest.len());
            let (name, after) = rest.split_at(end);
            text = format!("{before}{}{after}", name.to_ascii_lowercase());
        }
    }
    let is_by_hand =
        text.contains(['(', '[', ']']) || text.contains(" nil") || text.contains("not ");
    (!is_by_hand).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn simple_conditions_of_ottl_are_translated() {
        for (condition, filter) in [
            (r#"attributes["http.target"] == "/healthz""#, r#"{ span.http.target = "/healthz" }"#),
            (
                r#"resource.attributes["service.name"] == "a" and span.name != "b""#,
                r#"{ resource.service.name = "a" && name != "b" }"#,
            ),
            (
                "kind == SPAN_KIND_SERVER or status.code == STATUS_CODE_ERROR",
                "{ kind = server || status = error }",
            ),
            (
                r#"attributes["a b"] == "x and [y] == z" or attributes["c"] == 1"#,
                r#"{ span."a b" = "x and [y] == z" || span.c = 1 }"#,
            ),
        ] {
            assert_eq!(in_traceql(condition).as_deref(), Some(filter), "{condition}");
        }
        for condition in [
            r#"IsMatch(name, "a.*")"#,
            r#"attributes["a"] != nil"#,
            r#"not name == "x""#,
            r#"attributes["a" ] == "b""#,
            r#"attributes["a"" == "b""#,
            r#"attributes["a"] == "b"#,
            r#"attributes["a\"] == "b"#,
            r#"name == "a\"b""#,
            r#"instrumentation_scope.attributes["a"] == "b""#,
            r#"attributes[a] == "b""#,
        ] {
            assert_eq!(in_traceql(condition), None, "{condition}");
        }
    }
}
