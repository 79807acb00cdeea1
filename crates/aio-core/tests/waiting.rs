//! I4: waiting costs nothing, and it ends: what the system never reports, and what it reports for as long as a call
//! would have to wait. (`waiting_matrix.rs` goes through the states that a socket can be in.)

#![cfg(target_os = "linux")]

mod support;

use aio_core::socket2::{self, Domain, SockAddr, Type};
use aio_core::{Engine, IoBuf, Runtime, Socket};
use std::fs::{self, File};
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream, UdpSocket};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};
use support::{
    ENGINES, LIMIT, connected, full_listener, is_alone, limit_descriptors, listener, local_name,
    rounds, system_error, use_of, with_every_runtime, within,
};

/// For so long is measured what waiting costs,
const WINDOW: Duration = Duration::from_millis(300);

/// and that is next to nothing where it costs no more than this: a worker that spins uses all of the window.
const NEXT_TO_NOTHING: Duration = Duration::from_millis(30);

fn local(runtime: &Runtime, r#type: Type) -> Socket {
    runtime.socket(Domain::UNIX, r#type, None).unwrap()
}

/// Two datagram sockets that are connected to each other: of the local domain and of the internet.
fn datagram_pairs() -> [(socket2::Socket, socket2::Socket); 2] {
    let [one, other] = [(); 2].map(|()| UdpSocket::bind("127.0.0.1:0").unwrap());
    one.connect(other.local_addr().unwrap()).unwrap();
    other.connect(one.local_addr().unwrap()).unwrap();
    [socket2::Socket::pair(Domain::UNIX, Type::DGRAM, None).unwrap(), (one.into(), other.into())]
}

/// Every way in which a program may shut a socket down for receiving.
const WAYS: [fn(&Socket); 4] = [
    |socket| socket.shutdown(Shutdown::Read).unwrap(),
    |socket| socket.shutdown(Shutdown::Both).unwrap(),
    |socket| drop(socket.begin_disconnect(|_| {}, ())),
    // A call that is not ours.
    |socket| socket.with_socket(|socket| socket.shutdown(Shutdown::Read)).unwrap().unwrap(),
];

/// As for `recv(2)` that may block: what was there before, then 0.
#[test]
fn a_datagram_socket_that_is_shut_down_receives_what_was_there_and_then_nothing() {
    with_every_runtime(|runtime| {
        for shut_down in WAYS {
            for (ours, peer) in datagram_pairs() {
                let ours = runtime.associate(ours).unwrap();
                let pending = [(); 3].map(|()| ours.receive_async([0; 8]));
                let pending_from = ours.receive_from_async([0; 8]);
                let pending_message = ours.receive_message_from_async([0; 8]);
                let pending_list = ours.receive_list_async(vec![[0; 4]; 2]);
                let pending_look = ours.receive_async([0; 0]);
                peer.send(b"before").unwrap();
                shut_down(&ours);
                let received = pending.map(|receive| receive.wait().result.unwrap());
                assert_eq!(received, [6, 0, 0]);
                assert_eq!(pending_from.wait().result.unwrap().0, 0);
                let message = pending_message.wait().result.unwrap();
                assert_eq!((message.length, message.truncated), (0, false));
                assert_eq!(pending_list.wait().result.unwrap(), 0);
                assert_eq!(pending_look.wait().result.unwrap(), 0);
                // And what is begun later. The system goes on to queue what comes for some.
                assert_eq!(ours.receive(&mut [0; 8]).unwrap(), 0);
                if peer.send(b"after").is_ok() {
                    assert_eq!(ours.receive(&mut [0; 8]).unwrap(), 5);
                }
                assert_eq!(ours.receive_from(&mut [0; 8]).unwrap().0, 0);
            }
        }
    });
}

#[test]
fn a_shutdown_for_sending_ends_no_receive() {
    with_every_runtime(|runtime| {
        for (ours, peer) in datagram_pairs() {
            let ours = runtime.associate(ours).unwrap();
            let receive = ours.receive_async([0; 8]);
            ours.shutdown(Shutdown::Write).unwrap();
            peer.send(b"later").unwrap();
            assert_eq!(receive.wait().result.unwrap(), 5);
        }
    });
}

/// Linux shuts the socket down all the same, by half: it reports it as hung up.
#[test]
fn a_shutdown_that_has_failed_changes_nothing_and_costs_nothing() {
    if !is_alone("-n 4096", "a_shutdown_that_has_failed_changes_nothing_and_costs_nothing") {
        return;
    }
    with_every_runtime(|runtime| {
        for how in [Shutdown::Read, Shutdown::Both] {
            let ours = UdpSocket::bind("127.0.0.1:0").unwrap();
            let address = ours.local_addr().unwrap();
            let ours = runtime.associate(ours).unwrap();
            let receive = ours.receive_from_async([0; 8]);
            assert_eq!(ours.shutdown(how).unwrap_err().kind(), ErrorKind::NotConnected);
            let used = use_of(WINDOW);
            assert!(used < NEXT_TO_NOTHING, "{how:?}: {used:?}");
            UdpSocket::bind("127.0.0.1:0").unwrap().send_to(b"hello", address).unwrap();
            assert_eq!(receive.wait().result.unwrap().0, 5);
        }
    });
}

fn listeners(runtime: &Runtime) -> [(Socket, SockAddr); 3] {
    let local = |r#type| {
        let (listener, address) = (local(runtime, r#type), local_name());
        listener.bind(address.clone()).unwrap();
        listener.listen(8).unwrap();
        (listener, address)
    };
    let (tcp, address) = listener(runtime);
    [local(Type::STREAM), local(Type::SEQPACKET), (tcp, address.into())]
}

#[test]
fn an_accept_on_a_listener_that_was_shut_down_says_so() {
    with_every_runtime(|runtime| {
        for (index, shut_down) in WAYS.into_iter().enumerate() {
            for (listener, _) in listeners(runtime) {
                let pending = [listener.accept_async(), listener.accept_async()];
                let receiving = listener.accept_receive_async([0; 8]);
                shut_down(&listener);
                let mut errors: Vec<_> =
                    pending.map(|accept| accept.wait().result.unwrap_err()).into();
                errors.push(receiving.wait().result.unwrap_err());
                errors.push(listener.accept().unwrap_err());
                for error in errors {
                    assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
                    // TCP says the same of a call that is not ours and of a socket that has never listened.
                    if index < 3 || system_error(&error).is_some() {
                        assert_eq!(system_error(&error), Some(libc::EINVAL), "{error}");
                        assert!(error.to_string().contains("shut down"), "{error}");
                    }
                }
            }
        }
    });
}

/// A local listener keeps the connections that it has, TCP's resets them.
#[test]
fn a_local_listener_that_was_shut_down_still_accepts_what_was_there() {
    with_every_runtime(|runtime| {
        for (listener, address) in &listeners(runtime)[..2] {
            let r#type = listener.with_socket(|socket| socket.r#type()).unwrap().unwrap();
            let client = local(runtime, r#type);
            client.connect(address.clone()).unwrap();
            listener.shutdown(Shutdown::Both).unwrap();
            listener.accept().unwrap();
            assert_eq!(listener.accept().unwrap_err().kind(), ErrorKind::InvalidInput);
        }
    });
}

#[test]
fn a_tcp_listener_that_listens_again_accepts_again() {
    with_every_runtime(|runtime| {
        let (listener, _) = listener(runtime);
        let accept = listener.accept_async();
        listener.shutdown(Shutdown::Read).unwrap();
        accept.wait().result.unwrap_err();
        listener.listen(8).unwrap();
        let accept = listener.accept_async();
        // The system may have chosen another port.
        let _client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        accept.wait().result.unwrap();
    });
}

/// The program reads the error of a connect before a worker can.
#[test]
fn a_connect_whose_error_the_program_has_read_fails() {
    if !is_alone("-n 4096", "a_connect_whose_error_the_program_has_read_fails") {
        return;
    }
    for engine in ENGINES {
        for most in [u64::MAX, 0] {
            let runtime = support::builder().engine(engine).workers(1).build().unwrap();
            let (listener, address, _connections) = full_listener(&runtime).unwrap();
            let client = runtime.tcp_v4().unwrap();
            let connect = client.connect_async(address);
            let ((report, holds), (release, released)) = (mpsc::channel(), mpsc::channel::<()>());
            runtime.handle().post(move || {
                report.send(()).unwrap();
                let _ = released.recv();
            });
            holds.recv().unwrap();
            limit_descriptors(most);
            drop(listener);
            // The system asks again after a second, and is refused.
            let read = loop {
                let read = client.with_socket(|socket| socket.take_error()).unwrap();
                if let Some(error) = read.unwrap() {
                    break error;
                }
                thread::yield_now();
            };
            assert_eq!(read.kind(), ErrorKind::ConnectionRefused);
            drop(release);
            let error = connect.wait().result.unwrap_err();
            // As connect(2) says of it.
            assert_eq!(error.kind(), ErrorKind::ConnectionAborted, "{error}");
            assert!(error.to_string().contains(&address.to_string()), "{error}");
            assert!(error.to_string().contains("SO_ERROR"), "{error}");
            limit_descriptors(u64::MAX);
        }
    }
}

/// Linux reports a socket as hung up while it connects, if it was shut down before.
#[test]
fn a_connect_after_a_shutdown_in_vain_waits_and_costs_nothing() {
    const NAME: &str = "a_connect_after_a_shutdown_in_vain_waits_and_costs_nothing";
    if !is_alone("-n 4096", NAME) {
        return;
    }
    with_every_runtime(|runtime| {
        let (listener, address, _connections) = full_listener(runtime).unwrap();
        let client = runtime.tcp_v4().unwrap();
        client.shutdown(Shutdown::Both).unwrap_err();
        let connect = client.connect_async(address);
        let used = use_of(WINDOW);
        assert!(used < NEXT_TO_NOTHING, "{used:?}");
        // It is answered when it is asked for again.
        listener.accept().unwrap();
        connect.wait().result.unwrap();
    });
}

/// Something stays in the error queue, which the program may never read: Linux reports it all the time.
#[test]
fn an_error_queue_that_nobody_reads_costs_nothing_and_holds_up_nothing() {
    const NAME: &str = "an_error_queue_that_nobody_reads_costs_nothing_and_holds_up_nothing";
    if !is_alone("-n 4096", NAME) {
        return;
    }
    with_every_runtime(|runtime| {
        let ours = UdpSocket::bind("127.0.0.1:0").unwrap();
        let (on, descriptor) = (1_i32, ours.as_raw_fd());
        let (value, size) = ((&raw const on).cast(), size_of_val(&on) as libc::socklen_t);
        // SAFETY: the option is an integer, which is read during the call.
        unsafe { libc::setsockopt(descriptor, libc::IPPROTO_IP, libc::IP_RECVERR, value, size) };
        let gone = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let address = ours.local_addr().unwrap();
        let ours = runtime.associate(ours).unwrap();
        ours.send_to(b"x", gone).unwrap();
        let error = ours.receive_from(&mut [0; 8]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
        let receive = ours.receive_from_async([0; 8]);
        let used = use_of(WINDOW);
        assert!(used < NEXT_TO_NOTHING, "{used:?}");
        let peer = UdpSocket::bind("127.0.0.1:0").unwrap();
        peer.send_to(b"hello", address).unwrap();
        assert_eq!(receive.wait().result.unwrap().0, 5);
        // A program that does not wait for long still receives what comes meanwhile.
        let hasty = ours.with_timeout(Duration::from_millis(2));
        let begun = Instant::now();
        peer.send_to(b"again", address).unwrap();
        while hasty.receive_from(&mut [0; 8]).is_err() {
            assert!(begun.elapsed() < LIMIT);
        }
    });
}

/// A local datagram socket that sends without a peer: nobody reports that a receiver has room again.
#[test]
fn a_send_to_a_full_local_receiver_costs_nothing_and_goes_on_when_there_is_room() {
    const NAME: &str =
        "a_send_to_a_full_local_receiver_costs_nothing_and_goes_on_when_there_is_room";
    if !is_alone("-n 4096", NAME) {
        return;
    }
    with_every_runtime(|runtime| {
        for send_buffer in [None, Some(1 << 15)] {
            let address = local_name();
            let full = socket2::Socket::new(Domain::UNIX, Type::DGRAM, None).unwrap();
            full.bind(&address).unwrap();
            full.set_read_timeout(Some(LIMIT)).unwrap();
            // What others have sent takes the room.
            let other = socket2::Socket::new(Domain::UNIX, Type::DGRAM, None).unwrap();
            let now = libc::MSG_DONTWAIT;
            let mut there = 0;
            while other.send_to_with_flags(b"other", &address, now).is_ok() {
                there += 1;
            }
            let ours = local(runtime, Type::DGRAM);
            let elsewhere = send_buffer.map(|size| {
                // So much of ours is on its way elsewhere that the system does not even find us writable.
                ours.with_socket(|socket| socket.set_send_buffer_size(size)).unwrap().unwrap();
                let (elsewhere, address) = (local(runtime, Type::DGRAM), local_name());
                elsewhere.bind(address.clone()).unwrap();
                let send = |socket: &socket2::Socket| {
                    socket.send_to_with_flags(&[0; 1 << 12], &address, now)
                };
                for _ in 0..4 {
                    let _ = ours.with_socket(send).unwrap();
                }
                elsewhere
            });
            let sends = [(); 30].map(|()| ours.send_to_async(*b"ours", address.clone()));
            let used = use_of(WINDOW);
            assert!(used < NEXT_TO_NOTHING, "{used:?}");
            assert!(!sends[0].is_completed());
            for _ in 0..there + sends.len() {
                full.recv(&mut [std::mem::MaybeUninit::uninit(); 8]).unwrap();
            }
            for send in sends {
                assert_eq!(send.wait().result.unwrap(), 4);
            }
            drop(elsewhere);
        }
    });
}

#[test]
fn a_send_to_a_full_local_receiver_can_be_canceled_and_times_out() {
    with_every_runtime(|runtime| {
        let (full, address) = (local(runtime, Type::DGRAM), local_name());
        full.bind(address.clone()).unwrap();
        let ours = local(runtime, Type::DGRAM);
        let send = |socket: &socket2::Socket| {
            socket.send_to_with_flags(b"x", &address, libc::MSG_DONTWAIT)
        };
        while ours.with_socket(send).unwrap().is_ok() {}
        let hasty = ours.with_timeout(Duration::from_millis(30));
        let error = hasty.send_to(b"x", address.clone()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TimedOut);
        let (first, second) = (
            ours.send_to_async(*b"1", address.clone()),
            ours.send_to_async(*b"2", address.clone()),
        );
        first.cancel();
        assert!(aio_core::is_aborted(&first.wait().result.unwrap_err()));
        ours.close();
        assert!(aio_core::is_aborted(&second.wait().result.unwrap_err()));
    });
}

/// A receive finds that the connection has broken while a send, which may be about to be told, takes long.
#[test]
fn a_receive_that_looks_for_what_a_send_is_told_costs_nothing() {
    struct Slow(mpsc::Sender<()>, Arc<std::sync::Mutex<mpsc::Receiver<()>>>);
    // SAFETY: the bytes are static.
    unsafe impl IoBuf for Slow {
        fn as_slice(&self) -> &[u8] {
            let _ = self.0.send(());
            let _ = self.1.lock().unwrap().recv();
            b"x"
        }
    }
    if !is_alone("-n 4096", "a_receive_that_looks_for_what_a_send_is_told_costs_nothing") {
        return;
    }
    with_every_runtime(|runtime| {
        let (ours, peer) = connected(runtime);
        let ((report, begun), (release, released)) = (mpsc::channel(), mpsc::channel());
        let slow = Slow(report, Arc::new(std::sync::Mutex::new(released)));
        let sender = ours.clone();
        let send = thread::spawn(move || sender.send_async(slow));
        begun.recv().unwrap();
        let peer = socket2::Socket::from(peer);
        peer.set_linger(Some(Duration::ZERO)).unwrap();
        drop(peer);
        while ours.with_socket(|socket| socket.take_error()).unwrap().unwrap().is_none() {}
        let receive = ours.receive_async([0; 8]);
        let used = use_of(WINDOW);
        assert!(used < NEXT_TO_NOTHING, "{used:?}");
        assert!(!receive.is_completed());
        drop(release);
        assert!(send.join().unwrap().wait().result.is_err());
        receive.wait();
    });
}

/// RLIMIT_NOFILE is lowered under what is open: to nothing, and to less than there is to wait for.
#[test]
fn what_is_open_goes_on_when_the_limit_of_descriptors_is_lowered() {
    if !is_alone("-n 4096", "what_is_open_goes_on_when_the_limit_of_descriptors_is_lowered") {
        return;
    }
    for limit in [0, 1, 16] {
        with_every_runtime(move |runtime| {
            let mut pairs: Vec<_> = (0..60).map(|_| connected(runtime)).collect();
            let (listener, _) = listener(runtime);
            let accept = listener.accept_async();
            let before: Vec<_> = pairs.iter().map(|(ours, _)| ours.receive_async([0; 8])).collect();
            limit_descriptors(limit);
            let used = use_of(WINDOW);
            assert!(used < NEXT_TO_NOTHING, "{used:?}");
            for (receive, (_, peer)) in before.into_iter().zip(&mut pairs) {
                peer.write_all(b"hello").unwrap();
                assert_eq!(receive.wait().result.unwrap(), 5);
            }
            let (ours, peer) = &mut pairs[0];
            // Deadlines that are no whole milliseconds, too.
            for micros in [100, 2_500, 20_000] {
                let hasty = ours.with_timeout(Duration::from_micros(micros));
                let error = hasty.receive_async([0; 8]).wait().result.unwrap_err();
                assert_eq!(error.kind(), ErrorKind::TimedOut);
            }
            // Whom a worker waits for is let go of, and posts arrive.
            let canceled = ours.receive_async([0; 8]);
            canceled.cancel();
            assert!(aio_core::is_aborted(&canceled.wait().result.unwrap_err()));
            let (report, posted) = mpsc::channel();
            runtime.handle().post(move || report.send(()).unwrap());
            posted.recv().unwrap();
            let late = ours.receive_async([0; 8]);
            ours.send(b"bye").unwrap();
            peer.read_exact(&mut [0; 3]).unwrap();
            ours.close();
            assert!(aio_core::is_aborted(&late.wait().result.unwrap_err()));
            assert_eq!(peer.read(&mut [0; 8]).unwrap(), 0);
            assert!(!accept.is_completed());
            limit_descriptors(u64::MAX);
            let _client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            accept.wait().result.unwrap();
        });
    }
}

/// The descriptors of the pollers of this process.
fn pollers() -> Vec<RawFd> {
    let all = fs::read_dir("/proc/self/fd").unwrap().map(|entry| entry.unwrap());
    all.filter(|entry| {
        fs::read_link(entry.path()).is_ok_and(|to| to.as_os_str() == "anon_inode:[eventpoll]")
    })
    .map(|entry| entry.file_name().to_str().unwrap().parse().unwrap())
    .collect()
}

/// Makes `descriptor` one of `file`.
fn replace(descriptor: RawFd, file: &impl AsRawFd) {
    // SAFETY: who owns the descriptor finds another file behind it, as the test is about; it stays open.
    assert!(unsafe { libc::dup2(file.as_raw_fd(), descriptor) } >= 0);
}

/// Something else takes the place of the poller, so that waiting in it and registering with it fail for as long.
#[test]
fn a_poller_that_fails_fails_what_waits_and_the_next_wait_tries_again() {
    const NAME: &str = "a_poller_that_fails_fails_what_waits_and_the_next_wait_tries_again";
    if !is_alone("-n 4096", NAME) {
        return;
    }
    for workers in [1, 3] {
        let before = pollers();
        let builder = support::builder().engine(Engine::Readiness).workers(workers);
        let runtime = builder.build().unwrap();
        let pollers: Vec<_> =
            pollers().into_iter().filter(|poller| !before.contains(poller)).collect();
        let kept: Vec<_> = pollers
            .iter()
            .map(|poller| {
                // SAFETY: the descriptor is open.
                let duplicate = unsafe { libc::dup(*poller) };
                // SAFETY: the duplicate is nobody else's.
                unsafe { OwnedFd::from_raw_fd(duplicate) }
            })
            .collect();
        let (registered, mut its_peer) = connected(&runtime);
        // This one has never waited, and is not registered.
        let (fresh, mut fresh_peer) = UnixStream::pair().unwrap();
        let fresh = runtime.associate(fresh).unwrap();
        let waiting = registered.receive_async([0; 8]);
        let nothing = File::open("/dev/null").unwrap();
        pollers.iter().for_each(|poller| replace(*poller, &nothing));
        // The leader is in the poller that was there, and looks at the other one when it is woken.
        let (report, posted) = mpsc::channel();
        runtime.handle().post(move || report.send(()).unwrap());
        posted.recv().unwrap();
        for operation in [waiting, fresh.receive_async([0; 8]), fresh.receive_async([0; 8])] {
            // A thread that waits for the operation itself would poll for it.
            aio_sync::wait_any(&[&operation]);
            let error = operation.wait().result.unwrap_err();
            assert_eq!(error.raw_os_error(), Some(libc::EINVAL), "{error}");
        }
        let used = use_of(WINDOW);
        assert!(used < NEXT_TO_NOTHING, "{used:?}");
        // What need not wait goes on, and so do deadlines and posts.
        its_peer.write_all(b"hello").unwrap();
        while registered.receive_async([0; 8]).wait().result.is_err() {}
        let (report, posted) = mpsc::channel();
        runtime.handle().post(move || report.send(()).unwrap());
        posted.recv().unwrap();
        for (poller, kept) in pollers.iter().zip(&kept) {
            replace(*poller, kept);
        }
        // Once the leader has looked.
        let begun = Instant::now();
        let both: [(&Socket, &mut dyn Write); 2] =
            [(&registered, &mut its_peer), (&fresh, &mut fresh_peer)];
        for (ours, peer) in both {
            let receive = loop {
                let mut receive = ours.receive_async([0; 8]);
                match receive.wait_timeout(Duration::from_millis(200)) {
                    None => break receive,
                    Some(_) => assert!(begun.elapsed() < LIMIT),
                }
            };
            peer.write_all(b"again").unwrap();
            assert_eq!(receive.wait().result.unwrap(), 5);
        }
    }
}

/// How often each thread with that name has slept.
fn sleeps(name: &str) -> Vec<u64> {
    let tasks = fs::read_dir("/proc/self/task").unwrap().map(|task| task.unwrap().path());
    let mut named: Vec<_> = tasks
        .filter_map(|task| {
            let is = fs::read_to_string(task.join("comm")).unwrap();
            is.starts_with(name).then_some((is, task))
        })
        .collect();
    named.sort();
    let sleeps = |task: &std::path::Path| {
        let status = fs::read_to_string(task.join("status")).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
        line.unwrap().trim().parse().unwrap()
    };
    named.iter().map(|(_, task)| sleeps(task)).collect()
}

#[test]
fn a_cancel_wakes_the_worker_that_polls_for_the_operation_and_no_other() {
    within(support::limit(), "cancel", || {
        const WORKERS: usize = 8;
        let name = "aio-one-wakes";
        let runtime = support::builder()
            .engine(Engine::Blocking)
            .workers(WORKERS)
            .thread_name(name)
            .build()
            .unwrap();
        // Each has something to poll for.
        let pairs: Vec<_> = (0..WORKERS).map(|_| UnixStream::pair().unwrap()).collect();
        let (ours, peers): (Vec<_>, Vec<_>) = pairs.into_iter().unzip();
        let ours: Vec<_> = ours.into_iter().map(|one| runtime.associate(one).unwrap()).collect();
        let _pending: Vec<_> = ours.iter().map(|one| one.receive_async([0; 1])).collect();
        let (one, _peer) = UnixStream::pair().unwrap();
        let one = runtime.associate(one).unwrap();
        thread::sleep(Duration::from_millis(50));
        let before = sleeps(name);
        assert_eq!(before.len(), WORKERS);
        let rounds = rounds(300);
        for _ in 0..rounds {
            let receive = one.receive_async([0; 1]);
            receive.cancel();
            receive.wait();
            thread::sleep(Duration::from_micros(200));
        }
        let woken: Vec<_> =
            sleeps(name).iter().zip(before).map(|(after, before)| after - before).collect();
        // One to poll for it, and the same to let go of it.
        let each = woken.iter().sum::<u64>() / rounds as u64;
        assert!(each < 3, "{woken:?}");
        drop(peers);
    });
}
