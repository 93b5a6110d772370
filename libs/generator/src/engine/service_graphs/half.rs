//! One side of a call, as a span describes it.

use super::super::interner::{EMPTY, TextId};
use super::super::policies::{Policies, PolicyRoom};
use super::super::view::{Name, Names, View};
use super::edges::{Connection, Edge, EdgeKey, Side};
use super::{ERROR, Section};
use crate::engine::value_text::seconds;
use crate::engine::view::Weight;

/// Attributes, and what spans are used.
#[derive(Debug)]
pub(super) struct LookedFor {
    pub(super) service: Name,
    dimensions: Vec<Name>,
    peers: Vec<Name>,
    databases: Vec<Name>,
    database_hosts: [Name; 3],
    port: Name,
    pub(super) policies: Policies,
    pub(super) weight: Weight,
}

impl LookedFor {
    pub(super) fn new(
        settings: &Section,
        names: &mut Names,
        room: &mut PolicyRoom,
    ) -> Result<Self, String> {
        Ok(Self {
            service: names.add("service.name"),
            dimensions: names.add_all(&settings.dimensions),
            peers: names.add_all(&settings.peer_attributes),
            databases: names.add_all(&settings.database_name_attributes),
            database_hosts: ["peer.service", "server.address", "network.peer.address"]
                .map(|name| names.add(name)),
            port: names.add("network.peer.port"),
            policies: Policies::new(&settings.filter_policies, names, room)?,
            weight: Weight::new(
                &settings.span_multiplier_key,
                settings.enable_tracestate_span_multiplier,
                names,
            ),
        })
    }
}

/// A span as one side of a call.
pub(super) struct Half {
    pub(super) side: Side,
    pub(super) key: EdgeKey,
    pub(super) service: TextId,
    pub(super) connection: Connection,
    pub(super) weight: f64,
}

impl LookedFor {
    /// Writes what a span tells of a call; `dimensions` is the number of texts of [`Edge::dimensions`].
    pub(super) fn write_half(
        &self,
        half: &Half,
        view: &mut View<'_>,
        row: usize,
        edge: &mut Edge,
        dimensions: usize,
    ) {
        let spans = &view.batch.spans;
        let resource = spans.resource[row] as usize;
        let latency = seconds(spans.duration[row]);
        edge.connection = half.connection;
        edge.weight = half.weight;
        edge.failed |= spans.status[row] == ERROR;
        if let Some(peer) = self.peers.iter().find_map(|name| view.of_span(row, *name)) {
            edge.peer = view.value_id(peer);
        }
        if dimensions > 0 {
            self.write_dimensions(half.side, view, row, edge, dimensions);
        }
        match half.side {
            Side::Client => {
                edge.client = half.service;
                edge.client_latency = latency;
                edge.client_end = spans.start[row].wrapping_add(spans.duration[row]);
                let is_there = |name: &&Name| view.of_either(resource, row, **name).is_some();
                if let Some(database) = self.databases.iter().find(is_there) {
                    edge.connection = Connection::Database;
                    edge.server_latency = latency;
                    edge.server = match self.database_host(view, row, resource) {
                        Some(host) => host,
                        None => view.either_value_id(resource, row, *database).unwrap_or(EMPTY),
                    };
                }
            }
            Side::Server => {
                edge.server = half.service;
                edge.server_latency = latency;
                edge.server_start = spans.start[row];
            }
        }
    }

    /// The number of what a database is called by its address.
    fn database_host(&self, view: &mut View<'_>, row: usize, resource: usize) -> Option<TextId> {
        let [.., address] = self.database_hosts;
        let found = self
            .database_hosts
            .iter()
            .find_map(|name| Some((*name, view.either_value_id(resource, row, *name)?)));
        let (name, host) = found?;
        if name != address {
            return Some(host);
        }
        let Some(port) = view.either_value_id(resource, row, self.port) else { return Some(host) };
        let text = [view.interner.get(host), b":", view.interner.get(port)].concat();
        Some(view.interner.intern(&text))
    }

    fn write_dimensions(
        &self,
        side: Side,
        view: &mut View<'_>,
        row: usize,
        edge: &mut Edge,
        dimensions: usize,
    ) {
        if edge.dimensions.len() != dimensions {
            edge.dimensions = vec![EMPTY; dimensions].into();
        }
        let resource = view.batch.spans.resource[row] as usize;
        // With a prefix there are labels of clients, then as many of servers.
        let has_prefix = dimensions > self.dimensions.len();
        let first = if has_prefix && side == Side::Server { self.dimensions.len() } else { 0 };
        for (name, text) in self.dimensions.iter().zip(&mut edge.dimensions[first..]) {
            if let Some(id) = view.either_value_id(resource, row, *name) {
                *text = id;
            }
        }
    }
}
