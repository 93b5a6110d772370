//! The tools: their names, and what models are told of them.

use serde_json::{Value, json};

use super::documents::Document;

tactus_model::words! {
    /// What a model can call.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub(super) enum Tool: name {
        Search = "traceql-search",
        MetricsInstant = "traceql-metrics-instant",
        MetricsRange = "traceql-metrics-range",
        Trace = "get-trace",
        AttributeNames = "get-attribute-names",
        AttributeValues = "get-attribute-values",
        Documentation = "docs-traceql",
    }
}

/// The scopes that attribute names are listed of.
pub(super) const SCOPES: &[&str] =
    &["span", "resource", "event", "link", "instrumentation", "intrinsic"];

const START: &str =
    "Start of the time range, RFC 3339, e.g. 2026-01-31T12:00:00Z. Default: one hour before end.";
const END: &str = "End of the time range, RFC 3339. Default: now.";

impl Tool {
    /// The media that its text is in.
    pub(super) fn encoding(self) -> &'static str {
        match self {
            Self::Documentation => "markdown",
            _ => "json",
        }
    }

    /// What its text is.
    pub(super) fn result_type(self) -> &'static str {
        match self {
            Self::Search => "search-results",
            Self::MetricsInstant => "metrics-instant",
            Self::MetricsRange => "metrics-range",
            Self::Trace => "trace",
            Self::AttributeNames => "attribute-names",
            Self::AttributeValues => "attribute-values",
            Self::Documentation => "documentation",
        }
    }

    fn title(self) -> &'static str {
        match self {
            Self::Search => "Search for traces",
            Self::MetricsInstant => "TraceQL metrics: one value per series",
            Self::MetricsRange => "TraceQL metrics: series over time",
            Self::Trace => "Get a trace",
            Self::AttributeNames => "List attribute names",
            Self::AttributeValues => "List values of an attribute",
            Self::Documentation => "TraceQL documentation",
        }
    }

    fn description(self) -> &'static str {
        match self {
            Self::Search => {
                "Finds traces by a TraceQL query and returns the newest matches: of each trace its id, root and duration, and \
                 some of the spans that match. Read a whole trace with get-trace. For counts, rates and percentiles use the \
                 metrics tools."
            }
            Self::MetricsInstant => {
                "Computes one number per series over the whole time range with a TraceQL metrics query, such as \
                 { status = error } | count_over_time() by (resource.service.name). Prefer it to traceql-metrics-range unless \
                 the course over time matters."
            }
            Self::MetricsRange => {
                "Computes series over time with a TraceQL metrics query, such as \
                 { status = error } | rate() by (resource.service.name). Its answer is much longer than that of \
                 traceql-metrics-instant."
            }
            Self::Trace => "Returns all spans of a trace. The trace may be long.",
            Self::AttributeNames => {
                "Lists the names of attributes that spans of the last hour have, by scope. Use it before writing a query with \
                 attributes that you do not know to exist."
            }
            Self::AttributeValues => {
                "Lists the values that an attribute has in spans of the last hour, by type. Use it to find the exact spelling \
                 of services, span names and other values."
            }
            Self::Documentation => {
                "Explains TraceQL. Read basic before you write your first query, and metrics before your first metrics query."
            }
        }
    }

    /// Its arguments: name, whether it is required, and its schema.
    fn arguments(self) -> Vec<(&'static str, bool, Value)> {
        let text = |description: &str| json!({ "type": "string", "description": description });
        let word = |words: Vec<&str>, description: &str| json!({ "type": "string", "enum": words, "description": description });
        let start_and_end = [("start", false, text(START)), ("end", false, text(END))];
        match self {
            Self::Search => {
                let query =
                    "TraceQL query, e.g. { resource.service.name = \"shop\" && status = error }";
                [vec![("query", true, text(query))], start_and_end.to_vec()].concat()
            }
            Self::MetricsInstant | Self::MetricsRange => {
                let query = "TraceQL metrics query, e.g. { } | rate() by (resource.service.name)";
                [vec![("query", true, text(query))], start_and_end.to_vec()].concat()
            }
            Self::Trace => vec![("trace_id", true, text("Trace id in hexadecimal digits."))],
            Self::AttributeNames => {
                vec![("scope", false, word(SCOPES.to_vec(), "Only names of this scope."))]
            }
            Self::AttributeValues => {
                let name = "Attribute with its scope, or intrinsic, e.g. resource.service.name, span.http.route, name.";
                let filter = "TraceQL query without pipeline: only values of spans that match, e.g. { status = error }.";
                vec![("name", true, text(name)), ("filter-query", false, text(filter))]
            }
            Self::Documentation => {
                let names = Document::OF_TOOL.iter().map(|document| document.name()).collect();
                vec![("name", true, word(names, "The part of the language."))]
            }
        }
    }

    fn describe(self) -> Value {
        let arguments = self.arguments();
        let required: Vec<&str> =
            arguments.iter().filter(|(_, required, _)| *required).map(|(name, ..)| *name).collect();
        let properties: serde_json::Map<String, Value> =
            arguments.into_iter().map(|(name, _, schema)| (name.to_owned(), schema)).collect();
        json!({
            "name": self.name(),
            "title": self.title(),
            "description": self.description(),
            "inputSchema": { "type": "object", "properties": properties, "required": required },
            "annotations": {
                "title": self.title(),
                "readOnlyHint": true,
                "destructiveHint": false,
                "idempotentHint": true,
                "openWorldHint": false,
            },
        })
    }
}

/// The result of `tools/list`.
pub(super) fn list() -> Value {
    json!({ "tools": Tool::ALL.map(Tool::describe) })
}
