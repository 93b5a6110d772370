//! Pipelines: lists of spansets of one trace, stage by stage.

use tactus_traceql::eval::AttributeValue;
use tactus_traceql::{
    Aggregate, AggregateOperator, FieldExpression, Pipeline, PipelineStage, Relation, RelationMode,
    ScalarExpression, ScalarFilter, SpansetExpression, SpansetOperator, Static,
};

use super::calculate::{compare, number, scalar_arithmetic};
use super::value::Value;
use super::world::World;

#[derive(Clone, Debug)]
pub(crate) struct Spanset {
    /// In order of arrival; never empty.
    pub(crate) rows: Vec<usize>,
    pub(crate) attributes: Vec<(String, AttributeValue)>,
}

/// An operand of a structural operator became several spansets.
#[derive(Debug, PartialEq)]
pub(crate) struct SplitOperand;

type Result<T> = std::result::Result<T, SplitOperand>;

impl World<'_> {
    /// The final spansets of one trace.
    pub(crate) fn run(&self, pipeline: &Pipeline, trace: u128) -> Result<Vec<Spanset>> {
        self.stages(pipeline, vec![Spanset { rows: self.rows(trace), attributes: Vec::new() }])
    }

    fn stages(&self, pipeline: &Pipeline, mut sets: Vec<Spanset>) -> Result<Vec<Spanset>> {
        for stage in &pipeline.stages {
            sets = match stage {
                PipelineStage::Spanset(expression) => {
                    let mut kept = Vec::new();
                    for set in &sets {
                        kept.extend(self.spansets(expression, set)?);
                    }
                    kept
                }
                PipelineStage::By(expression) => {
                    sets.iter().flat_map(|set| self.split(expression, set)).collect()
                }
                PipelineStage::Scalar(filter) => {
                    sets.iter().filter_map(|set| self.scalar_filter(filter, set)).collect()
                }
                PipelineStage::Coalesce => coalesce(&sets),
                PipelineStage::Select(_) => sets,
            };
        }
        Ok(sets)
    }

    /// What becomes of one spanset.
    fn spansets(&self, expression: &SpansetExpression, set: &Spanset) -> Result<Vec<Spanset>> {
        let rows = match expression {
            SpansetExpression::Pipeline(pipeline) => {
                return self.stages(pipeline, vec![set.clone()]);
            }
            SpansetExpression::Filter(filter) => {
                let rows = set.rows.iter().copied();
                rows.filter(|&row| self.holds(&filter.expression, row)).collect()
            }
            SpansetExpression::Binary { operator, left, right } => {
                let left = self.spansets(left, set)?;
                if left.is_empty() && *operator == SpansetOperator::And {
                    return Ok(left);
                }
                let right = self.spansets(right, set)?;
                let structural = matches!(operator, SpansetOperator::Structural(..));
                if structural && (left.len() > 1 || right.len() > 1) {
                    return Err(SplitOperand);
                }
                let (left, right) = (all_rows(&left), all_rows(&right));
                match operator {
                    SpansetOperator::And if right.is_empty() => Vec::new(),
                    SpansetOperator::And | SpansetOperator::Or => {
                        let both = set.rows.iter().copied();
                        both.filter(|row| left.contains(row) || right.contains(row)).collect()
                    }
                    SpansetOperator::Structural(relation, mode) => {
                        let mut rows = self.structural(*relation, *mode, &left, &right);
                        rows.sort_unstable();
                        rows.dedup();
                        rows
                    }
                }
            }
        };
        let kept = Spanset { rows, attributes: set.attributes.clone() };
        Ok(if kept.rows.is_empty() { vec![] } else { vec![kept] })
    }

    fn structural(
        &self,
        relation: Relation,
        mode: RelationMode,
        left: &[usize],
        right: &[usize],
    ) -> Vec<usize> {
        let has_left = |&r: &usize| left.iter().any(|&l| self.related(relation, l, r));
        let has_right = |&l: &usize| right.iter().any(|&r| self.related(relation, l, r));
        let right = right.iter().copied();
        match mode {
            RelationMode::Plain => right.filter(has_left).collect(),
            RelationMode::Negated => right.filter(|r| !has_left(r)).collect(),
            RelationMode::Union => right
                .clone()
                .filter(has_left)
                .chain(left.iter().copied().filter(has_right))
                .collect(),
        }
    }

    /// Only spans with a way up to a root are in any relation.
    fn related(&self, relation: Relation, l: usize, r: usize) -> bool {
        let (left, right) = (&self.spans[l], &self.spans[r]);
        let (Some(above_left), Some(above_right)) = (&left.ancestors, &right.ancestors) else {
            return false;
        };
        match relation {
            Relation::Child => right.parent == Some(l),
            Relation::Parent => left.parent == Some(r),
            Relation::Descendant => above_right.contains(&l),
            Relation::Ancestor => above_left.contains(&r),
            Relation::Sibling => left.parent == right.parent && l != r,
        }
    }

    /// One spanset for each value, in order of first appearance.
    fn split(&self, expression: &FieldExpression, set: &Spanset) -> Vec<Spanset> {
        let mut groups: Vec<(String, Spanset)> = Vec::new();
        for &row in &set.rows {
            let value = match self.value(expression, row) {
                Value::NoRow => Value::Nil,
                Value::Many(elements) if elements.len() == 1 => Value::One(elements[0].clone()),
                Value::One(Static::Float(number)) => Value::One(Static::Float(number + 0.0)), // of -0, 0
                other => other,
            };
            // The debug text tells types apart.
            let key = format!("{value:?}");
            if let Some((_, group)) = groups.iter_mut().find(|(known, _)| *known == key) {
                group.rows.push(row);
                continue;
            }
            let mut attributes = set.attributes.clone();
            let shown = value.shown().unwrap_or(AttributeValue::Nil);
            attributes.push((format!("by({expression})"), shown));
            groups.push((key, Spanset { rows: vec![row], attributes }));
        }
        groups.into_iter().map(|(_, group)| group).collect()
    }

    fn scalar_filter(&self, filter: &ScalarFilter, set: &Spanset) -> Option<Spanset> {
        let mut kept = set.clone();
        let mut computed = Vec::new();
        let left = self.scalar(&filter.left, set, &mut computed);
        let right = self.scalar(&filter.right, set, &mut computed);
        kept.attributes.extend(computed);
        compare(filter.operator, &left, &right).holds().then_some(kept)
    }

    fn scalar(
        &self,
        expression: &ScalarExpression,
        set: &Spanset,
        attributes: &mut Vec<(String, AttributeValue)>,
    ) -> Value {
        match expression {
            ScalarExpression::Static(value) => Value::One(value.clone()),
            ScalarExpression::Aggregate(aggregate) => {
                let value = self.aggregate(aggregate, set);
                let name = aggregate.to_string();
                if let Some(shown) = value.shown()
                    && !attributes.iter().any(|(known, _)| *known == name)
                {
                    attributes.push((name, shown));
                }
                value
            }
            ScalarExpression::Binary { operator, left, right } => {
                let left = self.scalar(left, set, attributes);
                let right = self.scalar(right, set, attributes);
                scalar_arithmetic(*operator, &left, &right)
            }
            // Validation rejects them.
            ScalarExpression::Pipeline(..) => Value::Nil,
        }
    }

    fn aggregate(&self, aggregate: &Aggregate, set: &Spanset) -> Value {
        let Some(argument) = &aggregate.argument else {
            return Value::int(set.rows.len() as i64);
        };
        let values = set.rows.iter().map(|&row| self.value(argument, row));
        let values: Vec<Static> = values
            .filter_map(|value| match value {
                Value::One(value) if number(&value).is_some() => Some(value),
                _ => None,
            })
            .collect();
        if values.is_empty() {
            return Value::Nil;
        }
        match aggregate.operator {
            AggregateOperator::Count => Value::int(values.len() as i64),
            AggregateOperator::Sum => Value::One(sum(&values)),
            AggregateOperator::Avg => {
                let count = values.len();
                Value::One(match sum(&values) {
                    Static::Duration(total) => Static::Duration(total / count as i64),
                    total => Static::Float(number(&total).expect("a number") / count as f64),
                })
            }
            AggregateOperator::Min => Value::One(best(values, |value, best| value < best)),
            AggregateOperator::Max => Value::One(best(values, |value, best| value > best)),
        }
    }
}

/// Ints stay ints and durations durations; a float among them makes all floats.
fn sum(values: &[Static]) -> Static {
    let whole = values.iter().map(|value| match value {
        Static::Int(value) | Static::Duration(value) => Some(*value),
        _ => None,
    });
    match whole.sum::<Option<i64>>() {
        Some(total) if values.iter().all(|value| matches!(value, Static::Int(_))) => {
            Static::Int(total)
        }
        Some(total) if values.iter().all(|value| matches!(value, Static::Duration(_))) => {
            Static::Duration(total)
        }
        _ => Static::Float(values.iter().filter_map(number).sum()),
    }
}

/// The first of the best values; NaN only if there is nothing else.
fn best(values: Vec<Static>, is_better: impl Fn(f64, f64) -> bool) -> Static {
    let mut values = values.into_iter();
    let mut best = values.next().expect("not empty");
    for value in values {
        let (new, old) = (number(&value).expect("number"), number(&best).expect("number"));
        if old.is_nan() || is_better(new, old) {
            best = value;
        }
    }
    best
}

fn coalesce(sets: &[Spanset]) -> Vec<Spanset> {
    let rows = all_rows(sets);
    if rows.is_empty() { vec![] } else { vec![Spanset { rows, attributes: Vec::new() }] }
}

fn all_rows(sets: &[Spanset]) -> Vec<usize> {
    let mut rows: Vec<usize> = sets.iter().flat_map(|set| set.rows.iter().copied()).collect();
    rows.sort_unstable();
    rows
}
