//! Finds row groups that cannot match a query, before their values are read.
//!
//! A condition on a string is checked against the column's dictionary, one on a number against the column's bounds, and one on
//! the duration also against the bounds in the block's meta. If that does not decide, the row group may match: pruning only
//! saves work, and never changes an answer.

use tactus_block::read::{
    AttributeOwner, BlockReader, NumberColumn, StringColumn, StringPredicate,
};
use tactus_storage::BlockMeta;
use tactus_traceql::{
    Attribute, AttributeScope, BinaryOperator, ComparisonOperator, CompiledRegex, Completion,
    FieldExpression, Intrinsic, Kind, LogicalOperator, Patterns, Pipeline, PipelineStage,
    RelationMode, RootExpr, SpansetExpression, SpansetOperator, Static, Status, UnaryOperator,
};
use tactus_work::{is_over, tick};

use crate::error::Result;

mod columns;
mod told;

pub(crate) use columns::string_columns;
use columns::{stored_kind, stored_status};
pub(crate) use told::ToldRowGroups;

/// What some span of a row group must satisfy for the query to match there. Its patterns share the memory of a query's.
#[derive(Debug)]
pub(crate) enum Pruner {
    /// Not decidable without reading values.
    Unknown,
    /// All of these.
    All(Vec<Pruner>),
    /// Any of these.
    Any(Vec<Pruner>),
    /// A value of the attribute, on one of these owners, for which the comparison is true if there is one.
    Present {
        attribute: Attribute,
        owners: Vec<AttributeOwner>,
        key: Vec<u8>,
        comparison: Option<(ComparisonOperator, Static)>,
    },
    /// A string in one of the columns.
    String { attribute: Attribute, columns: Vec<StringColumn>, test: StringTest },
    /// A number within these bounds, both inclusive.
    Number { intrinsic: Intrinsic, column: NumberColumn, min: u64, max: u64 },
}

/// A condition on a string.
#[derive(Debug)]
pub(crate) enum StringTest {
    Equals(Vec<u8>),
    Matches(Box<CompiledRegex>),
}

impl StringTest {
    /// Also true once the query is over: what comes of it is discarded.
    fn holds_for(&self, text: &[u8]) -> bool {
        tick(units_of(text))
            || match self {
                Self::Equals(wanted) => text == wanted,
                Self::Matches(pattern) => pattern.is_match(text),
            }
    }
}

impl StringPredicate for StringTest {
    fn holds(&self, text: &[u8]) -> bool {
        self.holds_for(text)
    }

    fn may_hold_within(&self, bytes: &[u8]) -> bool {
        match self {
            Self::Equals(_) => true,
            Self::Matches(pattern) => tick(units_of(bytes)) || pattern.may_match_within(bytes),
        }
    }
}

/// The steps of a test, as [`tick`] counts them.
fn units_of(bytes: &[u8]) -> u32 {
    u32::try_from(bytes.len() / 64).unwrap_or(u32::MAX).saturating_add(1)
}

impl Pruner {
    /// The conditions that the search pipeline of a query implies.
    pub(crate) fn of(root: &RootExpr) -> Self {
        Self::of_pipeline(root.search_pipeline(), &Patterns::default())
    }

    /// The conditions that the functions of a metrics query imply: a span that one of them counts.
    pub(crate) fn of_metrics(root: &RootExpr) -> Self {
        let (mut leaves, patterns) = (Vec::new(), Patterns::default());
        if let Some(metrics) = root.metrics() {
            metrics.for_each_leaf(&mut |leaf| {
                leaves.push(Self::of_pipeline(&leaf.pipeline, &patterns));
            });
        }
        if leaves.is_empty() { Self::Unknown } else { Self::any(leaves) }
    }

    /// The conditions that the filter of a request for names or values implies.
    pub(crate) fn of_completion(completion: &Completion, patterns: &Patterns) -> Self {
        let Completion::Groups(groups) = completion else { return Self::Unknown };
        let groups = groups.iter().filter(|group| group.pinned.is_none());
        let of = |condition: &FieldExpression| Self::of_expression(condition, patterns);
        Self::any(groups.map(|group| Self::all(group.conditions.iter().map(of))))
    }

    /// Of stages that may fail, and of those behind them, nothing is asked: whether a query fails must not depend on what
    /// of it was read.
    fn of_pipeline(pipeline: &Pipeline, patterns: &Patterns) -> Self {
        let is_sound = |stage: &&PipelineStage| match stage {
            PipelineStage::Spanset(spanset) => !spanset.may_fail(),
            _ => true,
        };
        let stages = pipeline.stages.iter().take_while(is_sound).map(|stage| match stage {
            PipelineStage::Spanset(spanset) => Self::of_spanset(spanset, patterns),
            _ => Self::Unknown,
        });
        Self::all(stages)
    }

    /// Traces do not reach over row groups, so both sides of an operator must match in the same one.
    fn of_spanset(spanset: &SpansetExpression, patterns: &Patterns) -> Self {
        match spanset {
            SpansetExpression::Filter(filter) => Self::of_expression(&filter.expression, patterns),
            SpansetExpression::Pipeline(pipeline) => Self::of_pipeline(pipeline, patterns),
            SpansetExpression::Binary { operator, left, right } => {
                let (left, right) =
                    (Self::of_spanset(left, patterns), Self::of_spanset(right, patterns));
                match operator {
                    SpansetOperator::Or => Self::any([left, right]),
                    SpansetOperator::Structural(_, RelationMode::Negated) => right,
                    SpansetOperator::And | SpansetOperator::Structural(..) => {
                        Self::all([left, right])
                    }
                }
            }
        }
    }

    fn of_expression(expression: &FieldExpression, patterns: &Patterns) -> Self {
        match expression {
            FieldExpression::Logical { operator, operands } => {
                let operands = operands.iter().map(|it| Self::of_expression(it, patterns));
                match operator {
                    LogicalOperator::And => Self::all(operands),
                    LogicalOperator::Or => Self::any(operands),
                }
            }
            FieldExpression::Unary { operator: UnaryOperator::Exists, operand } => match &**operand
            {
                FieldExpression::Attribute(attribute) => Self::of_presence(attribute),
                _ => Self::Unknown,
            },
            FieldExpression::Binary { operator, left, right } => match (&**left, &**right) {
                (FieldExpression::Attribute(attribute), FieldExpression::Static(value)) => {
                    Self::of_comparison(attribute, *operator, value, patterns)
                }
                (FieldExpression::Static(value), FieldExpression::Attribute(attribute)) => {
                    match operator {
                        BinaryOperator::Comparison(operator) => {
                            let flipped = BinaryOperator::Comparison(operator.flipped());
                            Self::of_comparison(attribute, flipped, value, patterns)
                        }
                        _ => Self::Unknown,
                    }
                }
                (left, right) => match operator {
                    BinaryOperator::Comparison(_)
                    | BinaryOperator::Regex
                    | BinaryOperator::NotRegex => Self::all([left, right].map(Self::of_operand)),
                    _ => Self::Unknown,
                },
            },
            _ => Self::Unknown,
        }
    }

    /// No comparison with a missing value is true, nor is there a result of arithmetic with one.
    fn of_operand(operand: &FieldExpression) -> Self {
        match operand {
            FieldExpression::Attribute(attribute) => Self::of_presence(attribute),
            FieldExpression::Unary { operator: UnaryOperator::Negate, operand } => {
                Self::of_operand(operand)
            }
            FieldExpression::Binary { operator: BinaryOperator::Arithmetic(_), left, right } => {
                Self::all([left, right].map(|operand| Self::of_operand(operand)))
            }
            _ => Self::Unknown,
        }
    }

    fn of_comparison(
        attribute: &Attribute,
        operator: BinaryOperator,
        value: &Static,
        patterns: &Patterns,
    ) -> Self {
        use ComparisonOperator::Equal;
        match (operator, value) {
            (BinaryOperator::Comparison(Equal), Static::String(text)) => {
                Self::of_string(attribute, StringTest::Equals(text.to_vec()))
            }
            (BinaryOperator::Regex, Static::String(pattern)) => match patterns.compile(pattern) {
                Ok(pattern) => Self::of_string(attribute, StringTest::Matches(Box::new(pattern))),
                Err(_) => Self::of_presence(attribute),
            },
            (BinaryOperator::Comparison(operator), value) => match attribute {
                Attribute::Intrinsic(intrinsic) => Self::of_number(*intrinsic, operator, value),
                Attribute::Named { .. } => Self::of_value(attribute, operator, value),
            },
            (BinaryOperator::Regex | BinaryOperator::NotRegex, _) => Self::of_presence(attribute),
            _ => Self::Unknown,
        }
    }

    /// Without a value, no comparison is true.
    fn of_presence(attribute: &Attribute) -> Self {
        let Attribute::Named { scope, parent: _, name } = attribute else { return Self::Unknown };
        let owners = match scope {
            AttributeScope::Span => vec![AttributeOwner::Span],
            AttributeScope::Resource => vec![AttributeOwner::Resource],
            AttributeScope::Event => vec![AttributeOwner::Event],
            AttributeScope::Link => vec![AttributeOwner::Link],
            AttributeScope::Instrumentation => vec![AttributeOwner::Scope],
            AttributeScope::Unscoped => vec![AttributeOwner::Span, AttributeOwner::Resource],
        };
        let (attribute, key) = (attribute.clone(), name.as_bytes().to_vec());
        Self::Present { attribute, owners, key, comparison: None }
    }

    fn of_value(attribute: &Attribute, operator: ComparisonOperator, value: &Static) -> Self {
        let mut present = Self::of_presence(attribute);
        if let Self::Present { comparison, .. } = &mut present {
            *comparison = Some((operator, value.clone()));
        }
        present
    }

    fn of_string(attribute: &Attribute, test: StringTest) -> Self {
        // An absent value of some columns reads as an empty string, which no dictionary has.
        if test.holds(b"") {
            return Self::of_presence(attribute);
        }
        let columns = string_columns(attribute);
        if columns.is_empty() {
            return Self::Unknown;
        }
        Self::String { attribute: attribute.clone(), columns, test }
    }

    fn of_number(intrinsic: Intrinsic, operator: ComparisonOperator, value: &Static) -> Self {
        let (column, value) = match (intrinsic, value) {
            (Intrinsic::Duration, Static::Duration(nanos)) => {
                (NumberColumn::SpanDuration, u64::try_from(*nanos))
            }
            // Numbers that OTLP does not define are also read as these two.
            (_, Static::Status(Status::Unset) | Static::Kind(Kind::Unspecified)) => {
                return Self::Unknown;
            }
            (Intrinsic::Status, Static::Status(status)) => {
                (NumberColumn::Status, Ok(stored_status(*status)))
            }
            (Intrinsic::Kind, Static::Kind(kind)) => (NumberColumn::Kind, Ok(stored_kind(*kind))),
            _ => return Self::Unknown,
        };
        let Ok(value) = value else { return Self::Unknown };
        let ordered = column == NumberColumn::SpanDuration;
        let (min, max) = match operator {
            ComparisonOperator::Equal => (value, value),
            ComparisonOperator::Greater | ComparisonOperator::GreaterEqual if ordered => {
                (value, u64::MAX)
            }
            ComparisonOperator::Less | ComparisonOperator::LessEqual if ordered => (0, value),
            _ => return Self::Unknown,
        };
        Self::Number { intrinsic, column, min, max }
    }

    fn all(parts: impl IntoIterator<Item = Self>) -> Self {
        let mut parts: Vec<_> =
            parts.into_iter().filter(|part| !matches!(part, Self::Unknown)).collect();
        // Bounds come first: they are known without reading anything.
        parts.sort_by_key(|part| !matches!(part, Self::Number { .. }));
        if parts.is_empty() { Self::Unknown } else { Self::All(parts) }
    }

    /// At least one of these conditions.
    pub(crate) fn any(parts: impl IntoIterator<Item = Self>) -> Self {
        let parts: Vec<_> = parts.into_iter().collect();
        if parts.iter().any(|part| matches!(part, Self::Unknown)) {
            return Self::Unknown;
        }
        Self::Any(parts)
    }

    /// The condition that no span of the row group meets; `None` if the row group may match. `told`: what the summary
    /// tells; of what it has told dictionaries are not asked.
    pub(crate) fn unmet(
        &self,
        block: &BlockReader,
        row_group: usize,
        told: &ToldRowGroups,
    ) -> Result<Option<&Self>> {
        if told.is_pruned(row_group) {
            return Ok(Some(self));
        }
        self.unmet_by_block(block, row_group, told.is_unknown(row_group))
    }

    /// True if a row group cannot match by what is known before anything of it is read.
    pub(crate) fn is_unmet_unread(
        &self,
        block: &BlockReader,
        row_group: usize,
        told: &ToldRowGroups,
    ) -> bool {
        let unmet = || self.unmet_by_block(block, row_group, false);
        told.is_pruned(row_group) || unmet().is_ok_and(|unmet| unmet.is_some())
    }

    fn unmet_by_block(
        &self,
        block: &BlockReader,
        row_group: usize,
        asks_dictionaries: bool,
    ) -> Result<Option<&Self>> {
        match self {
            Self::Unknown => Ok(None),
            Self::All(parts) => {
                for part in parts {
                    let unmet = part.unmet_by_block(block, row_group, asks_dictionaries)?;
                    if let Some(unmet) = unmet {
                        return Ok(Some(unmet));
                    }
                }
                Ok(None)
            }
            Self::Any(parts) => {
                for part in parts {
                    if part.unmet_by_block(block, row_group, asks_dictionaries)?.is_none() {
                        return Ok(None);
                    }
                }
                Ok(Some(self))
            }
            Self::Present { .. } | Self::String { .. } if !asks_dictionaries => Ok(None),
            // A query may have thousands of conditions, each of which looks through dictionaries.
            Self::Present { .. } | Self::String { .. } if is_over() => Ok(None),
            Self::Present { owners, key, .. } => {
                for &owner in owners {
                    if block.row_group_may_have_key(row_group, owner, key)? {
                        return Ok(None);
                    }
                }
                Ok(Some(self))
            }
            Self::String { columns, test, .. } => {
                for column in columns {
                    if block.row_group_may_contain_string(row_group, column, test)? {
                        return Ok(None);
                    }
                }
                Ok(Some(self))
            }
            Self::Number { column, min, max, .. } => {
                let bounds = block.row_group_bounds(row_group, *column);
                let may_match = |bounds| may_be_within(*column, bounds, (*min, *max));
                Ok(if bounds.is_none_or(may_match) { None } else { Some(self) })
            }
        }
    }

    /// True if the meta of a block tells that none of its spans meets the condition.
    pub(crate) fn is_unmet_in(&self, meta: &BlockMeta) -> bool {
        match self {
            Self::All(parts) => parts.iter().any(|part| part.is_unmet_in(meta)),
            Self::Any(parts) => {
                !parts.is_empty() && parts.iter().all(|part| part.is_unmet_in(meta))
            }
            Self::Number { column: column @ NumberColumn::SpanDuration, min, max, .. } => {
                let durations = meta.extension.as_ref().and_then(|extension| extension.durations);
                durations.is_some_and(|bounds| !may_be_within(*column, bounds, (*min, *max)))
            }
            Self::Unknown | Self::Present { .. } | Self::String { .. } | Self::Number { .. } => {
                false
            }
        }
    }

    /// True if a meta may tell something of it.
    pub(crate) fn asks_meta(&self) -> bool {
        match self {
            Self::All(parts) => parts.iter().any(Self::asks_meta),
            Self::Any(parts) => !parts.is_empty() && parts.iter().all(Self::asks_meta),
            Self::Number { column, .. } => *column == NumberColumn::SpanDuration,
            Self::Unknown | Self::Present { .. } | Self::String { .. } => false,
        }
    }

    /// Names the evidence that the condition is not met.
    pub(crate) fn evidence(&self) -> String {
        match self {
            Self::Unknown => "nothing".to_owned(),
            Self::All(parts) | Self::Any(parts) => {
                let mut all: Vec<_> = parts.iter().map(Self::evidence).collect();
                all.dedup();
                all.join(", ")
            }
            Self::Present { attribute, .. } => format!("no value of {attribute}"),
            Self::String { attribute, .. } => format!("dictionary of {attribute}"),
            Self::Number { intrinsic, .. } => {
                format!("bounds of {}", Attribute::Intrinsic(*intrinsic))
            }
        }
    }
}

/// True if a value between the smallest and the largest of a column may be between these, all inclusive.
fn may_be_within(
    column: NumberColumn,
    (smallest, largest): (u64, u64),
    (min, max): (u64, u64),
) -> bool {
    // A span that ends before it starts lasts 0, and is stored as a number beyond this.
    let has_wrapped = column == NumberColumn::SpanDuration && largest > i64::MAX as u64;
    let smallest = if has_wrapped { 0 } else { smallest };
    smallest <= max && largest >= min
}

#[cfg(test)]
mod tests {
    use super::*;
    use tactus_storage::Uuid;
    use tactus_storage::meta::{BlockVersion, Extension};
    use tactus_work::{Over, Work, end};

    #[test]
    fn patterns_of_a_query_share_the_memory_of_their_states() {
        let query = "{ name =~ `a+b` && name =~ `c+d` }";
        let Pruner::All(stages) = Pruner::of(&tactus_traceql::parse(query).unwrap()) else {
            panic!("one stage")
        };
        let [Pruner::All(parts)] = &stages[..] else { panic!("{stages:?}") };
        let [Pruner::String { test: one, .. }, Pruner::String { test: other, .. }] = &parts[..]
        else {
            panic!("{parts:?}")
        };
        assert!(one.holds_for(b"aaaab"));
        // How much of it is used.
        let [one, other] =
            [one, other].map(|it| format!("{it:?}").rsplit("Room(").next().unwrap().to_owned());
        assert!(one == other && !one.starts_with('0'), "{one} {other}");
    }

    #[test]
    fn tests_of_strings_end_with_the_query() {
        let test = StringTest::Equals(b"a".to_vec());
        let result = Work::default().run(|| {
            assert!(!test.holds_for(b"b"));
            end(Over::Cancelled);
            assert!(test.holds_for(b"b"));
        });
        assert_eq!(result, Err(Over::Cancelled));
    }

    #[test]
    fn meta_tells_that_no_span_lasts_as_long() {
        let is_unmet = |query: &str, durations| {
            let mut meta = BlockMeta::new(BlockVersion::VParquet4, "t", Uuid::nil());
            meta.extension = Some(Box::new(Extension { durations, ..Extension::default() }));
            Pruner::of(&tactus_traceql::parse(query).unwrap()).is_unmet_in(&meta)
        };
        let some = Some((1_000, 2_000_000));
        for query in [
            "{ duration > 1s }",
            "{ duration < 1ns }",
            "{ duration = 3ms }",
            "{ span.a = 1 && duration > 1s }",
            "{ duration > 1s || duration < 1ns }",
            "{ duration > 1s } | count() > 2",
        ] {
            assert!(is_unmet(query, some), "{query}");
            assert!(!is_unmet(query, None), "{query}");
        }
        for query in [
            "{ duration > 1ms }",
            "{ duration = 2ms }",
            "{ duration != 3ms }",
            "{ duration > 1s || span.a = 1 }",
            "{ traceDuration > 1s }",
            "{ span.a = 1 }",
        ] {
            assert!(!is_unmet(query, some), "{query}");
        }
        // A span that ends before it starts lasts 0.
        assert!(!is_unmet("{ duration < 1ns }", Some((1_000, u64::MAX))));
    }
}
