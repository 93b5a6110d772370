//! The descriptors that the reflection service of Jaeger's query port answers with.

use std::collections::BTreeMap;

use prost::Message as _;
use prost_types::field_descriptor_proto::Type;
use prost_types::{DescriptorProto, FileDescriptorProto, FileDescriptorSet};

/// Files with the services of that port. What they import is part of the answer.
const SERVICES: &[&str] = &[
    "jaeger/api_v2/query.proto",
    "jaeger/api_v3/query_service.proto",
    "grpc/health/v1/health.proto",
];

/// The only fields of OTLP that are bytes for a client: the others are declared so here (see `lib.rs`), but are text.
const BYTES_OF_OTLP: &[&str] = &["trace_id", "span_id", "parent_span_id", "bytes_value"];

/// A `FileDescriptorSet` of these services and of all that they import, without comments.
pub(super) fn descriptors(all: &FileDescriptorSet) -> Vec<u8> {
    let by_name: BTreeMap<&str, &FileDescriptorProto> =
        all.file.iter().map(|file| (file.name(), file)).collect();
    let mut wanted: Vec<&str> = SERVICES.to_vec();
    let mut kept = BTreeMap::new();
    while let Some(name) = wanted.pop() {
        let Some(file) = by_name.get(name).filter(|_| !kept.contains_key(name)) else { continue };
        wanted.extend(file.dependency.iter().map(String::as_str));
        kept.insert(name, as_clients_see_it(file));
    }
    FileDescriptorSet { file: kept.into_values().collect() }.encode_to_vec()
}

fn as_clients_see_it(file: &FileDescriptorProto) -> FileDescriptorProto {
    let mut file = FileDescriptorProto { source_code_info: None, ..file.clone() };
    if file.package().starts_with("opentelemetry.") {
        file.message_type.iter_mut().for_each(show_text);
    }
    file
}

fn show_text(message: &mut DescriptorProto) {
    message.nested_type.iter_mut().for_each(show_text);
    for field in &mut message.field {
        if field.r#type() == Type::Bytes && !BYTES_OF_OTLP.contains(&field.name()) {
            field.set_type(Type::String);
        }
    }
}
