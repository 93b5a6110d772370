//! Repairs an unfinished `{ … }` so that it parses: replaces operands of `&&` and `||` that end with an operator or are
//! missing, and closes what is open.

use crate::ast::{Attribute, AttributeScope, BinaryOperator, LogicalOperator, RootExpr};
use crate::lexer::{Spanned, Token, lex};
use crate::parser::Parser;

/// The query with the part before its first pipe repaired, if it parses then.
pub(super) fn parse_leniently(query: &str) -> Option<RootExpr> {
    let tokens = lex(query);
    let is =
        |spanned: &Spanned, text| matches!(spanned.token, Token::Fixed(found) if found == text);
    let end = tokens.iter().position(|t| is(t, "|") || t.token == Token::End)?;
    let (filter, tail) = tokens.split_at(end);
    let (open, inside) = filter.split_first()?;
    if !is(open, "{") {
        return None;
    }
    let at_end = tail.first()?.token == Token::End;
    let inside = match inside.split_last() {
        Some((last, inside)) if is(last, "}") => inside,
        // A pipe inside braces is no unfinished filter.
        _ if at_end => inside,
        _ => return None,
    };
    if inside.iter().any(|t| is(t, "{") || is(t, "}")) {
        return None;
    }
    let offset = tail.first()?.offset;
    let mut repaired = vec![open.clone()];
    repaired.extend(repair(inside, offset));
    repaired.push(Spanned { token: Token::Fixed("}"), offset });
    repaired.extend_from_slice(tail);
    Parser::new(query, repaired).root().ok()
}

/// `end` is the offset of what is added at the end.
fn repair(tokens: &[Spanned], end: usize) -> Vec<Spanned> {
    let mut kept: Vec<Spanned> = Vec::new();
    // Where in `kept` the latest operand of `&&` and `||` begins, and where those with the open parentheses do.
    let (mut start, mut around) = (0, Vec::new());
    for spanned in tokens {
        match spanned.token {
            Token::Fixed("(") => {
                around.push(start);
                kept.push(spanned.clone());
                start = kept.len();
            }
            Token::Fixed(")") => {
                // One that closes nothing is dropped.
                if let Some(outer) = around.pop() {
                    close(&mut kept, start, spanned.offset);
                    start = outer;
                }
            }
            Token::Fixed(text) if LogicalOperator::from_text(text).is_some() => {
                finish_operand(&mut kept, start);
                if kept.len() == start {
                    kept.extend(any_condition());
                }
                kept.push(spanned.clone());
                start = kept.len();
            }
            _ => kept.push(spanned.clone()),
        }
    }
    // Dropping them instead would change what a negation or an alternative in front of them is about.
    while let Some(outer) = around.pop() {
        close(&mut kept, start, end);
        start = outer;
    }
    finish_operand(&mut kept, start);
    kept
}

/// Closes the latest parenthesis, or drops it if there is nothing in it. Its latest operand begins at `start`.
fn close(kept: &mut Vec<Spanned>, start: usize, offset: usize) {
    finish_operand(kept, start);
    if kept.len() == start {
        kept.pop();
    } else {
        kept.push(Spanned { token: Token::Fixed(")"), offset });
    }
}

/// Replaces the operand that begins at `start` if it ends with an operator, or is missing after `&&` or `||`.
fn finish_operand(kept: &mut Vec<Spanned>, start: usize) {
    let Some(Token::Fixed(text)) = kept.last().map(|last| &last.token) else { return };
    let is_logical = LogicalOperator::from_text(text).is_some();
    if is_logical || *text == "!" || BinaryOperator::from_text(text).is_some() {
        kept.truncate(start);
        kept.extend(any_condition());
    }
}

/// What stands for a condition that is not known yet: a sum of attributes. It may be of any type, and groups leave out what
/// contains it, negated or not. The constant `true` would become a value to compare with in `.a = (.b + `.
fn any_condition() -> [Spanned; 3] {
    let attribute = Attribute::named(AttributeScope::Unscoped, "");
    let attribute = Token::Attribute { opener: ".", attribute };
    [attribute.clone(), Token::Fixed("+"), attribute].map(|token| Spanned { token, offset: 0 })
}
