//! The labels that distinguish the series of `service_graph()`.

use tactus_model::Projection;

use super::buckets::Buckets;
use super::{LabelValue, SeriesKey};
use crate::GraphMeasure;

pub(super) const CLIENT_LABEL: &str = "client";
pub(super) const SERVER_LABEL: &str = "server";
pub(super) const CONNECTION_LABEL: &str = "connection_type";
pub(super) const VIRTUAL_LABEL: &str = "virtual_node";
/// Says what a series counts, if one answer has several for an edge.
pub(super) const PART_LABEL: &str = "__measure";

/// Values in a partial series' key: client, server, connection type, virtual side, part.
pub(super) const KEY_VALUES: usize = 5;
/// The position of the part in these values.
pub(super) const PART_PLACE: usize = 4;

/// The attribute that names a resource's service.
pub(super) const SERVICE_NAME: &str = "service.name";
/// If a client span has one of these, the other side is a database.
pub(super) const DATABASE_KEYS: [&str; 4] =
    ["db.namespace", "db.name", "db.system", "db.system.name"];
/// The first of these names a database; otherwise the attribute that makes it one.
pub(super) const DATABASE_PEER_KEYS: [&str; 4] =
    ["peer.service", "server.address", "net.peer.name", ADDRESS_KEY];
/// The address that [`PORT_KEY`] belongs to.
pub(super) const ADDRESS_KEY: &str = "network.peer.address";
pub(super) const PORT_KEY: &str = "network.peer.port";
/// The first of these names the other side of a client span without a server span.
pub(super) const SERVER_PEER_KEYS: [&str; 5] = [
    "peer.service",
    "server.address",
    "net.peer.name",
    "messaging.destination.name",
    "messaging.system",
];
/// Names the other side of a server without client.
pub(super) const CLIENT_PEER_KEY: &str = "peer.service";
/// The name of the client of a root server span without [`CLIENT_PEER_KEY`].
pub(super) const USER: &str = "user";

tactus_model::words! {
    /// What is counted of an edge.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(super) enum Part: name {
        Calls = "calls",
        Errors = "errors",
        ClientLatency = "client_latency",
        ServerLatency = "server_latency",
    }
}

impl Part {
    /// True if durations are counted by size.
    pub(super) fn has_buckets(self) -> bool {
        matches!(self, Part::ClientLatency | Part::ServerLatency)
    }

    /// True if a measure is made of this.
    pub(super) fn is_of(self, measure: &GraphMeasure) -> bool {
        match measure {
            GraphMeasure::All => true,
            GraphMeasure::Calls | GraphMeasure::Rate => self == Part::Calls,
            GraphMeasure::Errors => self == Part::Errors,
            GraphMeasure::ClientLatency { .. } => self == Part::ClientLatency,
            GraphMeasure::ServerLatency { .. } => self == Part::ServerLatency,
        }
    }
}

/// True if a partial series of `measure` can have this key.
pub(super) fn admits(measure: &GraphMeasure, buckets: Buckets, key: &SeriesKey) -> bool {
    let SeriesKey::Group { values, bucket } = key else { return false };
    let Some(LabelValue::String(name)) = values.get(PART_PLACE) else { return false };
    let part = Part::from_text(name);
    values.len() == KEY_VALUES
        && bucket.is_none_or(|bucket| bucket <= buckets.last())
        && part.is_some_and(|part| part.is_of(measure) && bucket.is_some() == part.has_buckets())
}

/// The kind of connection between two services.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Connection {
    Direct,
    Messaging,
    Database,
    VirtualClient,
    VirtualServer,
}

impl Connection {
    const ALL: [Connection; 5] = [
        Connection::Direct,
        Connection::Messaging,
        Connection::Database,
        Connection::VirtualClient,
        Connection::VirtualServer,
    ];

    /// The connection with this number.
    pub(super) fn of_number(number: u32) -> Self {
        Self::ALL.get(number as usize).copied().unwrap_or(Connection::Direct)
    }

    /// The values of the labels [`CONNECTION_LABEL`] and [`VIRTUAL_LABEL`].
    pub(super) fn labels(self) -> [LabelValue; 2] {
        let text = |text: &str| LabelValue::String(text.into());
        match self {
            Connection::Direct => [LabelValue::Nil, LabelValue::Nil],
            Connection::Messaging => [text("messaging_system"), LabelValue::Nil],
            Connection::Database => [text("database"), LabelValue::Nil],
            Connection::VirtualClient => [text("virtual_node"), text("client")],
            Connection::VirtualServer => [text("virtual_node"), text("server")],
        }
    }
}

/// Adds the columns from which edges are found to a projection.
pub(super) fn project(columns: &mut Projection) {
    columns.span_id = true;
    columns.parent_span_id = true;
    columns.kind = true;
    columns.status = true;
    columns.duration = true;
    columns.links = true;
    let keys = DATABASE_KEYS.iter().chain(&DATABASE_PEER_KEYS).chain([&PORT_KEY]);
    for key in keys {
        columns.span_attributes.add(key.as_bytes());
        columns.resource_attributes.add(key.as_bytes());
    }
    SERVER_PEER_KEYS.iter().for_each(|key| columns.span_attributes.add(key.as_bytes()));
    columns.resource_attributes.add(SERVICE_NAME.as_bytes());
}
