//! Send a file.

use crate::face::{Case, UNFINISHED, conforms};
use crate::support::connected;
use aio_core::is_aborted;
use aio_core::socket2::{Domain, Type};
use std::fs::{self, File};
use std::io::{ErrorKind, Read, Write};
use std::net::Shutdown;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// A file to be read, as `make` makes it, which is gone when it is closed.
fn file_of(make: impl FnOnce(&mut File)) -> File {
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let name = format!("aio-conformance-{}-{count}.file", std::process::id());
    let path = std::env::temp_dir().join(name);
    make(&mut File::create_new(&path).unwrap());
    let file = File::open(&path).unwrap();
    fs::remove_file(&path).unwrap();
    file
}

fn file(bytes: &[u8]) -> File {
    file_of(|file| file.write_all(bytes).unwrap())
}

/// A file that no connection takes at once.
fn long_file() -> File {
    file_of(|file| file.set_len(UNFINISHED as u64).unwrap())
}

/// SF-2: `SendFile_APM`; what comes before and after it are sends that are begun before and after it.
#[test]
fn a_file_is_sent_whole_between_what_is_sent_before_and_after_it() {
    conforms(|case: &Case| {
        for size in [0, 1, 1_024, 3_000_000] {
            let bytes: Vec<u8> = (0..size).map(|index| (index * 7 % 251) as u8).collect();
            let (socket, mut peer) = connected(&case.runtime);
            let before = case.send(&socket, *b"before");
            let send = case.send_file(&socket, file(&bytes), ..);
            let after = case.send(&socket, *b"after");
            let mut received = vec![0; 6 + size + 5];
            peer.read_exact(&mut received).unwrap();
            assert!(received == [b"before", &*bytes, b"after"].concat());
            let sent = send.end();
            assert_eq!((sent.result.unwrap(), sent.bytes_transferred), (size as u64, size));
            #[cfg(unix)]
            assert_eq!(std::io::Seek::stream_position(&mut &sent.buffer).unwrap(), 0);
            assert_eq!((before.output(), after.output()), (6, 5));
        }
    });
}

/// SF-2: `SliceBuffers`; a part of it.
#[test]
fn a_part_of_a_file_is_sent() {
    conforms(|case: &Case| {
        let (socket, mut peer) = connected(&case.runtime);
        assert_eq!(case.send_file(&socket, file(b"0123456789"), 2..5).output(), 3);
        assert_eq!(case.send_file(&socket, file(b"0123456789"), 8..).output(), 2);
        assert_eq!(case.send_file(&socket, file(b"0123456789"), 3..3).output(), 0);
        let mut received = [0; 5];
        peer.read_exact(&mut received).unwrap();
        assert_eq!(received, *b"23489");
    });
}

/// SF-1, SF-4: `NotConnected`, `UdpConnection_ThrowsException`; and the file comes back.
#[test]
fn a_file_is_sent_on_a_connected_stream_alone() {
    conforms(|case: &Case| {
        let stream = case.runtime.tcp_v4().unwrap();
        let sent = case.send_file(&stream, file(b"file"), ..).end();
        let kind = sent.result.unwrap_err().kind();
        assert!(matches!(kind, ErrorKind::NotConnected | ErrorKind::BrokenPipe));
        let datagrams = case.runtime.socket(Domain::IPV4, Type::DGRAM, None).unwrap();
        let mut sent = case.send_file(&datagrams, sent.buffer, ..).end();
        assert_eq!(sent.result.unwrap_err().kind(), ErrorKind::InvalidInput);
        let mut content = String::new();
        sent.buffer.read_to_string(&mut content).unwrap();
        assert_eq!(content, "file");
    });
}

/// CL-3, CL-6: `GetsCanceledByDispose`; the peer does not take a part of it for the whole.
#[test]
fn close_ends_a_pending_send_of_a_file() {
    conforms(|case: &Case| {
        let (socket, mut peer) = connected(&case.runtime);
        let send = case.send_file(&socket, long_file(), ..);
        assert!(!send.wait_timeout(Duration::from_millis(1)));
        socket.close();
        assert!(is_aborted(&send.error()));
        let error = peer.read_to_end(&mut Vec::new()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    });
}

/// BE-15 as departed from, I2: one that is canceled says how much was sent, and nothing follows the gap.
#[test]
fn a_canceled_send_of_a_file_says_how_much_was_sent() {
    conforms(|case: &Case| {
        let (socket, mut peer) = connected(&case.runtime);
        let send = case.send_file(&socket, long_file(), ..);
        let behind = case.send(&socket, [1]);
        peer.read_exact(&mut [0; 100]).unwrap();
        send.cancel();
        let sent = send.end();
        assert!(is_aborted(&sent.result.unwrap_err()));
        assert!(is_aborted(&behind.error()));
        socket.shutdown(Shutdown::Write).unwrap();
        assert_eq!(peer.read_to_end(&mut Vec::new()).unwrap() + 100, sent.bytes_transferred);
    });
}

/// I2: a file that ends early is an error that says so, after what there was.
#[test]
fn a_file_that_ends_early_is_an_error() {
    conforms(|case: &Case| {
        let (socket, mut peer) = connected(&case.runtime);
        let sent = case.send_file(&socket, file(b"0123456789"), 4..20).end();
        let error = sent.result.unwrap_err();
        assert_eq!((error.kind(), sent.bytes_transferred), (ErrorKind::UnexpectedEof, 6));
        assert!(is_aborted(&case.send(&socket, [1]).error()));
        let mut received = [0; 6];
        peer.read_exact(&mut received).unwrap();
        assert_eq!(received, *b"456789");
    });
}
