//! Trace files that users upload to look at. They are not stored.

mod formats;

use std::io::Read as _;
use std::time::Duration;

use axum::body::{Body, HttpBody as _};
use bytes::Bytes;
use flate2::bufread::MultiGzDecoder;
use futures_util::StreamExt as _;
use tactus_api::{Error, Result};
use tactus_work::memory::Reservation;

use crate::current_query::current_line;
use crate::frontend::Frontend;
use crate::offload::offload;

pub(crate) use formats::{TraceFile, decode};

/// Memory of a decoded file, as a multiple of its size.
const DECODED_TIMES: u64 = 8;

/// A slower upload is refused, because it would hold memory that others wait for.
const READ_TIME: Duration = Duration::from_secs(60);

const GZIP: &[u8] = &[0x1f, 0x8b];

/// An uploaded file, decompressed. Its share of the memory for files is given back when this is dropped.
#[derive(Debug)]
pub struct ReceivedFile {
    /// The file.
    pub bytes: Bytes,
    _memory: Reservation,
}

impl ReceivedFile {
    /// Most of what it takes decoded.
    pub fn decoded_bytes(&self) -> u64 {
        decoded_bytes(&self.bytes)
    }
}

fn decoded_bytes(file: &Bytes) -> u64 {
    (file.len() as u64).saturating_mul(DECODED_TIMES)
}

impl Frontend {
    /// Reads the body of a request, which may be compressed by gzip. It takes memory as it arrives.
    ///
    /// Errors: [`Error::TooManyFiles`], [`Error::LimitExceeded`] for one that is too large, [`Error::Invalid`] for
    /// damage.
    pub async fn receive_file(&self, body: Body) -> Result<ReceivedFile> {
        let limit = self.settings.section.trace_files.max_bytes;
        let too_large = || {
            Error::LimitExceeded(format!(
                "the file has more than {limit} bytes (limit: query_frontend.trace_files.max_bytes)"
            ))
        };
        if body.size_hint().exact().is_some_and(|announced| announced > limit as u64) {
            return Err(too_large());
        }
        let budget = self.files.of_tenant(current_line().tenant);
        let hold = |bytes: u64| budget.reserve(bytes).ok_or(Error::TooManyFiles);
        let decoded = |file: &Bytes| hold(decoded_bytes(file));
        let mut memory = budget.nothing();
        let arriving = async {
            let (mut sent, mut parts) = (Vec::<u8>::new(), body.into_data_stream());
            while let Some(part) = parts.next().await {
                let part =
                    part.map_err(|error| Error::Invalid(format!("cannot read the file: {error}")))?;
                if part.len() > limit - sent.len() {
                    return Err(too_large());
                }
                if !memory.grow(part.len() as u64) {
                    return Err(Error::TooManyFiles);
                }
                sent.extend_from_slice(&part);
            }
            Ok(Bytes::from(sent))
        };
        let sent = tokio::time::timeout(READ_TIME, arriving).await;
        let sent =
            sent.map_err(|_| Error::Invalid("the file did not arrive in time".to_owned()))??;
        drop(memory);
        if !sent.starts_with(GZIP) {
            let memory = decoded(&sent)?;
            return Ok(ReceivedFile { bytes: sent, _memory: memory });
        }
        // Its decompressed size is not known in advance.
        let memory = hold(limit as u64)?;
        let plain = offload(true, move || {
            let mut plain = Vec::new();
            let decoder = MultiGzDecoder::new(&sent[..]);
            decoder.take(limit as u64 + 1).read_to_end(&mut plain).map(|_| Bytes::from(plain))
        });
        let plain = plain
            .await?
            .map_err(|error| Error::Invalid(format!("cannot decompress the file: {error}")))?;
        if plain.len() > limit {
            return Err(too_large());
        }
        drop(memory);
        let memory = decoded(&plain)?;
        Ok(ReceivedFile { bytes: plain, _memory: memory })
    }
}
