//! The kinds of operation and of system call, and the two directions.

/// The two directions in which operations of a socket are ordered and otherwise independent (I5).
///
/// Accept waits for the same readiness as receive and connect for the same as send, so they share
/// their queues.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    Receive,
    Send,
}

/// What a system call is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    Accept,
    Connect,
    Receive,
    Send,
}

macro_rules! operation_kinds {
    ($($kind:ident = $name:literal,)*) => {
        /// A kind of operation, or of another callback that a runtime counts.
        #[repr(u8)]
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum OperationKind {
            $($kind,)*
        }

        impl OperationKind {
            /// Each at the index that it is `as usize`.
            pub(crate) const ALL: [Self; [$($name),*].len()] = [$(Self::$kind),*];
            pub(crate) const COUNT: usize = Self::ALL.len();

            /// Returns the name in metrics and reports: of an operation, as in `begin_NAME`.
            pub(crate) const fn name(self) -> &'static str {
                match self {
                    $(Self::$kind => $name,)*
                }
            }
        }
    };
}

// In the order of `Metrics::operations`.
operation_kinds! {
    Accept = "accept",
    AcceptReceive = "accept_receive",
    Connect = "connect",
    ConnectTo = "connect_to",
    Disconnect = "disconnect",
    LookUp = "look_up",
    Receive = "receive",
    ReceiveFrom = "receive_from",
    ReceiveList = "receive_list",
    ReceiveMessageFrom = "receive_message_from",
    Send = "send",
    SendFile = "send_file",
    SendList = "send_list",
    SendTo = "send_to",
    Post = "post",
    RegisterWait = "register_wait",
    RayonJob = "rayon_job",
}
