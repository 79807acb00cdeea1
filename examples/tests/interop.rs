//! Who talks to whom (DX-20): every client with every server, ours, .NET's as Mono has it, python3's and
//! nc. What is not installed is skipped, and said.

use aio_client::{Client, Encoding};
use std::env;
use std::fs;
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{OnceLock, mpsc};
use std::thread;
use std::time::Duration;

const MESSAGE: &str = "This is a test<EOF>";

/// No pair takes this long, even on a busy machine: one that does hangs.
const LIMIT: Duration = Duration::from_secs(30);

/// Ends with the test.
struct Server {
    process: Child,
    port: u16,
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

type StartServer = Box<dyn Fn() -> Server>;
type RunClient = Box<dyn Fn(u16) -> Vec<String>>;

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/interop").join(name)
}

/// One of our programs, as it is now: a run of this test alone does not build the examples.
fn example(name: &str) -> Command {
    static BUILT: OnceLock<()> = OnceLock::new();
    BUILT.get_or_init(|| {
        let mut cargo = Command::new(env!("CARGO"));
        cargo.args(["build", "-q", "-p", "examples", "--example", "client"]);
        cargo.args(["--example", "async_server"]);
        if !cfg!(debug_assertions) {
            cargo.arg("--release");
        }
        assert!(cargo.current_dir(env!("CARGO_MANIFEST_DIR")).status().unwrap().success());
    });
    // The examples are beside the directory of the tests.
    let tests = env::current_exe().unwrap();
    Command::new(tests.parent().unwrap().with_file_name("examples").join(name))
}

fn is_installed(program: &str) -> bool {
    let found = Command::new("sh").args(["-c", &format!("command -v {program}")]).output();
    found.is_ok_and(|output| output.status.success())
}

/// Compiles a program with Mono; `None` if that is not installed.
fn mono(source: &str, directory: &Path) -> Option<PathBuf> {
    if !is_installed("mcs") || !is_installed("mono") {
        return None;
    }
    let program = directory.join(source).with_extension("exe");
    let mut mcs = Command::new("mcs");
    mcs.arg(format!("-out:{}", program.display())).arg(fixture(source));
    assert!(mcs.status().unwrap().success(), "{source} compiles");
    Some(program)
}

/// Starts a server that prints its port as the end of its first line.
fn announced(mut command: Command) -> Server {
    let mut process = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
    let line = lines.next().expect("the server says its port").unwrap();
    // It goes on printing.
    thread::spawn(move || lines.for_each(drop));
    let port = line.rsplit(|c: char| !c.is_ascii_digit()).next().unwrap().parse().unwrap();
    Server { process, port }
}

/// Answers one client, whatever it says.
fn start_nc() -> Server {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    // The two programs of that name take the port differently; -q 1 makes both close a while after the
    // end of their input.
    let help = Command::new("nc").arg("-h").output().unwrap();
    let is_openbsd = String::from_utf8_lossy(&help.stderr).contains("OpenBSD");
    let arguments = if is_openbsd { "-N -l 127.0.0.1" } else { "-q 1 -l -s 127.0.0.1 -p" };
    let script = format!("printf '{MESSAGE}' | exec nc {arguments} {port}");
    let process = Command::new("sh").args(["-c", &script]).stdout(Stdio::null()).spawn().unwrap();
    Server { process, port }
}

/// None if it had to be ended.
fn output(mut command: Command) -> Option<Output> {
    let process = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let id = process.id();
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || sender.send(process.wait_with_output()));
    match receiver.recv_timeout(LIMIT) {
        Ok(output) => Some(output.unwrap()),
        Err(_) => {
            eprintln!("{command:?}: not over after {LIMIT:?}");
            let _ = Command::new("kill").arg(id.to_string()).status();
            None
        }
    }
}

/// Runs a client to its end; one that finds nobody listening is run again. It may hang fewer times than `hangs`:
/// never, but for Mono's, which hangs now and then on a busy machine, with Mono's server, too.
fn lines(hangs: usize, command: impl Fn() -> Command) -> Vec<String> {
    let mut hung = 0;
    for _ in 0..200 {
        let Some(output) = output(command()) else {
            hung += 1;
            assert!(hung < hangs, "it hangs");
            continue;
        };
        let text =
            |bytes: &[u8]| String::from_utf8_lossy(bytes).lines().map(str::to_owned).collect();
        if output.status.success() && !output.stdout.is_empty() {
            return text(&output.stdout);
        }
        let errors: Vec<String> = text(&output.stderr);
        let is_early = errors.is_empty() || errors.iter().any(|error| error.contains("refused"));
        assert!(is_early, "{errors:?}");
        thread::sleep(Duration::from_millis(25));
    }
    panic!("nobody listens");
}

/// What the document's client prints.
fn document(port: u16) -> Vec<String> {
    vec![
        format!("Socket connected to 127.0.0.1:{port}"),
        format!("Sent {} bytes to server.", MESSAGE.len()),
        format!("Response received : {MESSAGE}"),
    ]
}

#[test]
#[ignore = "takes long: `.ci/run` runs it"]
fn every_client_gets_its_echo_from_every_server() {
    let directory = env::temp_dir().join(format!("aio-interop-{}", std::process::id()));
    fs::create_dir_all(&directory).unwrap();
    let mut servers: Vec<(&str, StartServer)> = vec![(
        "async_server",
        Box::new(|| {
            let mut command = example("async_server");
            command.args(["--address", "127.0.0.1:0"]);
            announced(command)
        }),
    )];
    let mut clients: Vec<(&str, RunClient)> = vec![
        (
            "client",
            Box::new(|port| {
                lines(1, || {
                    let mut command = example("client");
                    command.args(["--port", &port.to_string(), "--timeout", "20"]);
                    command
                })
            }),
        ),
        ("aio-client", Box::new(|port| vec![ask(port)])),
    ];
    match (mono("EofServer.cs", &directory), mono("EofClient.cs", &directory)) {
        (Some(server), Some(client)) => {
            for (name, mode) in [("mono, async", "async"), ("mono, sync", "sync")] {
                let (server, client) = (server.clone(), client.clone());
                let mono = move |program: &Path, arguments: &[&str]| {
                    let mut command = Command::new("mono");
                    command.arg(program).args(arguments);
                    command
                };
                servers.push((name, Box::new(move || announced(mono(&server, &[mode])))));
                clients.push((
                    name,
                    Box::new(move |port| lines(3, || mono(&client, &[mode, &port.to_string()]))),
                ));
            }
        }
        _ => eprintln!("skipped: mono-mcs and mono-runtime are not installed"),
    }
    let python = |script: &str, port: Option<u16>| {
        let mut command = Command::new("python3");
        command.arg(fixture(script)).args(port.map(|port| port.to_string()));
        command
    };
    if is_installed("python3") {
        servers.push(("python3", Box::new(move || announced(python("eof_server.py", None)))));
        clients.push((
            "python3",
            Box::new(move |port| lines(1, || python("eof_client.py", Some(port)))),
        ));
    } else {
        eprintln!("skipped: python3 is not installed");
    }
    if is_installed("nc") {
        servers.push(("nc", Box::new(start_nc)));
        clients.push((
            "nc",
            Box::new(|port| {
                lines(1, || {
                    let script = format!("printf '{MESSAGE}' | nc 127.0.0.1 {port}");
                    let mut command = Command::new("sh");
                    command.args(["-c", &script]);
                    command
                })
            }),
        ));
    } else {
        eprintln!("skipped: nc is not installed");
    }

    for (server_name, start) in &servers {
        // nc answers one client.
        let mut server = start();
        for (index, (client_name, run)) in clients.iter().enumerate() {
            if *server_name == "nc" && index > 0 {
                server = start();
            }
            let printed = run(server.port);
            let expected = match *client_name {
                "client" | "mono, async" | "mono, sync" => document(server.port),
                "nc" => vec![MESSAGE.to_owned()],
                _ => vec![format!("Response received : {MESSAGE}")],
            };
            println!("{client_name} -> {server_name}: {}", printed.join(" | "));
            assert_eq!(printed, expected, "{client_name} -> {server_name}");
        }
    }
    fs::remove_dir_all(&directory).unwrap();
}

/// The client library: what a port of the document becomes.
fn ask(port: u16) -> String {
    let client = (0..200)
        .find_map(|_| {
            let client = Client::builder().encoding(Encoding::Ascii).timeout(LIMIT);
            let connected = client.connect(("127.0.0.1", port));
            if connected.is_err() {
                thread::sleep(Duration::from_millis(25));
            }
            connected.ok()
        })
        .expect("somebody listens");
    client.send_text(MESSAGE).unwrap();
    format!("Response received : {}", client.receive_text().unwrap())
}

/// DX-20: a message without the tag is not answered, and the client's deadline ends the wait.
#[test]
#[ignore = "takes long: `.ci/run` runs it"]
fn a_message_without_the_tag_is_not_answered() {
    let mut command = example("async_server");
    command.args(["--address", "127.0.0.1:0"]);
    let server = announced(command);
    let mut client = example("client");
    client.args(["--message", "This is a test", "--timeout", "0.5"]);
    client.args(["--port", &server.port.to_string()]);
    let output = output(client).expect("it ends");
    assert!(!output.status.success());
    let error = String::from_utf8(output.stderr).unwrap();
    let expected = format!("receive from 127.0.0.1:{}: timed out after 500ms", server.port);
    assert_eq!(error.trim(), format!("client: {expected}"));
}
