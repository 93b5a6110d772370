//! Policies that say which spans a processor uses.

use tactus_config::sections::generator::{FilterPolicy, MatchAttribute, MatchValue, PolicyMatch};
use tactus_model::{Attribute, SpanBatch, StringCode, ValueType};
use tactus_traceql::{
    Attribute as Identifier, AttributeScope, CompiledRegex, Intrinsic, InvalidRegex, Patterns,
};

use super::value_text::{kind_text, status_text};
use super::view::{Name, Names, View};

/// Largest program of a pattern: times the longest text of an attribute it is what a span may cost. Enough for hundreds of
/// paths as alternatives.
const MAX_PROGRAM_BYTES: usize = 1 << 19;

/// Largest programs of all patterns of a tenant together, for the same reason.
const MAX_PROGRAMS_BYTES: usize = 1 << 21;

/// Conditions of all policies of a tenant; one of them may have to be asked about each span.
const MAX_CONDITIONS: usize = 512;

/// What the policies of all processors of a tenant share and take together.
#[derive(Debug, Default)]
pub(crate) struct PolicyRoom {
    patterns: Patterns,
    program_bytes: usize,
    conditions: usize,
}

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
    Pattern(Pattern),
    Text(Box<[u8]>),
    /// Integers and doubles of the same number are equal.
    Int(i64),
    Double(f64),
    Bool(bool),
}

/// A pattern, and whether it matched the latest string of a batch. Spans of one resource mostly follow each other.
#[derive(Debug)]
struct Pattern {
    regex: CompiledRegex,
    latest: Option<(StringCode, bool)>,
}

impl Policies {
    /// Compiles policies; the names of attributes go to `names`.
    ///
    /// Errors: what is wrong with a policy; together they are too large.
    pub(crate) fn new(
        policies: &[FilterPolicy],
        names: &mut Names,
        room: &mut PolicyRoom,
    ) -> Result<Self, String> {
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
                room.count_conditions(part.attributes.len().max(1))?;
                let conditions = conditions(part, names, room);
                list.push(conditions.map_err(|error| format!("invalid {side} policy: {error}"))?);
            }
        }
        Ok(compiled)
    }

    /// A batch begins: its strings have other codes.
    pub(crate) fn start(&mut self) {
        let parts = [&mut self.exclude, &mut self.include_any, &mut self.include];
        for condition in parts.into_iter().flatten().flatten() {
            if let Wanted::Pattern(pattern) = &mut condition.wanted {
                pattern.latest = None;
            }
        }
    }

    /// True if a span is used.
    #[inline]
    pub(crate) fn keep(&mut self, view: &View<'_>, row: usize) -> bool {
        if self.exclude.is_empty() && self.include_any.is_empty() && self.include.is_empty() {
            return true;
        }
        let hold = |conditions: &mut Conditions| {
            conditions.iter_mut().all(|condition| condition.holds(view, row))
        };
        if self.exclude.iter_mut().any(hold) {
            return false;
        }
        if self.include_any.iter_mut().any(hold) {
            return true;
        }
        match self.include.is_empty() {
            true => self.include_any.is_empty(),
            false => self.include.iter_mut().all(hold),
        }
    }
}

impl PolicyRoom {
    /// Errors: there are too many.
    fn count_conditions(&mut self, count: usize) -> Result<(), String> {
        self.conditions = self.conditions.saturating_add(count);
        match self.conditions <= MAX_CONDITIONS {
            true => Ok(()),
            false => Err(format!(
                "metrics_generator.processor: all filter_policies together have more than \
                 {MAX_CONDITIONS} conditions"
            )),
        }
    }

    /// A pattern that may match anywhere in a value.
    fn unanchored(&mut self, pattern: &str) -> Result<CompiledRegex, String> {
        // Alone first: `a)|(b` is none, though it is one between the parentheses.
        self.compiled(pattern)?;
        let (regex, bytes) = self.compiled(&format!("(?s:.*)(?-s:{pattern})(?s:.*)"))?;
        self.program_bytes += bytes;
        Ok(regex)
    }

    /// Errors: the last line, without the lines that show the pattern with more around it.
    fn compiled(&self, pattern: &str) -> Result<(CompiledRegex, usize), String> {
        let left = MAX_PROGRAMS_BYTES.saturating_sub(self.program_bytes);
        let most = left.min(MAX_PROGRAM_BYTES);
        let too_large = || {
            format!("the patterns of all filter_policies need more than {MAX_PROGRAMS_BYTES} bytes")
        };
        match self.patterns.compile_within(pattern.as_bytes(), most) {
            // What a program takes besides its states was not looked at yet.
            Ok((_, bytes)) if bytes > left => Err(too_large()),
            Ok(compiled) => Ok(compiled),
            Err(InvalidRegex::TooLarge { .. }) if left < MAX_PROGRAM_BYTES => Err(too_large()),
            Err(error) => {
                let text = error.to_string();
                let last = text.lines().last().unwrap_or_default();
                Err(last.strip_prefix("error: ").unwrap_or(last).to_owned())
            }
        }
    }
}

fn conditions(
    part: &PolicyMatch,
    names: &mut Names,
    room: &mut PolicyRoom,
) -> Result<Conditions, String> {
    let regex = match part.match_type.as_str() {
        "strict" => false,
        "regex" => true,
        other => return Err(format!("invalid match type: {other}")),
    };
    part.attributes.iter().map(|attribute| Condition::new(attribute, regex, names, room)).collect()
}

impl Condition {
    fn new(
        attribute: &MatchAttribute,
        regex: bool,
        names: &mut Names,
        room: &mut PolicyRoom,
    ) -> Result<Self, String> {
        let MatchAttribute { key, value } = attribute;
        let what = What::new(key, names)?;
        let is_intrinsic = !matches!(what, What::Span(_) | What::Resource(_));
        if regex {
            let MatchValue::Text(pattern) = value else {
                return Err(format!("value type not supported: {}", value.type_name()));
            };
            let regex = room.unanchored(pattern).map_err(|error| match is_intrinsic {
                true => format!("invalid intrinsic filter regex: {pattern}: {error}"),
                false => format!("invalid attribute filter regexp: {pattern}: {error}"),
            })?;
            return Ok(Self { what, wanted: Wanted::Pattern(Pattern { regex, latest: None }) });
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

    fn holds(&mut self, view: &View<'_>, row: usize) -> bool {
        let batch = view.batch;
        match self.what {
            What::Kind => self.wanted.is_text(kind_text(batch.spans.kind[row]).as_bytes()),
            What::Status => self.wanted.is_text(status_text(batch.spans.status[row]).as_bytes()),
            What::Name => {
                let code = batch.spans.name.get(row).copied().unwrap_or(0);
                self.wanted.is_string(batch, code)
            }
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

impl Wanted {
    fn is_text(&self, text: &[u8]) -> bool {
        match self {
            Self::Pattern(pattern) => pattern.regex.is_match(text),
            Self::Text(wanted) => **wanted == *text,
            Self::Int(_) | Self::Double(_) | Self::Bool(_) => false,
        }
    }

    /// As [`Self::is_text`] of a string of the batch.
    fn is_string(&mut self, batch: &SpanBatch, code: StringCode) -> bool {
        let Self::Pattern(Pattern { regex, latest }) = self else {
            return self.is_text(batch.strings.get(code));
        };
        if let Some((known, matches)) = *latest
            && known == code
        {
            return matches;
        }
        let matches = regex.is_match(batch.strings.get(code));
        *latest = Some((code, matches));
        matches
    }

    fn is(&mut self, batch: &SpanBatch, attribute: Option<Attribute>) -> bool {
        let Some(Attribute { value_type, payload, .. }) = attribute else { return false };
        if value_type == ValueType::String {
            return self.is_string(batch, payload as StringCode);
        }
        match (self, value_type) {
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
            let matches = PolicyRoom::default().unanchored(&pattern(count)).unwrap();
            assert!(matches.is_match(b"GET /api/v3/users/23757/orders?a=b"));
            assert!(!matches.is_match(b"GET /api/v3/users/23758/orders"));
        }
        for pattern in [pattern(2_000), "(?:a{1000}b{1000}c{1000}){9}".to_owned()] {
            assert!(PolicyRoom::default().unanchored(&pattern).is_err());
        }
    }

    #[test]
    fn patterns_of_a_tenant_are_bounded_together() {
        let (mut room, mut kept) = (PolicyRoom::default(), 0);
        let error = loop {
            match room.unanchored(&format!("[a-f]{{200}}{kept}")) {
                Ok(_) => kept += 1,
                Err(error) => break error,
            }
        };
        assert!(error.contains("all filter_policies"), "{error}");
        assert!(kept > 20 && room.program_bytes <= MAX_PROGRAMS_BYTES, "{kept}");
    }
}
