//! Real protocols with real servers: HTTP/1.1 with nginx and python3's http.server, Redis with
//! redis-server. A server that is not installed is skipped, with a message.

#![expect(clippy::print_stderr, reason = "says what is skipped")]

mod support;

use aio_client::{Client, Error, Framing};
use std::env;
use std::fs;
use std::io::{self, BufRead, BufReader};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;
use support::{LIMIT, refusing_address, within};

/// A server that ends with the test.
struct Server {
    process: Child,
    directory: PathBuf,
}

impl Server {
    /// Starts the program in a directory with these files alone; `None` if it is not installed.
    fn start(program: &str, arguments: &[&str], files: &[(&str, &[u8])]) -> Option<Self> {
        let directory = env::temp_dir().join(format!("{program}-{}", std::process::id()));
        fs::create_dir_all(&directory).unwrap();
        for (name, content) in files {
            fs::write(directory.join(name), content).unwrap();
        }
        let command = Command::new(program)
            .args(arguments)
            .current_dir(&directory)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn();
        match command {
            Ok(process) => Some(Self { process, directory }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                eprintln!("skipped: {program} is not installed");
                None
            }
            Err(error) => panic!("{program}: {error}"),
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
        fs::remove_dir_all(&self.directory).unwrap();
    }
}

/// A GET as RFC 9112 has it: a status, lines up to an empty one, then as many bytes as they say.
fn get(client: &Client, path: &str) -> Result<(String, Vec<u8>), Error> {
    let host = client.peer_addr();
    client.send(format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n"))?;
    let lines = client.with_framing(Framing::delimiter("\r\n")).with_max_response(8192);
    let status = lines.receive_text()?;
    let mut length = None;
    loop {
        let line = lines.receive_text()?.to_ascii_lowercase();
        match line.split_once(':') {
            Some(("content-length", value)) => length = value.trim().parse().ok(),
            Some(_) => {}
            None => break,
        }
    }
    let body = match length {
        Some(length) => client.with_framing(Framing::Fixed(length)).receive()?,
        None => client.receive()?,
    };
    Ok((status, body))
}

fn file() -> Vec<u8> {
    (0..1_000_000_u32).flat_map(u32::to_be_bytes).collect()
}

#[test]
fn http_get_receives_the_file_from_python() {
    within(LIMIT, "python3", || {
        let arguments = ["-u", "-m", "http.server", "--bind", "127.0.0.1", "0"];
        let file = file();
        let Some(mut server) = Server::start("python3", &arguments, &[("file", &file)]) else {
            return;
        };
        let mut line = String::new();
        BufReader::new(server.process.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let port = line.split_whitespace().find_map(|word| word.parse().ok()).unwrap();
        let host = SocketAddr::from(([127, 0, 0, 1], port));

        // It answers in HTTP/1.0, and closes.
        let (status, body) = get(&Client::connect(host).unwrap(), "/file").unwrap();
        assert_eq!(status, "HTTP/1.0 200 OK");
        assert!(body == file);
        let (status, _) = get(&Client::connect(host).unwrap(), "/no-such-file").unwrap();
        assert_eq!(status, "HTTP/1.0 404 File not found");
    });
}

#[test]
fn http_gets_over_one_connection_receive_the_files_from_nginx() {
    within(LIMIT, "nginx", || {
        let address = refusing_address();
        let configuration = format!(
            "daemon off; master_process off; pid nginx.pid; error_log stderr; events {{}}\n\
             http {{ access_log off; server {{ listen {address}; root .; }} }}\n"
        );
        let file = file();
        let files: [(&str, &[u8]); 2] = [("nginx.conf", configuration.as_bytes()), ("file", &file)];
        let arguments = ["-p", ".", "-c", "nginx.conf"];
        let Some(_server) = Server::start("nginx", &arguments, &files) else { return };
        let client = until_it_listens(address);
        for _ in 0..3 {
            let (status, body) = get(&client, "/file").unwrap();
            assert_eq!(status, "HTTP/1.1 200 OK");
            assert!(body == file);
            let (status, body) = get(&client, "/no-such-file").unwrap();
            assert_eq!(status, "HTTP/1.1 404 Not Found");
            assert!(body.starts_with(b"<html>"));
        }
    });
}

/// Connects to a server that has just been started.
fn until_it_listens(address: SocketAddr) -> Client {
    loop {
        match Client::connect(address) {
            Ok(client) => return client,
            Err(_) => thread::sleep(Duration::from_millis(10)),
        }
    }
}

/// A command and its reply as RESP has them: a line, which for a bulk string is its length.
fn redis(client: &Client, command: &[&str]) -> Result<Option<String>, Error> {
    let words = command.iter().map(|word| format!("${}\r\n{word}\r\n", word.len()));
    client.send(format!("*{}\r\n{}", command.len(), words.collect::<String>()))?;
    reply(client)
}

fn reply(client: &Client) -> Result<Option<String>, Error> {
    let line = client.with_framing(Framing::delimiter("\r\n")).receive_text()?;
    match line.strip_prefix('$').map(|length| length.parse::<usize>()) {
        None => Ok(Some(line)),
        Some(Err(_)) => Ok(None), // -1: there is none
        Some(Ok(length)) => {
            let bulk = client.with_framing(Framing::Fixed(length + 2)).receive_text()?;
            Ok(Some(bulk[..length].to_owned()))
        }
    }
}

#[test]
fn redis_commands_get_their_replies_one_by_one_and_pipelined() {
    within(LIMIT, "redis", || {
        let address = refusing_address();
        let port = address.port().to_string();
        let arguments = ["--bind", "127.0.0.1", "--port", &port, "--save", ""];
        let Some(_server) = Server::start("redis-server", &arguments, &[]) else { return };
        let client = until_it_listens(address);
        let value = "a value\r\nof two lines ".repeat(10_000);
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(redis(&client, &["PING"]).unwrap(), some("+PONG"));
        assert_eq!(redis(&client, &["SET", "key", &value]).unwrap(), some("+OK"));
        assert_eq!(redis(&client, &["GET", "key"]).unwrap(), some(&value));
        assert_eq!(redis(&client, &["GET", "no such key"]).unwrap(), None);

        client.send("INCR counter\r\n".repeat(1000)).unwrap();
        for count in 1..=1000 {
            assert_eq!(reply(&client).unwrap(), some(&format!(":{count}")));
        }
    });
}
