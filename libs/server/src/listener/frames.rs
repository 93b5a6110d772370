//! Follows a connection of HTTP/2 as far as the heads of its frames, to know when the head of a request has begun and not
//! ended.
//!
//! Meanwhile the HTTP library keeps what it has decoded of the head, and reads nothing else of the connection.

/// What a connection of HTTP/2 begins with.
pub(super) const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Bytes before each frame: its length, its type, its flags and its stream.
const HEAD_BYTES: usize = 9;

/// Types of frames of which the head of a request consists.
const HEADERS: u8 = 1;
const CONTINUATION: u8 = 9;

/// The flag of the last of them.
const END_HEADERS: u8 = 4;

/// The position of the next byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// So many bytes of the preface have come.
    Preface(usize),
    /// Not of HTTP/2.
    Other,
    /// So many bytes before a frame have come.
    Head(usize),
    /// So many bytes of the frame are to come.
    Payload(usize),
}

/// The position in a connection.
#[derive(Debug)]
pub(super) struct Frames {
    place: Place,
    head: [u8; HEAD_BYTES],
    /// Of the head of a request that is being read.
    unfinished: Option<Unfinished>,
}

/// The head of a request that has begun and not ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Unfinished {
    /// Bytes that have come.
    pub(super) bytes: u64,
    /// It began with the last read.
    pub(super) is_new: bool,
}

impl Frames {
    pub(super) fn new() -> Self {
        Self { place: Place::Preface(0), head: [0; HEAD_BYTES], unfinished: None }
    }

    /// Whether the whole preface has come.
    pub(super) fn are_there(&self) -> bool {
        matches!(self.place, Place::Head(_) | Place::Payload(_))
    }

    /// The head of a request, if it has begun and not ended.
    pub(super) fn unfinished_head(&self) -> Option<Unfinished> {
        self.unfinished
    }

    /// Goes on over what was read.
    pub(super) fn pass(&mut self, mut bytes: &[u8]) {
        if let Some(unfinished) = &mut self.unfinished {
            unfinished.is_new = false;
        }
        while !bytes.is_empty() {
            let left = match self.place {
                Place::Other => return,
                Place::Preface(came) => PREFACE.len() - came,
                Place::Head(came) => HEAD_BYTES - came,
                Place::Payload(left) => left,
            };
            let (part, rest) = bytes.split_at(left.min(bytes.len()));
            let is_whole = part.len() == left;
            match self.place {
                Place::Preface(came) if !PREFACE[came..].starts_with(part) => {
                    self.place = Place::Other;
                }
                Place::Preface(_) if is_whole => self.place = Place::Head(0),
                Place::Preface(came) => self.place = Place::Preface(came + part.len()),
                Place::Head(came) => {
                    self.head[came..came + part.len()].copy_from_slice(part);
                    self.place = Place::Head(came + part.len());
                    if is_whole {
                        self.begin();
                    }
                }
                Place::Payload(_) => {
                    if let Some(unfinished) = &mut self.unfinished {
                        unfinished.bytes += part.len() as u64;
                    }
                    self.place = Place::Payload(left - part.len());
                    if is_whole {
                        self.end();
                    }
                }
                Place::Other => {}
            }
            bytes = rest;
        }
    }

    /// A frame begins.
    fn begin(&mut self) {
        let [high, middle, low, kind, ..] = self.head;
        if kind == HEADERS {
            self.unfinished.get_or_insert(Unfinished { bytes: 0, is_new: true });
        }
        match u32::from_be_bytes([0, high, middle, low]) as usize {
            0 => self.end(),
            length => self.place = Place::Payload(length),
        }
    }

    /// A frame is whole.
    fn end(&mut self) {
        let [_, _, _, kind, flags, ..] = self.head;
        if matches!(kind, HEADERS | CONTINUATION) && flags & END_HEADERS != 0 {
            self.unfinished = None;
        }
        self.place = Place::Head(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, flags: u8, length: u8) -> Vec<u8> {
        let mut frame = vec![0, 0, length, kind, flags, 0, 0, 0, 1];
        // Whatever a frame has in it is not taken for others.
        frame.resize(HEAD_BYTES + usize::from(length), HEADERS);
        frame
    }

    #[test]
    fn head_is_unfinished_from_its_first_frame_to_the_end_of_its_last_one() {
        const DATA: u8 = 0;
        const SETTINGS: u8 = 4;
        for (frames, expected) in [
            (vec![], None),
            (vec![frame(SETTINGS, 0, 18), frame(HEADERS, 5, 20), frame(DATA, 1, 50)], None),
            (vec![frame(HEADERS, 1, 20)], Some(20)),
            (vec![frame(HEADERS, 0, 0)], Some(0)),
            (vec![frame(HEADERS, 1, 20), frame(CONTINUATION, 0, 30)], Some(50)),
            (vec![frame(HEADERS, 1, 20), frame(CONTINUATION, 4, 30)], None),
            (vec![frame(HEADERS, 0, 20), frame(CONTINUATION, 4, 0)], None),
            // One that another follows in the same read, of which some is missing.
            (vec![frame(HEADERS, 4, 20), frame(HEADERS, 4, 9)[..15].to_vec()], Some(6)),
            // Flags of the same number mean something else.
            (vec![frame(HEADERS, 0, 20), frame(DATA, 4, 3)], Some(23)),
        ] {
            let sent = [&PREFACE[..], &frames.concat()].concat();
            for step in [1, 2, 5, 9, 10, 1_000] {
                let mut followed = Frames::new();
                sent.chunks(step).for_each(|part| followed.pass(part));
                assert!(followed.are_there());
                let bytes = followed.unfinished_head().map(|unfinished| unfinished.bytes);
                assert_eq!(bytes, expected, "{frames:?} {step}");
            }
        }
    }

    #[test]
    fn head_is_new_until_more_of_it_is_read() {
        let mut followed = Frames::new();
        let mut is_new = |part: &[u8]| {
            followed.pass(part);
            followed.unfinished_head().map(|unfinished| unfinished.is_new)
        };
        let (whole, begun) = (frame(HEADERS, 4, 20), frame(HEADERS, 0, 20));
        assert_eq!(is_new(PREFACE), None);
        assert_eq!(is_new(&begun[..12]), Some(true));
        assert_eq!(is_new(&begun[12..]), Some(false));
        assert_eq!(is_new(&[frame(CONTINUATION, 4, 1), begun].concat()), Some(true));
        assert_eq!(is_new(&[frame(CONTINUATION, 4, 1), whole].concat()), None);
    }

    #[test]
    fn only_a_whole_preface_is_one() {
        for sent in [
            &b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r"[..],
            b"PRIX / HTTP/1.1\r\n\r\n",
            b"G",
            b"PRI /",
            b"",
        ] {
            for step in [1, 1_000] {
                let mut followed = Frames::new();
                sent.chunks(step).for_each(|part| followed.pass(part));
                assert!(!followed.are_there(), "{sent:?}");
            }
        }
    }
}
