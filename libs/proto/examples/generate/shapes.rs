//! Tells of the messages between services what their fields take once they are decoded.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use prost_types::field_descriptor_proto::{Label, Type};
use prost_types::{DescriptorProto, FieldDescriptorProto, FileDescriptorSet};

/// The package of the services.
const PACKAGE: &str = "tactus.v1";

/// What a request may take for each of its bytes: about what requests between services take at most.
const REQUEST_TIMES: u64 = 4;
/// As much for everything else: a series of one interval takes twelve times its bytes.
const ANSWER_TIMES: u64 = 16;
/// Requests that come as answers of a call, and answers within requests.
const JOBS: &str = ".tactus.v1.FrontendMessage";
const ANSWER: &str = ".tactus.v1.JobAnswer";
/// What answers hold encoded, and services decode later.
const TRACES: &str = ".opentelemetry.proto.trace.v1.TracesData";

/// What a list, a text and a slice take besides what is in them; a node of a map besides its entry.
const LIST_BYTES: u64 = 24;
const SLICE_BYTES: u64 = 32;
const NODE_BYTES: u64 = 32;

/// Messages by their full names, which begin with a dot.
type Messages<'a> = BTreeMap<String, &'a DescriptorProto>;

/// The code.
pub(crate) fn code(descriptors: &FileDescriptorSet) -> String {
    let mut messages = Messages::new();
    for file in &descriptors.file {
        add(&format!(".{}", file.package()), &file.message_type, &mut messages);
    }
    let of_package = descriptors.file.iter().filter(|file| file.package() == PACKAGE);
    let methods = of_package.flat_map(|file| &file.service).flat_map(|service| &service.method);
    let mut roots = BTreeMap::new();
    for method in methods {
        roots.insert(method.output_type().to_owned(), ANSWER_TIMES);
        roots.insert(method.input_type().to_owned(), REQUEST_TIMES);
    }
    roots.insert(JOBS.to_owned(), REQUEST_TIMES);
    roots.insert(ANSWER.to_owned(), ANSWER_TIMES);
    roots.insert(TRACES.to_owned(), ANSWER_TIMES);
    let mut reached = BTreeSet::new();
    roots.keys().for_each(|name| reach(name, &messages, &mut reached));
    let mut out =
        String::from("// This file is @generated from the descriptors of the messages.\n");
    for name in &reached {
        write_shape(name, &messages, &mut out);
    }
    for (name, times) in &roots {
        write_root(name, *times, &mut out);
    }
    out
}

fn add<'a>(prefix: &str, of: &'a [DescriptorProto], messages: &mut Messages<'a>) {
    for message in of {
        let name = format!("{prefix}.{}", message.name());
        add(&name, &message.nested_type, messages);
        messages.insert(name, message);
    }
}

fn reach(name: &str, messages: &Messages<'_>, reached: &mut BTreeSet<String>) {
    let Some(message) = messages.get(name).filter(|_| reached.insert(name.to_owned())) else {
        return;
    };
    let inner = message.field.iter().filter(|field| field.r#type() == Type::Message);
    inner.for_each(|field| reach(field.type_name(), messages, reached));
}

fn write_shape(name: &str, messages: &Messages<'_>, out: &mut String) {
    let Some(message) = messages.get(name) else { return };
    let _ = writeln!(out, "static {}: Shape = Shape(&[", constant(name));
    for field in &message.field {
        let is_list = field.label() == Label::Repeated;
        let kind = match field.r#type() {
            Type::Message => format!("Message(&{})", constant(field.type_name())),
            _ if !is_list => continue,
            Type::String => "Text".to_owned(),
            Type::Bytes => "Slice".to_owned(),
            Type::Double | Type::Fixed64 | Type::Sfixed64 => "Fixed".to_owned(),
            Type::Float | Type::Fixed32 | Type::Sfixed32 => "Fixed".to_owned(),
            _ => "Varint".to_owned(),
        };
        let element = match is_list {
            true => element_bytes(field, messages),
            false => 0,
        };
        let number = field.number();
        let _ = writeln!(
            out,
            "    Field {{ number: {number}, bytes: {element}, kind: Kind::{kind} }},"
        );
    }
    out.push_str("]);\n");
}

fn write_root(name: &str, times: u64, out: &mut String) {
    let path = name.replace('.', "::");
    let shape = constant(name);
    let _ = write!(
        out,
        "impl Shaped for crate{path} {{\n    const MOST_TIMES: u64 = {times};\n\n    fn decoded_bytes(message: &[u8]) -> u64 {{\n        \
         {shape}.decoded_bytes(message)\n    }}\n}}\n"
    );
}

fn constant(name: &str) -> String {
    name.trim_start_matches('.').replace('.', "_").to_uppercase()
}

/// What an element of a list takes, or the value of a field that is none.
fn element_bytes(field: &FieldDescriptorProto, messages: &Messages<'_>) -> u64 {
    match field.r#type() {
        Type::Message => {
            let Some(message) = messages.get(field.type_name()) else { return 0 };
            let is_entry = message.options.as_ref().is_some_and(|options| options.map_entry());
            let node = if is_entry { NODE_BYTES } else { 0 };
            node + struct_bytes(field.type_name(), messages, &mut Vec::new())
        }
        Type::String => LIST_BYTES,
        Type::Bytes => SLICE_BYTES,
        Type::Double | Type::Int64 | Type::Uint64 | Type::Sint64 => 8,
        Type::Fixed64 | Type::Sfixed64 => 8,
        _ => 4,
    }
}

/// About the size of the struct of a message.
fn struct_bytes<'a>(name: &'a str, messages: &Messages<'a>, within: &mut Vec<String>) -> u64 {
    let Some(message) = messages.get(name) else { return 0 };
    if within.iter().any(|outer| outer == name) {
        // In a box.
        return 8;
    }
    within.push(name.to_owned());
    let (mut sum, mut choices) = (0, BTreeMap::<i32, u64>::new());
    for field in &message.field {
        let bytes = match (field.label(), field.r#type()) {
            (Label::Repeated, _) => LIST_BYTES,
            (_, Type::Message) => 8 + struct_bytes(field.type_name(), messages, within),
            _ => element_bytes(field, messages),
        };
        match field.oneof_index {
            Some(choice) if !field.proto3_optional() => {
                let most = choices.entry(choice).or_default();
                *most = bytes.max(*most);
            }
            _ => sum += bytes,
        }
    }
    within.pop();
    sum + choices.values().map(|most| most + 8).sum::<u64>()
}
