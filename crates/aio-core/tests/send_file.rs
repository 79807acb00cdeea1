//! Files of other kinds, and parts of them. The suite has the rest, with every face.

mod support;

use aio_core::socket2::{Domain, Type};
use aio_core::{Completion, Runtime, is_aborted};
use std::fs::{self, File};
use std::io::{self, ErrorKind, Read};
use std::path::PathBuf;
use std::thread;
use support::{connected, with_every_runtime};

/// A file that is removed in the end.
struct Temporary(PathBuf);

impl Temporary {
    fn new(name: &str, bytes: &[u8]) -> Self {
        let thread = format!("{:?}", thread::current().id());
        let name = format!("aio-core-{}-{thread}-{name}", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::write(&path, bytes).unwrap();
        Self(path)
    }

    fn open(&self) -> File {
        File::open(&self.0).unwrap()
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

#[test]
fn parts_of_files_and_empty_ones() {
    with_every_runtime(|runtime: &Runtime| {
        let file = Temporary::new("parts", b"0123456789");
        let (socket, mut peer) = connected(runtime);
        let open = || file.open();
        assert_eq!(socket.send_file(&open(), 2..5).unwrap(), 3);
        assert_eq!(socket.send_file_async(open(), 8..).wait().result.unwrap(), 2);
        assert_eq!(socket.send_file(&open(), ..=0).unwrap(), 1);
        for nothing in [3..3, 20..20] {
            assert_eq!(socket.send_file(&open(), nothing).unwrap(), 0);
        }
        assert_eq!(socket.send_file(&open(), 20..).unwrap(), 0);
        drop(socket);
        let mut received = String::new();
        peer.read_to_string(&mut received).unwrap();
        assert_eq!(received, "234890");
    });
}

/// Files that the system's own call refuses.
#[cfg(target_os = "linux")]
#[test]
fn a_file_of_proc() {
    with_every_runtime(|runtime: &Runtime| {
        let expected = fs::read("/proc/version").unwrap();
        let (socket, mut peer) = connected(runtime);
        let sent = socket.send_file(&File::open("/proc/version").unwrap(), ..).unwrap();
        drop(socket);
        let mut received = Vec::new();
        peer.read_to_end(&mut received).unwrap();
        assert_eq!((sent, received), (expected.len() as u64, expected));
    });
}

#[test]
fn what_cannot_be_sent_is_told_at_the_end() {
    with_every_runtime(|runtime: &Runtime| {
        let file = Temporary::new("errors", b"0123456789");
        let (socket, mut peer) = connected(runtime);
        #[expect(clippy::reversed_empty_ranges, reason = "a user may do so by mistake")]
        let error = socket.send_file(&file.open(), 5..2).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        let udp = runtime.socket(Domain::IPV4, Type::DGRAM, None).unwrap();
        assert_eq!(udp.send_file(&file.open(), ..).unwrap_err().kind(), ErrorKind::InvalidInput);
        let written = File::create(&Temporary::new("write-only", b"").0).unwrap();
        assert!(socket.send_file(&written, ..).is_err());
        // I2: it ended early, says how much it sent, and nothing can follow.
        let Completion { result, bytes_transferred, .. } =
            socket.send_file_async(file.open(), 4..20).wait();
        let error = result.unwrap_err();
        assert_eq!((error.kind(), bytes_transferred), (ErrorKind::UnexpectedEof, 6));
        assert_eq!(error.to_string(), "send a file: the file ends 10 bytes before it was to end");
        assert!(is_aborted(&socket.send(b"more").unwrap_err()));
        let mut bytes = [0; 6];
        peer.read_exact(&mut bytes).unwrap();
        assert_eq!(&bytes, b"456789");
    });
}

/// A send waits for its socket alone. What takes a read at an offset and may have nothing to read is the
/// system's log, which not everybody may read.
#[cfg(target_os = "linux")]
#[test]
fn a_file_that_has_nothing_to_read_yet_is_an_error() {
    use std::os::unix::fs::OpenOptionsExt;

    with_every_runtime(|runtime: &Runtime| {
        let nonblocking = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
        let log = File::options().read(true).custom_flags(nonblocking).open("/dev/kmsg");
        let Ok(log) = log else {
            return support::skipped("the system's log may not be read here");
        };
        if support::sends_are_cut_short() {
            // It gives whole records only.
            return;
        }
        let (socket, mut peer) = connected(runtime);
        let reader = thread::spawn(move || io::copy(&mut peer, &mut io::sink()));
        let error = socket.send_file_async(log, ..).wait().result.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
        socket.close();
        let _ = reader.join().unwrap();
    });
}

/// A program that restores the default action of SIGPIPE is not ended by a peer that goes away.
#[cfg(unix)]
#[test]
fn a_broken_connection_is_an_error_and_no_signal() {
    const NAME: &str = "a_broken_connection_is_an_error_and_no_signal";
    const RESTORED: &str = "AIO_CORE_TEST_SIGPIPE";

    if std::env::var_os(RESTORED).is_none() {
        let mut again = std::process::Command::new(std::env::current_exe().unwrap());
        let again = again.args(["--exact", NAME, "--test-threads=1"]).env(RESTORED, "1");
        let output = again.output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && text.contains("1 passed"), "{}, {text}", output.status);
        return;
    }
    // SAFETY: this is a handler that any signal may have, and nobody else's is replaced.
    unsafe { libc::signal(libc::SIGPIPE, libc::SIG_DFL) };
    with_every_runtime(|runtime: &Runtime| {
        let file = Temporary::new("sigpipe", &[1; 1 << 20]);
        // The peer resets the connection, before the file is sent and while it is.
        for reads in [0, 100_000] {
            let (socket, mut peer) = connected(runtime);
            let first = socket.send_file_async(file.open(), ..);
            peer.read_exact(&mut vec![0; reads]).unwrap();
            drop(peer);
            let _ = first.wait();
            assert!(socket.send_file(&file.open(), ..).is_err());
        }
    });
}
