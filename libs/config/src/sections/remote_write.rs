//! `metrics_generator.storage.remote_write[]`: Prometheus' own format, with its durations.

use super::text;
use crate::duration::PromDuration;
use crate::field::{Opaque, Secret, section};
use std::collections::BTreeMap;

section! {
    /// One place to send metrics to.
    RemoteWrite {
        url: String, "where to send; required";
        remote_timeout: PromDuration = PromDuration::seconds(30), "time for a call";
        name: String, "name in metrics and logs";
        headers: BTreeMap<String, Secret>, "headers to add";
        basic_auth: Option<BasicAuth>, "user name and password";
        authorization: Option<Authorization>, "authorization header";
        bearer_token: Secret, "bearer token";
        bearer_token_file: String, "file with the bearer token";
        oauth2: Option<OAuth2>, "OAuth 2 client credentials";
        sigv4: Opaque, "AWS request signing";
        azuread: Opaque, "Azure identity";
        google_iam: Opaque, "Google identity";
        tls_config: RemoteTls, "TLS";
        write_relabel_configs: Vec<RelabelConfig>, "changes before sending";
        send_exemplars: bool, "no effect here: exemplars are sent";
        send_native_histograms: bool, "no effect here: the tenant's generate_native_histograms decides";
        protobuf_message: String = text("prometheus.WriteRequest"), "message type of the protocol";
        queue_config: QueueConfig, "queues and retries";
        metadata_config: MetadataConfig, "metric metadata";
        follow_redirects: bool = true, "follow redirects";
        enable_http2: bool, "use HTTP/2 where the receiver offers it by TLS";
        proxy_url: String, "proxy";
        no_proxy: String, "hosts without the proxy";
        proxy_from_environment: bool, "take the proxy from the environment";
        proxy_connect_header: BTreeMap<String, Vec<Secret>>, "headers for the proxy";
        http_headers: BTreeMap<String, HttpHeader>, "headers to add, with values from files";
        round_robin_dns: bool, "use the host's addresses in turn";
    }

    /// Values of one header.
    HttpHeader {
        values: Vec<String>, "values";
        secrets: Vec<Secret>, "values that are not shown";
        files: Vec<String>, "files with a value each, read for every call";
    }

    /// User name and password.
    BasicAuth {
        username: String, "user name";
        username_file: String, "file with the user name";
        password: Secret, "password";
        password_file: String, "file with the password";
    }

    /// The authorization header.
    Authorization {
        type_ as "type": String = text("Bearer"), "scheme";
        credentials: Secret, "credentials";
        credentials_file: String, "file with the credentials";
    }

    /// OAuth 2 client credentials.
    OAuth2 {
        client_id: String, "client";
        client_secret: Secret, "secret";
        client_secret_file: String, "file with the secret";
        scopes: Vec<String>, "scopes";
        token_url: String, "where tokens come from";
        endpoint_params: BTreeMap<String, Secret>, "further parameters";
        tls_config: RemoteTls, "TLS";
        proxy_url: String, "proxy";
        no_proxy: String, "hosts without the proxy";
        proxy_from_environment: bool, "take the proxy from the environment";
        proxy_connect_header: BTreeMap<String, Vec<Secret>>, "headers for the proxy";
    }

    /// TLS towards the receiver of the metrics.
    RemoteTls {
        ca: String, "authorities to trust, PEM text";
        cert: String, "client certificate, PEM text";
        key: Secret, "its key, PEM text";
        ca_file: String, "authorities to trust, PEM file";
        cert_file: String, "client certificate, PEM file";
        key_file: String, "its key, PEM file";
        server_name: String, "name to expect in the server's certificate";
        insecure_skip_verify: bool, "do not check the server's certificate";
        min_version: String, "lowest version, TLS10 to TLS13";
        max_version: String, "highest version";
    }

    /// One change before sending.
    RelabelConfig {
        source_labels: Vec<String>, "labels to read";
        separator: String = text(";"), "text between their values";
        target_label: String, "label to write";
        regex: String = text("(.*)"), "must match the values";
        modulus: u64, "for hashmod";
        replacement: String = text("$1"), "value to write";
        action: String = text("replace"), "what to do";
    }

    /// Queues and retries.
    QueueConfig {
        capacity: i64 = 10_000, "most samples of a queue that are in memory; the others wait on disk";
        max_shards: i64 = 50, "most queues";
        min_shards: i64 = 1, "fewest queues";
        max_samples_per_send: i64 = 2_000, "samples of a call";
        batch_send_deadline: PromDuration = PromDuration::seconds(5), "no effect here: what is collected is sent at once";
        min_backoff: PromDuration = PromDuration::millis(30), "first delay";
        max_backoff: PromDuration = PromDuration::seconds(5), "longest delay";
        retry_on_http_429: bool, "retry when the receiver is overloaded";
        sample_age_limit: PromDuration, "drop older samples; 0 keeps all";
    }

    /// Metric metadata.
    MetadataConfig {
        send: bool = true, "no effect here";
        send_interval: PromDuration = PromDuration::minutes(1), "no effect here";
        max_samples_per_send: i64 = 2_000, "no effect here";
    }
}
