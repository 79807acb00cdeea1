//! The kinds of call: type parameters of [`Operation`](crate::Operation),
//! [`AsyncResult`](crate::AsyncResult) and [`Completion`](crate::Completion), so that the result of a
//! receive cannot be given to `end_send`.

use crate::client::Client;
use std::marker;

/// A kind of call. Implemented by the types of this module and by nothing else.
pub trait Kind: sealed::Sealed + marker::Send + 'static {
    /// The call's name, as in `begin_NAME`.
    const NAME: &'static str;
    /// True for what goes on if its [`Operation`](crate::Operation) is dropped.
    const IS_SEND: bool = false;
    /// What a successful call yields.
    type Output: marker::Send + 'static;
}

mod sealed {
    #[expect(unnameable_types, reason = "so that nobody else can implement `Kind`")]
    pub trait Sealed {}
}

macro_rules! kinds {
    ($($(#[$doc:meta])+ $kind:ident = $name:literal -> $output:ty, $is_send:literal;)+) => {$(
        $(#[$doc])+
        #[derive(Debug)]
        #[non_exhaustive]
        pub struct $kind;

        impl sealed::Sealed for $kind {}

        impl Kind for $kind {
            const NAME: &'static str = $name;
            const IS_SEND: bool = $is_send;
            type Output = $output;
        }
    )+};
}

kinds! {
    /// [`Builder::begin_connect`](crate::Builder::begin_connect) and
    /// [`Client::begin_reconnect`](crate::Client::begin_reconnect).
    Connect = "connect" -> Client, false;
    /// [`Client::begin_send`](crate::Client::begin_send).
    Send = "send" -> (), true;
    /// [`Client::begin_receive`](crate::Client::begin_receive).
    Receive = "receive" -> Vec<u8>, false;
    /// [`Client::begin_receive_text`](crate::Client::begin_receive_text).
    ReceiveText = "receive_text" -> String, false;
}
