//! What a kind of call is.

/// A kind of call. Implemented by the types of [`op`](crate::op) and by nothing else.
pub trait Kind: sealed::Sealed + Send + 'static {
    /// The call's name, as in `begin_NAME`.
    const NAME: &'static str;
    /// True for what goes on if its [`Operation`](crate::Operation) is dropped.
    const IS_SEND: bool = false;
    /// What a successful call yields.
    type Output: Send + 'static;
}

pub(crate) mod sealed {
    #[expect(unnameable_types, reason = "so that nobody else can implement `Kind`")]
    pub trait Sealed {}
}
