//! The language as documents for models: shorter than the manual, with examples that are parsed by a test.

use serde_json::{Value, json};

const MEDIA_TYPE: &str = "text/markdown";

const URI: &str = "docs://traceql/";

tactus_model::words! {
    /// A document about TraceQL.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub(super) enum Document: name {
        Query = "query",
        Metrics = "metrics",
        Basic = "basic",
        Aggregates = "aggregates",
        Structural = "structural",
    }
}

impl Document {
    /// Those of the tool. `query` is for clients that attach documents: it repeats the others.
    pub(super) const OF_TOOL: &[Self] =
        &[Self::Basic, Self::Aggregates, Self::Structural, Self::Metrics];

    pub(super) fn of_uri(uri: &str) -> Option<Self> {
        Self::from_text(uri.strip_prefix(URI)?)
    }

    /// The uris of all, as an error names them.
    pub(super) fn uris() -> String {
        Self::ALL.map(Self::uri).join(", ")
    }

    fn uri(self) -> String {
        format!("{URI}{}", self.name())
    }

    pub(super) fn content(self) -> &'static str {
        match self {
            Self::Query => concat!(
                include_str!("documents/basic.md"),
                "\n",
                include_str!("documents/aggregates.md"),
                "\n",
                include_str!("documents/structural.md"),
            ),
            Self::Metrics => include_str!("documents/metrics.md"),
            Self::Basic => include_str!("documents/basic.md"),
            Self::Aggregates => include_str!("documents/aggregates.md"),
            Self::Structural => include_str!("documents/structural.md"),
        }
    }

    fn description(self) -> &'static str {
        match self {
            Self::Query => {
                "The language of searches: conditions, aggregates and structure in one document"
            }
            Self::Metrics => "Series and numbers from spans: rates, counts, quantiles",
            Self::Basic => "Conditions on spans: attributes, intrinsics, types, operators",
            Self::Aggregates => "Pipelines: count, avg, min, max, sum, by, select",
            Self::Structural => {
                "Relations between spans of a trace: parents, descendants, siblings"
            }
        }
    }

    fn describe(self) -> Value {
        json!({
            "uri": self.uri(),
            "name": format!("traceql-{}", self.name()),
            "description": self.description(),
            "mimeType": MEDIA_TYPE,
        })
    }

    /// The result of `resources/read`.
    pub(super) fn read(self) -> Value {
        let content = json!({ "uri": self.uri(), "mimeType": MEDIA_TYPE, "text": self.content() });
        json!({ "contents": [content] })
    }
}

/// The result of `resources/list`.
pub(super) fn list() -> Value {
    json!({ "resources": Document::ALL.map(Document::describe) })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The lines of the blocks marked as TraceQL, without comments.
    fn examples(document: Document) -> Vec<&'static str> {
        let mut inside = false;
        let mut found = Vec::new();
        for line in document.content().lines() {
            match line {
                "```traceql" => inside = true,
                "```" => inside = false,
                line if inside && !line.is_empty() => {
                    found.push(line.split_once(" //").map_or(line, |(query, _)| query).trim());
                }
                _ => {}
            }
        }
        found
    }

    #[test]
    fn every_example_is_a_query_of_the_kind_that_its_document_is_about() {
        for document in Document::ALL {
            let examples = examples(document);
            assert!(examples.len() > 5, "{document:?}: {examples:?}");
            for example in examples {
                let query = tactus_traceql::parse_and_validate(example);
                let query =
                    query.unwrap_or_else(|error| panic!("{document:?}: {example}: {error}"));
                let is_metrics = query.metrics().is_some();
                assert_eq!(is_metrics, document == Document::Metrics, "{document:?}: {example}");
            }
        }
    }

    #[test]
    fn mistakes_of_the_documents_are_refused_and_their_corrections_are_not() {
        let mut mistakes = 0;
        for document in Document::OF_TOOL {
            let rows = document.content().lines().filter(|line| line.starts_with("| `{"));
            for row in rows {
                let cells = row
                    .split(" | ")
                    .map(|cell| cell.trim_matches(['|', '`', ' ']).replace("\\|", "|"));
                // Other tables have two columns.
                if let [wrong, right, _] = &cells.collect::<Vec<_>>()[..] {
                    assert!(tactus_traceql::parse_and_validate(wrong).is_err(), "{wrong}");
                    let right = tactus_traceql::parse_and_validate(right);
                    assert!(right.is_ok(), "{row}: {right:?}");
                    mistakes += 1;
                }
            }
        }
        assert!(mistakes >= 10, "{mistakes}");
    }

    #[test]
    fn documents_are_found_by_the_uris_that_are_listed() {
        for resource in list()["resources"].as_array().unwrap() {
            let document = Document::of_uri(resource["uri"].as_str().unwrap()).unwrap();
            assert_eq!(document.read()["contents"][0]["uri"], resource["uri"]);
        }
        assert_eq!(Document::of_uri("docs://traceql/other"), None);
        assert_eq!(Document::of_uri("query"), None);
    }
}
