//! Rings and the key-value stores behind them.

use super::client::ClientTls;
use super::{list, minutes, seconds, text};
use crate::duration::GoDuration;
use crate::field::{Secret, section};

section! {
    /// Where the members of a ring keep their state.
    KvStore {
        store: String = text("memberlist"), "memberlist or inmemory";
        prefix: String = text("collectors/"), "prefix of the ring's key";
        consul: Consul, "the consul store";
        etcd: Etcd, "the etcd store";
        multi: MultiStore, "two stores at a time";
    }

    /// A consul store.
    Consul {
        host: String = text("localhost:8500"), "no effect here";
        acl_token: Secret, "no effect here";
        http_client_timeout: GoDuration = seconds(20), "no effect here";
        consistent_reads: bool, "no effect here";
        watch_rate_limit: f64 = 1.0, "no effect here";
        watch_burst_size: i64 = 1, "no effect here";
        cas_retry_delay: GoDuration = seconds(1), "no effect here";
    }

    /// An etcd store.
    Etcd {
        endpoints: Vec<String>, "no effect here";
        dial_timeout: GoDuration = seconds(10), "no effect here";
        max_retries: i64 = 10, "no effect here";
        tls_enabled: bool, "connect by TLS";
        username: String, "no effect here";
        password: Secret, "no effect here";
        @inline {
            tls: ClientTls, "certificates";
        }
    }

    /// Two stores, one of which mirrors the other.
    MultiStore {
        primary: String, "no effect here";
        secondary: String, "no effect here";
        mirror_enabled: bool, "no effect here";
        mirror_timeout: GoDuration = seconds(2), "no effect here";
    }

    /// The ring of a component.
    Ring {
        kvstore: KvStore, "where the ring lives";
        heartbeat_period: GoDuration = seconds(5), "no effect here: memberlist.gossip_interval is the heartbeat";
        heartbeat_timeout: GoDuration = minutes(1), "a member that is silent for longer is unhealthy, and forgotten after twice that time; 0 is never";
        instance_id: String, "name of this member; empty takes the host name";
        instance_interface_names: Vec<String> = list(&["eth0", "en0"]), "no effect here: ingester.lifecycler.interface_names counts for every ring";
        instance_addr: String, "address to advertise; empty picks that of an interface";
        instance_port: u16, "port to advertise; 0 takes the gRPC port";
        enable_inet6: bool, "no effect here: ingester.lifecycler.enable_inet6 counts for every ring";
    }

    /// The ring of a component that waits for the ring to settle.
    StableRing {
        wait_stability_min_duration: GoDuration = minutes(1), "no effect here";
        wait_stability_max_duration: GoDuration = minutes(5), "no effect here";
        wait_active_instance_timeout: GoDuration = minutes(10), "no effect here";
        @inline {
            ring: Ring = Ring { kvstore: KvStore { store: text(""), ..KvStore::default() }, ..Ring::default() }, "the ring";
        }
    }

    /// The ring of a component that knows zones.
    ZonedRing {
        instance_zone: String, "availability zone of this member";
        @inline {
            ring: Ring, "the ring";
        }
    }

    /// A member of the ingester ring.
    Lifecycler {
        ring: IngesterRing, "the ring";
        num_tokens: u32 = 128, "tokens of this member";
        heartbeat_period: GoDuration = seconds(5), "no effect here: memberlist.gossip_interval is the heartbeat";
        heartbeat_timeout: GoDuration = minutes(1), "no effect here: ingester.lifecycler.ring.heartbeat_timeout counts for every member";
        observe_period: GoDuration, "no effect here: of those that claim a token, all members give it to the same one";
        join_after: GoDuration, "wait for a handover before joining";
        min_ready_duration: GoDuration = seconds(15), "earliest time after the start at which it is ready; a process alone does not wait for it";
        interface_names: Vec<String> = list(&["eth0", "en0"]), "interfaces to take the address from";
        enable_inet6: bool, "an IPv6 address may be picked";
        final_sleep: GoDuration, "sleep at the end so that last metrics are scraped";
        tokens_file_path: String, "file that keeps the tokens over restarts";
        availability_zone: String, "availability zone of this member";
        unregister_on_shutdown: bool = true, "leave the ring at shutdown";
        readiness_check_ring_health: bool = true, "ready only when the whole ring is healthy";
        address: String, "address to advertise; empty picks that of an interface";
        port: u16, "port to advertise; 0 takes the gRPC port";
        id: String, "name of this member; empty takes the host name";
    }

    /// The ingester ring as its readers and writers see it.
    IngesterRing {
        kvstore: KvStore, "where the ring lives";
        heartbeat_timeout: GoDuration = minutes(5), "a member that is silent for longer gets no writes; 0 is never, and it is never forgotten";
        replication_factor: usize = 1, "copies of each trace; the single process always uses 1";
        zone_awareness_enabled: bool, "put the copies in different zones";
        excluded_zones: Vec<String>, "zones to leave out";
        auto_forget_unhealthy_periods: u32 = 10, "heartbeat timeouts of silence after which a member is forgotten; 0 is never";
    }

    /// The ring of partitions of the Kafka architecture.
    PartitionRing {
        kvstore: KvStore, "where the ring lives";
        min_partition_owners_count: i64 = 1, "no effect here";
        min_partition_owners_duration: GoDuration = seconds(10), "no effect here";
        delete_inactive_partition_after: GoDuration = super::hours(13), "no effect here";
    }
}
