//! Errors as one line of text.

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
}
