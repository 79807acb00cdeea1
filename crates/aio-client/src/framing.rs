//! Where a message begins and ends in a stream of bytes.

use std::fmt;
use std::ops::Range;

/// What makes a message of a stream of bytes, in both directions.
///
/// [`send`](crate::Client::send) takes a message and puts the frame around it;
/// [`receive`](crate::Client::receive) returns a message without its frame.
///
/// ```
/// use aio_client::{Client, Framing};
/// use std::io::{Read, Write};
///
/// let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
/// let client = Client::connect(listener.local_addr()?)?.with_framing(Framing::delimiter("\r\n"));
/// client.send("ping")?;
///
/// let (mut server, _) = listener.accept()?;
/// let mut line = [0; 6];
/// server.read_exact(&mut line)?;
/// assert_eq!(&line, b"ping\r\n");
/// server.write_all(b"pong\r\npong again\r\n")?;
///
/// assert_eq!(client.receive()?, b"pong");
/// assert_eq!(client.receive()?, b"pong again");
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Framing {
    /// All that comes until the peer closes its side is one message, which may be empty. What is sent
    /// gets no frame. This is the framing of the document, and the default.
    #[default]
    UntilClose,
    /// A message ends before these bytes, of which there is at least one. They must not occur in a
    /// message that is sent.
    Delimiter(Vec<u8>),
    /// The message's length in bytes comes before it.
    LengthPrefix(LengthPrefix),
    /// Every message has this many bytes.
    Fixed(usize),
}

/// How the length before a message is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum LengthPrefix {
    /// One byte.
    U8,
    /// Two bytes, the most significant first.
    U16Be,
    /// Two bytes, the least significant first.
    U16Le,
    /// Four bytes, the most significant first.
    U32Be,
    /// Four bytes, the least significant first.
    U32Le,
    /// Eight bytes, the most significant first.
    U64Be,
    /// Eight bytes, the least significant first.
    U64Le,
}

/// Why a message cannot be framed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Misuse {
    NoDelimiter,
    DelimiterInside,
    TooLongForPrefix { most: u64 },
    NotOfLength(usize),
    ProgressPanicked,
}

impl fmt::Display for Misuse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoDelimiter => f.write_str("the delimiter is empty"),
            Self::DelimiterInside => f.write_str("the message has the delimiter in it"),
            Self::TooLongForPrefix { most } => {
                write!(f, "the message is longer than its prefix can say, which is {most} bytes")
            }
            Self::ProgressPanicked => {
                f.write_str("the callback that is told the progress panicked")
            }
            Self::NotOfLength(length) => write!(f, "the message has not {length} bytes"),
        }
    }
}

/// What a search found in the bytes that have arrived so far.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// A message, and how many bytes to take away with it.
    Message { content: Range<usize>, end: usize },
    /// All bytes are a message, which the end of the stream ends.
    Rest,
    /// More bytes are needed: `received` are of the message, which will have `expected`, if its frame
    /// tells.
    Incomplete { received: usize, expected: Option<usize> },
    /// The message is, or will be, longer than the limit.
    TooLong,
}

/// A search for the first message in bytes that keep arriving. It looks at no byte twice, but for
/// the few that may be the beginning of a delimiter.
#[derive(Debug)]
pub(crate) struct Search<'a> {
    framing: &'a Framing,
    limit: usize,
    /// No delimiter begins before this index.
    searched: usize,
}

impl Framing {
    /// Messages that end with `delimiter`, such as `"\n"` or `"<EOF>"`.
    #[must_use]
    pub fn delimiter(delimiter: impl AsRef<[u8]>) -> Self {
        Self::Delimiter(delimiter.as_ref().to_vec())
    }

    /// Puts the frame around a message.
    pub(crate) fn frame(&self, mut message: Vec<u8>) -> Result<Vec<u8>, Misuse> {
        match self {
            Self::UntilClose => Ok(message),
            Self::Delimiter(delimiter) if delimiter.is_empty() => Err(Misuse::NoDelimiter),
            Self::Delimiter(delimiter) => {
                let length = message.len();
                message.extend_from_slice(delimiter);
                // The end of the message may make a delimiter with the beginning of the one that
                // follows it: `ab` before `abab` does.
                if find(&message, delimiter) == Some(length) {
                    Ok(message)
                } else {
                    Err(Misuse::DelimiterInside)
                }
            }
            Self::LengthPrefix(prefix) => {
                let mut framed = prefix.write(message.len())?;
                framed.append(&mut message);
                Ok(framed)
            }
            Self::Fixed(length) if message.len() == *length => Ok(message),
            Self::Fixed(length) => Err(Misuse::NotOfLength(*length)),
        }
    }

    /// Puts the frame back around a message that was found in it.
    pub(crate) fn restore(&self, mut message: Vec<u8>) -> Vec<u8> {
        match self {
            Self::UntilClose | Self::Fixed(_) => message,
            Self::Delimiter(delimiter) => {
                message.extend_from_slice(delimiter);
                message
            }
            Self::LengthPrefix(prefix) => {
                let mut framed = prefix.write(message.len()).expect("the prefix has said it");
                framed.append(&mut message);
                framed
            }
        }
    }

    /// Begins a search for a message of at most `limit` bytes.
    pub(crate) fn search(&self, limit: usize) -> Result<Search<'_>, Misuse> {
        match self {
            Self::Delimiter(delimiter) if delimiter.is_empty() => Err(Misuse::NoDelimiter),
            _ => Ok(Search { framing: self, limit, searched: 0 }),
        }
    }
}

impl Search<'_> {
    pub(crate) fn limit(&self) -> usize {
        self.limit
    }

    /// Forgets what it has looked at: bytes have come in front of that.
    pub(crate) fn restart(&mut self) {
        self.searched = 0;
    }

    /// Looks at `bytes`, which are those of the last call and what has arrived since; `ended` is true
    /// if the peer has closed and that has not ended a message yet.
    pub(crate) fn next(&mut self, bytes: &[u8], ended: bool) -> Found {
        match self.framing {
            Framing::UntilClose if bytes.len() > self.limit => Found::TooLong,
            Framing::UntilClose if ended => Found::Rest,
            Framing::UntilClose => Found::Incomplete { received: bytes.len(), expected: None },
            Framing::Delimiter(delimiter) => self.delimited(bytes, delimiter),
            Framing::LengthPrefix(prefix) => match prefix.read(bytes) {
                None => Found::Incomplete { received: 0, expected: None },
                Some(length) => match usize::try_from(length) {
                    Ok(length) if length <= self.limit => whole(bytes, prefix.width(), length),
                    _ => Found::TooLong,
                },
            },
            // The caller's own number needs no limit.
            Framing::Fixed(length) => whole(bytes, 0, *length),
        }
    }

    fn delimited(&mut self, bytes: &[u8], delimiter: &[u8]) -> Found {
        let index = find(&bytes[self.searched..], delimiter);
        match index.map(|index| index + self.searched) {
            Some(length) if length > self.limit => Found::TooLong,
            Some(length) => Found::Message { content: 0..length, end: length + delimiter.len() },
            None => {
                self.searched = (bytes.len() + 1).saturating_sub(delimiter.len());
                if self.searched > self.limit {
                    Found::TooLong
                } else {
                    Found::Incomplete { received: bytes.len(), expected: None }
                }
            }
        }
    }
}

fn whole(bytes: &[u8], start: usize, length: usize) -> Found {
    match start.checked_add(length) {
        Some(end) if end <= bytes.len() => Found::Message { content: start..end, end },
        _ => {
            let received = bytes.len().saturating_sub(start);
            Found::Incomplete { received, expected: Some(length) }
        }
    }
}

/// Returns where `delimiter`, which is not empty, begins in `bytes`, if it does.
fn find(bytes: &[u8], delimiter: &[u8]) -> Option<usize> {
    let (first, rest) = delimiter.split_first()?;
    let mut from = 0;
    loop {
        let index = from + bytes[from..].iter().position(|byte| byte == first)?;
        if bytes[index + 1..].starts_with(rest) {
            return Some(index);
        }
        from = index + 1;
    }
}

impl LengthPrefix {
    fn width(self) -> usize {
        match self {
            Self::U8 => 1,
            Self::U16Be | Self::U16Le => 2,
            Self::U32Be | Self::U32Le => 4,
            Self::U64Be | Self::U64Le => 8,
        }
    }

    fn is_big_endian(self) -> bool {
        matches!(self, Self::U16Be | Self::U32Be | Self::U64Be)
    }

    fn read(self, bytes: &[u8]) -> Option<u64> {
        let bytes = bytes.get(..self.width())?.iter();
        let append = |length, byte: &u8| length << 8 | u64::from(*byte);
        Some(if self.is_big_endian() { bytes.fold(0, append) } else { bytes.rev().fold(0, append) })
    }

    fn write(self, length: usize) -> Result<Vec<u8>, Misuse> {
        let length = length as u64;
        let width = self.width();
        let most = u64::MAX >> (64 - 8 * width);
        if length > most {
            return Err(Misuse::TooLongForPrefix { most });
        }
        Ok(if self.is_big_endian() {
            length.to_be_bytes()[8 - width..].to_vec()
        } else {
            length.to_le_bytes()[..width].to_vec()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PREFIXES: [LengthPrefix; 7] = [
        LengthPrefix::U8,
        LengthPrefix::U16Be,
        LengthPrefix::U16Le,
        LengthPrefix::U32Be,
        LengthPrefix::U32Le,
        LengthPrefix::U64Be,
        LengthPrefix::U64Le,
    ];

    fn framings() -> Vec<Framing> {
        let mut framings = vec![Framing::delimiter("\n"), Framing::delimiter("<EOF>")];
        framings.extend(PREFIXES.map(Framing::LengthPrefix));
        framings.push(Framing::Fixed(3));
        framings
    }

    #[test]
    fn a_framed_message_is_found_whole_however_its_bytes_arrive() {
        for framing in framings() {
            let bytes = framing.frame(b"abc".to_vec()).unwrap();
            let mut search = framing.search(3).unwrap();
            for arrived in 0..bytes.len() {
                let found = search.next(&bytes[..arrived], false);
                assert!(matches!(found, Found::Incomplete { .. }), "{framing:?}: {found:?}");
            }
            let Found::Message { content, end } = search.next(&bytes, false) else {
                panic!("{framing:?}: not found")
            };
            assert_eq!((&bytes[content.clone()], end), (&b"abc"[..], bytes.len()), "{framing:?}");
            assert_eq!(framing.restore(bytes[content].to_vec()), bytes, "{framing:?}");
        }
    }

    #[test]
    fn a_message_over_the_limit_is_too_long_as_soon_as_that_is_known() {
        for framing in framings() {
            let bytes = framing.frame(b"abc".to_vec()).unwrap();
            let expected = match framing {
                Framing::Fixed(_) => Found::Message { content: 0..3, end: 3 },
                _ => Found::TooLong,
            };
            assert_eq!(framing.search(2).unwrap().next(&bytes, false), expected, "{framing:?}");
        }
        let endless = Framing::delimiter("\n");
        assert_eq!(endless.search(2).unwrap().next(b"abc", false), Found::TooLong);
        let until_close = Framing::UntilClose;
        assert_eq!(until_close.search(2).unwrap().next(b"abc", false), Found::TooLong);
    }

    #[test]
    fn a_length_of_two_to_the_63_is_too_long_and_overflows_nothing() {
        let framing = Framing::LengthPrefix(LengthPrefix::U64Be);
        for length in [1 << 63, u64::MAX] {
            let mut search = framing.search(usize::MAX - 1).unwrap();
            let found = search.next(&length.to_be_bytes(), false);
            assert!(matches!(found, Found::TooLong | Found::Incomplete { .. }), "{found:?}");
        }
        let mut search = framing.search(1 << 20).unwrap();
        assert_eq!(search.next(&(1_u64 << 63).to_be_bytes(), false), Found::TooLong);
    }

    #[test]
    fn what_a_framing_cannot_carry_is_refused() {
        let refused = |framing: Framing, message: &str| framing.frame(message.into()).unwrap_err();
        assert_eq!(refused(Framing::delimiter(""), "x"), Misuse::NoDelimiter);
        assert_eq!(refused(Framing::delimiter("\n"), "a\nb"), Misuse::DelimiterInside);
        assert_eq!(refused(Framing::delimiter("abab"), "ab"), Misuse::DelimiterInside);
        assert_eq!(refused(Framing::Fixed(2), "abc"), Misuse::NotOfLength(2));
        let byte = Framing::LengthPrefix(LengthPrefix::U8);
        assert_eq!(refused(byte, &"x".repeat(256)), Misuse::TooLongForPrefix { most: 255 });
        assert!(Framing::delimiter("").search(9).is_err());
    }

    #[test]
    fn a_false_start_does_not_hide_the_delimiter() {
        let framing = Framing::delimiter("aab");
        let mut search = framing.search(9).unwrap();
        let incomplete = |received| Found::Incomplete { received, expected: None };
        assert_eq!(search.next(b"xa", false), incomplete(2));
        assert_eq!(search.next(b"xaaa", false), incomplete(4));
        assert_eq!(search.next(b"xaaab", false), Found::Message { content: 0..2, end: 5 });
    }
}
