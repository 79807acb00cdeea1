//! A thousand documents fetched at a time: aio-client beside tokio.
//!
//! ```console
//! cargo bench -p benches --bench parallel_fetch
//! ```
//!
//! The server is this process; each contender runs in a process of its own, taking turns. A row is the median of the
//! rounds: time until the last document is there, CPU time of the client's process, its threads, the
//! most memory that it has had (VmHWM).

use aio_client::{AsyncResult, Client, Framing, LengthPrefix, op};
use aio_core::{Runtime, Socket};
use std::env;
use std::fs;
use std::io;
use std::net::SocketAddr;
use std::process::Command;
use std::sync::mpsc::{self, Sender};
use std::time::{Duration, Instant};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

const ROUNDS: usize = 9;
const LENGTH: u32 = 64 << 10;
const TIMEOUT: Duration = Duration::from_secs(30);
const CONTENDERS: [&str; 2] = ["aio-client", "tokio"];

fn main() -> io::Result<()> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    match &arguments[..] {
        [contender, server, connections] if CONTENDERS.contains(&&**contender) => {
            let server = server.parse().expect("an address");
            let connections = connections.parse().expect("a number");
            return contend(contender, server, connections);
        }
        _ => {}
    }
    let is_test = arguments.iter().any(|argument| argument == "--test");
    let (rounds, connections) = if is_test { (1, 10) } else { (ROUNDS, 1000) };
    let runtime = Runtime::builder().workers(1).build()?;
    let server = serve(&runtime)?.to_string();
    let mut rows = [const { Vec::new() }; CONTENDERS.len()];
    for _ in 0..rounds {
        for (contender, rows) in CONTENDERS.iter().zip(&mut rows) {
            let connections = connections.to_string();
            let output = Command::new(env::current_exe()?)
                .args([contender, &*server, &*connections])
                .output()?;
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            let row = String::from_utf8_lossy(&output.stdout);
            rows.push(row.split_whitespace().map(|n| n.parse().unwrap()).collect::<Vec<f64>>());
        }
    }
    println!("{connections} connections, {LENGTH} bytes each, median of {rounds}");
    for (contender, rows) in CONTENDERS.iter().zip(&rows) {
        let median = |column: usize| {
            let mut values: Vec<f64> = rows.iter().map(|row| row[column]).collect();
            values.sort_by(f64::total_cmp);
            values[values.len() / 2]
        };
        let [ms, cpu, threads, memory] = [0, 1, 2, 3].map(median);
        println!("{contender}: {ms:.0} ms, {cpu:.0} ms CPU, {threads} threads, {memory} KiB");
    }
    Ok(())
}

fn serve(runtime: &Runtime) -> io::Result<SocketAddr> {
    let mut document = LENGTH.to_be_bytes().to_vec();
    document.resize(document.len() + LENGTH as usize, 1);
    let listener = runtime.tcp_v4()?;
    listener.bind(SocketAddr::from(([127, 0, 0, 1], 0)))?;
    listener.listen(4096)?;
    accept(&listener, document.leak());
    listener.local_addr()
}

fn accept(listener: &Socket, document: &'static [u8]) {
    let then = move |ar: AsyncResultOfAccept| {
        let listener = ar.async_state().clone();
        if let Ok(connection) = listener.end_accept(ar).result {
            connection.begin_send(document, |_| (), ());
        }
        accept(&listener, document);
    };
    listener.begin_accept(then, listener.clone());
}

type AsyncResultOfAccept = aio_core::AsyncResult<aio_core::op::Accept, Socket>;

fn contend(contender: &str, server: SocketAddr, connections: usize) -> io::Result<()> {
    let start = Instant::now();
    let sum = match contender {
        "aio-client" => fetch(server, connections)?,
        _ => fetch_with_tokio(server, connections)?,
    };
    let time = start.elapsed().as_secs_f64() * 1e3;
    assert_eq!(sum, connections as u64 * u64::from(LENGTH));
    let status = fs::read_to_string("/proc/self/status")?;
    let memory = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let memory = memory.and_then(|value| value.split_whitespace().next()).unwrap_or("0");
    // Ticks of 10 ms: fields 14 and 15, of which the second begins after the name's parenthesis.
    let stat = fs::read_to_string("/proc/self/stat")?;
    let fields: Vec<_> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let cpu: f64 = fields[11..13].iter().map(|ticks| ticks.parse::<f64>().unwrap() * 10.0).sum();
    println!("{time} {cpu} {} {memory}", THREADS.load(std::sync::atomic::Ordering::Relaxed));
    Ok(())
}

/// As many as there are while the last document arrives.
static THREADS: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);

fn count_threads() -> io::Result<()> {
    let threads = fs::read_dir("/proc/self/task")?.count();
    THREADS.store(threads, std::sync::atomic::Ordering::Relaxed);
    Ok(())
}

fn sum(document: &[u8]) -> u64 {
    document.iter().map(|&byte| u64::from(byte)).sum()
}

fn fetch(server: SocketAddr, connections: usize) -> io::Result<u64> {
    type Outcome = Sender<Result<u64, aio_client::Error>>;
    fn connect_callback(ar: AsyncResult<op::Connect, Outcome>) {
        let completion = Client::end_connect(ar);
        let outcome = completion.state;
        match completion.result {
            Ok(client) => {
                client.begin_receive(receive_callback, (client.clone(), outcome));
            }
            Err(error) => drop(outcome.send(Err(error))),
        }
    }
    fn receive_callback(ar: AsyncResult<op::Receive, (Client, Outcome)>) {
        let client = ar.async_state().0.clone();
        let completion = client.end_receive(ar);
        let _ = completion.state.1.send(completion.result.map(|document| sum(&document)));
    }
    let runtime = Runtime::builder().build()?;
    let (outcome, outcomes) = mpsc::channel();
    for _ in 0..connections {
        Client::builder()
            .runtime(&runtime)
            .timeout(TIMEOUT)
            .framing(Framing::LengthPrefix(LengthPrefix::U32Be))
            .begin_connect(server, connect_callback, outcome.clone());
    }
    drop(outcome);
    let total = outcomes.into_iter().sum::<Result<u64, _>>()?;
    count_threads()?;
    Ok(total)
}

fn fetch_with_tokio(server: SocketAddr, connections: usize) -> io::Result<u64> {
    async fn one(server: SocketAddr) -> io::Result<u64> {
        let mut stream = tokio::time::timeout(TIMEOUT, TcpStream::connect(server)).await??;
        tokio::time::timeout(TIMEOUT, async {
            let length = stream.read_u32().await?;
            let mut document = vec![0; length as usize];
            stream.read_exact(&mut document).await?;
            Ok(sum(&document))
        })
        .await?
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let total = runtime.block_on(async {
        let fetches: Vec<_> = (0..connections).map(|_| tokio::spawn(one(server))).collect();
        let mut total = 0;
        for fetch in fetches {
            total += fetch.await.expect("no fetch panics")?;
        }
        io::Result::Ok(total)
    })?;
    count_threads()?;
    Ok(total)
}
