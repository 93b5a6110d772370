//! A writer of vParquet3 files, for tests only: blocks of this version are read, never written.
//!
//! Independent of the lib: it goes by the format's text, builds every row as a tree, and lets the Parquet library
//! encode it. Slow, and of no use for large blocks. Included by path into the tests and examples that need it.
#![allow(dead_code, reason = "not every user needs all of it")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests stop where they are wrong")]

use std::sync::Arc;

use parquet::basic::{Compression, Encoding, Repetition, Type as PhysicalType};
use parquet::column::writer::ColumnWriter;
use parquet::data_type::ByteArray;
use parquet::file::properties::{WriterProperties, WriterVersion};
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;
use parquet::schema::types::{SchemaDescriptor, Type};
use tactus_model::SpanBatch;
use tactus_storage::meta::DedicatedColumn;

#[path = "vparquet3/rows.rs"]
mod rows;
#[path = "vparquet3/values.rs"]
mod values;

/// How a file is written.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// Resource and span columns for strings, in the order of the slots; ten of each scope at most.
    pub(crate) dedicated_columns: Vec<DedicatedColumn>,
    /// Values of event attributes as JSON, as older files have them.
    pub(crate) json_events: bool,
    /// Dictionaries for the columns that have one in real files.
    pub(crate) dictionaries: bool,
    /// Data pages of the second version.
    pub(crate) pages_v2: bool,
    /// Rows of a page, at most.
    pub(crate) page_rows: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            dedicated_columns: Vec::new(),
            json_events: false,
            dictionaries: true,
            pages_v2: true,
            page_rows: 20_000,
        }
    }
}

/// The bytes of a `data.parquet`: a row group a batch. The batches are sorted, and hold all columns but the nested
/// set and the summaries of traces.
pub(crate) fn write(batches: &[SpanBatch], settings: &Settings) -> Vec<u8> {
    let schema = Arc::new(parse_message_type(&message_type()).unwrap());
    let descriptor = SchemaDescriptor::new(Arc::clone(&schema));
    assert_eq!(descriptor.num_columns(), 76);
    let properties = Arc::new(properties(&descriptor, settings));
    let mut file = SerializedFileWriter::new(Vec::new(), Arc::clone(&schema), properties).unwrap();
    for batch in batches {
        let mut columns: Vec<_> =
            descriptor.columns().iter().map(|leaf| Column::new(leaf.physical_type())).collect();
        for row in rows::rows(batch, settings) {
            shred(&mut columns, &schema, 0, &row, Place { rep: 0, def: 0, depth: 0 });
        }
        let mut group = file.next_row_group().unwrap();
        for column in columns {
            let mut writer = group.next_column().unwrap().unwrap();
            column.write(writer.untyped());
            writer.close().unwrap();
        }
        group.close().unwrap();
    }
    file.into_inner().unwrap()
}

/// A value of a row.
pub(crate) enum Node {
    Bytes(Vec<u8>),
    Word(i64),
    Int(i32),
    Double(f64),
    Bool(bool),
    Null,
    /// The fields of a group in order, or the items of a repeated one.
    Many(Vec<Node>),
}

/// A three-level list.
fn list(items: Vec<Node>) -> Node {
    let elements = items.into_iter().map(|item| Node::Many(vec![item])).collect();
    Node::Many(vec![Node::Many(elements)])
}

/// Where an entry stands: its levels, and how many repeated groups enclose it.
#[derive(Clone, Copy)]
struct Place {
    rep: i16,
    def: i16,
    depth: i16,
}

/// Appends the entries of a node; `first` is the number of its first leaf column.
fn shred(columns: &mut [Column], schema: &Type, first: usize, node: &Node, place: Place) {
    let info = schema.get_basic_info();
    let repetition = if info.has_repetition() { info.repetition() } else { Repetition::REQUIRED };
    match (repetition, node) {
        (Repetition::REQUIRED, node) => shred_value(columns, schema, first, node, place),
        (Repetition::OPTIONAL, Node::Null) => push_absent(columns, schema, first, place),
        (Repetition::OPTIONAL, node) => {
            let place = Place { def: place.def + 1, ..place };
            shred_value(columns, schema, first, node, place);
        }
        (Repetition::REPEATED, Node::Many(items)) => {
            if items.is_empty() {
                push_absent(columns, schema, first, place);
            }
            let depth = place.depth + 1;
            for (number, item) in items.iter().enumerate() {
                let rep = if number == 0 { place.rep } else { depth };
                let place = Place { rep, def: place.def + 1, depth };
                shred_value(columns, schema, first, item, place);
            }
        }
        _ => panic!("{} repeats, its node does not", schema.name()),
    }
}

fn shred_value(columns: &mut [Column], schema: &Type, first: usize, node: &Node, place: Place) {
    if schema.is_primitive() {
        return columns[first].push(node, place);
    }
    let Node::Many(fields) = node else { panic!("{} is a group", schema.name()) };
    assert_eq!(fields.len(), schema.get_fields().len(), "fields of {}", schema.name());
    let mut leaf = first;
    for (schema, field) in schema.get_fields().iter().zip(fields) {
        shred(columns, schema, leaf, field, place);
        leaf += leaves(schema);
    }
}

fn push_absent(columns: &mut [Column], schema: &Type, first: usize, place: Place) {
    for column in &mut columns[first..first + leaves(schema)] {
        column.rep.push(place.rep);
        column.def.push(place.def);
    }
}

fn leaves(schema: &Type) -> usize {
    match schema.is_primitive() {
        true => 1,
        false => schema.get_fields().iter().map(|field| leaves(field)).sum(),
    }
}

/// The values and levels of a leaf column.
struct Column {
    values: ColumnValues,
    def: Vec<i16>,
    rep: Vec<i16>,
}

enum ColumnValues {
    Bytes(Vec<ByteArray>),
    Words(Vec<i64>),
    Ints(Vec<i32>),
    Doubles(Vec<f64>),
    Bools(Vec<bool>),
}

impl Column {
    fn new(physical: PhysicalType) -> Self {
        let values = match physical {
            PhysicalType::BYTE_ARRAY => ColumnValues::Bytes(Vec::new()),
            PhysicalType::INT64 => ColumnValues::Words(Vec::new()),
            PhysicalType::INT32 => ColumnValues::Ints(Vec::new()),
            PhysicalType::DOUBLE => ColumnValues::Doubles(Vec::new()),
            _ => ColumnValues::Bools(Vec::new()),
        };
        Self { values, def: Vec::new(), rep: Vec::new() }
    }

    fn push(&mut self, node: &Node, place: Place) {
        self.rep.push(place.rep);
        self.def.push(place.def);
        match (&mut self.values, node) {
            (ColumnValues::Bytes(values), Node::Bytes(value)) => values.push(value.clone().into()),
            (ColumnValues::Words(values), Node::Word(value)) => values.push(*value),
            (ColumnValues::Ints(values), Node::Int(value)) => values.push(*value),
            (ColumnValues::Doubles(values), Node::Double(value)) => values.push(*value),
            (ColumnValues::Bools(values), Node::Bool(value)) => values.push(*value),
            _ => panic!("a value of another type than its column"),
        }
    }

    fn write(&self, writer: &mut ColumnWriter<'_>) {
        let (def, rep) = (Some(&self.def[..]), Some(&self.rep[..]));
        match (writer, &self.values) {
            (ColumnWriter::ByteArrayColumnWriter(writer), ColumnValues::Bytes(values)) => {
                writer.write_batch(values, def, rep).unwrap()
            }
            (ColumnWriter::Int64ColumnWriter(writer), ColumnValues::Words(values)) => {
                writer.write_batch(values, def, rep).unwrap()
            }
            (ColumnWriter::Int32ColumnWriter(writer), ColumnValues::Ints(values)) => {
                writer.write_batch(values, def, rep).unwrap()
            }
            (ColumnWriter::DoubleColumnWriter(writer), ColumnValues::Doubles(values)) => {
                writer.write_batch(values, def, rep).unwrap()
            }
            (ColumnWriter::BoolColumnWriter(writer), ColumnValues::Bools(values)) => {
                writer.write_batch(values, def, rep).unwrap()
            }
            _ => panic!("a column of another type than its schema"),
        };
    }
}

/// Columns without compression.
const UNCOMPRESSED: [&str; 14] = [
    "TraceID",
    "StartTimeUnixNano",
    "EndTimeUnixNano",
    "DurationNano",
    "RootServiceName",
    "RootSpanName",
    "SpanID",
    "ParentSpanID",
    "ParentID",
    "NestedSetLeft",
    "NestedSetRight",
    "Kind",
    "StatusCode",
    "TimeUnixNano",
];

fn properties(descriptor: &SchemaDescriptor, settings: &Settings) -> WriterProperties {
    let version = match settings.pages_v2 {
        true => WriterVersion::PARQUET_2_0,
        false => WriterVersion::PARQUET_1_0,
    };
    let mut properties = WriterProperties::builder()
        .set_writer_version(version)
        .set_dictionary_enabled(false)
        .set_dictionary_page_size_limit(1 << 30)
        .set_data_page_row_count_limit(settings.page_rows)
        .set_write_batch_size(settings.page_rows.min(1024))
        .set_compression(Compression::SNAPPY);
    for leaf in descriptor.columns() {
        let path = leaf.path().clone();
        let text = path.string();
        let name = text.rsplit('.').next().unwrap_or_default();
        if UNCOMPRESSED.contains(&name) {
            properties = properties.set_column_compression(path.clone(), Compression::UNCOMPRESSED);
        }
        let is_event = text.contains(".Events.");
        let is_long = ["TraceID", "TraceIDText", "SpanID", "ParentSpanID", "TraceState"]
            .contains(&name)
            || ["StatusMessage", "ValueKVList", "ValueArray", "Links"].contains(&name)
            || is_event && name != "Key";
        let encoding = match leaf.physical_type() {
            PhysicalType::BYTE_ARRAY if is_long => Encoding::DELTA_LENGTH_BYTE_ARRAY,
            PhysicalType::BYTE_ARRAY if settings.dictionaries => {
                properties = properties.set_column_dictionary_enabled(path, true);
                continue;
            }
            PhysicalType::INT32 | PhysicalType::INT64
                if !name.starts_with("Dropped") && !name.starts_with("Value") =>
            {
                Encoding::DELTA_BINARY_PACKED
            }
            _ => Encoding::PLAIN,
        };
        properties = properties.set_column_encoding(path, encoding);
    }
    properties.build()
}

/// The 76 leaf columns.
fn message_type() -> String {
    let string = |name: &str| format!("required binary {name} (STRING);");
    let optional = |name: &str| format!("optional binary {name} (STRING);");
    let unsigned = |name: &str| format!("required int64 {name} (INTEGER(64,false));");
    let signed = |name: &str| format!("required int64 {name} (INTEGER(64,true));");
    let int = |name: &str| format!("required int32 {name} (INTEGER(32,true));");
    let list = |name: &str, element: &str| {
        format!(
            "required group {name} (LIST) {{ repeated group list {{
               required group element {{ {element} }} }} }}"
        )
    };
    let attributes = list(
        "Attrs",
        &[
            string("Key"),
            optional("Value"),
            "optional int64 ValueInt (INTEGER(64,true)); optional double ValueDouble;".to_owned(),
            "optional boolean ValueBool;".to_owned(),
            optional("ValueKVList"),
            optional("ValueArray"),
        ]
        .concat(),
    );
    let slots: String = (1..=10).map(|slot| optional(&format!("String{slot:02}"))).collect();
    let dedicated = format!("required group DedicatedAttributes {{ {slots} }}");
    let statics: String = rows::STATIC_RESOURCE.iter().map(|(_, name)| optional(name)).collect();
    let resource = [
        "required group Resource {",
        &attributes,
        &string("ServiceName"),
        &statics,
        &dedicated,
        "}",
    ]
    .concat();
    let event = [
        unsigned("TimeUnixNano"),
        string("Name"),
        list("Attrs", &(string("Key") + "required binary Value;")),
        int("DroppedAttributesCount"),
    ]
    .concat();
    let span = [
        "required binary SpanID; required binary ParentSpanID;".to_owned(),
        int("ParentID"),
        int("NestedSetLeft"),
        int("NestedSetRight"),
        string("Name"),
        signed("Kind"),
        string("TraceState"),
        unsigned("StartTimeUnixNano"),
        unsigned("DurationNano"),
        signed("StatusCode"),
        string("StatusMessage"),
        attributes,
        int("DroppedAttributesCount"),
        list("Events", &event),
        int("DroppedEventsCount"),
        "required binary Links;".to_owned(),
        int("DroppedLinksCount"),
        optional("HttpMethod"),
        optional("HttpUrl"),
        "optional int64 HttpStatusCode (INTEGER(64,true));".to_owned(),
        dedicated,
    ]
    .concat();
    let scope = ["required group Scope {", &string("Name"), &string("Version"), "}"].concat();
    let scope_spans = list("ss", &(scope + &list("Spans", &span)));
    [
        "message Trace { required binary TraceID;",
        &string("TraceIDText"),
        &unsigned("StartTimeUnixNano"),
        &unsigned("EndTimeUnixNano"),
        &unsigned("DurationNano"),
        &string("RootServiceName"),
        &string("RootSpanName"),
        &list("rs", &(resource + &scope_spans)),
        "}",
    ]
    .concat()
}
