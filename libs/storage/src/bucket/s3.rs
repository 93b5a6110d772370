//! Builds the S3 client from our settings.

use std::fs;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use object_store::aws::{AmazonS3, AmazonS3Builder, AmazonS3ConfigKey};
use object_store::{
    Attribute, Attributes, BackoffConfig, Certificate, ClientOptions, PutMultipartOptions,
    PutOptions, RetryConfig, TagSet,
};

use super::credentials::{self, Found};
use super::settings::{Addressing, S3Encryption, S3Settings};
use crate::error::{Error, Result};

const DEFAULT_REGION: &str = "us-east-1";

pub(super) fn build(settings: &S3Settings) -> Result<AmazonS3> {
    settings.validate()?;
    // Without one the HTTP client would panic while it is built.
    if rustls::crypto::CryptoProvider::get_default().is_none() {
        return Err(Error::invalid("process", "no TLS crypto provider is installed"));
    }
    let endpoint = resolve_endpoint(settings)?;
    let mut builder = AmazonS3Builder::new()
        .with_bucket_name(&settings.bucket)
        .with_endpoint(&endpoint.url)
        .with_region(&endpoint.region)
        .with_virtual_hosted_style_request(endpoint.virtual_hosted)
        .with_allow_http(endpoint.insecure)
        .with_client_options(client_options(settings, endpoint.insecure)?)
        .with_retry(retry_config(settings));
    builder = match credentials::find(settings, &credentials::process_environment) {
        Found::Keys { access_key, secret_key, token } => {
            let builder = builder.with_access_key_id(access_key).with_secret_access_key(secret_key);
            if token.is_empty() { builder } else { builder.with_token(token) }
        }
        Found::Chain(keys) => {
            keys.into_iter().fold(builder, |builder, (key, value)| builder.with_config(key, value))
        }
    };
    encrypt(builder, &settings.encryption)?
        .build()
        .map_err(|error| Error::invalid("s3 settings", error.to_string()))
}

/// What every object is written with.
#[derive(Debug, Clone, Default)]
pub(super) struct WriteOptions {
    attributes: Attributes,
    tags: TagSet,
}

impl WriteOptions {
    pub(super) fn new(settings: &S3Settings) -> Self {
        let mut attributes = Attributes::new();
        for (key, value) in &settings.metadata {
            attributes.insert(Attribute::Metadata(key.clone().into()), value.clone().into());
        }
        if !settings.storage_class.is_empty() {
            attributes.insert(Attribute::StorageClass, settings.storage_class.clone().into());
        }
        let mut tags = TagSet::default();
        for (key, value) in &settings.tags {
            tags.push(key, value);
        }
        Self { attributes, tags }
    }

    pub(super) fn put(&self) -> PutOptions {
        PutOptions {
            attributes: self.attributes.clone(),
            tags: self.tags.clone(),
            ..PutOptions::default()
        }
    }

    pub(super) fn multipart(&self) -> PutMultipartOptions {
        PutMultipartOptions {
            attributes: self.attributes.clone(),
            tags: self.tags.clone(),
            ..PutMultipartOptions::default()
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
struct Endpoint {
    url: String,
    region: String,
    virtual_hosted: bool,
    insecure: bool,
}

fn resolve_endpoint(settings: &S3Settings) -> Result<Endpoint> {
    let text = settings.endpoint.trim().trim_end_matches('/');
    let (host, insecure) = if let Some(host) = text.strip_prefix("http://") {
        (host, true)
    } else if let Some(host) = text.strip_prefix("https://") {
        (host, false)
    } else {
        (text, settings.insecure)
    };
    if host.contains(['/', '?', '#', '@']) || host.contains(char::is_whitespace) {
        let reason = format!("{text:?} is not host or host:port");
        return Err(Error::invalid("s3 endpoint", reason));
    }
    let region = [settings.region.as_str(), region_of_host(host).unwrap_or(DEFAULT_REGION)]
        .into_iter()
        .find(|region| !region.is_empty())
        .unwrap_or(DEFAULT_REGION)
        .to_owned();
    let host = match host {
        "" if settings.dual_stack => format!("s3.dualstack.{region}.{}", aws_domain(&region)),
        // The global name answers other regions with redirects.
        "" | "s3.amazonaws.com" => format!("s3.{region}.{}", aws_domain(&region)),
        host => host.to_owned(),
    };
    let virtual_hosted = match settings.addressing {
        Addressing::VirtualHost => true,
        Addressing::Path => false,
        // A dot in the name would not match the cloud's wildcard certificate.
        Addressing::Auto => is_known_cloud(&host) && (insecure || !settings.bucket.contains('.')),
    };
    let scheme = if insecure { "http" } else { "https" };
    let url = if virtual_hosted {
        format!("{scheme}://{}.{host}", settings.bucket)
    } else {
        format!("{scheme}://{host}")
    };
    Ok(Endpoint { url, region, virtual_hosted, insecure })
}

fn aws_domain(region: &str) -> &'static str {
    if region.starts_with("cn-") { "amazonaws.com.cn" } else { "amazonaws.com" }
}

fn is_known_cloud(host: &str) -> bool {
    let name = host.split(':').next().unwrap_or(host);
    [".amazonaws.com", ".amazonaws.com.cn", "storage.googleapis.com", ".aliyuncs.com"]
        .iter()
        .any(|suffix| name.ends_with(suffix))
}

/// The region in names such as `s3.eu-west-1.amazonaws.com`, `s3.dualstack.eu-west-1.…` and
/// `s3-eu-west-1.…`.
fn region_of_host(host: &str) -> Option<&str> {
    let name = host.split(':').next().unwrap_or(host);
    let name =
        name.strip_suffix(".amazonaws.com").or_else(|| name.strip_suffix(".amazonaws.com.cn"))?;
    let region = name.strip_prefix("s3.dualstack.").or_else(|| name.strip_prefix("s3."));
    let region = region.or_else(|| name.strip_prefix("s3-"))?;
    region.contains('-').then_some(region)
}

fn client_options(settings: &S3Settings, insecure: bool) -> Result<ClientOptions> {
    let mut options = ClientOptions::new()
        .with_allow_http(insecure)
        // The system's certificates may be missing in a container, and HTTP needs none.
        .with_no_system_certificates(insecure)
        .with_connect_timeout(settings.connect_timeout)
        .with_timeout(settings.request_timeout)
        .with_allow_invalid_certificates(settings.tls_insecure_skip_verify);
    if let Some(path) = &settings.tls_ca_path {
        let refuse = |reason: String| {
            Error::invalid("s3 tls_ca_path", format!("error loading ca cert: {reason}"))
        };
        let pem = fs::read(path).map_err(|error| refuse(format!("{}: {error}", path.display())))?;
        let certificates =
            Certificate::from_pem_bundle(&pem).map_err(|error| refuse(error.to_string()))?;
        if certificates.is_empty() {
            return Err(refuse(format!("{} holds no certificate", path.display())));
        }
        options = certificates.into_iter().fold(options, ClientOptions::with_root_certificate);
    }
    Ok(options)
}

fn retry_config(settings: &S3Settings) -> RetryConfig {
    RetryConfig {
        backoff: BackoffConfig {
            init_backoff: settings.retry.initial_backoff,
            max_backoff: settings.retry.max_backoff,
            base: 2.0,
        },
        max_retries: settings.retry.max_retries,
        retry_timeout: settings.retry.total_timeout,
    }
}

fn encrypt(builder: AmazonS3Builder, encryption: &S3Encryption) -> Result<AmazonS3Builder> {
    // The key's enum cannot be named from outside its crate.
    let kind: AmazonS3ConfigKey = "aws_server_side_encryption"
        .parse()
        .map_err(|_| Error::invalid("s3 sse", "not supported by the client"))?;
    Ok(match encryption {
        S3Encryption::None => builder,
        S3Encryption::S3 => builder.with_config(kind, "AES256"),
        S3Encryption::Kms { key_id } if key_id.is_empty() => builder.with_config(kind, "aws:kms"),
        S3Encryption::Kms { key_id } => builder.with_sse_kms_encryption(key_id),
        S3Encryption::Customer { key } => builder.with_ssec_encryption(STANDARD.encode(key)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint(change: impl FnOnce(&mut S3Settings)) -> Endpoint {
        let mut settings = S3Settings { bucket: "traces".into(), ..S3Settings::default() };
        change(&mut settings);
        resolve_endpoint(&settings).unwrap()
    }

    #[test]
    fn own_server_gets_path_style() {
        let endpoint = endpoint(|settings| {
            settings.endpoint = "minio:9000".into();
            settings.insecure = true;
        });
        assert_eq!(endpoint.url, "http://minio:9000");
        assert_eq!(endpoint.region, "us-east-1");
        assert!(!endpoint.virtual_hosted && endpoint.insecure);
    }

    #[test]
    fn aws_gets_virtual_hosts_and_its_region() {
        for (name, host) in [
            ("s3.eu-west-1.amazonaws.com", "s3.eu-west-1.amazonaws.com"),
            ("s3.dualstack.eu-west-1.amazonaws.com", "s3.dualstack.eu-west-1.amazonaws.com"),
            ("s3-eu-west-1.amazonaws.com", "s3-eu-west-1.amazonaws.com"),
        ] {
            let endpoint = endpoint(|settings| settings.endpoint = name.into());
            assert_eq!(endpoint.url, format!("https://traces.{host}"));
            assert_eq!(endpoint.region, "eu-west-1");
        }
    }

    #[test]
    fn missing_or_global_endpoint_becomes_the_regional_one() {
        for name in ["", "s3.amazonaws.com"] {
            let endpoint = endpoint(|settings| {
                settings.endpoint = name.into();
                settings.region = "cn-north-1".into();
            });
            assert_eq!(endpoint.url, "https://traces.s3.cn-north-1.amazonaws.com.cn");
        }
    }

    #[test]
    fn bucket_with_a_dot_avoids_virtual_hosts_under_tls() {
        let endpoint = endpoint(|settings| settings.bucket = "a.b".into());
        assert_eq!(endpoint.url, "https://s3.us-east-1.amazonaws.com");
    }

    #[test]
    fn explicit_style_and_scheme_win() {
        let virtual_host = endpoint(|settings| {
            settings.endpoint = "http://store.local:80/".into();
            settings.addressing = Addressing::VirtualHost;
        });
        assert_eq!(virtual_host.url, "http://traces.store.local:80");
        let path = endpoint(|settings| settings.addressing = Addressing::Path);
        assert_eq!(path.url, "https://s3.us-east-1.amazonaws.com");
    }

    #[test]
    fn endpoint_with_a_path_is_invalid() {
        let settings = S3Settings { endpoint: "host/path".into(), ..S3Settings::default() };
        assert!(matches!(resolve_endpoint(&settings), Err(Error::Invalid { .. })));
    }
}
