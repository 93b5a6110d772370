//! A container of Azure Blob Storage.

use std::fmt;

use super::http::HttpSettings;
use crate::error::{Error, Result};

/// The end of host names in Azure's public cloud.
const PUBLIC_CLOUD: &str = "blob.core.windows.net";

/// How to sign in to Azure.
#[derive(Clone, PartialEq, Eq)]
pub enum AzureCredentials {
    /// The key of the storage account, base64; empty takes `AZURE_STORAGE_KEY`.
    Key(String),
    /// The identity of the machine; one of several by its client id, or the only one.
    ManagedIdentity {
        /// Client id of a user-assigned identity; empty for the machine's own.
        client_id: String,
    },
    /// A token in a file that the cluster keeps fresh; where it is stands in the environment:
    /// `AZURE_FEDERATED_TOKEN_FILE`, `AZURE_TENANT_ID`, `AZURE_CLIENT_ID`.
    FederatedToken {
        /// Client id; empty takes `AZURE_CLIENT_ID`.
        client_id: String,
    },
}

impl fmt::Debug for AzureCredentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Key(_) => "Key(<secret>)",
            Self::ManagedIdentity { .. } => "ManagedIdentity",
            Self::FederatedToken { .. } => "FederatedToken",
        })
    }
}

/// Settings of a container of Azure Blob Storage.
#[derive(Debug, Clone, PartialEq)]
pub struct AzureSettings {
    /// Container name; required.
    pub container: String,
    /// Put in front of every key; slashes at its ends do not matter.
    pub prefix: String,
    /// Storage account; empty takes `AZURE_STORAGE_ACCOUNT`.
    pub account: String,
    /// How to sign in.
    pub credentials: AzureCredentials,
    /// End of the host name. What does not begin with `blob.` is an emulator's `host:port`, to
    /// which plain HTTP is spoken with the account in the path.
    pub endpoint_suffix: String,
    /// Parts of one object in flight.
    pub max_buffers: usize,
    /// Part size of uploads, in bytes.
    pub buffer_bytes: u64,
    /// Connections, repetitions, hedging.
    pub http: HttpSettings,
}

impl Default for AzureSettings {
    fn default() -> Self {
        Self {
            container: String::new(),
            prefix: String::new(),
            account: String::new(),
            credentials: AzureCredentials::Key(String::new()),
            endpoint_suffix: PUBLIC_CLOUD.to_owned(),
            max_buffers: 4,
            buffer_bytes: 3 << 20,
            http: HttpSettings::default(),
        }
    }
}

impl AzureSettings {
    /// Refuses settings that can never work, as `Error::Invalid`.
    pub fn validate(&self) -> Result<()> {
        if self.container.is_empty() {
            return Err(Error::invalid("azure container_name", "no container name"));
        }
        if self.container.contains('/') {
            return Err(Error::invalid("azure container_name", "a container name holds no slash"));
        }
        self.http.validate()
    }
}
