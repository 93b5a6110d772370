//! Names of attributes, for completion.

use std::collections::{BTreeMap, HashSet};

use tactus_model::{AttributeList, AttributeSelection, Projection, SpanBatch};
use tactus_work::{Held, tick};

use super::operand::Table;
use super::scan::find_string;
use super::tag_filter::{TagFilter, rows_of_spans};
use super::view::BatchView;

/// The names in the scope `intrinsic`, whatever the data is.
pub const INTRINSIC_TAGS: [&str; 25] = [
    "duration",
    "event:name",
    "event:timeSinceStart",
    "instrumentation:name",
    "instrumentation:version",
    "kind",
    "link:spanID",
    "link:traceID",
    "name",
    "rootName",
    "rootServiceName",
    "span:duration",
    "span:id",
    "span:kind",
    "span:name",
    "span:parentID",
    "span:status",
    "span:statusMessage",
    "status",
    "statusMessage",
    "trace:duration",
    "trace:id",
    "trace:rootName",
    "trace:rootService",
    "traceDuration",
];

tactus_model::words! {
    /// Where a tag is found, in the order in which answers list them.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
    pub enum TagScope {
        /// Resources.
        Resource = "resource",
        /// Spans.
        Span = "span",
        /// Events of spans.
        Event = "event",
        /// Links of spans.
        Link = "link",
        /// Instrumentation scopes.
        Instrumentation = "instrumentation",
        /// Fixed fields; see [`INTRINSIC_TAGS`].
        Intrinsic = "intrinsic",
    }
}

impl TagScope {
    /// The scopes whose names come from data.
    pub const STORED: [Self; 5] =
        [Self::Resource, Self::Span, Self::Event, Self::Link, Self::Instrumentation];
}

/// When to stop collecting; 0 switches a limit off.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TagLimits {
    /// Most bytes of all texts. The type of a typed value counts as well.
    pub max_bytes: usize,
    /// Most names a scope, or most values.
    pub max_count: usize,
    /// Most known names or values in a row.
    pub max_stale: usize,
}

/// Estimated bytes of a name or value in a set, in addition to its text.
const ENTRY_BYTES: usize = 96;

/// Room for further names or values, until a limit is reached.
#[derive(Debug, Default)]
pub(super) struct TagRoom {
    limits: TagLimits,
    bytes: usize,
    entries: usize,
    held: Held,
    stale: usize,
    pub(super) is_full: bool,
}

impl TagRoom {
    /// Room besides `bytes`.
    pub(super) fn new(limits: TagLimits, bytes: usize) -> Self {
        Self { limits, bytes, ..Self::default() }
    }

    /// Whether an entry of this many bytes is taken. One that is known already is not.
    pub(super) fn takes(&mut self, is_known: bool, bytes: usize) -> bool {
        let TagLimits { max_bytes, max_stale, .. } = self.limits;
        if self.is_full {
            return false;
        }
        if is_known {
            self.stale += 1;
            self.is_full = max_stale > 0 && self.stale >= max_stale;
            return false;
        }
        self.stale = 0;
        self.entries += 1;
        let bytes = self.bytes + bytes;
        self.is_full = max_bytes > 0 && bytes > max_bytes
            || !self.held.grow_to(bytes + self.entries * ENTRY_BYTES);
        self.bytes = bytes;
        !self.is_full
    }

    /// To be called after each entry that was taken, with how many there are by now.
    pub(super) fn count(&mut self, entries: usize) {
        self.is_full = self.limits.max_count > 0 && entries >= self.limits.max_count;
    }
}

/// Collects tag names, each once in its scope, until a limit is reached. The answer does not show that there was a
/// limit.
#[derive(Debug, Default)]
pub struct TagCollector {
    names: BTreeMap<TagScope, HashSet<Box<str>>>,
    room: TagRoom,
}

impl TagCollector {
    /// An empty collector.
    pub fn new(limits: TagLimits) -> Self {
        Self { names: BTreeMap::new(), room: TagRoom::new(limits, 0) }
    }

    /// Adds a name. Returns false once a limit is reached, because no further name will be taken.
    pub fn add(&mut self, scope: TagScope, name: &str) -> bool {
        let names = self.names.entry(scope).or_default();
        if self.room.takes(names.contains(name), name.len()) {
            names.insert(name.into());
            self.room.count(names.len());
        }
        !self.room.is_full
    }

    /// True once a limit is reached.
    pub fn is_full(&self) -> bool {
        self.room.is_full
    }

    /// The names so far, in no particular order within their scope.
    pub fn names(&self) -> impl Iterator<Item = (TagScope, &str)> {
        self.names.iter().flat_map(|(scope, names)| names.iter().map(|name| (*scope, &**name)))
    }

    /// The names of each scope that has any, both sorted.
    pub fn finish(self) -> Vec<(TagScope, Vec<String>)> {
        let sorted = |names: HashSet<Box<str>>| {
            let mut names: Vec<String> = names.into_iter().map(String::from).collect();
            names.sort_unstable();
            names
        };
        let scopes = self.names.into_iter().filter(|(_, names)| !names.is_empty());
        scopes.map(|(scope, names)| (scope, sorted(names))).collect()
    }
}

/// The stored scopes whose names a request lists.
///
/// A request without a scope lists all of them. But if a filter chooses among spans, it lists only those that every
/// span has and those that the filter refers to, as Tempo's clients expect.
pub fn listed_scopes(asked: Option<TagScope>, filter: &TagFilter) -> Vec<TagScope> {
    let is_listed = |scope: &TagScope| match (asked, scope) {
        (Some(asked), scope) => asked == *scope,
        (None, TagScope::Event) => filter.reads_all_spans() || filter.names(Table::Event),
        (None, TagScope::Link) => filter.reads_all_spans() || filter.names(Table::Link),
        (None, TagScope::Instrumentation) => filter.reads_all_spans() || filter.names(Table::Scope),
        (None, _) => true,
    };
    TagScope::STORED.into_iter().filter(is_listed).collect()
}

/// The columns that [`collect_tags`] reads.
pub fn tags_projection(scopes: &[TagScope]) -> Projection {
    let mut columns = Projection::default();
    let wanted = |one| scopes.contains(&one);
    if wanted(TagScope::Resource) {
        columns.resource_attributes = AttributeSelection::names();
    }
    if wanted(TagScope::Span) {
        columns.span_attributes = AttributeSelection::names();
    }
    if wanted(TagScope::Instrumentation) {
        columns.scope_attributes = AttributeSelection::names();
    }
    if wanted(TagScope::Event) {
        columns.events = true;
        columns.event_attributes = AttributeSelection::names();
    }
    if wanted(TagScope::Link) {
        columns.links = true;
        columns.link_attributes = AttributeSelection::names();
    }
    columns
}

/// Adds the names of the attributes of some scopes on spans that pass the filter.
///
/// Intrinsics do not come from data; answers list [`INTRINSIC_TAGS`].
pub fn collect_tags(
    batch: &SpanBatch,
    scopes: &[TagScope],
    filter: &TagFilter,
    collector: &mut TagCollector,
) {
    let view = BatchView::new(batch);
    let spans = filter.spans(&view);
    if spans.is_empty() {
        return;
    }
    for &one in scopes {
        let (table, list) = match one {
            TagScope::Resource => (Table::Resource, &batch.resources.attributes),
            TagScope::Event => (Table::Event, &batch.events.attributes),
            TagScope::Link => (Table::Link, &batch.links.attributes),
            TagScope::Instrumentation => (Table::Scope, &batch.scopes.attributes),
            _ => (Table::Span, &batch.span_attributes),
        };
        let owners = rows_of_spans(&spans, table, &view);
        if !add_keys(batch, list, owners.rows(), one, collector) {
            return;
        }
        if !filter.reads_all_spans() && !add_column_names(batch, list, one, collector) {
            return;
        }
    }
}

/// Span attributes that blocks keep in columns of their own.
const SPAN_COLUMNS: [&str; 8] = [
    "http.method",
    "http.url",
    "http.status_code",
    "http.request.method",
    "url.path",
    "url.route",
    "server.address",
    "http.route",
];

/// Adds the attributes that have a column of their own and occur on any span, even one that the filter rejects, because
/// clients expect them in a filtered answer.
fn add_column_names(
    batch: &SpanBatch,
    list: &AttributeList,
    scope: TagScope,
    collector: &mut TagCollector,
) -> bool {
    if scope != TagScope::Span {
        return true;
    }
    SPAN_COLUMNS.iter().all(|name| {
        let code = find_string(&batch.strings, name.as_bytes());
        let occurs = code.is_some_and(|code| list.keys.contains(&code));
        !occurs || collector.add(scope, name)
    })
}

fn add_keys(
    batch: &SpanBatch,
    list: &AttributeList,
    owners: impl Iterator<Item = usize>,
    scope: TagScope,
    collector: &mut TagCollector,
) -> bool {
    let mut seen = vec![false; batch.strings.len()];
    for owner in owners {
        if tick(1 + list.range(owner).len() as u32) {
            return false;
        }
        for entry in list.range(owner) {
            let key = list.keys[entry];
            if let Some(seen @ false) = seen.get_mut(key as usize) {
                *seen = true;
                if !collector.add(scope, &batch.strings.display(key)) {
                    return false;
                }
            }
        }
    }
    true
}
