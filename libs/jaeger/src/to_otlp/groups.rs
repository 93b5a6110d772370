//! Spans as an OTLP export request that grows: each span is encoded as it comes, because as messages all spans would take
//! many times the memory of the request.

use std::collections::HashMap;
use std::hash::Hash;

use bytes::Bytes;
use prost::Message;
use tactus_model::wire::{field_size, put_message_field, put_message_frame, put_varint};
use tactus_proto::otlp::{InstrumentationScope, Resource, ScopeSpans, Span};

/// Name and version of a scope.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Scope {
    /// Empty if it has none.
    pub name: Bytes,
    /// Empty if it has none.
    pub version: Bytes,
}

/// Resources and scopes that a request may have, whatever its size.
const FREE_GROUPS: usize = 1 << 12;

/// Bytes of a request for each further one. It takes some 500 bytes of memory, and some 10 to 30 of the request.
const BYTES_PER_GROUP: usize = 64;

/// More resources and scopes than the bytes of a request can fill.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("too many services for the size of the request")]
pub struct TooManyGroups;

/// Spans by resource and scope, in the order in which these first appear. A list of `K` identifies a resource.
#[derive(Debug)]
pub struct SpanGroups<K> {
    /// Most resources with each of their scopes.
    max_groups: usize,
    groups: Vec<Group>,
    by_key: HashMap<Vec<K>, usize>,
    by_scope: HashMap<(usize, Scope), usize>,
    /// The group of the latest key. The next span mostly has the same.
    latest_group: Option<usize>,
    latest_key: Vec<K>,
    /// The places of the group and of the scope of the latest span, which the next one mostly has as well.
    latest: Option<(usize, usize)>,
    latest_scope: Scope,
}

/// The spans of a resource.
#[derive(Debug)]
struct Group {
    /// A Resource message.
    resource: Vec<u8>,
    /// ScopeSpans messages.
    scopes: Vec<Vec<u8>>,
}

/// Field 2 of ScopeSpans, a message.
const SPAN_TAG: u64 = 2 << 3 | 2;

impl<K: Clone + Eq + Hash> SpanGroups<K> {
    /// No spans yet. `bytes`: of the request that they are read from.
    pub fn new(bytes: usize) -> Self {
        Self {
            max_groups: FREE_GROUPS.max(bytes / BYTES_PER_GROUP),
            groups: Vec::new(),
            by_key: HashMap::new(),
            by_scope: HashMap::new(),
            latest_group: None,
            latest_key: Vec::new(),
            latest: None,
            latest_scope: Scope::default(),
        }
    }

    /// Adds a span. `resource` is called for the first span of a `key`. Errors: the request is too small for so many resources
    /// and scopes.
    pub fn add(
        &mut self,
        key: &[K],
        resource: impl FnOnce() -> Resource,
        scope: Scope,
        span: &Span,
    ) -> Result<(), TooManyGroups> {
        let group = self.group(key, resource);
        self.add_to(group, scope, span)
    }

    /// The place of the group of a `key`, which is compared as a whole: if it is long and of many spans, call this once for all.
    /// `resource` is called if the group is new; a span is to follow then.
    pub(crate) fn group(&mut self, key: &[K], resource: impl FnOnce() -> Resource) -> usize {
        if let Some(latest) = self.latest_group
            && self.latest_key == key
        {
            return latest;
        }
        let group = match self.by_key.get(key) {
            Some(&group) => group,
            None => {
                self.by_key.insert(key.to_vec(), self.groups.len());
                let resource = resource().encode_to_vec();
                self.groups.push(Group { resource, scopes: Vec::new() });
                self.groups.len() - 1
            }
        };
        self.latest_group = Some(group);
        self.latest_key.clear();
        self.latest_key.extend_from_slice(key);
        group
    }

    /// Adds a span to the group at a place. Errors: as of [`Self::add`].
    pub(crate) fn add_to(
        &mut self,
        group: usize,
        scope: Scope,
        span: &Span,
    ) -> Result<(), TooManyGroups> {
        let place = match self.latest {
            Some((latest, place)) if latest == group && self.latest_scope == scope => place,
            _ => self.place(group, scope)?,
        };
        let spans = &mut self.groups[group].scopes[place];
        put_varint(spans, SPAN_TAG);
        span.encode_length_delimited(spans).expect("a Vec grows as it must");
        Ok(())
    }

    /// The place of a scope in a group.
    fn place(&mut self, group: usize, scope: Scope) -> Result<usize, TooManyGroups> {
        let scopes = &mut self.groups[group].scopes;
        let place = *self.by_scope.entry((group, scope.clone())).or_insert_with(|| {
            scopes.push(scope_spans(&scope));
            scopes.len() - 1
        });
        if self.by_scope.len() > self.max_groups {
            return Err(TooManyGroups);
        }
        self.latest = Some((group, place));
        self.latest_scope = scope;
        Ok(place)
    }

    /// The bytes of an ExportTraceServiceRequest; none without any span.
    pub fn finish(self) -> Bytes {
        let scopes = self.groups.iter().flat_map(|group| &group.scopes);
        let mut request = Vec::with_capacity(scopes.map(|scope| scope.len() + 32).sum());
        for Group { resource, scopes } in self.groups {
            let mut head = Vec::with_capacity(resource.len() + 16);
            put_message_field(&mut head, 1, &resource);
            let length = scopes.iter().map(|scope| field_size(scope.len()));
            put_message_frame(&mut request, 1, head.len() + length.sum::<usize>());
            request.extend_from_slice(&head);
            for scope in scopes {
                put_message_field(&mut request, 2, &scope);
            }
        }
        request.into()
    }
}

/// A ScopeSpans message without spans.
fn scope_spans(Scope { name, version }: &Scope) -> Vec<u8> {
    let (name, version) = (name.clone(), version.clone());
    let scope = InstrumentationScope { name, version, ..InstrumentationScope::default() };
    ScopeSpans { scope: Some(scope), ..ScopeSpans::default() }.encode_to_vec()
}
