use std::sync::Arc;

use tactus_compaction::RedactionScope;
use tactus_telemetry::metrics::Registry;

use super::*;
use crate::settings::Limits;
use crate::testing::{SAMPLE_TENANT, add_sample, compactor, sample_data};

const LONG: Duration = Duration::from_secs(600);

fn process(directory: &tempfile::TempDir) -> Arc<Compactor> {
    compactor(directory, Arc::new(|_: &str| Limits::default()), &Registry::new())
}

/// Removes an attribute that spans of the sample block have.
fn request() -> JobRequest {
    let redaction = RedactionRequest {
        scope: RedactionScope::Span,
        attribute: "region".to_owned(),
        action: RedactionKind::Remove,
        replacement: None,
        query: None,
        start: None,
        end: None,
    };
    JobRequest { redact: vec![redaction], ..JobRequest::default() }
}

#[tokio::test]
async fn job_that_another_process_cancels_during_a_save_stays_cancelled_and_keeps_its_blocks() {
    let directory = tempfile::tempdir().unwrap();
    let (running, asked) = (process(&directory), process(&directory));
    for _ in 0..20 {
        let mut record = running.create_job("t", request()).await.unwrap();
        let id = record.id;
        record.status = JobStatus::Running;
        record.note(BlockChange::of(Uuid::from_u128(1)));
        let (saved, cancelled) =
            tokio::join!(running.save_job(&mut record), asked.cancel_job("t", id));
        saved.unwrap();
        assert_eq!(cancelled.unwrap().status, JobStatus::Cancelled);
        let stored = running.job("t", id).await.unwrap();
        assert_eq!((stored.status, stored.blocks.len()), (JobStatus::Cancelled, 1));
    }
}

#[tokio::test]
async fn block_that_a_job_has_rewritten_is_looked_into_again_if_it_comes_back() {
    let directory = tempfile::tempdir().unwrap();
    let compactor = process(&directory);
    let block = add_sample(&directory, &compactor).await;
    let id = compactor.create_job(SAMPLE_TENANT, request()).await.unwrap().id;
    compactor.run_jobs(LONG, &CancellationToken::new()).await;
    let record = compactor.job(SAMPLE_TENANT, id).await.unwrap();
    assert_eq!(record.blocks.len(), 1, "{record:?}");
    assert_eq!(record.blocks[0].block, block);
    assert!(record.blocks[0].replaced_by.is_some());
    assert!(!compactor.jobs.lock()[&id].checked.contains(&block));
}

#[tokio::test]
async fn link_to_itself_beside_the_records_holds_up_no_job() {
    let directory = tempfile::tempdir().unwrap();
    let compactor = process(&directory);
    add_sample(&directory, &compactor).await;
    std::os::unix::fs::symlink("itself", directory.path().join("itself")).unwrap();
    let id = compactor.create_job(SAMPLE_TENANT, request()).await.unwrap().id;
    compactor.run_jobs(LONG, &CancellationToken::new()).await;
    let record = compactor.job(SAMPLE_TENANT, id).await.unwrap();
    assert_eq!((record.status, record.blocks.len()), (JobStatus::Watching, 1));
}

#[tokio::test]
async fn pass_of_a_job_tells_how_far_it_is_or_why_there_was_none() {
    let directory = tempfile::tempdir().unwrap();
    let compactor = process(&directory);
    add_sample(&directory, &compactor).await;
    let id = compactor.create_job(SAMPLE_TENANT, request()).await.unwrap().id;
    let stop = CancellationToken::new();
    let status = compactor.run_job(SAMPLE_TENANT, id, None, &stop).await.unwrap();
    assert_eq!(status, JobStatus::Watching);
    std::fs::write(directory.path().join(store::key(SAMPLE_TENANT, id)), "{").unwrap();
    let error = compactor.run_job(SAMPLE_TENANT, id, None, &stop).await.unwrap_err();
    assert!(matches!(error, Error::BadRecord { .. }), "{error}");
}

#[tokio::test]
async fn block_that_a_job_cannot_look_into_is_not_left_out_of_merges() {
    let directory = tempfile::tempdir().unwrap();
    let compactor = process(&directory);
    let block = add_sample(&directory, &compactor).await;
    std::fs::remove_file(sample_data(directory.path())).unwrap();
    let id = compactor.create_job(SAMPLE_TENANT, request()).await.unwrap().id;
    compactor.run_jobs(LONG, &CancellationToken::new()).await;
    let record = compactor.job(SAMPLE_TENANT, id).await.unwrap();
    assert!(record.error.contains(&block.to_string()), "{record:?}");
    assert!(compactor.left_out(SAMPLE_TENANT, |_| true).is_empty());
}
