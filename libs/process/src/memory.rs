//! The memory limit of this process.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;
use tactus_server::bodies::{Bodies, SharedMemory};
use tactus_telemetry::metrics::{Kind, Registry};
use tactus_work::memory::{Budget, QueryMemory};

/// The share of memory that a cache takes by itself: one part in this many.
const CACHE_SHARE: u64 = 16;
/// No cache takes more by itself.
const MAX_CACHE_BYTES: u64 = 1 << 30;
/// If the system does not tell how much memory there is.
const UNKNOWN_MEMORY_CACHE_BYTES: u64 = 128 << 20;
/// Requests in flight take no more by themselves, and so much if the system does not tell.
const MAX_REQUEST_BYTES: u64 = 256 << 20;

/// The block list takes no more by itself: some hundred thousand blocks.
const MAX_BLOCK_LIST_BYTES: u64 = 256 << 20;

/// What a cache of this setting may hold: that, or if it is negative a share of the memory there is.
pub fn cache_bytes(setting: i64) -> u64 {
    u64::try_from(setting).unwrap_or_else(|_| share_of(available()))
}

/// What kept answers of jobs may hold: the setting, or if it is negative a smaller share, as they are small.
pub fn result_bytes(setting: i64) -> u64 {
    u64::try_from(setting).unwrap_or_else(|_| share_of(available()) / 4)
}

/// What requests in flight may hold by themselves: the setting, or if it is 0 a tenth of the memory there is, 256 MiB at
/// most.
pub fn request_bytes(setting: u64) -> u64 {
    if setting == 0 { tenth_of(available()) } else { setting }
}

/// What the block list may hold: the setting, or if it is 0 a quarter of the memory there is, 256 MiB at most.
pub(crate) fn block_list_bytes(setting: u64) -> u64 {
    let quarter = available().map_or(MAX_BLOCK_LIST_BYTES, |bytes| bytes / 4);
    if setting == 0 { quarter.min(MAX_BLOCK_LIST_BYTES) } else { setting }
}

/// Ports that have some memory to themselves: together half of what all may take.
const PORTS: u64 = 8;

/// Memory of requests and answers of several ports.
#[derive(Debug, Clone)]
pub struct PortMemory {
    /// What ports may take besides their own.
    common: Arc<Budget>,
    /// Of that what queries hold while they work.
    queries: Arc<QueryMemory>,
    of_queries: Arc<Budget>,
    /// Of each port.
    ports: Arc<Mutex<Vec<Arc<Budget>>>>,
    /// The bodies of a port that stall make room for all ports.
    shared: Arc<SharedMemory>,
    max_bytes: u64,
}

impl PortMemory {
    /// At most this many bytes for all ports.
    pub fn new(max_bytes: u64) -> Self {
        // Answers that nobody reads are to leave queries some.
        let own = max_bytes / 8;
        let common = Budget::new(max_bytes / 2 - own);
        let of_queries = Budget::share(&common, max_bytes / 2, own);
        let queries = QueryMemory::within(&of_queries);
        let (ports, shared) = (Arc::default(), Arc::default());
        Self { queries, of_queries, common, ports, shared, max_bytes }
    }

    /// Shows what is in use; once in a process.
    pub(crate) fn register(&self, registry: &Registry) {
        let memory = self.clone();
        registry.register_collector(move |out| {
            let name = "tactus_server_inflight_bytes";
            out.family(
                name,
                "Bytes of server.max_inflight_bytes in use, by what they are for.",
                Kind::Gauge,
            );
            let requests: u64 = memory.ports.lock().iter().map(|port| port.used()).sum();
            out.sample(&[("of", "requests")], requests as f64);
            out.sample(&[("of", "queries")], memory.of_queries.used() as f64);
        });
    }

    /// The budget of what queries hold while they work: all of it goes to whoever asks first.
    pub fn queries(&self) -> Arc<QueryMemory> {
        Arc::clone(&self.queries)
    }

    /// The budget of one more port: a reserved part, and what the other ports leave of the common part. Large answers
    /// do not use the reserved part, because a single one would keep all others waiting.
    pub fn bodies(&self) -> Arc<Bodies> {
        let own = self.max_bytes / 2 / PORTS;
        let port = Budget::share(&self.common, self.max_bytes, own);
        let large = Budget::within(&self.common, self.max_bytes);
        self.ports.lock().extend([Arc::clone(&port), Arc::clone(&large)]);
        Bodies::with_large(&port, &large, &self.shared)
    }
}

fn tenth_of(available: Option<u64>) -> u64 {
    available.map_or(MAX_REQUEST_BYTES, |bytes| (bytes / 10).min(MAX_REQUEST_BYTES))
}

fn share_of(available: Option<u64>) -> u64 {
    available.map_or(UNKNOWN_MEMORY_CACHE_BYTES, |bytes| (bytes / CACHE_SHARE).min(MAX_CACHE_BYTES))
}

/// Memory of the machine, or of the control group or one above it if that has less.
fn available() -> Option<u64> {
    let read = |path: &Path| fs::read_to_string(path).ok();
    let machine = read(Path::new("/proc/meminfo")).and_then(|text| total_of(&text));
    let groups = group_files(&read(Path::new("/proc/self/cgroup")).unwrap_or_default());
    let limits = groups.iter().filter_map(|path| read(path)?.trim().parse().ok());
    machine.into_iter().chain(limits).min()
}

/// Files with the memory limits of the control groups in `/proc/self/cgroup`, and of those above them. In a container, which
/// sees no other groups, they may be named and not be there: the topmost always counts.
fn group_files(groups: &str) -> Vec<PathBuf> {
    let of_line = |line: &str| {
        let (_, rest) = line.split_once(':')?;
        let (controllers, group) = rest.split_once(':')?;
        let is_memory = controllers.split(',').any(|controller| controller == "memory");
        let (root, file) = match (controllers.is_empty(), is_memory) {
            (true, _) => ("/sys/fs/cgroup", "memory.max"),
            (_, true) => ("/sys/fs/cgroup/memory", "memory.limit_in_bytes"),
            _ => return None,
        };
        let above = Path::new(group.trim_start_matches('/')).ancestors();
        Some(above.map(|group| Path::new(root).join(group).join(file)).collect::<Vec<_>>())
    };
    groups.lines().filter_map(of_line).flatten().collect()
}

/// Bytes of the line `MemTotal:   123 kB`.
fn total_of(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kibibytes.checked_mul(1 << 10)
}

#[cfg(test)]
mod tests {
    use tactus_server::bodies::Outgoing;

    use super::*;

    #[test]
    fn cache_takes_a_bounded_share_unless_it_is_set() {
        assert_eq!((cache_bytes(0), cache_bytes(5)), (0, 5));
        assert_eq!(share_of(Some(512 << 20)), 32 << 20);
        assert_eq!(share_of(Some(1 << 40)), MAX_CACHE_BYTES);
        assert_eq!(share_of(None), UNKNOWN_MEMORY_CACHE_BYTES);
        assert!((1..=MAX_CACHE_BYTES).contains(&cache_bytes(-1)));
        assert_eq!(
            (result_bytes(0), result_bytes(5), result_bytes(-1)),
            (0, 5, cache_bytes(-1) / 4)
        );
    }

    #[test]
    fn requests_take_a_tenth_of_the_memory_and_no_more_than_their_bound() {
        assert_eq!(tenth_of(Some(1 << 30)), (1 << 30) / 10);
        assert_eq!((tenth_of(Some(1 << 40)), tenth_of(None)), (256 << 20, 256 << 20));
    }

    #[test]
    fn limit_of_a_service_and_of_its_slice_count() {
        let files = group_files("12:cpu,memory:/a\n3:cpu:/b\n0::/system.slice/tactus.service\n");
        let expected = [
            "/sys/fs/cgroup/memory/a/memory.limit_in_bytes",
            "/sys/fs/cgroup/memory/memory.limit_in_bytes",
            "/sys/fs/cgroup/system.slice/tactus.service/memory.max",
            "/sys/fs/cgroup/system.slice/memory.max",
            "/sys/fs/cgroup/memory.max",
        ];
        assert_eq!(files, expected.map(PathBuf::from));
        assert_eq!(group_files("0::/\n"), [PathBuf::from("/sys/fs/cgroup/memory.max")]);
        assert!(group_files("").is_empty());
    }

    #[tokio::test]
    async fn request_that_stalls_at_a_port_makes_room_for_a_large_answer_of_another() {
        let memory = PortMemory::new(32 << 20);
        let (port, other) = (memory.bodies(), memory.bodies());
        let stalled = port.begin(&http::HeaderMap::new()).await.unwrap();
        stalled.unfinished();
        stalled.take(13 << 20).await.unwrap();
        let left = tokio::spawn(async move {
            stalled.cut_off().await;
            drop(stalled);
        });
        assert!(Outgoing::hold(&other, 2 << 20, ()).await.is_ok());
        left.await.unwrap();
    }

    #[test]
    fn memory_is_read_from_the_line_that_tells_it() {
        let text = "MemTotal:       24576 kB\nMemFree:        1 kB\n";
        assert_eq!(total_of(text), Some(24 << 20));
        assert_eq!(total_of("MemFree: 1 kB\n"), None);
        assert_eq!(total_of("MemTotal: many kB\n"), None);
    }
}
