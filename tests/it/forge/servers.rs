//! Servers that are no good: dead, silent, endless, treacherous; and a proxy in between.

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use midship::repo::{Access, Bounds, Credentials, Follow, Proxy, RemoteError, Secret};

use super::fixture::{bounds, forge, remote};
use super::listener::{proxy, read_request, server};

fn login() -> Access {
    let credentials = Credentials::Basic { username: "me".into(), password: Secret::new("s3cret") };
    Access { credentials, ..Access::default() }
}

fn open(address: SocketAddr, bounds: &Bounds) -> RemoteError {
    let remote = remote(&format!("http://{address}/a.git"), login());
    match remote.open(bounds) {
        Ok(mut session) => match session.resolve(&Follow::Head) {
            Err(midship::repo::ResolveError::Remote(error)) => error,
            other => panic!("{other:?}"),
        },
        Err(error) => error,
    }
}

#[test]
fn a_silent_server_is_given_up_at_the_deadline() {
    let (address, _asked) = server(|stream, _| {
        let _ = stream.read(&mut [0]);
    });
    for url in [format!("http://{address}/a.git"), format!("ssh://git@{address}/a.git")] {
        let access = if url.starts_with("ssh") { forge().key("FORGE_SSH_KEY") } else { login() };
        let started = Instant::now();
        let error = remote(&url, access).open(&Bounds::new(Duration::from_millis(600))).expect_err("silence");
        assert_eq!(error.code(), "deadline", "{url}: {error}");
        assert!(started.elapsed() < Duration::from_secs(30), "{url}: {:?}", started.elapsed());
    }
}

#[test]
fn an_interrupt_ends_waiting_at_once() {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};
    let (address, asked) = server(|stream, _| {
        let _ = stream.read(&mut [0]);
    });
    let flag = Arc::new(AtomicBool::new(false));
    let bounds = Bounds::new(Duration::from_mins(1)).interrupted_by(Arc::clone(&flag));
    let waiting = std::thread::spawn(move || open(address, &bounds));
    asked.recv_timeout(Duration::from_secs(30)).expect("it was asked");
    flag.store(true, Ordering::Relaxed);
    let started = Instant::now();
    assert_eq!(waiting.join().expect("no panic").code(), "interrupted");
    assert!(started.elapsed() < Duration::from_secs(30), "the deadline of a minute is not waited for");
}

#[test]
fn credentials_never_follow_a_redirect_to_another_place() {
    let (thief, stolen) = server(|stream, _| {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    });
    let (address, asked) = server(move |stream, request| {
        let path = request.split_whitespace().nth(1).unwrap_or_default();
        let answer = format!("HTTP/1.1 302 Found\r\nLocation: http://{thief}{path}\r\nContent-Length: 0\r\n\r\n");
        let _ = stream.write_all(answer.as_bytes());
    });
    let error = open(address, &bounds());
    assert_eq!(error.code(), "redirected", "{error}");
    assert!(error.to_string().contains(&thief.to_string()), "{error}");
    let request = asked.recv_timeout(Duration::from_secs(30)).expect("it was asked");
    assert!(request.to_lowercase().contains("authorization: basic"), "the place it was given for gets it");
    assert!(stolen.try_recv().is_err(), "the other place was not even asked");
}

#[test]
fn a_redirect_that_never_ends_is_given_up() {
    let (address, asked) = server(|stream, request| {
        let path = request.split_whitespace().nth(1).unwrap_or_default();
        let answer = format!("HTTP/1.1 301 Moved\r\nLocation: {path}\r\nContent-Length: 0\r\n\r\n");
        let _ = stream.write_all(answer.as_bytes());
        // the client may use the connection again
        while let request = read_request(stream)
            && !request.is_empty()
        {
            let _ = stream.write_all(answer.as_bytes());
        }
    });
    assert_eq!(open(address, &bounds()).code(), "redirected");
    assert!(asked.try_iter().count() <= 6);
}

#[test]
fn a_connection_is_kept_for_the_next_look_though_the_end_of_an_answer_comes_late() {
    const LOOKS: usize = 10;
    let greeting = "001e# service=git-upload-pack\n0000000eversion 2\n000cls-refs\n0012fetch=shallow\n0000";
    let (address, asked) = server(move |stream, _| {
        let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked";
        let kind = "Content-Type: application/x-git-upload-pack-advertisement";
        let answer = format!("{head}\r\n{kind}\r\n\r\n{:x}\r\n{greeting}\r\n", greeting.len());
        loop {
            let _ = stream.write_all(answer.as_bytes());
            // everything that is asked for is there, and whoever asked goes
            std::thread::sleep(Duration::from_millis(20));
            let _ = stream.write_all(b"0\r\n\r\n");
            if read_request(stream).is_empty() {
                return;
            }
        }
    });
    let remote = remote(&format!("http://{address}/a.git"), login());
    for _ in 0..LOOKS {
        remote.open(&bounds()).expect("a greeting");
    }
    let connections = asked.try_iter().count();
    assert!(connections * 2 <= LOOKS, "{connections} connections for {LOOKS} looks");
}

#[test]
fn answers_that_are_no_git_are_told_apart() {
    let page = |head: &str, body: &str| format!("HTTP/1.1 {head}\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    let git = "Content-Type: application/x-git-upload-pack-advertisement";
    let cases = [
        (page("200 OK\r\nContent-Type: text/html", "<html>log in</html>"), "protocol"),
        (page(&format!("200 OK\r\n{git}"), "garbage that is no packet line"), "protocol"),
        (page(&format!("200 OK\r\n{git}"), ""), "protocol"),
        (page("500 Oops\r\nContent-Type: text/plain", "database \x1b[31mdown"), "server-error"),
        (page("503 Busy", ""), "server-error"),
        (page("429 Slow down", ""), "server-error"),
        (page("403 No\r\nContent-Type: application/json", "{\"message\": \"sso required\"}"), "forbidden"),
        ("HTTP/1.1 200 OK\r\n".to_owned(), "unreachable"),
        ("SSH-2.0-OpenSSH\r\n".to_owned(), "unreachable"),
    ];
    for (answer, code) in cases {
        let sent = answer.clone();
        let (address, _asked) = server(move |stream, _| {
            let _ = stream.write_all(sent.as_bytes());
        });
        let error = open(address, &bounds());
        assert_eq!(error.code(), code, "{answer:?}: {error}");
        assert!(!error.to_string().contains('\x1b'), "{error:?}");
        assert!(!error.to_string().contains("s3cret"), "{error:?}");
    }
}

#[test]
fn an_endless_answer_stops_at_the_limit() {
    let (address, _asked) = server(|stream, _| {
        let head = "HTTP/1.1 200 OK\r\nContent-Type: application/x-git-upload-pack-advertisement\r\n\r\n";
        let _ = stream.write_all(head.as_bytes());
        let _ = stream.write_all(b"001e# service=git-upload-pack\n0000000eversion 2\n");
        while stream.write_all(&b"0010capability\n\n".repeat(4096)).is_ok() {}
    });
    let error = open(address, &bounds().pack_bytes(1 << 20));
    assert_eq!(error.code(), "too-large", "{error}");
}

#[test]
fn a_proxy_is_used_with_its_own_login() {
    let repository = forge().repository("proxy");
    repository.push(&[("a.yaml".to_owned(), "a: 1\n".to_owned())]);
    let (address, asked) = proxy(str::to_owned);
    let mut access = forge().basic();
    let login = Some(("proxy".to_owned(), Secret::new("hush")));
    access.proxy = Some(Proxy { url: format!("http://{address}"), login });
    let mut session = remote(&repository.https, access.clone()).open(&bounds()).expect("through the proxy");
    session.resolve(&Follow::Head).expect("resolved");
    let request = asked.recv_timeout(Duration::from_secs(30)).expect("the proxy was asked");
    assert!(request.starts_with("CONNECT "), "{request}");
    let lower = request.to_lowercase();
    assert!(lower.contains("proxy-authorization: basic"), "{request}");
    assert!(!lower.lines().any(|line| line.starts_with("authorization:")), "the proxy does not see our login");
    access.proxy = Some(Proxy { url: format!("http://{address}"), login: None });
    let error = remote(&repository.https, access).open(&bounds()).expect_err("no login for the proxy");
    assert_eq!(error.code(), "unreachable", "{error}");
}
