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
use super::region::NamedRegion;
use super::target::{Credentials, Kind, Provider, Target};
use crate::error::{Error, Result};

const DEFAULT_REGION: &str = "us-east-1";
/// The domain that the client knows, and those of China and of the European cloud.
const AWS_DOMAINS: [&str; 3] = ["amazonaws.com", "amazonaws.com.cn", "amazonaws.eu"];

pub(super) fn build(settings: &S3) -> Result<(AmazonS3, Target)> {
    validate(settings)?;
    client::check_tls_provider()?;
    let endpoint = resolve_endpoint(settings, &credentials::process_environment)?;
    let address = format!("{}/{}", endpoint.url, settings.bucket);
    client::check_address("s3 endpoint or bucket", &address)?;
    client::check_header("s3 region", &endpoint.region)?;
    let found = credentials::find(settings, &credentials::process_environment);
    found.check()?;
    let passed_over = credentials::passed_over(&found, &credentials::process_environment);
    if !passed_over.is_empty() {
        let reason = passed_over.as_str();
        tracing::warn!(reason, "credentials for S3 cannot be used and are passed over");
    }
    let client = Client {
        retry: retry(
            repetitions(settings),
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
    let named_region = endpoint.region_is_guessed.then(|| Arc::new(NamedRegion::default()));
    let connector =
        Connector::of_s3(&endpoint.url, settings, context.clone(), named_region.clone())?;
    let mut builder = AmazonS3Builder::new()
        .with_bucket_name(bucket_in_address(&settings.bucket, endpoint.virtual_hosted))
        .with_endpoint(&endpoint.url)
        .with_region(&endpoint.region)
        .with_virtual_hosted_style_request(endpoint.virtual_hosted)
        .with_allow_http(endpoint.insecure)
        .with_client_options(client.options())
        .with_retry(client.retry.clone())
        // Not all stores know the request for many keys.
        .with_disable_bulk_delete(true)
        .with_http_connector(connector);
    let signer = found.name();
    let configured = found.is_configured();
    builder = match found {
        Found::Keys { access_key, secret_key, token, .. } => {
            let builder = builder.with_access_key_id(access_key).with_secret_access_key(secret_key);
            if token.is_empty() { builder } else { builder.with_token(token) }
        }
        Found::Chain(keys) => {
            let sts_region = region_of(&credentials::process_environment);
            let sts_region = sts_region.filter(|region| is_region(region));
            with_chain(builder, keys, &endpoint.region, sts_region.as_deref())
        }
    };
    let store = encrypt(builder, &settings.sse)?
        .build()
        .map_err(|error| Error::invalid("s3 settings", error.to_string()))?;
    if let Some(context) = context {
        context.sign_with(store.credentials());
    }
    if let Some(region) = named_region {
        region.sign_with(store.credentials());
    }
    let target = Target {
        kind: Kind::S3,
        bucket: settings.bucket.clone(),
        address: endpoint.url,
        region: endpoint.region,
        credentials: Credentials {
            name: signer,
            configured,
            passed_over,
            provider: Provider::Aws(Arc::clone(store.credentials())),
        },
    };
    Ok((store, target))
}

/// Repetitions after the first attempt: the setting counts that one, too.
fn repetitions(settings: &S3) -> u32 {
    settings.retry_max_attempts.saturating_sub(1)
}

/// The bucket as the client puts it into addresses. In a path it may be `tenant:bucket`, of which stores sign another
/// form than that.
fn bucket_in_address(bucket: &str, virtual_hosted: bool) -> String {
    if virtual_hosted { bucket.to_owned() } else { bucket.replace(':', "%3A") }
}

/// Credentials of a cloud, with what the environment says about it. `sts_region`: where web identities are asked for; by
/// default in the bucket's region.
fn with_chain(
    builder: AmazonS3Builder,
    keys: Vec<(AmazonS3ConfigKey, String)>,
    region: &str,
    sts_region: Option<&str>,
) -> AmazonS3Builder {
    // In containers, and behind other programs that answer for the instance's metadata, often only the first version does.
    let mut builder = builder.with_imdsv1_fallback();
    // The client asks in the bucket's region, and knows one domain only.
    let sts_region = sts_region.unwrap_or(region);
    let domain = aws_domain(sts_region);
    if sts_region != region || domain != AWS_DOMAINS[0] {
        let sts = format!("https://sts.{sts_region}.{domain}");
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
    /// True if nothing said the region.
    region_is_guessed: bool,
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
    let is_aws = host.is_empty() || is_aws_service(host);
    let region = Some(settings.region.trim().to_owned())
        .filter(|region| !region.is_empty())
        .or_else(|| region_in_name(host).map(str::to_owned))
        .or_else(|| region_of(environment).filter(|_| is_aws));
    let region_is_guessed = region.is_none();
    let region = region.unwrap_or_else(|| DEFAULT_REGION.to_owned());
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
    Ok(Endpoint { url, region, region_is_guessed, virtual_hosted, insecure })
}

/// The region that the environment of a process in AWS names.
fn region_of(environment: Environment<'_>) -> Option<String> {
    let region = environment("AWS_REGION").or_else(|| environment("AWS_DEFAULT_REGION"))?;
    Some(region.trim().to_owned()).filter(|region| !region.is_empty())
}

fn aws_domain(region: &str) -> &'static str {
    let [usual, china, europe] = AWS_DOMAINS;
    match region {
        _ if region.starts_with("cn-") => china,
        _ if region.starts_with("eusc-") => europe,
        _ => usual,
    }
}

fn is_known_cloud(host: &str) -> bool {
    let name = host.split(':').next().unwrap_or(host);
    let of_others = ["storage.googleapis.com", ".aliyuncs.com"];
    is_aws_service(host) || of_others.iter().any(|suffix| name.ends_with(suffix))
}

/// True for the names of AWS's own service. Load balancers and machines have names in the same domains, and behind them
/// is somebody's own store.
fn is_aws_service(host: &str) -> bool {
    let Some((name, _)) = split_aws_domain(host) else { return false };
    let first = name.split('.').next().unwrap_or(name);
    let is_service = first == "s3" || first.starts_with("s3-") || first.starts_with("s3express-");
    // A load balancer may be called `s3-…`, too.
    let is_own = name.split('.').any(|label| ["elb", "compute", "compute-1"].contains(&label));
    (is_service && !is_own) || region_of_private_link(name).is_some()
}

/// What is in front of AWS's domain; and the domain, with the port if there is one.
fn split_aws_domain(host: &str) -> Option<(&str, &str)> {
    let whole = host.split(':').next().unwrap_or(host);
    let without = |domain: &str| whole.strip_suffix(domain)?.strip_suffix('.');
    let name = AWS_DOMAINS.into_iter().find_map(without)?;
    Some((name, &host[name.len() + 1..]))
}

/// The region of `bucket.vpce-1a2b-5e6f.s3.eu-west-1.vpce`, an interface of AWS's service in a private network.
fn region_of_private_link(name: &str) -> Option<&str> {
    let (interface, region) = name.strip_suffix(".vpce")?.rsplit_once(".s3.")?;
    let is_interface = interface.split('.').any(|label| label.starts_with("vpce-"));
    (is_interface && is_region(region)).then_some(region)
}

/// The region that a name of AWS's service says.
fn region_in_name(host: &str) -> Option<&str> {
    let regional = RegionalName::of(host).map(|name| name.region);
    regional.or_else(|| region_of_private_link(split_aws_domain(host)?.0))
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
        let (name, domain) = split_aws_domain(host)?;
        let starts = ["s3-fips.dualstack.", "s3-fips.", "s3-fips-", "s3.dualstack.", "s3.", "s3-"];
        let (service, region) =
            starts.into_iter().find_map(|start| Some((start, name.strip_prefix(start)?)))?;
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
    let is_area = (area.len() == 2 && is_word(area)) || *area == "eusc";
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
        assert_eq!(region("s3-accelerate.amazonaws.com", ""), "eu-1");
        assert_eq!(region("x.elb.eu-west-1.amazonaws.com", ""), DEFAULT_REGION);
        assert_eq!(region("minio:9000", ""), DEFAULT_REGION);
    }

    #[test]
    fn web_identities_of_china_are_asked_for_in_china_unless_the_environment_says_otherwise() {
        let sts = |keys, region| {
            let builder = with_chain(AmazonS3Builder::new(), keys, region, None);
            builder.get_config_value(&AmazonS3ConfigKey::StsEndpoint)
        };
        let china = "https://sts.cn-north-1.amazonaws.com.cn";
        assert_eq!(sts(Vec::new(), "cn-north-1").unwrap(), china);
        assert_eq!(sts(Vec::new(), "eu-west-1"), None);
        let own = vec![(AmazonS3ConfigKey::StsEndpoint, "https://sts.local".to_owned())];
        assert_eq!(sts(own, "cn-north-1").unwrap(), "https://sts.local");
    }

    #[test]
    fn web_identities_are_asked_for_in_the_region_of_the_environment() {
        let sts = |region, sts_region| {
            let builder = with_chain(AmazonS3Builder::new(), Vec::new(), region, Some(sts_region));
            builder.get_config_value(&AmazonS3ConfigKey::StsEndpoint)
        };
        let europe = "https://sts.eusc-de-east-1.amazonaws.eu";
        assert_eq!(sts("us-east-1", "eu-west-1").unwrap(), "https://sts.eu-west-1.amazonaws.com");
        assert_eq!(sts("eu-west-1", "eu-west-1"), None);
        assert_eq!(sts("eusc-de-east-1", "eusc-de-east-1").unwrap(), europe);
    }

    #[test]
    fn own_stores_behind_names_of_aws_get_path_style() {
        for name in [
            "k8s-minio-0a1b.elb.eu-west-1.amazonaws.com:9000",
            "s3-minio-0a1b.elb.eu-west-1.amazonaws.com",
            "s3-minio-123.eu-west-1.elb.amazonaws.com",
            "ec2-1-2-3-4.eu-west-1.compute.amazonaws.com:9000",
            "ec2-1-2-3-4.compute-1.amazonaws.com",
            "s3.vpce-1a2b.example.com",
        ] {
            let found = endpoint(|settings| settings.endpoint = name.into());
            assert_eq!(found.url, format!("https://{name}"));
            assert!(found.region_is_guessed, "{name}");
        }
        for name in ["s3-external-1.amazonaws.com", "s3express-use1-az4.us-east-1.amazonaws.com"] {
            assert!(endpoint(|settings| settings.endpoint = name.into()).virtual_hosted, "{name}");
        }
    }

    #[test]
    fn region_is_read_out_of_every_name_that_says_it() {
        for (name, region) in [
            ("bucket.vpce-1a2b-5e6f.s3.eu-west-1.vpce.amazonaws.com", "eu-west-1"),
            ("accesspoint.vpce-1a2b-5e6f-us-east-1a.s3.us-east-1.vpce.amazonaws.com", "us-east-1"),
            ("vpce-1a2b.s3.cn-north-1.vpce.amazonaws.com.cn", "cn-north-1"),
            ("s3-fips-us-gov-west-1.amazonaws.com", "us-gov-west-1"),
            ("s3.eusc-de-east-1.amazonaws.eu", "eusc-de-east-1"),
        ] {
            let endpoint = endpoint(|settings| {
                settings.endpoint = name.into();
                settings.enable_dual_stack = name.contains("vpce");
            });
            assert_eq!((endpoint.region.as_str(), endpoint.region_is_guessed), (region, false));
            assert_eq!(endpoint.url, format!("https://traces.{name}"));
        }
        for name in ["minio:9000", "s3-website-eu-west-1.amazonaws.com", "s3.amazonaws.com"] {
            assert_eq!(region_in_name(name), None, "{name}");
        }
    }

    #[test]
    fn bucket_of_another_tenant_is_encoded_in_a_path() {
        assert_eq!(bucket_in_address("acme:traces", false), "acme%3Atraces");
        assert_eq!(bucket_in_address("my_traces.x-1", false), "my_traces.x-1");
        assert_eq!(bucket_in_address("traces", true), "traces");
    }

    #[test]
    fn attempts_count_the_first_one() {
        for (retry_max_attempts, expected) in [(10, 9), (1, 0), (0, 0)] {
            assert_eq!(repetitions(&S3 { retry_max_attempts, ..S3::default() }), expected);
        }
    }

    #[test]
    fn instance_metadata_of_the_first_version_may_be_asked() {
        let builder = with_chain(AmazonS3Builder::new(), Vec::new(), "eu-west-1", None);
        let value = builder.get_config_value(&AmazonS3ConfigKey::ImdsV1Fallback);
        assert_eq!(value.as_deref(), Some("true"));
    }

    #[test]
    fn endpoint_with_a_path_is_invalid() {
        let settings = S3 { endpoint: "host/path".into(), ..S3::default() };
        assert!(matches!(resolve_endpoint(&settings, &|_| None), Err(Error::Invalid { .. })));
    }
}
