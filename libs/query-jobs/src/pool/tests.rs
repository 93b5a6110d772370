use std::sync::atomic::{AtomicBool, Ordering};

use super::*;

const LONG: JobOptions = JobOptions {
    timeout: Duration::from_secs(60),
    line: Line { tenant: 1, query: 1 },
    context: QueryContext { query: 0, deadline: None, max_cpu_time: Duration::ZERO },
    explain: false,
    bypasses_caches: false,
};

fn pool(jobs: usize) -> Pool {
    Pool::new(jobs, 2, 1 << 20)
}

#[tokio::test]
async fn dropped_job_is_cancelled() {
    let pool = pool(1);
    let (started_sender, started) = tokio::sync::oneshot::channel();
    let (seen_sender, seen) = tokio::sync::oneshot::channel();
    let mut running = Box::pin(pool.run(LONG, move |job| {
        let _ = started_sender.send(());
        while job.check().is_ok() {
            std::thread::yield_now();
        }
        let _ = seen_sender.send(());
        Ok(())
    }));
    tokio::select! {
        _ = &mut running => panic!("the job cannot end by itself"),
        _ = started => {}
    }
    drop(running);
    seen.await.unwrap();
    // The thread is free again.
    assert_eq!(pool.run(LONG, |_| Ok(7)).await.unwrap(), 7);
}

#[tokio::test]
async fn slow_job_times_out_and_a_panic_is_an_error() {
    let pool = pool(2);
    let (sender, receiver) = std::sync::mpsc::channel::<()>();
    let short = JobOptions { timeout: Duration::from_millis(1), ..LONG };
    let slow = pool.run(short, move |_| {
        let _ = receiver.recv();
        Ok(())
    });
    assert!(matches!(slow.await, Err(Error::TimedOut)));
    drop(sender);
    let failing = pool.run(LONG, |_| -> Result<()> { panic!("on purpose") });
    assert!(matches!(failing.await, Err(Error::Internal(_))));
    // Neither kept its place.
    let both = futures_util::future::join(pool.run(LONG, |_| Ok(1)), pool.run(LONG, |_| Ok(2)));
    assert!(matches!(both.await, (Ok(1), Ok(2))));
}

#[tokio::test]
async fn tenants_whose_jobs_take_long_leave_a_place_to_another() {
    let pool = pool(2);
    let run_until_dropped = |tenant| {
        let options = JobOptions { line: Line { tenant, query: tenant }, ..LONG };
        pool.run(options, |job| {
            // Without a turn, as a job that lets others go first.
            job.shared().pause(|| {
                while !job.shared().is_cancelled() {
                    std::thread::yield_now();
                }
            });
            Ok(())
        })
    };
    let long = futures_util::future::join_all([1, 2, 1, 2, 1, 2].map(run_until_dropped));
    let other = JobOptions { line: Line { tenant: 3, query: 3 }, ..LONG };
    tokio::select! {
        biased;
        _ = long => panic!("they do not end by themselves"),
        done = pool.run(other, |_| Ok(7)) => assert_eq!(done.unwrap(), 7),
    }
}

#[tokio::test]
async fn end_waits_for_the_threads_and_takes_no_more_jobs() {
    let pool = pool(1);
    let left = Arc::new(AtomicBool::new(false));
    let leaving = Arc::clone(&left);
    let (started_sender, started) = tokio::sync::oneshot::channel();
    let running = pool.run(LONG, move |job| {
        let _ = started_sender.send(());
        while job.check().is_ok() {
            std::thread::yield_now();
        }
        leaving.store(true, Ordering::Relaxed);
        job.check()
    });
    let end = async {
        started.await.unwrap();
        pool.end().await;
        assert!(left.load(Ordering::Relaxed));
    };
    let (result, ()) = futures_util::future::join(running, end).await;
    assert!(matches!(result, Err(Error::Cancelled)));
    assert!(matches!(pool.run(LONG, |_| Ok(1)).await, Err(Error::Cancelled)));
}

#[tokio::test]
async fn more_memory_than_there_is_is_refused_by_name() {
    let result = pool(1).run(LONG, |job| job.hold_bytes((1 << 20) + 1)).await;
    let text = result.unwrap_err().to_string();
    assert!(text.contains("querier.max_job_memory_bytes is 1048576"), "{text}");
}

#[tokio::test]
async fn reads_of_a_cancelled_job_stop() {
    let pool = pool(1);
    let result = pool.run(LONG, |job| {
        assert!(read_for_job(true, || Ok(3), |_| 3).is_ok());
        assert_eq!((job.inspected_bytes(), job.shared().has_waited()), (3, true));
        job.shared().cancelled.stop();
        let error = read_for_job(true, || Ok(4), |_| 4).unwrap_err();
        assert!(matches!(Error::from(error), Error::Cancelled));
        Ok(job.inspected_bytes())
    });
    assert_eq!(result.await.unwrap(), 3);
}

#[tokio::test]
async fn jobs_are_counted_while_they_wait() {
    let waiting = Gauge::default();
    let pool = pool(1).counting(waiting.clone());
    let (started_sender, started) = tokio::sync::oneshot::channel();
    let (end_sender, end) = std::sync::mpsc::channel::<()>();
    let running = pool.run(LONG, move |_| {
        let _ = started_sender.send(());
        let _ = end.recv();
        Ok(())
    });
    let others = async {
        started.await.unwrap();
        assert_eq!(waiting.get(), 0.0);
        let mut next = Box::pin(pool.run(LONG, |_| Ok(())));
        let mut given_up = Box::pin(pool.run(LONG, |_| Ok(())));
        tokio::select! {
            biased;
            _ = &mut next => panic!("there is one slot"),
            _ = &mut given_up => panic!("there is one slot"),
            () = std::future::ready(()) => assert_eq!(waiting.get(), 2.0),
        }
        drop(given_up);
        assert_eq!(waiting.get(), 1.0);
        end_sender.send(()).unwrap();
        next.await.unwrap();
    };
    let (ran, ()) = futures_util::future::join(running, others).await;
    ran.unwrap();
    assert_eq!(waiting.get(), 0.0);
}
