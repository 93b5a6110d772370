//! Metrics generators, wherever they run.

use std::sync::Arc;

use async_trait::async_trait;
use tactus_proto::tactus::v1::{
    GenerateRequest, GenerateResponse, metrics_generator_client::MetricsGeneratorClient,
    metrics_generator_server::MetricsGenerator,
};
use tonic::{Request, Response, Status};

use crate::channels::{Channels, Connection};

/// The metrics generators of a cluster by address; the one in this process is called directly.
#[derive(Clone)]
pub struct MetricsGenerators {
    channels: Channels,
    local: Option<(String, Arc<dyn MetricsGenerator>)>,
}

tactus_telemetry::debug_of!(MetricsGenerators { channels });

impl MetricsGenerators {
    /// Generators that are reached by these channels. `local`: the address and the service of the one in this process.
    pub fn new(channels: Channels, local: Option<(String, Arc<dyn MetricsGenerator>)>) -> Self {
        Self { channels, local }
    }

    /// The generator at `host:port`. An address that is none gives errors when it is called.
    pub fn at(&self, address: &str) -> Arc<dyn MetricsGenerator> {
        match &self.local {
            Some((local, generator)) if local == address => Arc::clone(generator),
            _ => Arc::new(RemoteGenerator { connection: self.channels.at(address) }),
        }
    }
}

/// The metrics generator of another process.
#[derive(Debug, Clone)]
struct RemoteGenerator {
    connection: Result<Connection, crate::Error>,
}

#[async_trait]
impl MetricsGenerator for RemoteGenerator {
    /// The deadline is the caller's.
    async fn generate(
        &self,
        request: Request<GenerateRequest>,
    ) -> Result<Response<GenerateResponse>, Status> {
        let connection = self.connection.as_ref().map_err(Status::from)?;
        let mut client =
            MetricsGeneratorClient::with_interceptor(connection.channel(), connection.clone())
                .max_decoding_message_size(connection.max_receive_bytes())
                .max_encoding_message_size(connection.max_send_bytes());
        if let Some(encoding) = connection.encoding() {
            client = client.send_compressed(encoding).accept_compressed(encoding);
        }
        client.generate(request).await
    }
}
