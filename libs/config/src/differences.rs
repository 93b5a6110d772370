//! Keys whose meaning or default differs from Tempo 2.10, and what to do about each.

use crate::check::Remedy;
use crate::note::{Note, Verdict};
use crate::sections::overrides::Limits;
use crate::sections::root::Config;
use crate::target::single_binary;
use crate::unsupported::{KNOWN_BLOCKS, WRITABLE_BLOCKS};

/// Of a key of the file: whether it concerns this configuration, as it was written.
struct Rule {
    key: &'static str,
    applies: fn(&Config) -> bool,
    verdict: Verdict,
    text: &'static str,
    remedy: Remedy,
}

const RULES: &[Rule] = &[
    Rule {
        key: "compactor.compaction.block_retention",
        applies: |config| config.compactor.compaction.block_retention.is_zero(),
        verdict: Verdict::Changed,
        text: "0 keeps blocks for ever, where Tempo deletes everything: set the time that you want",
        remedy: Remedy::Decide,
    },
    Rule {
        key: "storage.trace.block.version",
        applies: |config| {
            let version = config.storage.trace.block.version.as_str();
            KNOWN_BLOCKS.contains(&version) && !WRITABLE_BLOCKS.contains(&version)
        },
        verdict: Verdict::Refused,
        text: "vParquet4 and vParquet5 are written; blocks of vParquet3 are read, older ones are not: leave the key out",
        remedy: Remedy::LeaveOut,
    },
    Rule {
        key: "ingester.lifecycler.ring.kvstore.store",
        applies: |config| {
            let store = &config.ingester.lifecycler.ring.kvstore.store;
            single_binary(&config.target) && store == "memberlist"
        },
        verdict: Verdict::Changed,
        text: "several processes of target all are a cluster then, with as many copies as replication_factor says, where Tempo \
               puts inmemory in its place and keeps one: leave the key out for a single process",
        remedy: Remedy::Decide,
    },
];

/// What the file says and means something else here. `config` is what the file alone gives; `written` tells whether the
/// file has a key.
pub(crate) fn differences(config: &Config, written: impl Fn(&str) -> bool) -> Vec<Note> {
    let mut found: Vec<Note> = RULES
        .iter()
        .filter(|rule| written(rule.key) && (rule.applies)(config))
        .map(|rule| Note::new(rule.key, rule.verdict, rule.text, rule.remedy.clone()))
        .collect();
    found.extend(listeners(config, &written));
    found.extend(of_limits(&config.overrides.defaults, "overrides.defaults"));
    found
}

/// Where spans are listened for: containers need every interface.
fn listeners(config: &Config, written: impl Fn(&str) -> bool) -> Vec<Note> {
    const KEY: &str = "distributor.receivers";
    let receivers = &config.distributor.receivers;
    let different =
        |key: String, text: &str| Note::new(key, Verdict::Changed, text, Remedy::Decide);
    if receivers.is_empty() {
        return vec![different(
            KEY.to_owned(),
            "without receivers every one is open on every interface (target all), where Tempo opens OTLP gRPC and \
             Jaeger gRPC and HTTP on localhost: name those that you want",
        )];
    }
    let text = "without an endpoint it listens on every interface, where Tempo 2.7 and later listens on localhost: \
                set one if others must not reach it";
    let of = |name: &str, protocol: &str| format!("{KEY}.{name}.protocols.{protocol}");
    let mut open: Vec<String> = Vec::new();
    for (name, otlp) in &receivers.otlp {
        open.extend(otlp.protocols.grpc.as_ref().map(|_| of(name, "grpc")));
        open.extend(otlp.protocols.http.as_ref().map(|_| of(name, "http")));
    }
    for (name, jaeger) in &receivers.jaeger {
        let protocols = &jaeger.protocols;
        open.extend(protocols.grpc.as_ref().map(|_| of(name, "grpc")));
        open.extend(protocols.thrift_http.as_ref().map(|_| of(name, "thrift_http")));
        open.extend(protocols.thrift_binary.as_ref().map(|_| of(name, "thrift_binary")));
        open.extend(protocols.thrift_compact.as_ref().map(|_| of(name, "thrift_compact")));
    }
    open.extend(receivers.zipkin.keys().map(|name| format!("{KEY}.{name}")));
    let has_endpoint = |protocol: &String| {
        written(&format!("{protocol}.endpoint"))
            || written(&format!("{protocol}.protocols.http.endpoint"))
    };
    open.into_iter()
        .filter(|protocol| !has_endpoint(protocol))
        .map(|protocol| different(protocol, text))
        .collect()
}

/// What does nothing in limits that stand at `path`.
pub(crate) fn without_effect(limits: &Limits, path: &str) -> impl Iterator<Item = Note> {
    of_limits(limits, path).into_iter().filter(|note| note.verdict == Verdict::Honoured)
}

/// What does nothing in the limits of one tenant, which stand at `path`, because that of all tenants counts.
pub(crate) fn of_defaults_only(limits: &Limits, path: &str) -> Option<Note> {
    let is_set = !limits.ingestion.rate_strategy.is_empty();
    is_set.then(|| {
        let key = format!("{path}.ingestion.rate_strategy");
        let text = "has no effect for a tenant: that of overrides.defaults counts for all";
        Note::new(key, Verdict::Ignored, text, Remedy::LeaveOut)
    })
}

/// What is different about limits that stand at `path`.
pub(crate) fn of_limits(limits: &Limits, path: &str) -> Vec<Note> {
    let mut found = Vec::new();
    if limits.compaction.compaction_disabled {
        found.push(Note::new(
            format!("{path}.compaction.compaction_disabled"),
            Verdict::Changed,
            "blocks are not merged, and deleted after their retention, where Tempo keeps them: set a retention of \
             the tenant if that matters",
            Remedy::Decide,
        ));
    }
    if limits.metrics_generator.processors.iter().any(|processor| processor == "local-blocks") {
        // There is nothing to look at: the same happens in another way.
        found.push(Note::new(
            format!("{path}.metrics_generator.processors"),
            Verdict::Honoured,
            "local-blocks does nothing: ingesters answer queries about recent spans, TraceQL metrics need no processor",
            Remedy::Decide,
        ));
    }
    found
}
