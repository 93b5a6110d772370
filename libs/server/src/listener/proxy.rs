//! The PROXY header of load balancers, versions 1 and 2: the address of the real client.
//!
//! Read as far as the header goes, so that nothing behind it is consumed. Processes of a cluster and probes come without
//! a balancer: what was read of a connection without a header is given back.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use tokio::io::{AsyncRead, AsyncReadExt};

/// First bytes of version 2.
const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";

/// Longest header of version 1, with its line end.
const MAX_LINE: usize = 107;

/// Longest addresses and extensions of version 2 that we read.
const MAX_BINARY: usize = 4096;

/// First bytes of version 1. Its shortest header is longer than the signature of version 2.
const WORD: [u8; 6] = *b"PROXY ";

/// What a connection begins with.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Beginning {
    /// A header. `None`: it names no address, as for a balancer's own health checks.
    Header(Option<SocketAddr>),
    /// No header: the client came by itself. These bytes of it were read.
    Direct(Vec<u8>),
}

/// Reads the header if there is one.
///
/// Errors: the header is malformed.
pub(super) async fn read_header(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Beginning> {
    let mut start = [0; SIGNATURE.len()];
    let mut count = 0;
    while count < start.len() && may_be_header(&start[..count]) {
        match stream.read(&mut start[count..]).await? {
            0 => break,
            more => count += more,
        }
    }
    if start == SIGNATURE {
        return read_binary(stream).await.map(Beginning::Header);
    }
    if count == start.len() && start.starts_with(&WORD) {
        return read_line(start.to_vec(), stream).await.map(Beginning::Header);
    }
    Ok(Beginning::Direct(start[..count].to_vec()))
}

/// Whether a header of either version can begin with these bytes.
fn may_be_header(start: &[u8]) -> bool {
    let goes_on = |known: &[u8]| start.starts_with(known) || known.starts_with(start);
    goes_on(&SIGNATURE) || goes_on(&WORD)
}

async fn read_line(
    mut line: Vec<u8>,
    stream: &mut (impl AsyncRead + Unpin),
) -> io::Result<Option<SocketAddr>> {
    while !line.ends_with(b"\r\n") {
        if line.len() >= MAX_LINE {
            return Err(invalid("the PROXY header is too long"));
        }
        line.push(stream.read_u8().await?);
    }
    let text = std::str::from_utf8(&line).map_err(|_| invalid("the PROXY header is not text"))?;
    parse_line(text.trim_end())
}

fn parse_line(line: &str) -> io::Result<Option<SocketAddr>> {
    let words: Vec<&str> = line.split(' ').collect();
    match words[..] {
        ["PROXY", "UNKNOWN", ..] => Ok(None),
        ["PROXY", family @ ("TCP4" | "TCP6"), source, _, port, _] => {
            let address: IpAddr = source.parse().map_err(|_| invalid("no address in it"))?;
            let port: u16 = port.parse().map_err(|_| invalid("no port in it"))?;
            if address.is_ipv4() != (family == "TCP4") {
                return Err(invalid("an address of another family"));
            }
            Ok(Some(SocketAddr::new(address, port)))
        }
        _ => Err(invalid("malformed")),
    }
}

async fn read_binary(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<SocketAddr>> {
    let (version_and_command, family) = (stream.read_u8().await?, stream.read_u8().await?);
    let length = usize::from(stream.read_u16().await?);
    if length > MAX_BINARY {
        return Err(invalid("the PROXY header is too long"));
    }
    let mut rest = vec![0; length];
    stream.read_exact(&mut rest).await?;
    match version_and_command {
        // LOCAL: the balancer itself.
        0x20 => return Ok(None),
        0x21 => {}
        _ => return Err(invalid("an unknown version or command")),
    }
    let port = |at: usize| rest.get(at..at + 2).map(|two| u16::from_be_bytes([two[0], two[1]]));
    let found = match family {
        // TCP over IPv4: both addresses, then both ports.
        0x11 => rest
            .first_chunk::<4>()
            .zip(port(8))
            .map(|(address, port)| SocketAddr::new(IpAddr::V4(Ipv4Addr::from(*address)), port)),
        0x21 => rest
            .first_chunk::<16>()
            .zip(port(32))
            .map(|(address, port)| SocketAddr::new(IpAddr::V6(Ipv6Addr::from(*address)), port)),
        _ => return Ok(None),
    };
    found.map(Some).ok_or_else(|| invalid("shorter than its addresses"))
}

fn invalid(text: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("PROXY protocol: {text}"))
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;

    use super::*;

    async fn read(bytes: &[u8]) -> (io::Result<Beginning>, usize) {
        let mut rest = bytes;
        let found = read_header(&mut rest).await;
        (found, rest.len())
    }

    fn of_client(address: &str) -> Beginning {
        Beginning::Header(Some(address.parse().unwrap()))
    }

    #[tokio::test]
    async fn header_of_both_versions_gives_the_client_and_leaves_the_rest() {
        let one = b"PROXY TCP4 192.0.2.1 198.51.100.1 56324 443\r\nGET /";
        let (found, rest) = read(one).await;
        assert_eq!((found.unwrap(), rest), (of_client("192.0.2.1:56324"), 5));
        let six = b"PROXY TCP6 2001:db8::1 ::1 1 2\r\n";
        assert_eq!(read(six).await.0.unwrap(), of_client("[2001:db8::1]:1"));
        assert_eq!(read(b"PROXY UNKNOWN\r\nX").await.0.unwrap(), Beginning::Header(None));

        let mut two = SIGNATURE.to_vec();
        two.extend([0x21, 0x11, 0, 15, 192, 0, 2, 1, 198, 51, 100, 1, 0xdc, 0x04, 1, 187]);
        // An extension of three bytes.
        two.extend([4, 0, 0]);
        two.extend(b"GET /");
        let (found, rest) = read(&two).await;
        assert_eq!((found.unwrap(), rest), (of_client("192.0.2.1:56324"), 5));
        let mut local = SIGNATURE.to_vec();
        local.extend([0x20, 0, 0, 0]);
        assert_eq!(read(&local).await.0.unwrap(), Beginning::Header(None));
    }

    #[tokio::test]
    async fn connection_without_a_header_is_direct_and_loses_no_byte() {
        for bytes in [
            b"GET / HTTP/1.1\r\n\r\n".as_slice(),
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
            b"POST /v1/traces HTTP/1.1\r\n",
            b"\r\n\r\nGET / HTTP/1.1\r\n",
            b"\x16\x03\x01\x02\0",
            b"PROX",
            b"PROXY",
            b"",
        ] {
            let (found, rest) = read(bytes).await;
            let Beginning::Direct(begun) = found.unwrap() else { panic!("{bytes:?}") };
            assert_eq!([begun.as_slice(), &bytes[bytes.len() - rest..]].concat(), bytes);
        }
    }

    #[tokio::test]
    async fn header_that_comes_in_pieces_is_waited_for() {
        let (mut client, mut server) = tokio::io::duplex(1);
        let sent = async {
            client.write_all(b"PROXY TCP4 192.0.2.1 198.51.100.1 1 2\r\n").await.unwrap();
        };
        let (found, ()) = tokio::join!(read_header(&mut server), sent);
        assert_eq!(found.unwrap(), of_client("192.0.2.1:1"));
    }

    #[tokio::test]
    async fn damaged_header_is_an_error() {
        let mut short = SIGNATURE.to_vec();
        short.extend([0x21, 0x21, 0, 4, 1, 2, 3, 4]);
        let mut long = SIGNATURE.to_vec();
        long.extend([0x21, 0x21, 0xff, 0xff]);
        let endless = [b"PROXY TCP4 ".as_slice(), &[b'1'; 200]].concat();
        for bytes in [
            b"PROXY TCP4 1.2.3.4\r\n".as_slice(),
            b"PROXY TCP4 ::1 ::1 1 2\r\n",
            b"PROXY TCP4 1.2.3.4 1.2.3.4 99999 2\r\n",
            b"PROXY \xff\xff\xff\xff\xff\xff\r\n",
            &short,
            &long,
            &endless,
        ] {
            assert!(read(bytes).await.0.is_err(), "{bytes:?}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_header_is_read_without_a_panic(
            mut bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..300),
            start in 0..3,
        ) {
            match start {
                0 => drop(bytes.splice(0..0, SIGNATURE)),
                1 => drop(bytes.splice(0..0, *b"PROXY TCP4 ")),
                _ => {}
            }
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            let _ = runtime.block_on(read(&bytes));
        }
    }
}
