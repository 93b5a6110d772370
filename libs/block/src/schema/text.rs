//! The message type as text.

use super::DEDICATED_SLOTS;

/// The vParquet4 message in the notation of Parquet's schema parser.
pub(super) fn message_type() -> String {
    format!(
        "message Trace {{
          required binary TraceID; required binary TraceIDText (STRING);
          {start} {end} {duration}
          required binary RootServiceName (STRING); required binary RootSpanName (STRING);
          required group ServiceStats (MAP) {{ repeated group key_value {{
            required binary key (STRING);
            required group value {{
              required int32 SpanCount (INTEGER(32,false));
              required int32 ErrorCount (INTEGER(32,false)); }} }} }}
          {resource_spans} }}",
        start = unsigned("StartTimeUnixNano"),
        end = unsigned("EndTimeUnixNano"),
        duration = unsigned("DurationNano"),
        resource_spans = list("rs", &format!("{} {}", resource(), list("ss", &scope_spans()))),
    )
}

fn resource() -> String {
    let columns = [
        "Cluster",
        "Namespace",
        "Pod",
        "Container",
        "K8sClusterName",
        "K8sNamespaceName",
        "K8sPodName",
        "K8sContainerName",
    ];
    let columns: String = columns.iter().map(|name| optional_string(name)).collect();
    format!(
        "required group Resource {{ {attributes} {DROPPED}
          required binary ServiceName (STRING); {columns} {dedicated} }}",
        attributes = attributes(),
        dedicated = dedicated(),
    )
}

fn scope_spans() -> String {
    format!(
        "required group Scope {{
          required binary Name (STRING); required binary Version (STRING); {} {DROPPED} }} {}",
        attributes(),
        list("Spans", &span()),
    )
}

fn span() -> String {
    format!(
        "required binary SpanID; required binary ParentSpanID;
         required int32 ParentID (INTEGER(32,true)); required int32 NestedSetLeft (INTEGER(32,true));
         required int32 NestedSetRight (INTEGER(32,true));
         required binary Name (STRING); required int64 Kind (INTEGER(64,true));
         required binary TraceState (STRING); {start} {duration}
         required int64 StatusCode (INTEGER(64,true)); required binary StatusMessage (STRING);
         {attributes} {DROPPED} {events}
         required int32 DroppedEventsCount (INTEGER(32,true)); {links}
         required int32 DroppedLinksCount (INTEGER(32,true)); {method} {url}
         optional int64 HttpStatusCode (INTEGER(64,true)); {dedicated}",
        start = unsigned("StartTimeUnixNano"),
        duration = unsigned("DurationNano"),
        attributes = attributes(),
        events = list(
            "Events",
            &format!(
                "{} required binary Name (STRING); {} {DROPPED}",
                unsigned("TimeSinceStartNano"),
                attributes()
            )
        ),
        links = list(
            "Links",
            &format!(
                "required binary TraceID; required binary SpanID;
                 required binary TraceState (STRING); {} {DROPPED}",
                attributes()
            )
        ),
        method = optional_string("HttpMethod"),
        url = optional_string("HttpUrl"),
        dedicated = dedicated(),
    )
}

const DROPPED: &str = "required int32 DroppedAttributesCount (INTEGER(32,true));";

fn unsigned(name: &str) -> String {
    format!("required int64 {name} (INTEGER(64,false));")
}

fn optional_string(name: &str) -> String {
    format!("optional binary {name} (STRING);")
}

fn list(name: &str, element: &str) -> String {
    format!(
        "required group {name} (LIST) {{ repeated group list {{
           required group element {{ {element} }} }} }}"
    )
}

fn value_list(name: &str, element: &str) -> String {
    format!("required group {name} (LIST) {{ repeated group list {{ required {element}; }} }}")
}

fn attributes() -> String {
    list(
        "Attrs",
        &format!(
            "required binary Key (STRING); required boolean IsArray; {} {} {} {} {}",
            value_list("Value", "binary element (STRING)"),
            value_list("ValueInt", "int64 element (INTEGER(64,true))"),
            value_list("ValueDouble", "double element"),
            value_list("ValueBool", "boolean element"),
            optional_string("ValueUnsupported"),
        ),
    )
}

fn dedicated() -> String {
    let columns: String =
        (1..=DEDICATED_SLOTS).map(|slot| optional_string(&format!("String{slot:02}"))).collect();
    format!("required group DedicatedAttributes {{ {columns} }}")
}
