//! Each crate can be depended on alone, from outside the workspace.

use std::fs;
use std::path::Path;
use std::process::Command;

fn builds_and_runs(dependency: &str, main: &str) {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace's folder");
    let package = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("only-{dependency}"));
    fs::create_dir_all(package.join("src")).unwrap();
    let path = workspace.join("crates").join(dependency);
    let manifest = format!(
        "[package]\nname = \"only-{dependency}\"\nedition = \"2024\"\n\n\
         [dependencies]\n{dependency} = {{ path = {path:?} }}\n\n[workspace]\n"
    );
    fs::write(package.join("Cargo.toml"), manifest).unwrap();
    fs::write(package.join("src/main.rs"), main).unwrap();
    // The versions that this workspace was built with, which are here.
    fs::copy(workspace.join("Cargo.lock"), package.join("Cargo.lock")).unwrap();
    let output = Command::new(env!("CARGO"))
        .args(["run", "--quiet", "--offline", "--target-dir"])
        .arg(Path::new(env!("CARGO_TARGET_TMPDIR")).join("target"))
        .current_dir(&package)
        .env_remove("RUSTFLAGS")
        .output()
        .unwrap();
    let (stdout, stderr) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{stdout}{stderr}");
    assert_eq!(stdout, "it works\n");
}

#[test]
#[ignore = "takes long: `.ci/run` runs it"]
fn on_aio_sync() {
    builds_and_runs(
        "aio-sync",
        r#"
        static DONE: aio_sync::ManualResetEvent = aio_sync::ManualResetEvent::new(false);

        fn main() {
            std::thread::spawn(|| DONE.set());
            DONE.wait_one();
            println!("it works");
        }
        "#,
    );
}

#[test]
#[ignore = "takes long: `.ci/run` runs it"]
fn on_aio_core() {
    builds_and_runs(
        "aio-core",
        r#"
        fn main() -> std::io::Result<()> {
            let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
            let socket = aio_core::Socket::tcp_v4()?;
            socket.connect_async(listener.local_addr()?).wait().result?;
            println!("it works");
            Ok(())
        }
        "#,
    );
}

#[test]
#[ignore = "takes long: `.ci/run` runs it"]
fn on_aio_client() {
    builds_and_runs(
        "aio-client",
        r#"
        use aio_client as _;

        fn main() {
            println!("it works");
        }
        "#,
    );
}
