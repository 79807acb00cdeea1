//! Text in bytes and back.

use std::error;
use std::fmt;
use std::str;

/// How text becomes bytes, and bytes text.
///
/// ```
/// use aio_client::Encoding;
///
/// assert_eq!(Encoding::Ascii.get_bytes("a € 😀"), b"a ? ??");
/// assert_eq!(Encoding::Ascii.get_string(b"a\x80")?, "a?");
/// assert_eq!(Encoding::Utf8.get_string("€".as_bytes())?, "€");
/// assert!(Encoding::Utf8.get_string(b"\xE2\x82").is_err());
/// # Ok::<(), aio_client::DecodeError>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Encoding {
    /// What is not ASCII becomes `?` in both directions, without an error, as .NET's
    /// `Encoding.ASCII` has it: one for each UTF-16 unit that is sent and each byte that is received.
    Ascii,
    /// UTF-8. Bytes that are not are an error.
    #[default]
    Utf8,
}

impl Encoding {
    /// Encodes a text.
    #[must_use]
    pub fn get_bytes(self, text: &str) -> Vec<u8> {
        match self {
            Self::Ascii => text
                .encode_utf16()
                .map(|unit| u8::try_from(unit).ok().filter(u8::is_ascii).unwrap_or(b'?'))
                .collect(),
            Self::Utf8 => text.as_bytes().to_vec(),
        }
    }

    /// Decodes a whole text.
    ///
    /// # Errors
    ///
    /// If the bytes are not of this encoding, or end in the middle of a character.
    pub fn get_string(self, bytes: &[u8]) -> Result<String, DecodeError> {
        let mut text = String::new();
        let mut decoder = self.decoder();
        decoder.decode(bytes, &mut text)?;
        decoder.finish()?;
        Ok(text)
    }

    /// Checks that the bytes are a whole text.
    pub(crate) fn check(self, bytes: &[u8]) -> Result<(), DecodeError> {
        match self {
            Self::Ascii => Ok(()),
            Self::Utf8 if str::from_utf8(bytes).is_ok() => Ok(()),
            // It tells where, and how.
            Self::Utf8 => self.get_string(bytes).map(drop),
        }
    }

    /// Decodes a whole text that has been [checked](Self::check).
    pub(crate) fn into_string(self, bytes: Vec<u8>) -> String {
        match self {
            Self::Ascii if bytes.is_ascii() => Self::Utf8.into_string(bytes),
            Self::Ascii => self.get_string(&bytes).expect("ASCII takes every byte"),
            Self::Utf8 => String::from_utf8(bytes).expect("it has been checked"),
        }
    }

    /// Returns a decoder for a text that comes in pieces.
    #[must_use]
    pub fn decoder(self) -> Decoder {
        Decoder { encoding: self, partial: [0; 4], partial_length: 0, decoded: 0 }
    }
}

/// Decodes a text that comes in pieces, which may end inside a character.
///
/// ```
/// use aio_client::Encoding;
///
/// let mut decoder = Encoding::Utf8.decoder();
/// let mut text = String::new();
/// decoder.decode(b"5 \xE2\x82", &mut text)?;
/// assert_eq!(text, "5 ");
/// decoder.decode(b"\xAC", &mut text)?;
/// assert_eq!(text, "5 €");
/// decoder.finish()?;
/// # Ok::<(), aio_client::DecodeError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Decoder {
    encoding: Encoding,
    /// The bytes, up to `partial_length`, of a character that is not whole yet.
    partial: [u8; 4],
    partial_length: usize,
    /// How many bytes have become text.
    decoded: u64,
}

impl Decoder {
    /// Decodes the next piece and appends it to `text`.
    ///
    /// # Errors
    ///
    /// If the bytes cannot be of this encoding, whatever follows. What came before them has been
    /// appended.
    pub fn decode(&mut self, bytes: &[u8], text: &mut String) -> Result<(), DecodeError> {
        match self.encoding {
            Encoding::Ascii => {
                text.extend(
                    bytes.iter().map(|&byte| if byte.is_ascii() { char::from(byte) } else { '?' }),
                );
                self.decoded += bytes.len() as u64;
                Ok(())
            }
            Encoding::Utf8 => self.decode_utf8(bytes, text),
        }
    }

    /// Ends the text.
    ///
    /// # Errors
    ///
    /// If it ends in the middle of a character.
    pub fn finish(self) -> Result<(), DecodeError> {
        if self.partial_length == 0 {
            Ok(())
        } else {
            Err(DecodeError { position: self.decoded, is_cut: true })
        }
    }

    fn decode_utf8(&mut self, mut bytes: &[u8], text: &mut String) -> Result<(), DecodeError> {
        // A character that was cut: a byte at a time until it is whole, or is none.
        while self.partial_length > 0 {
            let Some((&byte, rest)) = bytes.split_first() else { return Ok(()) };
            bytes = rest;
            self.partial[self.partial_length] = byte;
            self.partial_length += 1;
            match str::from_utf8(&self.partial[..self.partial_length]) {
                Ok(character) => {
                    text.push_str(character);
                    self.decoded += self.partial_length as u64;
                    self.partial_length = 0;
                }
                Err(error) if error.error_len().is_some() => return Err(self.invalid()),
                // At most three bytes, since four are a character or are not.
                Err(_) => {}
            }
        }
        let (valid, error) = match str::from_utf8(bytes) {
            Ok(valid) => (valid, None),
            Err(error) => {
                let valid = str::from_utf8(&bytes[..error.valid_up_to()]);
                (valid.expect("the bytes before the error are valid"), Some(error))
            }
        };
        text.push_str(valid);
        self.decoded += valid.len() as u64;
        match error {
            None => Ok(()),
            Some(error) if error.error_len().is_some() => Err(self.invalid()),
            Some(_) => {
                let cut = &bytes[valid.len()..];
                self.partial[..cut.len()].copy_from_slice(cut);
                self.partial_length = cut.len();
                Ok(())
            }
        }
    }

    fn invalid(&self) -> DecodeError {
        DecodeError { position: self.decoded, is_cut: false }
    }
}

/// Bytes that are not text of the [`Encoding`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DecodeError {
    position: u64,
    is_cut: bool,
}

impl DecodeError {
    /// Returns how many bytes before the error are text.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.position
    }
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let position = self.position;
        if self.is_cut {
            write!(f, "the text ends inside the character at byte {position}")
        } else {
            write!(f, "byte {position} is not the beginning of a UTF-8 character")
        }
    }
}

impl error::Error for DecodeError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn utf8_decodes_alike_wherever_it_is_cut() {
        let text = "a é € 😀 z";
        for cut in 0..=text.len() {
            let mut decoded = String::new();
            let mut decoder = Encoding::Utf8.decoder();
            for piece in [&text.as_bytes()[..cut], &text.as_bytes()[cut..]] {
                decoder.decode(piece, &mut decoded).unwrap();
            }
            decoder.finish().unwrap();
            assert_eq!(decoded, text, "cut at {cut}");
        }
        let mut decoded = String::new();
        let mut decoder = Encoding::Utf8.decoder();
        for byte in text.as_bytes() {
            decoder.decode(&[*byte], &mut decoded).unwrap();
        }
        assert_eq!(decoded, text);
    }

    #[test]
    fn what_is_not_utf8_is_an_error_that_says_where() {
        let error = |bytes| Encoding::Utf8.get_string(bytes).unwrap_err();
        assert_eq!(error(b"ab\xFFc").position(), 2);
        assert_eq!(
            error(b"ab\xE2\x82").to_string(),
            "the text ends inside the character at byte 2"
        );
        let mut decoder = Encoding::Utf8.decoder();
        let mut text = String::new();
        decoder.decode(b"ab\xE2", &mut text).unwrap();
        assert_eq!(decoder.decode(b"x", &mut text).unwrap_err().position(), 2);
        assert_eq!(text, "ab");
    }
}
