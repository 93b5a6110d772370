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

macro_rules! resource_keys {
    ($($first:literal: $($rest:literal)+;)+) => {
        /// Whether a tag says something of the resource rather than of the span.
        pub(crate) fn is_resource_key(key: &[u8]) -> bool {
            let mut parts = key.splitn(2, |byte| *byte == b'.');
            let (Some(first), Some(rest)) = (parts.next(), parts.next()) else { return false };
            match first {
                $($first => matches!(rest, $($rest)|+),)+
                _ => false,
            }
        }
    };
}

resource_keys! {
    b"cloud": b"provider" b"account.id" b"region" b"availability_zone" b"platform";
    b"aws": b"ecs.container.arn" b"ecs.cluster.arn" b"ecs.launchtype" b"ecs.task.arn" b"ecs.task.family"
        b"ecs.task.revision" b"eks.cluster.arn" b"log.group.names" b"log.group.arns" b"log.stream.names"
        b"log.stream.arns";
    b"container": b"name" b"id" b"runtime" b"image.name" b"image.tag";
    b"deployment": b"environment";
    b"device": b"id" b"model.identifier" b"model.name" b"manufacturer";
    b"faas": b"name" b"id" b"version" b"instance" b"max_memory";
    b"host": b"id" b"name" b"type" b"arch" b"image.name" b"image.id" b"image.version";
    b"k8s": b"cluster.name" b"node.name" b"node.uid" b"namespace.name" b"pod.uid" b"pod.name"
        b"container.name" b"container.restart_count" b"replicaset.uid" b"replicaset.name"
        b"deployment.uid" b"deployment.name" b"statefulset.uid" b"statefulset.name" b"daemonset.uid"
        b"daemonset.name" b"job.uid" b"job.name" b"cronjob.uid" b"cronjob.name";
    b"os": b"type" b"description" b"name" b"version";
    b"process": b"pid" b"executable.name" b"executable.path" b"command" b"command_line" b"command_args"
        b"owner" b"runtime.name" b"runtime.version" b"runtime.description";
    b"service": b"name" b"namespace" b"instance.id" b"version";
    b"telemetry": b"sdk.name" b"sdk.language" b"sdk.version" b"auto.version";
    b"webengine": b"name" b"version" b"description";
}

/// Whether a tag is of no use to anybody.
pub(super) fn is_dropped(key: &[u8]) -> bool {
    matches!(
        key,
        b"opencensus.starttime" | b"opencensus.exporterversion" | b"opencensus.resourcetype"
    )
}
