//! Limits the number of connections of a port, and of all ports of the process.
//!
//! Each connection is an open file. A process that has used up its files cannot write its log either. So connections
//! leave some, and no ports, not even several together, can take all that the others may have.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use parking_lot::Mutex;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

/// Who waits for a place says so again and again.
const ASK_AGAIN: Duration = Duration::from_secs(1);
/// Connections that are asked at a time for their places.
const MOST_ASKED: usize = 64;
/// A port has one part in this many of all places to itself.
const OWN_SHARE: usize = 64;
/// Ports for which that is kept. A process has hardly more; further ones take theirs of the files that connections leave.
const PORTS: usize = 16;

static PROCESS: LazyLock<Process> = LazyLock::new(|| Process::of_files(raised_file_limit()));

/// Places of all ports.
#[derive(Debug)]
pub(super) struct Process {
    /// Those that no port has to itself.
    common: Arc<Semaphore>,
    /// That each port has to itself.
    own: usize,
    /// That one port may take.
    of_a_port: usize,
    crowd: Arc<Crowd>,
}

impl Process {
    /// Three quarters of the files that may be open, and of those half for a port.
    fn of_files(files: u64) -> Self {
        let files = usize::try_from(files).unwrap_or(usize::MAX).min(Semaphore::MAX_PERMITS);
        let all = (files / 4 * 3).max(2);
        let own = (all / OWN_SHARE).max(1);
        let common = Arc::new(Semaphore::new(all.saturating_sub(own * PORTS).max(1)));
        Self { common, own, of_a_port: all / 2, crowd: Arc::default() }
    }
}

/// Lets the process open as many files as it may: the usual limit is 1024, which only a process that asks gets past.
fn raised_file_limit() -> u64 {
    let limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum {
        let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
        if let Err(error) = setrlimit(Resource::Nofile, raised) {
            tracing::warn!(%error, "the limit of open files cannot be raised");
        }
    }
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

/// The places of a port.
#[derive(Debug)]
pub(super) struct Places {
    port: Arc<Semaphore>,
    own: Arc<Semaphore>,
    common: Arc<Semaphore>,
    /// Of this port, and of all.
    crowds: [Arc<Crowd>; 2],
    is_told: AtomicBool,
}

/// The place of one connection, until it is dropped.
#[derive(Debug)]
pub(super) struct Place {
    _port: OwnedSemaphorePermit,
    _process: OwnedSemaphorePermit,
    /// Of the port, and of all; if the port has the place to itself, nobody else can have it and both are of the port.
    crowds: [Arc<Crowd>; 2],
}

impl Place {
    /// Returns when others wait for a place and get this one, which they do only if it `may` be given.
    pub(super) async fn is_wanted(&self, may: impl Fn() -> bool) {
        let [port, process] = &self.crowds;
        loop {
            let crowd = tokio::select! {
                () = port.told.notified() => port,
                () = process.told.notified() => process,
            };
            if may() && crowd.take_one() {
                return;
            }
        }
    }
}

/// Connections that have places while others wait for some.
#[derive(Debug, Default)]
struct Crowd {
    told: Notify,
    asked: Mutex<Asked>,
}

#[derive(Debug, Default)]
struct Asked {
    at: Option<Instant>,
    places: usize,
    /// Of these, how many nobody has given yet.
    left: usize,
}

impl Crowd {
    /// Asks for a place. How many wait nobody knows: while all that were asked for are given and it is not enough, it is
    /// for twice as many.
    fn ask(&self) {
        let mut asked = self.asked.lock();
        let is_soon = asked.at.is_some_and(|at| at.elapsed() <= 2 * ASK_AGAIN);
        let places =
            if is_soon && asked.left == 0 { (2 * asked.places).min(MOST_ASKED) } else { 1 };
        *asked = Asked { at: Some(Instant::now()), places, left: places };
        drop(asked);
        self.told.notify_waiters();
    }

    fn take_one(&self) -> bool {
        let mut asked = self.asked.lock();
        let is_left = asked.left > 0;
        asked.left -= usize::from(is_left);
        is_left
    }
}

impl Places {
    /// `most`: of this port; 0 is as many as a port may have.
    pub(super) fn new(most: usize) -> Self {
        Self::within(&PROCESS, most)
    }

    fn within(process: &Process, most: usize) -> Self {
        let most = if most == 0 { process.of_a_port } else { most.min(process.of_a_port) };
        Self {
            port: Arc::new(Semaphore::new(most)),
            own: Arc::new(Semaphore::new(process.own)),
            common: Arc::clone(&process.common),
            crowds: [Arc::default(), Arc::clone(&process.crowd)],
            is_told: AtomicBool::new(false),
        }
    }

    /// Waits for a place.
    pub(super) async fn free(&self) -> io::Result<Place> {
        let is_free = |places: &Semaphore| places.available_permits() > 0;
        if is_free(&self.port) && (is_free(&self.own) || is_free(&self.common)) {
            self.is_told.store(false, Relaxed);
        } else if !self.is_told.swap(true, Relaxed) {
            tracing::warn!("as many connections as this port takes are open, others wait");
        }
        let [of_port, of_process] = &self.crowds;
        let port = asking(&[of_port], Arc::clone(&self.port).acquire_owned()).await;
        let (process, all) = asking(&[of_port, of_process], async {
            tokio::select! {
                biased;
                own = Arc::clone(&self.own).acquire_owned() => (own, of_port),
                common = Arc::clone(&self.common).acquire_owned() => (common, of_process),
            }
        })
        .await;
        Ok(Place {
            _port: port.map_err(io::Error::other)?,
            _process: process.map_err(io::Error::other)?,
            crowds: [Arc::clone(of_port), Arc::clone(all)],
        })
    }
}

/// Waits for something that others hold, and tells them so.
async fn asking<T>(holders: &[&Arc<Crowd>], wanted: impl Future<Output = T>) -> T {
    let mut wanted = std::pin::pin!(wanted);
    loop {
        tokio::select! {
            biased;
            got = wanted.as_mut() => return got,
            () = tokio::time::sleep(ASK_AGAIN) => holders.iter().for_each(|crowd| crowd.ask()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt as _;
    use std::sync::atomic::AtomicUsize;

    #[tokio::test]
    async fn connections_leave_files_for_others_and_ports_leave_some_to_the_next() {
        let process = Process::of_files(64);
        let taken = |places: &Places| -> Vec<Place> {
            std::iter::from_fn(|| places.free().now_or_never()?.ok()).collect()
        };
        let (one, two, three) = (
            Places::within(&process, 0),
            Places::within(&process, 4),
            Places::within(&process, 1_000),
        );
        let of_one = taken(&one);
        let of_two = taken(&two);
        let of_three = taken(&three);
        assert_eq!((of_one.len(), of_two.len(), of_three.len()), (24, 4, 7));
        // These two could take no more, and yet each further port has some.
        let [four, five] = [(); 2].map(|()| Places::within(&process, 0));
        assert_eq!((taken(&four).len(), taken(&five).len()), (1, 1));
        drop(of_two);
        assert_eq!((taken(&three).len(), taken(&two).len()), (3, 1));
    }

    #[tokio::test(start_paused = true)]
    async fn one_leaves_for_one_that_waits_and_more_only_when_many_do() {
        let places = Places::within(&Process::of_files(400), 20);
        let (idle, held) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        for _ in 0..20 {
            let place = places.free().await.unwrap();
            let (idle, held) = (Arc::clone(&idle), Arc::clone(&held));
            held.fetch_add(1, Relaxed);
            tokio::spawn(async move {
                place.is_wanted(|| idle.load(Relaxed)).await;
                held.fetch_sub(1, Relaxed);
            });
        }
        let mut taken = Vec::new();
        // It asked many times before one may go.
        let early = tokio::time::timeout(10 * ASK_AGAIN, places.free()).await;
        assert!(early.is_err() && held.load(Relaxed) == 20);
        idle.store(true, Relaxed);
        taken.push(places.free().await.unwrap());
        tokio::time::sleep(ASK_AGAIN / 10).await;
        assert_eq!(held.load(Relaxed), 19);
        // Many that come at once do not wait a second each.
        let began = Instant::now();
        for _ in 0..14 {
            taken.push(places.free().await.unwrap());
        }
        tokio::time::sleep(ASK_AGAIN / 10).await;
        assert_eq!(held.load(Relaxed), 5);
        assert!(began.elapsed() < 4 * ASK_AGAIN, "{:?}", began.elapsed());
    }

    #[test]
    fn all_that_the_system_allows_may_be_open() {
        assert_eq!(raised_file_limit(), getrlimit(Resource::Nofile).maximum.unwrap_or(u64::MAX));
        assert_eq!(Process::of_files(u64::MAX).of_a_port, Semaphore::MAX_PERMITS / 4 * 3 / 2);
    }
}
