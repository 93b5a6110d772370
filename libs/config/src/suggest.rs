//! Suggests the key that a misspelt one was probably meant to be.

/// Longer words are not looked at: no key is as long.
const LONGEST: usize = 80;

/// The candidate that differs from `word` by a slip of the keyboard. Dashes, underscores and capitals make no difference.
pub(crate) fn nearest<'a>(
    word: &str,
    candidates: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    let word = normal(word);
    if !(3..=LONGEST).contains(&word.len()) {
        return None;
    }
    let most = 1 + word.len() / 6;
    let distances = candidates.into_iter().map(|candidate| {
        let other = normal(candidate);
        let far = other.len().abs_diff(word.len()) > most;
        (if far { usize::MAX } else { distance(&word, &other) }, candidate)
    });
    distances.filter(|(distance, _)| *distance <= most).min().map(|(_, candidate)| candidate)
}

/// `a, b or c`.
pub(crate) fn any_of(words: &[&str]) -> String {
    match words {
        [] => String::new(),
        [one] => (*one).to_owned(),
        [first @ .., last] => format!("{} or {last}", first.join(", ")),
    }
}

fn normal(word: &str) -> Vec<char> {
    word.chars().map(|c| if c == '-' { '_' } else { c.to_ascii_lowercase() }).collect()
}

/// How many characters have to be added, taken away, replaced or swapped with their neighbour.
fn distance(a: &[char], b: &[char]) -> usize {
    let mut before_last = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, y) in b.iter().enumerate() {
            let replaced = last[j] + usize::from(x != y);
            let mut least = replaced.min(last[j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && *x == b[j - 1] && a[i - 1] == *y {
                let swapped: &Vec<usize> = &before_last;
                least = least.min(swapped[j - 1] + 1);
            }
            row.push(least);
        }
        before_last = std::mem::replace(&mut last, row);
    }
    last[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_of_the_keyboard_find_their_word() {
        let words = ["otlp", "jaeger", "zipkin", "http_listen_port", "grpc_listen_port", "type"];
        for (slip, word) in [
            ("oltp", Some("otlp")),
            ("OTLP", Some("otlp")),
            ("jeager", Some("jaeger")),
            ("http-listen-port", Some("http_listen_port")),
            ("http_listen_prot", Some("http_listen_port")),
            ("http_listenport", Some("http_listen_port")),
            ("typ", Some("type")),
            ("port", None),
            ("kafka", None),
            ("ty", None),
            ("", None),
        ] {
            assert_eq!(nearest(slip, words), word, "{slip}");
        }
        assert_eq!(nearest(&"x".repeat(1 << 20), words), None);
    }

    #[test]
    fn distance_counts_single_edits() {
        let count = |a: &str, b: &str| distance(&normal(a), &normal(b));
        assert_eq!(count("abc", "abc"), 0);
        assert_eq!(count("abc", "acb"), 1);
        assert_eq!(count("", "abc"), 3);
        assert_eq!(count("abcd", "bcd"), 1);
        assert_eq!(count("kitten", "sitting"), 3);
    }

    #[test]
    fn choices_are_listed_in_words() {
        assert_eq!(any_of(&["a", "b", "c"]), "a, b or c");
        assert_eq!(any_of(&["a"]), "a");
    }
}
