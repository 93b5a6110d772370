//! The message types as text.

use tactus_storage::meta::BlockVersion;

use super::Slots;

/// The message type of a version in the notation of Parquet's schema parser, with these dedicated columns.
pub(super) fn message_type(
    version: BlockVersion,
    resource_slots: Slots,
    span_slots: Slots,
    event_slots: Slots,
) -> String {
    let notation = Notation { is_v5: version == BlockVersion::VParquet5 };
    let scope_spans = notation.scope_spans(span_slots, event_slots);
    let resource_spans =
        format!("{} {}", notation.resource(resource_slots), notation.list("ss", &scope_spans));
    format!(
        "message Trace {{
          required binary TraceID; required binary TraceIDText (STRING);
          {start} {end} {duration}
          required binary RootServiceName (STRING); required binary RootSpanName (STRING);
          {statistics} {resource_spans} }}",
        start = unsigned("StartTimeUnixNano"),
        end = unsigned("EndTimeUnixNano"),
        duration = unsigned("DurationNano"),
        statistics = notation.service_statistics(),
        resource_spans = notation.list("rs", &resource_spans),
    )
}

const DROPPED: &str = "required int32 DroppedAttributesCount (INTEGER(32,true));";

fn unsigned(name: &str) -> String {
    format!("required int64 {name} (INTEGER(64,false));")
}

fn optional_string(name: &str) -> String {
    format!("optional binary {name} (STRING);")
}

/// vParquet4 has lists of three levels and a map; vParquet5 has plain repeated fields.
struct Notation {
    is_v5: bool,
}

impl Notation {
    fn list(&self, name: &str, element: &str) -> String {
        match self.is_v5 {
            true => format!("repeated group {name} {{ {element} }}"),
            false => format!(
                "required group {name} (LIST) {{ repeated group list {{
                   required group element {{ {element} }} }} }}"
            ),
        }
    }

    fn value_list(&self, name: &str, physical: &str, logical: &str) -> String {
        match self.is_v5 {
            true => format!("repeated {physical} {name} {logical};"),
            false => format!(
                "required group {name} (LIST) {{
                   repeated group list {{ required {physical} element {logical}; }} }}"
            ),
        }
    }

    fn service_statistics(&self) -> String {
        let counts = "required int32 SpanCount (INTEGER(32,false));
                      required int32 ErrorCount (INTEGER(32,false));";
        match self.is_v5 {
            true => format!(
                "repeated group ServiceStats {{ required binary ServiceName (STRING); {counts} }}"
            ),
            false => format!(
                "required group ServiceStats (MAP) {{ repeated group key_value {{
                   required binary key (STRING); required group value {{ {counts} }} }} }}"
            ),
        }
    }

    fn resource(&self, slots: Slots) -> String {
        let service = "required binary ServiceName (STRING);";
        let (attributes, dedicated) = (self.attributes(), self.dedicated(slots));
        if self.is_v5 {
            return format!(
                "required group Resource {{ {service} {attributes} {DROPPED} {dedicated} }}"
            );
        }
        let statics: String =
            super::RESOURCE_STATICS.iter().map(|(_, column)| optional_string(column)).collect();
        format!(
            "required group Resource {{ {attributes} {DROPPED} {service} {statics} {dedicated} }}"
        )
    }

    fn scope_spans(&self, span_slots: Slots, event_slots: Slots) -> String {
        let span_count =
            if self.is_v5 { "required int32 SpanCount (INTEGER(32,true));" } else { "" };
        format!(
            "required group Scope {{
              required binary Name (STRING); required binary Version (STRING); {} {DROPPED} }}
             {} {span_count}",
            self.attributes(),
            self.list("Spans", &self.span(span_slots, event_slots)),
        )
    }

    fn span(&self, slots: Slots, event_slots: Slots) -> String {
        let (mut child_count, mut rounded) = ("", String::new());
        let mut statics = String::new();
        if self.is_v5 {
            child_count = "required int32 ChildCount (INTEGER(32,true));";
            rounded = super::leaf::ROUNDED_SECONDS
                .map(|n| format!("required int32 StartTimeRounded{n} (INTEGER(32,false));"))
                .concat();
        } else {
            statics = optional_string("HttpMethod")
                + &optional_string("HttpUrl")
                + "optional int64 HttpStatusCode (INTEGER(64,true));";
        }
        format!(
            "required binary SpanID; required binary ParentSpanID;
             required int32 ParentID (INTEGER(32,true)); required int32 NestedSetLeft (INTEGER(32,true));
             required int32 NestedSetRight (INTEGER(32,true)); {child_count}
             required binary Name (STRING); required int64 Kind (INTEGER(64,true));
             required binary TraceState (STRING); {start} {duration}
             required int64 StatusCode (INTEGER(64,true)); required binary StatusMessage (STRING);
             {attributes} {DROPPED} {events}
             required int32 DroppedEventsCount (INTEGER(32,true)); {links}
             required int32 DroppedLinksCount (INTEGER(32,true)); {statics} {dedicated} {rounded}",
            start = unsigned("StartTimeUnixNano"),
            duration = unsigned("DurationNano"),
            attributes = self.attributes(),
            events = self.events(event_slots),
            links = self.links(),
            dedicated = self.dedicated(slots),
        )
    }

    fn events(&self, slots: Slots) -> String {
        let event = format!(
            "{} required binary Name (STRING); {} {DROPPED} {}",
            unsigned("TimeSinceStartNano"),
            self.attributes(),
            self.dedicated(slots),
        );
        self.list("Events", &event)
    }

    fn links(&self) -> String {
        let link = format!(
            "required binary TraceID; required binary SpanID;
             required binary TraceState (STRING); {} {DROPPED}",
            self.attributes()
        );
        self.list("Links", &link)
    }

    fn attributes(&self) -> String {
        let attribute = format!(
            "required binary Key (STRING); required boolean IsArray; {} {} {} {} {}",
            self.value_list("Value", "binary", "(STRING)"),
            self.value_list("ValueInt", "int64", "(INTEGER(64,true))"),
            self.value_list("ValueDouble", "double", ""),
            self.value_list("ValueBool", "boolean", ""),
            optional_string("ValueUnsupported"),
        );
        self.list("Attrs", &attribute)
    }

    fn dedicated(&self, slots: Slots) -> String {
        if slots == Slots::default() {
            return String::new();
        }
        let repetition = if self.is_v5 { "repeated" } else { "optional" };
        let strings: String = (1..=slots.strings)
            .map(|slot| format!("{repetition} binary String{slot:02} (STRING);"))
            .collect();
        let ints: String = (1..=slots.ints)
            .map(|slot| format!("{repetition} int64 Int{slot:02} (INTEGER(64,true));"))
            .collect();
        format!("required group DedicatedAttributes {{ {strings} {ints} }}")
    }
}
