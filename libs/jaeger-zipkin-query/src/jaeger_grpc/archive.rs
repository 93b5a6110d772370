//! The archive of the first generation of storages. Traces are kept as long as the retention says; there is no other
//! place for them.

use tactus_proto::jaeger::storage::v1::{
    GetTraceRequest, SpansResponseChunk, archive_span_reader_plugin_server::ArchiveSpanReaderPlugin,
};
use tonic::{Request, Status};

use super::{Answer, Messages};

/// What every call of an archive is told.
pub(super) const NO_ARCHIVE: &str =
    "there is no archive of traces: a longer retention keeps traces longer";

/// Refuses.
#[derive(Debug)]
pub(super) struct Archive;

#[tonic::async_trait]
impl ArchiveSpanReaderPlugin for Archive {
    type GetArchiveTraceStream = Messages<SpansResponseChunk>;

    async fn get_archive_trace(
        &self,
        _: Request<GetTraceRequest>,
    ) -> Answer<Self::GetArchiveTraceStream> {
        Err(Status::unimplemented(NO_ARCHIVE))
    }
}
