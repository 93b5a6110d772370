//! Operators and their spelling.

/// Prefix operators and nil tests of field expressions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum UnaryOperator {
    /// `-x`.
    Negate,
    /// `!x`.
    Not,
    /// `x != nil`.
    Exists,
    /// `x = nil`.
    NotExists,
}

/// Infix operators of field expressions other than `&&` and `||`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum BinaryOperator {
    /// `+ - * / % ^`.
    Arithmetic(ArithmeticOperator),
    /// `= != < <= > >=`.
    Comparison(ComparisonOperator),
    /// `=~`: the right side is the pattern.
    Regex,
    /// `!~`: the right side is the pattern.
    NotRegex,
}

impl BinaryOperator {
    /// The operator as written.
    pub fn text(self) -> &'static str {
        match self {
            BinaryOperator::Arithmetic(operator) => operator.text(),
            BinaryOperator::Comparison(operator) => operator.text(),
            BinaryOperator::Regex => "=~",
            BinaryOperator::NotRegex => "!~",
        }
    }

    pub(crate) fn from_text(text: &str) -> Option<Self> {
        match text {
            "=~" => Some(BinaryOperator::Regex),
            "!~" => Some(BinaryOperator::NotRegex),
            _ => ArithmeticOperator::from_text(text)
                .map(BinaryOperator::Arithmetic)
                .or_else(|| ComparisonOperator::from_text(text).map(BinaryOperator::Comparison)),
        }
    }
}

tactus_model::words! {
    /// `&&` and `||`, which have equal precedence.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
    pub enum LogicalOperator {
        /// `&&`.
        And = "&&",
        /// `||`.
        Or = "||",
    }

    /// `+ - * / % ^`.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
    pub enum ArithmeticOperator {
        /// `+`.
        Add = "+",
        /// `-`.
        Subtract = "-",
        /// `*`.
        Multiply = "*",
        /// `/`.
        Divide = "/",
        /// `%`.
        Modulo = "%",
        /// `^`.
        Power = "^",
    }

    /// `= != < <= > >=`.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
    pub enum ComparisonOperator {
        /// `=`.
        Equal = "=",
        /// `!=`.
        NotEqual = "!=",
        /// `<`.
        Less = "<",
        /// `<=`.
        LessEqual = "<=",
        /// `>`.
        Greater = ">",
        /// `>=`.
        GreaterEqual = ">=",
    }
}

impl ComparisonOperator {
    /// The operator with exchanged operands: `a < b` is `b > a`.
    pub fn flipped(self) -> Self {
        match self {
            ComparisonOperator::Less => ComparisonOperator::Greater,
            ComparisonOperator::LessEqual => ComparisonOperator::GreaterEqual,
            ComparisonOperator::Greater => ComparisonOperator::Less,
            ComparisonOperator::GreaterEqual => ComparisonOperator::LessEqual,
            ComparisonOperator::Equal | ComparisonOperator::NotEqual => self,
        }
    }

    /// True if an ordering satisfies the operator. If there is no ordering (NaN), only `!=` is satisfied.
    pub fn holds(self, ordering: Option<std::cmp::Ordering>) -> bool {
        match self {
            ComparisonOperator::Equal => ordering.is_some_and(|order| order.is_eq()),
            ComparisonOperator::NotEqual => ordering.is_none_or(|order| order.is_ne()),
            ComparisonOperator::Less => ordering.is_some_and(|order| order.is_lt()),
            ComparisonOperator::LessEqual => ordering.is_some_and(|order| order.is_le()),
            ComparisonOperator::Greater => ordering.is_some_and(|order| order.is_gt()),
            ComparisonOperator::GreaterEqual => ordering.is_some_and(|order| order.is_ge()),
        }
    }
}

/// Operators between spansets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SpansetOperator {
    /// `&&`: the union if both sides are non-empty.
    And,
    /// `||`: the union.
    Or,
    /// `>`, `!>>`, `&~` …
    Structural(Relation, RelationMode),
}

/// What the right span is to the left one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Relation {
    /// `>`: right is a child of left.
    Child,
    /// `>>`: right is below left.
    Descendant,
    /// `<`: right is the parent of left.
    Parent,
    /// `<<`: right is above left.
    Ancestor,
    /// `~`: right and left are different spans with the same parent.
    Sibling,
}

/// Which spans a structural operator returns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RelationMode {
    /// Right spans in the relation to some left span.
    Plain,
    /// `!`: right spans that are not in the relation to any left span.
    Negated,
    /// `&`: right and left spans of every pair in the relation.
    Union,
}

impl SpansetOperator {
    /// The operator as written.
    pub fn text(self) -> &'static str {
        use Relation::{Ancestor, Child, Descendant, Parent, Sibling};
        use RelationMode::{Negated, Plain, Union};
        match self {
            SpansetOperator::And => "&&",
            SpansetOperator::Or => "||",
            SpansetOperator::Structural(relation, mode) => match (relation, mode) {
                (Child, Plain) => ">",
                (Child, Negated) => "!>",
                (Child, Union) => "&>",
                (Descendant, Plain) => ">>",
                (Descendant, Negated) => "!>>",
                (Descendant, Union) => "&>>",
                (Parent, Plain) => "<",
                (Parent, Negated) => "!<",
                (Parent, Union) => "&<",
                (Ancestor, Plain) => "<<",
                (Ancestor, Negated) => "!<<",
                (Ancestor, Union) => "&<<",
                (Sibling, Plain) => "~",
                (Sibling, Negated) => "!~",
                (Sibling, Union) => "&~",
            },
        }
    }

    pub(crate) fn from_text(text: &str) -> Option<Self> {
        let (mode, rest) = match text.as_bytes() {
            b"&&" => return Some(SpansetOperator::And),
            b"||" => return Some(SpansetOperator::Or),
            [b'!', ..] => (RelationMode::Negated, &text[1..]),
            [b'&', ..] => (RelationMode::Union, &text[1..]),
            _ => (RelationMode::Plain, text),
        };
        let relation = match rest {
            ">" => Relation::Child,
            ">>" => Relation::Descendant,
            "<" => Relation::Parent,
            "<<" => Relation::Ancestor,
            "~" => Relation::Sibling,
            _ => return None,
        };
        Some(SpansetOperator::Structural(relation, mode))
    }
}

tactus_model::words! {
    /// Functions over the spans of a spanset.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
    pub enum AggregateOperator {
        /// `count()`.
        Count = "count",
        /// `max(e)`.
        Max = "max",
        /// `min(e)`.
        Min = "min",
        /// `avg(e)`.
        Avg = "avg",
        /// `sum(e)`.
        Sum = "sum",
    }
}
