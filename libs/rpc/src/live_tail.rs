//! Live tails of ingesters, wherever they run.

use std::sync::Arc;

use async_trait::async_trait;
use tactus_proto::{
    DynLiveTail,
    tactus::v1::{
        TailRequest, TailResponse, live_tail_client::LiveTailClient, live_tail_server::LiveTail,
    },
};
use tonic::{Request, Response, Status, codegen::BoxStream};

use crate::channels::{Channels, Connection};

/// The live tails of a cluster's ingesters by address; the one in this process is called directly.
#[derive(Clone)]
pub struct LiveTails {
    channels: Channels,
    local: Option<(String, Arc<DynLiveTail>)>,
}

tactus_telemetry::debug_of!(LiveTails { channels });

impl LiveTails {
    /// Those reached by these channels. `local`: the address and the service of the one in this process.
    pub fn new(channels: Channels, local: Option<(String, Arc<DynLiveTail>)>) -> Self {
        Self { channels, local }
    }

    /// The live tail of the ingester at `host:port`. An address that is none gives errors when it is called.
    pub fn at(&self, address: &str) -> Arc<DynLiveTail> {
        match &self.local {
            Some((local, tail)) if local == address => Arc::clone(tail),
            _ => Arc::new(RemoteLiveTail { connection: self.channels.at(address) }),
        }
    }
}

/// The live tail of an ingester in another process. Its stream has no deadline.
#[derive(Debug, Clone)]
struct RemoteLiveTail {
    connection: Result<Connection, crate::Error>,
}

#[async_trait]
impl LiveTail for RemoteLiveTail {
    type TailStream = BoxStream<TailResponse>;

    async fn tail(
        &self,
        request: Request<TailRequest>,
    ) -> Result<Response<Self::TailStream>, Status> {
        let connection = self.connection.as_ref().map_err(Status::from)?;
        let mut client = LiveTailClient::with_interceptor(connection.channel(), connection.clone())
            .max_decoding_message_size(connection.max_receive_bytes())
            .max_encoding_message_size(connection.max_send_bytes());
        if let Some(encoding) = connection.encoding() {
            client = client.send_compressed(encoding).accept_compressed(encoding);
        }
        let stream = client.tail(request).await?.into_inner();
        Ok(Response::new(Box::pin(stream)))
    }
}
