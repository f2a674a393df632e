//! `midship logs`, against a server that speaks as the API server does of one pod, and of two, one of them on a lost node.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// Longer than the API server may take to answer other questions.
const SILENCE: Duration = Duration::from_secs(5);
const LONG: Duration = Duration::from_mins(1);

/// Starts it and returns its address.
fn server() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = format!("http://{}", listener.local_addr().expect("an address"));
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            std::thread::spawn(move || answer(&stream));
        }
    });
    address
}

fn answer(mut stream: &TcpStream) {
    let mut lines = BufReader::new(stream).lines().map_while(Result::ok);
    let first = lines.next().unwrap_or_default();
    lines.take_while(|line| !line.is_empty()).for_each(drop);
    let path = first.split([' ', '?']).nth(1).unwrap_or_default();
    let lost = path.contains("/namespaces/lost/");
    let metadata = |name: &str| json!({ "name": name, "namespace": "shop" });
    let (status, body) = match path.replace("/lost/", "/shop/").as_str() {
        "/apis/midship.dev/v1alpha1/namespaces/shop/instances/orders" => {
            let spec = json!({ "type": "cache", "extensionVersion": "1.0.0", "version": "7.0" });
            let mut object = json!({ "apiVersion": "midship.dev/v1alpha1", "kind": "Instance", "spec": spec });
            object["metadata"] = metadata("orders");
            ("200 OK", object)
        }
        "/version" => {
            let version = json!({ "major": "1", "minor": "33", "gitVersion": "v1.33.0", "gitCommit": "", "gitTreeState": "",
                "buildDate": "", "goVersion": "", "compiler": "", "platform": "" });
            ("200 OK", version)
        }
        "/api/v1/namespaces/shop/pods" => {
            let names: &[&str] = if lost { &["orders-0", "orders-1"] } else { &["orders-0"] };
            let pod =
                |name: &&str| json!({ "metadata": metadata(name), "spec": { "containers": [{ "name": "cache" }] } });
            let pods: Vec<Value> = names.iter().map(pod).collect();
            ("200 OK", json!({ "apiVersion": "v1", "kind": "PodList", "metadata": {}, "items": pods }))
        }
        "/api/v1/namespaces/shop/pods/orders-1/log" => ("200 OK", json!("ready")),
        "/api/v1/namespaces/shop/pods/orders-0/log" if !lost => {
            // the API server sends nothing at all before the first line
            std::thread::sleep(SILENCE);
            ("200 OK", Value::Null)
        }
        _ => ("404 Not Found", json!({ "apiVersion": "v1", "kind": "Status", "status": "Failure", "code": 404 })),
    };
    let head = format!("HTTP/1.1 {status}\r\nContent-Type: application/json\r\nConnection: close\r\n\r\n");
    // a client that is gone does not need the answer
    let _ = stream.write_all(head.as_bytes());
    if !body.is_null() {
        let _ = stream.write_all(body.to_string().as_bytes());
        return;
    }
    let mut next: &[u8] = b"caf\xe9\n";
    while stream.write_all(next).is_ok() {
        next = b"ready\n";
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// What leads to such a server.
fn kubeconfig(folder: &Path) -> PathBuf {
    let kubeconfig = folder.join("kubeconfig");
    let text = format!(
        "clusters: [{{name: here, cluster: {{server: \"{}\"}}}}]
contexts: [{{name: here, context: {{cluster: here, namespace: shop}}}}]
current-context: here
",
        server()
    );
    std::fs::write(&kubeconfig, text).expect("it can be written");
    kubeconfig
}

#[test]
fn a_pod_whose_logs_cannot_be_had_hides_those_of_no_other() {
    let folder = tempfile::tempdir().expect("a folder");
    let output = Command::new(env!("CARGO_BIN_EXE_midship"))
        .args(["logs", "orders", "--namespace", "lost", "--kubeconfig"])
        .arg(kubeconfig(folder.path()))
        .env_clear()
        .output()
        .expect("it starts");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(String::from_utf8_lossy(&output.stdout), "orders-1 \"ready\"\n", "{said}");
    assert!(said.contains("Pod lost/orders-0") && !said.contains("Pod lost/orders-1"), "{said}");
    assert_eq!(output.status.code(), Some(1), "{said}");
}

#[test]
fn logs_wait_for_a_quiet_pod_show_any_bytes_and_end_with_their_reader() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut child = Command::new(env!("CARGO_BIN_EXE_midship"))
        .args(["logs", "orders", "--follow", "--request-timeout", "4", "--kubeconfig"])
        .arg(kubeconfig(folder.path()))
        .env_clear()
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts");
    let lines = BufReader::new(child.stdout.take().expect("it is piped")).lines();
    let seen: Vec<String> = lines.take(2).map(|line| line.expect("text")).collect();
    // with the two lines the reader is gone
    let start = Instant::now();
    while child.try_wait().expect("it is ours").is_none() && start.elapsed() < LONG {
        std::thread::sleep(Duration::from_millis(20));
    }
    // one that ended by itself has its own exit code
    let _ = child.kill();
    let ended = child.wait().expect("it is ours");
    let mut said = String::new();
    child.stderr.take().expect("it is piped").read_to_string(&mut said).expect("text");
    assert_eq!(seen, ["caf\u{fffd}", "ready"], "{said}");
    assert_eq!(ended.code(), Some(0), "{said}");
}
