//! The messages that clients get for tag names and values, the same over HTTP and in streams.

use tactus_proto::tempopb::{
    SearchTagValuesResponse, SearchTagValuesV2Response, SearchTagsResponse, SearchTagsV2Response,
    SearchTagsV2Scope, TagValue,
};
use tactus_traceql::eval::{self, TagScope};

use crate::tags::{TagValuesAnswer, TagsAnswer};

impl TagsAnswer {
    /// The message of API version 1: the names of all scopes. Intrinsics are included only if `scope` asks for them.
    pub(crate) fn into_v1(self, scope: Option<TagScope>) -> SearchTagsResponse {
        let asked = scope == Some(TagScope::Intrinsic);
        let is_shown = |scope: TagScope| asked || scope != TagScope::Intrinsic;
        let scopes = self.scopes.into_iter().filter(|(scope, _)| is_shown(*scope));
        let mut tag_names: Vec<String> = scopes.flat_map(|(_, tags)| tags).collect();
        tag_names.sort_unstable();
        tag_names.dedup();
        SearchTagsResponse { tag_names, metrics: Some(self.metrics) }
    }

    /// The message of API version 2: names grouped by scope.
    pub(crate) fn into_v2(self) -> SearchTagsV2Response {
        let scope = |(scope, tags): (TagScope, _)| SearchTagsV2Scope {
            name: scope.text().to_owned(),
            tags,
        };
        SearchTagsV2Response {
            scopes: self.scopes.into_iter().map(scope).collect(),
            metrics: Some(self.metrics),
        }
    }
}

impl TagValuesAnswer {
    /// The message of API version 1: values as text.
    pub(crate) fn into_v1(self) -> SearchTagValuesResponse {
        let tag_values = self.values.into_iter().map(|value| value.text).collect();
        SearchTagValuesResponse { tag_values, metrics: Some(self.metrics) }
    }

    /// The message of API version 2: values with their types.
    pub(crate) fn into_v2(self) -> SearchTagValuesV2Response {
        let value = |value: eval::TagValue| TagValue {
            r#type: value.value_type.text().to_owned(),
            value: value.text,
        };
        let tag_values = self.values.into_iter().map(value).collect();
        SearchTagValuesV2Response { tag_values, metrics: Some(self.metrics) }
    }
}
