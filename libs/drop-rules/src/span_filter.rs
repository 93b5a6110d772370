//! A TraceQL filter on single spans, which can be evaluated on a request alone.

use std::time::Duration;

use tactus_model::SpanBatch;
use tactus_traceql::{
    FieldExpression, PipelineStage, SpansetExpression, SpansetFilter, Static,
    eval::{CompiledQuery, Window},
    parse_and_validate,
};
use tactus_work::Work;

/// CPU time that a filter may use for the spans of a request, while the client waits. For texts of usual length,
/// filters need far less.
const MAX_CPU_TIME: Duration = Duration::from_secs(1);

/// The limits of one filter for one request.
pub(crate) fn limits() -> Work {
    Work::default().within_cpu_time(MAX_CPU_TIME)
}

/// A filter on single spans.
#[derive(Debug)]
pub enum SpanFilter {
    /// `{ }`.
    Every,
    /// Any other filter.
    Query(Box<CompiledQuery>),
}

impl SpanFilter {
    /// Compiles `{ … }`.
    ///
    /// Errors, worded for the operator: invalid TraceQL; more than a filter; a condition that depends on other spans.
    pub fn compile(text: &str) -> Result<Self, String> {
        let root = parse_and_validate(text).map_err(|error| error.to_string())?;
        let filter = match (root.metrics(), root.search_pipeline().stages.as_slice()) {
            (None, [PipelineStage::Spanset(SpansetExpression::Filter(filter))]) => filter,
            _ => {
                return Err(format!(
                    "{text}: only a filter on single spans can be used here, as {{ name = \"/healthz\" }}: \
                     no structure, no pipeline, no aggregate"
                ));
            }
        };
        if let Some(attribute) = asks_other_spans(filter) {
            return Err(format!(
                "{text}: {attribute} depends on other spans, which may come in other requests"
            ));
        }
        if filter.expression == FieldExpression::Static(Static::Bool(true)) {
            return Ok(Self::Every);
        }
        let query = CompiledQuery::compile(&root).map_err(|error| error.to_string())?;
        Ok(Self::Query(Box::new(query)))
    }

    /// True if it matches every span, without reading any.
    pub(crate) fn is_every(&self) -> bool {
        matches!(self, Self::Every)
    }

    /// The rows of the spans that match; `None` if these limits do not suffice.
    pub(crate) fn rows(&self, batch: &SpanBatch, limits: &Work) -> Option<Vec<u32>> {
        let query = match self {
            Self::Every => return Some((0..batch.len() as u32).collect()),
            Self::Query(query) => query,
        };
        let matches = limits.run(|| query.find_matches(batch, Window::default())).ok()?.ok()?;
        let sets = matches.traces.into_iter().flat_map(|trace| trace.span_sets);
        Some(sets.flat_map(|set| set.rows).collect())
    }
}

/// The first attribute whose value depends on other spans.
fn asks_other_spans(filter: &SpansetFilter) -> Option<String> {
    let mut found = None;
    filter.expression.for_each_attribute(&mut |attribute| {
        if attribute.depends_on_other_spans() && found.is_none() {
            found = Some(attribute.to_string());
        }
    });
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_on_single_spans_compile() {
        for text in [
            "{ name = \"/healthz\" }",
            "{ }",
            "{ span.http.target =~ \"/health.*\" && duration < 10ms }",
            "{ resource.service.name = \"x\" || event:name = \"exception\" }",
            "{ span:parentID = \"0000000000000000\" }",
        ] {
            SpanFilter::compile(text).unwrap();
        }
        assert!(SpanFilter::compile("{ }").unwrap().is_every());
        assert!(SpanFilter::compile("{ true }").unwrap().is_every());
    }

    #[test]
    fn what_needs_other_spans_is_refused_by_name() {
        for text in
            ["{ } >> { }", "{ } | count() > 2", "{ } && { }", "{ } | rate()", "({ } | by(name))"]
        {
            let error = SpanFilter::compile(text).unwrap_err();
            assert!(error.contains("only a filter on single spans"), "{text}: {error}");
        }
        for (text, named) in [
            ("{ trace:duration > 1s }", "traceDuration"),
            ("{ parent.name = \"x\" }", "parent.name"),
            ("{ rootName = \"x\" }", "rootName"),
            ("{ span:childCount > 2 }", "span:childCount"),
            ("{ nestedSetLeft = 1 }", "nestedSetLeft"),
        ] {
            let error = SpanFilter::compile(text).unwrap_err();
            assert!(error.contains(&format!("{named} depends on other spans")), "{text}: {error}");
        }
        assert!(SpanFilter::compile("{ name = }").is_err());
    }
}
