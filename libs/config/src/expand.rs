//! `${VAR}` expansion over the text of a file, before it is read as YAML.
//!
//! The dialect is close to bash but not bash: an unset variable is empty, `$VAR` without braces
//! stays, and `:?` and `:+` behave like `:-`. Comments are expanded like everything else.

mod operations;

use operations::{Case, Place, Side};

/// Nesting of `${A:-${B:-…}}`: reading it is recursive, so a hostile file must not choose the depth.
const MAX_DEPTH: usize = 50;

/// Why a text cannot be expanded; `Display` is one of a few fixed texts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ExpandError {
    /// The text ends inside `${`, or nests too deeply.
    #[error("bad substitution")]
    BadSubstitution,
    /// `}` or a known operator was expected after the name.
    #[error("missing closing brace")]
    MissingBrace,
    /// No name after `${`.
    #[error("unable to parse variable name")]
    Name,
    /// An operator without a complete operand.
    #[error("unable to parse substitution within function")]
    Operand,
    /// `:` without a default or a position.
    #[error("unable to parse default function")]
    Default,
}

/// Expands every `${…}` of `text` with the values that `env` gives.
///
/// `$$` becomes `$`, `\\` becomes `\`, `\/` becomes `/`; all else stays.
pub fn expand(text: &str, env: impl Fn(&str) -> Option<String>) -> Result<String, ExpandError> {
    let mut expander = Expander { rest: text, env: &env, depth: 0 };
    expander.until(&[])
}

/// A text whose variables are tokens, with what each token stands for.
#[derive(Debug)]
pub(crate) struct Held {
    pub(crate) text: String,
    tokens: Vec<(String, String)>,
}

/// As `expand`, but with a token, a word of YAML, in the place of each `${…}`.
pub(crate) fn hold(text: &str, env: impl Fn(&str) -> Option<String>) -> Result<Held, ExpandError> {
    let mut word = "variable".to_owned();
    while text.contains(&word) {
        word.push('_');
    }
    let mut expander = Expander { rest: text, env: &env, depth: 0 };
    let mut held = Held { text: String::new(), tokens: Vec::new() };
    while let Some((before, after)) = expander.rest.split_once('$') {
        // What stands before a dollar sign has no variables.
        let mut plain = Expander { rest: before, env: &env, depth: 0 };
        held.text.push_str(&plain.until(&[])?);
        expander.rest = after;
        if expander.take("{") {
            let from = expander.rest;
            expander.substitution()?;
            let original = format!("${{{}", &from[..from.len() - expander.rest.len()]);
            let token = format!("{word}x{}x", held.tokens.len());
            held.text.push_str(&token);
            held.tokens.push((token, original));
        } else {
            expander.take("$");
            held.text.push('$');
        }
    }
    held.text.push_str(&expander.until(&[])?);
    Ok(held)
}

impl Held {
    /// True if a variable stands in the text.
    pub(crate) fn is_in(&self, text: &str) -> bool {
        self.tokens.iter().any(|(token, _)| text.contains(token))
    }

    /// A text with tokens so that its expansion has the variables' values, and all else as it is.
    pub(crate) fn restore(&self, text: &str) -> String {
        let escaped = text.replace('\\', "\\\\").replace('$', "$$");
        self.tokens
            .iter()
            .fold(escaped, |text, (token, original)| text.replace(token.as_str(), original))
    }
}

struct Expander<'a> {
    rest: &'a str,
    env: &'a dyn Fn(&str) -> Option<String>,
    depth: usize,
}

impl<'a> Expander<'a> {
    /// Expands up to one of `stops`, which is not taken, or to the end when there are none.
    fn until(&mut self, stops: &[char]) -> Result<String, ExpandError> {
        let mut out = String::new();
        while let Some(next) = self.rest.chars().next() {
            if stops.contains(&next) {
                return Ok(out);
            }
            if self.take("$$") {
                out.push('$');
            } else if self.take("${") {
                out.push_str(&self.substitution()?);
            } else if self.take("\\\\") {
                out.push('\\');
            } else if self.take("\\/") {
                out.push('/');
            } else {
                out.push(next);
                self.rest = &self.rest[next.len_utf8()..];
            }
        }
        if stops.is_empty() { Ok(out) } else { Err(ExpandError::BadSubstitution) }
    }

    /// What follows `${`, through its `}`.
    fn substitution(&mut self) -> Result<String, ExpandError> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(ExpandError::BadSubstitution);
        }
        let length_wanted = self.take("#");
        let name = self.name()?;
        let value = (self.env)(name).unwrap_or_default();
        let result =
            if length_wanted { value.chars().count().to_string() } else { self.operation(value)? };
        if !self.take("}") {
            return Err(ExpandError::MissingBrace);
        }
        self.depth -= 1;
        Ok(result)
    }

    fn name(&mut self) -> Result<&'a str, ExpandError> {
        let end = self
            .rest
            .find(|c: char| !c.is_ascii_alphanumeric() && c != '_')
            .unwrap_or(self.rest.len());
        if self.rest.is_empty() {
            return Err(ExpandError::BadSubstitution);
        }
        if end == 0 {
            return Err(ExpandError::Name);
        }
        let (name, rest) = self.rest.split_at(end);
        self.rest = rest;
        Ok(name)
    }

    fn operation(&mut self, value: String) -> Result<String, ExpandError> {
        for operator in [":-", ":=", ":?", ":+", "="] {
            if self.take(operator) {
                let default = self.until(&['}'])?;
                return Ok(if value.is_empty() { default } else { value });
            }
        }
        if self.take(":") {
            return self.substring(&value);
        }
        for (operator, case) in [
            ("^^", Case::Upper),
            ("^", Case::UpperFirst),
            (",,", Case::Lower),
            (",", Case::LowerFirst),
        ] {
            if self.take(operator) {
                return Ok(operations::change_case(&value, case));
            }
        }
        for (operator, side, longest) in [
            ("##", Side::Start, true),
            ("#", Side::Start, false),
            ("%%", Side::End, true),
            ("%", Side::End, false),
        ] {
            if self.take(operator) {
                let pattern = self.operand(&['}'])?;
                return Ok(operations::trim(&value, &pattern, side, longest));
            }
        }
        for (operator, place) in [
            ("//", Place::Everywhere),
            ("/#", Place::Start),
            ("/%", Place::End),
            ("/", Place::First),
        ] {
            if self.take(operator) {
                let pattern = self.operand(&['/', '}'])?;
                let replacement =
                    if self.take("/") { self.operand(&['}'])? } else { String::new() };
                return Ok(operations::replace(&value, &pattern, &replacement, place));
            }
        }
        Ok(value)
    }

    /// `:position` or `:position:length`, both in characters.
    fn substring(&mut self, value: &str) -> Result<String, ExpandError> {
        let position = self.operand(&[':', '}'])?;
        let position: usize = position.trim().parse().map_err(|_| ExpandError::Default)?;
        let length = if self.take(":") {
            let length = self.operand(&['}'])?;
            length.trim().parse().map_err(|_| ExpandError::Operand)?
        } else {
            usize::MAX
        };
        Ok(value.chars().skip(position).take(length).collect())
    }

    fn operand(&mut self, stops: &[char]) -> Result<String, ExpandError> {
        self.until(stops).map_err(|_| ExpandError::Operand)
    }

    fn take(&mut self, prefix: &str) -> bool {
        match self.rest.strip_prefix(prefix) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }
}

#[cfg(test)]
mod tests;
