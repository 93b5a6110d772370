//! The command line: Go's flag grammar over a table of flags that stand for keys of the file.

mod table;

use crate::duration::parse_either;
use crate::field::Reader;
use crate::sections::root::Config;
use crate::suggest::nearest;
use crate::validate::LOG_LEVELS;
use crate::yaml::{Content, Key, Node, Value, parse_int};
pub(crate) use table::{FLAGS, Flag, Kind, Target, find};

/// A flag that was given, with its value checked for its kind.
#[derive(Debug, Clone)]
pub(crate) struct Given {
    pub(crate) flag: &'static Flag,
    pub(crate) value: String,
}

impl Given {
    /// A flag with a value that is valid for it; `None`: there is no such flag.
    pub(crate) fn new(name: &str, value: &str) -> Option<Self> {
        Some(Self { flag: find(name)?, value: value.to_owned() })
    }
}

/// Reads arguments until the first that is no flag; gives that and all after it as well, which Go ignores.
///
/// Errors: the text that Go prints above the usage.
pub(crate) fn parse(args: &[String]) -> Result<(Vec<Given>, &[String]), String> {
    let mut given = Vec::new();
    let mut rest = args.iter();
    loop {
        let left = rest.as_slice();
        let Some(argument) = rest.next() else { break };
        let Some((name, inline_value)) = split(argument)? else { return Ok((given, left)) };
        let Some(flag) = find(name) else {
            return Err(format!("flag provided but not defined: -{name}{}", hint(name)));
        };
        let value = match (inline_value, flag.kind) {
            (Some(value), _) => value.to_owned(),
            (None, Kind::Bool) => "true".to_owned(),
            // Flags known by their prefix only: whether they take a value shows in what follows.
            (None, Kind::Unknown) => {
                let mut ahead = rest.clone();
                match ahead.next() {
                    Some(next) if !next.starts_with('-') => {
                        rest = ahead;
                        next.clone()
                    }
                    _ => String::new(),
                }
            }
            (None, _) => {
                rest.next().cloned().ok_or_else(|| format!("flag needs an argument: -{name}"))?
            }
        };
        check(flag, name, &value)?;
        given.push(Given { flag, value });
    }
    Ok((given, &[]))
}

/// What somebody who gave an unknown flag probably wants; begins with a blank.
fn hint(name: &str) -> String {
    let names = FLAGS.iter().filter(|flag| flag.kind != Kind::Unknown);
    if let Some(near) = nearest(name, names.map(|flag| flag.name.as_str())) {
        return format!(" (did you mean -{near}?)");
    }
    let of_jaeger = name.split_once('.').is_some_and(|(first, _)| JAEGER.contains(&first));
    if of_jaeger { JAEGER_HINT.to_owned() } else { String::new() }
}

/// How flags of Jaeger's programs begin.
const JAEGER: [&str; 12] = [
    "agent",
    "badger",
    "cassandra",
    "collector",
    "es",
    "grpc-storage",
    "multi-tenancy",
    "processor",
    "query",
    "reporter",
    "sampling",
    "span-storage",
];
const JAEGER_HINT: &str =
    " (flags of Jaeger are not read: docs/migrating-from-jaeger.md has the key for each)";

/// The last value of the three flags that decide how the file is read, wherever they stand.
pub(crate) fn scan(args: &[String], wanted: &str) -> Option<String> {
    let mut found = None;
    for (position, argument) in args.iter().enumerate() {
        if let Ok(Some((name, value))) = split(argument)
            && name == wanted
            && let Some(flag) = find(name)
        {
            found = match (value, flag.kind) {
                (Some(value), _) => Some(value.to_owned()),
                (None, Kind::Bool) => Some("true".to_owned()),
                (None, _) => args.get(position + 1).cloned(),
            };
        }
    }
    found
}

/// True when a boolean flag's text means on.
pub(crate) fn is_true(value: &str) -> bool {
    parse_bool(value) == Some(true)
}

/// Parses what Go's `strconv.ParseBool` accepts.
pub fn parse_bool(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

/// Name and value of `-name`, `--name`, `-name=value`; nothing when the argument is no flag.
fn split(argument: &str) -> Result<Option<(&str, Option<&str>)>, String> {
    let Some(name) = argument.strip_prefix('-') else { return Ok(None) };
    let name = name.strip_prefix('-').unwrap_or(name);
    if name.is_empty() {
        return Ok(None);
    }
    if name.starts_with(['-', '=']) {
        return Err(format!("bad flag syntax: {argument}"));
    }
    Ok(Some(match name.split_once('=') {
        Some((name, value)) => (name, Some(value)),
        None => (name, None),
    }))
}

fn check(flag: &Flag, name: &str, value: &str) -> Result<(), String> {
    let cause = match flag.kind {
        Kind::Text if flag.name == "log.level" && !LOG_LEVELS.contains(&value) => {
            Some(format!("unrecognized log level {value:?}"))
        }
        Kind::Bool if parse_bool(value).is_none() => {
            return Err(format!("invalid boolean value {value:?} for -{name}: parse error"));
        }
        Kind::Int => parse_int(value).is_none().then(|| "parse error".to_owned()),
        Kind::Float => value.parse::<f64>().is_err().then(|| "parse error".to_owned()),
        Kind::Duration => parse_either(value).is_err().then(|| "parse error".to_owned()),
        Kind::Bool | Kind::Text | Kind::List | Kind::Unknown => None,
    };
    match cause {
        Some(cause) => Err(format!("invalid value {value:?} for flag -{name}: {cause}")),
        None => Ok(()),
    }
}

/// Writes a flag's value into the configuration.
///
/// Errors: the text that Go prints above the usage, when the key takes no such value.
pub(crate) fn apply(config: &mut Config, given: &Given) -> Result<(), String> {
    let Target::Key(path) = &given.flag.target else { return Ok(()) };
    let value = match given.flag.kind {
        Kind::Bool => Node::scalar(if is_true(&given.value) { "true" } else { "false" }, true),
        Kind::Int | Kind::Float => Node::scalar(&given.value, true),
        Kind::Duration | Kind::Text | Kind::Unknown => Node::scalar(&given.value, false),
        Kind::List => {
            let parts = given.value.split(',').filter(|part| !part.is_empty());
            let items = config.memberlist.join_members.iter().map(String::as_str).chain(parts);
            let items = items.map(|item| Node::scalar(item, false)).collect();
            Node { line: 0, content: Content::List(items) }
        }
    };
    let tree =
        path.rsplit('.').fold(value, |node, key| Node::map(0, vec![(Key::new(key, 0), node)]));
    let mut reader = Reader::default();
    crate::field::read_section(config, &tree, &mut reader);
    let Some(problem) = reader.problems.first() else { return Ok(()) };
    let cause = match given.flag.kind {
        Kind::Int | Kind::Float => "value out of range",
        _ => &problem.text,
    };
    Err(format!("invalid value {:?} for flag -{}: {cause}", given.value, given.flag.name))
}

/// Whether a start takes a flag of this name, without its dashes.
pub fn has_flag(name: &str) -> bool {
    table::find(name).is_some()
}

/// The usage text: every flag with its default, in the order of the names.
pub(crate) fn usage() -> String {
    let defaults = crate::show::leaves(&Config::default());
    let mut flags: Vec<&Flag> = FLAGS.iter().filter(|flag| flag.kind != Kind::Unknown).collect();
    flags.sort_by_key(|flag| &flag.name);
    let mut out = "Usage of tactus:\n".to_owned();
    for flag in flags {
        let kind = match flag.kind {
            Kind::Bool => "",
            Kind::Int => " int",
            Kind::Float => " float",
            Kind::Duration => " duration",
            Kind::Text | Kind::Unknown => " string",
            Kind::List => " value",
        };
        let default = match &flag.target {
            Target::Key(path) => defaults.get(path).and_then(shown_default),
            Target::Process(default, _) => (!default.is_empty()).then(|| (*default).to_owned()),
            Target::Ignored => None,
        };
        let default = default.map_or_else(String::new, |text| format!(" (default {text})"));
        out.push_str(&format!("  -{}{kind}\n    \t{}{default}\n", flag.name, flag.meaning()));
    }
    out
}

/// A default worth showing: zero values are left out, as Go does.
fn shown_default(value: &Value) -> Option<String> {
    match value {
        Value::Text(text) if text.is_empty() || text == "0s" => None,
        Value::Text(text) => Some(text.clone()),
        Value::Bool(false) | Value::Int(0) | Value::Null => None,
        Value::List(items) if items.is_empty() => None,
        other => Some(crate::yaml::inline(other)),
    }
}

#[cfg(test)]
mod tests;
