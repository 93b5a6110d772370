//! The ports, from the configuration.

use tactus_config::Config;
use tactus_config::sections::query_apis::QueryGrpc;
use tactus_config::sections::receivers::PortTls;
use tactus_config::sections::server::Server;
use tactus_process::settings::{grpc_listener, http_listener};
use tactus_process::{Error, Port, address_of};

use crate::jaeger_grpc::MessageLimits;

/// A gRPC port.
#[derive(Debug, Clone)]
pub(crate) struct GrpcPort {
    pub(super) port: Port,
    pub(super) messages: MessageLimits,
}

/// All ports of the query APIs that are on.
#[derive(Debug, Default)]
pub(crate) struct Ports {
    pub(super) jaeger_http: Option<Port>,
    pub(super) jaeger_grpc: Option<GrpcPort>,
    pub(super) storage: Vec<GrpcPort>,
    pub(super) zipkin: Option<Port>,
    pub(super) admin: Option<Port>,
}

impl Ports {
    /// Each of them.
    pub(crate) fn all(&self) -> impl Iterator<Item = &Port> {
        let grpc = self.jaeger_grpc.iter().chain(&self.storage).map(|grpc| &grpc.port);
        self.jaeger_http.iter().chain(grpc).chain(&self.zipkin).chain(&self.admin)
    }
}

/// The ports that a configuration asks for. Errors: certificates.
pub(crate) fn ports(config: &Config) -> Result<Ports, Error> {
    let (server, frontend) = (&config.server, &config.query_frontend);
    let (jaeger, zipkin) = (&frontend.jaeger, &frontend.zipkin);
    let http_host = |port| Some(address_of(&server.http_listen_address, port));
    let grpc_host = |port| Some(address_of(&server.grpc_listen_address, port));
    let mut storage = Vec::new();
    storage.extend(grpc(
        ("Jaeger storage gRPC", "query_frontend.jaeger.storage"),
        (jaeger.storage.endpoint.as_deref(), grpc_host(7777)),
        &jaeger.storage.limits,
        config,
    )?);
    storage.extend(grpc(
        ("Jaeger remote storage gRPC", "query_frontend.jaeger.remote_storage"),
        (jaeger.remote_storage.endpoint.as_deref(), None),
        &jaeger.remote_storage.limits,
        config,
    )?);
    Ok(Ports {
        jaeger_http: http(
            ("Jaeger query HTTP", "query_frontend.jaeger.http"),
            (jaeger.http.endpoint.as_deref(), http_host(16686)),
            jaeger.http.tls.as_ref(),
            server,
        )?,
        jaeger_grpc: grpc(
            ("Jaeger query gRPC", "query_frontend.jaeger.grpc"),
            (jaeger.grpc.endpoint.as_deref(), grpc_host(16685)),
            &jaeger.grpc.limits,
            config,
        )?,
        storage,
        zipkin: http(
            ("Zipkin query HTTP", "query_frontend.zipkin"),
            (zipkin.endpoint.as_deref(), http_host(9411).filter(|_| !receives_zipkin(config))),
            zipkin.tls.as_ref(),
            server,
        )?,
        admin: http(
            ("Jaeger admin HTTP", "query_frontend.jaeger.admin"),
            (jaeger.admin.endpoint.as_deref(), None),
            jaeger.admin.tls.as_ref(),
            server,
        )?,
    })
}

/// Whether the process has a Zipkin receiver, whose port carries the query API as well.
fn receives_zipkin(config: &Config) -> bool {
    config.target != "query-frontend" && !config.distributor.receivers.zipkin.is_empty()
}

/// An HTTP port. `usual`: where it is if the configuration has no `endpoint`.
fn http(
    names: (&'static str, &'static str),
    (endpoint, usual): (Option<&str>, Option<String>),
    tls: Option<&PortTls>,
    server: &Server,
) -> Result<Option<Port>, Error> {
    let Some(port) = Port::new(names, endpoint, usual) else { return Ok(None) };
    let listener = http_listener(server);
    Ok(Some(Port { listener, ..port }.with_http_tls(tls, server)?))
}

/// A gRPC port. `usual`: as for [`http()`].
fn grpc(
    names: (&'static str, &'static str),
    (endpoint, usual): (Option<&str>, Option<String>),
    limits: &QueryGrpc,
    config: &Config,
) -> Result<Option<GrpcPort>, Error> {
    let Some(port) = Port::new(names, endpoint, usual) else { return Ok(None) };
    let server = &config.server;
    let streams = match limits.max_concurrent_streams {
        0 => server.grpc_server_max_concurrent_streams,
        streams => streams,
    };
    let listener = grpc_listener(server, streams);
    let port = Port { listener, ..port }.with_grpc_tls(limits.tls.as_ref(), server)?;
    Ok(Some(GrpcPort { port, messages: MessageLimits::from_config(config, limits) }))
}

#[cfg(test)]
mod tests {
    use tactus_config::sections::query_frontend::QueryFrontend;

    use super::*;

    fn addresses(yaml: &str) -> Vec<(&'static str, String, bool)> {
        let config = tactus_config::from_yaml(yaml).unwrap();
        let ports = ports(&config).unwrap();
        ports.all().map(|port| (port.name, port.address.clone(), port.is_set)).collect()
    }

    #[test]
    fn usual_ports_are_at_the_host_of_the_server() {
        let yaml = "server: {http_listen_address: 127.0.0.1, grpc_listen_address: '::1'}";
        let expected = [
            ("Jaeger query HTTP", "127.0.0.1:16686"),
            ("Jaeger query gRPC", "[::1]:16685"),
            ("Jaeger storage gRPC", "[::1]:7777"),
            ("Zipkin query HTTP", "127.0.0.1:9411"),
        ];
        let expected = expected.map(|(name, address)| (name, address.to_owned(), false));
        assert_eq!(addresses(yaml), expected);
        assert_eq!(addresses("target: all")[0].1, ":16686");
    }

    #[test]
    fn empty_endpoint_turns_a_port_off_and_a_set_one_is_binding() {
        let yaml = "query_frontend:
  jaeger:
    http: {endpoint: ''}
    grpc: {endpoint: 'localhost:1', max_concurrent_streams: 7}
    storage: {endpoint: ''}
    remote_storage: {endpoint: 'localhost:2'}
    admin: {endpoint: 'localhost:3'}
  zipkin: {endpoint: ''}
";
        let expected = [
            ("Jaeger query gRPC", "localhost:1"),
            ("Jaeger remote storage gRPC", "localhost:2"),
            ("Jaeger admin HTTP", "localhost:3"),
        ];
        let expected = expected.map(|(name, address)| (name, address.to_owned(), true));
        assert_eq!(addresses(yaml), expected);
        let config = tactus_config::from_yaml(yaml).unwrap();
        let streams = ports(&config).unwrap().jaeger_grpc.unwrap().port.listener.http2;
        assert_eq!(streams.max_concurrent_streams, Some(7));
    }

    #[test]
    fn zipkin_receiver_of_the_process_has_the_port() {
        let receiver = "distributor: {receivers: {zipkin: {}}}";
        let has_port =
            |yaml: &str| addresses(yaml).iter().any(|(name, ..)| name.contains("Zipkin"));
        assert!(!has_port(receiver));
        assert!(has_port(&format!("{receiver}\ntarget: query-frontend")));
        assert!(has_port(&format!(
            "{receiver}\nquery_frontend: {{zipkin: {{endpoint: 'localhost:1'}}}}"
        )));
    }

    type Settings = fn(&mut QueryFrontend) -> (&mut Option<String>, &mut Option<PortTls>);

    /// Why the port cannot be opened that alone is on; no file exists that anything names.
    fn refusal(of: Settings, own: Option<PortTls>) -> String {
        let yaml = "server:
  http_tls_config: {cert_file: /none, key_file: /none}
  grpc_tls_config: {cert_file: /none, key_file: /none}
query_frontend:
  jaeger: {http: {endpoint: ''}, grpc: {endpoint: ''}, storage: {endpoint: ''}}
  zipkin: {endpoint: ''}
";
        let mut config = tactus_config::from_yaml(yaml).unwrap();
        assert_eq!(ports(&config).unwrap().all().count(), 0);
        let (endpoint, tls) = of(&mut config.query_frontend);
        (*endpoint, *tls) = (Some("localhost:1".to_owned()), own);
        tactus_telemetry::error_text(&ports(&config).unwrap_err())
    }

    #[test]
    fn port_without_tls_of_its_own_has_that_of_the_server() {
        let http: [Settings; 3] = [
            |frontend| (&mut frontend.jaeger.http.endpoint, &mut frontend.jaeger.http.tls),
            |frontend| (&mut frontend.jaeger.admin.endpoint, &mut frontend.jaeger.admin.tls),
            |frontend| (&mut frontend.zipkin.endpoint, &mut frontend.zipkin.tls),
        ];
        let grpc: [Settings; 3] = [
            |frontend| (&mut frontend.jaeger.grpc.endpoint, &mut frontend.jaeger.grpc.limits.tls),
            |frontend| {
                let storage = &mut frontend.jaeger.storage;
                (&mut storage.endpoint, &mut storage.limits.tls)
            },
            |frontend| {
                let storage = &mut frontend.jaeger.remote_storage;
                (&mut storage.endpoint, &mut storage.limits.tls)
            },
        ];
        let file = || "/none".to_owned();
        for (section, all) in [("server.http_tls_config", http), ("server.grpc_tls_config", grpc)] {
            for of in all {
                let inherited = refusal(of, None);
                assert!(inherited.contains(section), "{inherited}");
                let mut own = PortTls::default();
                (own.own.cert_file, own.own.key_file) = (file(), file());
                let own = refusal(of, Some(own));
                assert!(own.contains("query_frontend.") && !own.contains("server."), "{own}");
            }
        }
    }

    #[test]
    fn tls_without_a_key_is_refused() {
        let yaml = "query_frontend: {jaeger: {storage: {tls: {cert_file: /none}}}}";
        let error = ports(&tactus_config::from_yaml(yaml).unwrap()).unwrap_err();
        let text = tactus_telemetry::error_text(&error);
        assert!(text.contains("query_frontend.jaeger.storage.tls"), "{text}");
    }
}
