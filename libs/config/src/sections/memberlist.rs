//! `memberlist`: gossip between the members of a cluster.

use super::client::ClientTls;
use super::{millis, minutes, seconds, text};
use crate::duration::GoDuration;
use crate::field::section;

section! {
    /// Gossip.
    Memberlist {
        node_name: String, "name of this member; empty takes the host name";
        randomize_node_name: bool = true, "add a random part to the name";
        stream_timeout: GoDuration = seconds(2), "time for a full exchange";
        retransmit_factor: i64 = 2, "no effect here";
        pull_push_interval: GoDuration = seconds(30), "see rejoin_interval";
        gossip_interval: GoDuration = seconds(1), "time between rounds of news";
        gossip_nodes: i64 = 2, "no effect here";
        gossip_to_dead_nodes_time: GoDuration = seconds(30), "no effect here";
        dead_node_reclaim_time: GoDuration, "no effect here";
        compression_enabled: bool, "no effect here";
        notify_interval: GoDuration, "no effect here";
        advertise_addr: String, "address to advertise; empty takes the first of bind_addr, or that of an interface";
        advertise_port: u16 = 7946, "port to advertise";
        cluster_label: String, "members with another label are kept out, and calls from them refused";
        cluster_label_verification_disabled: bool, "accept members and calls with any label, as while the label is changed";
        join_members: Vec<String>, "members to join: host:port, dns+name:port, or dnssrv+name for the targets of SRV records";
        min_join_backoff: GoDuration = seconds(1), "first delay between attempts to join";
        max_join_backoff: GoDuration = minutes(1), "longest delay between attempts to join";
        max_join_retries: i64 = 10, "attempts to join before abort_if_cluster_join_fails stops the process; 0 is no limit";
        abort_if_cluster_join_fails: bool, "stop when joining fails; one that has joined goes on when it is alone later";
        abort_if_cluster_fast_join_fails: bool, "stop when the first attempt to join fails";
        abort_if_cluster_fast_join_fails_min_nodes: i64 = 1, "members the first attempt must reach";
        rejoin_interval: GoDuration, "interval at which the members to join are looked up again and contacted; 0 takes pull_push_interval";
        rejoin_seed_nodes: Vec<String>, "no effect here";
        left_ingesters_timeout: GoDuration = minutes(5), "how long members that left are remembered";
        obsolete_entries_timeout: GoDuration = seconds(30), "no effect here";
        leave_timeout: GoDuration = seconds(20), "time to tell others at shutdown";
        broadcast_timeout_for_local_updates_on_shutdown: GoDuration = seconds(10), "no effect here";
        message_history_buffer_bytes: i64, "no effect here";
        received_messages_queue_size: i64 = 1_024, "no effect here";
        watch_prefix_buffer_size: i64 = 128, "no effect here";
        bind_addr: Vec<String>, "addresses to listen on; empty is every one";
        bind_port: u16 = 7946, "port to listen on";
        packet_dial_timeout: GoDuration = seconds(2), "time to connect";
        packet_write_timeout: GoDuration = seconds(5), "time to write a message";
        max_concurrent_writes: i64 = 3, "no effect here";
        acquire_writer_timeout: GoDuration = millis(250), "no effect here";
        tls_enabled: bool, "connect by TLS";
        zone_aware_routing: ZoneAwareRouting, "no effect here";
        propagation_delay_tracker: PropagationDelayTracker, "no effect here";
        @inline {
            tls: ClientTls, "certificates";
        }
    }

    /// Gossip that stays within a zone.
    ZoneAwareRouting {
        enabled: bool, "no effect here";
        instance_availability_zone: String, "no effect here";
        role: String = text("member"), "no effect here";
    }

    /// Measures how fast news travels.
    PropagationDelayTracker {
        enabled: bool, "no effect here";
        beacon_interval: GoDuration = minutes(1), "no effect here";
        beacon_lifetime: GoDuration = minutes(10), "no effect here";
        log_beacons_latency_longer_than: GoDuration, "no effect here";
    }
}
