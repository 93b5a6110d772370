//! Parses pipelines, spanset expressions, scalar filters and metrics expressions.

use super::Parser;
use super::item::{Item, Operand, with_stage};
use crate::ast::{
    Aggregate, AggregateOperator, ArithmeticOperator, ComparisonOperator, MetricsExpression,
    MetricsQuery, Pipeline, PipelineStage, Query, RootExpr, ScalarExpression, SpansetExpression,
    SpansetOperator,
};
use crate::error::ParseError;
use crate::hints::{Hint, Hints};
use crate::lexer::Token;
use crate::static_value::Static;

#[derive(Clone, Copy)]
enum Pending {
    Negate,
    Infix(&'static str),
}

impl Pending {
    fn precedence(self) -> u8 {
        match self {
            Pending::Negate => 8,
            Pending::Infix("&&" | "||") => 2,
            Pending::Infix("+" | "-") => 4,
            Pending::Infix("*" | "/" | "%") => 6,
            Pending::Infix("^") => 7,
            Pending::Infix(_) => 3,
        }
    }
}

/// The inside of one parenthesis, or the whole query.
#[derive(Default)]
struct Frame {
    /// Index of the first token.
    start: usize,
    /// Finished stages, and the depth of the deepest.
    stages: Vec<PipelineStage>,
    stages_depth: usize,
    operands: Vec<Operand>,
    pending: Vec<Pending>,
}

impl Frame {
    fn at_stage_start(&self) -> bool {
        self.operands.is_empty() && self.pending.is_empty()
    }

    fn top_takes(&self, operator: &str) -> bool {
        self.operands.last().is_some_and(|operand| operand.item.takes(operator))
    }
}

impl Parser<'_> {
    pub(crate) fn root(mut self) -> Result<RootExpr, ParseError> {
        let mut enclosing: Vec<Frame> = Vec::new();
        let mut frame = Frame::default();
        loop {
            match self.token() {
                Token::Fixed("(") => {
                    self.advance();
                    let inner = Frame { start: self.position, ..Frame::default() };
                    enclosing.push(std::mem::replace(&mut frame, inner));
                    continue;
                }
                Token::Fixed("-") => {
                    self.advance();
                    frame.pending.push(Pending::Negate);
                    continue;
                }
                _ => {
                    let operand = self.operand(&frame)?;
                    frame.operands.push(operand);
                }
            }
            while self.after_operand(&mut frame, !enclosing.is_empty())? {
                if self.is(")") {
                    let operand = self.close(std::mem::take(&mut frame))?;
                    self.advance();
                    frame = enclosing.pop().unwrap_or_default();
                    frame.operands.push(operand);
                } else {
                    let query = self.finish(frame)?;
                    let hints = self.hints()?;
                    return Ok(RootExpr { query, hints });
                }
            }
        }
    }

    /// Consumes operators and stages. Returns false where an operand is needed. Returns true, after reducing the frame,
    /// at the end of the parenthesis or of the query, which is not consumed.
    fn after_operand(&mut self, frame: &mut Frame, inside: bool) -> Result<bool, ParseError> {
        loop {
            match self.token() {
                Token::Fixed(text) if is_infix(text) => {
                    let text = *text;
                    let own = Pending::Infix(text).precedence();
                    let limit = if text == "^" { own + 1 } else { own };
                    self.reduce_frame(frame, limit)?;
                    if !frame.top_takes(text) {
                        return Err(self.unexpected(""));
                    }
                    self.advance();
                    frame.pending.push(Pending::Infix(text));
                    return Ok(false);
                }
                Token::Fixed("|") => {
                    self.reduce_frame(frame, 0)?;
                    if !self.pipe(frame)? {
                        return Ok(false);
                    }
                }
                Token::Fixed(")") if inside => {
                    self.reduce_frame(frame, 0)?;
                    return Ok(true);
                }
                Token::End | Token::Fixed("with") if !inside => {
                    self.reduce_frame(frame, 0)?;
                    return Ok(true);
                }
                _ => return Err(self.unexpected(if inside { ") or |" } else { "" })),
            }
        }
    }

    fn reduce_frame(&self, frame: &mut Frame, precedence: u8) -> Result<(), ParseError> {
        while let Some(top) = frame.pending.last().copied().filter(|p| p.precedence() >= precedence)
        {
            frame.pending.pop();
            let missing = || self.unexpected("");
            let right = frame.operands.pop().ok_or_else(missing)?;
            let reduced = match top {
                Pending::Infix(operator) => {
                    let left = frame.operands.pop().ok_or_else(missing)?;
                    self.combine(operator, left, right)?
                }
                Pending::Negate => {
                    let item = match right.item {
                        Item::Constant(Static::Int(value)) => Static::Int(value.wrapping_neg()),
                        Item::Constant(Static::Float(value)) => Static::Float(-value),
                        Item::Constant(Static::Duration(value)) => {
                            Static::Duration(value.wrapping_neg())
                        }
                        _ => return Err(self.unexpected_at(right.start, "")),
                    };
                    Operand { item: Item::Constant(item), ..right }
                }
            };
            frame.operands.push(reduced);
        }
        Ok(())
    }

    /// Parses a primary expression or a stage at the current token.
    fn operand(&mut self, frame: &Frame) -> Result<Operand, ParseError> {
        let start = self.position;
        let operand = |item, depth| Ok(Operand { item, depth, start });
        match self.token() {
            Token::Fixed("{") => {
                let (filter, depth) = self.spanset_filter()?;
                let expression = SpansetExpression::Filter(filter);
                operand(Item::Spanset { expression, grouped: false }, depth)
            }
            Token::Fixed("by") if frame.at_stage_start() => {
                self.advance();
                self.expect("(")?;
                let (expression, depth) = self.field()?;
                self.expect_closing(")")?;
                operand(Item::Stage(PipelineStage::By(expression)), depth)
            }
            Token::Fixed("select") if frame.at_stage_start() => {
                self.advance();
                self.expect("(")?;
                let attributes = self.attributes()?;
                self.expect_closing(")")?;
                operand(Item::Stage(PipelineStage::Select(attributes)), 1)
            }
            Token::Fixed("coalesce") if frame.at_stage_start() && !frame.stages.is_empty() => {
                self.advance();
                self.expect("(")?;
                self.expect(")")?;
                operand(Item::Stage(PipelineStage::Coalesce), 1)
            }
            Token::Fixed(word) if AggregateOperator::from_text(word).is_some() => {
                let (aggregate, depth) = self.aggregate()?;
                let expression = ScalarExpression::Aggregate(aggregate);
                operand(Item::Scalar { expression, grouped: false }, depth)
            }
            _ => self.constant_operand(frame),
        }
    }

    fn constant_operand(&mut self, frame: &Frame) -> Result<Operand, ParseError> {
        let start = self.position;
        let after_scalar_pipe = matches!(
            (frame.operands.last().map(|operand| &operand.item), frame.pending.last()),
            (Some(Item::ScalarPipe(_)), Some(Pending::Infix(operator)))
                if ComparisonOperator::from_text(operator).is_some()
        );
        match self.try_static() {
            Some(value @ (Static::Int(_) | Static::Float(_) | Static::Duration(_))) => {
                Ok(Operand { item: Item::Constant(value), depth: 1, start })
            }
            Some(value) if after_scalar_pipe => {
                Ok(Operand { item: Item::OtherStatic(value), depth: 1, start })
            }
            _ => {
                let spanset_operator = matches!(
                    frame.operands.last().map(|operand| &operand.item),
                    Some(Item::Spanset { .. } | Item::Pipelines(_))
                );
                Err(self.unexpected_at(start, if spanset_operator { "{ or (" } else { "" }))
            }
        }
    }

    /// `count()` or `max(field)`, and its depth.
    fn aggregate(&mut self) -> Result<(Aggregate, usize), ParseError> {
        let operator = match self.token() {
            Token::Fixed(word) => AggregateOperator::from_text(word),
            _ => None,
        };
        let operator = operator.ok_or_else(|| self.unexpected(""))?;
        self.advance();
        self.expect("(")?;
        if operator == AggregateOperator::Count {
            self.expect(")")?;
            return Ok((Aggregate { operator, argument: None }, 1));
        }
        let (argument, depth) = self.field()?;
        self.expect_closing(")")?;
        Ok((Aggregate { operator, argument: Some(argument) }, depth + 1))
    }

    /// Handles the pipe at the current token. True if an operand (series) is complete after it; false if the next stage
    /// must be parsed.
    fn pipe(&mut self, frame: &mut Frame) -> Result<bool, ParseError> {
        let Some(operand) = frame.operands.pop() else { return Err(self.unexpected("")) };
        let pipe = self.position;
        self.advance();
        if let Item::Metrics { expression, .. } = operand.item {
            let expression = with_stage(expression, self.limit_stage()?);
            let item = Item::Metrics { expression, open: true };
            frame.operands.push(Operand { item, ..operand });
            return Ok(true);
        }
        frame.stages_depth = frame.stages_depth.max(operand.depth);
        let stage = into_stage(operand.item).ok_or_else(|| self.unexpected_at(pipe, ""))?;
        frame.stages.push(stage);
        let Some((stage, depth)) = self.try_metrics_stage()? else { return Ok(false) };
        let pipeline = Pipeline { stages: std::mem::take(&mut frame.stages) };
        let query = Box::new(MetricsQuery { pipeline, stage });
        frame.operands.push(Operand {
            item: Item::Metrics { expression: MetricsExpression::Query(query), open: true },
            depth: self.check_depth(frame.stages_depth.max(depth) + 1)?,
            start: frame.start,
        });
        frame.stages_depth = 0;
        Ok(true)
    }

    /// The operand that a parenthesis becomes, at its closing token.
    fn close(&self, mut frame: Frame) -> Result<Operand, ParseError> {
        let Some(Operand { item, depth, .. }) = frame.operands.pop() else {
            return Err(self.unexpected(""));
        };
        let start = frame.start;
        let pipelines = |stages, depth| {
            let expression = SpansetExpression::Pipeline(Pipeline { stages });
            let depth = self.check_depth(depth + 1)?;
            Ok(Operand { item: Item::Pipelines(expression), depth, start })
        };
        if frame.stages.is_empty() {
            let item = match item {
                Item::Spanset { expression, .. } => Item::Spanset { expression, grouped: true },
                Item::Scalar { expression, .. } => Item::Scalar { expression, grouped: true },
                Item::Metrics { expression, .. } => Item::Metrics { expression, open: false },
                Item::Stage(stage) => return pipelines(vec![stage], depth),
                Item::OtherStatic(_) => return Err(self.unexpected_at(start, "")),
                item @ (Item::Pipelines(_) | Item::Constant(_) | Item::ScalarPipe(_)) => item,
            };
            return Ok(Operand { item, depth, start });
        }
        let depth = depth.max(frame.stages_depth);
        if let Item::Scalar { expression: ScalarExpression::Aggregate(aggregate), grouped: false } =
            item
        {
            let pipeline = Box::new(Pipeline { stages: frame.stages });
            let item = Item::ScalarPipe(ScalarExpression::Pipeline(pipeline, aggregate));
            return Ok(Operand { item, depth: self.check_depth(depth + 1)?, start });
        }
        frame.stages.push(into_stage(item).ok_or_else(|| self.unexpected(""))?);
        pipelines(frame.stages, depth)
    }

    /// The query, at its end.
    fn finish(&self, mut frame: Frame) -> Result<Query, ParseError> {
        let Some(Operand { item, .. }) = frame.operands.pop() else {
            return Err(self.unexpected(""));
        };
        match item {
            Item::Metrics { expression, .. } => return Ok(Query::Metrics(expression)),
            Item::Pipelines(expression) if frame.stages.is_empty() => {
                return Ok(Query::Search(match expression {
                    SpansetExpression::Pipeline(pipeline) => pipeline,
                    combined => Pipeline { stages: vec![PipelineStage::Spanset(combined)] },
                }));
            }
            item => frame.stages.push(into_stage(item).ok_or_else(|| self.unexpected(""))?),
        }
        Ok(Query::Search(Pipeline { stages: frame.stages }))
    }

    /// Any number of `with (…)`; the last one counts.
    fn hints(&mut self) -> Result<Hints, ParseError> {
        let mut hints = Hints::default();
        while self.accept("with") {
            hints.entries.clear();
            self.expect("(")?;
            loop {
                let name = match self.token() {
                    Token::Identifier(name) => name.clone(),
                    _ => return Err(self.unexpected("IDENTIFIER")),
                };
                self.advance();
                self.expect("=")?;
                let value = self.try_static().ok_or_else(|| self.no_value())?;
                hints.entries.push(Hint { name, value });
                if !self.accept(",") {
                    break;
                }
            }
            self.expect(")")?;
        }
        match self.token() {
            Token::End => Ok(hints),
            _ => Err(self.unexpected("")),
        }
    }
}

fn is_infix(text: &str) -> bool {
    SpansetOperator::from_text(text).is_some()
        || ComparisonOperator::from_text(text).is_some()
        || ArithmeticOperator::from_text(text).is_some()
}

fn into_stage(item: Item) -> Option<PipelineStage> {
    match item {
        Item::Spanset { expression, .. } => Some(PipelineStage::Spanset(expression)),
        Item::Stage(stage) => Some(stage),
        _ => None,
    }
}
