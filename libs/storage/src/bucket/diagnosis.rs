//! One sentence about why a bucket cannot be used, with the setting to look at.

use std::error::Error as StdError;
use std::io;

use object_store::client::{HttpError, HttpErrorKind};

use super::credential_servers::CredentialServerError;
use super::failure::{causes, status_of};
use super::target::{Kind, Target};
use crate::error::Error;

/// What was tried when the store refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    Credentials,
    List,
    Write,
    Read,
    Delete,
}

/// What the store, or the way to it, said.
struct Facts {
    /// 0 when there was no answer.
    status: u16,
    /// The store's own name of the error; empty when it gave none.
    code: String,
    /// The region that the store would have; empty when it named none.
    region: String,
    /// Everything that was said, in lower case.
    text: String,
    network: Option<Network>,
    /// True if the error came from a credential server, not from the store.
    is_of_credential_server: bool,
}

enum Network {
    Name,
    Refused,
    Tls(String),
    Silent,
    Other,
}

/// The error of a remote store, as a sentence.
pub(super) fn remote(target: &Target, step: Step, error: object_store::Error) -> Error {
    let facts = Facts::of(&error);
    let step = if facts.is_of_credential_server { Step::Credentials } else { step };
    let (sentence, passing) = sentence(target, step, &facts);
    Error::Unusable { sentence, passing, source: error.into() }
}

/// Why a directory cannot be made the root of a store.
pub(super) fn local_root(path: &str, error: io::Error) -> Error {
    use io::ErrorKind as Kind;
    let reason = match error.kind() {
        Kind::AlreadyExists | Kind::NotADirectory => format!("{path} is not a directory"),
        Kind::PermissionDenied => format!("{path} cannot be created or read by this user"),
        Kind::ReadOnlyFilesystem => format!("{path} is on a read-only file system"),
        Kind::StorageFull | Kind::QuotaExceeded => format!("no space left to create {path}"),
        Kind::InvalidFilename => "it is not set".to_owned(),
        _ => format!("{path} cannot be created or opened"),
    };
    let sentence = format!("storage.trace.local.path: {reason}");
    Error::Unusable { sentence, passing: false, source: error.into() }
}

/// Why nothing can be stored in a directory.
pub(super) fn local(target: &Target, step: Step, error: Error) -> Error {
    let path = &target.bucket;
    let (reason, passing) = match (&error, step) {
        (Error::Full { .. }, _) => (format!("no space left on the disk of {path}"), true),
        (Error::Denied { .. }, Step::List | Step::Read) => {
            (format!("{path} cannot be read by this user"), false)
        }
        (Error::Denied { .. }, _) => (format!("{path} cannot be written by this user"), false),
        _ => (format!("{path} cannot be used"), error.is_retryable()),
    };
    let sentence = format!("storage.trace.local.path: {reason}");
    Error::Unusable { sentence, passing, source: error.into() }
}

impl Facts {
    fn of(error: &(dyn StdError + 'static)) -> Self {
        let said: Vec<String> = causes(error).map(ToString::to_string).collect();
        let credential_server =
            causes(error).find_map(|cause| cause.downcast_ref::<CredentialServerError>());
        let status = said.iter().find_map(|text| status_of(text)).unwrap_or(0);
        let status = credential_server.map_or(status, CredentialServerError::status);
        let named = |tag| said.iter().find_map(|text| word_in(tag, text)).unwrap_or_default();
        let (code, region) = (named("Code"), named("Region"));
        let text = said.join("\n").to_lowercase();
        let network = if status == 0 { network(error, &text) } else { None };
        Self {
            status,
            code,
            region,
            text,
            network,
            is_of_credential_server: credential_server.is_some(),
        }
    }

    fn is(&self, codes: &[&str]) -> bool {
        codes.contains(&self.code.as_str())
    }

    /// How the refusal is named in a sentence.
    fn named(&self) -> String {
        match (self.code.as_str(), self.status) {
            ("", 0) => "no answer".to_owned(),
            ("", status) => format!("status {status}"),
            (code, _) => code.to_owned(),
        }
    }
}

/// The one word of an XML element.
pub(super) fn word_in(tag: &str, text: &str) -> Option<String> {
    let (_, rest) = text.split_once(&format!("<{tag}>"))?;
    let (word, _) = rest.split_once(&format!("</{tag}>"))?;
    let is_word = |word: &&str| {
        word.len() <= 80 && word.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c))
    };
    Some(word.trim()).filter(is_word).map(str::to_owned)
}

fn network(error: &(dyn StdError + 'static), text: &str) -> Option<Network> {
    let kind = causes(error).find_map(|cause| cause.downcast_ref::<HttpError>())?.kind();
    let io_kind = causes(error)
        .filter_map(|cause| cause.downcast_ref::<io::Error>())
        .map(io::Error::kind)
        .find(|kind| *kind != io::ErrorKind::Other);
    let of_tls = ["certificate", "handshake", "corrupt message", "tls"];
    Some(if text.contains("dns error") || text.contains("lookup address") {
        Network::Name
    } else if io_kind == Some(io::ErrorKind::ConnectionRefused) {
        Network::Refused
    } else if of_tls.iter().any(|word| text.contains(word)) {
        let last = causes(error).map(|cause| cause.to_string()).last();
        Network::Tls(last.unwrap_or_default())
    } else if kind == HttpErrorKind::Timeout || io_kind == Some(io::ErrorKind::TimedOut) {
        Network::Silent
    } else {
        Network::Other
    })
}

/// The sentence, and whether it may pass by itself.
fn sentence(target: &Target, step: Step, facts: &Facts) -> (String, bool) {
    let key = |name: Setting| target.kind.key(name);
    let (bucket, address) = (&target.bucket, &target.address);
    let signer = target.credentials.name;
    let container = if target.kind == Kind::Azure { "container" } else { "bucket" };
    if step == Step::Credentials {
        return no_credentials(target, facts);
    }
    if let Some(network) = &facts.network {
        let (setting, text) = match network {
            Network::Name => (Setting::Endpoint, format!("the name in {address} is not known")),
            Network::Refused => (Setting::Endpoint, format!("nobody listens at {address}")),
            Network::Tls(reason) => (Setting::Tls, format!("no TLS with {address}: {reason}")),
            Network::Silent => (Setting::Endpoint, format!("{address} does not answer in time")),
            Network::Other => (Setting::Endpoint, format!("{address} cannot be reached")),
        };
        return (format!("{}: {text}", key(setting)), true);
    }
    if facts.is(&["RequestTimeTooSkewed"]) || facts.text.contains("date header too old") {
        let text = "the clock of this machine and that of the store differ too much";
        return (format!("{address} refuses requests: {text}"), true);
    }
    let region = &target.region;
    let elsewhere =
        ["PermanentRedirect", "AuthorizationHeaderMalformed", "IllegalLocationConstraintException"];
    if facts.is(&elsewhere) || facts.text.contains("redirect without location") {
        let text = format!("the {container} {bucket:?} is not in region {region:?} of {address}");
        let there = match facts.region.as_str() {
            "" => String::new(),
            there => format!(" but in {there:?}"),
        };
        return (format!("{}: {text}{there}", key(Setting::Region)), false);
    }
    if facts.text.contains("https server") && facts.status == 400 {
        let text = format!("{address} speaks TLS and plain HTTP was tried");
        return (format!("{}: {text}", key(Setting::Tls)), false);
    }
    if step == Step::Write && is_about_keys_of_encryption(facts) {
        let text = format!("the store cannot encrypt with it for {signer} ({})", facts.named());
        return (format!("{}: {text}", key(Setting::EncryptionKey)), false);
    }
    let missing = matches!(step, Step::List | Step::Write) && facts.status == 404;
    if missing || facts.is(&["NoSuchBucket", "ContainerNotFound"]) {
        let text = format!("the {container} {bucket:?} does not exist at {address}");
        return (format!("{}: {text}", key(Setting::Bucket)), false);
    }
    if facts.is(&["InvalidBucketName", "InvalidResourceName"]) {
        let text = format!("{bucket:?} is not a name of a {container} ({})", facts.code);
        return (format!("{}: {text}", key(Setting::Bucket)), false);
    }
    if is_about_credentials(facts) {
        let text = format!("{address} does not accept {signer} ({})", facts.named());
        return (format!("{}: {text}", key(Setting::Credentials)), false);
    }
    if facts.status == 403 {
        let (verb, right) = target.kind.right(step);
        let text = format!(
            "{signer} may not {verb} the {container} {bucket:?} ({}); it takes {right}",
            facts.named()
        );
        return (format!("{}: {text}", key(Setting::Credentials)), false);
    }
    if facts.text.contains("invalid uploadtype") {
        let text = format!("{address} does not take objects by the XML interface, only by JSON");
        return (format!("{}: {text}", key(Setting::Endpoint)), false);
    }
    let passing = !matches!(facts.status, 300..=399 | 400 | 404..=407 | 409..=428 | 501);
    let text =
        format!("the {container} {bucket:?} at {address} cannot be used ({})", facts.named());
    (format!("{}: {text}", key(Setting::Endpoint)), passing)
}

fn no_credentials(target: &Target, facts: &Facts) -> (String, bool) {
    let signer = target.credentials.name;
    let key = target.kind.key(Setting::Credentials);
    let sentence = match target.credentials.configured {
        true => format!("{key}: failed to get credentials from {signer} ({})", facts.named()),
        false => format!(
            "{key}: failed to get credentials: none are configured, none are in the environment, \
             and {signer} gives none"
        ),
    };
    let sentence = match target.credentials.passed_over.as_str() {
        "" => sentence,
        passed_over => format!("{sentence}; passed over: {passed_over}"),
    };
    let unanswered = facts.network.is_some() || matches!(facts.status, 429 | 500..=599);
    (sentence, target.credentials.configured && unanswered)
}

fn is_about_keys_of_encryption(facts: &Facts) -> bool {
    facts.code.starts_with("KMS.") || (facts.status == 403 && facts.text.contains("kms"))
}

fn is_about_credentials(facts: &Facts) -> bool {
    let codes = [
        "InvalidAccessKeyId",
        "SignatureDoesNotMatch",
        "InvalidToken",
        "ExpiredToken",
        "InvalidSecurity",
        "AuthenticationFailed",
        "InvalidAuthenticationInfo",
        "NoAuthenticationInformation",
    ];
    facts.status == 401 || facts.is(&codes) || facts.text.contains("failed to authenticate")
}

/// A setting of a store, whatever it is called there.
#[derive(Clone, Copy)]
enum Setting {
    Bucket,
    Endpoint,
    Region,
    Credentials,
    Tls,
    EncryptionKey,
}

impl Kind {
    fn key(self, setting: Setting) -> &'static str {
        use Setting as Is;
        match (self, setting) {
            (Self::Local, _) => "storage.trace.local.path",
            (Self::S3, Is::Bucket) => "storage.trace.s3.bucket",
            (Self::S3, Is::Endpoint) => "storage.trace.s3.endpoint",
            (Self::S3, Is::Region) => "storage.trace.s3.region",
            (Self::S3, Is::Credentials) => "storage.trace.s3.access_key",
            (Self::S3, Is::Tls) => "storage.trace.s3.insecure and tls_ca_path",
            (Self::S3, Is::EncryptionKey) => "storage.trace.s3.sse.kms_key_id",
            (Self::Gcs, Is::Bucket) => "storage.trace.gcs.bucket_name",
            (Self::Gcs, Is::Endpoint | Is::Region | Is::EncryptionKey) => {
                "storage.trace.gcs.endpoint"
            }
            (Self::Gcs, Is::Tls) => "storage.trace.gcs.endpoint and insecure",
            (Self::Gcs, Is::Credentials) => "storage.trace.gcs",
            (Self::Azure, Is::Bucket) => "storage.trace.azure.container_name",
            (Self::Azure, Is::Credentials) => "storage.trace.azure.storage_account_key",
            (Self::Azure, _) => "storage.trace.azure.storage_account_name and endpoint_suffix",
        }
    }

    /// What else beginning an upload in parts takes; `None` if it takes what any other write does.
    pub(super) fn right_of_parts(self) -> Option<&'static str> {
        (self == Self::Gcs).then_some(
            "an upload in parts takes storage.multipartUploads.create besides \
             storage.objects.create, as the role Storage Object User has it",
        )
    }

    /// What a step does to a bucket, and the permission for it.
    fn right(self, step: Step) -> (&'static str, &'static str) {
        let verb = match step {
            Step::Credentials | Step::List => "list",
            Step::Write => "write to",
            Step::Read => "read from",
            Step::Delete => "delete from",
        };
        let right = match (self, step) {
            (Self::Local, _) => "permissions of the directory",
            (Self::S3, Step::Credentials | Step::List) => "s3:ListBucket",
            (Self::S3, Step::Write) => "s3:PutObject",
            (Self::S3, Step::Read) => "s3:GetObject",
            (Self::S3, Step::Delete) => "s3:DeleteObject",
            (Self::Gcs, Step::Credentials | Step::List) => "storage.objects.list",
            (Self::Gcs, Step::Write) => "storage.objects.create",
            (Self::Gcs, Step::Read) => "storage.objects.get",
            (Self::Gcs, Step::Delete) => "storage.objects.delete",
            (Self::Azure, _) => "the role Storage Blob Data Contributor",
        };
        (verb, right)
    }
}

#[cfg(test)]
mod tests;
