//! Connects to query-frontends: finds their addresses, opens gRPC streams, and queues the messages for them.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::Stream;
use tactus_proto::tactus::v1::WorkerMessage;
use tactus_proto::tactus::v1::frontend_client::FrontendClient;
use tactus_rpc::{Channels, Connection, client_of};
use tactus_server::bodies::AnswerMemory;
use tokio::net::lookup_host;
use tokio::sync::{OwnedSemaphorePermit, mpsc, watch};
use tokio_util::sync::CancellationToken;
use tonic::Status;

use super::{Dial, Inbound};

/// Opens streams by these channels.
pub fn dial_by(channels: Channels) -> Dial {
    Arc::new(move |address, messages| {
        let connection = channels.at(&address).map_err(|error| Status::from(&error));
        Box::pin(async move { open(connection?, messages).await })
    })
}

async fn open(connection: Connection, messages: Outbound) -> Result<Inbound, Status> {
    let mut client = client_of!(FrontendClient, connection);
    Ok(client.process(messages).await?.into_inner().boxed())
}

/// A message to a frontend, with what is given back when it is sent.
#[derive(Debug)]
pub(super) struct Outgoing {
    pub(super) message: WorkerMessage,
    /// Its memory, if it is counted.
    pub(super) memory: Option<AnswerMemory>,
    /// Of the message that it answers: without a place, no further message is read.
    pub(super) place: Option<OwnedSemaphorePermit>,
}

/// The messages to a frontend. The memory of a message is given back when the next one is requested, because the
/// connection requests it after it has sent the previous one.
#[derive(Debug)]
pub struct Outbound {
    messages: mpsc::UnboundedReceiver<Outgoing>,
    on_its_way: Option<(Option<AnswerMemory>, Option<OwnedSemaphorePermit>)>,
}

impl Outbound {
    /// The channel itself is unbounded. It only holds answers to messages whose number is limited, and what this
    /// querier says when its slots change or it leaves.
    pub(super) fn new() -> (mpsc::UnboundedSender<Outgoing>, Self) {
        let (sender, messages) = mpsc::unbounded_channel();
        (sender, Self { messages, on_its_way: None })
    }
}

impl Stream for Outbound {
    type Item = WorkerMessage;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<WorkerMessage>> {
        self.on_its_way = None;
        let next = ready!(self.messages.poll_recv(cx));
        Poll::Ready(next.map(|Outgoing { message, memory, place }| {
            self.on_its_way = Some((memory, place));
            message
        }))
    }
}

/// Every address of a name `host:port`, or of several with commas between them, as `address:port`.
///
/// Errors: a name is unknown, or has no port.
pub async fn addresses_of(names: &str) -> std::io::Result<Vec<String>> {
    let mut addresses = Vec::new();
    for name in names.split(',').map(str::trim).filter(|name| !name.is_empty()) {
        addresses.extend(lookup_host(name).await?.map(|address| address.to_string()));
    }
    addresses.sort_unstable();
    addresses.dedup();
    Ok(addresses)
}

/// Looks a name up this often, until `stop`, and publishes its addresses. While it has none the last ones hold.
pub async fn keep_resolving(
    name: String,
    every: Duration,
    addresses: watch::Sender<Vec<String>>,
    stop: CancellationToken,
) {
    let mut failed = false;
    loop {
        match addresses_of(&name).await {
            Ok(found) => {
                failed = false;
                addresses.send_if_modified(|known| {
                    let differs = *known != found;
                    if differs {
                        tracing::info!(name, addresses = ?found, "query-frontends found");
                        *known = found;
                    }
                    differs
                });
            }
            Err(error) if !failed => {
                failed = true;
                tracing::warn!(name, %error, "cannot find the query-frontends, keeping those known");
            }
            Err(_) => {}
        }
        tokio::select! {
            () = tokio::time::sleep(every.max(Duration::from_millis(100))) => {}
            () = stop.cancelled() => return,
        }
    }
}
