//! Differences of queries for tags and values.

use std::collections::{BTreeMap, HashSet};

use tactus_traceql::eval::{TagCollector, TagScope, TagValue, ValueCollector};

use crate::progress::Weight;
use crate::progress::outlet::Outlet;
use crate::tags::{Observer, TagValuesAnswer, TagsAnswer};

/// Sends names that were not sent before, as packets made by `make`.
pub(super) fn tags<M: Weight + 'static>(
    mut outlet: Outlet<M>,
    make: impl Fn(TagsAnswer) -> Vec<M> + Send + 'static,
) -> Observer<TagCollector> {
    let mut sent: HashSet<(TagScope, Box<str>)> = HashSet::new();
    Box::new(move |collectors, metrics| {
        let Some(place) = outlet.place(sent.is_empty()) else { return false };
        let mut new: BTreeMap<TagScope, Vec<String>> = BTreeMap::new();
        for (scope, name) in collectors.into_iter().flat_map(TagCollector::names) {
            if sent.insert((scope, name.into())) {
                new.entry(scope).or_default().push(name.to_owned());
            }
        }
        new.values_mut().for_each(|names| names.sort_unstable());
        let scopes = new.into_iter().collect();
        place.send(make(TagsAnswer { scopes, metrics, partial: false }));
        true
    })
}

/// Sends values that were not sent before, as packets made by `make`.
pub(super) fn values<M: Weight + 'static>(
    mut outlet: Outlet<M>,
    make: impl Fn(TagValuesAnswer) -> Vec<M> + Send + 'static,
) -> Observer<ValueCollector> {
    let mut sent: HashSet<TagValue> = HashSet::new();
    Box::new(move |collectors, metrics| {
        let Some(place) = outlet.place(sent.is_empty()) else { return false };
        let all = collectors.into_iter().flat_map(ValueCollector::values);
        let mut values: Vec<TagValue> =
            all.filter(|value| sent.insert((*value).clone())).cloned().collect();
        values.sort_unstable();
        place.send(make(TagValuesAnswer { values, metrics, partial: false }));
        true
    })
}
