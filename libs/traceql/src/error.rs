//! Errors of parsing and validation. Clients see their texts, which are part of the API.

/// Result with this crate's error.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a query is not accepted.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The text is not in the grammar.
    #[error(transparent)]
    Parse(#[from] ParseError),
    /// The text is in the grammar, but means nothing.
    #[error(transparent)]
    Validate(#[from] ValidateError),
    /// The query has the right syntax, but a pattern in it is rejected.
    #[error("parse error at line {line}, col {column}: {error}")]
    Pattern {
        /// From 1.
        line: usize,
        /// Characters from 1, within the line.
        column: usize,
        /// Why.
        error: ValidateError,
    },
}

/// A syntax error with its position.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParseError {
    /// From 1; 0 (with `column` 0) for the empty query.
    pub line: usize,
    /// Characters from 1, within the line.
    pub column: usize,
    /// What was found and, if only few tokens would be allowed, what was expected.
    pub message: String,
}

impl std::fmt::Display for ParseError {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.line == 0 {
            write!(formatter, "parse error : {}", self.message)
        } else {
            let ParseError { line, column, message } = self;
            write!(formatter, "parse error at line {line}, col {column}: {message}")
        }
    }
}

impl std::error::Error for ParseError {}

/// Why a query that parses is rejected. Strings in the variants are canonical text.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ValidateError {
    /// The operands have different types.
    #[error("binary operations must operate on the same type: {0}")]
    OperandTypesDiffer(String),
    /// The operator does not support the types of its operands.
    #[error("illegal operation for the given types: {0}")]
    IllegalBinary(String),
    /// The operand does not support this prefix operator.
    #[error("illegal operation for the given type: {0}")]
    IllegalUnary(String),
    /// A filter that is not a boolean, so that it can never be true.
    #[error("span filter field expressions must resolve to a boolean: {0}")]
    FilterNotBoolean(String),
    /// A pattern that does not compile.
    #[error("invalid regex: `{0}`")]
    InvalidRegex(String),
    // Where a valid pattern is refused, the reason comes first: patterns may be long, and long texts are cut off.
    /// A valid pattern with too many repetitions or classes.
    #[error("regex is too large: its program needs more than {limit} bytes: `{pattern}`")]
    RegexTooLarge {
        /// The pattern.
        pattern: String,
        /// The limit.
        limit: usize,
    },
    /// Each pattern is valid, but their programs together are too large.
    #[error(
        "regex is one too many: the programs of all patterns of a query may have {limit} bytes together: `{pattern}`"
    )]
    RegexesTooLarge {
        /// The pattern.
        pattern: String,
        /// The limit.
        limit: usize,
    },
    /// A valid pattern with classes of too many characters and ranges.
    #[error(
        "regex is too large: its character classes have too many members (limit: some 2000, or 60 classes of Unicode): `{0}`"
    )]
    RegexClasses(String),
    /// A pattern that repeats something more often than RE2 allows.
    #[error(
        "invalid regex: it repeats something {repeats} times by nested repetitions (limit: 1000): `{pattern}`"
    )]
    RegexRepeats {
        /// The pattern.
        pattern: String,
        /// The greatest product of its counts.
        repeats: u64,
    },
    /// More stages than any sensible query has.
    #[error("the query has more than {0} pipeline stages")]
    TooManyStages(usize),
    /// More filters than any sensible query has.
    #[error("the query has more than {0} filters in braces")]
    TooManyFilters(usize),
    /// More aggregates than any sensible query has.
    #[error("the query has more than {0} aggregates")]
    TooManyAggregates(usize),
    /// `name = nil`.
    #[error("{0}=nil is not valid because intrinsics cannot be nil")]
    IntrinsicNil(&'static str),
    /// `resource.service.name = nil`.
    #[error("resource.service.name=nil is not valid because resource.service.name cannot be nil")]
    ServiceNameNil,
    /// `max(name)`.
    #[error("aggregate field expressions must resolve to a number type: {0}")]
    AggregateNotNumeric(String),
    /// `sum(3)`.
    #[error("aggregate field expressions must reference the span: {0}")]
    AggregateWithoutAttribute(String),
    /// `by(1)`.
    #[error("grouping field expressions must reference the span: {0}")]
    GroupWithoutAttribute(String),
    /// `topk(0)`.
    #[error("limit must be greater than 0")]
    LimitNotPositive,
    /// `quantile_over_time(duration, 1.1)`.
    #[error("quantile must be between 0 and 1: {0}")]
    QuantileOutOfRange(f64),
    /// `compare({…}, 0)`.
    #[error("compare() top number of values must be integer greater than 0")]
    CompareTopNotPositive,
    /// `compare({…}, 1001)`.
    #[error("compare() top number of values must be an integer between 1 and 1000")]
    CompareTopTooLarge,
    /// `compare({…}, 5, 0, 1)`.
    #[error("compare() timestamps must be positive integer unix nanoseconds")]
    CompareTimestamps,
    /// `compare({…}, 5, 2, 1)`.
    #[error("compare() end timestamp must be greater than start timestamp")]
    CompareRange,
    /// `compare()` within arithmetic or before a second stage.
    #[error("`compare()` cannot be used with second stage functions")]
    CompareSecondStage,
    /// `service_graph()` within arithmetic or before a second stage.
    #[error("`service_graph()` needs a measure to be used with second stage functions")]
    GraphSecondStage,
    /// In the grammar, without a meaning yet.
    #[error("{0} not yet supported")]
    Unsupported(String),
}

impl ValidateError {
    /// The pattern that is refused.
    pub(crate) fn pattern(&self) -> Option<&str> {
        match self {
            ValidateError::InvalidRegex(pattern)
            | ValidateError::RegexClasses(pattern)
            | ValidateError::RegexTooLarge { pattern, .. }
            | ValidateError::RegexesTooLarge { pattern, .. }
            | ValidateError::RegexRepeats { pattern, .. } => Some(pattern),
            _ => None,
        }
    }

    /// True if the query has the right syntax, but is not supported yet.
    pub fn is_unsupported(&self) -> bool {
        matches!(self, ValidateError::Unsupported(_))
    }
}
