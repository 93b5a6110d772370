//! Spans with what surrounds them: their trace, their parent, their tree.

use super::batches::{Attributes, Group, Span, Stored};
use super::value::Value;

const KIND_SERVER: u8 = 2;
const KIND_CLIENT: u8 = 3;

/// One span. Its number is its place in order of arrival.
pub(crate) struct Known<'g> {
    pub(crate) group: &'g Group,
    pub(crate) span: &'g Span,
    /// Number of the parent span, if the trace has it.
    pub(crate) parent: Option<usize>,
    /// Numbers of the spans above it, nearest first, up to a root; none if the way up ends elsewhere.
    pub(crate) ancestors: Option<Vec<usize>>,
}

/// All spans that were sent.
pub(crate) struct World<'g> {
    pub(crate) spans: Vec<Known<'g>>,
}

impl<'g> World<'g> {
    pub(crate) fn new(groups: &'g [Group]) -> Self {
        let spans = groups
            .iter()
            .flat_map(|group| group.spans.iter().map(move |span| (group, span)))
            .map(|(group, span)| Known { group, span, parent: None, ancestors: None })
            .collect();
        let mut world = Self { spans };
        for row in 0..world.spans.len() {
            world.spans[row].parent = world.find_parent(row);
        }
        for row in 0..world.spans.len() {
            world.spans[row].ancestors = world.find_ancestors(row);
        }
        world
    }

    /// Ids of all traces, ascending.
    pub(crate) fn traces(&self) -> Vec<u128> {
        let mut ids: Vec<u128> = self.spans.iter().map(|known| known.span.trace).collect();
        ids.sort_unstable();
        ids.dedup();
        ids
    }

    /// Numbers of the spans of a trace, in order of arrival.
    pub(crate) fn rows(&self, trace: u128) -> Vec<usize> {
        (0..self.spans.len()).filter(|&row| self.spans[row].span.trace == trace).collect()
    }

    /// Start and end of a trace.
    pub(crate) fn times(&self, trace: u128) -> (u64, u64) {
        let spans = || self.rows(trace).into_iter().map(|row| self.spans[row].span);
        let start = spans().map(|span| span.start).min();
        let end = spans().map(|span| span.start + span.duration).max();
        (start.unwrap_or(0), end.unwrap_or(0))
    }

    /// `service.name` and name of the root span; empty texts if there is none.
    pub(crate) fn root(&self, trace: u128) -> (String, String) {
        let spans = self.rows(trace).into_iter().map(|row| &self.spans[row]);
        let roots = spans.filter(|known| known.span.parent == 0);
        // Of several the last to start; of these the one with the highest id, kind and name.
        let order = |known: &&Known<'_>| {
            let span = known.span;
            (span.start, span.id, span.kind, span.name.clone())
        };
        match roots.max_by_key(order) {
            Some(root) => (service(root.group), root.span.name.clone()),
            None => Default::default(),
        }
    }

    pub(crate) fn child_count(&self, row: usize) -> usize {
        self.spans.iter().filter(|known| known.parent == Some(row)).count()
    }

    /// Of two spans with the parent's id, a server span is the child of the client one, any other of the server one, if
    /// the other one is of another kind.
    fn find_parent(&self, row: usize) -> Option<usize> {
        let span = self.spans[row].span;
        if span.parent == 0 {
            return None;
        }
        let mut candidates = self.rows(span.trace);
        candidates.retain(|&other| self.spans[other].span.id == span.parent);
        let wanted = if span.kind == KIND_SERVER { KIND_CLIENT } else { KIND_SERVER };
        let found = match candidates[..] {
            [one] => Some(one),
            [one, two] => match [one, two].map(|it| self.spans[it].span.kind == wanted) {
                [true, false] => Some(one),
                [false, true] => Some(two),
                _ => None,
            },
            _ => None,
        };
        found.filter(|&parent| parent != row)
    }

    fn find_ancestors(&self, row: usize) -> Option<Vec<usize>> {
        let trace = self.rows(self.spans[row].span.trace);
        let holders = |id| trace.iter().filter(|&&it| self.spans[it].span.id == id).count();
        if trace.iter().any(|&it| holders(self.spans[it].span.id) > 2) {
            return None;
        }
        let (mut ancestors, mut at) = (Vec::new(), row);
        while self.spans[at].span.parent != 0 {
            at = self.spans[at].parent?;
            if ancestors.len() > trace.len() {
                return None;
            }
            ancestors.push(at);
        }
        Some(ancestors)
    }
}

/// The resource's `service.name`, if that is text.
pub(crate) fn service(group: &Group) -> String {
    match group.resource.iter().find(|(key, _)| key == "service.name") {
        Some((_, Stored::String(text))) => text.clone(),
        _ => String::new(),
    }
}

/// The first attribute with this key.
pub(crate) fn find(attributes: &Attributes, name: &str) -> Value {
    let found = attributes.iter().find(|(key, _)| key == name);
    found.map_or(Value::Nil, |(_, stored)| Value::of_stored(stored))
}
