//! Addresses in words.

use socket2::SockAddr;

/// An address in words.
pub(crate) fn display_address(address: &SockAddr) -> String {
    if let Some(address) = address.as_socket() {
        return address.to_string();
    }
    #[cfg(unix)]
    if let Some(path) = address.as_pathname() {
        return path.display().to_string();
    }
    // As the system's tools write it.
    #[cfg(unix)]
    if let Some(name) = address.as_abstract_namespace() {
        return format!("@{}", name.escape_ascii());
    }
    #[cfg(unix)]
    if address.is_unix() {
        return "an unnamed Unix socket".to_owned();
    }
    #[cfg(any(target_os = "linux", target_os = "android"))]
    if let Some((machine, port)) = address.as_vsock_address() {
        let number = |number| match number {
            u32::MAX => "any".to_owned(),
            number => number.to_string(),
        };
        return format!("vsock {}:{}", number(machine), number(port));
    }
    format!("an address of family {}", address.family())
}
