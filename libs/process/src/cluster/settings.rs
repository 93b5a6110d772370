//! The settings of membership and rings, from the configuration.

use std::{
    net::{IpAddr, Ipv6Addr, SocketAddr},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use tactus_config::{
    Config, GoDuration, address,
    sections::{memberlist::Memberlist, ring::Ring},
    target::services_of,
};
use tactus_ring::{
    GossipSettings, LifecyclerSettings, MembershipSettings, RingFile, RingSettings, Seed,
    SelfDescription, TransportSettings, WatchSettings, detect_address,
};
use tactus_telemetry::metrics::Registry;
use tactus_tls::{ClientAuth, ClientTls, Pem, ServerTls, ServerTlsSettings};

use crate::{Error, VERSION};

/// Members that are silent for this many rounds are suspect.
const SUSPECT_ROUNDS: u32 = 10;
/// Stale members of rings other than that of ingesters are forgotten after this many heartbeat timeouts: they hold no spans.
const FORGET_PERIODS: u32 = 2;

/// How a ring is watched, and how this process takes part in it.
pub(super) type RingPlan = (WatchSettings, LifecyclerSettings);

/// The membership and the rings that this process takes part in.
pub(super) struct Plan {
    pub(super) membership: MembershipSettings,
    pub(super) ingesters: RingPlan,
    pub(super) distributors: RingPlan,
    pub(super) compactors: RingPlan,
    pub(super) generators: RingPlan,
    pub(super) compactors_share: bool,
}

/// Plans the rings and the membership of this process.
///
/// Errors: an unknown store; settings that contradict each other; no address that others could reach.
pub(super) fn plan(config: &Config) -> Result<Plan, Error> {
    let gossips = gossips(config)?;
    if gossips {
        refuse_open_gossip(config)?;
    }
    let own = OwnAddress { ip: own_ip(config, gossips), port: config.server.cluster_port() };
    let (distributor, compactor) = (&config.distributor, &config.compactor);
    let generator = &config.metrics_generator;
    let generators = {
        let (key, ring) = (&generator.override_ring_key, &generator.ring.ring);
        let (watch, place) = helper_ring("metrics-generator", key, ring, 256, own);
        let zone = generator.ring.instance_zone.clone();
        (watch, LifecyclerSettings { zone, ..place })
    };
    let distributor_key = &distributor.override_ring_key;
    let (compactor_key, compactor_ring) = (&compactor.override_ring_key, &compactor.ring.ring);
    Ok(Plan {
        membership: membership(config, own.ip, gossips)?,
        ingesters: ingester_ring(config, own, gossips),
        distributors: helper_ring("distributor", distributor_key, &distributor.ring, 1, own),
        compactors: helper_ring("compactor", compactor_key, compactor_ring, 512, own),
        generators,
        compactors_share: compactor_ring.kvstore.store == "memberlist" && gossips,
    })
}

/// The address at which the other processes of the cluster reach this one.
#[derive(Clone, Copy)]
struct OwnAddress {
    ip: IpAddr,
    port: u16,
}

impl OwnAddress {
    /// `host:port`, where an empty or unspecified host or port 0 of the configuration stands for our own.
    fn or_configured(self, host: &str, port: u16) -> String {
        let port = if port == 0 { self.port } else { port };
        let Some(host) = address::advertised(host) else {
            return SocketAddr::new(self.ip, port).to_string();
        };
        match address::literal(host) {
            Some(ip) => SocketAddr::new(ip, port).to_string(),
            // With a zone, as in fe80::1%eth0.
            None if host.contains(':') => format!("[{host}]:{port}"),
            None => format!("{host}:{port}"),
        }
    }
}

fn membership(config: &Config, ip: IpAddr, gossips: bool) -> Result<MembershipSettings, Error> {
    let (server, memberlist) = (&config.server, &config.memberlist);
    let description = SelfDescription {
        targets: services_of(&config.target).into_iter().map(str::to_owned).collect(),
        http_address: SocketAddr::new(ip, server.http_listen_port).to_string(),
        grpc_address: SocketAddr::new(ip, server.cluster_port()).to_string(),
        zone: config.ingester.lifecycler.availability_zone.clone(),
        version: VERSION.to_owned(),
        returning: returning(config),
    };
    let name = match memberlist.node_name.as_str() {
        "" => &config.ingester.lifecycler.id,
        name => name,
    };
    let interval = memberlist.gossip_interval.as_std().max(Duration::from_millis(10));
    let alone = MembershipSettings::alone(name, description);
    Ok(MembershipSettings {
        random_name: memberlist.randomize_node_name && gossips,
        gossip: gossips
            .then(|| gossip(memberlist, gossip_ip(memberlist, ip)?, interval))
            .transpose()?,
        suspect_after: if gossips { interval * SUSPECT_ROUNDS } else { alone.suspect_after },
        remember_forgotten: memberlist.left_ingesters_timeout.as_std(),
        ring_file: (gossips && is_ingester(config)).then(|| ring_file(config)),
        registry: Some(Registry::global()),
        ..alone
    })
}

/// The name of the ingester of this process if it has been here before, so that its directory is not empty; else nothing.
fn returning(config: &Config) -> String {
    let has_files = || {
        let directory = std::fs::read_dir(&config.storage.trace.wal.path);
        directory.is_ok_and(|mut files| files.next().is_some())
    };
    if is_ingester(config) && has_files() {
        config.ingester.lifecycler.id.clone()
    } else {
        String::new()
    }
}

fn is_ingester(config: &Config) -> bool {
    services_of(&config.target).contains(&"ingester")
}

/// Where an ingester remembers its ring: beside the spans that the others would miss.
fn ring_file(config: &Config) -> RingFile {
    RingFile {
        ring: ingester_ring_key(config),
        id: config.ingester.lifecycler.id.clone(),
        path: Path::new(&config.storage.trace.wal.path).join("ring.json"),
    }
}

fn ingester_ring_key(config: &Config) -> String {
    let prefix = &config.ingester.lifecycler.ring.kvstore.prefix;
    format!("{prefix}{}", config.ingester.override_ring_key)
}

/// The ring of ingesters, whose members hold spans.
fn ingester_ring(config: &Config, own: OwnAddress, gossips: bool) -> RingPlan {
    let lifecycler = &config.ingester.lifecycler;
    let ring = &lifecycler.ring;
    let timeout = ring.heartbeat_timeout.as_std();
    let replication_factor = if gossips { ring.replication_factor.max(1) } else { 1 };
    let watch = WatchSettings {
        ring: RingSettings {
            name: "ingester".to_owned(),
            replication_factor,
            zone_awareness: ring.zone_awareness_enabled,
            excluded_zones: ring.excluded_zones.clone(),
        },
        key: ingester_ring_key(config),
        heartbeat_timeout: timeout,
        forget_after: forget_after(timeout, ring.auto_forget_unhealthy_periods),
        // If more disappear at once, the network is partitioned, or this process hears nothing. With one or two copies, an
        // ingester is forgotten only by hand: a write is acknowledged by one, so its spans may be nowhere else, and answers
        // without it must say so.
        forget_at_most: Some((replication_factor - 1) / 2),
        awaits_returning: true,
    };
    let address = own.or_configured(&lifecycler.address, lifecycler.port);
    let place = LifecyclerSettings {
        zone: lifecycler.availability_zone.clone(),
        num_tokens: lifecycler.num_tokens,
        tokens_file: (!lifecycler.tokens_file_path.is_empty())
            .then(|| PathBuf::from(&lifecycler.tokens_file_path)),
        join_after: lifecycler.join_after.as_std(),
        min_ready_duration: lifecycler.min_ready_duration.as_std(),
        check_ring_health: lifecycler.readiness_check_ring_health,
        heartbeat_timeout: timeout,
        unregister: lifecycler.unregister_on_shutdown,
        final_sleep: lifecycler.final_sleep.as_std(),
        ..LifecyclerSettings::new(&lifecycler.id, &address)
    };
    (watch, place)
}

/// The silence after which a member is forgotten: so many heartbeat timeouts. Without a timeout, or with no periods, it
/// never is.
fn forget_after(timeout: Duration, periods: u32) -> Option<Duration> {
    let after = timeout.saturating_mul(periods);
    (!after.is_zero()).then_some(after)
}

/// The ring of a service whose members hold no spans.
fn helper_ring(name: &str, key: &str, ring: &Ring, num_tokens: u32, own: OwnAddress) -> RingPlan {
    let timeout = ring.heartbeat_timeout.as_std();
    let watch = WatchSettings {
        key: format!("{}{key}", ring.kvstore.prefix),
        heartbeat_timeout: timeout,
        forget_after: forget_after(timeout, FORGET_PERIODS),
        ..WatchSettings::new(RingSettings::new(name))
    };
    let address = own.or_configured(&ring.instance_addr, ring.instance_port);
    let place = LifecyclerSettings {
        num_tokens,
        check_ring_health: false,
        min_ready_duration: Duration::ZERO,
        heartbeat_timeout: timeout,
        ..LifecyclerSettings::new(&ring.instance_id, &address)
    };
    (watch, place)
}

/// True if there may be other processes. The configuration was checked: a ring is kept by memberlist, or by a process alone.
fn gossips(config: &Config) -> Result<bool, Error> {
    let ingesters = config.ingester.lifecycler.ring.kvstore.store == "memberlist";
    let alone = services_of(&config.target).len() > 1 || config.target == "compactor";
    if !ingesters && !alone {
        return Err(Error::Setup(format!(
            "ingester.lifecycler.ring.kvstore.store: target {} finds the others by memberlist only",
            config.target
        )));
    }
    let shares = config.compactor.ring.ring.kvstore.store == "memberlist";
    Ok(ingesters || (config.target == "compactor" && shares))
}

/// Errors: callers have to say who they are, and members of the cluster, who receive spans in clear, have not.
fn refuse_open_gossip(config: &Config) -> Result<(), Error> {
    let (auth, memberlist) = (&config.auth, &config.memberlist);
    let certificates = memberlist.tls_enabled && !memberlist.tls.tls_ca_path.is_empty();
    let proven = !auth.internal_token_file.is_empty() || certificates;
    if !auth.enabled || proven || auth.allow_open_gossip {
        return Ok(());
    }
    Err(Error::Setup(
        "auth.enabled: everyone who reaches the gossip port could take part in the cluster: set auth.internal_token_file, or \
         memberlist.tls_enabled with memberlist.tls_ca_path, or auth.allow_open_gossip if that is meant"
            .to_owned(),
    ))
}

/// Says who is let into the gossip.
pub(super) fn log_trust(transport: &TransportSettings) {
    let certificates = transport.server_tls.is_some();
    match (transport.demanded_secret(), certificates) {
        (Some(_), _) => tracing::info!(
            tls = certificates,
            "gossip trusts members that prove to know auth.internal_token_file"
        ),
        (None, true) => tracing::info!(
            "gossip trusts members that use TLS, with a certificate of memberlist.tls_ca_path if that is set"
        ),
        (None, false) => tracing::info!("gossip trusts everyone who reaches its port"),
    }
}

/// The address by which others reach this process, where nothing more special is configured.
fn own_ip(config: &Config, gossips: bool) -> IpAddr {
    let lifecycler = &config.ingester.lifecycler;
    if !gossips {
        return IpAddr::from([127, 0, 0, 1]);
    }
    if let Some(ip) = address::advertised(&lifecycler.address).and_then(address::literal) {
        return ip;
    }
    let server = &config.server;
    let own_port = server.internal_grpc().map(|(address, _)| address);
    // Nobody reaches it at another address than the one it listens on.
    match own_port.unwrap_or(&server.grpc_listen_address) {
        "localhost" => IpAddr::from([127, 0, 0, 1]),
        listens => match address::advertised(listens).and_then(address::literal) {
            Some(ip) => ip,
            None => detect_address(&lifecycler.interface_names, lifecycler.enable_inet6),
        },
    }
}

/// The addresses that the gossip of this process listens on; none if it listens on all.
fn bound_ips(memberlist: &Memberlist) -> Vec<IpAddr> {
    let all: Vec<IpAddr> =
        memberlist.bind_addr.iter().filter_map(|text| address::literal(text)).collect();
    if all.iter().any(IpAddr::is_unspecified) { Vec::new() } else { all }
}

/// The address by which others reach the gossip of this process, which may be another than that of its other ports.
/// Errors: it is no address.
fn gossip_ip(memberlist: &Memberlist, own: IpAddr) -> Result<IpAddr, Error> {
    let Some(advertised) = address::advertised(&memberlist.advertise_addr) else {
        let bound = bound_ips(memberlist);
        let first = bound.iter().find(|ip| !ip.is_loopback()).or(bound.first());
        return Ok(if bound.contains(&own) { own } else { first.copied().unwrap_or(own) });
    };
    let invalid = || Error::Setup(format!("memberlist.advertise_addr: {advertised} is no address"));
    address::literal(advertised).ok_or_else(invalid)
}

fn gossip(
    memberlist: &Memberlist,
    ip: IpAddr,
    interval: Duration,
) -> Result<GossipSettings, Error> {
    let invalid =
        |address: &String| Error::Setup(format!("memberlist.bind_addr: {address} is no address"));
    let addresses: Vec<IpAddr> = match memberlist.bind_addr.as_slice() {
        // Which takes both families, as the other ports do: others may know this process by an address of either.
        [] => vec![IpAddr::V6(Ipv6Addr::UNSPECIFIED)],
        named => named
            .iter()
            .map(|text| address::literal(text).ok_or_else(|| invalid(text)))
            .collect::<Result<_, _>>()?,
    };
    let port = memberlist.bind_port;
    let listen: Vec<_> = addresses.into_iter().map(|ip| SocketAddr::new(ip, port)).collect();
    let mut join = Vec::new();
    for member in memberlist.join_members.iter().flat_map(|members| members.split(',')) {
        if !member.trim().is_empty() {
            join.push(Seed::parse(member, port)?);
        }
    }
    let built_in = GossipSettings::new(listen[0], ip);
    // With 0, joining is tried for ever, and never fails.
    let attempts = u32::try_from(memberlist.max_join_retries).ok().filter(|most| *most > 0);
    Ok(GossipSettings {
        listen,
        advertise_port: (memberlist.advertise_port != 0).then_some(memberlist.advertise_port),
        join,
        interval,
        rejoin_interval: [memberlist.rejoin_interval, memberlist.pull_push_interval]
            .into_iter()
            .find_map(GoDuration::non_zero)
            .unwrap_or(built_in.rejoin_interval),
        join_backoff: (memberlist.min_join_backoff.as_std(), memberlist.max_join_backoff.as_std()),
        abort_unless_reached: memberlist.abort_if_cluster_fast_join_fails.then(|| {
            usize::try_from(memberlist.abort_if_cluster_fast_join_fails_min_nodes).unwrap_or(1)
        }),
        abort_after_attempts: attempts.filter(|_| memberlist.abort_if_cluster_join_fails),
        leave_timeout: memberlist.leave_timeout.as_std(),
        transport: transport(memberlist)?,
        ..built_in
    })
}

fn transport(memberlist: &Memberlist) -> Result<TransportSettings, Error> {
    let tls = memberlist.tls_enabled;
    Ok(TransportSettings {
        label: memberlist.cluster_label.clone(),
        any_label: memberlist.cluster_label_verification_disabled,
        connect_timeout: memberlist.packet_dial_timeout.as_std(),
        stream_timeout: memberlist.stream_timeout.as_std(),
        write_timeout: memberlist.packet_write_timeout.as_std(),
        server_tls: tls.then(|| gossip_server(memberlist)).transpose()?,
        client_tls: tls
            .then(|| {
                ClientTls::load(tactus_tls::from_config::client("memberlist", &memberlist.tls))
            })
            .transpose()?,
        ..TransportSettings::default()
    })
}

/// Both sides of gossip show the same certificate, and check the other's where authorities are named.
fn gossip_server(memberlist: &Memberlist) -> Result<Arc<ServerTls>, Error> {
    let tls = &memberlist.tls;
    let pem = |key: &str, path: &str| Pem::file(format!("memberlist.{key}"), path);
    if tls.tls_cert_path.is_empty() || tls.tls_key_path.is_empty() {
        return Err(Error::Setup(
            "memberlist.tls_enabled needs memberlist.tls_cert_path and tls_key_path".to_owned(),
        ));
    }
    let authorities = (!tls.tls_ca_path.is_empty()).then(|| pem("tls_ca_path", &tls.tls_ca_path));
    let settings = ServerTlsSettings {
        client_auth: match authorities {
            Some(_) => ClientAuth::RequireAndVerify,
            None => ClientAuth::None,
        },
        client_ca: authorities,
        ..ServerTlsSettings::new(
            "memberlist",
            pem("tls_cert_path", &tls.tls_cert_path),
            pem("tls_key_path", &tls.tls_key_path),
        )
    };
    Ok(ServerTls::load(settings)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn address_and_port_of_gossip_are_not_those_of_other_ports() {
        let config = tactus_config::from_yaml(
            "target: ingester\nmemberlist: {advertise_addr: 203.0.113.7, bind_port: 8000}\n\
             ingester: {lifecycler: {address: 127.0.0.5, ring: {kvstore: {store: memberlist}}}}",
        );
        let plan = plan(&config.unwrap()).unwrap();
        let gossip = plan.membership.gossip.unwrap();
        // That it is set to its default counts, too.
        let advertised = (gossip.advertise_ip.to_string(), gossip.advertise_port);
        assert_eq!(advertised, ("203.0.113.7".to_owned(), Some(7946)));
        assert_eq!(plan.membership.description.grpc_address, "127.0.0.5:9095");
        assert_eq!(*plan.ingesters.1.address, *"127.0.0.5:9095");
    }

    #[test]
    fn address_that_gossip_listens_on_is_advertised() {
        let advertised_of = |listens: &str, lifecycler: &str, bind_addr: &str| {
            let config = tactus_config::from_yaml(&format!(
                "target: ingester\nserver: {{{listens}}}\n\
                 memberlist: {{bind_addr: [{bind_addr}]}}\n\
                 ingester: {{lifecycler: {{{lifecycler} ring: {{kvstore: {{store: memberlist}}}}}}}}",
            ));
            let plan = plan(&config.unwrap()).unwrap();
            let gossip = plan.membership.gossip.unwrap().advertise_ip.to_string();
            (gossip, plan.ingesters.1.address.to_string())
        };
        let grpc = "grpc_listen_address: 127.0.0.7";
        let advertised = |lifecycler, bind_addr| advertised_of(grpc, lifecycler, bind_addr);
        let both = |gossip: &str, ring: &str| (gossip.to_owned(), ring.to_owned());
        assert_eq!(advertised("", "127.0.0.7"), both("127.0.0.7", "127.0.0.7:9095"));
        assert_eq!(advertised("", "127.0.0.6, 127.0.0.7"), both("127.0.0.7", "127.0.0.7:9095"));
        // What names the address of the ring says nothing on that of gossip.
        let address = "address: 127.0.0.5,";
        assert_eq!(advertised(address, "127.0.0.7"), both("127.0.0.7", "127.0.0.5:9095"));
        let local = advertised_of("grpc_listen_address: localhost", "", "127.0.0.1");
        assert_eq!(local, both("127.0.0.1", "127.0.0.1:9095"));
        let apart = "internal_grpc_listen_address: 127.0.0.8, internal_grpc_listen_port: 9096";
        assert_eq!(advertised_of(apart, "", "").1, "127.0.0.8:9096");
        let two = "127.0.0.7, 198.51.100.1";
        assert_eq!(advertised(address, two), both("198.51.100.1", "127.0.0.5:9095"));
        for every in ["", "0.0.0.0", "'::'"] {
            assert_eq!(advertised(address, every), both("127.0.0.5", "127.0.0.5:9095"), "{every}");
        }
    }

    #[test]
    fn unspecified_address_to_advertise_is_as_none() {
        let advertised = |lifecycler: &str, others: &str| {
            let config = tactus_config::from_yaml(&format!(
                "target: ingester\nserver: {{grpc_listen_address: 127.0.0.7}}\n{others}\n\
                 ingester: {{lifecycler: {{{lifecycler}, ring: {{kvstore: {{store: memberlist}}}}}}}}",
            ));
            let plan = plan(&config.unwrap()).unwrap();
            let grpc = plan.membership.description.grpc_address;
            let gossip = plan.membership.gossip.unwrap().advertise_ip.to_string();
            let place = |(_, place): RingPlan| place.address.to_string();
            [grpc, gossip, place(plan.ingesters), place(plan.distributors)]
        };
        let found = ["127.0.0.7:9095", "127.0.0.7", "127.0.0.7:9095", "127.0.0.7:9095"];
        for every in ["'::'", "'::0'", "'[::]'", "0.0.0.0"] {
            assert_eq!(advertised(&format!("address: {every}"), ""), found, "{every}");
            let others = format!(
                "distributor: {{ring: {{instance_addr: {every}}}}}\nmemberlist: {{advertise_addr: {every}}}"
            );
            assert_eq!(advertised("port: 0", &others), found, "{every}");
        }
        let others = "distributor: {ring: {instance_addr: '[2001:db8::2]'}}\n\
                      memberlist: {advertise_addr: '[2001:db8::3]'}";
        let named =
            ["[2001:db8::1]:9095", "2001:db8::3", "[2001:db8::1]:9095", "[2001:db8::2]:9095"];
        assert_eq!(advertised("address: '[2001:db8::1]'", others), named);
        assert_eq!(advertised("address: '2001:db8::1'", others), named);
    }

    #[test]
    fn members_that_never_expire_are_never_forgotten() {
        let forgotten_after = |timeout: &str, periods: u32| {
            let text = format!(
                "target: scalable-single-binary\n\
                 ingester: {{lifecycler: {{address: 127.0.0.1, ring: {{heartbeat_timeout: {timeout}, auto_forget_unhealthy_periods: {periods}}}}}}}\n\
                 metrics_generator: {{ring: {{heartbeat_timeout: {timeout}}}}}"
            );
            let plan = plan(&tactus_config::from_yaml(&text).unwrap()).unwrap();
            [plan.ingesters.0.forget_after, plan.generators.0.forget_after]
        };
        let minutes = |count: u64| Some(Duration::from_secs(60 * count));
        assert_eq!(forgotten_after("1m", 10), [minutes(10), minutes(2)]);
        assert_eq!(forgotten_after("1m", 0), [None, minutes(2)]);
        assert_eq!(forgotten_after("0s", 10), [None, None]);
        let [longest, _] = forgotten_after("2562047h", u32::MAX);
        assert_eq!(longest, Some(Duration::MAX));
    }

    #[test]
    fn joining_fails_after_attempts_only_if_they_have_a_limit() {
        let attempts = |memberlist: &str| {
            let config = tactus_config::from_yaml(&format!("memberlist: {{{memberlist}}}"));
            let (memberlist, ip) = (config.unwrap().memberlist, IpAddr::from([127, 0, 0, 1]));
            gossip(&memberlist, ip, Duration::from_secs(1)).unwrap().abort_after_attempts
        };
        assert_eq!(attempts("max_join_retries: 3"), None);
        assert_eq!(attempts("abort_if_cluster_join_fails: true"), Some(10));
        assert_eq!(attempts("abort_if_cluster_join_fails: true, max_join_retries: 0"), None);
    }

    #[test]
    fn open_gossip_is_refused_where_callers_must_say_who_they_are() {
        let planned = |auth: &str, memberlist: &str| {
            let text = format!(
                "target: ingester\ningester: {{lifecycler: {{address: 127.0.0.1, ring: {{kvstore: {{store: memberlist}}}}}}}}\n\
                 auth: {{{auth}}}\nmemberlist: {{{memberlist}}}"
            );
            let config = tactus_config::from_yaml(&text).unwrap();
            refuse_open_gossip(&config).map_err(|error| error.to_string())
        };
        let refused = planned("enabled: true", "").unwrap_err();
        assert!(refused.contains("auth.internal_token_file"), "{refused}");
        // Certificates that nobody checks prove nothing.
        planned("enabled: true", "tls_enabled: true").unwrap_err();
        for (auth, memberlist) in [
            ("enabled: false", ""),
            ("enabled: true, internal_token_file: /token", ""),
            ("enabled: true, allow_open_gossip: true", ""),
            ("enabled: true", "tls_enabled: true, tls_ca_path: /ca"),
        ] {
            assert_eq!(planned(auth, memberlist), Ok(()));
        }
    }
}
