//! Values of Tempo's charts that have another name here, or no meaning.

/// How a value is handled.
#[derive(Debug, Clone, Copy)]
pub(super) enum Rule {
    /// It has this name.
    To(&'static str),
    /// It has no meaning, for this reason.
    Without(&'static str),
}

use Rule::{To, Without};

const IMAGE: &str = "it names an image of Tempo; tactus.image is ours";
const ENTERPRISE: &str = "a part of Grafana Enterprise Traces";
const KAFKA: &str = "spans go to ingesters, there is no Kafka between";
const PROBE: &str = "the chart has probes of its own";
const QUERY: &str = "the query-frontend answers Jaeger's API itself, on port 16686, and has pages of its own at /ui/";

/// The sections of Tempo's processes in tempo-distributed, which have the same names here.
pub(super) const COMPONENTS: &[&str] =
    &["distributor", "ingester", "querier", "queryFrontend", "compactor", "metricsGenerator"];

/// Rules for each component in tempo-distributed.
pub(super) const OF_COMPONENT: &[(&str, Rule)] = &[
    ("image", Without(IMAGE)),
    ("serviceDiscovery", Without("headless services have no settings")),
    ("statefulStrategy", Without("StatefulSets are updated pod by pod")),
    (
        "zoneAwareReplication.maxUnavailable",
        Without("files/roll-zones.sh or rollout.job restart one zone after another"),
    ),
    ("walEmptyDir", Without("the volume is in persistence")),
    ("kind", Without("the metrics generator is a StatefulSet, which keeps what was not sent")),
    ("ports", Without("ports follow from the configuration")),
    ("query", Without(QUERY)),
    ("ingress", Without("the way in from outside is gateway.ingress, with gateway.enabled")),
    ("dnsConfigOverides", Without("pods use the cluster's DNS as it is")),
    ("labels", Without("podLabels are of pods, global.commonLabels of all objects")),
];

/// Rules for the chart tempo-distributed 1.x.
pub(super) const DISTRIBUTED: &[(&str, Rule)] = &[
    ("tempo.image", Without(IMAGE)),
    ("tempo.readinessProbe", Without(PROBE)),
    ("tempo.livenessProbe", Without(PROBE)),
    ("tempo.memberlist.service", Without("the service of the gossip ring has no settings")),
    ("rbac", Without("pods need no rights in the cluster")),
    ("serviceAccount.imagePullSecrets", To("global.image.pullSecrets")),
    (
        "rollout_operator",
        Without("files/roll-zones.sh or rollout.job restart one zone after another"),
    ),
    ("kubectlImage", Without(ENTERPRISE)),
    ("enterprise", Without(ENTERPRISE)),
    ("license", Without(ENTERPRISE)),
    ("tokengenJob", Without(ENTERPRISE)),
    ("provisioner", Without(ENTERPRISE)),
    ("adminApi", Without(ENTERPRISE)),
    ("enterpriseGateway", Without(ENTERPRISE)),
    ("enterpriseFederationFrontend", Without(ENTERPRISE)),
    ("storage.admin", Without(ENTERPRISE)),
    ("vulture", Without("a checker with a chart of its own")),
    ("ingest", Without(KAFKA)),
    ("kafka", Without(KAFKA)),
    ("blockBuilder", Without(KAFKA)),
    ("liveStore", Without(KAFKA)),
    ("backendScheduler", Without("compactors find their work in the bucket")),
    ("backendWorker", Without("compactors find their work in the bucket")),
    ("traces.opencensus", Without("there is no OpenCensus receiver; collectors have one")),
    (
        "traces.kafka",
        Without(
            "spans are not read from Kafka; a collector with a Kafka receiver and an OTLP exporter does",
        ),
    ),
    (
        "metaMonitoring.grafanaAgent",
        Without("no agent is installed: metaMonitoring.serviceMonitor, or what scrapes already"),
    ),
    ("memcached.host", Without("the chart sets it")),
    ("memcached.port", Without("the chart sets it")),
    ("memcachedExporter.enabled", To("memcached.exporter.enabled")),
    ("memcachedExporter.image", To("memcached.exporter.image")),
    ("memcachedExporter.resources", To("memcached.exporter.resources")),
    (
        "gateway.nginxConfig.file",
        Without(
            "it leads to the services of the other chart; httpSnippet and serverSnippet add to ours",
        ),
    ),
    (
        "gateway.nginxConfig.logFormat",
        Without("gateway.verboseLogging, or gateway.nginxConfig.httpSnippet"),
    ),
    ("minio.mode", Without("one MinIO with one disk")),
    ("minio.configPathmc", Without("of the chart of MinIO")),
    ("minio.makeBucketJob", Without("of the chart of MinIO")),
];

/// Rules for the chart tempo, the single binary.
pub(super) const SINGLE: &[(&str, Rule)] = &[
    ("tempo.repository", Without(IMAGE)),
    ("tempo.registry", Without(IMAGE)),
    ("tempo.tag", Without(IMAGE)),
    ("tempo.image", Without(IMAGE)),
    ("tempo.pullPolicy", To("tactus.image.pullPolicy")),
    ("tempo.pullSecrets", To("global.image.pullSecrets")),
    ("tempo.updateStrategy", Without("a StatefulSet is updated pod by pod")),
    ("tempo.memBallastSizeMbs", Without("for the runtime of Go")),
    ("tempo.livenessProbe", Without(PROBE)),
    ("tempo.readinessProbe", Without(PROBE)),
    ("tempo.resources", To("singleBinary.resources")),
    ("tempo.multitenancyEnabled", To("multitenancyEnabled")),
    ("tempo.reportingEnabled", To("reportingEnabled")),
    ("tempo.ingester", To("ingester.config")),
    ("tempo.querier", To("querier.config")),
    ("tempo.queryFrontend", To("queryFrontend.config")),
    ("tempo.distributor", To("distributor.config")),
    ("tempo.compactor", To("compactor.config")),
    ("tempo.memberlist", To("memberlist")),
    ("tempo.cache", To("cache")),
    ("tempo.structuredConfig", To("tactus.structuredConfig")),
    ("tempo.per_tenant_overrides", To("per_tenant_overrides")),
    ("tempo.securityContext", To("tactus.securityContext")),
    ("tempo.extraEnv", To("singleBinary.extraEnv")),
    ("tempo.extraEnvFrom", To("singleBinary.extraEnvFrom")),
    ("tempo.extraVolumeMounts", To("singleBinary.extraVolumeMounts")),
    ("securityContext", To("tactus.podSecurityContext")),
    ("podAnnotations", To("singleBinary.podAnnotations")),
    ("podLabels", To("singleBinary.podLabels")),
    ("annotations", To("singleBinary.annotations")),
    ("labels", To("global.commonLabels")),
    ("extraLabels", To("global.commonLabels")),
    ("extraVolumes", To("singleBinary.extraVolumes")),
    ("extraContainers", To("singleBinary.extraContainers")),
    ("initContainers", To("singleBinary.initContainers")),
    ("nodeSelector", To("singleBinary.nodeSelector")),
    ("tolerations", To("singleBinary.tolerations")),
    ("affinity", To("singleBinary.affinity")),
    ("topologySpreadConstraints", To("singleBinary.topologySpreadConstraints")),
    ("priorityClassName", To("singleBinary.priorityClassName")),
    ("hostAliases", To("singleBinary.hostAliases")),
    ("terminationGracePeriodSeconds", To("singleBinary.terminationGracePeriodSeconds")),
    ("persistence.enabled", To("singleBinary.persistence.enabled")),
    ("persistence.size", To("singleBinary.persistence.size")),
    ("persistence.accessModes", To("singleBinary.persistence.accessModes")),
    ("persistence.annotations", To("singleBinary.persistence.annotations")),
    ("persistence.storageClassName", To("singleBinary.persistence.storageClass")),
    (
        "persistence.enableStatefulSetRecreationForSizeChange",
        Without("a volume that becomes larger is made so by hand"),
    ),
    ("service.type", To("singleBinary.service.type")),
    ("service.annotations", To("singleBinary.service.annotations")),
    ("service.labels", To("singleBinary.service.labels")),
    ("service.loadBalancerIP", To("singleBinary.service.loadBalancerIP")),
    ("service.loadBalancerSourceRanges", To("singleBinary.service.loadBalancerSourceRanges")),
    ("serviceAccount.imagePullSecrets", To("global.image.pullSecrets")),
    ("service.clusterIP", Without("the cluster gives addresses")),
    ("service.targetPort", Without("ports follow from the configuration")),
    ("service.protocol", Without("ports follow from the configuration")),
    ("serviceMonitor.enabled", To("metaMonitoring.serviceMonitor.enabled")),
    ("serviceMonitor.interval", To("metaMonitoring.serviceMonitor.interval")),
    ("serviceMonitor.scrapeTimeout", To("metaMonitoring.serviceMonitor.scrapeTimeout")),
    ("serviceMonitor.annotations", To("metaMonitoring.serviceMonitor.annotations")),
    ("serviceMonitor.additionalLabels", To("metaMonitoring.serviceMonitor.labels")),
    ("serviceMonitor.namespace", To("metaMonitoring.serviceMonitor.namespace")),
    ("tempoQuery", Without(QUERY)),
    ("configMapName", Without("a Secret holds what externalConfigSecretName names")),
    ("networkPolicy.ingress", Without("networkPolicy.enabled closes what is not asked for")),
    (
        "networkPolicy.allowExternal",
        Without(
            "networkPolicy.queryFrom, ingestFrom and metricsFrom say who may come; empty is everyone",
        ),
    ),
    (
        "networkPolicy.explicitNamespacesSelector",
        Without("networkPolicy.queryFrom, ingestFrom and metricsFrom take selectors of namespaces"),
    ),
    ("networkPolicy.egress.blockDNSResolution", Without("pods need names")),
    (
        "networkPolicy.egress.ports",
        Without("networkPolicy.egress.storagePorts, or extra for whole rules"),
    ),
    ("networkPolicy.egress.to", Without("networkPolicy.egress.extra takes whole rules")),
];
