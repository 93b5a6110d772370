//! An ingester as part of a process.

use std::{sync::Arc, time::Duration};

use axum::{
    Router,
    extract::{RawQuery, State},
    response::{IntoResponse, Response},
    routing::any,
};
use http::StatusCode;
use tactus_model::TenantId;
use tactus_process::{AddGrpc, Error, Part, Process, ReadyCheck};
use tactus_proto::tactus::v1::{
    ingester_server::IngesterServer, live_tail_server::LiveTailServer, pushes_server::PushesServer,
};
use tactus_recent_data::{BlockWritten, Ingester, LastFlush, PushStreams, Settings};
use tactus_rpc::MAX_STREAMED_BYTES;
use tactus_server::{
    cross_site::{Changes, refuse_cross_site},
    http::error_line,
    observe::RequestMetrics,
};
use tactus_telemetry::{error_text, metrics::Registry};
use tokio_util::sync::CancellationToken;
use tonic::codec::CompressionEncoding;

use crate::{downscale::Downscale, from_config};

/// After SIGTERM, blocks may be uploaded for this long. The rest stays on local disk.
const FLUSH_GRACE: Duration = Duration::from_secs(25);

/// Opens the ingester's directory and reads back what is in it. Other services of the process call the ingester directly.
///
/// `written` is called for each block that was uploaded to object storage.
///
/// Errors: invalid settings; another process has locked the directory.
pub async fn part(
    process: &Process,
    written: BlockWritten,
) -> Result<(Part, Arc<Ingester>), Error> {
    let config = process.config();
    let ingester = open(process, written).await?;
    let mut part = Part::new("ingester");
    part.operational_endpoints =
        vec!["/flush", "/ingester/prepare-downscale", "/ingester/prepare-partition-downscale"];
    let flush = Router::new().route("/flush", any(flush)).with_state(Arc::clone(&ingester));
    part.admin = refuse_cross_site(flush, Changes::Always);
    part.grpc.push(grpc_services(process, &ingester));
    part.ready = Some(ready_check(process, &ingester));
    let cluster = process.cluster().clone();
    let stop = CancellationToken::new();
    let downscale = Downscale::new(ingester.directory(), cluster.clone());
    part.admin = part.admin.merge(downscale.router());
    let left = process.leaves_for_good().clone();
    let for_good = move || downscale.is_prepared() || left.is_set();
    let all_on_shutdown = config.ingester.flush_all_on_shutdown;
    let leaves = for_good.clone();
    let last = move || match all_on_shutdown || leaves() {
        true => LastFlush::All,
        false => LastFlush::Within(FLUSH_GRACE),
    };
    let run = tokio::spawn(Arc::clone(&ingester).run(stop.clone(), last));
    let failed = process.failed().clone();
    let announcer = process.announcer();
    let joining = cluster.clone();
    part.start = Some(Box::pin(async move {
        joining.ingesters().join().await;
        Ok(())
    }));
    part.stop = Some(Box::pin(async move {
        // The other processes must stop sending pushes first. Queries are still answered.
        cluster.stop_writes_to_ingester().await;
        stop.cancel();
        let all_written = match run.await {
            Ok(Ok(all_written)) => all_written,
            // It was logged with what remains.
            Ok(Err(_)) => {
                failed.set();
                false
            }
            Err(_) => {
                tracing::error!("ingester task panicked");
                failed.set();
                false
            }
        };
        match all_written {
            true => {
                // Nobody answers for the spans of these blocks once the ring knows this ingester no more.
                announcer.tell_again().await;
                cluster.leave_ingesters(for_good()).await;
            }
            // Without its entry in the ring, answers would lack these spans and not say so.
            false => tracing::warn!(
                "the ring keeps this ingester as leaving, because spans remain on its disk"
            ),
        }
    }));
    Ok((part, ingester))
}

async fn open(process: &Process, written: BlockWritten) -> Result<Arc<Ingester>, Error> {
    let config = process.config();
    let ring = process.cluster().ingesters().ring();
    // In a single process, queriers see new blocks at once, because the block list is shared.
    let hold_flushed = match process.cluster().is_alone() {
        true => Duration::ZERO,
        false => config.ingester.complete_block_timeout.as_std(),
    };
    let settings = Settings {
        hold_flushed,
        query_memory: process.port_memory().queries(),
        ..from_config::settings(config, process.overrides(), ring)?
    };
    let bucket = process.bucket().await?;
    Ingester::open(settings, bucket, written, process.registry())
        .map_err(|source| Error::Part { part: "ingester", source: Box::new(source) })
}

/// The services that other processes call: pushes, queries, live tails.
fn grpc_services(process: &Process, ingester: &Arc<Ingester>) -> AddGrpc {
    let config = process.config();
    // A push has the spans of an export request, which has that limit, and some fields besides.
    let max_bytes = config.server.grpc_server_max_recv_msg_size.saturating_mul(2);
    let server = IngesterServer::from_arc(Arc::clone(ingester))
        .max_decoding_message_size(max_bytes)
        .max_encoding_message_size(usize::MAX)
        .accept_compressed(CompressionEncoding::Gzip)
        .accept_compressed(CompressionEncoding::Zstd)
        .send_compressed(CompressionEncoding::Zstd);
    let tail_server = LiveTailServer::from_arc(Arc::clone(ingester))
        .accept_compressed(CompressionEncoding::Gzip)
        .accept_compressed(CompressionEncoding::Zstd)
        .send_compressed(CompressionEncoding::Zstd);
    let streams = PushStreams::new(
        Arc::clone(ingester),
        process.port_memory().bodies(),
        RequestMetrics::register(Registry::global()),
        config.server.grpc_server_max_concurrent_streams,
    );
    // A frame has a push and the fields that identify it, so it is larger than the push.
    let push_server = PushesServer::new(streams).max_decoding_message_size(2 * MAX_STREAMED_BYTES);
    Arc::new(move |routes| {
        routes
            .add_service(server.clone())
            .add_service(tail_server.clone())
            .add_service(push_server.clone());
    })
}

/// The ingester is ready if it is a member of the ring, its disk responds and has room, and its log accepts pushes.
fn ready_check(process: &Process, ingester: &Arc<Ingester>) -> ReadyCheck {
    let (cluster, ingester) = (process.cluster().clone(), Arc::clone(ingester));
    Arc::new(move || {
        let ready = cluster.ingester_ready();
        let ready = ready.and_then(|()| ingester.disk_answers().map_err(|hangs| hangs.to_string()));
        let ready = ready.and_then(|()| ingester.has_room());
        let ready = ready.and_then(|()| ingester.log_takes_pushes());
        ready.map_err(|reason| format!("Ingester not ready: {reason}"))
    })
}

/// A process with only an ingester. It has no block list, so it announces its blocks to the processes that have one.
///
/// Errors: as for [`part`].
pub async fn alone(process: &Process) -> Result<Vec<Part>, Error> {
    let announcer = process.announcer();
    let written = BlockWritten::new(move |meta| announcer.tell(meta));
    let (ingester, _) = part(process, written).await?;
    Ok(vec![ingester])
}

/// Errors: invalid settings.
pub async fn check(process: &Process) -> Result<(), Error> {
    let ring = process.cluster().ingesters().ring();
    from_config::settings(process.config(), process.overrides(), ring)?;
    Ok(())
}

/// Writes everything received so far to object storage; answers when it is there.
async fn flush(State(ingester): State<Arc<Ingester>>, RawQuery(query): RawQuery) -> Response {
    let query = query.unwrap_or_default();
    let mut parameters = form_urlencoded::parse(query.as_bytes());
    let result = match parameters.find(|(key, name)| key == "tenant" && !name.is_empty()) {
        None => ingester.flush_all().await,
        Some((_, name)) => match TenantId::parse(&name) {
            Ok(tenant) if ingester.knows(&tenant) => ingester.flush_one(&tenant).await,
            _ => return error_line(StatusCode::NOT_FOUND, "tenant not found"),
        },
    };
    match result {
        Ok(()) => StatusCode::NO_CONTENT.into_response(),
        Err(error) => error_line(StatusCode::INTERNAL_SERVER_ERROR, &error_text(&error)),
    }
}
