//! The sections of the Kafka architecture: read and checked, without effect.

use super::ring::{PartitionRing, ZonedRing};
use super::storage::{Block, Wal};
use super::{hours, minutes, seconds, text};
use crate::duration::GoDuration;
use crate::field::{Secret, section};
use std::collections::BTreeMap;

section! {
    /// `ingest`.
    Ingest {
        enabled: bool, "no effect here";
        kafka: Kafka, "no effect here";
    }

    /// A Kafka cluster.
    Kafka {
        address: String = text("localhost:9092"), "no effect here";
        topic: String, "no effect here";
        client_id: String, "no effect here";
        dial_timeout: GoDuration = seconds(2), "no effect here";
        write_timeout: GoDuration = seconds(10), "no effect here";
        sasl_username: String, "no effect here";
        sasl_password: Secret, "no effect here";
        consumer_group: String, "no effect here";
        consumer_group_offset_commit_interval: GoDuration = seconds(1), "no effect here";
        last_produced_offset_retry_timeout: GoDuration = seconds(10), "no effect here";
        auto_create_topic_enabled: bool = true, "no effect here";
        auto_create_topic_default_partitions: i64 = 1_000, "no effect here";
        producer_max_record_size_bytes: i64 = 15_983_616, "no effect here";
        producer_max_buffered_bytes: i64 = 1_073_741_824, "no effect here";
        target_consumer_lag_at_startup: GoDuration = seconds(2), "no effect here";
        max_consumer_lag_at_startup: GoDuration = seconds(15), "no effect here";
        disable_kafka_telemetry: bool, "no effect here";
        consumer_group_lag_metric_update_interval: GoDuration = minutes(1), "no effect here";
    }

    /// `block_builder`.
    BlockBuilder {
        instance_id: String, "no effect here";
        assigned_partitions: BTreeMap<String, Vec<i64>>, "no effect here";
        partitions_per_instance: i64, "no effect here";
        consume_cycle_duration: GoDuration = minutes(5), "no effect here";
        max_consuming_bytes: u64 = 5_000_000_000, "no effect here";
        block: BlockBuilderBlock, "no effect here";
        wal: Wal = Wal { path: text("/var/tempo/block-builder/traces"), ..Wal::default() }, "no effect here";
    }

    /// Blocks of the block builder.
    BlockBuilderBlock {
        max_block_bytes: u64 = 20_971_520, "no effect here";
        @inline {
            block: Block, "no effect here";
        }
    }

    /// `live_store`.
    LiveStore {
        ring: ZonedRing, "no effect here";
        partition_ring: PartitionRing, "no effect here";
        metrics: LiveStoreMetrics, "no effect here";
        commit_interval: GoDuration = seconds(5), "no effect here";
        wal: Wal = Wal { path: text("/var/tempo/live-store/traces"), ..Wal::default() }, "no effect here";
        query_block_concurrency: i64 = 10, "no effect here";
        complete_block_timeout: GoDuration = hours(1), "no effect here";
        complete_block_concurrency: i64 = 2, "no effect here";
        shutdown_marker_dir: String, "no effect here";
        flush_check_period: GoDuration = seconds(10), "no effect here";
        flush_op_timeout: GoDuration = minutes(5), "no effect here";
        max_trace_live: GoDuration = seconds(30), "no effect here";
        max_trace_idle: GoDuration = seconds(5), "no effect here";
        max_live_traces_bytes: u64 = 250_000_000, "no effect here";
        max_block_duration: GoDuration = minutes(30), "no effect here";
        max_block_bytes: u64 = 104_857_600, "no effect here";
        block_config: Block, "no effect here";
        block_reclaim_grace: GoDuration = minutes(2), "no effect here";
        readiness_target_lag: GoDuration, "no effect here";
        readiness_max_wait: GoDuration = minutes(30), "no effect here";
        fail_on_high_lag: bool = true, "no effect here";
        remove_owner_on_shutdown: bool = true, "no effect here";
    }

    /// Metrics queries of the live store.
    LiveStoreMetrics {
        time_overlap_cutoff: f64 = 0.2, "no effect here";
    }
}

impl Kafka {
    /// A Kafka section where nothing has a default, as in `distributor.kafka_config`.
    pub(crate) fn unset() -> Self {
        Self {
            address: String::new(),
            dial_timeout: GoDuration::ZERO,
            write_timeout: GoDuration::ZERO,
            consumer_group_offset_commit_interval: GoDuration::ZERO,
            last_produced_offset_retry_timeout: GoDuration::ZERO,
            auto_create_topic_enabled: false,
            auto_create_topic_default_partitions: 0,
            producer_max_record_size_bytes: 0,
            producer_max_buffered_bytes: 0,
            target_consumer_lag_at_startup: GoDuration::ZERO,
            max_consumer_lag_at_startup: GoDuration::ZERO,
            consumer_group_lag_metric_update_interval: GoDuration::ZERO,
            ..Self::default()
        }
    }
}
