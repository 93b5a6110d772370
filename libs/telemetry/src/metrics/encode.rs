//! Writes the metrics page: the library's text, in two formats.

use std::collections::HashSet;
use std::fmt::{self, Write};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::{encode_eof, encode_registry};
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry as Page;

use super::value::{Form, Kind, encode_number};

/// A format of the page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// The text format 0.0.4.
    Classic,
    /// OpenMetrics 1.0.0, with exemplars.
    OpenMetrics,
}

impl Format {
    /// The format that suits a request's `Accept` header best: OpenMetrics if it is asked for by name.
    pub fn accepted(header: &str) -> Self {
        let (mut open_metrics, mut classic) = (0.0_f32, 0.0_f32);
        for range in header.split(',') {
            let mut parts = range.split(';').map(str::trim);
            let media_type = parts.next().unwrap_or_default().to_ascii_lowercase();
            let (mut quality, mut version) = (1.0_f32, "");
            for (name, value) in parts.filter_map(|part| part.split_once('=')) {
                match name.trim() {
                    "q" => quality = value.trim().parse().unwrap_or(0.0),
                    "version" => version = value.trim().trim_matches('"'),
                    _ => {}
                }
            }
            match (&*media_type, version) {
                ("application/openmetrics-text", "" | "0.0.1" | "1.0.0") => {
                    open_metrics = quality.max(open_metrics);
                }
                ("text/plain", "" | "0.0.4") => classic = quality.max(classic),
                _ => {}
            }
        }
        if open_metrics > 0.0 && open_metrics >= classic {
            Self::OpenMetrics
        } else {
            Self::Classic
        }
    }

    /// The header of an answer.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Classic => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

/// Writes a page; `write` is called once.
pub(super) fn page(format: Format, write: impl PageWriter) -> String {
    let mut text = Text { text: String::new(), line: 0, format };
    let mut page = Page::default();
    page.register_collector(Box::new(Walk { format, write }));
    // Writing to a String cannot fail, and the library has no other error.
    let _ = encode_registry(&mut text, &page);
    if format == Format::OpenMetrics {
        let _ = encode_eof(&mut text);
    }
    text.text
}

/// What stands on a page.
pub(super) trait PageWriter:
    Fn(&mut Families<'_>) -> fmt::Result + Send + Sync + 'static
{
}

impl<W: Fn(&mut Families<'_>) -> fmt::Result + Send + Sync + 'static> PageWriter for W {}

/// The library gives its encoder to collectors only.
struct Walk<W> {
    format: Format,
    write: W,
}

impl<W> fmt::Debug for Walk<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Walk").field("format", &self.format).finish_non_exhaustive()
    }
}

impl<W: PageWriter> Collector for Walk<W> {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        (self.write)(&mut Families { encoder, format: self.format, taken: HashSet::new() })
    }
}

/// Begins the metrics of a page, each under a name that no other has.
pub(super) struct Families<'page> {
    encoder: DescriptorEncoder<'page>,
    format: Format,
    /// Names of metrics, and of the samples that belong to them.
    taken: HashSet<String>,
}

impl Families<'_> {
    /// Begins a metric; `None` if its name is taken.
    pub(super) fn begin<'s>(
        &'s mut self,
        name: &'s str,
        help: &str,
        kind: Kind,
    ) -> Option<(MetricEncoder<'s>, Form)> {
        let plain = match kind {
            Kind::Counter => MetricType::Counter,
            Kind::Gauge => MetricType::Gauge,
            Kind::Histogram => MetricType::Histogram,
        };
        let (name, metric_type, form) = match (self.format, kind, name.strip_suffix("_total")) {
            (Format::OpenMetrics, Kind::Counter, Some(base)) if self.is_free(base, kind) => {
                (base, plain, Form::Suffixed)
            }
            // A counter whose name says otherwise has no type there, so that its sample keeps its name.
            (Format::OpenMetrics, Kind::Counter, _) => (name, MetricType::Unknown, Form::Plain),
            _ => (name, plain, Form::Plain),
        };
        // One that is written as a plain value has no samples but its own.
        let of = if kind == Kind::Counter && form == Form::Plain { Kind::Gauge } else { kind };
        if !self.is_free(name, of) {
            crate::log_limited!(error, name, "two metrics have samples of the same name");
            return None;
        }
        let samples = suffixes(of).iter().map(|suffix| format!("{name}{suffix}"));
        self.taken.extend(samples);
        let help = help.replace('\\', r"\\").replace('\n', r"\n");
        let encoder = self.encoder.encode_descriptor(name, &help, None, metric_type).ok()?;
        Some((encoder, form))
    }

    fn is_free(&self, name: &str, kind: Kind) -> bool {
        suffixes(kind).iter().all(|suffix| !self.taken.contains(&format!("{name}{suffix}")))
    }
}

/// What OpenMetrics adds to names of samples.
fn suffixes(kind: Kind) -> &'static [&'static str] {
    match kind {
        Kind::Counter => &["", "_total", "_created"],
        Kind::Gauge => &[""],
        Kind::Histogram => &["", "_bucket", "_sum", "_count", "_created"],
    }
}

/// Metrics that exist only while they are scraped; see
/// [`Registry::register_collector`](super::Registry::register_collector).
#[derive(Debug, Default)]
pub struct Collected(Vec<CollectedFamily>);

#[derive(Debug)]
struct CollectedFamily {
    name: &'static str,
    help: String,
    kind: Kind,
    samples: Vec<(Vec<(String, String)>, f64)>,
}

impl Collected {
    /// Begins a counter or a gauge; its samples follow.
    pub fn family(&mut self, name: &'static str, help: &str, kind: Kind) {
        let (help, samples) = (help.to_owned(), Vec::new());
        self.0.push(CollectedFamily { name, help, kind, samples });
    }

    /// A sample of the metric begun last.
    pub fn sample(&mut self, labels: &[(&str, &str)], value: f64) {
        if let Some(family) = self.0.last_mut() {
            let labels =
                labels.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
            family.samples.push((labels.collect(), value));
        }
    }

    pub(super) fn encode(&self, families: &mut Families<'_>) -> fmt::Result {
        for family in &self.0 {
            let Some((mut encoder, form)) = families.begin(family.name, &family.help, family.kind)
            else {
                continue;
            };
            for (labels, value) in &family.samples {
                if labels.is_empty() {
                    encode_number(&mut encoder, form, *value)?;
                } else {
                    encode_number(&mut encoder.encode_family(labels)?, form, *value)?;
                }
            }
        }
        Ok(())
    }
}

/// The page while the library writes it.
struct Text {
    text: String,
    /// Where the last line begins.
    line: usize,
    format: Format,
}

impl Write for Text {
    fn write_str(&mut self, chunk: &str) -> fmt::Result {
        self.text.push_str(chunk);
        if chunk.ends_with('\n') {
            if self.format == Format::Classic {
                self.make_bucket_classic();
            }
            self.line = self.text.len();
        }
        Ok(())
    }
}

impl Text {
    /// Respells the bound and takes the exemplar away if the last line is of a bucket; `le` is its first label.
    fn make_bucket_classic(&mut self) -> Option<()> {
        let line = &self.text[self.line..];
        let (name, labels) = line.split_once('{').filter(|_| !line.starts_with('#'))?;
        let after_bound = labels.strip_prefix("le=\"").filter(|_| name.ends_with("_bucket"))?;
        let (bound, rest) = after_bound.split_once('"')?;
        let value = &rest[end_of_labels(rest)?..];
        let count = value.split_ascii_whitespace().next()?;
        let labels = &rest[..rest.len() - value.len()];
        let bound = spell(bound.parse().ok()?);
        let classic = format!("{name}{{le=\"{bound}\"{labels} {count}\n");
        self.text.truncate(self.line);
        self.text.push_str(&classic);
        Some(())
    }
}

/// Where the value begins in what follows a label.
fn end_of_labels(text: &str) -> Option<usize> {
    let (mut is_quoted, mut is_escaped) = (false, false);
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' => is_escaped = true,
            b'"' => is_quoted = !is_quoted,
            b'}' if !is_quoted => return Some(at + 1),
            _ => {}
        }
    }
    None
}

/// The shortest digits that give the same number, with an exponent of two digits at least below 1e-4 and from 1e6 on.
fn spell(value: f64) -> String {
    if value.is_infinite() {
        return if value > 0.0 { "+Inf" } else { "-Inf" }.to_owned();
    }
    if value == 0.0 || (1e-4..1e6).contains(&value.abs()) {
        return value.to_string();
    }
    let scientific = format!("{value:e}");
    let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let (sign, exponent) = match exponent.strip_prefix('-') {
        Some(exponent) => ('-', exponent),
        None => ('+', exponent),
    };
    format!("{digits}e{sign}{exponent:0>2}")
}

#[cfg(test)]
mod tests;
