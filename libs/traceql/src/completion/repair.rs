//! Repairs an unfinished `{ … }` so that it parses: drops comparisons without a right side, dangling `&&`, `||` and
//! parentheses, and closes the brace.

use crate::ast::{BinaryOperator, LogicalOperator, RootExpr};
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
    repaired.extend(repair(inside));
    repaired.push(Spanned { token: Token::Fixed("}"), offset });
    repaired.extend_from_slice(tail);
    Parser::new(query, repaired).root().ok()
}

fn repair(tokens: &[Spanned]) -> Vec<Spanned> {
    let mut kept: Vec<Spanned> = Vec::new();
    // Where in `kept` the open parentheses are.
    let mut open: Vec<usize> = Vec::new();
    for spanned in tokens {
        match spanned.token {
            Token::Fixed("(") => {
                open.push(kept.len());
                kept.push(spanned.clone());
            }
            Token::Fixed(")") => {
                drop_dangling(&mut kept);
                match open.pop() {
                    Some(start) if start + 1 == kept.len() => kept.truncate(start),
                    Some(_) => kept.push(spanned.clone()),
                    None => {}
                }
            }
            Token::Fixed(text) if LogicalOperator::from_text(text).is_some() => {
                drop_dangling(&mut kept);
                if !matches!(kept.last().map(|last| &last.token), None | Some(Token::Fixed("("))) {
                    kept.push(spanned.clone());
                }
            }
            _ => kept.push(spanned.clone()),
        }
    }
    drop_dangling(&mut kept);
    // Parentheses that were never closed, in ascending position.
    let mut unclosed = open.into_iter().peekable();
    let mut index = 0;
    kept.retain(|_| {
        let drop = unclosed.next_if_eq(&index).is_some();
        index += 1;
        !drop
    });
    drop_dangling(&mut kept);
    kept
}

/// Removes operators at the end, and operands whose comparison is incomplete without them.
fn drop_dangling(kept: &mut Vec<Spanned>) {
    while let Some(Token::Fixed(text)) = kept.last().map(|last| &last.token) {
        let is_logical = LogicalOperator::from_text(text).is_some();
        let is_binary = BinaryOperator::from_text(text).is_some();
        if !is_logical && !is_binary && *text != "!" {
            return;
        }
        kept.pop();
        if is_binary {
            drop_operand(kept);
        }
    }
}

fn drop_operand(kept: &mut Vec<Spanned>) {
    match kept.last().map(|last| &last.token) {
        Some(Token::Fixed(text)) => {
            let text = *text;
            let is_word = text.starts_with(|c: char| c.is_ascii_alphabetic());
            if is_word {
                kept.pop();
                let scope = kept.last().map(|last| &last.token);
                if matches!(scope, Some(Token::Fixed(scope)) if scope.ends_with(':')) {
                    kept.pop();
                }
            }
        }
        Some(Token::End | Token::Invalid(_)) | None => {}
        Some(_) => {
            kept.pop();
        }
    }
}
