//! Drop rules drop spans, and remove or hash attributes, before anything is stored.
//!
//! ```text
//! request -> spans as columns -> each rule's filter -> spans to drop, spans to change -> the request rewritten
//! ```
//!
//! All rules see the original request. Spans that no rule affects are copied byte for byte, and a request that no rule
//! affects is passed on unchanged. This crate does not know who sends and who stores the request.
#![warn(missing_docs)]

mod attributes;
mod book;
mod rewrite;
mod span_filter;
mod spans;

use bytes::Bytes;
use tactus_config::sections::distributor::DropRule;
use tactus_model::{AppendError, wire::WireError};
use tactus_work::Work;

use attributes::{Edit, EditAction, Target};
use rewrite::{Changes, rewrite};
use span_filter::limits;
use spans::RequestSpans;

pub use book::RuleBook;
pub use span_filter::SpanFilter;

/// The rules of a tenant.
#[derive(Debug)]
pub struct RuleSet {
    rules: Vec<Rule>,
}

#[derive(Debug)]
struct Rule {
    name: String,
    filter: SpanFilter,
    action: Action,
}

#[derive(Debug)]
enum Action {
    Drop,
    Edit(EditAction, Vec<Target>),
}

/// The result of applying rules to a request.
#[derive(Debug)]
pub struct Applied {
    /// The request; the same bytes if nothing was changed.
    pub request: Bytes,
    /// Number of spans that were dropped.
    pub dropped: u64,
    /// What each rule did, in their order.
    pub(crate) by_rule: Vec<RuleResult>,
}

/// What one rule did to a request.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct RuleResult {
    /// Number of spans that the rule dropped. For other rules, number of spans that it edited: no rule dropped them.
    pub(crate) spans: u64,
    /// Number of spans on which the query could not be evaluated, because it took too long. A rule that drops does
    /// nothing to them, and one that edits edits them.
    pub(crate) unknown: u64,
}

/// Why rules cannot be applied to a request.
#[derive(Debug, thiserror::Error)]
pub enum RequestError {
    /// The request is not valid protobuf.
    #[error(transparent)]
    Wire(#[from] WireError),
    /// The spans cannot be converted to columns.
    #[error(transparent)]
    Spans(#[from] AppendError),
}

impl RuleSet {
    /// Compiles rules. Errors: the first invalid rule, with its position, name and key, worded for the operator.
    pub(crate) fn compile(rules: &[DropRule]) -> Result<Self, String> {
        let mut compiled: Vec<Rule> = Vec::with_capacity(rules.len());
        for (index, rule) in rules.iter().enumerate() {
            let refused =
                |reason: String| format!("drop_rules[{index}] ({:?}): {reason}", rule.name);
            let made = Rule::compile(rule).map_err(refused)?;
            if compiled.iter().any(|other| other.name == made.name) {
                return Err(refused("name: another rule has it".to_owned()));
            }
            compiled.push(made);
        }
        Ok(Self { rules: compiled })
    }

    /// The names of the rules, in the order of [`Applied::by_rule`].
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.rules.iter().map(|rule| rule.name.as_str())
    }

    /// Applies the rules to an ExportTraceServiceRequest. Spans with invalid ids are ignored, because they are refused
    /// later.
    ///
    /// Errors: the request is malformed.
    pub fn apply(&self, request: &Bytes) -> Result<Applied, RequestError> {
        self.apply_within(request, limits)
    }

    /// As [`Self::apply`]; `limits`: of each rule.
    fn apply_within(
        &self,
        request: &Bytes,
        limits: impl Fn() -> Work,
    ) -> Result<Applied, RequestError> {
        let reads_spans = self.rules.iter().any(|rule| !rule.filter.is_every());
        let spans = RequestSpans::read(request, reads_spans)?;
        let mut changes = Changes::none(spans.ends());
        let find = |rule: &Rule| spans.find(&rule.filter, &limits());
        let found: Vec<_> = self.rules.iter().map(find).collect();
        let mut by_rule = Vec::with_capacity(self.rules.len());
        for (rule, found) in self.rules.iter().zip(&found) {
            let mut result = RuleResult { spans: 0, unknown: found.unknown.len() as u64 };
            // Edits are counted below, when it is known which spans stay.
            if let Action::Drop = rule.action {
                let dropped = found.matching.iter().filter(|&&span| changes.drop_span(span));
                result.spans = dropped.count() as u64;
            }
            by_rule.push(result);
        }
        for ((rule, found), result) in self.rules.iter().zip(found).zip(&mut by_rule) {
            if let Action::Edit(action, targets) = &rule.action {
                // What the rule is to remove must not be stored, so a span that may match is edited, too.
                let mut spans = found.matching;
                spans.extend(found.unknown);
                spans.retain(|&span| !changes.is_dropped(span));
                result.spans = spans.len() as u64;
                changes.edit(Edit { action: *action, targets }, spans);
            }
        }
        Ok(Applied { request: rewrite(request, &changes)?, dropped: changes.dropped(), by_rule })
    }
}

impl Rule {
    fn compile(rule: &DropRule) -> Result<Self, String> {
        if rule.name.is_empty() {
            return Err("name: is empty".to_owned());
        }
        let filter = SpanFilter::compile(&rule.query).map_err(|error| format!("query: {error}"))?;
        let edit = |action| match rule.attributes.as_slice() {
            [] => Err("attributes: none is named".to_owned()),
            named => named
                .iter()
                .map(|text| Target::parse(text).map_err(|error| format!("attributes: {error}")))
                .collect::<Result<_, _>>()
                .map(|targets| Action::Edit(action, targets)),
        };
        let action = match rule.action.as_str() {
            "drop" if rule.attributes.is_empty() => Action::Drop,
            "drop" => return Err("attributes: have no meaning for action drop".to_owned()),
            "remove_attributes" => edit(EditAction::Remove)?,
            "hash_attributes" => edit(EditAction::Hash)?,
            other => {
                return Err(format!(
                    "action: {other:?} is none of drop, remove_attributes, hash_attributes"
                ));
            }
        };
        Ok(Self { name: rule.name.clone(), filter, action })
    }
}

/// The request without the spans that match any of the filters and without those with invalid ids, and the number of
/// spans that are left.
///
/// Spans on which a filter cannot be evaluated do not match it. Errors: the request is malformed.
pub fn without(request: &Bytes, filters: &[SpanFilter]) -> Result<(Bytes, u64), RequestError> {
    let reads_spans = filters.iter().any(|filter| !filter.is_every());
    let spans = RequestSpans::read(request, reads_spans)?;
    let mut changes = Changes::none(spans.ends());
    for span in spans.with_bad_ids() {
        changes.drop_span(*span);
    }
    for span in filters.iter().flat_map(|filter| spans.find(filter, &limits()).matching) {
        changes.drop_span(span);
    }
    let left = spans.ends().len() as u64 - changes.dropped();
    Ok((rewrite(request, &changes)?, left))
}

#[cfg(test)]
mod tests;
