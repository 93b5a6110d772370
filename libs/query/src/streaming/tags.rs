//! Differences of queries for tags and values.

use std::collections::{BTreeMap, HashSet};

use prost::Message;
use tactus_traceql::eval::{TagCollector, TagScope, TagValue, ValueCollector};

use super::outlet::Outlet;
use crate::tags::{Observer, TagValuesAnswer, TagsAnswer};

/// Sends names that were not sent before, as packets made by `make`.
pub(super) fn tags<M: Message + 'static>(
    mut outlet: Outlet<M>,
    make: impl Fn(TagsAnswer) -> Vec<M> + Send + 'static,
) -> Observer<TagCollector> {
    let mut sent: HashSet<(TagScope, Box<str>)> = HashSet::new();
    Box::new(move |collector, metrics| {
        let Some(place) = outlet.place(false) else { return };
        let mut new: BTreeMap<TagScope, Vec<String>> = BTreeMap::new();
        for (scope, name) in collector.names() {
            if sent.insert((scope, name.into())) {
                new.entry(scope).or_default().push(name.to_owned());
            }
        }
        new.values_mut().for_each(|names| names.sort_unstable());
        let scopes = new.into_iter().collect();
        place.send(make(TagsAnswer { scopes, metrics, partial: false }));
    })
}

/// Sends values that were not sent before, as packets made by `make`.
pub(super) fn values<M: Message + 'static>(
    mut outlet: Outlet<M>,
    make: impl Fn(TagValuesAnswer) -> Vec<M> + Send + 'static,
) -> Observer<ValueCollector> {
    let mut sent: HashSet<TagValue> = HashSet::new();
    Box::new(move |collector, metrics| {
        let Some(place) = outlet.place(false) else { return };
        let new = collector.values().filter(|value| sent.insert((*value).clone()));
        let mut values: Vec<TagValue> = new.cloned().collect();
        values.sort_unstable();
        place.send(make(TagValuesAnswer { values, metrics, partial: false }));
    })
}
