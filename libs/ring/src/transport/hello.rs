//! The first bytes of a gossip connection.
//!
//! Whoever connects sends magic, version, purpose, its cluster label and the address that it
//! listens on (each text a length byte and UTF-8); the other side answers magic, version and a
//! status byte. Only then do messages follow: a length (u32, big-endian) and this many bytes each, to
//! which the other side answers a receipt byte. In a cluster with a secret both are of version 2,
//! and prove that they know it before the first message: see [`super::proof`].

use std::io;
use std::net::SocketAddr;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// No other protocol on this port begins so: HashiCorp's begins with a message type below 0x20.
const MAGIC: [u8; 7] = *b"TACTUSg";
const VERSION: u8 = 1;
/// Of members that prove to know the cluster's secret.
const PROVING: u8 = 2;
/// Answer to a message.
pub(super) const RECEIPT: u8 = 0x06;

/// Random bytes that the other side's proof must cover.
pub(super) type Challenge = [u8; 32];

/// What a connection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// Messages of the gossip, from the one who connects.
    Gossip,
    /// A question about how much of a member's news is known; see [`super::probe`].
    Probe,
}

/// Greeting of the one who connects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Hello {
    pub(super) purpose: Purpose,
    /// At most 255 bytes.
    pub(super) label: String,
    /// Where to answer.
    pub(super) from: SocketAddr,
    /// Of a member that will prove to know the cluster's secret.
    pub(super) challenge: Option<Challenge>,
}

impl Hello {
    /// As it is sent.
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        bytes.push(if self.challenge.is_some() { PROVING } else { VERSION });
        bytes.push(match self.purpose {
            Purpose::Gossip => 0,
            Purpose::Probe => 1,
        });
        for text in [&self.label, &self.from.to_string()] {
            let text = &text.as_bytes()[..text.len().min(255)];
            bytes.push(text.len() as u8);
            bytes.extend_from_slice(text);
        }
        bytes.extend(self.challenge.iter().flatten());
        bytes
    }
}

/// Why a connection is of no use.
#[derive(Debug, thiserror::Error)]
pub(super) enum HelloError {
    #[error("the peer does not speak Tactus gossip")]
    Foreign {
        /// The first bytes.
        bytes: Vec<u8>,
    },
    #[error("the peer closed the connection without a greeting")]
    Silent,
    #[error("the peer speaks version {0} of the gossip, this member version {VERSION}")]
    Version(u8),
    #[error("the peer belongs to a cluster with another label")]
    Label,
    #[error(
        "one of both has no secret of the cluster: every process needs the same auth.internal_token_file"
    )]
    Secretless,
    #[error("the peer does not know the secret of this cluster (auth.internal_token_file)")]
    Stranger,
    #[error("malformed greeting")]
    Malformed,
    #[error("a message that members do not send")]
    Message,
    #[error("there is no room for more of what members say")]
    NoRoom,
    #[error(transparent)]
    Io(#[from] io::Error),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Status {
    Welcome,
    OtherLabel,
    OtherVersion,
    /// One side has a secret, the other has none.
    Secretless,
}

pub(super) async fn send_hello(
    stream: &mut (impl AsyncWrite + Unpin + ?Sized),
    hello: &Hello,
) -> io::Result<()> {
    stream.write_all(&hello.to_bytes()).await?;
    stream.flush().await
}

/// Reads the greeting of the one who connected.
pub(super) async fn read_hello(
    stream: &mut (impl AsyncRead + Unpin + ?Sized),
) -> Result<Hello, HelloError> {
    let version = read_start(stream).await?;
    if ![VERSION, PROVING].contains(&version) {
        return Err(HelloError::Version(version));
    }
    let purpose = match stream.read_u8().await? {
        0 => Purpose::Gossip,
        1 => Purpose::Probe,
        _ => return Err(HelloError::Malformed),
    };
    let label = read_text(stream).await?;
    let from = read_text(stream).await?.parse().map_err(|_| HelloError::Malformed)?;
    let challenge = match version {
        PROVING => Some(read_challenge(stream).await?),
        _ => None,
    };
    Ok(Hello { purpose, label, from, challenge })
}

pub(super) async fn send_status(
    stream: &mut (impl AsyncWrite + Unpin + ?Sized),
    status: Status,
) -> io::Result<()> {
    let mut bytes = MAGIC.to_vec();
    bytes.push(VERSION);
    bytes.push(match status {
        Status::Welcome => 0,
        Status::OtherLabel => 1,
        Status::OtherVersion => 2,
        Status::Secretless => 3,
    });
    stream.write_all(&bytes).await?;
    stream.flush().await
}

/// Reads the answer to a greeting; an error unless it is a welcome.
pub(super) async fn read_status(
    stream: &mut (impl AsyncRead + Unpin + ?Sized),
) -> Result<(), HelloError> {
    let version = read_start(stream).await?;
    match stream.read_u8().await? {
        0 => Ok(()),
        1 => Err(HelloError::Label),
        2 => Err(HelloError::Version(version)),
        3 => Err(HelloError::Secretless),
        _ => Err(HelloError::Malformed),
    }
}

/// Reads magic and version, byte by byte: a foreign peer is told at its first wrong byte, even if
/// it then waits for an answer.
async fn read_start(stream: &mut (impl AsyncRead + Unpin + ?Sized)) -> Result<u8, HelloError> {
    let mut seen = Vec::with_capacity(MAGIC.len());
    for expected in MAGIC {
        match stream.read_u8().await {
            Ok(byte) => seen.push(byte),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof && seen.is_empty() => {
                return Err(HelloError::Silent);
            }
            Err(error) => return Err(error.into()),
        }
        if seen.last() != Some(&expected) {
            return Err(HelloError::Foreign { bytes: seen });
        }
    }
    Ok(stream.read_u8().await?)
}

pub(super) async fn read_challenge(
    stream: &mut (impl AsyncRead + Unpin + ?Sized),
) -> io::Result<Challenge> {
    let mut bytes = [0; 32];
    stream.read_exact(&mut bytes).await?;
    Ok(bytes)
}

async fn read_text(stream: &mut (impl AsyncRead + Unpin + ?Sized)) -> Result<String, HelloError> {
    let length = stream.read_u8().await?;
    let mut bytes = vec![0; usize::from(length)];
    stream.read_exact(&mut bytes).await?;
    String::from_utf8(bytes).map_err(|_| HelloError::Malformed)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn block_on<T>(future: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
    }

    proptest! {
        #[test]
        fn hello_sent_is_read_again(label in ".{0,60}", port: u16, probe: bool, challenge: Option<Challenge>) {
            let purpose = if probe { Purpose::Probe } else { Purpose::Gossip };
            let hello = Hello { purpose, label, from: ([10, 0, 0, 7], port).into(), challenge };
            let mut bytes = Vec::new();
            block_on(send_hello(&mut bytes, &hello)).unwrap();
            prop_assert_eq!(block_on(read_hello(&mut &bytes[..])).unwrap(), hello);
        }

        #[test]
        fn any_bytes_are_read_without_panic(bytes: Vec<u8>, valid_start: bool) {
            let mut all = if valid_start { [&MAGIC[..], &[PROVING]].concat() } else { Vec::new() };
            all.extend(bytes);
            let _ = block_on(read_hello(&mut &all[..]));
            let _ = block_on(read_status(&mut &all[..]));
        }
    }

    #[test]
    fn foreign_bytes_are_told_from_silence_and_other_versions() {
        let read = |bytes: &[u8]| block_on(read_hello(&mut &bytes[..])).unwrap_err();
        assert!(matches!(read(b"GET / HTTP/1.1"), HelloError::Foreign { bytes } if bytes == b"G"));
        assert!(matches!(read(b""), HelloError::Silent));
        assert!(matches!(read(b"TACTUSg\x09"), HelloError::Version(9)));
        let answer = [&MAGIC[..], &[3, 2]].concat();
        let status = block_on(read_status(&mut &answer[..])).unwrap_err();
        assert!(matches!(status, HelloError::Version(3)));
    }
}
