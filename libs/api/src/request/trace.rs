//! Trace by id.

use tactus_model::TraceId;

use crate::query_string::parse_int;
use crate::trace::SharedIds;
use crate::{Error, QueryParams, Result};

/// Where to look for a trace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TraceMode {
    /// Everywhere.
    #[default]
    All,
    /// Recent data only.
    Ingesters,
    /// Blocks only.
    Blocks,
    /// A further store only.
    External,
}

/// Parameters of trace by id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TraceQuery {
    /// Where to look.
    pub mode: TraceMode,
    /// Blocks that end before are not read; unix seconds, 0 is unbounded.
    pub start: i64,
    /// Blocks that start after are not read; unix seconds, 0 is unbounded.
    pub end: i64,
    /// Not a parameter: callers within the process set it.
    pub shared_ids: SharedIds,
}

impl TraceQuery {
    /// Parses the parameters. Internal ones of other implementations are ignored.
    pub fn parse(params: &QueryParams<'_>) -> Result<Self> {
        let mode = match params.get("mode") {
            None | Some("all") => TraceMode::All,
            Some("ingesters") => TraceMode::Ingesters,
            Some("blocks") => TraceMode::Blocks,
            Some("external") => TraceMode::External,
            Some(other) => return Err(Error::Invalid(format!("invalid value for mode {other}"))),
        };
        if mode == TraceMode::Ingesters {
            return Ok(Self { mode, ..Self::default() });
        }
        let seconds = |name: &str| match params.get(name) {
            None => Ok(0),
            Some(text) => parse_int(text, 64, "ParseInt")
                .map_err(|error| Error::Invalid(format!("invalid {name}: {error}"))),
        };
        let (start, end) = (seconds("start")?, seconds("end")?);
        if start != 0 && end != 0 && end <= start {
            return Err(Error::Invalid(format!(
                "http parameter start must be before end. received start={start} end={end}"
            )));
        }
        Ok(Self { mode, start, end, ..Self::default() })
    }
}

/// Parses a trace id of up to 32 hexadecimal digits; leading zeros may be left out.
pub fn parse_trace_id(text: &str) -> Result<TraceId> {
    let wrong = text.char_indices().find(|(_, digit)| !digit.is_ascii_hexdigit());
    if let Some((position, digit)) = wrong {
        return Err(Error::Invalid(format!(
            "trace IDs can only contain hex characters: invalid character '{digit}' at position {}",
            position + 1
        )));
    }
    TraceId::from_hex(text)
        .ok_or_else(|| Error::Invalid("trace IDs can't be larger than 128 bits".to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(query: &str) -> Result<TraceQuery> {
        TraceQuery::parse(&QueryParams::parse(query))
    }

    fn error(query: &str) -> String {
        parse(query).unwrap_err().to_string()
    }

    #[test]
    fn ids_are_padded_and_checked() {
        let expected = TraceId::from_slice(&[0xff]);
        for text in ["ff", "0ff", "000000000000000000000000000000FF"] {
            assert_eq!(parse_trace_id(text), Ok(expected), "{text}");
        }
        let error = |text: &str| parse_trace_id(text).unwrap_err().to_string();
        assert_eq!(
            error("xyz"),
            "trace IDs can only contain hex characters: invalid character 'x' at position 1"
        );
        assert_eq!(
            error("abg"),
            "trace IDs can only contain hex characters: invalid character 'g' at position 3"
        );
        assert_eq!(error(&"0".repeat(34)), "trace IDs can't be larger than 128 bits");
    }

    #[test]
    fn parameters_are_checked() {
        assert_eq!(parse(""), Ok(TraceQuery::default()));
        assert_eq!(
            parse("mode=blocks&start=5&end=0&blockStart=zz").map(|query| (query.mode, query.start)),
            Ok((TraceMode::Blocks, 5))
        );
        assert_eq!(
            parse("mode=ingesters&start=x").map(|query| query.mode),
            Ok(TraceMode::Ingesters)
        );
        assert_eq!(error("mode=x"), "invalid value for mode x");
        assert_eq!(
            error("start=x"),
            "invalid start: strconv.ParseInt: parsing \"x\": invalid syntax"
        );
        assert_eq!(
            error("start=20&end=10"),
            "http parameter start must be before end. received start=20 end=10"
        );
    }
}
