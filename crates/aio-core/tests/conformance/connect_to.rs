//! Connect to one of several addresses, or to a host by its name.

use crate::face::{Case, conforms};
use crate::support::refusing_address;
use std::io::{ErrorKind, Write};
use std::net::{SocketAddr, TcpListener};

/// CN-8: `Connect_MultipleIPAddresses_Success`; in turn, whatever their family, to the first that accepts.
#[test]
fn connects_to_the_first_address_that_accepts() {
    conforms(|case: &Case| {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let nobody: SocketAddr = format!("[::1]:{}", refusing_address().port()).parse().unwrap();
        let connect =
            case.connect_to(vec![refusing_address(), nobody, address, refusing_address()]);
        let socket = connect.output();
        let (mut peer, from) = listener.accept().unwrap();
        assert_eq!((socket.peer_addr().unwrap(), socket.local_addr().unwrap()), (address, from));
        peer.write_all(b"hello").unwrap();
        assert_eq!(case.receive(&socket, [0; 5]).end().buffer, *b"hello");
    });
}

/// CN-8: the error has the kind of the last, and says what came of each.
#[test]
fn when_no_address_accepts_the_error_names_each() {
    conforms(|case: &Case| {
        let (first, second) = (refusing_address(), refusing_address());
        let error = case.connect_to(vec![first, second]).error();
        assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
        for address in [first, second] {
            assert!(error.to_string().contains(&address.to_string()), "{error}");
        }
    });
}

/// CN-8 and the table of CN: no address at all.
#[test]
fn a_list_without_an_address_is_an_error() {
    conforms(|case: &Case| {
        assert_eq!(case.connect_to(Vec::new()).error().kind(), ErrorKind::InvalidInput);
    });
}

/// CN-9: `Connect_Dns_Success`; a name is looked up, an address as text is not.
#[test]
fn connects_to_a_host_by_its_name_or_its_address() {
    conforms(|case: &Case| {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        for host in ["localhost", "127.0.0.1"] {
            let socket = case.connect_to((host, port)).output();
            let (_, from) = listener.accept().unwrap();
            assert_eq!(socket.local_addr().unwrap(), from);
        }
    });
}

/// CN-9: a name that is none is told at the end.
#[test]
fn a_name_that_cannot_be_looked_up_is_an_error() {
    conforms(|case: &Case| {
        let error = case.connect_to(("not..a.name", 80)).error();
        assert!(error.to_string().starts_with("connect to not..a.name:80: "), "{error}");
    });
}
