//! Owned buffers: what an operation borrows from its caller between begin and end.
//!
//! A buffer is moved into the operation and comes back in its [`Completion`](crate::Completion),
//! whatever the outcome, so that nobody can touch it, or free it, while the system may.

/// Bytes that an operation can send.
///
/// # Safety
///
/// While the value is neither moved nor accessed through a mutable reference, every call of
/// [`as_slice`](Self::as_slice) returns the same memory and the same length: an engine may hand the
/// address to the system once and use it until the operation completes.
#[expect(unsafe_code, reason = "an engine relies on the promise in # Safety")]
pub unsafe trait IoBuf: Send + 'static {
    /// Returns the bytes.
    fn as_slice(&self) -> &[u8];
}

/// Bytes that an operation can fill.
///
/// A receive writes to the front of the slice and reports how many bytes it wrote; it never changes
/// the buffer's length.
///
/// # Safety
///
/// As for [`IoBuf`]; and [`as_mut_slice`](Self::as_mut_slice) returns the memory that
/// [`as_slice`](IoBuf::as_slice) returns.
#[expect(unsafe_code, reason = "an engine relies on the promise in # Safety")]
pub unsafe trait IoBufMut: IoBuf {
    /// Returns the bytes to be filled.
    fn as_mut_slice(&mut self) -> &mut [u8];
}

macro_rules! owned_buffers {
    ($($(#[$generics:meta])? impl[$($parameters:tt)*] $buffer:ty => $reason:literal;)*) => {$(
        #[expect(unsafe_code, reason = $reason)]
        // SAFETY: the expectation's reason is the argument.
        unsafe impl<$($parameters)*> IoBuf for $buffer {
            fn as_slice(&self) -> &[u8] {
                self
            }
        }

        #[expect(unsafe_code, reason = $reason)]
        // SAFETY: the expectation's reason is the argument.
        unsafe impl<$($parameters)*> IoBufMut for $buffer {
            fn as_mut_slice(&mut self) -> &mut [u8] {
                self
            }
        }
    )*};
}

owned_buffers! {
    impl[] Vec<u8> => "its heap block moves only through a mutable reference";
    impl[] Box<[u8]> => "its heap block never moves";
    impl[const N: usize] [u8; N] => "an array moves only when the value moves";
}

macro_rules! constant_buffers {
    ($($buffer:ty, $bytes:ident, $reason:literal;)*) => {$(
        #[expect(unsafe_code, reason = $reason)]
        // SAFETY: the expectation's reason is the argument.
        unsafe impl IoBuf for $buffer {
            fn as_slice(&self) -> &[u8] {
                self.$bytes()
            }
        }
    )*};
}

constant_buffers! {
    String, as_bytes, "its heap block moves only through a mutable reference";
    &'static str, as_bytes, "static memory never moves";
    &'static [u8], as_ref, "static memory never moves";
}
