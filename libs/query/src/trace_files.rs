//! Trace files that users upload to look at. They are not stored.

mod formats;

use std::io::Read as _;
use std::time::Duration;

use axum::body::{Body, HttpBody as _, to_bytes};
use bytes::Bytes;
use flate2::bufread::MultiGzDecoder;
use tactus_api::{Error, Result};
use tactus_work::memory::Reservation;

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
    /// Reads the body of a request, which may be compressed by gzip.
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
        let announced = body.size_hint().exact().unwrap_or(limit as u64);
        if announced > limit as u64 {
            return Err(too_large());
        }
        let hold = |bytes: u64| self.file_budget.reserve(bytes).ok_or(Error::TooManyFiles);
        let decoded = |file: &Bytes| hold(decoded_bytes(file));
        let memory = hold(announced)?;
        let sent = tokio::time::timeout(READ_TIME, to_bytes(body, limit)).await;
        let sent = sent
            .map_err(|_| Error::Invalid("the file did not arrive in time".to_owned()))?
            .map_err(|error| Error::Invalid(format!("cannot read the file: {error}")))?;
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
