//! Rules of the receivers.

use super::Invalid;
use super::components::ensure;
use crate::field::Opaque;
use crate::sections::receivers::{
    JaegerProtocols, OtlpProtocols, ReceiverGrpc, ReceiverHttp, ReceiverUdp, Receivers,
};

pub(super) fn validate(receivers: &Receivers) -> Result<(), Invalid> {
    // Nobody would notice that nothing is read from there.
    if let Some(name) = receivers.kafka.keys().next() {
        let key = format!("distributor.receivers.{name}");
        return Err(Invalid::new(
            &key,
            format!(
                "distributor.receivers.{name}: this version does not read from Kafka; a collector with a Kafka receiver and an OTLP exporter does"
            ),
        ));
    }
    for (name, receiver) in &receivers.otlp {
        let OtlpProtocols { grpc, http } = &receiver.protocols;
        grpc_listener(name, "grpc", grpc.as_ref().map(|grpc| &grpc.server))?;
        http_listener(name, "http", http.as_ref().map(|http| &http.server))?;
        if grpc.is_none() && http.is_none() {
            let key = format!("distributor.receivers.{name}");
            return Err(Invalid::new(
                &key,
                format!("{name}: must specify at least one protocol when using the OTLP receiver"),
            ));
        }
    }
    for (name, receiver) in &receivers.jaeger {
        let JaegerProtocols {
            grpc,
            thrift_http,
            thrift_binary,
            thrift_compact,
            thrift_compact_legacy,
        } = &receiver.protocols;
        grpc_listener(name, "grpc", grpc.as_ref().map(|grpc| &grpc.server))?;
        http_listener(name, "thrift_http", thrift_http.as_ref().map(|http| &http.server))?;
        let udp = [
            ("thrift_binary", thrift_binary.as_ref().map(|protocol| &protocol.udp)),
            ("thrift_compact", thrift_compact.as_ref().map(|protocol| &protocol.udp)),
            ("thrift_compact_legacy", thrift_compact_legacy.as_ref().map(|protocol| &protocol.udp)),
        ];
        if grpc.is_none()
            && thrift_http.is_none()
            && udp.iter().all(|(_, protocol)| protocol.is_none())
        {
            let key = format!("distributor.receivers.{name}");
            return Err(Invalid::new(
                &key,
                format!(
                    "{name}: must specify at least one protocol when using the Jaeger receiver"
                ),
            ));
        }
        for (protocol, udp) in udp {
            let Some(udp) = udp else { continue };
            let key = format!("distributor.receivers.{name}.protocols.{protocol}");
            packets(&key, udp).map_err(|invalid| {
                let text = format!("{name}.protocols.{protocol}: {}", invalid.text);
                Invalid { text, ..invalid }
            })?;
        }
    }
    for (name, receiver) in &receivers.zipkin {
        let key = format!("distributor.receivers.{name}");
        listener(&key, &receiver.server.transport, &receiver.server.auth)?;
        http_listener(name, "http", receiver.protocols.http.as_ref().map(|http| &http.server))?;
    }
    Ok(())
}

fn grpc_listener(name: &str, protocol: &str, server: Option<&ReceiverGrpc>) -> Result<(), Invalid> {
    let Some(server) = server else { return Ok(()) };
    let key = format!("distributor.receivers.{name}.protocols.{protocol}");
    listener(&key, &server.transport, &server.auth)
}

fn http_listener(name: &str, protocol: &str, server: Option<&ReceiverHttp>) -> Result<(), Invalid> {
    let Some(server) = server else { return Ok(()) };
    let key = format!("distributor.receivers.{name}.protocols.{protocol}");
    listener(&key, &server.transport, &server.auth)
}

/// What no listener can do: without it the port would be open to more callers than its operator believes.
fn listener(key: &str, transport: &str, auth: &Opaque) -> Result<(), Invalid> {
    if auth.is_set() {
        let key = format!("{key}.auth");
        let text = format!(
            "{key}: there are no authenticators of single receivers; auth.enabled and auth.users_file are for all ports"
        );
        return Err(Invalid::new(&key, text));
    }
    if !matches!(transport, "" | "tcp" | "tcp4" | "tcp6") {
        let key = format!("{key}.transport");
        let text = format!("{key}: {transport} is not supported: expecting tcp");
        return Err(Invalid::new(&key, text));
    }
    Ok(())
}

/// A UDP listener. A packet cannot be larger than its length field says.
fn packets(receiver: &str, udp: &ReceiverUdp) -> Result<(), Invalid> {
    let key = |name: &str| format!("{receiver}.{name}");
    ensure(&key("queue_size"), udp.queue_size > 0, "queue_size must be positive")?;
    ensure(
        &key("max_packet_size"),
        (1..=65_535).contains(&udp.max_packet_size),
        "max_packet_size must be 1 to 65535",
    )?;
    ensure(&key("workers"), (1..=10_000).contains(&udp.workers), "workers must be 1 to 10000")?;
    ensure(
        &key("socket_buffer_size"),
        i32::try_from(udp.socket_buffer_size).is_ok_and(|bytes| bytes >= 0),
        "socket_buffer_size must be 0 to 2147483647",
    )
}
