//! Operations on the value of a variable: case, trim, replace, with shell patterns.

#[derive(Clone, Copy)]
pub(super) enum Case {
    Upper,
    UpperFirst,
    Lower,
    LowerFirst,
}

#[derive(Clone, Copy, PartialEq)]
pub(super) enum Side {
    Start,
    End,
}

#[derive(Clone, Copy, PartialEq)]
pub(super) enum Place {
    First,
    Everywhere,
    Start,
    End,
}

pub(super) fn change_case(value: &str, case: Case) -> String {
    let first = value.chars().next();
    let rest = first.map_or("", |c| &value[c.len_utf8()..]);
    match case {
        Case::Upper => value.to_uppercase(),
        Case::Lower => value.to_lowercase(),
        Case::UpperFirst => {
            first.into_iter().flat_map(char::to_uppercase).chain(rest.chars()).collect()
        }
        Case::LowerFirst => {
            first.into_iter().flat_map(char::to_lowercase).chain(rest.chars()).collect()
        }
    }
}

/// `value` without the shortest or longest part at one end that `pattern` matches.
pub(super) fn trim(value: &str, pattern: &str, side: Side, longest: bool) -> String {
    let chars: Vec<char> = value.chars().collect();
    let pattern: Vec<char> = pattern.chars().collect();
    let mut lengths: Vec<usize> = (0..=chars.len()).collect();
    if longest {
        lengths.reverse();
    }
    for length in lengths {
        let (part, rest) = match side {
            Side::Start => chars.split_at(length),
            Side::End => {
                let (rest, part) = chars.split_at(chars.len() - length);
                (part, rest)
            }
        };
        if matches(&pattern, part) {
            return rest.iter().collect();
        }
    }
    value.to_owned()
}

/// `value` with the longest matches of `pattern` replaced. An empty pattern matches nothing.
pub(super) fn replace(value: &str, pattern: &str, replacement: &str, place: Place) -> String {
    let chars: Vec<char> = value.chars().collect();
    let pattern: Vec<char> = pattern.chars().collect();
    if pattern.is_empty() {
        return value.to_owned();
    }
    let mut out = String::new();
    let mut position = 0;
    while position < chars.len() {
        let from_here = &chars[position..];
        let shortest = if place == Place::End { from_here.len() } else { 1 };
        let found = (shortest..=from_here.len())
            .rev()
            .find(|length| matches(&pattern, &from_here[..*length]));
        match found {
            Some(length) => {
                out.push_str(replacement);
                position += length;
                if place != Place::Everywhere {
                    break;
                }
            }
            None if place == Place::Start => break,
            None => {
                out.push(chars[position]);
                position += 1;
            }
        }
    }
    out.extend(&chars[position..]);
    out
}

/// Shell pattern: `*`, `?`, `[a-z]`, `[!a]`. Backtracks to the last `*` only, so it stays quadratic.
fn matches(pattern: &[char], text: &[char]) -> bool {
    let (mut at_pattern, mut at_text) = (0, 0);
    let mut retry: Option<(usize, usize)> = None;
    while at_text < text.len() {
        if pattern.get(at_pattern) == Some(&'*') {
            retry = Some((at_pattern + 1, at_text));
            at_pattern += 1;
            continue;
        }
        if let Some(width) = matches_one(&pattern[at_pattern.min(pattern.len())..], text[at_text]) {
            at_pattern += width;
            at_text += 1;
            continue;
        }
        let Some((after_star, from)) = retry else { return false };
        retry = Some((after_star, from + 1));
        at_pattern = after_star;
        at_text = from + 1;
    }
    pattern[at_pattern..].iter().all(|c| *c == '*')
}

/// The width of the pattern's first element if it matches `c`.
fn matches_one(pattern: &[char], c: char) -> Option<usize> {
    match pattern.first()? {
        '?' => Some(1),
        '[' => match pattern.iter().skip(2).position(|c| *c == ']') {
            Some(end) => {
                let class = &pattern[1..end + 2];
                let (negated, class) = match class {
                    ['!' | '^', rest @ ..] => (true, rest),
                    _ => (false, class),
                };
                (in_class(class, c) != negated).then_some(end + 3)
            }
            None => (c == '[').then_some(1),
        },
        literal => (*literal == c).then_some(1),
    }
}

fn in_class(class: &[char], c: char) -> bool {
    let mut rest = class;
    loop {
        match rest {
            [] => return false,
            [low, '-', high, ..] if (*low..=*high).contains(&c) => return true,
            [_, '-', _, tail @ ..] => rest = tail,
            [single, ..] if *single == c => return true,
            [_, tail @ ..] => rest = tail,
        }
    }
}
