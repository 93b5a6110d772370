//! The service-graphs processor: calls between services, put together from the spans of both sides.

mod edges;
mod half;
mod record;

use tactus_config::sections::generator::ServiceGraphs as Section;
use tactus_model::SpanId;
use tactus_telemetry::log_limited;

use self::edges::{Connection, Edge, EdgeKey, EdgeStore, Filtered, Side};
use self::half::{Half, LookedFor};
use self::record::Recorder;
use super::interner::{EMPTY, Interner, TextId};
use super::policies::PolicyRoom;
use super::view::{Names, View};
use crate::registry::Registry;

pub(super) use self::record::{METRICS, dimension_labels};

const SERVER: u8 = 2;
const CLIENT: u8 = 3;
const PRODUCER: u8 = 4;
const CONSUMER: u8 = 5;
const ERROR: u8 = 2;

/// What a client is called of which nothing is known.
const USER: &[u8] = b"user";

/// What was counted since the last look.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Counted {
    /// Calls of which a first side was seen.
    pub(crate) edges: u64,
    /// Those whose other side did not come and is not known.
    pub(crate) expired: u64,
    /// Spans for which there was no room.
    pub(crate) dropped_spans: u64,
    /// Calls of which a policy left out a side.
    pub(crate) dropped_edges: u64,
    /// Sides left out that could not be remembered.
    pub(crate) side_overflows: u64,
    /// Spans left out by policies.
    pub(crate) filtered: u64,
    /// Calls whose labels are no UTF-8.
    pub(crate) invalid_utf8: u64,
}

/// The service-graphs processor of a tenant, with the calls of which it knows one side so far.
#[derive(Debug)]
pub(crate) struct ServiceGraphs {
    settings: Section,
    looked_for: LookedFor,
    recorder: Recorder,
    waiting: EdgeStore,
    filtered: Filtered,
    /// Numbers of the names of the batch's services; 0 if there is none, [`UNKNOWN`] before the first look.
    services: Vec<TextId>,
    counted: Counted,
}

const UNKNOWN: TextId = TextId::MAX;

/// Calls that may wait though series take all memory: other tenants must not stop what this one has long counted.
const RESERVED_CALLS: usize = 1_000;

impl ServiceGraphs {
    /// Makes its metrics, or finds them again. Calls of which one side waits are taken over from `before`.
    ///
    /// Errors: a policy that is none.
    pub(crate) fn new(
        settings: &Section,
        registry: &mut Registry,
        names: &mut Names,
        room: &mut PolicyRoom,
        before: Option<Self>,
    ) -> Result<Self, String> {
        let looked_for = LookedFor::new(settings, names, room)?;
        let (mut waiting, mut filtered, mut counted) = Default::default();
        if let Some(before) = before {
            (waiting, filtered, counted) = (before.waiting, before.filtered, before.counted);
            let same = before.settings.dimensions == settings.dimensions
                && before.settings.enable_client_server_prefix
                    == settings.enable_client_server_prefix;
            if !same {
                EdgeStore::forget_dimensions(&mut waiting);
            }
            if before.settings.filter_policies != settings.filter_policies {
                filtered = Filtered::default();
            }
        }
        Ok(Self {
            settings: settings.clone(),
            looked_for,
            recorder: Recorder::new(settings, registry),
            waiting,
            filtered,
            services: Vec::new(),
            counted,
        })
    }

    /// The same with metrics of its own again, for the calls that wait.
    ///
    /// Errors: as of [`Self::new`].
    pub(crate) fn ending(self, registry: &mut Registry) -> Result<Self, String> {
        let settings = self.settings.clone();
        let (mut names, mut room) = (Names::default(), PolicyRoom::default());
        Self::new(&settings, registry, &mut names, &mut room, Some(self))
    }

    /// Takes the spans of a batch.
    pub(crate) fn push(&mut self, view: &mut View<'_>, registry: &mut Registry, now_ms: i64) {
        let batch = view.batch;
        self.looked_for.policies.start();
        self.services.clear();
        self.services.resize(batch.resources.len(), UNKNOWN);
        for row in 0..batch.len() {
            let spans = &batch.spans;
            let (side, connection) = match spans.kind[row] {
                CLIENT => (Side::Client, Connection::Direct),
                PRODUCER => (Side::Client, Connection::Messaging),
                SERVER => (Side::Server, Connection::Direct),
                CONSUMER => (Side::Server, Connection::Messaging),
                _ => continue,
            };
            let resource = spans.resource[row] as usize;
            if self.services[resource] == UNKNOWN {
                let name = view.resource_value_id(resource, self.looked_for.service);
                self.services[resource] = name.unwrap_or(EMPTY);
            }
            let service = self.services[resource];
            if service == EMPTY {
                continue;
            }
            let trace = batch.traces.ids[spans.trace[row] as usize];
            let span = match side {
                Side::Client => spans.span_id[row],
                Side::Server => spans.parent_span_id[row],
            };
            let key = (trace, span);
            if !self.looked_for.policies.keep(view, row) {
                self.leave_out(key, side, now_ms);
                continue;
            }
            if self.filtered.has(key, side.other()) {
                self.counted.dropped_edges += 1;
                continue;
            }
            let weight = self.looked_for.weight.of(view, row, resource);
            let half = Half { side, key, service, connection, weight };
            self.take_half(&half, view, row, registry, now_ms);
        }
    }

    /// A policy refused one side of a call.
    fn leave_out(&mut self, key: EdgeKey, side: Side, now_ms: i64) {
        self.counted.filtered += 1;
        // Servers without a parent have no client that could be told from others.
        if side == Side::Server && key.1 == SpanId::default() {
            return;
        }
        let expires = self.expires(now_ms);
        if !self.filtered.insert(key, side, expires, self.max_items()) {
            self.counted.side_overflows += 1;
        }
        if self.waiting.remove(&key).is_some() {
            self.counted.dropped_edges += 1;
        }
    }

    fn take_half(
        &mut self,
        half: &Half,
        view: &mut View<'_>,
        row: usize,
        registry: &mut Registry,
        now_ms: i64,
    ) {
        let dimensions = self.recorder.dimensions();
        if let Some(edge) = self.waiting.find(&half.key) {
            self.looked_for.write_half(half, view, row, edge, dimensions);
            if !edge.is_complete() {
                return;
            }
            if let Some(edge) = self.waiting.remove(&half.key) {
                self.record(&edge, view.interner, registry, now_ms);
            }
            return;
        }
        let mut edge = Edge { key: half.key, expires: self.expires(now_ms), ..Edge::default() };
        self.looked_for.write_half(half, view, row, &mut edge, dimensions);
        if edge.is_complete() {
            self.counted.edges += 1;
            self.record(&edge, view.interner, registry, now_ms);
        } else if self.is_full(registry) {
            self.counted.dropped_spans += 1;
            log_limited!(
                warn,
                max_items = self.max_items(),
                "skipped processing of spans: too many calls wait for their other side, or series take all memory"
            );
        } else {
            self.counted.edges += 1;
            self.waiting.insert(edge);
        }
    }

    /// One side waits for the other so long.
    fn wait_ms(&self) -> i64 {
        self.settings.wait.0.max(0) / 1_000_000
    }

    /// Sides that wait, at most.
    fn max_items(&self) -> usize {
        usize::try_from(self.settings.max_items).unwrap_or(0)
    }

    /// True if no other call may wait.
    fn is_full(&self, registry: &Registry) -> bool {
        let waiting = self.waiting.len();
        waiting >= self.max_items() || waiting >= RESERVED_CALLS && registry.is_memory_full()
    }

    /// Unix seconds when an edge that begins now expires.
    fn expires(&self, now_ms: i64) -> i64 {
        now_ms.saturating_add(self.wait_ms()).div_euclid(1000)
    }

    fn record(&mut self, edge: &Edge, texts: &Interner, registry: &mut Registry, now_ms: i64) {
        if !self.recorder.record(edge, texts, registry, now_ms) {
            self.counted.invalid_utf8 += 1;
        }
    }

    /// True if something waits, or is remembered until a time.
    pub(crate) fn has_to_expire(&self) -> bool {
        self.waiting() > 0 || !self.filtered.is_empty()
    }

    /// Ends the calls whose other side did not come in time.
    pub(crate) fn expire(&mut self, texts: &mut Interner, registry: &mut Registry, now_ms: i64) {
        let now = now_ms.div_euclid(1000);
        // What began long after now did so before the clock went back: nobody should wait for that time to come again.
        let latest = now.saturating_add(2 * self.wait_ms().div_euclid(1000).max(1));
        self.end(|edge| now >= edge.expires || edge.expires > latest, texts, registry, now_ms);
        self.filtered.expire(now, latest);
    }

    /// Ends all calls that wait.
    pub(crate) fn expire_all(
        &mut self,
        texts: &mut Interner,
        registry: &mut Registry,
        now_ms: i64,
    ) {
        self.end(|_| true, texts, registry, now_ms);
    }

    fn end(
        &mut self,
        expired: impl Fn(&Edge) -> bool,
        texts: &mut Interner,
        registry: &mut Registry,
        now_ms: i64,
    ) {
        while let Some(mut edge) = self.waiting.pop_if(&expired) {
            if edge.client == EMPTY && edge.key.1.is_zero() {
                edge.client = if edge.peer == EMPTY { texts.intern(USER) } else { edge.peer };
                edge.connection = Connection::VirtualClient;
            } else if edge.server == EMPTY && edge.client != EMPTY && edge.peer != EMPTY {
                edge.server = edge.peer;
                edge.connection = Connection::VirtualServer;
            } else {
                self.counted.expired += 1;
                continue;
            }
            self.record(&edge, texts, registry, now_ms);
        }
    }

    /// Estimated memory of the calls of which one side waits.
    pub(crate) fn bytes(&self) -> usize {
        self.waiting.bytes(self.recorder.dimensions())
    }

    /// Calls of which one side waits.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// What was counted since the last call.
    pub(crate) fn take_counted(&mut self) -> Counted {
        std::mem::take(&mut self.counted)
    }

    /// Numbers of the texts that waiting calls need.
    pub(crate) fn texts(&self) -> impl Iterator<Item = TextId> + '_ {
        self.waiting.texts()
    }

    /// Texts may have other numbers now.
    pub(crate) fn forget_texts(&mut self) {
        self.recorder.forget_texts();
    }
}
