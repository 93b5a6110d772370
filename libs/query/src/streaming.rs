//! The gRPC service `tempopb.StreamingQuerier`: queries that show results before they are done.
//!
//! A query runs the same code as over HTTP, and reports its state on the way ([`crate::progress`]). All messages but
//! the last hold differences: traces, names and values that are new or changed, series of intervals whose jobs are all
//! done, and the work so far (`metrics`, cumulative). The last message is the complete answer, the same as over HTTP,
//! in packets of bounded size.
//!
//! A query runs in a task of its own, so that a slow client does not delay its jobs. At most one difference waits for
//! the client, in addition to the message that is being sent. The task ends when the client leaves.

mod events;
mod lookup;
mod service;

use std::collections::{BTreeMap, HashSet};
use std::hash::Hash;
use std::sync::Arc;

use tactus_proto::tempopb::querier_server::QuerierServer;
use tactus_proto::tempopb::streaming_querier_server::StreamingQuerierServer;
use tactus_traceql::eval::{TagCollector, TagScope, TagValue, ValueCollector};
use tactus_work::Held;
use tonic::codec::CompressionEncoding;

use crate::frontend::Frontend;
use crate::progress::Weight;
use crate::progress::outlet::Outlet;
use crate::settings::Settings;
use crate::tags::{Observer, TagValuesAnswer, TagsAnswer};
pub(crate) use events::{EventCall, instant_json, range_json};
pub use service::Streaming;

/// Questions are short, but for their query.
const MAX_QUESTION_BYTES: usize = 1 << 20;

/// What a name or a value that was sent takes besides its text, about.
const ENTRY_BYTES: usize = 96;

/// The streaming service of this frontend, with the limits of its settings.
pub fn streaming_service(frontend: Arc<Frontend>) -> StreamingQuerierServer<Streaming> {
    let Settings { max_message_bytes, .. } = frontend.settings;
    let max_question_bytes = max_question_bytes(&frontend.settings);
    StreamingQuerierServer::new(Streaming::new(frontend))
        .max_decoding_message_size(max_question_bytes)
        .max_encoding_message_size(max_message_bytes)
        .accept_compressed(CompressionEncoding::Gzip)
        .accept_compressed(CompressionEncoding::Zstd)
}

/// The service of single traces of this frontend, with the limits of its settings.
pub fn lookup_service(frontend: Arc<Frontend>) -> QuerierServer<Streaming> {
    let Settings { max_message_bytes, .. } = frontend.settings;
    QuerierServer::new(Streaming::new(frontend))
        .max_decoding_message_size(MAX_QUESTION_BYTES)
        .max_encoding_message_size(max_message_bytes)
        .accept_compressed(CompressionEncoding::Gzip)
        .accept_compressed(CompressionEncoding::Zstd)
}

/// The largest question: it is decoded on a thread that serves connections, and a larger one could hold very many tags.
/// Every query fits in that may be asked.
fn max_question_bytes(settings: &Settings) -> usize {
    let longest = match settings.section.max_query_expression_size_bytes {
        0 => usize::MAX,
        limit => MAX_QUESTION_BYTES.max(limit.saturating_mul(2)),
    };
    settings.max_request_bytes.min(longest)
}

/// What was sent. Counts as what the query holds; if there is no memory for it, it is full and forgotten.
struct Sent<T> {
    entries: HashSet<T>,
    held: Held,
    held_bytes: usize,
    is_full: bool,
}

impl<T: Eq + Hash> Sent<T> {
    fn new() -> Self {
        let (entries, held) = Default::default();
        Self { entries, held, held_bytes: 0, is_full: false }
    }

    /// Notes an entry with so many bytes of text. False if it was sent before, or there is no memory for it.
    fn add(&mut self, entry: T, text_bytes: usize) -> bool {
        if self.is_full || !self.entries.insert(entry) {
            return false;
        }
        self.held_bytes += ENTRY_BYTES + text_bytes;
        if !self.held.grow_if_free(self.held_bytes) {
            *self = Self { is_full: true, ..Self::new() };
        }
        !self.is_full
    }
}

/// Sends names that were not sent before, as packets made by `make`. Those that were sent count as what the query holds; if there is
/// no memory for them, no more are shown before the complete answer.
fn names_shown<M: Weight + 'static>(
    mut outlet: Outlet<M>,
    make: impl Fn(TagsAnswer) -> Vec<M> + Send + 'static,
) -> Observer<TagCollector> {
    let mut sent: Sent<(TagScope, Box<str>)> = Sent::new();
    Box::new(move |collectors, metrics| {
        if sent.is_full {
            return true;
        }
        let Some(place) = outlet.place(sent.entries.is_empty()) else { return false };
        let mut new: BTreeMap<TagScope, Vec<String>> = BTreeMap::new();
        for (scope, name) in collectors.into_iter().flat_map(TagCollector::names) {
            if sent.add((scope, name.into()), name.len()) {
                new.entry(scope).or_default().push(name.to_owned());
            }
        }
        if sent.is_full {
            return true;
        }
        new.values_mut().for_each(|names| names.sort_unstable());
        let scopes = new.into_iter().collect();
        place.send(make(TagsAnswer { scopes, metrics, partial: false }));
        true
    })
}

/// Sends values that were not sent before, as packets made by `make`. Memory: as of [`names_shown`].
fn values_shown<M: Weight + 'static>(
    mut outlet: Outlet<M>,
    make: impl Fn(TagValuesAnswer) -> Vec<M> + Send + 'static,
) -> Observer<ValueCollector> {
    let mut sent: Sent<TagValue> = Sent::new();
    Box::new(move |collectors, metrics| {
        if sent.is_full {
            return true;
        }
        let Some(place) = outlet.place(sent.entries.is_empty()) else { return false };
        let all = collectors.into_iter().flat_map(ValueCollector::values);
        let new = all.filter(|value| sent.add((*value).clone(), value.text.len()));
        let mut values: Vec<TagValue> = new.cloned().collect();
        if sent.is_full {
            return true;
        }
        values.sort_unstable();
        place.send(make(TagValuesAnswer { values, metrics, partial: false }));
        true
    })
}
