//! Finds pairs of spans that are the two sides of a call.

use tactus_model::{LinkTable, SpanId, TraceId};

use crate::eval::scan::find_string;
use crate::eval::view::{BatchView, column};
use crate::metrics::LabelValue;
use crate::metrics::collect::labels::Labels;
use crate::metrics::graph::{Connection, SERVICE_NAME};

const SERVER: u8 = 2;
const CLIENT: u8 = 3;
const PRODUCER: u8 = 4;
const CONSUMER: u8 = 5;

/// How many spans with the same id are considered. Client and server of a call may share one. Without this limit, a
/// trace whose spans all have the same id would take time in the square of its size.
const MOST_OF_ONE_ID: usize = 4;

/// A call, by rows of its spans.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Call {
    Between { client: usize, server: usize, connection: Connection },
    ClientAlone(usize),
    ServerAlone(usize),
}

impl Call {
    /// The span that the call counts for, and the other one if there is one.
    pub(super) fn rows(self) -> [usize; 2] {
        match self {
            Call::Between { client, server, .. } => [server, client],
            Call::ClientAlone(row) | Call::ServerAlone(row) => [row, row],
        }
    }
}

pub(super) fn is_client_half(kind: u8) -> bool {
    matches!(kind, CLIENT | PRODUCER)
}

fn is_server_half(kind: u8) -> bool {
    matches!(kind, SERVER | CONSUMER)
}

/// The columns that calls are found in.
pub(super) struct Columns<'v> {
    ids: &'v [SpanId],
    parents: &'v [SpanId],
    pub(super) kinds: &'v [u8],
    pub(super) statuses: &'v [u8],
    pub(super) durations: &'v [u64],
    resources: &'v [u32],
    /// The number of each resource's service name; `None` if it has no service.
    services: Vec<Option<u32>>,
    links: &'v LinkTable,
    traces: &'v [TraceId],
}

impl<'v> Columns<'v> {
    /// `None` if a column was not read.
    pub(super) fn of(view: &'v BatchView<'_>, names: &mut Labels) -> Option<Self> {
        let (batch, rows) = (view.batch, view.spans());
        let key = find_string(&batch.strings, SERVICE_NAME.as_bytes());
        let service = |resource: usize| match batch.strings.get(batch.service_name(resource, key)) {
            b"" => None,
            name => Some(names.number(LabelValue::String(String::from_utf8_lossy(name).into()))),
        };
        Some(Self {
            ids: column(&batch.spans.span_id, rows)?,
            parents: column(&batch.spans.parent_span_id, rows)?,
            kinds: column(&batch.spans.kind, rows)?,
            statuses: column(&batch.spans.status, rows)?,
            durations: column(&batch.spans.duration, rows)?,
            resources: &batch.spans.resource,
            services: (0..batch.resources.len()).map(service).collect(),
            links: &batch.links,
            traces: &batch.traces.ids,
        })
    }

    /// The number of a span's service name; `None` without one.
    pub(super) fn service(&self, row: usize) -> Option<u32> {
        let resource = *self.resources.get(row)?;
        self.services.get(resource as usize).copied().flatten()
    }

    /// The spans of its own trace that a span links to.
    fn linked(&self, row: usize, trace: usize) -> impl Iterator<Item = SpanId> {
        let trace = self.traces.get(trace);
        let links =
            self.links.range(row).filter(move |&link| self.links.trace_id.get(link) == trace);
        links.filter_map(|link| self.links.span_id.get(link).copied())
    }
}

/// Finds the calls of one trace after the other.
#[derive(Default)]
pub(super) struct Finder {
    /// Ids as numbers, and places of the spans, ascending.
    by_id: Vec<(u64, u32)>,
    /// By place: whether the span is the caller of a call that was found.
    answered: Vec<bool>,
}

impl Finder {
    /// Calls `visit` for every call of a trace, which consists of these rows. A place is an index into `rows`.
    pub(super) fn for_each_call(
        &mut self,
        columns: &Columns<'_>,
        trace: usize,
        rows: &[u32],
        mut visit: impl FnMut(Call),
    ) {
        let Columns { ids, parents, kinds, .. } = *columns;
        self.by_id.clear();
        let number = |row: u32| u64::from_ne_bytes(ids[row as usize].0);
        self.by_id.extend(rows.iter().zip(0..).map(|(&row, place)| (number(row), place)));
        self.by_id.sort_unstable();
        self.answered.clear();
        self.answered.resize(rows.len(), false);
        let mut callers: Vec<usize> = Vec::new();
        for place in 0..rows.len() {
            let row = rows[place] as usize;
            let Some(service) = columns.service(row) else { continue };
            let kind = kinds[row];
            callers.clear();
            if let Some(caller) = self.caller(columns, rows, place) {
                let caller_row = rows[caller] as usize;
                let is_marked = is_client_half(kinds[caller_row]) && is_server_half(kind);
                let other = columns.service(caller_row);
                if other.is_some_and(|other| is_marked || other != service) {
                    callers.push(caller);
                }
            }
            let is_root = parents[row].is_zero() && callers.is_empty();
            if kind == CONSUMER {
                self.add_linked_producers(columns, trace, rows, place, &mut callers);
            }
            for &caller in &callers {
                self.answered[caller] = true;
                let client = rows[caller] as usize;
                let is_message = kind == CONSUMER || kinds[client] == PRODUCER;
                let connection =
                    if is_message { Connection::Messaging } else { Connection::Direct };
                visit(Call::Between { client, server: row, connection });
            }
            // If its links lead to another trace, the caller is not in this one.
            let has_links = kind == CONSUMER && !columns.links.range(row).is_empty();
            if is_root && callers.is_empty() && is_server_half(kind) && !has_links {
                visit(Call::ServerAlone(row));
            }
        }
        for (&row, answered) in rows.iter().zip(&self.answered) {
            let row = row as usize;
            if !answered && is_client_half(kinds[row]) && columns.service(row).is_some() {
                visit(Call::ClientAlone(row));
            }
        }
    }

    /// The indices of the first spans with an id.
    fn with_id(&self, id: SpanId) -> impl Iterator<Item = usize> {
        let id = u64::from_ne_bytes(id.0);
        let first = self.by_id.partition_point(|(other, _)| *other < id);
        let rest = self.by_id.get(first..).unwrap_or_default().iter();
        let same = rest.take_while(move |(other, _)| *other == id);
        same.take(MOST_OF_ONE_ID).map(|(_, place)| *place as usize)
    }

    /// The calling span: a client span with the same id, or else the parent. Two spans may have the parent's id. Then a
    /// server span's parent is the client span; any other span's parent is the one of its own service, or else the
    /// server span.
    fn caller(&self, columns: &Columns<'_>, rows: &[u32], place: usize) -> Option<usize> {
        let row = rows[place] as usize;
        let kind_of = |place: usize| columns.kinds[rows[place] as usize];
        let is_called = is_server_half(columns.kinds[row]);
        if is_called {
            let mut shared = self.with_id(columns.ids[row]);
            if let Some(client) = shared.find(|&other| is_client_half(kind_of(other))) {
                return Some(client);
            }
        }
        let parent = columns.parents[row];
        if parent.is_zero() {
            return None;
        }
        let above = || self.with_id(parent).filter(|&other| other != place);
        let service = |place: &usize| columns.service(rows[*place] as usize);
        let is_own = |other: &usize| !is_called && service(other) == service(&place);
        let fits = |place: &usize| match is_called {
            true => is_client_half(kind_of(*place)),
            false => is_server_half(kind_of(*place)),
        };
        let mut all = above();
        match (all.next(), all.next()) {
            (Some(_), Some(_)) => {
                let own = above().find(is_own);
                own.or_else(|| above().find(fits)).or_else(|| above().next())
            }
            (one, _) => one,
        }
    }

    fn add_linked_producers(
        &self,
        columns: &Columns<'_>,
        trace: usize,
        rows: &[u32],
        place: usize,
        callers: &mut Vec<usize>,
    ) {
        for id in columns.linked(rows[place] as usize, trace) {
            for producer in self.with_id(id) {
                let row = rows[producer] as usize;
                if columns.kinds[row] == PRODUCER && columns.service(row).is_some() {
                    callers.push(producer);
                }
            }
        }
        callers.sort_unstable();
        callers.dedup();
    }
}
