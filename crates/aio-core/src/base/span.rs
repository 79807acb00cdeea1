//! An operation's span. Without the feature `tracing` it is nothing.
//!
//! The span begins with the operation, as a child of the span that is current there. It ends when the operation has
//! been delivered, and is current while the callback runs. The completion of the operation is an event in it.

#[cfg(feature = "tracing")]
mod traced {
    use crate::base::descriptor::Descriptor;
    use crate::base::error::is_aborted;
    use crate::base::kind::OperationKind;
    use std::io;
    use tracing::field::Empty;

    #[derive(Debug, Default)]
    pub(crate) struct Span(Option<tracing::Span>);

    impl Span {
        /// That of a part of a composite operation.
        pub(crate) fn none() -> Self {
            Self(None)
        }

        /// The operation begins at the socket of `descriptor`, if at any.
        pub(crate) fn begin(kind: OperationKind, descriptor: Option<&Descriptor>) -> Self {
            let kind = kind.name();
            let span = tracing::debug_span!(target: "aio_core", "operation", kind, socket = Empty);
            if let Some(system) = descriptor.and_then(Descriptor::pin) {
                #[cfg(unix)]
                span.record("socket", std::os::fd::AsRawFd::as_raw_fd(&*system));
                #[cfg(windows)]
                span.record("socket", std::os::windows::io::AsRawSocket::as_raw_socket(&*system));
            }
            Self(Some(span))
        }

        /// The operation has completed.
        pub(crate) fn completed(&self, error: Option<&io::Error>, bytes_transferred: usize) {
            let Some(span) = &self.0 else { return };
            match error {
                None => {
                    tracing::debug!(target: "aio_core", parent: span, bytes_transferred, "completed");
                }
                Some(error) if is_aborted(error) => {
                    tracing::debug!(target: "aio_core", parent: span, bytes_transferred, %error, "aborted");
                }
                Some(error) => {
                    tracing::debug!(target: "aio_core", parent: span, bytes_transferred, %error, "failed");
                }
            }
        }

        /// Runs the callback, and ends.
        pub(crate) fn run<R>(self, callback: impl FnOnce() -> R) -> R {
            match self.0 {
                Some(span) => span.in_scope(callback),
                None => callback(),
            }
        }
    }
}

#[cfg(not(feature = "tracing"))]
mod untraced {
    use crate::base::descriptor::Descriptor;
    use crate::base::kind::OperationKind;
    use std::io;

    #[derive(Debug, Default)]
    pub(crate) struct Span;

    impl Span {
        pub(crate) fn none() -> Self {
            Self
        }

        pub(crate) fn begin(_kind: OperationKind, _descriptor: Option<&Descriptor>) -> Self {
            Self
        }

        pub(crate) fn completed(&self, _error: Option<&io::Error>, _bytes_transferred: usize) {}

        pub(crate) fn run<R>(self, callback: impl FnOnce() -> R) -> R {
            callback()
        }
    }
}

#[cfg(feature = "tracing")]
pub(crate) use traced::Span;
#[cfg(not(feature = "tracing"))]
pub(crate) use untraced::Span;
