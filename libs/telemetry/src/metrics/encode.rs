//! The Prometheus text format 0.0.4.

use std::fmt::Write;

/// Content type of [`Registry::encode`](super::Registry::encode).
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Type of a metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only grows.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Counts by bucket, with sum and count.
    Histogram,
}

/// Writes metrics that exist only while they are scraped; see
/// [`Registry::register_collector`](super::Registry::register_collector).
#[derive(Debug, Default)]
pub struct TextEncoder {
    text: String,
    name: &'static str,
}

impl TextEncoder {
    /// Begins a metric; its samples follow.
    pub fn family(&mut self, name: &'static str, help: &str, kind: Kind) {
        let kind = match kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        };
        self.text.push_str("# HELP ");
        self.text.push_str(name);
        self.text.push(' ');
        escape(&mut self.text, help, false);
        self.text.push_str("\n# TYPE ");
        self.text.push_str(name);
        self.text.push(' ');
        self.text.push_str(kind);
        self.text.push('\n');
        self.name = name;
    }

    /// Writes a sample of the metric begun last, for counters and gauges.
    pub fn sample(&mut self, labels: &[(&str, &str)], value: f64) {
        let labels = label_pairs(labels.iter().copied());
        self.series(&labels).sample("", None, value);
    }

    /// A series of the metric begun last; `labels` is `a="b",c="d"`.
    pub(super) fn series<'encoder>(&'encoder mut self, labels: &'encoder str) -> Series<'encoder> {
        Series { text: &mut self.text, name: self.name, labels }
    }

    pub(super) fn finish(self) -> String {
        self.text
    }
}

/// One series while it is written.
#[derive(Debug)]
pub struct Series<'encoder> {
    text: &'encoder mut String,
    name: &'static str,
    labels: &'encoder str,
}

impl Series<'_> {
    pub(super) fn sample(&mut self, suffix: &str, le: Option<f64>, value: f64) {
        self.text.push_str(self.name);
        self.text.push_str(suffix);
        if le.is_some() || !self.labels.is_empty() {
            self.text.push('{');
            self.text.push_str(self.labels);
            if let Some(bound) = le {
                self.text.push_str(if self.labels.is_empty() { "le=\"" } else { ",le=\"" });
                number(self.text, bound);
                self.text.push('"');
            }
            self.text.push('}');
        }
        self.text.push(' ');
        number(self.text, value);
        self.text.push('\n');
    }
}

/// `a="b",c="d"`, with escaped values.
pub(super) fn label_pairs<'a>(labels: impl IntoIterator<Item = (&'a str, &'a str)>) -> String {
    let mut text = String::new();
    for (name, value) in labels {
        if !text.is_empty() {
            text.push(',');
        }
        text.push_str(name);
        text.push_str("=\"");
        escape(&mut text, value, true);
        text.push('"');
    }
    text
}

fn escape(text: &mut String, value: &str, quotes: bool) {
    for character in value.chars() {
        match character {
            '\\' => text.push_str("\\\\"),
            '\n' => text.push_str("\\n"),
            '"' if quotes => text.push_str("\\\""),
            other => text.push(other),
        }
    }
}

/// The shortest digits that give the same number, with an exponent (of two digits at least) below
/// 1e-4 and from 1e6 on: the spelling that exporters written in Go use, so that texts compare equal.
fn number(text: &mut String, value: f64) {
    if value.is_nan() {
        text.push_str("NaN");
    } else if value.is_infinite() {
        text.push_str(if value > 0.0 { "+Inf" } else { "-Inf" });
    } else if value == 0.0 || (1e-4..1e6).contains(&value.abs()) {
        // Writing to a String cannot fail.
        let _ = write!(text, "{value}");
    } else {
        let scientific = format!("{value:e}");
        let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
        let (sign, exponent) = match exponent.strip_prefix('-') {
            Some(exponent) => ('-', exponent),
            None => ('+', exponent),
        };
        let _ = write!(text, "{digits}e{sign}{exponent:0>2}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spell(value: f64) -> String {
        let mut text = String::new();
        number(&mut text, value);
        text
    }

    #[test]
    fn numbers_are_spelled_as_go_does() {
        let cases = [
            (0.0, "0"),
            (1.0, "1"),
            (-1.5, "-1.5"),
            (0.005, "0.005"),
            (0.0001, "0.0001"),
            (0.000_016, "1.6e-05"),
            (999_999.0, "999999"),
            (1e6, "1e+06"),
            (1.5e7, "1.5e+07"),
            (123_456_789.0, "1.23456789e+08"),
            (1e100, "1e+100"),
            (f64::INFINITY, "+Inf"),
            (f64::NEG_INFINITY, "-Inf"),
            (f64::NAN, "NaN"),
        ];
        for (value, expected) in cases {
            assert_eq!(spell(value), expected);
        }
    }

    #[test]
    fn help_and_label_values_are_escaped() {
        let mut encoder = TextEncoder::default();
        encoder.family("a", "one\ntwo \\ \"three\"", Kind::Gauge);
        encoder.sample(&[("l", "one\ntwo \\ \"three\""), ("m", "ü")], 1.0);
        assert_eq!(
            encoder.finish(),
            "# HELP a one\\ntwo \\\\ \"three\"\n# TYPE a gauge\n\
             a{l=\"one\\ntwo \\\\ \\\"three\\\"\",m=\"ü\"} 1\n"
        );
    }

    proptest::proptest! {
        #[test]
        fn number_reads_back_the_same(value: f64) {
            let read: f64 = spell(value).parse().unwrap();
            proptest::prop_assert!(read == value || (read.is_nan() && value.is_nan()));
        }
    }
}
