//! Looks up SRV records, which the resolver of the C library does not support.
//!
//! Asks each of the system's name servers until one answers: by UDP, then by TCP if the answer is too long for UDP.
//! Nothing is cached.
#![warn(missing_docs)]

use std::hash::{BuildHasher, RandomState};
use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::timeout;

const SRV: u16 = 33;
const INTERNET: u16 = 1;
const NAME_ERROR: u8 = 3;

/// Time for one name server.
const PATIENCE: Duration = Duration::from_secs(2);

/// The targets of the SRV records of a name, as `host:port`.
///
/// Errors: there is no such name, or no name server answers.
pub async fn lookup_srv(name: &str) -> io::Result<Vec<String>> {
    let text = tokio::fs::read_to_string("/etc/resolv.conf").await.unwrap_or_default();
    ask_all(&Resolver::of(&text), name).await
}

/// What `/etc/resolv.conf` says.
#[derive(Debug, PartialEq, Eq)]
struct Resolver {
    servers: Vec<SocketAddr>,
    search: Vec<String>,
    ndots: usize,
}

impl Resolver {
    fn of(text: &str) -> Self {
        let mut resolver = Self { servers: Vec::new(), search: Vec::new(), ndots: 1 };
        for line in text.lines() {
            let mut words = line.split_whitespace();
            match words.next() {
                Some("nameserver") => {
                    let address = words.next().and_then(|word| word.parse::<IpAddr>().ok());
                    resolver.servers.extend(address.map(|address| SocketAddr::new(address, 53)));
                }
                Some("search" | "domain") => resolver.search = words.map(str::to_owned).collect(),
                Some("options") => {
                    let ndots = words.find_map(|word| word.strip_prefix("ndots:"));
                    resolver.ndots = ndots.and_then(|ndots| ndots.parse().ok()).unwrap_or(1);
                }
                _ => {}
            }
        }
        if resolver.servers.is_empty() {
            resolver.servers.push(SocketAddr::from(([127, 0, 0, 1], 53)));
        }
        resolver
    }

    /// The full names that a name may stand for, the most likely one first.
    fn candidates(&self, name: &str) -> Vec<String> {
        if let Some(absolute) = name.strip_suffix('.') {
            return vec![absolute.to_owned()];
        }
        let domains = self.search.iter().map(|domain| domain.trim_end_matches('.'));
        let mut names: Vec<_> = domains.map(|domain| format!("{name}.{domain}")).collect();
        let place = if name.matches('.').count() >= self.ndots { 0 } else { names.len() };
        names.insert(place, name.to_owned());
        names
    }
}

async fn ask_all(resolver: &Resolver, name: &str) -> io::Result<Vec<String>> {
    let mut last = io::Error::from(ErrorKind::NotFound);
    for candidate in resolver.candidates(name) {
        for &server in &resolver.servers {
            match timeout(PATIENCE, ask(server, &candidate)).await {
                Ok(Ok(found)) if !found.is_empty() => return Ok(found),
                // This name has none; perhaps the next one.
                Ok(Ok(_)) => break,
                Ok(Err(error)) => last = error,
                Err(_) => last = ErrorKind::TimedOut.into(),
            }
        }
    }
    Err(last)
}

/// Asks one server for one name; empty if there is no such record.
async fn ask(server: SocketAddr, name: &str) -> io::Result<Vec<String>> {
    let id = RandomState::new().hash_one(name) as u16;
    let question = question(id, name)?;
    let local: SocketAddr =
        if server.is_ipv4() { ([0, 0, 0, 0], 0).into() } else { ([0u16; 8], 0).into() };
    let socket = UdpSocket::bind(local).await?;
    socket.connect(server).await?;
    socket.send(&question).await?;
    let mut buffer = [0; 4096];
    loop {
        let length = socket.recv(&mut buffer).await?;
        match read_answer(&buffer[..length], id, &question) {
            // Not the answer to this question.
            None => {}
            Some(Ok(Answer::Cut)) => break,
            Some(Ok(Answer::Targets(targets))) => return Ok(targets),
            Some(Err(error)) => return Err(error),
        }
    }
    let mut stream = TcpStream::connect(server).await?;
    stream.write_u16(question.len() as u16).await?;
    stream.write_all(&question).await?;
    let mut answer = vec![0; stream.read_u16().await?.into()];
    stream.read_exact(&mut answer).await?;
    match read_answer(&answer, id, &question) {
        Some(Ok(Answer::Targets(targets))) => Ok(targets),
        Some(Err(error)) => Err(error),
        None | Some(Ok(Answer::Cut)) => Err(ErrorKind::InvalidData.into()),
    }
}

fn question(id: u16, name: &str) -> io::Result<Vec<u8>> {
    let mut out = id.to_be_bytes().to_vec();
    // One question, recursion desired.
    out.extend_from_slice(&[1, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
    for label in name.split('.') {
        let length = u8::try_from(label.len()).ok().filter(|length| (1..64).contains(length));
        out.push(length.ok_or(ErrorKind::InvalidInput)?);
        out.extend_from_slice(label.as_bytes());
    }
    if name.len() > 253 {
        return Err(ErrorKind::InvalidInput.into());
    }
    out.push(0);
    out.extend_from_slice(&SRV.to_be_bytes());
    out.extend_from_slice(&INTERNET.to_be_bytes());
    Ok(out)
}

#[derive(Debug, PartialEq, Eq)]
enum Answer {
    /// Each `host:port`; records with the lowest priority number come first.
    Targets(Vec<String>),
    /// It does not fit in a datagram.
    Cut,
}

/// `None` if the message is not an answer to the question.
fn read_answer(message: &[u8], id: u16, question: &[u8]) -> Option<io::Result<Answer>> {
    let header: &[u8; 12] = message.first_chunk()?;
    let is_answer = header[..2] == id.to_be_bytes() && header[2] & 0x80 != 0;
    if !is_answer {
        return None;
    }
    match header[3] & 0x0f {
        0 => {}
        NAME_ERROR => return Some(Ok(Answer::Targets(Vec::new()))),
        code => return Some(Err(io::Error::other(format!("name server answers code {code}")))),
    }
    if header[2] & 0x02 != 0 {
        return Some(Ok(Answer::Cut));
    }
    let invalid = || io::Error::from(ErrorKind::InvalidData);
    // The question comes before the answers, perhaps with different case.
    let rest = question.len();
    if u16::from_be_bytes([header[4], header[5]]) != 1 || message.len() < rest {
        return Some(Err(invalid()));
    }
    if !message[12..rest].eq_ignore_ascii_case(&question[12..]) {
        return None;
    }
    let answers = u16::from_be_bytes([header[6], header[7]]);
    Some(read_records(message, rest, answers).map(Answer::Targets).ok_or_else(invalid))
}

fn read_records(message: &[u8], mut at: usize, records: u16) -> Option<Vec<String>> {
    let number =
        |at: usize| -> Option<u16> { Some(u16::from_be_bytes(*message.get(at..)?.first_chunk()?)) };
    let mut found = Vec::new();
    for _ in 0..records {
        at = skip_name(message, at)?;
        let (kind, length) = (number(at)?, usize::from(number(at + 8)?));
        let data = at + 10;
        at = data + length;
        if at > message.len() {
            return None;
        }
        if kind == SRV {
            let (priority, port) = (number(data)?, number(data + 4)?);
            found.push((priority, format!("{}:{port}", read_name(message, data + 6)?)));
        }
    }
    found.sort();
    Some(found.into_iter().map(|(_, target)| target).collect())
}

/// The place after a name.
fn skip_name(message: &[u8], mut at: usize) -> Option<usize> {
    loop {
        match *message.get(at)? {
            0 => return Some(at + 1),
            // The rest of the name stands elsewhere.
            length if length >= 0xc0 => return Some(at + 2),
            length => at += 1 + usize::from(length),
        }
    }
}

fn read_name(message: &[u8], mut at: usize) -> Option<String> {
    let mut name = String::new();
    // Each step is a label or a jump. A name has at most 127 labels.
    for _ in 0..256 {
        let length = *message.get(at)?;
        match length {
            0 => return Some(name),
            0xc0.. => {
                let low = *message.get(at + 1)?;
                at = usize::from(length & 0x3f) << 8 | usize::from(low);
            }
            _ => {
                let label = message.get(at + 1..at + 1 + usize::from(length))?;
                if !name.is_empty() {
                    name.push('.');
                }
                let is_host = |b: &u8| b.is_ascii_alphanumeric() || b"-_".contains(b);
                if !label.iter().all(is_host) || name.len() > 253 {
                    return None;
                }
                name.push_str(std::str::from_utf8(label).ok()?);
                at += 1 + label.len();
            }
        }
    }
    None
}

#[cfg(test)]
mod tests;
