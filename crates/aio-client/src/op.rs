//! The kinds of call: type parameters of [`Operation`](crate::Operation),
//! [`AsyncResult`](crate::AsyncResult) and [`Completion`](crate::Completion), so that the result of a
//! receive cannot be given to `end_send`.

use crate::client::Client;
use crate::kind::sealed;

pub use crate::kind::Kind;

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
