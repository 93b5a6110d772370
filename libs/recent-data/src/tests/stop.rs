//! What comes in while the ingester stops.

use super::*;

#[tokio::test]
async fn push_that_waits_for_the_last_cut_is_refused() {
    let bench = Bench::new();
    let ingester = bench.open();
    std::thread::scope(|scope| {
        let cut = ingester.current.write();
        let push = scope.spawn(|| ingester.push(&push_of("t1", &[span(1, 1, 1)]), &tenant()));
        // By then it has found that pushes are taken.
        while ingester.tenant(&tenant()).is_none() {
            std::thread::yield_now();
        }
        ingester.stop_pushes();
        drop(cut);
        let error = push.join().unwrap().unwrap_err();
        assert!(matches!(error, PushError::NotRunning(_)), "{error}");
    });
    assert!(held(&ingester).is_empty());
}
