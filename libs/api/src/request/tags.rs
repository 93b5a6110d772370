//! Tag names and tag values.

use percent_encoding::percent_decode_str;
use tactus_traceql::eval::{
    TagScope, TagValue, TagValueType, fixed_tag_values, legacy_tag_attributes,
};
use tactus_traceql::{Attribute, parse_attribute};

use crate::{Error, QueryParams, RequestedRange, Result};

/// Parameters of tag names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TagsQuery {
    /// `None`: all.
    pub scope: Option<TagScope>,
    /// A filter in TraceQL, possibly unfinished; empty for none.
    pub query: String,
    /// The time asked for.
    pub range: RequestedRange,
    /// Tags of each scope at most; 0: any.
    pub limit: u32,
    /// Stop after this many names in a row that are known already; 0: never.
    pub max_stale: u32,
}

impl TagsQuery {
    /// Parses the parameters.
    pub fn parse(params: &QueryParams<'_>) -> Result<Self> {
        let scope = match params.get("scope") {
            None | Some("none") => None,
            Some(text) => Some(
                TagScope::from_text(text)
                    .ok_or_else(|| Error::Invalid(format!("invalid scope: {text}")))?,
            ),
        };
        Ok(Self {
            scope,
            query: params.get("q").unwrap_or_default().to_owned(),
            range: range(params)?,
            limit: lenient_count(params, "limit"),
            max_stale: lenient_count(params, "maxStaleValues"),
        })
    }
}

/// Parameters of tag values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TagValuesQuery {
    /// A filter in TraceQL, possibly unfinished; empty for none.
    pub query: String,
    /// The time asked for.
    pub range: RequestedRange,
    /// Values at most; 0: any.
    pub limit: u32,
    /// Stop after this many values in a row that are known already; 0: never.
    pub max_stale: u32,
}

impl TagValuesQuery {
    /// Parses the parameters.
    pub fn parse(params: &QueryParams<'_>) -> Result<Self> {
        Ok(Self {
            query: params.get("q").unwrap_or_default().to_owned(),
            range: range(params)?,
            limit: lenient_count(params, "limit"),
            max_stale: lenient_count(params, "maxStaleValues"),
        })
    }
}

fn range(params: &QueryParams<'_>) -> Result<RequestedRange> {
    let range = super::range(params).map_err(super::date_range_error)?;
    // `since` stands in place of both, and one of them alone has an error of its own.
    if range.since.is_none() && range.end != 0 && range.end < range.start {
        let sent = |name| params.get(name).unwrap_or_default();
        return Err(super::reversed_range(sent("start"), sent("end")));
    }
    Ok(range)
}

/// Anything but a number counts as absent, because clients send such values.
fn lenient_count(params: &QueryParams<'_>, name: &str) -> u32 {
    params.get(name).and_then(|text| text.parse().ok()).unwrap_or(0)
}

/// The longest tag name, in bytes. Over HTTP the length of a URL is limited already; over gRPC nothing else is.
const MAX_TAG_NAME_BYTES: usize = 64 << 10;

/// Errors: the name is empty or too long.
fn check_tag_name(name: &str) -> Result<()> {
    if name.is_empty() {
        return Err(Error::Invalid("please provide a non-empty tagName".to_owned()));
    }
    if name.len() > MAX_TAG_NAME_BYTES {
        let text = format!("tagName is longer than {MAX_TAG_NAME_BYTES} bytes");
        return Err(Error::Invalid(text));
    }
    Ok(())
}

/// What the values of a tag are taken from.
#[derive(Debug, Clone, PartialEq)]
pub enum RequestedTag {
    /// Stored data: the values of any of these.
    Stored(Vec<Attribute>),
    /// Always the same values, sorted.
    Fixed(Vec<TagValue>),
}

/// The tag that the path of the second API version names: a TraceQL attribute or intrinsic.
///
/// A name that holds codes like `%2F` is looked for as it is and decoded: see [`decoded_again`].
pub fn parse_tag_v2(name: &str) -> Result<RequestedTag> {
    check_tag_name(name)?;
    let again = decoded_again(name).and_then(|name| parse_attribute(&name).ok());
    let attributes: Vec<_> = match parse_attribute(name) {
        Ok(attribute) => [attribute].into_iter().chain(again).collect(),
        Err(error) => vec![again.ok_or_else(|| {
            Error::Invalid(format!(
                "please provide a valid tagName: failed to parse identifier {name}: {error}"
            ))
        })?],
    };
    Ok(match attributes.iter().find_map(fixed_tag_values) {
        Some(values) => RequestedTag::Fixed(values),
        None => RequestedTag::Stored(attributes),
    })
}

/// A name decoded a second time, if that changes it: Grafana encodes names twice, for proxies that decode them once.
fn decoded_again(name: &str) -> Option<String> {
    let decoded = percent_decode_str(name).decode_utf8_lossy();
    (decoded != name).then(|| decoded.into_owned())
}

/// The tag that the path of the first API version names: an attribute of any scope, or an old name of a fixed field.
pub fn parse_tag_v1(name: &str) -> Result<RequestedTag> {
    check_tag_name(name)?;
    let (mut attributes, fixed) = legacy_tag_attributes(name);
    if !attributes.is_empty()
        && let Some(again) = decoded_again(name)
    {
        attributes.extend(legacy_tag_attributes(&again).0);
    }
    if attributes.is_empty() {
        let value = |text: &str| TagValue { value_type: TagValueType::String, text: text.into() };
        return Ok(RequestedTag::Fixed(fixed.into_iter().map(value).collect()));
    }
    Ok(RequestedTag::Stored(attributes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_parameters_are_checked() {
        let parse = |query| TagsQuery::parse(&QueryParams::parse(query));
        let query = parse("scope=none&limit=x&maxStaleValues=5&q={").unwrap();
        assert_eq!((query.scope, query.limit, query.max_stale), (None, 0, 5));
        assert_eq!(query.query, "{");
        assert_eq!(parse("scope=link").unwrap().scope, Some(TagScope::Link));
        assert_eq!(parse("scope=foo").unwrap_err().to_string(), "invalid scope: foo");
        assert!(
            parse("start=x")
                .unwrap_err()
                .to_string()
                .starts_with("error parsing date range: could not parse 'start' parameter: ")
        );
    }

    #[test]
    fn range_that_ends_before_it_starts_is_refused() {
        let tags = |query| TagsQuery::parse(&QueryParams::parse(query)).map(|query| query.range);
        let values =
            |query| TagValuesQuery::parse(&QueryParams::parse(query)).map(|query| query.range);
        let text = "http parameter start must be before end. received start=20 end=10";
        for refused in [tags("start=20&end=10"), values("start=20&end=10")] {
            assert_eq!(refused.unwrap_err().to_string(), text);
        }
        for fine in ["start=10&end=20", "start=10&end=10", "since=5m&start=20&end=10"] {
            assert!(tags(fine).is_ok() && values(fine).is_ok(), "{fine}");
        }
    }

    #[test]
    fn name_that_is_too_long_for_a_tag_is_refused() {
        for (length, is_fine) in
            [(0, false), (MAX_TAG_NAME_BYTES, true), (MAX_TAG_NAME_BYTES + 1, false)]
        {
            let name = "x".repeat(length);
            assert_eq!(parse_tag_v1(&name).is_ok(), is_fine, "{length}");
        }
        let error = parse_tag_v2(&"x".repeat(MAX_TAG_NAME_BYTES + 1)).unwrap_err();
        assert_eq!(error.to_string(), "tagName is longer than 65536 bytes");
    }

    #[test]
    fn tag_of_v2_is_an_identifier() {
        let text = |name| match parse_tag_v2(name) {
            Ok(RequestedTag::Stored(attributes)) => attributes[0].to_string(),
            other => panic!("{other:?}"),
        };
        assert_eq!(text("span.http.method"), "span.http.method");
        assert_eq!(text("span%2Ea"), "span.a");
        for (name, decoded) in [
            ("resource.k8s.io%2Fname", "resource.k8s.io/name"),
            ("span.%22a%20b%22", r#"span."a b""#),
        ] {
            let Ok(RequestedTag::Stored(both)) = parse_tag_v2(name) else { panic!("{name}") };
            let names: Vec<_> = both.iter().map(ToString::to_string).collect();
            assert_eq!(names, [name, decoded]);
        }
        assert_eq!(text("name"), "name");
        assert_eq!(
            parse_tag_v2("app.user.id").unwrap_err().to_string(),
            "please provide a valid tagName: failed to parse identifier app.user.id: parse error at line 1, col 2: unknown identifier: app"
        );
        assert_eq!(parse_tag_v2("").unwrap_err().to_string(), "please provide a non-empty tagName");
        assert!(parse_tag_v2("{}").is_err());
    }

    #[test]
    fn fixed_tags_need_no_data() {
        for name in [
            "duration",
            "span:duration",
            "traceDuration",
            "trace:duration",
            "trace:id",
            "span:id",
            "span:parentID",
            "link:traceID",
            "link:spanID",
        ] {
            assert_eq!(parse_tag_v2(name), Ok(RequestedTag::Fixed(vec![])), "{name}");
        }
        let texts = |tag: Result<RequestedTag>| match tag {
            Ok(RequestedTag::Fixed(values)) => {
                assert!(values.is_sorted());
                values.into_iter().map(|value| value.text).collect::<Vec<_>>().join(" ")
            }
            other => panic!("{other:?}"),
        };
        assert_eq!(texts(parse_tag_v2("span:status")), "error ok unset");
        assert_eq!(
            texts(parse_tag_v2("kind")),
            "client consumer internal producer server unspecified"
        );
        assert_eq!(texts(parse_tag_v1("status.code")), "error ok unset");
        assert_eq!(texts(parse_tag_v1("error")), "true");
    }

    #[test]
    fn tag_of_v1_is_any_name() {
        let texts = |name| match parse_tag_v1(name) {
            Ok(RequestedTag::Stored(attributes)) => {
                attributes.iter().map(ToString::to_string).collect::<Vec<_>>()
            }
            other => panic!("{other:?}"),
        };
        assert_eq!(texts("name"), ["name"]);
        assert_eq!(texts("root.name"), ["rootName"]);
        assert!(texts("service.name").contains(&"resource.service.name".to_owned()));
        assert!(texts("a b").contains(&"span.\"a b\"".to_owned()));
        assert!(parse_tag_v1("").is_err());
    }
}
