use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use super::*;
use tactus_rpc::QueryContext;
use tactus_work::Line;

use crate::pool::{JobOptions, Pool};

const OPTIONS: JobOptions = JobOptions {
    timeout: Duration::from_secs(60),
    line: Line { tenant: 1, query: 1 },
    context: QueryContext { query: 0, deadline: None, max_cpu_time: Duration::ZERO },
    explain: false,
    bypasses_caches: false,
};

/// Runs `parts` parts and takes results up to and including the first that is at least `enough`.
async fn run(threads: usize, parts: usize, enough: usize, start: Start) -> (Vec<usize>, usize) {
    let pool = Pool::new(1, threads, 100);
    let job = move |job: &Job| {
        let (mut taken, begun) = (Vec::new(), Arc::new(AtomicUsize::new(0)));
        let count = Arc::clone(&begun);
        let square = move |part: usize, job: &Job| {
            count.fetch_add(1, Ordering::Relaxed);
            job.hold_bytes((part * 31 % 101) as u64)?;
            for _ in 0..part % 7 {
                std::thread::yield_now();
            }
            Ok(part * part)
        };
        for_each_part(job, 0..parts, start, square, |result| {
            taken.push(result);
            Ok(if result >= enough { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
        })?;
        Ok((taken, begun.load(Ordering::Relaxed)))
    };
    pool.run(OPTIONS, job).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn results_come_in_order_whatever_the_threads() {
    for threads in [1, 2, 3, 8] {
        for parts in [0, 1, 2, 3, 10, 100] {
            for start in [Start::Alone, Start::Together] {
                let (taken, begun) = run(threads, parts, usize::MAX, start).await;
                let expected: Vec<_> = (0..parts).map(|part| part * part).collect();
                assert_eq!((taken, begun), (expected, parts), "{threads} {parts} {start:?}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn enough_results_end_the_work() {
    for threads in [1, 2, 8] {
        let (taken, begun) = run(threads, 1_000, 49, Start::Together).await;
        assert_eq!(taken, [0, 1, 4, 9, 16, 25, 36, 49]);
        assert!(begun <= 8 + threads * PARTS_AHEAD, "{begun}");
    }
    let (taken, begun) = run(8, 1_000, 0, Start::Alone).await;
    assert_eq!((taken, begun), (vec![0], 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn first_failure_in_order_is_the_one_reported() {
    for panics in [false, true] {
        let pool = Pool::new(1, 4, 0);
        let result = pool.run(OPTIONS, move |job| {
            let own = std::thread::current().id();
            let fail = move |part: usize, _: &Job| match part {
                0..10 => Ok(()),
                _ if panics && std::thread::current().id() != own => panic!("on purpose"),
                _ => Err(Error::Invalid(part.to_string())),
            };
            let mut taken = 0;
            let result = for_each_part(job, 0..100, Start::Together, fail, |()| {
                taken += 1;
                Ok(ControlFlow::Continue(()))
            });
            assert_eq!(taken, 10);
            result
        });
        match result.await {
            Err(Error::Invalid(part)) => assert_eq!(part, "10"),
            Err(Error::Internal(_)) => assert!(panics),
            other => panic!("{other:?}"),
        }
        // All places are free again.
        pool.run(OPTIONS, |job| job.hold_bytes(0)).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cancelled_job_stops_within_a_part() {
    let pool = Pool::new(1, 2, 0);
    let begun = Arc::new(AtomicUsize::new(0));
    let (started_sender, mut started) = tokio::sync::mpsc::unbounded_channel();
    let count = Arc::clone(&begun);
    let mut running = Box::pin(pool.run(OPTIONS, move |job| {
        let until_cancelled = move |_: usize, job: &Job| -> Result<()> {
            count.fetch_add(1, Ordering::Relaxed);
            let _ = started_sender.send(());
            loop {
                job.check()?;
                std::thread::yield_now();
            }
        };
        for_each_part(job, 0..100, Start::Together, until_cancelled, |()| {
            Ok(ControlFlow::Continue(()))
        })
    }));
    tokio::select! {
        _ = &mut running => panic!("the job cannot end by itself"),
        _ = started.recv() => {}
    }
    drop(running);
    // The only slot is free once the job has ended.
    pool.run(OPTIONS, |_| Ok(())).await.unwrap();
    assert!(begun.load(Ordering::Relaxed) <= 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn jobs_that_share_processors_all_end() {
    let pool = Arc::new(Pool::new(8, 2, 100));
    let jobs = (0..40).map(|query| {
        let (pool, options) = (
            Arc::clone(&pool),
            JobOptions { line: Line { tenant: query % 2, query: query % 5 }, ..OPTIONS },
        );
        async move {
            let sum = |job: &Job| {
                let run = |part: usize, job: &Job| {
                    job.hold_bytes((part * 7 % 100) as u64)?;
                    job.shared().pause(std::thread::yield_now);
                    Ok(part)
                };
                let mut sum = 0;
                for_each_part(job, 0..50, Start::Together, run, |part| {
                    sum += part;
                    Ok(ControlFlow::Continue(()))
                })?;
                Ok(sum)
            };
            assert_eq!(pool.run(options, sum).await.unwrap(), 1_225);
        }
    });
    futures_util::future::join_all(jobs).await;
}
