//! Which of Tempo's charts values are for, and whether they are those of a chart that depends on it.

use tactus_config::Value;

use super::rules::COMPONENTS;
use super::values;
use crate::arguments::Chart;

/// Settings of the chart tempo, which are below `tempo`.
const BELOW_TEMPO: [&str; 9] = [
    "tempo.storage",
    "tempo.receivers",
    "tempo.retention",
    "tempo.resources",
    "tempo.metricsGenerator",
    "tempo.repository",
    "tempo.overrides",
    "tempo.per_tenant_overrides",
    "tempo.extraEnv",
];
/// What only the chart tempo has there, named from `tempo`.
const ONLY_BELOW_TEMPO: [&str; 10] = [
    "receivers",
    "retention",
    "resources",
    "repository",
    "tag",
    "securityContext",
    "extraEnv",
    "extraEnvFrom",
    "extraVolumeMounts",
    "metricsGenerator.remoteWriteUrl",
];
/// Further values of the chart tempo that tempo-distributed does not have.
const OF_SINGLE: [&str; 5] = ["tempoQuery", "persistence", "serviceMonitor", "replicas", "service"];
/// Values of tempo-distributed that the chart tempo does not have.
const OF_DISTRIBUTED: [&str; 9] = [
    "ingester",
    "distributor",
    "querier",
    "queryFrontend",
    "compactor",
    "metricsGenerator",
    "gateway",
    "traces",
    "global_overrides",
];
/// Values of tempo-distributed whose names the chart tempo does not even have below `tempo`.
const ONLY_DISTRIBUTED: [&str; 6] =
    ["traces", "gateway", "memcached", "memcachedExporter", "minio", "metaMonitoring"];
/// Values of a service of tempo-distributed. Below `tempo` in the chart tempo a service has keys of the configuration.
const OF_A_SERVICE: [&str; 12] = [
    "replicas",
    "config",
    "resources",
    "persistence",
    "autoscaling",
    "zoneAwareReplication",
    "affinity",
    "nodeSelector",
    "tolerations",
    "extraArgs",
    "extraEnv",
    "service",
];
/// The bucket of tempo-distributed.
const STORAGE: &str = "storage";

pub(super) fn name_of(chart: Chart) -> &'static str {
    match chart {
        Chart::Tempo => "tempo",
        Chart::TempoDistributed => "tempo-distributed",
    }
}

/// The chart of Tempo that has this name, which a repository may be before.
pub(super) fn named(name: &str) -> Option<Chart> {
    let name = name.rsplit('/').next();
    [Chart::Tempo, Chart::TempoDistributed].into_iter().find(|chart| name == Some(name_of(*chart)))
}

/// The section that the values are in, because the file is for a chart that depends on one of Tempo's.
///
/// `chart` is the one that the values are for, if somebody has said so.
pub(super) fn dependency(values: &Value, chart: Option<Chart>) -> Option<&'static str> {
    let section = |chart| {
        let name = name_of(chart);
        let section = values::get(values, name)?;
        matches!(section, Value::Map(_)).then_some((name, section))
    };
    let distributed = section(Chart::TempoDistributed).map(|(name, _)| name);
    let tempo = section(Chart::Tempo)
        .filter(|(_, section)| is_dependency(section, values, chart))
        .map(|(name, _)| name);
    match chart {
        Some(Chart::Tempo) => tempo,
        _ => distributed.or(tempo),
    }
}

/// Whether a section `tempo` holds all values of a chart.
///
/// Both charts have a section of this name themselves, and a chart that depends on tempo-distributed may call it so. What
/// is in the section tells, unless values of the charts are beside it.
fn is_dependency(section: &Value, values: &Value, chart: Option<Chart>) -> bool {
    if values::get(section, "tempo").is_some() {
        return true;
    }
    let of_distributed = [&OF_DISTRIBUTED[..], &[STORAGE][..]].concat();
    let marks = marks_of_distributed(section);
    if chart == Some(Chart::TempoDistributed) {
        // That chart's own section has none of these.
        let is_there = marks > 0 || !there(section, &of_distributed).is_empty();
        return is_there && there(values, &of_distributed).is_empty();
    }
    let beside = [&OF_SINGLE[..], &of_distributed[..]].concat();
    if !there(values, &beside).is_empty() {
        return false;
    }
    let is_single =
        !there(section, &OF_SINGLE).is_empty() && there(values, &BELOW_TEMPO).is_empty();
    let is_distributed = chart.is_none() && marks > there(section, &ONLY_BELOW_TEMPO).len();
    is_single || is_distributed
}

/// How many names in the section of a dependency only tempo-distributed has.
fn marks_of_distributed(section: &Value) -> usize {
    let is_service = |component: &str| {
        let has = |key: &&str| values::get(section, &format!("{component}.{key}")).is_some();
        OF_A_SERVICE.iter().any(has)
    };
    let services = COMPONENTS.iter().filter(|component| is_service(component)).count();
    services + there(section, &ONLY_DISTRIBUTED).len()
}

/// As `chart_of`, for the section of a dependency that is called `tempo`: that name decides if nothing else does.
pub(super) fn chart_of_section(section: &Value) -> (Chart, Option<&'static str>) {
    let is_silent = marks_of_distributed(section) == 0
        && there(section, &OF_DISTRIBUTED).is_empty()
        && values::get(section, STORAGE).is_none();
    if is_silent { (Chart::Tempo, None) } else { chart_of(section) }
}

/// Which chart a values file is for, and the first key of the other chart that it has.
pub(super) fn chart_of(values: &Value) -> (Chart, Option<&'static str>) {
    let mut below_tempo = there(values, &BELOW_TEMPO);
    if matches!(values::get(values, "tempo.extraArgs"), Some(Value::Map(_))) {
        below_tempo.push("tempo.extraArgs");
    }
    let distributed = there(values, &OF_DISTRIBUTED);
    let single = [&below_tempo[..], &there(values, &OF_SINGLE)].concat();
    // People leave keys at the top that their chart does not read: what is below `tempo` says more.
    if single.is_empty() || distributed.len() > below_tempo.len() {
        (Chart::TempoDistributed, single.first().copied())
    } else {
        (Chart::Tempo, distributed.first().copied())
    }
}

/// Which of these paths have a value.
fn there(values: &Value, paths: &[&'static str]) -> Vec<&'static str> {
    paths.iter().copied().filter(|path| values::get(values, path).is_some()).collect()
}
