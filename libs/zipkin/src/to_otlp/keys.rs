//! Keys with a meaning.

pub(crate) const SERVICE_NAME: &str = "service.name";
/// The resource's key instead of [`SERVICE_NAME`].
pub(crate) const SERVICE_NAME_SOURCE: &str = "otlp.service.name.source";
pub(crate) const LIBRARY_NAME: &str = "otel.library.name";
pub(crate) const LIBRARY_VERSION: &str = "otel.library.version";
pub(crate) const TRACE_STATE: &str = "w3c.tracestate";
pub(crate) const SPAN_KIND: &str = "span.kind";
pub(crate) const STATUS_CODE: &str = "otel.status_code";
pub(crate) const STATUS_DESCRIPTION: &str = "otel.status_description";
pub(crate) const ERROR: &str = "error";
/// The span came without a start.
pub(crate) const ABSENT_START: &str = "otel.zipkin.absentField.startTime";
pub(crate) const HOST_IP: &str = "net.host.ip";
pub(crate) const HOST_PORT: &str = "net.host.port";
pub(crate) const PEER_SERVICE: &str = "peer.service";
pub(crate) const PEER_IP: &str = "net.peer.ip";
pub(crate) const PEER_PORT: &str = "net.peer.port";
/// A number follows.
pub(crate) const LINK: &str = "otlp.link.";

/// Whether a tag says something of the resource rather than of the span.
pub(crate) fn is_resource_key(key: &[u8]) -> bool {
    let Ok(key) = std::str::from_utf8(key) else { return false };
    matches!(
        key,
        "cloud.provider"
            | "cloud.account.id"
            | "cloud.region"
            | "cloud.availability_zone"
            | "cloud.platform"
            | "aws.ecs.container.arn"
            | "aws.ecs.cluster.arn"
            | "aws.ecs.launchtype"
            | "aws.ecs.task.arn"
            | "aws.ecs.task.family"
            | "aws.ecs.task.revision"
            | "aws.eks.cluster.arn"
            | "aws.log.group.names"
            | "aws.log.group.arns"
            | "aws.log.stream.names"
            | "aws.log.stream.arns"
            | "container.name"
            | "container.id"
            | "container.runtime"
            | "container.image.name"
            | "container.image.tag"
            | "deployment.environment"
            | "device.id"
            | "device.model.identifier"
            | "device.model.name"
            | "device.manufacturer"
            | "faas.name"
            | "faas.id"
            | "faas.version"
            | "faas.instance"
            | "faas.max_memory"
            | "host.id"
            | "host.name"
            | "host.type"
            | "host.arch"
            | "host.image.name"
            | "host.image.id"
            | "host.image.version"
            | "k8s.cluster.name"
            | "k8s.node.name"
            | "k8s.node.uid"
            | "k8s.namespace.name"
            | "k8s.pod.uid"
            | "k8s.pod.name"
            | "k8s.container.name"
            | "k8s.container.restart_count"
            | "k8s.replicaset.uid"
            | "k8s.replicaset.name"
            | "k8s.deployment.uid"
            | "k8s.deployment.name"
            | "k8s.statefulset.uid"
            | "k8s.statefulset.name"
            | "k8s.daemonset.uid"
            | "k8s.daemonset.name"
            | "k8s.job.uid"
            | "k8s.job.name"
            | "k8s.cronjob.uid"
            | "k8s.cronjob.name"
            | "os.type"
            | "os.description"
            | "os.name"
            | "os.version"
            | "process.pid"
            | "process.executable.name"
            | "process.executable.path"
            | "process.command"
            | "process.command_line"
            | "process.command_args"
            | "process.owner"
            | "process.runtime.name"
            | "process.runtime.version"
            | "process.runtime.description"
            | "service.name"
            | "service.namespace"
            | "service.instance.id"
            | "service.version"
            | "telemetry.sdk.name"
            | "telemetry.sdk.language"
            | "telemetry.sdk.version"
            | "telemetry.auto.version"
            | "webengine.name"
            | "webengine.version"
            | "webengine.description"
    )
}

/// Whether a tag is of no use to anybody.
pub(super) fn is_dropped(key: &[u8]) -> bool {
    matches!(
        key,
        b"opencensus.starttime" | b"opencensus.exporterversion" | b"opencensus.resourcetype"
    )
}
