//! A small metric registry with the Prometheus text format 0.0.4.
//!
//! Why not a client library: the names that published dashboards use break the rules that those
//! enforce (counters without `_total`, gauges with it), and series of departed tenants must go.
//!
//! Metrics are registered once, usually in a `LazyLock` static, and shared by name: registering the
//! same name again gives the same metric, so that several services in one process can.

mod encode;
mod family;
mod process;
mod registry;
mod value;

pub use encode::{CONTENT_TYPE, Kind, TextEncoder};
pub use family::{CounterVec, DEFAULT_MAX_SERIES, Family, GaugeVec, HistogramVec, OVERFLOW};
pub use registry::Registry;
pub use value::{
    Counter, DEFAULT_BUCKETS, Gauge, Histogram, Metric, exponential_buckets, linear_buckets,
};
