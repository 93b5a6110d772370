//! Metrics of the process, under the names that dashboards for Go programs use.

use tactus_telemetry::metrics::{Kind, Registry};
use tikv_jemalloc_ctl::{epoch, stats};
use tokio::runtime::Handle;

/// Shows the tasks of a runtime and the bytes of the allocator; once in a process.
pub(crate) fn register(registry: &Registry, runtime: Handle) {
    registry.register_collector(move |out| {
        out.family("go_goroutines", "Asynchronous tasks that have not ended.", Kind::Gauge);
        out.sample(&[], runtime.metrics().num_alive_tasks() as f64);
        if let Some(kinds) = allocator_bytes() {
            out.family(
                "go_memstats_heap_inuse_bytes",
                "Bytes that the program holds of its allocator.",
                Kind::Gauge,
            );
            let [(_, allocated), ..] = kinds;
            out.sample(&[], allocated as f64);
            out.family(
                "tactus_allocator_bytes",
                "Bytes of the allocator by kind. Active without allocated is fragmentation; resident without active is freed and not given back.",
                Kind::Gauge,
            );
            for (kind, bytes) in kinds {
                out.sample(&[("kind", kind)], bytes as f64);
            }
        }
    });
}

/// Bytes by kind. `None` if the allocator was built without statistics.
fn allocator_bytes() -> Option<[(&'static str, usize); 5]> {
    // Statistics are as of the last epoch.
    epoch::advance().ok()?;
    Some([
        ("allocated", stats::allocated::read().ok()?),
        ("active", stats::active::read().ok()?),
        ("metadata", stats::metadata::read().ok()?),
        ("resident", stats::resident::read().ok()?),
        ("retained", stats::retained::read().ok()?),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(text: &str, name: &str) -> f64 {
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.expect("a sample").parse().expect("a number")
    }

    #[tokio::test]
    async fn tasks_and_bytes_follow_what_there_is() {
        let registry = Registry::new();
        register(&registry, Handle::current());
        let before = registry.encode();
        let tasks: Vec<_> = (0..50).map(|_| tokio::spawn(std::future::pending::<()>())).collect();
        let bytes = vec![1_u8; 64 << 20];
        let after = registry.encode();
        let grown = |name| value(&after, name) - value(&before, name);
        assert_eq!(grown("go_goroutines"), 50.0);
        assert!(grown("go_memstats_heap_inuse_bytes") > 50e6);
        let of_kind = |kind| value(&after, &format!("tactus_allocator_bytes{{kind=\"{kind}\"}}"));
        assert!(of_kind("allocated") > 50e6 && of_kind("allocated") <= of_kind("active"));
        assert!(of_kind("active") < of_kind("resident") && of_kind("metadata") > 0.0);
        drop(bytes);
        tasks.iter().for_each(|task| task.abort());
    }
}
