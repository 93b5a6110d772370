//! The page with the series of a tenant that Prometheus scrapes, as OpenMetrics text.
//!
//! It has the latest sample of each series, without a time, so that the time of the scrape counts. The text format has
//! no native histograms; those without a classic form are shown as their count and sum.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt::Write as _;

use foldhash::fast::RandomState;
use tactus_remote_write::series::{Exemplar, NativeHistogram, STALE, Series, Sink};
use tokio_util::sync::CancellationToken;

use crate::memory::Share;

/// What is kept of a row besides its texts.
const ROW_BYTES: usize = size_of::<Row>() + 32;

/// What an exemplar and the value of a row take, in the row and in the text.
const MAX_EXEMPLAR_BYTES: usize = 160;

/// Takes one collection and becomes a page.
#[derive(Debug, Default)]
pub(crate) struct OpenMetrics {
    rows: Vec<Row>,
    /// Rows by reference of their series.
    known: HashMap<u64, usize>,
    /// Memory of the rows and of the text that they become; `None` is no limit.
    memory: Option<Share>,
    /// Nobody waits for the page any more.
    gone: CancellationToken,
    is_too_large: bool,
}

#[derive(Debug)]
struct Row {
    name: String,
    le: Option<String>,
    /// The labels except `le`, as text between braces.
    labels: String,
    value: Value,
    exemplar: String,
}

#[derive(Debug)]
enum Value {
    Gone,
    Float(f64),
    Native { count: f64, sum: f64 },
}

impl Sink for OpenMetrics {
    fn float(&mut self, series: &Series<'_>, _timestamp_ms: i64, value: f64) {
        let value = match value.to_bits() == STALE.to_bits() {
            true => Value::Gone,
            false => Value::Float(value),
        };
        self.set(series, value);
    }

    fn histogram(&mut self, series: &Series<'_>, _timestamp_ms: i64, value: &NativeHistogram) {
        self.set(series, Value::Native { count: value.count, sum: value.sum });
    }

    fn exemplar(&mut self, series: &Series<'_>, exemplar: &Exemplar<'_>) {
        let row = self.known.get(&series.reference).and_then(|index| self.rows.get_mut(*index));
        let Some(row) = row else { return };
        row.exemplar.clear();
        row.exemplar.push_str(" # {");
        label(&mut row.exemplar, exemplar.label, exemplar.trace_id);
        row.exemplar.push_str("} ");
        number(&mut row.exemplar, exemplar.value);
        row.exemplar.push(' ');
        number(&mut row.exemplar, exemplar.timestamp_ms as f64 / 1e3);
    }
}

impl OpenMetrics {
    /// A page that takes no more memory than there is, and no more series once its caller is gone.
    pub(crate) fn within(memory: Share, gone: CancellationToken) -> Self {
        Self { memory: Some(memory), gone, ..Self::default() }
    }

    /// True if there was no memory for all series, or nobody waits for them. Others than the first are left out.
    pub(crate) fn is_too_large(&self) -> bool {
        self.is_too_large
    }

    fn set(&mut self, series: &Series<'_>, value: Value) {
        if self.is_too_large {
            return;
        }
        if let Some(row) = self.known.get(&series.reference).and_then(|at| self.rows.get_mut(*at)) {
            row.value = value;
            return;
        }
        if self.gone.is_cancelled() {
            self.is_too_large = true;
            return;
        }
        self.known.insert(series.reference, self.rows.len());
        let mut labels = String::new();
        // There may be as many as a resource has attributes.
        let mut names: HashSet<String, RandomState> = HashSet::default();
        names.reserve(series.labels.len());
        for (name, value) in series.labels {
            let name = label_name(name);
            // Names that differ only in characters that are not allowed; one text must not have a name twice.
            if name == "le" || names.contains(&name) {
                continue;
            }
            if !names.is_empty() {
                labels.push(',');
            }
            label(&mut labels, &name, value);
            names.insert(name);
        }
        let row = Row {
            name: metric_name(series.name),
            le: series.le.map(str::to_owned),
            labels,
            value,
            exemplar: String::new(),
        };
        // Rows are there until all of the text is.
        let texts = row.name.len() + row.labels.capacity() + row.le.as_ref().map_or(0, String::len);
        let bytes = (ROW_BYTES + 2 * texts + MAX_EXEMPLAR_BYTES) as u64;
        self.is_too_large = self.memory.as_mut().is_some_and(|memory| !memory.grow(bytes));
        if !self.is_too_large {
            self.rows.push(row);
        }
    }

    /// The page, with families in the order of their names.
    pub(crate) fn finish(self) -> String {
        let classic: HashSet<String> =
            self.rows.iter().filter_map(Row::classic_base).map(str::to_owned).collect();
        let mut families: BTreeMap<(&str, &str), Vec<&Row>> = BTreeMap::new();
        for row in self.rows.iter().filter(|row| !matches!(row.value, Value::Gone)) {
            if let Some(family) = row.family(|base| classic.contains(base)) {
                families.entry(family).or_default().push(row);
            }
        }
        let mut text = String::new();
        for ((name, kind), mut rows) in families {
            // The parts of one histogram stand together; buckets are in the order in which they came.
            rows.sort_by(|a, b| (&a.labels, a.part()).cmp(&(&b.labels, b.part())));
            // Writing to a String cannot fail.
            let _ = writeln!(text, "# TYPE {name} {kind}");
            rows.iter().for_each(|row| row.write(&mut text));
        }
        text.push_str("# EOF\n");
        text
    }
}

impl Row {
    /// The histogram that this is a bucket of.
    fn classic_base(&self) -> Option<&str> {
        self.le.as_ref().and_then(|_| self.name.strip_suffix("_bucket"))
    }

    /// Name and type of the family; `None` of a native histogram that is there in its classic form as well.
    fn family(&self, is_classic: impl Fn(&str) -> bool) -> Option<(&str, &'static str)> {
        let name = self.name.as_str();
        if let Value::Native { .. } = self.value {
            return (!is_classic(name)).then_some((name, "histogram"));
        }
        if let Some(base) = self.classic_base() {
            return Some((base, "histogram"));
        }
        let part = ["_sum", "_count"].iter().find_map(|suffix| name.strip_suffix(suffix));
        if let Some(base) = part.filter(|base| is_classic(base)) {
            return Some((base, "histogram"));
        }
        Some(match name.strip_suffix("_total") {
            Some(base) if !base.is_empty() => (base, "counter"),
            _ => (name, "gauge"),
        })
    }

    /// Buckets go first.
    fn part(&self) -> u8 {
        match &self.le {
            Some(_) => 0,
            None if self.name.ends_with("_count") => 1,
            None => 2,
        }
    }

    fn write(&self, text: &mut String) {
        match self.value {
            Value::Gone => {}
            Value::Float(value) => {
                self.line(text, "", self.le.as_deref(), value);
                text.push_str(&self.exemplar);
                text.push('\n');
            }
            Value::Native { count, sum } => {
                self.line(text, "_bucket", Some("+Inf"), count);
                text.push_str(&self.exemplar);
                text.push('\n');
                self.line(text, "_count", None, count);
                text.push('\n');
                self.line(text, "_sum", None, sum);
                text.push('\n');
            }
        }
    }

    fn line(&self, text: &mut String, suffix: &str, le: Option<&str>, value: f64) {
        text.push_str(&self.name);
        text.push_str(suffix);
        text.push('{');
        text.push_str(&self.labels);
        if let Some(le) = le {
            if !self.labels.is_empty() {
                text.push(',');
            }
            label(text, "le", le);
        }
        text.push_str("} ");
        number(text, value);
    }
}

fn label(text: &mut String, name: &str, value: &str) {
    text.push_str(name);
    text.push_str("=\"");
    for character in value.chars() {
        match character {
            '\\' => text.push_str("\\\\"),
            '"' => text.push_str("\\\""),
            '\n' => text.push_str("\\n"),
            other => text.push(other),
        }
    }
    text.push('"');
}

fn number(text: &mut String, value: f64) {
    let written = match value {
        f64::INFINITY => write!(text, "+Inf"),
        f64::NEG_INFINITY => write!(text, "-Inf"),
        value => write!(text, "{value}"),
    };
    // Writing to a String cannot fail.
    let _ = written;
}

fn label_name(name: &str) -> String {
    plain(name, |c| c.is_ascii_alphanumeric() || c == '_')
}

fn metric_name(name: &str) -> String {
    plain(name, |c| c.is_ascii_alphanumeric() || c == '_' || c == ':')
}

/// One name that a scraper cannot read costs it the whole page, so that other characters become `_`, and one goes before
/// a digit.
fn plain(name: &str, allowed: impl Fn(char) -> bool) -> String {
    let digit = name.starts_with(|c: char| c.is_ascii_digit());
    let characters = name.chars().map(|c| if allowed(c) { c } else { '_' });
    digit.then_some('_').into_iter().chain(characters).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn labels(pairs: &[(&str, &str)]) -> Vec<(Arc<str>, Arc<str>)> {
        pairs.iter().map(|(name, value)| (Arc::from(*name), Arc::from(*value))).collect()
    }

    #[test]
    fn page_shows_the_last_sample_of_counters_and_histograms() {
        let labels = labels(&[("client", "a \"b\"\n\\"), ("1st", "x"), ("é.", "y")]);
        let mut page = OpenMetrics::default();
        let series = |reference, name, le| Series { reference, labels: &labels, name, le };
        let calls = series(1, "calls_total", None);
        page.float(&calls, 0, 0.0);
        page.float(&calls, 1, 3.5);
        for (reference, name, le, value) in [
            (2, "latency_count", None, 2.0),
            (3, "latency_sum", None, 0.25),
            (4, "latency_bucket", Some("0.1"), 1.0),
            (5, "latency_bucket", Some("+Inf"), 2.0),
        ] {
            page.float(&series(reference, name, le), 1, value);
        }
        let exemplar =
            Exemplar { label: "traceID", trace_id: "ab", value: 0.2, timestamp_ms: 1500 };
        page.exemplar(&series(5, "latency_bucket", Some("+Inf")), &exemplar);
        page.float(&series(6, "up_count", None), 1, f64::INFINITY);
        let labels = r#"client="a \"b\"\n\\",_1st="x",__="y""#;
        let expected = format!(
            "# TYPE calls counter\n\
             calls_total{{{labels}}} 3.5\n\
             # TYPE latency histogram\n\
             latency_bucket{{{labels},le=\"0.1\"}} 1\n\
             latency_bucket{{{labels},le=\"+Inf\"}} 2 # {{traceID=\"ab\"}} 0.2 1.5\n\
             latency_count{{{labels}}} 2\n\
             latency_sum{{{labels}}} 0.25\n\
             # TYPE up_count gauge\n\
             up_count{{{labels}}} +Inf\n\
             # EOF\n"
        );
        assert_eq!(page.finish(), expected);
    }

    #[test]
    fn series_that_ended_are_left_out() {
        let mut page = OpenMetrics::default();
        let series = Series { reference: 1, labels: &[], name: "up", le: None };
        page.float(&series, 1, 1.0);
        page.float(&series, 2, STALE);
        assert_eq!(page.finish(), "# EOF\n");
    }

    #[test]
    fn native_histogram_is_count_and_sum_unless_it_is_there_as_classic() {
        let native = NativeHistogram { count: 2.0, sum: 0.5, ..NativeHistogram::default() };
        let series = |reference, name, le| Series { reference, labels: &[], name, le };
        let mut page = OpenMetrics::default();
        page.histogram(&series(1, "latency", None), 1, &native);
        let alone = "# TYPE latency histogram\nlatency_bucket{le=\"+Inf\"} 2\nlatency_count{} 2\nlatency_sum{} 0.5\n# EOF\n";
        assert_eq!(page.finish(), alone);
        let mut page = OpenMetrics::default();
        page.histogram(&series(1, "latency", None), 1, &native);
        page.float(&series(2, "latency_bucket", Some("+Inf")), 1, 3.0);
        let both = "# TYPE latency histogram\nlatency_bucket{le=\"+Inf\"} 3\n# EOF\n";
        assert_eq!(page.finish(), both);
    }

    #[test]
    fn page_without_memory_for_all_of_it_is_too_large() {
        let memory = crate::memory::SeriesMemory::new(100_000);
        let show = |count: u64| {
            let mut page = OpenMetrics::within(Share::of(&memory), CancellationToken::new());
            for reference in 0..count {
                page.float(&Series { reference, labels: &[], name: "up", le: None }, 1, 1.0);
            }
            (page.is_too_large(), memory.used())
        };
        let (is_too_large, used) = show(100);
        assert!(!is_too_large && used > 100 * ROW_BYTES as u64);
        let (is_too_large, used) = show(1_000);
        assert!(is_too_large && used <= 100_000);
        assert_eq!(memory.used(), 0);
    }

    #[test]
    fn page_takes_no_more_series_once_its_caller_is_gone() {
        let (memory, gone) = (crate::memory::SeriesMemory::new(0), CancellationToken::new());
        let mut page = OpenMetrics::within(Share::of(&memory), gone.clone());
        let up = |reference| Series { reference, labels: &[], name: "up", le: None };
        page.float(&up(1), 1, 1.0);
        assert!(!page.is_too_large());
        gone.cancel();
        page.float(&up(2), 1, 1.0);
        assert!(page.is_too_large() && page.rows.len() == 1);
    }

    #[test]
    fn very_many_labels_are_each_looked_at_once() {
        let names: Vec<String> = (0..50_000).map(|number| format!("l{number}")).collect();
        let pairs: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), "v")).collect();
        let (labels, started) = (labels(&pairs), std::time::Instant::now());
        let mut page = OpenMetrics::default();
        page.float(&Series { reference: 1, labels: &labels, name: "up", le: None }, 1, 1.0);
        assert_eq!(page.finish().matches("=\"v\"").count(), 50_000);
        assert!(started.elapsed() < std::time::Duration::from_secs(5));
    }

    #[test]
    fn names_that_become_the_same_are_there_once() {
        let labels = labels(&[("a.b", "1"), ("a_b", "2"), ("le", "3")]);
        let mut page = OpenMetrics::default();
        page.float(&Series { reference: 1, labels: &labels, name: "9 lives", le: None }, 1, 1.0);
        assert_eq!(page.finish(), "# TYPE _9_lives gauge\n_9_lives{a_b=\"1\"} 1\n# EOF\n");
    }
}
