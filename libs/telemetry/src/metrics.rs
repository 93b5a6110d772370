//! Metrics, and the pages that Prometheus reads: text format 0.0.4 and OpenMetrics.
//!
//! Metrics are registered once, usually in a `LazyLock` static, and shared by name: registering the
//! same name again gives the same metric, so that several services in one process can. The metrics of a part are
//! declared by [`metrics!`](crate::metrics!), one line each.
//!
//! The library (`prometheus-client`) counts, and writes the pages. Ours is what it lacks: metrics shared by name, a bound on
//! series and the end of those of idle tenants, histograms without a lock, the classic format, and names that published
//! dashboards use although they break the rules of OpenMetrics (counters without `_total`, gauges with it).

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
