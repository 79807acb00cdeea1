//! .NET's `Encoding.ASCII`: what is not ASCII becomes `?`, in both directions.

/// As `Encoding.ASCII.GetBytes`: .NET counts characters in units of UTF-16.
pub fn get_bytes(text: &str) -> Vec<u8> {
    text.encode_utf16()
        .map(|unit| u8::try_from(unit).ok().filter(u8::is_ascii).unwrap_or(b'?'))
        .collect()
}

/// As `Encoding.ASCII.GetString`.
pub fn get_string(bytes: &[u8]) -> String {
    bytes.iter().map(|&byte| if byte.is_ascii() { char::from(byte) } else { '?' }).collect()
}
