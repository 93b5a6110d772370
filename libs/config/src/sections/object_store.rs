//! The object stores: local disk, S3, Google, Azure.

use super::client::ClientTls;
use super::{millis, seconds, text};
use crate::duration::GoDuration;
use crate::field::{Secret, section};
use std::collections::BTreeMap;

section! {
    /// A directory.
    LocalStore {
        path: String, "directory of the blocks";
    }

    /// Amazon S3 or anything that speaks its protocol.
    S3 {
        bucket: String, "bucket";
        prefix: String, "prefix of every key";
        endpoint: String, "host[:port]; a scheme in front of it, http:// or https://, decides about TLS";
        region: String, "region; empty is derived from the endpoint, else the one that the store names";
        access_key: String, "access key; empty uses the credential chain";
        secret_key: Secret, "secret key";
        session_token: Secret, "session token";
        insecure: bool, "plain HTTP";
        forcepathstyle: bool, "bucket in the path instead of the host name";
        bucket_lookup_type: u32, "0 automatic, 1 host name, 2 path";
        enable_dual_stack: bool, "use the endpoint of AWS with IPv4 and IPv6; other endpoints stay";
        signature_v2: bool, "no effect here";
        part_size: u64, "part of an upload, in bytes; 0 is the client's choice";
        hedge_requests_at: GoDuration, "delay after which a slow read is sent a second time; 0 is off";
        hedge_requests_up_to: u32 = 2, "reads of the same part at a time";
        tags: BTreeMap<String, String>, "tags of every object";
        metadata: BTreeMap<String, String>, "metadata of every object";
        storage_class: String, "storage class of every object";
        sse: S3Sse, "encryption at rest";
        list_blocks_concurrency: usize = 3, "listings at a time";
        native_aws_auth_enabled: bool, "no effect here";
        retry_max_attempts: u32 = 10, "attempts of a call";
        retry_backoff_initial: GoDuration = millis(200), "first delay; 0 is 1ms";
        retry_backoff_max: GoDuration = seconds(1), "longest delay; never less than the first";
        @inline {
            tls: ClientTls = ClientTls { tls_min_version: text("VersionTLS12"), ..ClientTls::default() }, "certificates";
        }
    }

    /// Encryption at rest.
    S3Sse {
        type_ as "type": String, "SSE-S3, SSE-KMS, SSE-C or empty";
        kms_key_id: String, "key of SSE-KMS";
        kms_encryption_context: String, "context of SSE-KMS, as JSON";
        encryption_key: Secret, "key of SSE-C, 32 bytes";
    }

    /// Google Cloud Storage.
    Gcs {
        bucket_name: String, "bucket";
        prefix: String, "prefix of every key";
        chunk_buffer_size: u64 = 10_485_760, "part of an upload, in bytes";
        endpoint: String, "other endpoint than Google's";
        hedge_requests_at: GoDuration, "delay after which a slow read is sent a second time; 0 is off";
        hedge_requests_up_to: u32 = 2, "reads of the same part at a time";
        insecure: bool, "plain HTTP without credentials";
        object_cache_control: String, "cache header of every object";
        object_metadata: BTreeMap<String, String>, "metadata of every object";
        list_blocks_concurrency: usize = 3, "listings at a time";
        max_retries: u32 = 3, "repetitions of a call, if more than 10";
    }

    /// Azure Blob Storage.
    Azure {
        storage_account_name: String, "account; empty takes AZURE_STORAGE_ACCOUNT";
        storage_account_key: Secret, "key; empty takes AZURE_STORAGE_KEY";
        use_managed_identity: bool, "take credentials from the machine";
        use_federated_token: bool, "take credentials from a federated token";
        user_assigned_id: String, "client id of the machine's identity to use; without storage_account_key as if use_managed_identity were set";
        container_name: String, "container";
        prefix: String, "prefix of every key";
        endpoint_suffix: String = text("blob.core.windows.net"), "end of the host name";
        max_buffers: u32 = 4, "parts uploaded at a time";
        buffer_size: u64 = 3_145_728, "part of an upload, in bytes";
        hedge_requests_at: GoDuration, "delay after which a slow read is sent a second time; 0 is off";
        hedge_requests_up_to: u32 = 2, "reads of the same part at a time";
    }
}
