//! Whom to connect to.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr, SocketAddrV6};

/// Whom to connect to: a host name or an address, and a port.
///
/// Made from `"HOST:PORT"`, from a pair of the two, from an address, or from several, which are then
/// tried as those of a host name are. The host is a name or an address. An IPv6 address has brackets around it in
/// `"HOST:PORT"`, and may have them in a pair; behind a `%` it may have the name or the number of an
/// interface, as in `"[fe80::1%eth0]:80"`. The port is a number in digits alone. What is none of these is an
/// error of the connect, of kind [`InvalidInput`](crate::ErrorKind::InvalidInput), that says what is wrong with
/// it.
///
/// ```
/// use aio_client::EndPoint;
/// use std::net::SocketAddr;
///
/// assert_eq!(EndPoint::from(("localhost", 80)), EndPoint::from("localhost:80"));
/// assert_eq!(EndPoint::from(("::1", 80)).to_string(), "[::1]:80");
/// assert_eq!(EndPoint::from(("[::1]", 80)), EndPoint::from("[::1]:80"));
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
    NoDigits,
    WhiteSpace,
    TooManyColons,
    Bracket,
    Colon,
    Scope,
    Url,
    Other,
}

impl fmt::Display for Flaw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoHost => "the host is missing: ",
            Self::NoPort => "the port is missing: ",
            Self::NoDigits => "the port is not a number from 0 to 65535 in digits alone: ",
            Self::WhiteSpace => "there is white space in it: ",
            Self::TooManyColons => {
                "there are too many colons, unless an IPv6 address gets brackets around it: "
            }
            Self::Bracket => "a bracket is out of place: ",
            Self::Colon => "there is a colon in the host, which is no IPv6 address: ",
            Self::Scope => "a % is for the interface of an IPv6 address, by name or number: ",
            Self::Url => "it is a URL: ",
            Self::Other => "",
        })?;
        f.write_str(
            r#"an end point is a host, a colon and a port, as in "localhost:80" or "[::1]:80""#,
        )
    }
}

impl Whom {
    fn parse(text: &str) -> Result<Self, Flaw> {
        if text.contains(is_blank) {
            return Err(Flaw::WhiteSpace);
        }
        if text.contains("://") {
            return Err(Flaw::Url);
        }
        // As in a URL, the colons of an address need brackets, or they cannot be told from the port's.
        let (host, port) = if text.starts_with('[') {
            let (host, rest) = text.split_once(']').ok_or(Flaw::Bracket)?;
            let port =
                if rest.is_empty() { "" } else { rest.strip_prefix(':').ok_or(Flaw::Other)? };
            (&host[1..], port)
        } else {
            match text.rsplit_once(':') {
                None if text.is_empty() => return Err(Flaw::Other),
                None => (text, ""),
                Some((host, _)) if host.contains(':') => return Err(Flaw::TooManyColons),
                Some(parts) => parts,
            }
        };
        if host.is_empty() {
            return Err(Flaw::NoHost);
        }
        if port.is_empty() {
            return Err(Flaw::NoPort);
        }
        // `parse` would take a sign, too.
        let is_number = port.bytes().all(|byte| byte.is_ascii_digit());
        let port = port.parse().ok().filter(|_| is_number).ok_or(Flaw::NoDigits)?;
        Self::host(host, port)
    }

    /// A host without brackets around it.
    fn host(host: &str, port: u16) -> Result<Self, Flaw> {
        if host.contains(is_blank) {
            return Err(Flaw::WhiteSpace);
        }
        if let Ok(address) = host.parse() {
            return Ok(Self::Addresses(vec![SocketAddr::new(address, port)]));
        }
        if let Some((address, scope)) = host.split_once('%') {
            let address: Ipv6Addr = address.parse().map_err(|_| Flaw::Scope)?;
            if scope.is_empty() {
                return Err(Flaw::Scope);
            }
            if scope.bytes().all(|byte| byte.is_ascii_digit()) {
                let scope = scope.parse().map_err(|_| Flaw::Scope)?;
                return Ok(Self::Addresses(vec![
                    SocketAddrV6::new(address, port, 0, scope).into(),
                ]));
            }
        } else if host.contains(['[', ']']) {
            return Err(Flaw::Bracket);
        } else if host.contains(':') {
            return Err(Flaw::Colon);
        } else if host.is_empty() {
            // The system would take it for this machine, or say that it does not know such a name.
            return Err(Flaw::NoHost);
        }
        Ok(Self::Name { host: host.to_owned(), port })
    }
}

/// No host and no port has it, though the system skips some of it.
fn is_blank(character: char) -> bool {
    character.is_whitespace() || character.is_control()
}

impl EndPoint {
    fn named(host: &str, port: u16) -> Self {
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        let whom = Whom::host(bare.unwrap_or(host), port);
        let malformed = |flaw| Whom::Malformed { text: format!("{host}:{port}"), flaw };
        Self { whom: whom.unwrap_or_else(malformed) }
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
        let malformed = |flaw| Whom::Malformed { text: text.to_owned(), flaw };
        Self { whom: Whom::parse(text).unwrap_or_else(malformed) }
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
