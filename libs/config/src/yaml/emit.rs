//! Block-style YAML output.

use super::{Resolved, Scalar, Value, resolve};
use std::fmt::Write;

/// `value` as a YAML document that both YAML 1.1 and 1.2 readers understand alike.
pub fn emit(value: &Value) -> String {
    let mut out = String::new();
    match value {
        Value::Map(entries) if !entries.is_empty() => emit_map(entries, 0, &mut out),
        Value::List(items) if !items.is_empty() => emit_list(items, 0, &mut out),
        leaf => {
            out.push_str(&inline(leaf));
            out.push('\n');
        }
    }
    out
}

fn emit_map(entries: &[(String, Value)], indent: usize, out: &mut String) {
    for (index, (key, value)) in entries.iter().enumerate() {
        // The first entry of a map inside a list continues the line of the dash.
        if index > 0 || out.is_empty() || out.ends_with('\n') {
            let _ = write!(out, "{:indent$}", "");
        }
        let _ = write!(out, "{}:", text(key));
        emit_nested(value, indent + 2, out);
    }
}

fn emit_list(items: &[Value], indent: usize, out: &mut String) {
    for item in items {
        let _ = write!(out, "{:indent$}-", "");
        match item {
            Value::Map(entries) if !entries.is_empty() => {
                out.push(' ');
                emit_map(entries, indent + 2, out);
            }
            other => emit_nested(other, indent + 2, out),
        }
    }
}

fn emit_nested(value: &Value, indent: usize, out: &mut String) {
    match value {
        Value::Map(entries) if !entries.is_empty() => {
            out.push('\n');
            emit_map(entries, indent, out);
        }
        Value::List(items) if !items.is_empty() => {
            out.push('\n');
            emit_list(items, indent, out);
        }
        Value::Text(text) if fits_block(text) => {
            let chomp = if text.ends_with('\n') { "" } else { "-" };
            let _ = writeln!(out, " |{chomp}");
            for line in text.lines() {
                if !line.is_empty() {
                    let _ = write!(out, "{:indent$}{line}", "");
                }
                out.push('\n');
            }
        }
        leaf => {
            let _ = writeln!(out, " {}", inline(leaf));
        }
    }
}

/// Whether a text of several lines can stand as a block of lines, which is easier to read and to edit than one quoted line.
fn fits_block(text: &str) -> bool {
    let printable = |c: char| c == '\n' || (c.is_ascii() && !c.is_ascii_control());
    let lines = text.strip_suffix('\n').unwrap_or(text);
    lines.contains('\n')
        && text.chars().all(printable)
        && !lines.starts_with([' ', '\n'])
        && !lines.ends_with('\n')
        && lines.split('\n').all(|line| !line.ends_with(' '))
}

/// One value on one line; also how the manual prints defaults.
pub(crate) fn inline(value: &Value) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::Bool(flag) => flag.to_string(),
        Value::Int(number) => number.to_string(),
        Value::Float(number) if number.is_nan() => ".nan".to_owned(),
        Value::Float(number) if number.is_infinite() => {
            if *number > 0.0 {
                ".inf".to_owned()
            } else {
                "-.inf".to_owned()
            }
        }
        Value::Float(number) => format!("{number:?}"),
        Value::Text(value) => text(value),
        Value::Verbatim(text) => text.clone(),
        Value::List(items) => {
            format!("[{}]", items.iter().map(inline).collect::<Vec<_>>().join(", "))
        }
        Value::Map(entries) => {
            let entries: Vec<_> = entries
                .iter()
                .map(|(key, value)| format!("{}: {}", text(key), inline(value)))
                .collect();
            format!("{{{}}}", entries.join(", "))
        }
    }
}

fn text(value: &str) -> String {
    let simple = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | '/');
    let plain = value.starts_with(|c: char| c.is_ascii_alphanumeric() || matches!(c, '/' | '_'))
        && value.chars().all(simple)
        && resolve(&Scalar::new(value, true)) == Resolved::Text
        && !is_date(value);
    if plain { value.to_owned() } else { quoted(value) }
}

/// Whether readers of YAML 1.1 take a plain text for a timestamp. One with a time of day has a colon, and is quoted for that.
fn is_date(text: &str) -> bool {
    let lengths: Vec<_> = text.split('-').map(str::len).collect();
    matches!(lengths[..], [4, 1 | 2, 1 | 2])
        && text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-')
}

/// In double quotes.
pub(super) fn quoted(value: &str) -> String {
    let mut out = String::with_capacity(value.len() + 2);
    out.push('"');
    for c in value.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            '\r' => out.push_str("\\r"),
            // The last three are line breaks or a byte order mark to a YAML reader.
            c if c.is_control() || matches!(c, '\u{2028}' | '\u{2029}' | '\u{feff}') => {
                let _ = write!(out, "\\u{:04x}", c as u32);
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}
