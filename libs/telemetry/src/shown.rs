//! Formats for logs, errors and pages: errors as one line of text, text as HTML, and `Debug` with only some fields, for types that have too
//! much to show or secrets.

use std::error::Error;

/// An error and its causes, separated by colons: our errors leave their causes out of their own text. A cause that its
/// error repeats is shown once.
pub fn error_text(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.ends_with(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}

/// Text as part of an HTML page, also within an attribute.
pub fn html_escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&#34;"),
            '\'' => escaped.push_str("&#39;"),
            letter => escaped.push(letter),
        }
    }
    escaped
}

/// Implements `Debug` of a type by some of its fields: `debug_of!(Poller { settings })`. A value that is no field:
/// `debug_of!(it: Cluster { name = it.membership.name() })`.
#[macro_export]
macro_rules! debug_of {
    ($type:ident $({ $($field:ident),+ })?) => {
        $crate::debug_of!(it: $type { $($($field = it.$field),+)? });
    };
    ($it:ident: $type:ident { $($name:ident = $value:expr),* }) => {
        impl ::std::fmt::Debug for $type {
            fn fmt(&self, f: &mut ::std::fmt::Formatter<'_>) -> ::std::fmt::Result {
                let $it = self;
                let _ = $it;
                f.debug_struct(stringify!($type))$(.field(stringify!($name), &$value))*
                    .finish_non_exhaustive()
            }
        }
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("{text}")]
    struct Layer {
        text: &'static str,
        source: Option<Box<Layer>>,
    }

    #[test]
    fn causes_follow_and_repetitions_do_not() {
        let layer = |text, source| Layer { text, source };
        let disk = layer("disk full", None);
        let write = layer("write: disk full", Some(Box::new(disk)));
        let top = layer("flush", Some(Box::new(write)));
        assert_eq!(error_text(&top), "flush: write: disk full");
    }

    struct Door {
        number: u32,
        lock: String,
    }
    struct Wall;

    debug_of!(it: Door { number = it.number, digits = it.lock.len() });
    debug_of!(Wall);

    #[test]
    fn fields_are_shown_and_the_rest_is_not() {
        let door = Door { number: 7, lock: "1234".to_owned() };
        assert_eq!(format!("{door:?}"), "Door { number: 7, digits: 4, .. }");
        assert_eq!(format!("{Wall:?}"), "Wall { .. }");
    }
}
