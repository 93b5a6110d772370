//! Patterns of file names: `*` and `?` within a name, `**` for any number of directories.

use std::{
    collections::BTreeSet,
    fs, io,
    path::{Component, Path, PathBuf},
};

/// The deepest directories that `**` looks into.
const MAX_DEPTH: usize = 32;

/// A pattern of paths.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern {
    /// Before the first part with a wildcard.
    root: PathBuf,
    parts: Vec<String>,
}

/// An invalid pattern.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?}: {reason}")]
pub struct InvalidPattern {
    text: String,
    reason: &'static str,
}

impl Pattern {
    /// Reads a pattern, as `/var/log/traces/*.json`.
    ///
    /// Errors: an empty one; brackets and braces, which have no meaning here.
    pub fn parse(text: &str) -> Result<Self, InvalidPattern> {
        let invalid = |reason| InvalidPattern { text: text.to_owned(), reason };
        if text.is_empty() {
            return Err(invalid("is empty"));
        }
        if text.contains(['[', ']', '{', '}', '\\']) {
            return Err(invalid("only *, ** and ? are known"));
        }
        let (mut root, mut parts) = (PathBuf::new(), Vec::new());
        for component in Path::new(text).components() {
            match component {
                Component::Normal(name) => {
                    let name = name.to_str().ok_or_else(|| invalid("is no UTF-8"))?;
                    if parts.is_empty() && !name.contains(['*', '?']) {
                        root.push(name);
                    } else {
                        parts.push(name.to_owned());
                    }
                }
                other if parts.is_empty() => root.push(other),
                _ => return Err(invalid("a wildcard before ..")),
            }
        }
        Ok(Self { root, parts })
    }

    /// True if the pattern is of this path.
    pub(super) fn matches(&self, path: &Path) -> bool {
        let Ok(rest) = path.strip_prefix(&self.root) else { return false };
        let names: Option<Vec<&str>> =
            rest.components().map(|component| component.as_os_str().to_str()).collect();
        let parts: Vec<&str> = self.parts.iter().map(String::as_str).collect();
        names.is_some_and(|names| path_matches(&parts, &names))
    }
}

/// A directory that could not be listed.
pub(super) type Failure = (PathBuf, io::Error);

/// The files of patterns, each once, at most `max`, sorted. With a failure, some may be missing.
pub(super) fn find(
    include: &[Pattern],
    exclude: &[Pattern],
    max: usize,
) -> (Vec<PathBuf>, Option<Failure>) {
    let (mut found, mut failure) = (BTreeSet::new(), None);
    for pattern in include {
        let parts: Vec<&str> = pattern.parts.iter().map(String::as_str).collect();
        let mut show = |file: PathBuf| {
            if found.len() < max && !exclude.iter().any(|pattern| pattern.matches(&file)) {
                found.insert(file);
            }
            found.len() < max
        };
        descend(&pattern.root, &parts, 0, &mut show, &mut failure);
    }
    (found.into_iter().collect(), failure)
}

/// Shows the files below a directory that match, until `show` returns false.
fn descend(
    at: &Path,
    parts: &[&str],
    depth: usize,
    show: &mut impl FnMut(PathBuf) -> bool,
    failure: &mut Option<Failure>,
) -> bool {
    let Some((part, rest)) = parts.split_first() else {
        return if at.is_file() { show(at.to_owned()) } else { true };
    };
    if depth > MAX_DEPTH {
        return true;
    }
    if !part.contains(['*', '?']) {
        return descend(&at.join(part), rest, depth + 1, show, failure);
    }
    let is_any_depth = *part == "**";
    if is_any_depth && !descend(at, rest, depth + 1, show, failure) {
        return false;
    }
    let entries = match fs::read_dir(at) {
        Ok(entries) => entries,
        Err(error) => {
            // Below the first directory, a name may be that of a file, be gone again, or be of others.
            let is_usual = matches!(
                error.kind(),
                io::ErrorKind::NotFound
                    | io::ErrorKind::NotADirectory
                    | io::ErrorKind::PermissionDenied
            );
            if depth == 0 || !is_usual {
                *failure = Some((at.to_owned(), error));
            }
            return true;
        }
    };
    for entry in entries {
        let entry = match entry {
            Ok(entry) => entry,
            Err(error) => {
                *failure = Some((at.to_owned(), error));
                return true;
            }
        };
        let name = entry.file_name();
        let Some(name) = name.to_str() else { continue };
        let goes_on = if is_any_depth {
            // Links may lead in circles.
            let is_directory = entry.file_type().is_ok_and(|kind| kind.is_dir());
            !is_directory || descend(&entry.path(), parts, depth + 1, show, failure)
        } else {
            !name_matches(part, name) || descend(&entry.path(), rest, depth + 1, show, failure)
        };
        if !goes_on {
            return false;
        }
    }
    true
}

fn path_matches(parts: &[&str], names: &[&str]) -> bool {
    match (parts.split_first(), names.split_first()) {
        (None, None) => true,
        (Some((&"**", rest)), _) => {
            (0..=names.len()).any(|skipped| path_matches(rest, &names[skipped..]))
        }
        (Some((part, parts)), Some((name, names))) => {
            name_matches(part, name) && path_matches(parts, names)
        }
        _ => false,
    }
}

/// Matches `*` and `?` without recursion: after a mismatch the last `*` takes one character more.
fn name_matches(pattern: &str, name: &str) -> bool {
    let (pattern, name): (Vec<char>, Vec<char>) =
        (pattern.chars().collect(), name.chars().collect());
    let (mut at, mut of, mut last_star) = (0, 0, None);
    while of < name.len() {
        match pattern.get(at) {
            Some('*') => {
                last_star = Some((at, of));
                at += 1;
            }
            Some(&wanted) if wanted == '?' || wanted == name[of] => {
                at += 1;
                of += 1;
            }
            _ => match last_star {
                Some((star, begin)) => {
                    last_star = Some((star, begin + 1));
                    at = star + 1;
                    of = begin + 1;
                }
                None => return false,
            },
        }
    }
    pattern[at..].iter().all(|&rest| rest == '*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_match_as_shells_have_it() {
        for (pattern, name, expected) in [
            ("*.json", "a.json", true),
            ("*.json", ".json", true),
            ("*.json", "a.jsonl", false),
            ("a?c*", "abc", true),
            ("a?c*", "ac", false),
            ("*a*b*", "xxaxxbxx", true),
            ("*a*b", "xxbxxa", false),
            ("**", "anything", true),
        ] {
            assert_eq!(name_matches(pattern, name), expected, "{pattern} {name}");
        }
    }

    #[test]
    fn files_are_found_once_in_order_and_without_those_excluded() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path();
        for name in ["b.json", "a.json", "c.txt", "deep/er/d.json", "deep/e.json"] {
            let path = root.join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "").unwrap();
        }
        let pattern = |text: &str| Pattern::parse(root.join(text).to_str().unwrap()).unwrap();
        let names = |include: &[&str], exclude: &[&str], max| -> Vec<String> {
            let of = |texts: &[&str]| texts.iter().map(|text| pattern(text)).collect::<Vec<_>>();
            let (found, _) = find(&of(include), &of(exclude), max);
            let name =
                |path: &PathBuf| path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
            found.iter().map(name).collect()
        };
        assert_eq!(names(&["*.json", "a.json"], &[], 9), ["a.json", "b.json"]);
        assert_eq!(names(&["**/*.json"], &["**/er/*"], 9), ["a.json", "b.json", "deep/e.json"]);
        assert_eq!(names(&["deep/*/*.json"], &[], 9), ["deep/er/d.json"]);
        assert_eq!(names(&["**/*"], &["**/*.json"], 9), ["c.txt"]);
        assert_eq!(names(&["**/*"], &[], 2).len(), 2);
        assert_eq!(names(&["none/*", "c.txt/*"], &[], 9), Vec::<String>::new());
        let fails = |text: &str| find(&[pattern(text)], &[], 9).1.is_some();
        // A root that is away is not one without files. What a wildcard matches may be a file.
        assert!(fails("none/*") && fails("none/**/x") && !fails("*/*") && !fails("*/none/*"));
    }

    #[test]
    fn patterns_that_mean_nothing_here_are_refused() {
        for text in ["", "a[bc]", "{a,b}", "*/../x"] {
            assert!(Pattern::parse(text).is_err(), "{text}");
        }
    }
}
