//! Warns of variables in a file that will not be replaced as the author expects.

use std::collections::HashSet;

/// A `${NAME}` of the text outside of comments.
struct Variable<'a> {
    line: usize,
    name: &'a str,
    /// With a default or an operation, it is something without a value, too.
    is_plain: bool,
}

/// What is to be said of the variables in `text`, one line each, each name once: that they stay as they are written, or
/// with `expand` that `env` does not have them.
pub fn warnings(text: &str, expand: bool, env: impl Fn(&str) -> Option<String>) -> Vec<String> {
    let mut named: HashSet<&str> = HashSet::new();
    let mut found = Vec::new();
    for Variable { line, name, is_plain } in variables(text) {
        // What is to stay is a group of a regular expression.
        let is_group = name.starts_with(|c: char| c.is_ascii_digit());
        let is_meant = if expand { !is_plain || env(name).is_some() } else { is_group };
        if is_meant || !named.insert(name) {
            continue;
        }
        found.push(match (expand, is_group) {
            (true, true) => format!(
                "${{{name}}} is a variable, too, and empty (line {line}): write $${{{name}}} for the group of a regular expression"
            ),
            (true, false) => {
                format!("the environment has no {name}: ${{{name}}} is empty (line {line})")
            }
            (false, _) => format!(
                "${{{name}}} stays as it is written (line {line}): -config.expand-env expands variables"
            ),
        });
    }
    found
}

/// `$${` is a dollar sign.
fn variables(text: &str) -> impl Iterator<Item = Variable<'_>> {
    text.lines().enumerate().flat_map(|(index, line)| {
        let line = line.split_once(" #").map_or(line, |(before, _)| before);
        let line = if line.starts_with('#') { "" } else { line };
        line.match_indices("${").filter_map(move |(at, _)| {
            let (inner, _) = line[at + 2..].split_once('}')?;
            let end = inner.find(|c: char| !c.is_ascii_alphanumeric() && c != '_');
            let name = &inner[..end.unwrap_or(inner.len())];
            let is_expanded = !name.is_empty() && !line[..at].ends_with('$');
            let is_plain = name.len() == inner.len();
            is_expanded.then_some(Variable { line: index + 1, name, is_plain })
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\
# ${COMMENT}
a: ${KEY} # ${NOTE}
b: ${KEY}${OTHER}
c: ${KEY:-default} ${1} $HOME $${ESCAPED} ${} ${WITH:-default} $${2} ${3:-x} $4
";

    #[test]
    fn variables_that_stay_are_named_once_with_their_line() {
        assert_eq!(
            warnings(TEXT, false, |_| None),
            [
                "${KEY} stays as it is written (line 2): -config.expand-env expands variables",
                "${OTHER} stays as it is written (line 3): -config.expand-env expands variables",
                "${WITH} stays as it is written (line 4): -config.expand-env expands variables",
            ]
        );
    }

    #[test]
    fn variables_that_are_not_set_are_named() {
        let env = |name: &str| (name == "KEY").then(String::new);
        assert_eq!(
            warnings(TEXT, true, env),
            [
                "the environment has no OTHER: ${OTHER} is empty (line 3)",
                "${1} is a variable, too, and empty (line 4): write $${1} for the group of a regular expression",
            ]
        );
    }
}
