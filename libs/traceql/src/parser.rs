//! Builds the tree from tokens: operator precedence with explicit stacks.
//!
//! Parentheses are on a stack of our own and need no recursion, so any number of them is fine. Only the depth of the
//! resulting tree is bounded, because everything after parsing recurses over it.

mod field;
mod item;
mod metrics;
mod root;
#[cfg(test)]
mod tests;

use crate::ast::{Attribute, FieldExpression, Intrinsic, RootExpr, SpansetFilter};
use crate::error::{Error, ParseError, ValidateError};
use crate::lexer::{Spanned, Token, lex};
use crate::static_value::{Kind, Static, Status};

/// Depth of the deepest tree that the parser builds. A deeper query is a parse error. A chain of `&&` or of `||` inside
/// one filter counts as one level, however long it is.
pub const MAX_DEPTH: usize = 500;

/// Parses a query.
///
/// Errors: position and text of the first token that is not allowed.
pub fn parse(query: &str) -> Result<RootExpr, ParseError> {
    Parser::new(query, lex(query)).root()
}

/// Parses only an attribute or intrinsic, such as `span.http.method` or `span:name`.
///
/// Errors: as if the text were the only expression of a filter `{…}`, so columns count from 2.
pub fn parse_attribute(text: &str) -> Result<Attribute, ParseError> {
    let wrapped = format!("{{{text}}}");
    let mut parser = Parser::new(&wrapped, lex(&wrapped));
    parser.advance();
    let attribute = match parser.token() {
        // As where a value is expected: the message contains the word.
        Token::Identifier(name) => {
            let message = format!("unknown identifier: {name}");
            return Err(parser.error(message));
        }
        _ => parser.attribute()?,
    };
    parser.expect("}")?;
    match parser.token() {
        Token::End => Ok(attribute),
        _ => Err(parser.unexpected("")),
    }
}

impl ValidateError {
    /// The error with its position in the query, if it has one.
    pub(crate) fn in_query(self, query: &str) -> Error {
        let place = self.pattern().and_then(|pattern| place_of_pattern(query, pattern));
        match place {
            Some((line, column)) => Error::Pattern { line, column, error: self },
            None => self.into(),
        }
    }
}

/// Line and column, from 1, of the first place in a query where a string equal to `pattern` is used as a pattern.
fn place_of_pattern(query: &str, pattern: &str) -> Option<(usize, usize)> {
    let tokens = lex(query);
    let is_it = |pair: &[Spanned]| match pair {
        [
            Spanned { token: Token::Fixed("=~" | "!~"), .. },
            Spanned { token: Token::String(text), .. },
        ] => String::from_utf8_lossy(text) == pattern,
        _ => false,
    };
    let token = tokens.windows(2).find(|pair| is_it(pair))?.last()?;
    Some(place(query, token.offset))
}

/// Line and column, from 1, of a byte of a text.
fn place(source: &str, offset: usize) -> (usize, usize) {
    let before = source.get(..offset).unwrap_or(source);
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().map_or(0, |text| text.chars().count()) + 1;
    (line, column)
}

pub(crate) struct Parser<'a> {
    source: &'a str,
    tokens: Vec<Spanned>,
    /// Index into `tokens`. Never beyond the last one, which is `End`.
    position: usize,
}

impl<'a> Parser<'a> {
    /// `tokens` must end with `End`, as those of [`lex`] do.
    pub(crate) fn new(source: &'a str, tokens: Vec<Spanned>) -> Self {
        Parser { source, tokens, position: 0 }
    }

    fn token(&self) -> &Token {
        self.token_at(self.position)
    }

    fn token_at(&self, position: usize) -> &Token {
        self.tokens.get(position).map_or(&Token::End, |spanned| &spanned.token)
    }

    fn advance(&mut self) {
        if self.position + 1 < self.tokens.len() {
            self.position += 1;
        }
    }

    fn is(&self, text: &str) -> bool {
        matches!(self.token(), Token::Fixed(found) if *found == text)
    }

    /// Consumes the token if it is `text`.
    fn accept(&mut self, text: &str) -> bool {
        let found = self.is(text);
        if found {
            self.advance();
        }
        found
    }

    fn expect(&mut self, text: &str) -> Result<(), ParseError> {
        if self.accept(text) { Ok(()) } else { Err(self.unexpected(text)) }
    }

    /// The syntax error for the current token. `expected` may be empty.
    fn unexpected(&self, expected: &str) -> ParseError {
        self.unexpected_at(self.position, expected)
    }

    fn unexpected_at(&self, position: usize, expected: &str) -> ParseError {
        let token = self.token_at(position);
        let message = match token {
            Token::Invalid(message) => message.clone(),
            token if expected.is_empty() => format!("syntax error: unexpected {}", token.label()),
            token => format!("syntax error: unexpected {}, expecting {expected}", token.label()),
        };
        self.error_at(position, message)
    }

    fn error(&self, message: String) -> ParseError {
        self.error_at(self.position, message)
    }

    fn error_at(&self, position: usize, message: String) -> ParseError {
        if self.source.is_empty() {
            return ParseError { line: 0, column: 0, message };
        }
        let offset = self.tokens.get(position).map_or(self.source.len(), |token| token.offset);
        let (line, column) = place(self.source, offset);
        ParseError { line, column, message }
    }

    fn check_depth(&self, depth: usize) -> Result<usize, ParseError> {
        if depth <= MAX_DEPTH {
            Ok(depth)
        } else {
            Err(self.error("query is nested too deeply".to_owned()))
        }
    }

    /// Consumes an attribute or intrinsic if there is one.
    fn try_attribute(&mut self) -> Result<Option<Attribute>, ParseError> {
        let attribute = match self.token() {
            Token::Attribute { attribute, .. } => attribute.clone(),
            Token::Fixed(scope) if scope.ends_with(':') => {
                let scope = *scope;
                self.advance();
                let intrinsic = match self.token() {
                    Token::Fixed(keyword) => Intrinsic::from_text(&format!("{scope}{keyword}")),
                    _ => None,
                };
                Attribute::Intrinsic(intrinsic.ok_or_else(|| self.unexpected(""))?)
            }
            Token::Fixed(keyword) => match Intrinsic::from_text(keyword) {
                Some(intrinsic) => Attribute::Intrinsic(intrinsic),
                None => return Ok(None),
            },
            _ => return Ok(None),
        };
        self.advance();
        Ok(Some(attribute))
    }

    fn attribute(&mut self) -> Result<Attribute, ParseError> {
        match self.try_attribute()? {
            Some(attribute) => Ok(attribute),
            None => Err(self.unexpected("")),
        }
    }

    /// `a, b, …`: at least one attribute.
    fn attributes(&mut self) -> Result<Vec<Attribute>, ParseError> {
        let mut attributes = vec![self.attribute()?];
        while self.accept(",") {
            attributes.push(self.attribute()?);
        }
        Ok(attributes)
    }

    /// Consumes a constant if there is one.
    fn try_static(&mut self) -> Option<Static> {
        let value = match self.token() {
            Token::String(text) => Static::String(text.clone()),
            Token::Int(value) => Static::Int(*value),
            Token::Float(value) => Static::Float(*value),
            Token::Duration(value) => Static::Duration(*value),
            Token::Fixed("true") => Static::Bool(true),
            Token::Fixed("false") => Static::Bool(false),
            Token::Fixed(word) => Status::from_text(word)
                .map(Static::Status)
                .or_else(|| Kind::from_text(word).map(Static::Kind))?,
            Token::Identifier(name) => match &**name {
                "minInt" => Static::Int(i64::MIN),
                "maxInt" => Static::Int(i64::MAX),
                _ => return None,
            },
            _ => return None,
        };
        self.advance();
        Some(value)
    }

    /// The error for a token where a value should be.
    fn no_value(&self) -> ParseError {
        match self.token() {
            Token::Identifier(name) => self.error(format!("unknown identifier: {name}")),
            _ => self.unexpected(""),
        }
    }

    fn int(&mut self) -> Result<i64, ParseError> {
        match self.token() {
            Token::Int(value) => {
                let value = *value;
                self.advance();
                Ok(value)
            }
            _ => Err(self.unexpected("INTEGER")),
        }
    }

    /// `{ … }` at the current token, and its depth.
    fn spanset_filter(&mut self) -> Result<(SpansetFilter, usize), ParseError> {
        self.expect("{")?;
        if self.accept("}") {
            let expression = FieldExpression::Static(Static::Bool(true));
            return Ok((SpansetFilter { expression }, 1));
        }
        let (expression, depth) = self.field()?;
        self.expect_closing("}")?;
        Ok((SpansetFilter { expression }, depth + 1))
    }

    /// Expects a bracket after an expression, where operators would be allowed as well.
    fn expect_closing(&mut self, text: &str) -> Result<(), ParseError> {
        if self.accept(text) { Ok(()) } else { Err(self.unexpected("")) }
    }
}
