//! Splits text into tokens.
//!
//! Tokens have byte offsets; lines and columns are computed only for an error. A lexical error becomes the last token,
//! so that a syntax error before it is reported first.

mod attribute_name;
mod number;
mod quoted;
#[cfg(test)]
mod tests;

pub(crate) use attribute_name::ends_attribute_name;

use crate::ast::Attribute;
use crate::static_value::Text;

/// Operators and punctuation. Every prefix of one must be in the list, too: a token grows by one character as long as
/// the longer text is in the list.
const SYMBOLS: &[&str] = &[
    "{", "}", "(", ")", ",", "|", "||", "&", "&&", "=", "!=", "=~", "!~", ">", ">=", "<", "<=",
    ">>", "<<", "~", "!>", "!>>", "!<", "!<<", "&>", "&>>", "&<", "&<<", "&~", "!", "+", "-", "*",
    "/", "%", "^",
];

const KEYWORDS: &[&str] = &[
    "true",
    "false",
    "nil",
    "ok",
    "error",
    "unset",
    "unspecified",
    "internal",
    "server",
    "client",
    "producer",
    "consumer",
    "duration",
    "childCount",
    "name",
    "status",
    "statusMessage",
    "kind",
    "rootName",
    "rootServiceName",
    "rootService",
    "traceDuration",
    "nestedSetLeft",
    "nestedSetRight",
    "nestedSetParent",
    "id",
    "traceID",
    "spanID",
    "parentID",
    "timeSinceStart",
    "version",
    "parent",
    "count",
    "avg",
    "max",
    "min",
    "sum",
    "by",
    "coalesce",
    "select",
    "rate",
    "count_over_time",
    "min_over_time",
    "max_over_time",
    "avg_over_time",
    "sum_over_time",
    "quantile_over_time",
    "histogram_over_time",
    "compare",
    "service_graph",
    "topk",
    "bottomk",
    "with",
];

/// Words that a colon turns into the scope of an intrinsic.
const INTRINSIC_SCOPES: &[&str] = &["trace:", "span:", "event:", "link:", "instrumentation:"];

/// A token.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Token {
    /// Operator, punctuation, keyword or intrinsic scope, by its spelling.
    Fixed(&'static str),
    /// Any other word, or a visible character that begins no token.
    Identifier(Box<str>),
    /// A string constant.
    String(Text),
    /// An integer constant.
    Int(i64),
    /// A float constant.
    Float(f64),
    /// A duration constant in nanoseconds.
    Duration(i64),
    /// A named attribute; `opener` is its first token.
    Attribute {
        /// `.`, `span.`, `parent.`, …
        opener: &'static str,
        /// The whole attribute.
        attribute: Attribute,
    },
    /// A lexical error with its message. Only `End` follows.
    Invalid(String),
    /// End of input.
    End,
}

impl Token {
    /// The name of the token in syntax errors.
    pub(crate) fn label(&self) -> &str {
        match self {
            Token::Fixed(text) => text,
            Token::Identifier(_) => "IDENTIFIER",
            Token::String(_) => "STRING",
            Token::Int(_) => "INTEGER",
            Token::Float(_) => "FLOAT",
            Token::Duration(_) => "DURATION",
            Token::Attribute { opener, .. } => opener,
            Token::Invalid(message) => message,
            Token::End => "$end",
        }
    }
}

/// A token and the byte offset of its first character.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Spanned {
    pub(crate) token: Token,
    pub(crate) offset: usize,
}

/// All tokens of `source`; the last one is `End`.
pub(crate) fn lex(source: &str) -> Vec<Spanned> {
    let mut tokens = Vec::new();
    let mut offset = 0;
    loop {
        offset = match skip_blanks(source, offset) {
            Ok(offset) => offset,
            Err((offset, message)) => {
                tokens.push(Spanned { token: Token::Invalid(message.to_owned()), offset });
                source.len()
            }
        };
        if offset >= source.len() {
            tokens.push(Spanned { token: Token::End, offset: source.len() });
            return tokens;
        }
        let (token, length) = match next_token(&source[offset..]) {
            Ok(found) => found,
            Err(message) => (Token::Invalid(message), source.len() - offset),
        };
        tokens.push(Spanned { token, offset });
        offset += length;
    }
}

const NUL: &str = "invalid character NUL";

fn skip_blanks(source: &str, mut offset: usize) -> Result<usize, (usize, &'static str)> {
    loop {
        let rest = &source[offset..];
        let comment_length = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if let Some(comment) = rest.strip_prefix("/*") {
            let length = comment.find("*/").map(|end| end + 4);
            length.ok_or((offset, "comment not terminated"))?
        } else if rest.starts_with([' ', '\t', '\r', '\n']) {
            1
        } else {
            return Ok(offset);
        };
        if rest[..comment_length].contains('\0') {
            return Err((offset, NUL));
        }
        offset += comment_length;
    }
}

/// The first token of `rest`, which must not be empty, and its length in bytes; or an error message.
fn next_token(rest: &str) -> Result<(Token, usize), String> {
    let first = rest.chars().next().unwrap_or_default();
    let second = rest[first.len_utf8()..].chars().next();
    match first {
        '\0' => Err(NUL.to_owned()),
        '"' => quoted::interpreted_string(rest),
        '`' => quoted::raw_string(rest),
        '\'' => quoted::character(rest),
        '0'..='9' => number::number(rest),
        '.' if second.is_some_and(|c| c.is_ascii_digit()) => number::number(rest),
        '.' => attribute_name::attribute(rest, "."),
        c if c == '_' || c.is_alphabetic() => word(rest),
        c => match symbol(rest) {
            Some(text) => Ok((Token::Fixed(text), text.len())),
            None if is_invisible(c) => Err(format!("unknown identifier: U+{:04X}", u32::from(c))),
            None => Ok((Token::Identifier(c.to_string().into()), c.len_utf8())),
        },
    }
}

/// Spaces that are no blanks, control characters and whatever else shows nothing of its own: an error that repeated it
/// would seem to name nothing.
fn is_invisible(c: char) -> bool {
    c.escape_debug().nth(1) == Some('u')
}

fn symbol(rest: &str) -> Option<&'static str> {
    let known = |length| SYMBOLS.iter().copied().find(|text| rest.get(..length) == Some(*text));
    let mut found = known(1)?;
    while let Some(longer) = known(found.len() + 1) {
        found = longer;
    }
    Some(found)
}

fn word(rest: &str) -> Result<(Token, usize), String> {
    let is_part = |c: char| c == '_' || c.is_alphanumeric();
    let length = rest.find(|c| !is_part(c)).unwrap_or(rest.len());
    let text = &rest[..length];
    match rest.as_bytes().get(length) {
        Some(b'.') => {
            if let Some(opener) = attribute_name::opener(&rest[..=length]) {
                return attribute_name::attribute(rest, opener);
            }
        }
        Some(b':') => {
            let scope = INTRINSIC_SCOPES.iter().copied().find(|scope| *scope == &rest[..=length]);
            if let Some(scope) = scope {
                return Ok((Token::Fixed(scope), scope.len()));
            }
        }
        _ => {}
    }
    let token = match KEYWORDS.iter().copied().find(|keyword| *keyword == text) {
        Some(keyword) => Token::Fixed(keyword),
        None => Token::Identifier(text.into()),
    };
    Ok((token, length))
}
