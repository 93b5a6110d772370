//! The kinds of things that have attributes.

/// A thing that has attributes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[expect(missing_docs, reason = "the names say it")]
pub enum AttributeOwner {
    Span,
    Resource,
    Scope,
    Event,
    Link,
}
