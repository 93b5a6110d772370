use std::time::Duration;

use tactus_config::sections::overrides::RetentionPolicy;
use tactus_storage::meta::BlockVersion;
use tactus_telemetry::metrics::Registry;

use super::*;
use crate::testing::{SAMPLE_TENANT, add_sample, compactor, show};

#[tokio::test]
async fn block_that_is_too_large_to_be_merged_still_has_its_retention_policy_applied() {
    let directory = tempfile::tempdir().unwrap();
    let limits = Arc::new(|_: &str| Limits::default());
    let compactor = compactor(&directory, limits, &Registry::new());
    let now = Timestamp::now();
    compactor.clock.trust(now);
    let end = now.checked_sub(Duration::from_secs(7200)).unwrap();
    let ids = [1, 2, 3].map(Uuid::from_u128);
    let blocks = ids.map(|id| {
        let meta = BlockMeta::new(BlockVersion::VParquet4, "t", id);
        BlockMeta { size: 1, start_time: end, end_time: end, ..meta }
    });
    show(&compactor, "t", blocks.into());
    let mut limits = Limits::default();
    let query = "{ name = \"ping\" }".to_owned();
    let retention = Duration::from_secs(1).into();
    limits.compaction.retention_policies = vec![RetentionPolicy { query, retention }];
    let due = || {
        let due = compactor.due("t", &limits, now).into_iter().map(|rewrite| {
            let ids = rewrite.inputs.iter().map(|meta| meta.block_id).collect();
            (rewrite.purpose == Purpose::Merge, ids)
        });
        due.collect::<Vec<(bool, Vec<Uuid>)>>()
    };
    let [one, two, three] = ids.map(|id| vec![id]);
    let all = [(true, ids.to_vec()), (false, one.clone()), (false, two), (false, three.clone())];
    assert_eq!(due(), all);
    // Each failure doubles the pause.
    for _ in 0..10 {
        compactor.leave_out("t", ids[1], Reason::Damaged);
        compactor.leave_out("t", ids[2], Reason::TooLarge);
    }
    assert_eq!(due(), [(false, one), (false, three)]);
}

#[tokio::test]
async fn block_whose_meta_has_an_odd_end_loses_no_traces_that_are_to_be_kept() {
    let mut limits = Limits::default();
    limits.compaction.block_retention = Duration::from_secs(365 * 24 * 3600).into();
    let query = "{ name = \"no such span\" }".to_owned();
    let retention = Duration::from_secs(1).into();
    limits.compaction.retention_policies = vec![RetentionPolicy { query, retention }];
    for end in ["0001-01-01T00:00:00Z", "2600-01-01T00:00:00Z"] {
        let (directory, limits) = (tempfile::tempdir().unwrap(), limits.clone());
        let limits = Arc::new(move |_: &str| limits.clone());
        let compactor = compactor(&directory, limits, &Registry::new());
        let block = add_sample(&directory, &compactor).await;
        let sound = compactor.blocklist.tenant(SAMPLE_TENANT).shared_meta(block).unwrap();
        compactor.clock.trust(sound.end_time.checked_add(Duration::from_secs(24 * 3600)).unwrap());
        let odd = BlockMeta { end_time: end.parse().unwrap(), ..(*sound).clone() };
        let rewrite = Rewrite {
            inputs: vec![Arc::new(odd)],
            owner: "owner".to_owned(),
            purpose: Purpose::Expire("marker".to_owned()),
            changes: Changes::default(),
        };
        let stop = CancellationToken::new();
        let stats = compactor.rewrite(SAMPLE_TENANT, rewrite, &stop).await.unwrap().stats;
        assert_eq!((stats.traces_written, stats.traces_expired), (sound.total_objects, 0), "{end}");
    }
}
