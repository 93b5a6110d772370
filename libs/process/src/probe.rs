//! Asks a running process whether it is ready: a container's health check.

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::Error;

/// Errors unless `url` answers 200.
pub(crate) async fn probe(url: &str) -> Result<(), Error> {
    let invalid = || Error::Setup(format!("-health.url: not an http URL: {url}"));
    let rest = url.strip_prefix("http://").ok_or_else(invalid)?;
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    let mut stream = TcpStream::connect(authority).await?;
    let request = format!("GET /{path} HTTP/1.0\r\nHost: {authority}\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).await?;
    if answer.ends_with(b"200") {
        return Ok(());
    }
    Err(Error::Setup(format!("{url} answers {}", String::from_utf8_lossy(&answer))))
}
