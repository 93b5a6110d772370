//! Builds the S3 client from our settings.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use object_store::aws::{AmazonS3, AmazonS3Builder, AmazonS3ConfigKey};
use tactus_config::sections::object_store::{S3, S3Sse};
use tactus_config::without_passwords;

use super::client::{self, Client, Connector, retry};
use super::credentials::{self, Environment, Found};
use super::kms::EncryptionContext;
use super::options::MIN_PART_BYTES;
use super::target::{Credentials, Kind, Provider, Target};
use crate::error::{Error, Result};

const DEFAULT_REGION: &str = "us-east-1";

pub(super) fn build(settings: &S3) -> Result<(AmazonS3, Target)> {
    validate(settings)?;
    client::check_tls_provider()?;
    let endpoint = resolve_endpoint(settings, &credentials::process_environment)?;
    let address = format!("{}/{}", endpoint.url, settings.bucket);
    client::check_address("s3 endpoint or bucket", &address)?;
    client::check_header("s3 region", &endpoint.region)?;
    let found = credentials::find(settings, &credentials::process_environment);
    found.check()?;
    let client = Client {
        retry: retry(
            settings.retry_max_attempts,
            settings.retry_backoff_initial,
            settings.retry_backoff_max,
        ),
        insecure: endpoint.insecure,
        // Tokens of a web identity are exchanged over TLS wherever the store is.
        never_tls: endpoint.insecure && !found.asks_over_tls(),
        // TLS settings are the connector's.
        ..Client::default()
    };
    let context = EncryptionContext::new(&settings.sse, &endpoint.region)?;
    let mut builder = AmazonS3Builder::new()
        .with_bucket_name(&settings.bucket)
        .with_endpoint(&endpoint.url)
        .with_region(&endpoint.region)
        .with_virtual_hosted_style_request(endpoint.virtual_hosted)
        .with_allow_http(endpoint.insecure)
        .with_client_options(client.options())
        .with_retry(client.retry.clone())
        // Not all stores know the request for many keys.
        .with_disable_bulk_delete(true)
        .with_http_connector(Connector::of_s3(&endpoint.url, settings, context.clone())?);
    let signer = found.name();
    let configured = found.is_configured();
    builder = match found {
        Found::Keys { access_key, secret_key, token, .. } => {
            let builder = builder.with_access_key_id(access_key).with_secret_access_key(secret_key);
            if token.is_empty() { builder } else { builder.with_token(token) }
        }
        Found::Chain(keys) => with_chain(builder, keys, &endpoint.region),
    };
    let store = encrypt(builder, &settings.sse)?
        .build()
        .map_err(|error| Error::invalid("s3 settings", error.to_string()))?;
    if let Some(context) = context {
        context.sign_with(store.credentials());
    }
    let target = Target {
        kind: Kind::S3,
        bucket: settings.bucket.clone(),
        address: endpoint.url,
        region: endpoint.region,
        credentials: Credentials {
            name: signer,
            configured,
            provider: Provider::Aws(Arc::clone(store.credentials())),
        },
    };
    Ok((store, target))
}

/// Credentials of a cloud, with what the environment says about it.
fn with_chain(
    builder: AmazonS3Builder,
    keys: Vec<(AmazonS3ConfigKey, String)>,
    region: &str,
) -> AmazonS3Builder {
    // In containers, and behind other programs that answer for the instance's metadata, often only the first version does.
    let mut builder = builder.with_imdsv1_fallback();
    // The client knows the domain of the other regions only.
    if region.starts_with("cn-") {
        let sts = format!("https://sts.{region}.{}", aws_domain(region));
        builder = builder.with_config(AmazonS3ConfigKey::StsEndpoint, sts);
    }
    keys.into_iter().fold(builder, |builder, (key, value)| builder.with_config(key, value))
}

/// Refuses what can never work.
fn validate(settings: &S3) -> Result<()> {
    if settings.bucket.is_empty() {
        return Err(Error::invalid("s3 bucket", "no bucket name"));
    }
    if settings.bucket.contains('/') {
        return Err(Error::invalid("s3 bucket", "a bucket name holds no slash"));
    }
    if settings.access_key.is_empty() != settings.secret_key.is_empty() {
        return Err(Error::invalid("s3 credentials", "access_key and secret_key go together"));
    }
    if settings.part_size != 0 && settings.part_size < MIN_PART_BYTES {
        let reason = format!("{} is less than 5 MiB", settings.part_size);
        return Err(Error::invalid("s3 part_size", reason));
    }
    Ok(())
}

#[derive(Debug, PartialEq, Eq)]
struct Endpoint {
    url: String,
    region: String,
    virtual_hosted: bool,
    insecure: bool,
}

fn resolve_endpoint(settings: &S3, environment: Environment<'_>) -> Result<Endpoint> {
    let text = settings.endpoint.trim().trim_end_matches('/');
    let (host, insecure) = if let Some(host) = text.strip_prefix("http://") {
        (host, true)
    } else if let Some(host) = text.strip_prefix("https://") {
        (host, false)
    } else {
        (text, settings.insecure)
    };
    if host.contains(['/', '?', '#', '@']) || host.contains(char::is_whitespace) {
        let reason = format!("{:?} is not host or host:port", without_passwords(text));
        return Err(Error::invalid("s3 endpoint", reason));
    }
    let is_aws = host.is_empty() || host == "s3.amazonaws.com";
    let of_environment = || environment("AWS_REGION").or_else(|| environment("AWS_DEFAULT_REGION"));
    let region = Some(settings.region.clone())
        .filter(|region| !region.is_empty())
        .or_else(|| RegionalName::of(host).map(|name| name.region.to_owned()))
        .or_else(|| of_environment().filter(|_| is_aws))
        .unwrap_or_else(|| DEFAULT_REGION.to_owned());
    let region = region.trim().to_owned();
    let host = match host {
        // The global name answers other regions with redirects.
        "" | "s3.amazonaws.com" => format!("s3.{region}.{}", aws_domain(&region)),
        host => host.to_owned(),
    };
    let host = match RegionalName::of(&host) {
        Some(name) if settings.enable_dual_stack => name.dual_stack(),
        _ => host,
    };
    let virtual_hosted = match (settings.bucket_lookup_type, settings.forcepathstyle) {
        (1, _) => true,
        (2, _) | (_, true) => false,
        // A dot in the name would not match the cloud's wildcard certificate.
        _ => is_known_cloud(&host) && (insecure || !settings.bucket.contains('.')),
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

/// What a name of AWS's service for one region says, such as `s3.eu-west-1.amazonaws.com`, `s3-eu-west-1.…`,
/// `s3.dualstack.eu-west-1.…` and `s3-fips.us-east-1.…`.
struct RegionalName<'n> {
    /// `s3` or `s3-fips`.
    service: &'n str,
    region: &'n str,
    /// The domain, and the port with its colon if there is one.
    domain: &'n str,
}

impl<'n> RegionalName<'n> {
    fn of(host: &'n str) -> Option<Self> {
        let name = host.split(':').next().unwrap_or(host);
        let name = name.strip_suffix(".cn").unwrap_or(name).strip_suffix(".amazonaws.com")?;
        let domain = &host[name.len() + 1..];
        let (service, region) = ["s3-fips.dualstack.", "s3-fips.", "s3.dualstack.", "s3.", "s3-"]
            .into_iter()
            .find_map(|start| Some((start, name.strip_prefix(start)?)))?;
        let service = if service.starts_with("s3-fips") { "s3-fips" } else { "s3" };
        is_region(region).then_some(Self { service, region, domain })
    }

    /// The name of the same service with addresses of IPv4 and IPv6.
    fn dual_stack(&self) -> String {
        let Self { service, region, domain } = self;
        format!("{service}.dualstack.{region}.{domain}")
    }
}

/// Whether this has the form of `eu-west-1`. There are other names, such as `s3-accelerate` and `s3-website-eu-west-1`.
fn is_region(name: &str) -> bool {
    let parts: Vec<&str> = name.split('-').collect();
    let [area, middle @ .., number] = &parts[..] else { return false };
    let is_number = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
    let is_area = area.len() == 2 && is_word(area);
    is_area && !middle.is_empty() && middle.iter().all(|part| is_word(part)) && is_number
}

fn is_word(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_lowercase())
}

fn encrypt(builder: AmazonS3Builder, sse: &S3Sse) -> Result<AmazonS3Builder> {
    // The key's enum cannot be named from outside its crate.
    let kind: AmazonS3ConfigKey = "aws_server_side_encryption"
        .parse()
        .map_err(|_| Error::invalid("s3 sse", "not supported by the client"))?;
    Ok(match sse.type_.as_str() {
        "" => builder,
        "SSE-S3" => builder.with_config(kind, "AES256"),
        "SSE-KMS" if sse.kms_key_id.is_empty() => builder.with_config(kind, "aws:kms"),
        "SSE-KMS" => builder.with_sse_kms_encryption(&sse.kms_key_id),
        "SSE-C" => match sse.encryption_key.reveal() {
            key if key.len() == 32 => builder.with_ssec_encryption(STANDARD.encode(key)),
            _ => return Err(Error::invalid("s3 sse.encryption_key", "must be 32 bytes")),
        },
        other => return Err(Error::invalid("s3 sse.type", format!("unknown type {other}"))),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint(change: impl FnOnce(&mut S3)) -> Endpoint {
        let mut settings = S3 { bucket: "traces".into(), ..S3::default() };
        change(&mut settings);
        resolve_endpoint(&settings, &|_| None).unwrap()
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
            ("s3-fips.eu-west-1.amazonaws.com", "s3-fips.eu-west-1.amazonaws.com"),
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
    fn dual_stack_names_take_the_place_of_those_with_ipv4_alone() {
        for (name, host) in [
            ("", "traces.s3.dualstack.eu-west-1.amazonaws.com"),
            ("s3.amazonaws.com", "traces.s3.dualstack.eu-west-1.amazonaws.com"),
            ("s3.us-gov-west-1.amazonaws.com", "traces.s3.dualstack.us-gov-west-1.amazonaws.com"),
            ("s3-ap-south-1.amazonaws.com", "traces.s3.dualstack.ap-south-1.amazonaws.com"),
            ("s3.eu-west-1.amazonaws.com:443", "traces.s3.dualstack.eu-west-1.amazonaws.com:443"),
            ("s3.cn-north-1.amazonaws.com.cn", "traces.s3.dualstack.cn-north-1.amazonaws.com.cn"),
            ("s3.dualstack.us-east-2.amazonaws.com", "traces.s3.dualstack.us-east-2.amazonaws.com"),
            ("s3-accelerate.amazonaws.com", "traces.s3-accelerate.amazonaws.com"),
            ("s3-website-eu-west-1.amazonaws.com", "traces.s3-website-eu-west-1.amazonaws.com"),
            ("s3-fips.us-east-1.amazonaws.com", "traces.s3-fips.dualstack.us-east-1.amazonaws.com"),
            ("minio:9000", "minio:9000"),
        ] {
            let endpoint = endpoint(|settings| {
                settings.endpoint = name.into();
                settings.region = "eu-west-1".into();
                settings.enable_dual_stack = true;
            });
            assert_eq!(endpoint.url, format!("https://{host}"), "{name}");
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
            settings.bucket_lookup_type = 1;
        });
        assert_eq!(virtual_host.url, "http://traces.store.local:80");
        let path = endpoint(|settings| settings.bucket_lookup_type = 2);
        assert_eq!(path.url, "https://s3.us-east-1.amazonaws.com");
    }

    #[test]
    fn lookup_type_wins_over_the_path_style() {
        for (forcepathstyle, bucket_lookup_type, virtual_hosted) in
            [(false, 0, true), (true, 0, false), (true, 1, true), (false, 2, false)]
        {
            let endpoint = endpoint(|settings| {
                settings.forcepathstyle = forcepathstyle;
                settings.bucket_lookup_type = bucket_lookup_type;
            });
            assert_eq!(endpoint.virtual_hosted, virtual_hosted);
        }
    }

    #[test]
    fn region_of_the_environment_counts_for_aws_when_nothing_else_says_one() {
        let region = |endpoint: &str, region: &str| {
            let (endpoint, region) = (endpoint.to_owned(), region.to_owned());
            let settings = S3 { endpoint, region, ..S3::default() };
            let variable = |name: &str| (name == "AWS_DEFAULT_REGION").then(|| "eu-1".to_owned());
            resolve_endpoint(&settings, &variable).unwrap().region
        };
        assert_eq!(
            (region("", ""), region("s3.amazonaws.com", "")),
            ("eu-1".into(), "eu-1".into())
        );
        assert_eq!(region("", "us-2"), "us-2");
        assert_eq!(region("s3.ap-south-1.amazonaws.com", ""), "ap-south-1");
        assert_eq!(region("minio:9000", ""), DEFAULT_REGION);
    }

    #[test]
    fn web_identities_of_china_are_asked_for_in_china_unless_the_environment_says_otherwise() {
        let sts = |keys, region| {
            let builder = with_chain(AmazonS3Builder::new(), keys, region);
            builder.get_config_value(&AmazonS3ConfigKey::StsEndpoint)
        };
        let china = "https://sts.cn-north-1.amazonaws.com.cn";
        assert_eq!(sts(Vec::new(), "cn-north-1").unwrap(), china);
        assert_eq!(sts(Vec::new(), "eu-west-1"), None);
        let own = vec![(AmazonS3ConfigKey::StsEndpoint, "https://sts.local".to_owned())];
        assert_eq!(sts(own, "cn-north-1").unwrap(), "https://sts.local");
    }

    #[test]
    fn instance_metadata_of_the_first_version_may_be_asked() {
        let builder = with_chain(AmazonS3Builder::new(), Vec::new(), "eu-west-1");
        let value = builder.get_config_value(&AmazonS3ConfigKey::ImdsV1Fallback);
        assert_eq!(value.as_deref(), Some("true"));
    }

    #[test]
    fn endpoint_with_a_path_is_invalid() {
        let settings = S3 { endpoint: "host/path".into(), ..S3::default() };
        assert!(matches!(resolve_endpoint(&settings, &|_| None), Err(Error::Invalid { .. })));
    }
}
