//! Policies that say which spans a processor uses.

use tactus_config::sections::generator::{FilterPolicy, MatchAttribute, MatchValue, PolicyMatch};
use tactus_model::{Attribute, SpanBatch, ValueType};
use tactus_traceql::{Attribute as Identifier, AttributeScope, CompiledRegex, Intrinsic};

use super::value_text::{kind_text, status_text};
use super::view::{Name, Names, View};

/// Largest program of a pattern: times the longest text of an attribute it is what a span may cost. Enough for hundreds of
/// paths as alternatives.
const MAX_PROGRAM_BYTES: usize = 1 << 19;

/// Policies of one processor.
#[derive(Debug, Default)]
pub(crate) struct Policies {
    exclude: Vec<Conditions>,
    include_any: Vec<Conditions>,
    include: Vec<Conditions>,
}

/// All must hold.
type Conditions = Vec<Condition>;

#[derive(Debug)]
struct Condition {
    what: What,
    wanted: Wanted,
}

#[derive(Debug)]
enum What {
    Kind,
    Status,
    Name,
    Span(Name),
    Resource(Name),
}

#[derive(Debug)]
enum Wanted {
    Pattern(CompiledRegex),
    Text(Box<[u8]>),
    /// Integers and doubles of the same number are equal.
    Int(i64),
    Double(f64),
    Bool(bool),
}

impl Policies {
    /// Compiles policies; the names of attributes go to `names`.
    ///
    /// Errors: what is wrong with a policy.
    pub(crate) fn new(policies: &[FilterPolicy], names: &mut Names) -> Result<Self, String> {
        let mut compiled = Self::default();
        for policy in policies {
            let FilterPolicy { include, include_any, exclude } = policy;
            if include.is_none() && include_any.is_none() && exclude.is_none() {
                return Err(format!(
                    "invalid filter policy; policies must have at least an `include` or \
                     `exclude`: {policy:?}"
                ));
            }
            let parts = [
                ("include", include, &mut compiled.include),
                ("include_any", include_any, &mut compiled.include_any),
                ("exclude", exclude, &mut compiled.exclude),
            ];
            for (side, part, list) in parts {
                let Some(part) = part else { continue };
                let conditions = conditions(part, names);
                list.push(conditions.map_err(|error| format!("invalid {side} policy: {error}"))?);
            }
        }
        Ok(compiled)
    }

    /// True if a span is used.
    #[inline]
    pub(crate) fn keep(&self, view: &View<'_>, row: usize) -> bool {
        if self.exclude.is_empty() && self.include_any.is_empty() && self.include.is_empty() {
            return true;
        }
        let hold =
            |conditions: &Conditions| conditions.iter().all(|condition| condition.holds(view, row));
        if self.exclude.iter().any(hold) {
            return false;
        }
        if self.include_any.iter().any(hold) {
            return true;
        }
        match self.include.is_empty() {
            true => self.include_any.is_empty(),
            false => self.include.iter().all(hold),
        }
    }
}

fn conditions(part: &PolicyMatch, names: &mut Names) -> Result<Conditions, String> {
    let regex = match part.match_type.as_str() {
        "strict" => false,
        "regex" => true,
        other => return Err(format!("invalid match type: {other}")),
    };
    part.attributes.iter().map(|attribute| Condition::new(attribute, regex, names)).collect()
}

impl Condition {
    fn new(attribute: &MatchAttribute, regex: bool, names: &mut Names) -> Result<Self, String> {
        let MatchAttribute { key, value } = attribute;
        let what = What::new(key, names)?;
        let is_intrinsic = !matches!(what, What::Span(_) | What::Resource(_));
        if regex {
            let MatchValue::Text(pattern) = value else {
                return Err(format!("value type not supported: {}", value.type_name()));
            };
            let pattern = unanchored(pattern).map_err(|error| match is_intrinsic {
                true => format!("invalid intrinsic filter regex: {pattern}: {error}"),
                false => format!("invalid attribute filter regexp: {pattern}: {error}"),
            })?;
            return Ok(Self { what, wanted: Wanted::Pattern(pattern) });
        }
        let wanted = match value {
            MatchValue::Text(text) => Wanted::Text(text.as_bytes().into()),
            MatchValue::Int(number) => Wanted::Int(*number),
            MatchValue::Float(number) => Wanted::Double(*number),
            MatchValue::Bool(flag) => Wanted::Bool(*flag),
            MatchValue::Missing => {
                return Err(format!("value type not supported: {}", value.type_name()));
            }
        };
        let text = if let MatchValue::Text(text) = value { text.as_str() } else { "" };
        match what {
            What::Kind if !(0..=5).any(|kind| kind_text(kind) == text) => {
                Err(format!("unsupported kind intrinsic string value: {}", value.text()))
            }
            What::Status if !(0..=2).any(|status| status_text(status) == text) => {
                Err(format!("unsupported status intrinsic string value: {}", value.text()))
            }
            What::Name if !matches!(value, MatchValue::Text(_)) => {
                Err(format!("value type not supported: {}", value.type_name()))
            }
            what => Ok(Self { what, wanted }),
        }
    }

    fn holds(&self, view: &View<'_>, row: usize) -> bool {
        let batch = view.batch;
        match self.what {
            What::Kind => self.wanted.is_text(kind_text(batch.spans.kind[row]).as_bytes()),
            What::Status => self.wanted.is_text(status_text(batch.spans.status[row]).as_bytes()),
            What::Name => self.wanted.is_text(view.text(&batch.spans.name, row)),
            What::Span(name) => self.wanted.is(batch, view.of_span(row, name)),
            What::Resource(name) => {
                self.wanted.is(batch, view.of_resource(batch.spans.resource[row] as usize, name))
            }
        }
    }
}

impl What {
    fn new(key: &str, names: &mut Names) -> Result<Self, String> {
        let unsupported = || {
            format!(
                "unsupported intrinsic: {key}; supported intrinsics: [\"kind\" \"name\" \"status\"]"
            )
        };
        let identifier = tactus_traceql::parse_attribute(key)
            .map_err(|error| format!("failed to parse identifier {key}: {error}"))?;
        match identifier {
            Identifier::Intrinsic(Intrinsic::Kind) => Ok(Self::Kind),
            Identifier::Intrinsic(Intrinsic::Status) => Ok(Self::Status),
            Identifier::Intrinsic(Intrinsic::Name) => Ok(Self::Name),
            Identifier::Intrinsic(_) => Err(unsupported()),
            Identifier::Named { scope: AttributeScope::Span, parent: false, name } => {
                Ok(Self::Span(names.add(&name)))
            }
            Identifier::Named { scope: AttributeScope::Resource, parent: false, name } => {
                Ok(Self::Resource(names.add(&name)))
            }
            Identifier::Named { .. } => {
                Err(format!("unsupported scope: {key}; supported scopes: [\"span\" \"resource\"]"))
            }
        }
    }
}

/// A pattern that may match anywhere in a value.
fn unanchored(pattern: &str) -> Result<CompiledRegex, String> {
    // Alone first: `a)|(b` is none, though it is one between the parentheses.
    compiled(pattern)?;
    compiled(&format!("(?s:.*)(?-s:{pattern})(?s:.*)"))
}

/// Errors: the last line, without the lines that show the pattern with more around it.
fn compiled(pattern: &str) -> Result<CompiledRegex, String> {
    CompiledRegex::within(pattern.as_bytes(), MAX_PROGRAM_BYTES).map_err(|error| {
        let text = error.to_string();
        let last = text.lines().last().unwrap_or_default();
        last.strip_prefix("error: ").unwrap_or(last).to_owned()
    })
}

impl Wanted {
    fn is_text(&self, text: &[u8]) -> bool {
        match self {
            Self::Pattern(pattern) => pattern.is_match(text),
            Self::Text(wanted) => **wanted == *text,
            Self::Int(_) | Self::Double(_) | Self::Bool(_) => false,
        }
    }

    fn is(&self, batch: &SpanBatch, attribute: Option<Attribute>) -> bool {
        let Some(Attribute { value_type, payload, .. }) = attribute else { return false };
        match (self, value_type) {
            (Self::Pattern(_) | Self::Text(_), ValueType::String) => {
                self.is_text(batch.strings.get(payload as u32))
            }
            (Self::Int(wanted), ValueType::Int) => *wanted == payload as i64,
            (Self::Int(wanted), ValueType::Double) => *wanted as f64 == f64::from_bits(payload),
            (Self::Double(wanted), ValueType::Int) => *wanted == payload as i64 as f64,
            (Self::Double(wanted), ValueType::Double) => *wanted == f64::from_bits(payload),
            (Self::Bool(wanted), ValueType::Bool) => *wanted == (payload != 0),
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pattern_may_be_hundreds_of_paths_and_no_more_than_its_bound() {
        let pattern = |count: usize| {
            let path =
                |number: usize| format!("/api/v{}/users/{}/orders", number % 7, number * 7919);
            (0..count).map(path).collect::<Vec<_>>().join("|")
        };
        for count in [200, 500] {
            let matches = unanchored(&pattern(count)).unwrap();
            assert!(matches.is_match(b"GET /api/v3/users/23757/orders?a=b"));
            assert!(!matches.is_match(b"GET /api/v3/users/23758/orders"));
        }
        for pattern in [pattern(2_000), "(?:a{1000}b{1000}c{1000}){9}".to_owned()] {
            assert!(unanchored(&pattern).is_err());
        }
    }
}
