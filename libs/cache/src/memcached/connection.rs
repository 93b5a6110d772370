//! A connection to a server. It must not be used again after an error.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use tactus_work::memory::Budget;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::protocol::{self, Item};
use crate::store::{Error, Result};

/// Room in the buffer before a read.
const READ_BYTES: usize = 16 << 10;

/// Memory is allocated as the server sends, not as it announces.
const MAX_READ_BYTES: usize = 1 << 20;

/// What carries the bytes.
pub(super) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// A call.
pub(super) enum Request<'r> {
    /// The values of keys.
    Get(&'r [&'r str]),
    /// Stores a value. `expiry` as the protocol has it.
    Set { key: &'r str, value: &'r [u8], expiry: u64 },
    /// Asks for a sign of life.
    Version,
}

/// One call at a time.
pub(super) struct Connection {
    stream: Box<dyn Stream>,
    buffer: BytesMut,
    transit: Arc<Budget>,
}

impl Connection {
    /// `transit`: what the values of all connections may take until calls return them.
    pub(super) fn new(stream: Box<dyn Stream>, transit: Arc<Budget>) -> Self {
        Self { stream, buffer: BytesMut::new(), transit }
    }

    /// Makes a call. Returns the values of keys in their order, or nothing.
    pub(super) async fn run(&mut self, request: &Request<'_>) -> Result<Vec<Option<Bytes>>> {
        match *request {
            Request::Get(keys) => return self.get(keys).await,
            Request::Set { key, value, expiry } => self.set(key, value, expiry).await?,
            Request::Version => self.version().await?,
        }
        Ok(Vec::new())
    }

    async fn get(&mut self, keys: &[&str]) -> Result<Vec<Option<Bytes>>> {
        self.send(&protocol::get_request(keys)).await?;
        let mut in_transit = self.transit.nothing();
        let mut found: HashMap<String, Bytes> = HashMap::new();
        loop {
            match protocol::next_item(&mut self.buffer)? {
                Ok(Item::End) => break,
                Ok(Item::Value { key, value }) => {
                    if !keys.contains(&key.as_str()) || found.len() >= keys.len() {
                        return Err(Error::Protocol("a value nobody asked for".to_owned()));
                    }
                    found.insert(key, value);
                }
                Err(missing) => {
                    let read = self.receive(missing).await?;
                    if !in_transit.grow_within(read as u64) {
                        return Err(Error::Crowded);
                    }
                }
            }
        }
        Ok(keys.iter().map(|key| found.get(*key).cloned()).collect())
    }

    /// Stores a value. Errors: [`Error::Refused`] leaves the connection usable.
    async fn set(&mut self, key: &str, value: &[u8], expiry: u64) -> Result<()> {
        let mut request = protocol::set_request(key, expiry, value.len());
        request.reserve(value.len() + 2);
        request.extend_from_slice(value);
        request.extend_from_slice(b"\r\n");
        self.send(&request).await?;
        loop {
            if let Some(answer) = protocol::stored(&mut self.buffer)? {
                return answer;
            }
            self.receive(1).await?;
        }
    }

    async fn version(&mut self) -> Result<()> {
        self.send(b"version\r\n").await?;
        while protocol::version(&mut self.buffer)?.is_none() {
            self.receive(1).await?;
        }
        Ok(())
    }

    async fn send(&mut self, request: &[u8]) -> Result<()> {
        if !self.buffer.is_empty() {
            return Err(Error::Protocol("an answer nobody waits for".to_owned()));
        }
        self.stream.write_all(request).await?;
        self.stream.flush().await?;
        Ok(())
    }

    /// Reads once, perhaps less than the `missing` bytes. Returns how many.
    async fn receive(&mut self, missing: usize) -> Result<usize> {
        self.buffer.reserve(missing.clamp(READ_BYTES, MAX_READ_BYTES));
        match self.stream.read_buf(&mut self.buffer).await? {
            0 => Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
            read => Ok(read),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A server's answer to whatever is asked.
    async fn get(transit: &Arc<Budget>, keys: &[&str], answer: &[u8]) -> Result<usize> {
        let (ours, mut theirs) = tokio::io::duplex(1 << 20);
        theirs.write_all(answer).await.unwrap();
        let found =
            Connection::new(Box::new(ours), Arc::clone(transit)).run(&Request::Get(keys)).await?;
        Ok(found.iter().flatten().map(Bytes::len).sum())
    }

    #[tokio::test]
    async fn values_of_all_calls_are_bounded() {
        let transit = Budget::new(100_000);
        let value = |key: &str, bytes: usize| {
            [format!("VALUE {key} 0 {bytes}\r\n").as_bytes(), &vec![0_u8; bytes], b"\r\n"].concat()
        };
        let fits = [value("a", 40_000), value("b", 40_000), b"END\r\n".to_vec()].concat();
        let more = [value("a", 40_000), value("b", 70_000), b"END\r\n".to_vec()].concat();
        for _ in 0..5 {
            assert_eq!(get(&transit, &["a", "b"], &fits).await.unwrap(), 80_000);
            assert!(matches!(get(&transit, &["a", "b"], &more).await, Err(Error::Crowded)));
        }
        assert_eq!(transit.used(), 0);
        let _others = transit.reserve(50_000).unwrap();
        assert!(matches!(get(&transit, &["a", "b"], &fits).await, Err(Error::Crowded)));
    }
}
