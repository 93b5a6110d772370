//! `service_graph()`: counts the calls between services.
//!
//! An edge belongs to one span: the called one, or the only one that exists. That span determines whether and in which
//! interval the edge counts, so that edges count once wherever spans do.

mod calls;
mod peers;

use std::collections::HashMap;

use foldhash::fast::RandomState;

use self::calls::{Call, Columns, Finder, is_client_half};
use self::peers::Peers;
use super::cells::{Cell, Joining};
use super::labels::Labels;
use super::rows::Rows;
use super::sample;
use super::series::SeriesTable;
use super::{CompiledMetrics, Offer};
use crate::Status;
use crate::eval::Bitmap;
use crate::eval::operand::{span_duration, status_of};
use crate::metrics::buckets::Buckets;
use crate::metrics::graph::{Connection, Part, USER};
use crate::metrics::{LabelValue, PartialSeries, SeriesKey};
use tactus_work::{Held, tick};

/// The edges of one function over all batches.
#[derive(Debug, Default)]
pub(super) struct GraphCounts {
    names: Labels,
    series: SeriesTable,
}

/// What identifies an edge: the numbers of the names of client and server, and the connection.
type Edge = (u32, u32, Connection);

/// An edge of one call.
struct Observed {
    edge: Edge,
    /// The span that the edge belongs to.
    owner: usize,
    /// The span that recorded the call as a client, or as a server.
    client: Option<usize>,
    server: Option<usize>,
}

impl GraphCounts {
    /// Counts the edges of a batch that have a span in `matched` (`None`: all). Returns their number.
    pub(super) fn observe(
        &mut self,
        query: &CompiledMetrics,
        (parts, by_size): (&[Part], Buckets),
        matched: Option<&Bitmap>,
        offer: &Offer<'_>,
    ) -> usize {
        let view = offer.view;
        let Some(columns) = Columns::of(view, &mut self.names) else { return 0 };
        let weights = query.weighing.map(|by| sample::weights(by, &Rows::All(view.spans()), view));
        let is_in = |spans: Option<&Bitmap>, row: usize| spans.is_none_or(|it| it.contains(row));
        let mut peers = Peers::of(view);
        let mut tally = Tally::default();
        let mut finder = Finder::default();
        let mut observed = 0;
        for trace in 0..view.traces() {
            let rows = view.trace_rows().rows(trace);
            if tick(1 + rows.len() as u32) {
                break;
            }
            if !rows.iter().any(|&row| is_in(matched, row as usize)) {
                continue;
            }
            finder.for_each_call(&columns, trace, rows, |call| {
                let [owner, other] = call.rows();
                let counts_here = is_in(offer.counted.as_ref(), owner)
                    && is_in(offer.sample.as_ref(), owner)
                    && (is_in(matched, owner) || is_in(matched, other));
                if !counts_here {
                    return;
                }
                let Some(found) = observe_call(call, &columns, &mut peers, &mut self.names) else {
                    return;
                };
                let Some(interval) = query.grid.interval_of(offer.starts[found.owner]) else {
                    return;
                };
                observed += 1;
                let weight = |row: usize| weights.as_ref().map_or(1.0, |weights| weights[row]);
                let weight = weight(owner).max(weight(other));
                let bucket = |part| found.bucket(part, by_size, &columns);
                tally.add(found.edge, parts, bucket, interval, weight);
            });
        }
        tally.move_to(&mut self.series);
        observed
    }

    pub(super) fn heap_bytes(&self) -> usize {
        self.names.heap_bytes() + self.series.heap_bytes()
    }

    /// Its memory, which counts until this is dropped.
    pub(super) fn take_held(&mut self) -> Vec<Held> {
        vec![self.names.take_held(), self.series.take_held()]
    }

    /// The series. `scale`: how many calls each counted call represents.
    pub(super) fn finish(self, leaf: u32, scale: f64) -> Vec<PartialSeries> {
        let Self { names, series } = self;
        let partial = |(key, _, points): (Box<[u32]>, _, super::series::Points)| {
            let &[client, server, connection, part, bucket] = &*key else { return None };
            let part = *Part::ALL.get(part as usize)?;
            let [connection, virtual_side] = Connection::of_number(connection).labels();
            let values = vec![
                names.value(client).clone(),
                names.value(server).clone(),
                connection,
                virtual_side,
                LabelValue::String(part.name().into()),
            ];
            let bucket = part.has_buckets().then_some(bucket as u8);
            Some(PartialSeries {
                leaf,
                key: SeriesKey::Group { values, bucket },
                points: points.finish(Joining::Count, scale, 1.0),
                exemplars: Vec::new(),
            })
        };
        series.into_series().filter_map(partial).collect()
    }
}

/// The counts of a batch.
#[derive(Default)]
struct Tally {
    numbers: HashMap<Edge, u32, RandomState>,
    /// By the number of the edge.
    edges: Vec<Edge>,
    /// By edge number, part, bucket and interval, see [`Self::slot`].
    counts: HashMap<u64, f64, RandomState>,
    held: Held,
}

impl Tally {
    const INTERVAL_BITS: u32 = 24;
    const BUCKET_BITS: u32 = 8;
    const PART_BITS: u32 = 2;
    /// Estimated bytes of a count, here and while counts are sorted.
    const COUNT_BYTES: usize = 64;

    /// A grid has fewer than [`super::MOST_INTERVALS`] intervals, and a batch has fewer than 2^30 edges, so this fits.
    fn slot(edge: u32, part: Part, bucket: u32, interval: usize) -> u64 {
        let series = u64::from(edge) << Self::PART_BITS | part as u64;
        let series = series << Self::BUCKET_BITS | u64::from(bucket);
        series << Self::INTERVAL_BITS | interval as u64
    }

    fn add(
        &mut self,
        edge: Edge,
        parts: &[Part],
        bucket: impl Fn(Part) -> Option<u32>,
        interval: usize,
        weight: f64,
    ) {
        let edge = *self.numbers.entry(edge).or_insert_with(|| {
            self.edges.push(edge);
            self.edges.len() as u32 - 1
        });
        for &part in parts {
            if let Some(bucket) = bucket(part) {
                *self.counts.entry(Self::slot(edge, part, bucket, interval)).or_default() += weight;
            }
        }
        self.held.grow_to((self.edges.len() + self.counts.len()) * Self::COUNT_BYTES);
    }

    fn move_to(self, table: &mut SeriesTable) {
        let mut counts: Vec<(u64, f64)> = self.counts.into_iter().collect();
        counts.sort_unstable_by_key(|(slot, _)| *slot);
        let low = |number: u64, bits: u32| (number & ((1 << bits) - 1)) as u32;
        let series = |slot: u64| slot >> Self::INTERVAL_BITS;
        for points in counts.chunk_by(|(one, _), (other, _)| series(*one) == series(*other)) {
            let series = series(points[0].0);
            let bucket = low(series, Self::BUCKET_BITS);
            let part = low(series >> Self::BUCKET_BITS, Self::PART_BITS);
            let edge = series >> (Self::BUCKET_BITS + Self::PART_BITS);
            let (client, server, connection) = self.edges[edge as usize];
            let number = table.number(&[client, server, connection as u32, part, bucket]);
            let cell = |&(slot, count)| (low(slot, Self::INTERVAL_BITS), Cell::of(count, 1.0));
            let cells: Vec<(u32, Cell)> = points.iter().map(cell).collect();
            table.add(number, Joining::Count, &cells);
        }
    }
}

/// The edge of a call; `None` if the other side has no name.
fn observe_call(
    call: Call,
    columns: &Columns<'_>,
    peers: &mut Peers<'_>,
    names: &mut Labels,
) -> Option<Observed> {
    Some(match call {
        Call::Between { client, server, connection } => Observed {
            edge: (columns.service(client)?, columns.service(server)?, connection),
            owner: server,
            client: is_client_half(columns.kinds[client]).then_some(client),
            server: Some(server),
        },
        Call::ClientAlone(client) => {
            let (peer, is_database) = match peers.database(client, names) {
                Some(database) => (database, true),
                None => (peers.server(client, names)?, false),
            };
            let connection =
                if is_database { Connection::Database } else { Connection::VirtualServer };
            Observed {
                edge: (columns.service(client)?, peer, connection),
                owner: client,
                client: Some(client),
                // The time that a database takes is the time that its client waits.
                server: is_database.then_some(client),
            }
        }
        Call::ServerAlone(server) => {
            let peer = peers.client(server, names);
            let peer = peer.unwrap_or_else(|| names.number(LabelValue::String(USER.into())));
            Observed {
                edge: (peer, columns.service(server)?, Connection::VirtualClient),
                owner: server,
                client: None,
                server: Some(server),
            }
        }
    })
}

impl Observed {
    /// The bucket in which the call counts for a part; 0 if the part has no buckets; `None` if the call does not count.
    fn bucket(&self, part: Part, by_size: Buckets, columns: &Columns<'_>) -> Option<u32> {
        let failed = |row: usize| status_of(columns.statuses[row]) == Status::Error;
        // A call without duration counts with the shortest ones.
        let latency =
            |row: usize| u32::from(by_size.of_value(span_duration(columns.durations[row]).max(2)));
        match part {
            Part::Calls => Some(0),
            Part::Errors => {
                let sides = [self.client, self.server];
                sides.into_iter().flatten().any(failed).then_some(0)
            }
            Part::ClientLatency => self.client.map(latency),
            Part::ServerLatency => self.server.map(latency),
        }
    }
}
