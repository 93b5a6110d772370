//! From the body of a request to OTLP.

use bytes::Bytes;

use crate::to_otlp::{DecodeOptions, Groups, add_v1, add_v2};
use crate::{Error, v1, v2};

/// A version of Zipkin's model: what the path of a request says, which holds where the body does not tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// `/api/v1/spans`
    V1,
    /// `/api/v2/spans`
    V2,
}

tactus_model::words! {
    /// How the spans of a body are written; the words are values of the label `transport`.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub enum Format: transport {
        /// First model, JSON.
        JsonV1 = "http_v1_json",
        /// First model, Thrift, binary protocol.
        ThriftV1 = "http_v1_thrift",
        /// Second model, JSON.
        JsonV2 = "http_v2_json",
        /// Second model, protobuf.
        ProtobufV2 = "http_v2_proto",
    }
}

impl Format {
    /// The format of a body: what its first bytes are, else what its media type says, else JSON of the path's version.
    ///
    /// Which version JSON is in shows only when it is read: [`decode`] says.
    pub fn detect(version: Version, declared: MediaType, body: &[u8]) -> Self {
        let is_list = is_json_list(body);
        match (version, body) {
            (_, [0x0c, ..]) => Self::ThriftV1,
            (_, _) if declared == MediaType::Thrift && !is_list => Self::ThriftV1,
            // A line feed before a list of JSON looks like the first byte of protobuf, and a list of protobuf whose
            // first span has 91 bytes like a list of JSON.
            (_, [0x0a, ..]) if declared == MediaType::Protobuf || !is_list => Self::ProtobufV2,
            (_, _) if declared == MediaType::Protobuf && !is_list => Self::ProtobufV2,
            (Version::V1, _) => Self::JsonV1,
            (Version::V2, _) => Self::JsonV2,
        }
    }
}

/// What the header `Content-Type` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MediaType {
    /// `application/x-protobuf`
    Protobuf,
    /// `application/x-thrift`
    Thrift,
    /// Any other, or none.
    Other,
}

impl MediaType {
    /// The media type without its parameters.
    pub fn of(content_type: &[u8]) -> Self {
        let media_type = content_type.split(|byte| *byte == b';').next().unwrap_or_default();
        let media_type = media_type.trim_ascii();
        if media_type.eq_ignore_ascii_case(b"application/x-protobuf") {
            Self::Protobuf
        } else if media_type.eq_ignore_ascii_case(b"application/x-thrift") {
            Self::Thrift
        } else {
            Self::Other
        }
    }
}

/// Whether the body begins as a list of objects or an empty one.
fn is_json_list(body: &[u8]) -> bool {
    let Some(list) = body.trim_ascii_start().strip_prefix(b"[") else { return false };
    matches!(list.trim_ascii_start(), [] | [b'{' | b']', ..])
}

/// The spans of a body as the bytes of an OTLP `ExportTraceServiceRequest`, those of one service and one set of resource
/// tags together, and the format that they were in. No bytes: no spans.
///
/// JSON is read in the version that it turns out to be in: senders post the first model to the path of the second. Only
/// the first has `binaryAnnotations`, only the second `tags`, `kind` and endpoints of a span. Annotations with an
/// endpoint are of the first where nothing is of the second.
///
/// Errors: damage, the first span that breaks a rule, and a list with spans of both models. Memory: some
/// four times the body, one and a half times it for tags of JSON that are no texts, and that of the largest span, which
/// has 65 536 tags or annotations at most.
pub fn decode(
    format: Format,
    body: &Bytes,
    options: &DecodeOptions,
) -> Result<(Format, Bytes), Error> {
    let other = match format {
        Format::JsonV1 => Format::JsonV2,
        Format::JsonV2 => Format::JsonV1,
        Format::ThriftV1 | Format::ProtobufV2 => {
            return Ok((format, decode_as(format, body, options)?));
        }
    };
    let found = match decode_as(format, body, options) {
        Err(Error::OtherVersion) => other,
        request => return Ok((format, request?)),
    };
    match decode_as(found, body, options) {
        Err(Error::OtherVersion) => Err(Error::BothVersions),
        request => Ok((found, request?)),
    }
}

/// Takes tags that are no texts, too.
fn decode_as(format: Format, body: &Bytes, options: &DecodeOptions) -> Result<Bytes, Error> {
    match (format, decode_strictly(format, body, options)) {
        (Format::JsonV2, Err(first @ Error::Json { .. })) => {
            let texts = v2::tag_texts::quoted(body).ok_or_else(|| first.clone())?;
            // The first error may be about such a tag, and the second has a position in a text that nobody sent.
            decode_strictly(format, &texts.into(), options).map_err(|error| {
                let error = error.without_position();
                if error == first.clone().without_position() { first } else { error }
            })
        }
        (_, request) => request,
    }
}

fn decode_strictly(format: Format, body: &Bytes, options: &DecodeOptions) -> Result<Bytes, Error> {
    let mut groups = Groups::new(body.len());
    // Thrift says the types of its values.
    let guess = options.parse_string_tags && format != Format::ThriftV1;
    let options = &DecodeOptions { parse_string_tags: guess, ..*options };
    match format {
        Format::JsonV1 | Format::ThriftV1 => {
            let add = |span| add_v1(&mut groups, span, options);
            match format {
                Format::JsonV1 => v1::json::decode(body, add)?,
                _ => v1::thrift::decode(body, add)?,
            }
        }
        Format::JsonV2 | Format::ProtobufV2 => {
            let add = |span| add_v2(&mut groups, span, options);
            match format {
                Format::JsonV2 => v2::json::decode(body, add)?,
                _ => v2::protobuf::decode(body, add)?,
            }
        }
    }
    Ok(groups.finish())
}
