//! The one call of socket2 that takes memory which may be uninitialized.
//!
//! Safe code could write uninitialized bytes into such memory, so that nobody could look at the buffer any more.
//! So this memory does not leave this module, but to socket2, which promises not to do that.

use socket2::{MaybeUninitSlice, RecvFlags, SockAddr, Socket};
use std::io;
use std::mem::MaybeUninit;
use std::ptr;

/// Receives into `buffers`, one after the other: how many bytes, and from where.
pub(super) fn receive_vectored<'a>(
    system: &Socket,
    buffers: impl Iterator<Item = &'a mut [u8]>,
    flags: i32,
) -> io::Result<(usize, RecvFlags, SockAddr)> {
    let uninitialized = |bytes: &'a mut [u8]| {
        let bytes = ptr::from_mut(bytes) as *mut [MaybeUninit<u8>];
        // SAFETY: the same bytes, borrowed exclusively for the same time, of a type with the same layout.
        // socket2 does not write uninitialized bytes into them, and this code writes nothing.
        MaybeUninitSlice::new(unsafe { &mut *bytes })
    };
    let mut slices: Vec<_> = buffers.map(uninitialized).collect();
    system.recv_from_vectored_with_flags(&mut slices, flags)
}
