//! The connector of gRPC channels.
//!
//! For `tonic::transport::Endpoint::connect_with_connector`. The URI of the endpoint always has the scheme `http`,
//! because the connector handles TLS, not the channel.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::Uri;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;
use tokio_util::either::Either;
use tower::Service;

use crate::client::ClientTls;

/// Connects to the host and port of a URI, with TLS if `tls` is given, otherwise unencrypted.
///
/// The caller sets the time limit (`Endpoint::connect_timeout`), which includes the handshake. Cheap to clone.
pub fn connector(tls: Option<Arc<ClientTls>>) -> Connector {
    Connector { tls }
}

/// See [`connector`].
#[derive(Clone, Debug)]
pub struct Connector {
    tls: Option<Arc<ClientTls>>,
}

/// A connection without or with TLS.
pub type Stream = Either<TcpStream, Box<TlsStream<TcpStream>>>;

impl Service<Uri> for Connector {
    type Response = TokioIo<Stream>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<TokioIo<Stream>>> + Send>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let tls = self.tls.clone();
        Box::pin(async move { Ok(TokioIo::new(open(&uri, tls).await?)) })
    }
}

async fn open(uri: &Uri, tls: Option<Arc<ClientTls>>) -> io::Result<Stream> {
    let invalid =
        |text: &str| io::Error::new(io::ErrorKind::InvalidInput, format!("{uri}: {text}"));
    let host = uri.host().ok_or_else(|| invalid("no host in it"))?;
    let port = uri.port_u16().ok_or_else(|| invalid("no port in it"))?;
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let stream = TcpStream::connect((bare, port)).await?;
    // Small calls must not wait for the acknowledgement of the previous segment.
    stream.set_nodelay(true)?;
    Ok(match tls {
        None => Either::Left(stream),
        Some(tls) => Either::Right(Box::new(tls.connect(host, stream).await?)),
    })
}
