//! Whom to connect to.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

/// Whom to connect to: a host name or an address, and a port.
///
/// Made from `"HOST:PORT"`, from a pair of the two, from an address, or from several, which are then
/// tried as those of a host name are.
///
/// ```
/// use aio_client::EndPoint;
/// use std::net::SocketAddr;
///
/// assert_eq!(EndPoint::from(("localhost", 80)), EndPoint::from("localhost:80"));
/// assert_eq!(EndPoint::from(("::1", 80)).to_string(), "[::1]:80");
/// let address: SocketAddr = "[::1]:80".parse().unwrap();
/// assert_eq!(EndPoint::from(address), EndPoint::from("[::1]:80"));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndPoint {
    whom: Whom,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Whom {
    Name {
        host: String,
        port: u16,
    },
    Addresses(Vec<SocketAddr>),
    /// Not an end point. That is reported when it is connected to, as everything else is.
    Malformed {
        text: String,
        flaw: Flaw,
    },
}

/// Why a text is no end point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flaw {
    NoHost,
    NoPort,
    Other,
}

impl fmt::Display for Flaw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoHost => "the host is missing: ",
            Self::NoPort => "the port is missing: ",
            Self::Other => "",
        })?;
        f.write_str(
            r#"an end point is a host, a colon and a port, as in "localhost:80" or "[::1]:80""#,
        )
    }
}

impl EndPoint {
    fn malformed(text: &str, flaw: Flaw) -> Self {
        Self { whom: Whom::Malformed { text: text.to_owned(), flaw } }
    }

    fn named(host: &str, port: u16) -> Self {
        match host.parse::<IpAddr>() {
            Ok(address) => SocketAddr::new(address, port).into(),
            // The system would take it for this machine, or say that it does not know such a name.
            Err(_) if host.is_empty() => Self::malformed(&format!(":{port}"), Flaw::NoHost),
            Err(_) => Self { whom: Whom::Name { host: host.to_owned(), port } },
        }
    }

    pub(crate) fn whom(&self) -> &Whom {
        &self.whom
    }
}

impl fmt::Display for EndPoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.whom {
            Whom::Name { host, port } if host.contains(':') => write!(f, "[{host}]:{port}"),
            Whom::Name { host, port } => write!(f, "{host}:{port}"),
            Whom::Addresses(addresses) => {
                let addresses: Vec<_> = addresses.iter().map(SocketAddr::to_string).collect();
                f.write_str(&addresses.join(", "))
            }
            Whom::Malformed { text, .. } => write!(f, "{text:?}"),
        }
    }
}

impl From<&str> for EndPoint {
    fn from(text: &str) -> Self {
        let Some((host, port)) = text.rsplit_once(':') else {
            return Self::malformed(text, if text.is_empty() { Flaw::Other } else { Flaw::NoPort });
        };
        // As in a URL, colons of the host need brackets: else they cannot be told from the port's.
        let bracketed = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        let flaw = match (bracketed.unwrap_or(host), port.parse()) {
            ("", _) => Flaw::NoHost,
            _ if port.is_empty() => Flaw::NoPort,
            (host, Ok(port)) if bracketed.is_some() || !host.contains([':', '[', ']']) => {
                return Self::named(host, port);
            }
            _ => Flaw::Other,
        };
        Self::malformed(text, flaw)
    }
}

impl From<&String> for EndPoint {
    fn from(text: &String) -> Self {
        text.as_str().into()
    }
}

impl From<String> for EndPoint {
    fn from(text: String) -> Self {
        text.as_str().into()
    }
}

impl From<(&str, u16)> for EndPoint {
    fn from((host, port): (&str, u16)) -> Self {
        Self::named(host, port)
    }
}

impl From<(String, u16)> for EndPoint {
    fn from((host, port): (String, u16)) -> Self {
        Self::named(&host, port)
    }
}

impl From<(IpAddr, u16)> for EndPoint {
    fn from((address, port): (IpAddr, u16)) -> Self {
        SocketAddr::new(address, port).into()
    }
}

impl From<SocketAddr> for EndPoint {
    fn from(address: SocketAddr) -> Self {
        vec![address].into()
    }
}

impl From<&[SocketAddr]> for EndPoint {
    fn from(addresses: &[SocketAddr]) -> Self {
        addresses.to_vec().into()
    }
}

impl From<Vec<SocketAddr>> for EndPoint {
    fn from(addresses: Vec<SocketAddr>) -> Self {
        Self { whom: Whom::Addresses(addresses) }
    }
}
