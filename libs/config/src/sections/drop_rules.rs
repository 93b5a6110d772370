//! `distributor.drop_rules` and `overrides.*.drop_rules`: what is taken out of requests on their way in.

use super::text;
use crate::field::section;

section! {
    /// A rule on single spans.
    DropRule {
        name: String, "name, in metrics";
        query: String = text("{ }"), "the spans, as one TraceQL filter that asks nothing of other spans";
        action: String = text("drop"), "drop, remove_attributes or hash_attributes";
        attributes: Vec<String>, "attributes to remove or hash: span.x, resource.x, event.x, link.x, or .x of span and resource";
    }
}
