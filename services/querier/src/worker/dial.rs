//! Streams by gRPC.

use std::sync::Arc;

use futures_util::StreamExt as _;
use tactus_proto::tactus::v1::frontend_client::FrontendClient;
use tactus_rpc::{Channels, Connection};
use tonic::Status;

use super::{Dial, Inbound, Outbound};

/// Opens streams by these channels.
pub fn dial_by(channels: Channels) -> Dial {
    Arc::new(move |address, messages| {
        let connection = channels.at(&address).map_err(|error| Status::from(&error));
        Box::pin(async move { open(connection?, messages).await })
    })
}

async fn open(connection: Connection, messages: Outbound) -> Result<Inbound, Status> {
    let channel = connection.channel();
    let mut client = FrontendClient::with_interceptor(channel, connection.clone())
        .max_decoding_message_size(connection.max_receive_bytes())
        .max_encoding_message_size(connection.max_send_bytes());
    if let Some(encoding) = connection.encoding() {
        client = client.send_compressed(encoding).accept_compressed(encoding);
    }
    Ok(client.process(messages).await?.into_inner().boxed())
}
