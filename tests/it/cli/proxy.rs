//! A proxy before the API server: of the environment, of the kubeconfig, and excepted by NO_PROXY.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::sync::mpsc;
use std::time::Duration;

use crate::harness::{Output, midship};

const LONG: Duration = Duration::from_mins(1);

/// A proxy that refuses everybody, and tells which address it was asked for first.
struct Proxy {
    address: String,
    asked: mpsc::Receiver<String>,
}

impl Proxy {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = format!("http://{}", listener.local_addr().expect("an address"));
        let (sender, asked) = mpsc::channel();
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let mut lines = BufReader::new(&stream).lines().map_while(Result::ok);
                let first = lines.next().unwrap_or_default();
                lines.take_while(|line| !line.is_empty()).for_each(drop);
                // a client that is gone does not need the answer
                let _ = (&stream).write_all(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n");
                if sender.send(first).is_err() {
                    return;
                }
            }
        });
        Self { address, asked }
    }
}

fn get(server: &str, proxy_url: &str, environment: &[(&str, &str)]) -> Output {
    let kubeconfig = format!(
        "clusters: [{{name: here, cluster: {{server: \"{server}\", proxy-url: \"{proxy_url}\"}}}}]
contexts: [{{name: here, context: {{cluster: here}}}}]
current-context: here
"
    );
    let run = midship();
    let path = run.home().join("kubeconfig");
    std::fs::write(&path, kubeconfig).expect("it can be written");
    let run = run.args(["get", "--request-timeout", "15s", "--kubeconfig"]).arg(&path);
    environment.iter().fold(run, |run, (name, value)| run.env(name, value)).output()
}

#[test]
fn the_proxy_of_the_environment_is_asked_for_the_server() {
    let proxy = Proxy::start();
    let output = get("https://api.example.com:6443", "", &[("HTTPS_PROXY", &proxy.address), ("NO_PROXY", ".other")]);
    assert_eq!(output.code, 1, "{output}");
    let asked = proxy.asked.recv_timeout(LONG).unwrap_or_else(|error| panic!("{error}: {output}"));
    assert!(asked.starts_with("CONNECT api.example.com:6443 "), "{asked}");
}

#[test]
fn the_proxy_of_the_kubeconfig_is_asked_whatever_is_excepted() {
    let proxy = Proxy::start();
    let output = get("https://api.example.com:6443", &proxy.address, &[("NO_PROXY", "*")]);
    let asked = proxy.asked.recv_timeout(LONG).unwrap_or_else(|error| panic!("{error}: {output}"));
    assert!(asked.starts_with("CONNECT api.example.com:6443 "), "{asked}");
}

#[test]
fn a_server_that_is_excepted_is_reached_without_the_proxy() {
    let proxy = Proxy::start();
    // a port that systems give to nobody by themselves
    for (server, except) in [("https://127.0.0.1:1", "other"), ("https://127.0.0.2:1", "127.0.0.0/8")] {
        let output = get(server, "", &[("HTTPS_PROXY", &proxy.address), ("NO_PROXY", except)]);
        assert!(output.stderr.contains("Connection refused"), "{output}");
        assert!(proxy.asked.try_recv().is_err(), "the proxy was asked");
    }
}

#[test]
fn a_proxy_of_an_unknown_kind_is_named() {
    let output = get("https://api.example.com:6443", "", &[("HTTPS_PROXY", "ftp://proxy:21")]);
    assert!(output.stderr.contains("a proxy of the kind \"ftp\" cannot be used"), "{output}");
    assert!(output.stderr.contains("where: HTTPS_PROXY"), "{output}");
}
