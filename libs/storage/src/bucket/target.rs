//! The name of a bucket in messages: the store, the bucket, and who signs the requests.

use object_store::aws::AwsCredentialProvider;
use object_store::azure::AzureCredentialProvider;
use object_store::gcp::GcpCredentialProvider;

/// Which store a bucket is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Local,
    S3,
    Gcs,
    Azure,
}

/// A bucket as its operator knows it.
#[derive(Debug, Clone)]
pub(super) struct Target {
    pub(super) kind: Kind,
    /// The bucket, the container, or the directory.
    pub(super) bucket: String,
    /// Scheme and host of the store; empty for a directory.
    pub(super) address: String,
    /// Empty if the store has no regions.
    pub(super) region: String,
    pub(super) credentials: Credentials,
}

/// Who signs requests.
#[derive(Clone)]
pub(super) struct Credentials {
    /// Where they come from, in the operator's words.
    pub(super) name: &'static str,
    /// False if no setting, variable or file names them.
    pub(super) configured: bool,
    /// What names credentials and cannot be used, and why; empty if nothing does.
    pub(super) passed_over: String,
    pub(super) provider: Provider,
}

#[derive(Clone)]
pub(super) enum Provider {
    Nobody,
    Aws(AwsCredentialProvider),
    Google(GcpCredentialProvider),
    Azure(AzureCredentialProvider),
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

impl Credentials {
    pub(super) fn nobody() -> Self {
        Self {
            name: "no credentials",
            configured: true,
            passed_over: String::new(),
            provider: Provider::Nobody,
        }
    }

    /// Fails when there are none to sign with.
    pub(super) async fn get(&self) -> object_store::Result<()> {
        match &self.provider {
            Provider::Nobody => Ok(()),
            Provider::Aws(provider) => provider.get_credential().await.map(drop),
            Provider::Google(provider) => provider.get_credential().await.map(drop),
            Provider::Azure(provider) => provider.get_credential().await.map(drop),
        }
    }
}

impl Target {
    pub(super) fn local(path: &str) -> Self {
        Self {
            kind: Kind::Local,
            bucket: path.to_owned(),
            address: String::new(),
            region: String::new(),
            credentials: Credentials::nobody(),
        }
    }
}
