use std::time::Duration;

use tactus_config::sections::overrides::RetentionPolicy;
use tactus_storage::meta::BlockVersion;
use tactus_telemetry::metrics::Registry;

use super::*;
use crate::testing::{compactor, show};

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
