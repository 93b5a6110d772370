//! Converts sections of the configuration to the settings of this crate.

use tactus_config::sections::client::ClientTls as ClientSection;
use tactus_config::sections::receivers::ReceiverTls;
use tactus_config::sections::remote_write::RemoteTls;
use tactus_config::sections::server::{Server, ServerTls as ServerSection};

use crate::client::ClientTlsSettings;
use crate::error::Error;
use crate::pem::Pem;
use crate::policy::ProtocolPolicy;
use crate::server::{ClientAuth, ServerTlsSettings};
use crate::{ALPN_GRPC, ALPN_HTTP, DEFAULT_RELOAD_INTERVAL};

/// TLS of the main HTTP port; `None`: off. `section`: `server` or `internal_server`.
pub fn http_server(section: &str, server: &Server) -> Result<Option<ServerTlsSettings>, Error> {
    let section = format!("{section}.http_tls_config");
    of_listener(&section, server, &server.http_tls_config, &ALPN_HTTP)
}

/// TLS of the main gRPC port; `None`: off. `section`: `server` or `internal_server`.
pub fn grpc_server(section: &str, server: &Server) -> Result<Option<ServerTlsSettings>, Error> {
    let section = format!("{section}.grpc_tls_config");
    of_listener(&section, server, &server.grpc_tls_config, &ALPN_GRPC)
}

fn of_listener(
    section: &str,
    server: &Server,
    tls: &ServerSection,
    alpn: &[&str],
) -> Result<Option<ServerTlsSettings>, Error> {
    let client_auth = ClientAuth::from_name(&tls.client_auth_type).ok_or_else(|| {
        Error::setting(section, format!("invalid ClientAuth: {}", tls.client_auth_type))
    })?;
    let certificate = pem(section, ("cert_file", &tls.cert_file), ("cert", &tls.cert));
    let key = pem(section, ("key_file", &tls.key_file), ("key", tls.key.reveal()));
    let (Some(certificate), Some(key)) = (certificate, key) else { return Ok(None) };
    Ok(Some(ServerTlsSettings {
        client_ca: pem(
            section,
            ("client_ca_file", &tls.client_ca_file),
            ("client_ca", &tls.client_ca),
        ),
        client_auth,
        policy: ProtocolPolicy {
            min_version: server.tls_min_version.clone(),
            max_version: String::new(),
            cipher_suites: server.tls_cipher_suites.clone(),
        },
        alpn: names(alpn),
        reload_interval: server.tls_reload_interval.as_std(),
        ..ServerTlsSettings::new(section, certificate, key)
    }))
}

/// TLS of a receiver. `section`: such as `distributor.receivers.otlp.protocols.grpc.tls`; `alpn`: see [`ALPN_HTTP`] and
/// [`ALPN_GRPC`]. With a client CA, client certificates are mandatory.
///
/// Errors: no certificate or no key, because a receiver with a `tls` section must not accept unencrypted connections.
pub fn receiver(
    section: &str,
    tls: &ReceiverTls,
    alpn: &[&str],
) -> Result<ServerTlsSettings, Error> {
    let certificate =
        pem(section, ("cert_file", &tls.cert_file), ("cert_pem", tls.cert_pem.reveal()));
    let key = pem(section, ("key_file", &tls.key_file), ("key_pem", tls.key_pem.reveal()));
    let (Some(certificate), Some(key)) = (certificate, key) else {
        return Err(Error::setting(section, "TLS needs both a certificate and a key"));
    };
    let client_ca = (!tls.client_ca_file.is_empty())
        .then(|| file(section, "client_ca_file", &tls.client_ca_file));
    Ok(ServerTlsSettings {
        client_auth: match client_ca {
            Some(_) => ClientAuth::RequireAndVerify,
            None => ClientAuth::None,
        },
        client_ca,
        policy: ProtocolPolicy {
            min_version: tls.min_version.clone(),
            max_version: tls.max_version.clone(),
            cipher_suites: tls.cipher_suites.clone(),
        },
        alpn: names(alpn),
        reload_interval: tls.reload_interval.non_zero().unwrap_or(DEFAULT_RELOAD_INTERVAL),
        ..ServerTlsSettings::new(section, certificate, key)
    })
}

/// TLS of a gRPC client. `section`: where the `tls_…` keys are, such as `memberlist`.
pub fn grpc_client(section: &str, tls: &ClientSection) -> ClientTlsSettings {
    ClientTlsSettings { alpn: names(&ALPN_GRPC), ..client(section, tls) }
}

/// TLS of a client that does not speak HTTP, so without ALPN.
pub fn client(section: &str, tls: &ClientSection) -> ClientTlsSettings {
    let optional = |key: &str, path: &str| (!path.is_empty()).then(|| file(section, key, path));
    ClientTlsSettings {
        certificate: optional("tls_cert_path", &tls.tls_cert_path),
        key: optional("tls_key_path", &tls.tls_key_path),
        ca: optional("tls_ca_path", &tls.tls_ca_path),
        server_name: tls.tls_server_name.clone(),
        insecure_skip_verify: tls.tls_insecure_skip_verify,
        policy: ProtocolPolicy {
            min_version: tls.tls_min_version.clone(),
            max_version: String::new(),
            cipher_suites: tls.tls_cipher_suites.clone(),
        },
        ..ClientTlsSettings::new(section)
    }
}

/// TLS of a client that sends metrics, without ALPN. `section`: where `ca_file` and the other keys are.
pub fn remote_write(section: &str, tls: &RemoteTls) -> ClientTlsSettings {
    ClientTlsSettings {
        certificate: pem(section, ("cert_file", &tls.cert_file), ("cert", &tls.cert)),
        key: pem(section, ("key_file", &tls.key_file), ("key", tls.key.reveal())),
        ca: pem(section, ("ca_file", &tls.ca_file), ("ca", &tls.ca)),
        server_name: tls.server_name.clone(),
        insecure_skip_verify: tls.insecure_skip_verify,
        policy: ProtocolPolicy {
            min_version: tls.min_version.clone(),
            max_version: tls.max_version.clone(),
            cipher_suites: Vec::new(),
        },
        ..ClientTlsSettings::new(section)
    }
}

/// The file if one is named, otherwise the text if there is one.
fn pem(section: &str, named: (&str, &str), text: (&str, &str)) -> Option<Pem> {
    match (named.1, text.1) {
        ("", "") => None,
        ("", pem) => Some(Pem::text(format!("{section}.{}", text.0), pem)),
        (path, _) => Some(file(section, named.0, path)),
    }
}

fn file(section: &str, key: &str, path: &str) -> Pem {
    Pem::file(format!("{section}.{key}"), path)
}

fn names(alpn: &[&str]) -> Vec<String> {
    alpn.iter().map(|&name| name.to_owned()).collect()
}
