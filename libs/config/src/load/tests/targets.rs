//! What counts only in a cluster, and numbers that are adjusted whatever the target.

use super::*;

#[test]
fn share_of_ingesters_that_is_too_small_for_the_copies_is_refused_in_a_cluster() {
    let text = "ingester: {lifecycler: {ring: {replication_factor: 3}}}\n\
                overrides: {defaults: {ingestion: {tenant_shard_size: 2}}}";
    assert_eq!(loaded(text, "").config.overrides.defaults.ingestion.tenant_shard_size, 2);
    let error = refused(text, "-target=distributor").to_string();
    assert!(error.contains("overrides.defaults.ingestion.tenant_shard_size"), "{error}");
    for enough in ["0", "3"] {
        loaded(&text.replace("size: 2", &format!("size: {enough}")), "-target=distributor");
    }
}

#[test]
fn store_of_another_kind_is_no_ring_of_a_cluster() {
    for store in ["consul", "etcd", "multi"] {
        let text = format!("ingester: {{lifecycler: {{ring: {{kvstore: {{store: {store}}}}}}}}}");
        let expected = format!(
            "ingester.lifecycler.ring.kvstore.store: {store} is not supported: rings are kept by memberlist"
        );
        // It never had a ring to keep elsewhere.
        let alone = loaded(&text, "");
        assert_eq!(alone.config.ingester.lifecycler.ring.kvstore.store, "inmemory");
        assert_eq!((alone.warnings.len(), alone.verify_exit_code()), (1, 0), "{store}");
        assert!(alone.warnings[0].starts_with(&expected), "{:?}", alone.warnings);
        let members = format!("{text}\nmemberlist: {{join_members: ['a:7946']}}");
        for target in ["scalable-single-binary", "distributor"] {
            let error = refused(&members, &format!("-target={target}")).to_string();
            assert!(error.contains(&expected), "{target}: {error}");
        }
    }
    let replaced = "ingester: {lifecycler: {ring: {kvstore: {store: inmemory}}}}\n\
                    memberlist: {join_members: ['a:7946']}";
    let config = loaded(replaced, "-target=scalable-single-binary").config;
    assert_eq!(config.ingester.lifecycler.ring.kvstore.store, "memberlist");
}

#[test]
fn tasks_at_a_time_are_a_number_that_can_be_multiplied() {
    let most = i64::MAX;
    let text = format!(
        "ingester: {{concurrent_flushes: {most}}}\n\
         querier: {{max_concurrent_queries: {most}, max_threads: {most}}}"
    );
    let config = loaded(&text, "").config;
    let querier = &config.querier;
    for number in
        [config.ingester.concurrent_flushes, querier.max_concurrent_queries, querier.max_threads]
    {
        assert_eq!(number, 1 << 20);
    }
}
