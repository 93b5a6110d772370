//! Members of a cluster with a secret prove to each other that they know it, and seal what they say.
//!
//! The one who connects sends a challenge with its greeting. The other answers with a challenge of
//! its own and a proof, the HMAC-SHA256 under the secret of greeting and challenges; the first
//! checks it before it says anything, and answers with its own proof. Both derive the key of the
//! connection in the same way. From then on each piece is followed by a seal: 16 bytes of the HMAC
//! under that key of direction, number and content. So nobody without the secret takes part, and
//! what was said on another connection, or to another member, is of no use. Nothing is encrypted:
//! that is what TLS is for.

use std::io;
use std::sync::Arc;

use ring::hmac::{self, HMAC_SHA256, Key};
use ring::rand::{SecureRandom, SystemRandom};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::hello::{Challenge, Hello, HelloError, read_challenge};
use super::network::Connection;

/// Gives the secret of the cluster as it is now.
pub type Secret = Arc<dyn Fn() -> String + Send + Sync>;

const SEAL_BYTES: usize = 16;

/// A connection after the greeting.
pub(super) struct Link {
    pub(super) stream: Connection,
    seals: Option<Seals>,
}

struct Seals {
    key: Key,
    /// Which side of the connection this is.
    dialled: bool,
    sent: u64,
    received: u64,
}

/// Errors: the system gives no randomness.
pub(super) fn challenge() -> io::Result<Challenge> {
    let mut bytes = [0; 32];
    let filled = SystemRandom::new().fill(&mut bytes);
    filled.map_err(|_| io::Error::other("the system gives no randomness"))?;
    Ok(bytes)
}

/// What both sides of a greeting know.
struct Greeting {
    key: Key,
    said: Vec<u8>,
}

impl Greeting {
    fn new(secret: &Secret, hello: &Hello, answer: &Challenge) -> Self {
        let mut said = hello.to_bytes();
        said.extend_from_slice(answer);
        Self { key: Key::new(HMAC_SHA256, secret().as_bytes()), said }
    }

    fn covered(&self, purpose: &[u8]) -> Vec<u8> {
        [purpose, &self.said].concat()
    }

    fn proof(&self, purpose: &[u8]) -> hmac::Tag {
        hmac::sign(&self.key, &self.covered(purpose))
    }

    async fn check(&self, purpose: &[u8], stream: &mut Connection) -> Result<(), HelloError> {
        let shown = read_challenge(&mut **stream).await?;
        // Takes the same time wherever the first difference is.
        hmac::verify(&self.key, &self.covered(purpose), &shown).map_err(|_| HelloError::Stranger)
    }

    fn link(&self, stream: Connection, dialled: bool) -> Link {
        let key = Key::new(HMAC_SHA256, self.proof(b"tactus gossip 2 seals").as_ref());
        Link { stream, seals: Some(Seals { key, dialled, sent: 0, received: 0 }) }
    }
}

const ACCEPTS: &[u8] = b"tactus gossip 2 accepts";
const DIALS: &[u8] = b"tactus gossip 2 dials";

/// The part of the one who connected, after it was welcomed.
pub(super) async fn dialled(
    mut stream: Connection,
    hello: &Hello,
    secret: Option<&Secret>,
) -> Result<Link, HelloError> {
    let Some(secret) = secret else { return Ok(Link { stream, seals: None }) };
    let answer = read_challenge(&mut *stream).await?;
    let greeting = Greeting::new(secret, hello, &answer);
    greeting.check(ACCEPTS, &mut stream).await?;
    stream.write_all(greeting.proof(DIALS).as_ref()).await?;
    stream.flush().await?;
    Ok(greeting.link(stream, true))
}

/// The part of the one who was connected to, after it welcomed.
pub(super) async fn accepted(
    mut stream: Connection,
    hello: &Hello,
    secret: Option<&Secret>,
) -> Result<Link, HelloError> {
    let Some(secret) = secret else { return Ok(Link { stream, seals: None }) };
    let answer = challenge()?;
    let greeting = Greeting::new(secret, hello, &answer);
    stream.write_all(&answer).await?;
    stream.write_all(greeting.proof(ACCEPTS).as_ref()).await?;
    stream.flush().await?;
    greeting.check(DIALS, &mut stream).await?;
    Ok(greeting.link(stream, false))
}

impl Link {
    /// Writes `bytes` and their seal.
    pub(super) async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes).await?;
        if let Some(seals) = &mut self.seals {
            let seal = hmac::sign(&seals.key, &piece(seals.dialled, seals.sent, bytes));
            seals.sent += 1;
            self.stream.write_all(&seal.as_ref()[..SEAL_BYTES]).await?;
        }
        self.stream.flush().await
    }

    /// Fills `bytes` and checks their seal. Errors: the stream's; a seal that is wrong.
    pub(super) async fn read(&mut self, bytes: &mut [u8]) -> io::Result<()> {
        self.stream.read_exact(bytes).await?;
        let Some(seals) = &mut self.seals else { return Ok(()) };
        let mut seal = [0; SEAL_BYTES];
        self.stream.read_exact(&mut seal).await?;
        let expected = hmac::sign(&seals.key, &piece(!seals.dialled, seals.received, bytes));
        seals.received += 1;
        // The whole content is hashed either way, so that the time tells nothing of the seal.
        if expected.as_ref()[..SEAL_BYTES] == seal {
            return Ok(());
        }
        Err(io::Error::new(io::ErrorKind::InvalidData, "the seal of a message is wrong"))
    }
}

fn piece(dialled: bool, number: u64, bytes: &[u8]) -> Vec<u8> {
    let mut piece = Vec::with_capacity(9 + bytes.len());
    piece.push(u8::from(dialled));
    piece.extend_from_slice(&number.to_be_bytes());
    piece.extend_from_slice(bytes);
    piece
}

#[cfg(test)]
mod tests {
    use super::super::hello::Purpose;
    use super::*;

    fn secret(text: &'static str) -> Secret {
        Arc::new(move || text.to_owned())
    }

    fn hello() -> Hello {
        let challenge = Some(challenge().unwrap());
        Hello {
            purpose: Purpose::Gossip,
            label: "a".to_owned(),
            from: ([10, 0, 0, 7], 1).into(),
            challenge,
        }
    }

    async fn greeted(
        dials: &'static str,
        accepts: &'static str,
    ) -> (Result<Link, HelloError>, Result<Link, HelloError>) {
        let (here, there) = tokio::io::duplex(4096);
        let hello = hello();
        let (dials, accepts) = (secret(dials), secret(accepts));
        tokio::join!(
            dialled(Box::new(here), &hello, Some(&dials)),
            accepted(Box::new(there), &hello, Some(&accepts))
        )
    }

    #[tokio::test]
    async fn pieces_pass_between_members_that_know_the_secret() {
        let (dialled, accepted) = greeted("one and the same", "one and the same").await;
        let (mut dialled, mut accepted) = (dialled.unwrap(), accepted.unwrap());
        let mut read = [0; 5];
        for piece in [b"first", b"again", b"again"] {
            dialled.write(piece).await.unwrap();
            accepted.read(&mut read).await.unwrap();
            assert_eq!(&read, piece);
        }
        accepted.write(b"reply").await.unwrap();
        dialled.read(&mut read).await.unwrap();
        assert_eq!(&read, b"reply");
    }

    #[tokio::test]
    async fn member_with_another_secret_is_a_stranger_to_both() {
        let (dialled, accepted) = greeted("one", "another").await;
        assert!(matches!(dialled, Err(HelloError::Stranger)));
        assert!(accepted.is_err());
    }

    #[tokio::test]
    async fn piece_that_was_changed_sent_again_or_turned_back_is_refused() {
        let (dialled, accepted) = greeted("secret", "secret").await;
        let (dialled, mut accepted) = (dialled.unwrap(), accepted.unwrap());
        let (key, mut raw) = (dialled.seals.unwrap().key, dialled.stream);
        let seal = |direction, number, bytes: &[u8]| {
            let tag = hmac::sign(&key, &piece(direction, number, bytes));
            tag.as_ref()[..SEAL_BYTES].to_vec()
        };
        let mut read = [0; 5];
        raw.write_all(&[&b"hello"[..], &seal(true, 0, b"hello")].concat()).await.unwrap();
        accepted.read(&mut read).await.unwrap();
        for forged in [seal(true, 0, b"hello"), seal(true, 2, b"hallo"), seal(false, 3, b"hello")] {
            raw.write_all(&[&b"hello"[..], &forged].concat()).await.unwrap();
            let error = accepted.read(&mut read).await.unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        }
    }

    #[tokio::test]
    async fn proof_of_one_greeting_is_none_for_another() {
        let (known, hello) = (secret("secret"), hello());
        let first = Greeting::new(&known, &hello, &[1; 32]);
        let (mut here, there) = tokio::io::duplex(4096);
        here.write_all(first.proof(DIALS).as_ref()).await.unwrap();
        let second = Greeting::new(&known, &hello, &[2; 32]);
        let mut there: Connection = Box::new(there);
        assert!(matches!(second.check(DIALS, &mut there).await, Err(HelloError::Stranger)));
        here.write_all(second.proof(ACCEPTS).as_ref()).await.unwrap();
        assert!(matches!(second.check(DIALS, &mut there).await, Err(HelloError::Stranger)));
    }
}
