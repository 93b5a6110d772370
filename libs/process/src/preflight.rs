//! Checks before a start: `-config.verify`, and ports that other programs use.

use tactus_config::{Config, Loaded, target::services_of};
use tactus_overrides::Warnings;
use tactus_server::listener::Backlog;
use tactus_storage::{Bucket, BucketSettings};

use crate::{Error, PlannedPort, Process, Program, address_of, bucket, cluster, settings};

/// Judges a configuration as a start does, without opening a port, a directory or the bucket. Returns what a start would
/// warn of, beside the warnings of `loaded`.
///
/// Errors: the one that a start would end with.
pub(crate) async fn verify(loaded: &Loaded, program: Program) -> Result<Warnings, Error> {
    let process = Process::quiet(loaded, program.check_limits).await?;
    let config = process.config();
    http_settings(config)?;
    settings::grpc(config, Backlog::of_services())?;
    bucket_settings(config)?;
    settings::open_caches(config, process.registry())?;
    refuse_mistakes(&planned_ports(config, program)?)?;
    let checked = (program.check)(&process).await;
    let mut warnings = process.overrides().file_warnings();
    warnings.mistakes.extend(process.overrides().unusable_defaults().map(str::to_owned));
    process.end().await;
    checked.map(|()| warnings)
}

/// Errors: certificates of the HTTP ports, and what their log is to have.
fn http_settings(config: &Config) -> Result<(), Error> {
    let mut ports = vec![("server", &config.server)];
    if config.internal_server.enable {
        ports.push(("internal_server", &config.internal_server.server));
    }
    for (section, server) in ports {
        settings::http(section, server)?;
        settings::request_log(section, server)?;
    }
    Ok(())
}

/// The settings of the bucket, if a process of this target opens it. Errors: those that opening it would end with, except
/// what only the store itself can say. A file that names no store is a part of a configuration, as the empty file is:
/// flags of the start may name it. So it is in order, as for Tempo.
fn bucket_settings(config: &Config) -> Result<(), Error> {
    let opens = ["ingester", "querier", "query-frontend", "compactor"];
    let opened = services_of(&config.target).iter().any(|part| opens.contains(part));
    if !opened || config.storage.trace.backend.is_empty() {
        return Ok(());
    }
    let settings = bucket::bucket(&config.storage.trace)?;
    if !matches!(settings, BucketSettings::Local { .. }) {
        Bucket::open(&settings)?;
    }
    Ok(())
}

/// Errors: ports that cannot be had, all of them in one text.
pub(crate) async fn refuse_taken_ports(config: &Config, program: Program) -> Result<(), Error> {
    let ports = planned_ports(config, program)?;
    refuse_mistakes(&ports)?;
    let mut refused = Vec::new();
    for port in ports {
        if let Err(error) = port.try_bind().await {
            refused.push(format!("{}: {error}", port.key));
        }
    }
    if refused.is_empty() { Ok(()) } else { Err(Error::Setup(refused.join("; "))) }
}

fn planned_ports(config: &Config, program: Program) -> Result<Vec<PlannedPort>, Error> {
    let mut ports = own_ports(config);
    ports.extend(cluster::ports(config)?);
    ports.extend((program.ports)(config)?);
    Ok(ports)
}

/// Errors: texts that are no addresses, and ports that two settings name, all of them in one.
fn refuse_mistakes(ports: &[PlannedPort]) -> Result<(), Error> {
    let mut refused: Vec<String> = ports.iter().filter_map(PlannedPort::mistake).collect();
    for (index, port) in ports.iter().enumerate() {
        for other in ports[..index].iter().filter(|other| port.collides_with(other)) {
            let (key, other_key) = (&port.key, &other.key);
            let (address, other) = (&port.address, &other.address);
            refused.push(format!("{other_key} and {key} are the same port: {other} and {address}"));
        }
    }
    if refused.is_empty() { Ok(()) } else { Err(Error::Setup(refused.join("; "))) }
}

/// The ports that every process has.
fn own_ports(config: &Config) -> Vec<PlannedPort> {
    let server = &config.server;
    let mut ports = vec![
        PlannedPort::tcp(
            "server.http_listen_port",
            address_of(&server.http_listen_address, server.http_listen_port),
        ),
        PlannedPort::tcp(
            "server.grpc_listen_port",
            address_of(&server.grpc_listen_address, server.grpc_listen_port),
        ),
    ];
    if let Some((address, port)) = server.internal_grpc() {
        let address = address_of(address, port);
        ports.push(PlannedPort::tcp("server.internal_grpc_listen_port", address));
    }
    if config.internal_server.enable {
        let internal = &config.internal_server.server;
        let address = address_of(&internal.http_listen_address, internal.http_listen_port);
        ports.push(PlannedPort::tcp("internal_server.http_listen_port", address));
    }
    ports
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn certificates_of_every_open_http_port_must_be_there() {
        let refused = |section: &str, more: &str| {
            let missing = "http_tls_config: {cert_file: /nonexistent/c, key_file: /nonexistent/k}";
            let text = format!("{section}: {{{more}{missing}}}");
            let config = tactus_config::from_yaml(&text).unwrap();
            http_settings(&config).err().map(|error| error.to_string())
        };
        for (section, more) in [("server", ""), ("internal_server", "enable: true, ")] {
            let error = refused(section, more).unwrap();
            assert!(error.contains(&format!("{section}.http_tls_config.cert_file")), "{error}");
        }
        assert_eq!(refused("internal_server", ""), None);
    }
}
