//! The `process_*` metrics, read from `/proc` at every scrape.

use std::fs;
use std::sync::OnceLock;

use rustix::param::{clock_ticks_per_second, page_size};
use rustix::process::{Resource, getrlimit};

use super::{Collected, Kind};

/// Writes what can be read; elsewhere than on Linux nothing.
pub(super) fn collect(encoder: &mut Collected) {
    let mut metric = |name, help, kind, value: Option<f64>| {
        if let Some(value) = value {
            encoder.family(name, help, kind);
            encoder.sample(&[], value);
        }
    };
    let stat = fs::read_to_string("/proc/self/stat").ok();
    let stat = stat.as_deref().and_then(Stat::parse);
    metric(
        "process_cpu_seconds_total",
        "Total user and system CPU time spent in seconds.",
        Kind::Counter,
        stat.map(|stat| stat.cpu_ticks / ticks_per_second()),
    );
    metric(
        "process_max_fds",
        "Maximum number of open file descriptors.",
        Kind::Gauge,
        getrlimit(Resource::Nofile).current.map(|limit| limit as f64),
    );
    metric("process_open_fds", "Number of open file descriptors.", Kind::Gauge, open_fds());
    metric(
        "process_resident_memory_bytes",
        "Resident memory size in bytes.",
        Kind::Gauge,
        stat.map(|stat| stat.resident_pages * page_size() as f64),
    );
    metric(
        "process_start_time_seconds",
        "Start time of the process since unix epoch in seconds.",
        Kind::Gauge,
        stat.and_then(|stat| Some(boot_time()? + stat.start_ticks / ticks_per_second())),
    );
    metric(
        "process_virtual_memory_bytes",
        "Virtual memory size in bytes.",
        Kind::Gauge,
        stat.map(|stat| stat.virtual_bytes),
    );
}

fn ticks_per_second() -> f64 {
    clock_ticks_per_second() as f64
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct Stat {
    cpu_ticks: f64,
    /// After boot.
    start_ticks: f64,
    virtual_bytes: f64,
    resident_pages: f64,
}

impl Stat {
    fn parse(text: &str) -> Option<Self> {
        // The program's name, in parentheses, may hold spaces and parentheses itself.
        let (_, fields) = text.rsplit_once(')')?;
        let fields: Vec<&str> = fields.split_ascii_whitespace().collect();
        // The first field here is number 3 in the manual.
        let field = |number: usize| fields.get(number - 3)?.parse::<f64>().ok();
        Some(Self {
            cpu_ticks: field(14)? + field(15)?,
            start_ticks: field(22)?,
            virtual_bytes: field(23)?,
            resident_pages: field(24)?,
        })
    }
}

/// Seconds since the epoch. Read once: it is adjusted with the clock, and a start time that moves
/// looks like a restart.
fn boot_time() -> Option<f64> {
    static BOOT: OnceLock<Option<f64>> = OnceLock::new();
    *BOOT.get_or_init(|| {
        let text = fs::read_to_string("/proc/stat").ok()?;
        text.lines().find_map(|line| line.strip_prefix("btime ")?.trim().parse().ok())
    })
}

fn open_fds() -> Option<f64> {
    // One of them is the directory being listed.
    Some(fs::read_dir("/proc/self/fd").ok()?.count().saturating_sub(1) as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stat_with_odd_program_name_is_parsed() {
        let text = "7 (a b) c) S 1 2 3 4 5 6 7 8 9 10 100 23 0 0 20 0 1 0 5000 4096 12 99";
        let stat = Stat::parse(text).unwrap();
        let expected = Stat {
            cpu_ticks: 123.0,
            start_ticks: 5000.0,
            virtual_bytes: 4096.0,
            resident_pages: 12.0,
        };
        assert_eq!(stat, expected);
        assert_eq!(Stat::parse("7 (a) S 1 2"), None);
        assert_eq!(Stat::parse(""), None);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn collect_of_this_process_gives_plausible_values() {
        let registry = crate::metrics::Registry::new();
        registry.register_collector(collect);
        let text = registry.encode();
        let value = |name: &str| {
            let line = text.lines().find(|line| line.starts_with(&format!("{name} "))).unwrap();
            line.split_once(' ').unwrap().1.parse::<f64>().unwrap()
        };
        assert!(value("process_resident_memory_bytes") > 100_000.0);
        assert!(value("process_virtual_memory_bytes") > value("process_resident_memory_bytes"));
        assert!(value("process_open_fds") >= 3.0);
        assert!(value("process_max_fds") >= value("process_open_fds"));
        assert!(value("process_start_time_seconds") > 1.5e9);
        assert!(value("process_cpu_seconds_total") >= 0.0);
    }
}
