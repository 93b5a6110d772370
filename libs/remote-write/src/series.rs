//! The series that one collection of a tenant's registry produces.

/// Value of a staleness marker: the series ends here. Compared by bits, since it is a NaN.
pub const STALE: f64 = f64::from_bits(0x7ff0_0000_0000_0002);

/// One series while it is collected.
#[derive(Clone, Copy, Debug)]
pub struct Series<'a> {
    /// Names the series for as long as the process lives: the same for each sample of it, never given to another one.
    pub reference: u64,
    /// All labels but `__name__` and `le`, external ones included: sorted by the bytes of the name, names once, no empty values.
    pub labels: &'a [(std::sync::Arc<str>, std::sync::Arc<str>)],
    /// The value of `__name__`, with the suffix `_bucket`, `_sum` or `_count` where there is one.
    pub name: &'a str,
    /// Bucket of a classic histogram.
    pub le: Option<&'a str>,
}

/// A native histogram without negative observations.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct NativeHistogram {
    /// All observations; fractions come from span multipliers.
    pub count: f64,
    /// Sum of the observed values.
    pub sum: f64,
    /// Resolution: bucket `i` ends at 2^(i · 2^-schema).
    pub schema: i32,
    /// Observations up to this value are in the zero bucket.
    pub zero_threshold: f64,
    /// Observations in the zero bucket.
    pub zero_count: f64,
    /// Runs of buckets; an offset is the index of the first bucket, then the gap since the last run.
    pub spans: Vec<BucketSpan>,
    /// Observations of each bucket of the runs, not cumulated.
    pub buckets: Vec<f64>,
}

/// A run of buckets of a native histogram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BucketSpan {
    /// Of the first run: its first index. Of others: buckets left out since the run before.
    pub offset: i32,
    /// Number of buckets.
    pub length: u32,
}

/// One observation that stands for others.
#[derive(Clone, Copy, Debug)]
pub struct Exemplar<'a> {
    /// Name of its only label.
    pub label: &'a str,
    /// Lower-case hex trace id without leading zeros.
    pub trace_id: &'a str,
    /// The observed value, in the unit of the metric.
    pub value: f64,
    /// Milliseconds since the Unix epoch.
    pub timestamp_ms: i64,
}

/// Takes the samples of one collection, those of a series in order of time.
pub trait Sink {
    /// A sample of a counter, a gauge or a part of a classic histogram, or [`STALE`].
    fn float(&mut self, series: &Series<'_>, timestamp_ms: i64, value: f64);
    /// A sample of a native histogram.
    fn histogram(&mut self, series: &Series<'_>, timestamp_ms: i64, value: &NativeHistogram);
    /// An exemplar of the series whose sample was handed over last.
    fn exemplar(&mut self, series: &Series<'_>, exemplar: &Exemplar<'_>);
}
