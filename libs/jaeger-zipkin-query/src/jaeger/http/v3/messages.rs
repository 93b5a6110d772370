//! Messages of the third version.

use serde_json::{Value, json};

use crate::jaeger::{Dependency, Operation, kind_name};

pub(super) fn operation(Operation { name, kind }: Operation) -> Value {
    json!({ "name": name, "spanKind": kind_name(kind) })
}

pub(super) fn dependency(Dependency { parent, child, call_count }: Dependency) -> Value {
    json!({ "parent": parent, "child": child, "callCount": call_count.to_string() })
}
