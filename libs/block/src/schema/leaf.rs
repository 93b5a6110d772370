//! The numbers of the leaf columns of a vParquet4 file, in file order.
#![allow(missing_docs, reason = "each constant is the path of its column")]

use super::AttributeLeaves;

pub const TRACE_ID: usize = 0;
pub const TRACE_ID_TEXT: usize = 1;
pub const TRACE_START: usize = 2;
pub const TRACE_END: usize = 3;
pub const TRACE_DURATION: usize = 4;
pub const ROOT_SERVICE_NAME: usize = 5;
pub const ROOT_SPAN_NAME: usize = 6;
pub const SERVICE_STATS_KEY: usize = 7;
pub const SERVICE_STATS_SPAN_COUNT: usize = 8;
pub const SERVICE_STATS_ERROR_COUNT: usize = 9;

pub const RESOURCE_ATTRIBUTES: AttributeLeaves = AttributeLeaves::at(10);
pub const RESOURCE_DROPPED_ATTRIBUTES: usize = 17;
pub const RESOURCE_SERVICE_NAME: usize = 18;
pub const RESOURCE_CLUSTER: usize = 19;
pub const RESOURCE_NAMESPACE: usize = 20;
pub const RESOURCE_POD: usize = 21;
pub const RESOURCE_CONTAINER: usize = 22;
pub const RESOURCE_K8S_CLUSTER_NAME: usize = 23;
pub const RESOURCE_K8S_NAMESPACE_NAME: usize = 24;
pub const RESOURCE_K8S_POD_NAME: usize = 25;
pub const RESOURCE_K8S_CONTAINER_NAME: usize = 26;
/// `String01` of ten.
pub const RESOURCE_DEDICATED: usize = 27;

pub const SCOPE_NAME: usize = 37;
pub const SCOPE_VERSION: usize = 38;
pub const SCOPE_ATTRIBUTES: AttributeLeaves = AttributeLeaves::at(39);
pub const SCOPE_DROPPED_ATTRIBUTES: usize = 46;

pub const SPAN_ID: usize = 47;
pub const PARENT_SPAN_ID: usize = 48;
pub const SPAN_NESTED_PARENT: usize = 49;
pub const SPAN_NESTED_LEFT: usize = 50;
pub const SPAN_NESTED_RIGHT: usize = 51;
pub const SPAN_NAME: usize = 52;
pub const SPAN_KIND: usize = 53;
pub const SPAN_TRACE_STATE: usize = 54;
pub const SPAN_START: usize = 55;
pub const SPAN_DURATION: usize = 56;
pub const SPAN_STATUS_CODE: usize = 57;
pub const SPAN_STATUS_MESSAGE: usize = 58;
pub const SPAN_ATTRIBUTES: AttributeLeaves = AttributeLeaves::at(59);
pub const SPAN_DROPPED_ATTRIBUTES: usize = 66;
pub const EVENT_TIME_SINCE_START: usize = 67;
pub const EVENT_NAME: usize = 68;
pub const EVENT_ATTRIBUTES: AttributeLeaves = AttributeLeaves::at(69);
pub const EVENT_DROPPED_ATTRIBUTES: usize = 76;
pub const SPAN_DROPPED_EVENTS: usize = 77;
pub const LINK_TRACE_ID: usize = 78;
pub const LINK_SPAN_ID: usize = 79;
pub const LINK_TRACE_STATE: usize = 80;
pub const LINK_ATTRIBUTES: AttributeLeaves = AttributeLeaves::at(81);
pub const LINK_DROPPED_ATTRIBUTES: usize = 88;
pub const SPAN_DROPPED_LINKS: usize = 89;
pub const SPAN_HTTP_METHOD: usize = 90;
pub const SPAN_HTTP_URL: usize = 91;
pub const SPAN_HTTP_STATUS_CODE: usize = 92;
/// `String01` of ten.
pub const SPAN_DEDICATED: usize = 93;

/// The attribute lists of resource, scope, span, event and link.
pub const ATTRIBUTE_LISTS: [AttributeLeaves; 5] =
    [RESOURCE_ATTRIBUTES, SCOPE_ATTRIBUTES, SPAN_ATTRIBUTES, EVENT_ATTRIBUTES, LINK_ATTRIBUTES];
