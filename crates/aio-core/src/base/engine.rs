//! The engines, by name.

use std::fmt;
use std::str::FromStr;

/// Where a pending operation waits.
///
/// Parses from its name: `auto`, `blocking` or `readiness`.
///
/// ```
/// use aio_core::Engine;
///
/// assert_eq!("blocking".parse(), Ok(Engine::Blocking));
/// let error = "threads".parse::<Engine>().unwrap_err();
/// assert_eq!(error.to_string(), "unknown engine `threads`; the engines are auto, blocking, readiness");
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Engine {
    /// The best engine that this system has: today [`Readiness`](Self::Readiness) on Unix and
    /// [`Blocking`](Self::Blocking) elsewhere.
    #[default]
    Auto,
    /// A pending operation waits on its worker: the classic thread pool. When more operations are
    /// pending than there are workers, a worker waits for several.
    Blocking,
    /// A pending operation waits in the operating system's readiness queue and holds no thread.
    Readiness,
}

impl Engine {
    const NAMED: [(&'static str, Self); 3] =
        [("auto", Self::Auto), ("blocking", Self::Blocking), ("readiness", Self::Readiness)];
}

impl fmt::Display for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let named = Self::NAMED.iter().find(|(_, engine)| engine == self);
        let (name, _) = named.expect("every engine has a name");
        f.pad(name)
    }
}

impl FromStr for Engine {
    type Err = ParseEngineError;

    fn from_str(name: &str) -> Result<Self, ParseEngineError> {
        match Self::NAMED.iter().find(|(known, _)| *known == name) {
            Some((_, engine)) => Ok(*engine),
            None => Err(ParseEngineError(name.to_owned())),
        }
    }
}

/// The name of an [`Engine`] that does not exist; its message lists those that do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParseEngineError(String);

impl fmt::Display for ParseEngineError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "unknown engine `{}`; the engines are ", self.0)?;
        let names: Vec<_> = Engine::NAMED.iter().map(|(name, _)| *name).collect();
        f.write_str(&names.join(", "))
    }
}

impl std::error::Error for ParseEngineError {}
