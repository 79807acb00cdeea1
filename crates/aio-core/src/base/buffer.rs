//! Owned buffers: what an operation borrows from its caller between begin and end.
//!
//! A buffer is moved into the operation and comes back in its [`Completion`](crate::Completion),
//! whatever the outcome, so that nobody can touch it, or free it, while the system may.

use std::ops::{Bound, Range, RangeBounds};
use std::ptr::NonNull;

/// Bytes that an operation can send.
///
/// # Safety
///
/// While the value is neither moved nor accessed through a mutable reference, every call of
/// [`as_slice`](Self::as_slice) returns the same memory and the same length, and does not panic: an
/// engine may hand the address to the system once and use it until the operation completes.
#[expect(unsafe_code, reason = "an engine relies on the promise in # Safety")]
pub unsafe trait IoBuf: Send + 'static {
    /// Returns the bytes.
    fn as_slice(&self) -> &[u8];

    /// Lends a part of the buffer: .NET's offset and size. [`Slice::into_inner`] gives the whole back.
    ///
    /// ```
    /// use aio_core::IoBuf;
    ///
    /// let part = b"prefix payload".to_vec().slice(7..);
    /// assert_eq!(part.as_slice(), b"payload");
    /// assert_eq!(part.into_inner(), b"prefix payload");
    /// ```
    ///
    /// # Panics
    ///
    /// Panics if the range does not lie within the buffer.
    fn slice(self, range: impl RangeBounds<usize>) -> Slice<Self>
    where
        Self: Sized,
    {
        let length = self.as_slice().len();
        let start = match range.start_bound() {
            Bound::Included(start) => *start,
            Bound::Excluded(before) => before.saturating_add(1),
            Bound::Unbounded => 0,
        };
        let end = match range.end_bound() {
            Bound::Included(last) => last.saturating_add(1),
            Bound::Excluded(end) => *end,
            Bound::Unbounded => length,
        };
        assert!(
            start <= end && end <= length,
            "the range {start}..{end} does not lie within a buffer of {length} bytes"
        );
        Slice { buffer: self, range: start..end }
    }
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

/// A part of a buffer: see [`IoBuf::slice`].
#[derive(Clone, Debug)]
pub struct Slice<B> {
    buffer: B,
    /// Lies within the buffer.
    range: Range<usize>,
}

impl<B> Slice<B> {
    /// Returns the whole buffer.
    pub fn into_inner(self) -> B {
        self.buffer
    }
}

#[expect(unsafe_code, reason = "the part stays where the whole stays")]
// SAFETY: by the whole's promise, and since the range does not change.
unsafe impl<B: IoBuf> IoBuf for Slice<B> {
    fn as_slice(&self) -> &[u8] {
        &self.buffer.as_slice()[self.range.clone()]
    }
}

#[expect(unsafe_code, reason = "the part stays where the whole stays")]
// SAFETY: as above.
unsafe impl<B: IoBufMut> IoBufMut for Slice<B> {
    fn as_mut_slice(&mut self) -> &mut [u8] {
        &mut self.buffer.as_mut_slice()[self.range.clone()]
    }
}

/// Bytes that are borrowed for a call that does not return before the operation is over.
pub(crate) struct Lent {
    start: NonNull<u8>,
    length: usize,
}

#[expect(unsafe_code, reason = "a synchronous call lends borrowed bytes to its operation")]
mod lent {
    use super::{IoBuf, IoBufMut, Lent, NonNull};
    use std::slice;

    impl Lent {
        /// # Safety
        ///
        /// The operation that this is lent to is over before the borrow of `bytes` ends, and does not
        /// write to them.
        pub(crate) unsafe fn to_read(bytes: &[u8]) -> Self {
            Self { start: NonNull::from(bytes).cast(), length: bytes.len() }
        }

        /// # Safety
        ///
        /// The operation that this is lent to is over before the borrow of `bytes` ends.
        pub(crate) unsafe fn to_write(bytes: &mut [u8]) -> Self {
            Self { start: NonNull::from(&mut *bytes).cast(), length: bytes.len() }
        }
    }

    // SAFETY: like the borrow that it stands for, of bytes, which is `Send`.
    unsafe impl Send for Lent {}

    // SAFETY: the borrowed bytes stay where they are (the constructors' contract).
    unsafe impl IoBuf for Lent {
        fn as_slice(&self) -> &[u8] {
            // SAFETY: borrowed for as long as the operation lasts (the constructors' contract).
            unsafe { slice::from_raw_parts(self.start.as_ptr(), self.length) }
        }
    }

    // SAFETY: as above.
    unsafe impl IoBufMut for Lent {
        fn as_mut_slice(&mut self) -> &mut [u8] {
            // SAFETY: as above; exclusively, since only operations that were lent `to_write` ask.
            unsafe { slice::from_raw_parts_mut(self.start.as_ptr(), self.length) }
        }
    }
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

#[cfg(feature = "bytes")]
owned_buffers! {
    impl[] bytes::BytesMut => "its block moves only through a mutable reference";
}

#[cfg(feature = "bytes")]
constant_buffers! {
    bytes::Bytes, as_ref, "a shared block stays while somebody has it, and this one does";
}
