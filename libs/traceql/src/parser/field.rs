//! Parses expressions over one span.
//!
//! Precedence, lowest first: `&& ||` · comparisons · `+ -` and unary minus · `!` · `* / %` · `^` (right-associative) ·
//! nil tests. The operand of a prefix operator extends over everything that binds more tightly: `-a * b` is `-(a * b)`,
//! `!a = b` is `(!a) = b`.

use super::Parser;
use crate::ast::{
    ArithmeticOperator, BinaryOperator, ComparisonOperator, FieldExpression, LogicalOperator,
    UnaryOperator,
};
use crate::error::ParseError;
use crate::fold;
use crate::lexer::Token;
use crate::static_value::Static;

type Operand = (FieldExpression, usize);

/// What waits for its right operand.
#[derive(Clone, Copy)]
enum Pending {
    Parenthesis,
    /// Negation, or a nil test written `nil = x`.
    Unary(UnaryOperator),
    Binary(BinaryOperator),
    Logical(LogicalOperator),
}

impl Pending {
    fn precedence(self) -> u8 {
        match self {
            Pending::Parenthesis => 0,
            Pending::Logical(_) => 2,
            Pending::Binary(operator) => match operator {
                BinaryOperator::Arithmetic(operator) => match operator {
                    ArithmeticOperator::Add | ArithmeticOperator::Subtract => 4,
                    ArithmeticOperator::Power => 7,
                    _ => 6,
                },
                _ => 3,
            },
            Pending::Unary(UnaryOperator::Negate) => 4,
            Pending::Unary(UnaryOperator::Not) => 5,
            Pending::Unary(UnaryOperator::Exists | UnaryOperator::NotExists) => 8,
        }
    }

    fn is_right_associative(self) -> bool {
        matches!(self, Pending::Binary(BinaryOperator::Arithmetic(ArithmeticOperator::Power)))
    }
}

impl Parser<'_> {
    /// One expression and its depth. Stops before the first token that cannot continue it.
    pub(super) fn field(&mut self) -> Result<Operand, ParseError> {
        let mut operands: Vec<Operand> = Vec::new();
        let mut pending: Vec<Pending> = Vec::new();
        let mut parentheses = 0_usize;
        loop {
            parentheses += self.field_operand(&mut operands, &mut pending)?;
            loop {
                if parentheses > 0 && self.is(")") {
                    parentheses -= 1;
                    self.reduce_fields(&mut operands, &mut pending, 1)?;
                    pending.pop();
                    self.advance();
                    continue;
                }
                let Some(operator) = self.infix_operator() else {
                    return self.finish_field(operands, pending);
                };
                let own = operator.precedence();
                let limit = if operator.is_right_associative() { own + 1 } else { own };
                self.reduce_fields(&mut operands, &mut pending, limit)?;
                self.advance();
                let Some(test) = nil_test(operator).filter(|_| self.is("nil")) else {
                    pending.push(operator);
                    break;
                };
                self.advance();
                pending.push(Pending::Unary(test));
                self.reduce_fields(&mut operands, &mut pending, 8)?;
            }
        }
    }

    /// Pushes opening parentheses and prefix operators, then an operand. Returns the number of parentheses.
    fn field_operand(
        &mut self,
        operands: &mut Vec<Operand>,
        pending: &mut Vec<Pending>,
    ) -> Result<usize, ParseError> {
        let mut parentheses = 0;
        loop {
            if let Some(value) = self.try_static() {
                operands.push((FieldExpression::Static(value), 1));
                return Ok(parentheses);
            }
            if let Some(attribute) = self.try_attribute()? {
                operands.push((FieldExpression::Attribute(attribute), 1));
                return Ok(parentheses);
            }
            match self.token() {
                Token::Fixed("(") => {
                    parentheses += 1;
                    pending.push(Pending::Parenthesis);
                }
                Token::Fixed("-") => pending.push(Pending::Unary(UnaryOperator::Negate)),
                Token::Fixed("!") => pending.push(Pending::Unary(UnaryOperator::Not)),
                Token::Fixed("nil") => {
                    self.advance();
                    let test = self.infix_operator().and_then(nil_test);
                    let test = test.ok_or_else(|| self.unexpected("= or !="))?;
                    if matches!(self.token_at(self.position + 1), Token::Fixed("nil")) {
                        // Both `nil = nil` and `nil != nil` are false.
                        self.advance();
                        self.advance();
                        operands.push((FieldExpression::Static(Static::Bool(false)), 1));
                        return Ok(parentheses);
                    }
                    pending.push(Pending::Unary(test));
                }
                _ => return Err(self.no_value()),
            }
            self.advance();
        }
    }

    fn infix_operator(&self) -> Option<Pending> {
        match self.token() {
            Token::Fixed(text) => LogicalOperator::from_text(text)
                .map(Pending::Logical)
                .or_else(|| BinaryOperator::from_text(text).map(Pending::Binary)),
            _ => None,
        }
    }

    fn finish_field(
        &self,
        mut operands: Vec<Operand>,
        mut pending: Vec<Pending>,
    ) -> Result<Operand, ParseError> {
        self.reduce_fields(&mut operands, &mut pending, 1)?;
        if !pending.is_empty() {
            return Err(self.unexpected(""));
        }
        operands.pop().ok_or_else(|| self.unexpected(""))
    }

    /// Applies pending operators with at least that precedence, down to an open parenthesis.
    fn reduce_fields(
        &self,
        operands: &mut Vec<Operand>,
        pending: &mut Vec<Pending>,
        precedence: u8,
    ) -> Result<(), ParseError> {
        while let Some(top) = pending.last().copied().filter(|p| p.precedence() >= precedence) {
            pending.pop();
            let (right, right_depth) = operands.pop().ok_or_else(|| self.unexpected(""))?;
            let reduced = match top {
                Pending::Parenthesis => (right, right_depth),
                Pending::Unary(operator) => (fold::unary(operator, right), right_depth + 1),
                Pending::Binary(operator) => {
                    let (left, left_depth) = operands.pop().ok_or_else(|| self.unexpected(""))?;
                    (fold::binary(operator, left, right), left_depth.max(right_depth) + 1)
                }
                Pending::Logical(operator) => {
                    let (left, left_depth) = operands.pop().ok_or_else(|| self.unexpected(""))?;
                    let extends = matches!(
                        &left,
                        FieldExpression::Logical { operator: of_left, .. } if *of_left == operator
                    );
                    let left_depth = if extends { left_depth } else { left_depth + 1 };
                    (fold::logical(operator, left, right), left_depth.max(right_depth + 1))
                }
            };
            let (expression, depth) = reduced;
            let depth = if matches!(expression, FieldExpression::Static(_)) { 1 } else { depth };
            operands.push((expression, self.check_depth(depth)?));
        }
        Ok(())
    }
}

/// The nil test that `operator` means if one side is `nil`.
fn nil_test(operator: Pending) -> Option<UnaryOperator> {
    match operator {
        Pending::Binary(BinaryOperator::Comparison(ComparisonOperator::Equal)) => {
            Some(UnaryOperator::NotExists)
        }
        Pending::Binary(BinaryOperator::Comparison(ComparisonOperator::NotEqual)) => {
            Some(UnaryOperator::Exists)
        }
        _ => None,
    }
}
