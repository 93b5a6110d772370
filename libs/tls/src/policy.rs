//! TLS versions and cipher suites, with the names of Go and of the OpenTelemetry Collector.

use std::sync::Arc;

use rustls::crypto::{CryptoProvider, ring};
use rustls::{ProtocolVersion, SupportedCipherSuite, SupportedProtocolVersion, version};

use crate::error::Error;

/// Suites that Go has and that are too weak for rustls. Configurations that name them still load.
const LEGACY_SUITES: [&str; 16] = [
    "TLS_RSA_WITH_RC4_128_SHA",
    "TLS_RSA_WITH_3DES_EDE_CBC_SHA",
    "TLS_RSA_WITH_AES_128_CBC_SHA",
    "TLS_RSA_WITH_AES_256_CBC_SHA",
    "TLS_RSA_WITH_AES_128_CBC_SHA256",
    "TLS_RSA_WITH_AES_128_GCM_SHA256",
    "TLS_RSA_WITH_AES_256_GCM_SHA384",
    "TLS_ECDHE_ECDSA_WITH_RC4_128_SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA",
    "TLS_ECDHE_RSA_WITH_RC4_128_SHA",
    "TLS_ECDHE_RSA_WITH_3DES_EDE_CBC_SHA",
    "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA",
    "TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA256",
    "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA256",
];

/// The allowed versions and suites. TLS 1.0 and 1.1 are never allowed: a lower minimum means 1.2.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProtocolPolicy {
    /// Lowest version: `VersionTLS12`, `TLS12` or `1.2`; empty is 1.2.
    pub min_version: String,
    /// Highest version, spelled likewise; empty is the newest.
    pub max_version: String,
    /// Suites of TLS 1.2 by Go's names; empty is all. Those of TLS 1.3 are always on, as in Go.
    pub cipher_suites: Vec<String>,
}

/// Client or server, because Go words errors about these settings differently for each.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    Server,
    Client,
}

impl ProtocolPolicy {
    /// The versions between both limits.
    pub(crate) fn versions(
        &self,
        section: &str,
        side: Side,
    ) -> Result<Vec<&'static SupportedProtocolVersion>, Error> {
        let unknown = |name: &str| {
            Error::setting(
                section,
                match side {
                    Side::Server => format!("TLS version {name:?} not recognized"),
                    Side::Client => format!("unknown minimum TLS version: {name:?}"),
                },
            )
        };
        let number = |name: &str, unset: u8| match minor_version(name) {
            _ if name.is_empty() => Ok(unset),
            Some(minor) => Ok(minor),
            None => Err(unknown(name)),
        };
        let (lowest, highest) = (number(&self.min_version, 2)?, number(&self.max_version, 3)?);
        let known = [(2, &version::TLS12), (3, &version::TLS13)];
        let within = known.into_iter().filter(|(minor, _)| (lowest..=highest).contains(minor));
        let versions: Vec<_> = within.map(|(_, version)| version).collect();
        if versions.is_empty() {
            let (min, max) = (&self.min_version, &self.max_version);
            let text = format!("no TLS version between {min:?} and {max:?}; 1.2 and 1.3 exist");
            return Err(Error::setting(section, text));
        }
        Ok(versions)
    }

    /// rustls' provider based on ring, with the named suites.
    pub(crate) fn provider(&self, section: &str, side: Side) -> Result<Arc<CryptoProvider>, Error> {
        let mut provider = ring::default_provider();
        if self.cipher_suites.is_empty() {
            return Ok(Arc::new(provider));
        }
        let mut chosen: Vec<SupportedCipherSuite> = Vec::new();
        for name in &self.cipher_suites {
            let suite = provider.cipher_suites.iter().find(|suite| is_called(suite, name));
            match suite {
                Some(suite) if is_tls13(suite) || chosen.contains(suite) => {}
                Some(suite) => chosen.push(*suite),
                None if LEGACY_SUITES.contains(&name.as_str()) => {
                    tracing::warn!(section, suite = %name, "cipher suite is ignored, because it is too weak");
                }
                None => {
                    let text = match side {
                        Side::Server => format!("cipher suite {name:?} not recognized"),
                        Side::Client => format!("unsupported cipher suite: {name:?}"),
                    };
                    return Err(Error::setting(section, text));
                }
            }
        }
        provider.cipher_suites.retain(is_tls13);
        provider.cipher_suites.extend(chosen);
        Ok(Arc::new(provider))
    }
}

fn is_tls13(suite: &SupportedCipherSuite) -> bool {
    suite.version().version == ProtocolVersion::TLSv1_3
}

/// True if Go gives the suite this name. Its names for TLS 1.3 lack the 13, and two suites have a short form.
fn is_called(suite: &SupportedCipherSuite, name: &str) -> bool {
    let ours = format!("{:?}", suite.suite());
    let ours = ours.replacen("TLS13_", "TLS_", 1);
    ours == name
        || ours
            .strip_suffix("_SHA256")
            .is_some_and(|short| short == name && short.ends_with("CHACHA20_POLY1305"))
}

/// 0 to 3, of any of the three spellings.
fn minor_version(name: &str) -> Option<u8> {
    let digits = name.strip_prefix("Version").unwrap_or(name);
    let digits = digits.strip_prefix("TLS").or_else(|| {
        // `1.2`, but not `Version12`.
        name.starts_with('1').then_some(name)
    })?;
    match digits.replace('.', "").as_str() {
        "10" => Some(0),
        "11" => Some(1),
        "12" => Some(2),
        "13" => Some(3),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(min: &str, max: &str, suites: &[&str]) -> ProtocolPolicy {
        ProtocolPolicy {
            min_version: min.to_owned(),
            max_version: max.to_owned(),
            cipher_suites: suites.iter().map(|&name| name.to_owned()).collect(),
        }
    }

    fn names(policy: &ProtocolPolicy) -> Vec<String> {
        let provider = policy.provider("x", Side::Server).unwrap();
        provider.cipher_suites.iter().map(|suite| format!("{:?}", suite.suite())).collect()
    }

    #[test]
    fn versions_of_every_spelling_are_limits() {
        let count = |min, max| policy(min, max, &[]).versions("x", Side::Server).unwrap().len();
        assert_eq!(count("", ""), 2);
        assert_eq!(count("VersionTLS10", ""), 2);
        for name in ["VersionTLS13", "TLS13", "1.3"] {
            assert_eq!(count(name, ""), 1, "{name}");
        }
        assert_eq!(count("1.0", "1.2"), 1);
        assert!(policy("", "1.1", &[]).versions("x", Side::Server).is_err());
    }

    #[test]
    fn version_that_does_not_exist_is_refused_as_go_does() {
        for name in ["VersionTLS14", "Version12", "2", "tls12", "VersionVersionTLS12"] {
            let wrong = policy(name, "", &[]);
            let text = wrong.versions("server", Side::Server).unwrap_err().to_string();
            assert_eq!(text, format!("server: TLS version {name:?} not recognized"));
            let text = wrong.versions("client", Side::Client).unwrap_err().to_string();
            assert_eq!(text, format!("client: unknown minimum TLS version: {name:?}"));
        }
    }

    #[test]
    fn suites_of_tls_1_3_stay_whatever_is_named() {
        let all = names(&policy("", "", &[]));
        let named = ["TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256", "TLS_AES_128_GCM_SHA256"];
        let some = names(&policy("", "", &named));
        assert_eq!(some.iter().filter(|name| name.starts_with("TLS13_")).count(), 3);
        assert_eq!(some.iter().filter(|name| !name.starts_with("TLS13_")).count(), 1);
        assert!(all.len() > some.len());
    }

    #[test]
    fn suites_of_go_are_known_by_both_names_and_weak_ones_are_left_out() {
        for name in
            ["TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305", "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256"]
        {
            assert_eq!(names(&policy("", "", &[name])).len(), 4, "{name}");
        }
        assert_eq!(names(&policy("", "", &["TLS_RSA_WITH_AES_128_CBC_SHA"])).len(), 3);
        let wrong = policy("", "", &["TLS_NULL"]);
        let text = wrong.provider("server", Side::Server).unwrap_err().to_string();
        assert_eq!(text, r#"server: cipher suite "TLS_NULL" not recognized"#);
        let text = wrong.provider("client", Side::Client).unwrap_err().to_string();
        assert_eq!(text, r#"client: unsupported cipher suite: "TLS_NULL""#);
    }
}
