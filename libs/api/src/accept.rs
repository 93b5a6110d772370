//! Which encoding a client asks for.

tactus_model::words! {
    /// Encodings of an answer.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
    pub enum Encoding: content_type {
        /// Protobuf-JSON.
        #[default]
        Json = "application/json",
        /// Binary protobuf.
        Protobuf = "application/protobuf",
        /// Compact JSON for language models, where an answer has one; else as [`Encoding::Json`].
        Llm = "application/vnd.grafana.llm+json",
    }
}

impl Encoding {
    /// By the first value of the `Accept` header. Quality values do not count: protobuf wins over JSON wherever
    /// it stands.
    pub fn negotiate(accept: Option<&str>) -> Self {
        let accept = accept.unwrap_or_default();
        if accept.contains(Self::Protobuf.content_type()) {
            Self::Protobuf
        } else if accept.contains("application/vnd.grafana.llm")
            && !accept.contains(Self::Json.content_type())
        {
            Self::Llm
        } else {
            Self::Json
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accept_is_searched_in_fixed_order() {
        let cases = [
            (None, Encoding::Json),
            (Some("*/*"), Encoding::Json),
            (Some("text/html,application/protobuf;q=0.1"), Encoding::Protobuf),
            (Some("application/json, application/protobuf"), Encoding::Protobuf),
            (Some("application/vnd.grafana.llm"), Encoding::Llm),
            (Some("application/vnd.grafana.llm, application/json"), Encoding::Json),
        ];
        for (accept, expected) in cases {
            assert_eq!(Encoding::negotiate(accept), expected, "{accept:?}");
        }
    }
}
