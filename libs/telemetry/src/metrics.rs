//! Metrics, and the pages that Prometheus scrapes: text format 0.0.4 and OpenMetrics.
//!
//! Metrics are registered once, usually in a `LazyLock` static, and are shared by name: registering a name again
//! returns the same metric, so that several services can run in one process. The metrics of a component are declared by
//! [`metrics!`](crate::metrics!), one line each.
//!
//! The library (`prometheus-client`) counts, and writes the pages. This crate adds what it lacks: metrics that are
//! shared by name, a limit on series, the removal of series of idle tenants, histograms without a lock, the classic
//! format, and names that published dashboards use although they break the rules of OpenMetrics (counters without
//! `_total`, gauges with it).

mod encode;
mod family;
mod process;
mod registry;
mod table;
mod value;

pub use encode::{Collected, Format};
pub use family::{CounterVec, Family, GaugeVec, HistogramVec, OVERFLOW};
pub use registry::Registry;
pub use table::Registered;
pub use value::{Counter, DEFAULT_BUCKETS, Gauge, Histogram, Kind, Metric, exponential_buckets};
