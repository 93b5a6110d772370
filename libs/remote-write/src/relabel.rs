//! `write_relabel_configs`: labels of a series changed before it is sent, or the series left out.

use std::collections::BTreeMap;

use md5::{Digest, Md5};
use regex::Regex;
use tactus_config::sections::remote_write::RelabelConfig;

/// A rule that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum RelabelError {
    /// No such action.
    #[error("unknown relabel action {0:?}")]
    UnknownAction(String),
    /// A key that the action needs is missing or unusable.
    #[error("{0}")]
    Setting(String),
    /// The expression cannot be compiled.
    #[error("invalid regex {regex:?}: {reason}")]
    Regex {
        /// As configured.
        regex: String,
        /// What is wrong with it.
        reason: String,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Action {
    Replace,
    Keep,
    Drop,
    KeepEqual,
    DropEqual,
    HashMod,
    LabelMap,
    LabelDrop,
    LabelKeep,
    Lowercase,
    Uppercase,
}

/// The rules of one remote, compiled.
#[derive(Clone, Debug, Default)]
pub(crate) struct Relabeling {
    rules: Vec<Rule>,
}

#[derive(Clone, Debug)]
struct Rule {
    action: Action,
    sources: Vec<String>,
    separator: String,
    regex: Regex,
    modulus: u64,
    target: String,
    replacement: String,
}

/// Labels while they are changed: names once, in any order.
type Labels = Vec<(String, String)>;

impl Relabeling {
    pub(crate) fn new(configs: &[RelabelConfig]) -> Result<Self, RelabelError> {
        Ok(Self { rules: configs.iter().map(Rule::new).collect::<Result<_, _>>()? })
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// The labels after all rules, sorted by name and without empty values; `None`: the series is not sent.
    pub(crate) fn apply(&self, labels: &[(&str, &str)]) -> Option<Labels> {
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        let mut labels: Labels = labels.iter().map(owned).collect();
        for rule in &self.rules {
            if !rule.apply(&mut labels) {
                return None;
            }
        }
        labels.retain(|(_, value)| !value.is_empty());
        labels.sort_unstable();
        (!labels.is_empty()).then_some(labels)
    }
}

impl Rule {
    fn new(config: &RelabelConfig) -> Result<Self, RelabelError> {
        let action = match config.action.to_lowercase().as_str() {
            "replace" => Action::Replace,
            "keep" => Action::Keep,
            "drop" => Action::Drop,
            "keepequal" => Action::KeepEqual,
            "dropequal" => Action::DropEqual,
            "hashmod" => Action::HashMod,
            "labelmap" => Action::LabelMap,
            "labeldrop" => Action::LabelDrop,
            "labelkeep" => Action::LabelKeep,
            "lowercase" => Action::Lowercase,
            "uppercase" => Action::Uppercase,
            _ => return Err(RelabelError::UnknownAction(config.action.clone())),
        };
        check_fields(action, config)?;
        let regex = anchored(&config.regex)
            .map_err(|reason| RelabelError::Regex { regex: config.regex.clone(), reason })?;
        Ok(Self {
            action,
            sources: config.source_labels.clone(),
            separator: config.separator.clone(),
            regex,
            modulus: config.modulus,
            target: config.target_label.clone(),
            replacement: config.replacement.clone(),
        })
    }

    /// False: the series is not sent.
    fn apply(&self, labels: &mut Labels) -> bool {
        let joined = || {
            let values: Vec<_> = self.sources.iter().map(|name| get(labels, name)).collect();
            values.join(&self.separator)
        };
        match self.action {
            Action::Keep => return self.regex.is_match(&joined()),
            Action::Drop => return !self.regex.is_match(&joined()),
            Action::KeepEqual => return joined() == get(labels, &self.target),
            Action::DropEqual => return joined() != get(labels, &self.target),
            Action::Replace => {
                let value = joined();
                let Some(captures) = self.regex.captures(&value) else { return true };
                let (mut target, mut replacement) = (String::new(), String::new());
                captures.expand(&self.target, &mut target);
                captures.expand(&self.replacement, &mut replacement);
                if !target.is_empty() {
                    set(labels, target, replacement);
                }
            }
            Action::HashMod => {
                let digest: [u8; 16] = Md5::digest(joined().as_bytes()).into();
                let [.., a, b, c, d, e, f, g, h] = digest;
                let hash = u64::from_be_bytes([a, b, c, d, e, f, g, h]);
                set(labels, self.target.clone(), (hash % self.modulus).to_string());
            }
            Action::LabelMap => {
                // In order, as a later rule takes the last of those it maps onto one name.
                let mut mapped = BTreeMap::new();
                for (name, value) in &*labels {
                    let Some(captures) = self.regex.captures(name) else { continue };
                    let mut target = String::new();
                    captures.expand(&self.replacement, &mut target);
                    if !target.is_empty() {
                        mapped.insert(target, value.clone());
                    }
                }
                labels.retain(|(name, _)| !mapped.contains_key(name));
                labels.extend(mapped.into_iter().filter(|(_, value)| !value.is_empty()));
            }
            Action::LabelDrop => labels.retain(|(name, _)| !self.regex.is_match(name)),
            Action::LabelKeep => labels.retain(|(name, _)| self.regex.is_match(name)),
            Action::Lowercase => {
                let value = joined().to_lowercase();
                set(labels, self.target.clone(), value);
            }
            Action::Uppercase => {
                let value = joined().to_uppercase();
                set(labels, self.target.clone(), value);
            }
        }
        true
    }
}

/// A pattern of RE2 that matches whole texts. Errors: what is wrong with it.
fn anchored(pattern: &str) -> Result<Regex, String> {
    let pattern = tactus_traceql::from_re2(pattern)?;
    Regex::new(&format!("^(?s:{pattern})$")).map_err(|error| error.to_string())
}

/// Errors: an action lacks a field that it needs, or has one that it does not use.
fn check_fields(action: Action, config: &RelabelConfig) -> Result<(), RelabelError> {
    let wrong = |text: String| Err(RelabelError::Setting(text));
    let name = config.action.to_lowercase();
    if action == Action::HashMod && config.modulus == 0 {
        return wrong("relabel configuration for hashmod requires non-zero modulus".to_owned());
    }
    let needs_target = matches!(
        action,
        Action::Replace
            | Action::HashMod
            | Action::Lowercase
            | Action::Uppercase
            | Action::KeepEqual
            | Action::DropEqual
    );
    if needs_target && config.target_label.is_empty() {
        return wrong(format!(
            "relabel configuration for {name} action requires 'target_label' value"
        ));
    }
    let defaults = RelabelConfig::default();
    let only_regex = config.source_labels.is_empty()
        && config.target_label.is_empty()
        && config.modulus == 0
        && config.separator == defaults.separator
        && config.replacement == defaults.replacement;
    if matches!(action, Action::LabelDrop | Action::LabelKeep) && !only_regex {
        return wrong(format!("{name} action requires only 'regex', and no other fields"));
    }
    let only_labels = config.regex == defaults.regex
        && config.modulus == 0
        && config.separator == defaults.separator
        && config.replacement == defaults.replacement;
    if matches!(action, Action::KeepEqual | Action::DropEqual) && !only_labels {
        return wrong(format!(
            "{name} action requires only 'source_labels' and `target_label`, and no other fields"
        ));
    }
    Ok(())
}

fn get<'a>(labels: &'a Labels, name: &str) -> &'a str {
    labels.iter().find(|(key, _)| key == name).map_or("", |(_, value)| value)
}

/// An empty value deletes the label.
fn set(labels: &mut Labels, name: String, value: String) {
    labels.retain(|(key, _)| *key != name);
    if !value.is_empty() {
        labels.push((name, value));
    }
}

#[cfg(test)]
mod tests;
