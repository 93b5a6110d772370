//! Runs pushes on threads that may wait for the disk.
//!
//! A push converts its spans and writes them to the log, which may take as long as the disk takes. Threads that serve
//! connections must not wait for that. So a limited number of pushes run on threads of their own, and callers wait for
//! a limited time. While the disk does not respond, pushes are refused. Tenants take turns.

use std::time::Duration;

use tactus_allocator::for_ingest;
use tactus_proto::tactus::v1::PushRequest;
use tactus_work::{Slot, SlotLimits, Slots, turns::cores};
use tokio::time::timeout;

use crate::{disk::DiskHangs, error::PushError, head::Appended};

/// The bytes of a large push. Spans that are made to take long to convert take some ten milliseconds for these.
const LARGE_BYTES: usize = 256 << 10;

/// The limits on pushes that run at the same time.
#[derive(Debug)]
pub(crate) struct Pushes {
    threads: Slots,
    /// Large pushes that are converted, as many as there are cores: more of them would all take longer, and whatever
    /// replaces the generation waits for the longest.
    large: Slots,
    timeout: Duration,
}

/// What decides about the turn of a push.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Size {
    /// As in [`Line`](tactus_work::Line).
    pub(crate) tenant: u64,
    /// As [`bytes_of`].
    pub(crate) bytes: usize,
}

impl Pushes {
    pub(crate) fn new(threads: usize, timeout: Duration) -> Self {
        let of = |places| Slots::new(SlotLimits::of_turns(places));
        Self { threads: of(threads), large: of(cores().max(2)), timeout }
    }

    /// Longest time that a push may take.
    pub(crate) fn timeout(&self) -> Duration {
        self.timeout
    }

    /// Runs a push on a thread of its own. `hangs` describes the state of the disk if that takes too long.
    ///
    /// `push` gets the turn of a large push. It gives it back before it waits for the disk, so that others are converted
    /// meanwhile, and one sync is for many of them.
    ///
    /// After [`PushError::TimedOut`] the push may still succeed.
    pub(crate) async fn run(
        &self,
        Size { tenant, bytes }: Size,
        push: impl FnOnce(Option<Slot>) -> Result<Appended, PushError> + Send + 'static,
        hangs: impl Fn() -> DiskHangs,
    ) -> Result<Appended, PushError> {
        let enter = async {
            let turn = match bytes > LARGE_BYTES {
                true => self.large.turn(tenant).await,
                false => None,
            };
            (turn, self.threads.turn(tenant).await)
        };
        let Ok((turn, place)) = timeout(self.timeout, enter).await else {
            return Err(PushError::DiskHangs(hangs()));
        };
        let task = tokio::task::spawn_blocking(move || {
            // Kept until the thread is free, even if nobody waits for the push any more.
            let _place = place;
            for_ingest(|| push(turn))
        });
        match timeout(self.timeout, task).await {
            Ok(Ok(result)) => result,
            Ok(Err(_)) => Err(PushError::Failed),
            Err(_) => Err(PushError::TimedOut(hangs())),
        }
    }
}

/// The bytes of spans, resources and scopes.
pub(crate) fn bytes_of(push: &PushRequest) -> usize {
    let spans: usize = push.runs.iter().map(|run| run.scope_spans.len()).sum();
    let owners = push.resources.iter().chain(&push.scopes).map(|owner| owner.len());
    spans + owners.sum::<usize>()
}

#[cfg(test)]
mod tests {
    use std::{
        fs::File,
        io,
        path::{Path, PathBuf},
        pin::pin,
        sync::{
            Arc,
            atomic::{AtomicUsize, Ordering},
            mpsc,
        },
        task::{Context, Waker},
    };

    use parking_lot::Mutex;
    use tactus_model::TenantId;
    use tactus_storage::{Blocklist, Bucket, BucketSettings};
    use tactus_telemetry::metrics::Registry;
    use tactus_wal::{Files, LogFile};

    use super::*;
    use crate::{
        BlockWritten, Ingester, Settings,
        test_spans::{push_of, span},
    };

    fn hangs() -> DiskHangs {
        DiskHangs { directory: PathBuf::from("/wal"), wait: None, timeout: Duration::from_secs(4) }
    }

    #[tokio::test]
    async fn large_pushes_of_a_tenant_hold_up_neither_small_ones_nor_other_tenants() {
        let pushes = Arc::new(Pushes::new(64, Duration::from_secs(600)));
        let [large, small] = [LARGE_BYTES + 1, LARGE_BYTES];
        let (end_one, ends) = mpsc::channel::<()>();
        let (ends, begun) = (Arc::new(Mutex::new(ends)), Arc::new(AtomicUsize::new(0)));
        let most = cores().max(2);
        for _ in 0..most + 100 {
            let (pushes, ends, begun) =
                (Arc::clone(&pushes), Arc::clone(&ends), Arc::clone(&begun));
            let push = move |_turn| {
                begun.fetch_add(1, Ordering::Relaxed);
                let _ = ends.lock().recv();
                Ok(Appended::default())
            };
            let size = Size { tenant: 1, bytes: large };
            tokio::spawn(async move { pushes.run(size, push, hangs).await });
        }
        while begun.load(Ordering::Relaxed) < most {
            tokio::task::yield_now().await;
        }
        let quick = |_turn| Ok(Appended::default());
        pushes.run(Size { tenant: 1, bytes: small }, quick, hangs).await.unwrap();
        let mut other = pin!(pushes.run(Size { tenant: 2, bytes: large }, quick, hangs));
        let mut context = Context::from_waker(Waker::noop());
        assert!(other.as_mut().poll(&mut context).is_pending());
        // One of the first tenant goes first at most.
        for _ in 0..2 {
            end_one.send(()).unwrap();
        }
        other.await.unwrap();
        assert!(begun.load(Ordering::Relaxed) <= most + 2);
    }

    /// The files of a log that is written only while nobody has a turn.
    #[derive(Debug)]
    struct WithoutTurns(Slots);

    impl Files for WithoutTurns {
        fn create(&self, path: &Path) -> io::Result<Box<dyn LogFile>> {
            match self.0.running() {
                0 => Ok(Box::new(File::create_new(path)?)),
                _ => Err(io::Error::other("a turn is kept")),
            }
        }
    }

    #[tokio::test]
    async fn large_push_gives_its_turn_back_before_it_waits_for_the_disk() {
        let folder = tempfile::tempdir().unwrap();
        let mut settings = Settings::new(folder.path().join("ingester"));
        let turns = Slots::new(SlotLimits::of_turns(1));
        settings.log_files = Arc::new(WithoutTurns(turns.clone()));
        let path = folder.path().join("bucket");
        let bucket = Bucket::open(&BucketSettings::Local { path }).unwrap();
        let written = BlockWritten::listed(Arc::new(Blocklist::new()));
        let ingester = Ingester::open(settings, bucket, written, &Registry::new()).unwrap();
        let (push, tenant) = (push_of("t1", &[span(1, 1, 1)]), TenantId::parse("t1").unwrap());
        let turn = turns.turn(1).await;
        assert!(turn.is_some());
        assert_eq!(ingester.push_in_turn(&push, &tenant, turn).unwrap().spans, 1);
    }

    #[tokio::test]
    async fn push_that_finds_no_thread_in_time_does_not_blame_a_disk_that_answers() {
        let pushes = Pushes::new(1, Duration::from_millis(1));
        let _busy = pushes.threads.enter(1).await.unwrap();
        let size = Size { tenant: 2, bytes: 1 };
        let refused = pushes.run(size, |_turn| Ok(Appended::default()), hangs).await.unwrap_err();
        assert_eq!(refused.reason(), "late");
        let text = refused.to_string();
        assert!(text.contains("within 4000 ms") && !text.contains("/wal"), "{text}");
    }
}
