//! Finds the field of a JSON text that an error is about.

/// A step from a value to one within it.
enum Step {
    /// Inside of an object. The key is known after it was read.
    Object { key: Option<String>, before_key: bool },
    /// Into a list.
    List { index: usize },
}

/// Says what is wrong and where: `metrics_generator.processors[1]: invalid type: …`. An error at the top level names no
/// field.
pub(super) fn describe(json: &[u8], error: &serde_json::Error) -> String {
    if error.is_syntax() || error.is_eof() {
        // The error's line and column say more than the preceding field.
        return error.to_string();
    }
    match path(json, offset(json, error.line(), error.column())) {
        path if path.is_empty() => error.to_string(),
        path => format!("{path}: {error}"),
    }
}

/// How many bytes precede the position of an error. Lines count from 1; columns are the bytes of the line that were
/// read.
fn offset(json: &[u8], line: usize, column: usize) -> usize {
    let lines = json.split_inclusive(|&byte| byte == b'\n').take(line.saturating_sub(1));
    lines.map(<[u8]>::len).sum::<usize>().saturating_add(column).min(json.len())
}

/// The path of the value at the end of the first `end` bytes, which are valid JSON so far.
fn path(json: &[u8], end: usize) -> String {
    let mut steps: Vec<Step> = Vec::new();
    let mut at = 0;
    while let Some(&byte) = json.get(at).filter(|_| at < end) {
        at += 1;
        match (byte, steps.last_mut()) {
            (b'{', _) => steps.push(Step::Object { key: None, before_key: true }),
            (b'[', _) => steps.push(Step::List { index: 0 }),
            (b'}' | b']', _) => drop(steps.pop()),
            (b',', Some(Step::Object { before_key, .. })) => *before_key = true,
            (b',', Some(Step::List { index })) => *index += 1,
            (b'"', step) => {
                let start = at - 1;
                at = end_of_text(json, at);
                if let Some(Step::Object { key, before_key }) = step
                    && *before_key
                {
                    *key = json.get(start..at).and_then(|text| serde_json::from_slice(text).ok());
                    *before_key = false;
                }
            }
            _ => {}
        }
    }
    let mut path = String::new();
    for step in steps {
        match step {
            Step::Object { key: Some(key), .. } => {
                if !path.is_empty() {
                    path.push('.');
                }
                path.push_str(&key);
            }
            Step::Object { key: None, .. } => {}
            Step::List { index } => path.push_str(&format!("[{index}]")),
        }
    }
    path
}

/// The position after the quote that ends a text beginning before `at`.
fn end_of_text(json: &[u8], mut at: usize) -> usize {
    while let Some(&byte) = json.get(at) {
        at += if byte == b'\\' { 2 } else { 1 };
        if byte == b'"' {
            break;
        }
    }
    at.min(json.len())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn path_leads_to_the_last_value() {
        for (json, expected) in [
            ("", ""),
            ("{", ""),
            (r#"{"a""#, "a"),
            (r#"{"a":{"b":[1,{"c":5"#, "a.b[1].c"),
            (r#"{"a":{"x":"}]\"{"},"b":[[0],"y"#, "b[1]"),
            (r#"{"a\u0062\"":1"#, "ab\""),
            ("{\"a\":\n [1,\n2", "a[1]"),
        ] {
            assert_eq!(path(json.as_bytes(), json.len()), expected, "{json}");
        }
        assert_eq!(offset(b"ab\ncd\nef", 2, 1), 4);
        assert_eq!(offset(b"ab\ncd\nef", 9, 9), 8);
    }

    proptest! {
        #[test]
        fn any_bytes_have_a_place(json in any::<Vec<u8>>(), end in any::<usize>(), line in any::<usize>()) {
            path(&json, end);
            prop_assert!(offset(&json, line, end) <= json.len());
        }
    }
}
