//! Servers that behave as a test wants them to.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use midship::extension::contract::Probe;
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::{Stage, certificates, operation};

/// Answers each connection with what a function makes of it; says how many there were.
async fn serve<F, T>(tls: Option<TlsAcceptor>, talk: F) -> (u16, Arc<AtomicUsize>)
where
    F: Fn(Box<dyn Stream>) -> T + Send + Sync + 'static,
    T: Future<Output = std::io::Result<()>> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let count = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&count);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            counted.fetch_add(1, Ordering::SeqCst);
            let stream: Box<dyn Stream> = match &tls {
                None => Box::new(stream),
                Some(acceptor) => match acceptor.accept(stream).await {
                    Ok(stream) => Box::new(stream),
                    Err(_) => continue,
                },
            };
            tokio::spawn(talk(stream));
        }
    });
    (port, count)
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// Speaks RESP as far as the tests do: logs in, echoes, fails, hangs up.
async fn resp(stream: Box<dyn Stream>) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    let mut known = false;
    loop {
        let mut words = Vec::new();
        let mut line = String::new();
        if stream.read_line(&mut line).await? == 0 {
            return Ok(());
        }
        for _ in 0..line.trim_start_matches('*').trim().parse::<usize>().unwrap() {
            line.clear();
            stream.read_line(&mut line).await?;
            let mut word = vec![0; line.trim_start_matches('$').trim().parse::<usize>().unwrap() + 2];
            stream.read_exact(&mut word).await?;
            words.push(String::from_utf8_lossy(&word[..word.len() - 2]).into_owned());
        }
        let answer = match words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
            ["AUTH", "admin", "hunter2-hunter2"] => {
                known = true;
                "+OK\r\n".to_owned()
            }
            ["AUTH", _, password] => format!("-WRONGPASS {password}\r\n"),
            ["OPEN"] => format!("+{}\r\n", if known { "known" } else { "stranger" }),
            _ if !known => "-NOAUTH Authentication required.\r\n".to_owned(),
            ["ECHO", text] => format!("*2\r\n${}\r\n{text}\r\n:7\r\n", text.len()),
            ["BYE"] => return Ok(()),
            _ => "-ERR unknown command\r\n".to_owned(),
        };
        stream.write_all(answer.as_bytes()).await?;
    }
}

fn failed(driver: &str, reason: &str) -> Result<Value, String> {
    Err(format!("operation try: step 1 ({driver}): {reason}"))
}

async fn ask(port: u16, step: Value) -> Result<Value, String> {
    Stage::with_step("/none".as_ref(), port, step).ask().await
}

#[tokio::test]
async fn resp_logs_in_asks_and_tells_errors_in_the_servers_words() {
    let (port, _) = serve(None, resp).await;
    assert_eq!(ask(port, json!({ "resp": ["ECHO", "ü {{ 1 + 1 }}"] })).await, Ok(json!(["ü 2", 7])));
    assert_eq!(ask(port, json!({ "resp": { "command": ["OPEN"], "login": false } })).await, Ok(json!("stranger")));
    let wrong = failed("resp", "the server answered: ERR unknown command");
    assert_eq!(ask(port, json!({ "resp": ["NONSENSE"] })).await, wrong);
    let stage = Stage::with_step("/none".as_ref(), port, json!({ "resp": ["ECHO", "a"] }));
    std::fs::write(stage.dir.path().join("password"), "old-password").unwrap();
    let reason = format!("cannot log in at 127.0.0.1:{port}: WRONGPASS …");
    assert_eq!(stage.ask().await, failed("resp", &reason));
    std::fs::write(stage.dir.path().join("password"), "hunter2-hunter2").unwrap();
    stage.ask().await.unwrap();
    std::fs::write(stage.dir.path().join("password"), "new-password").unwrap();
    stage.ask().await.expect("a server that was not told of it yet knows the old one");
    let gone = ask(port, json!({ "resp": ["BYE"] })).await;
    assert_eq!(gone, failed("resp", &format!("127.0.0.1:{port}: the server closed the connection without an answer")));
}

#[tokio::test]
async fn probes_keep_their_connection_and_find_a_server_that_was_started_anew() {
    let (port, count) = serve(None, resp).await;
    let stage = Stage::new("/none".as_ref(), operation(port, json!({ "resp": ["ECHO", "a"] })));
    let probe =
        |word: &str| -> Probe { serde_json::from_value(json!({ "steps": [{ "resp": [word, "x"] }] })).unwrap() };
    for _ in 0..5 {
        stage.actor.probe(&probe("ECHO"), midship::agent::actions::Extras::new()).await.unwrap();
    }
    assert_eq!(count.load(Ordering::SeqCst), 1);
    // an action has connections of its own
    stage.ask().await.unwrap();
    stage.ask().await.unwrap();
    assert_eq!(count.load(Ordering::SeqCst), 3);
    let bye: Probe = serde_json::from_value(json!({ "steps": [{ "resp": ["BYE"] }] })).unwrap();
    stage.actor.probe(&bye, midship::agent::actions::Extras::new()).await.unwrap_err();
    stage.actor.probe(&probe("ECHO"), midship::agent::actions::Extras::new()).await.unwrap();
}

/// A server with a certificate for another name than it is reached by; the files of an instance.
fn acceptor(stage: &Stage) -> TlsAcceptor {
    let (certificate, key) = certificates(stage);
    let chain = vec![CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap()];
    let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap())
        .unwrap();
    TlsAcceptor::from(Arc::new(config))
}

fn secure(port: u16, step: Value) -> Stage {
    let mut fields = operation(port, step);
    fields["tls"] = json!(true);
    Stage::new("/none".as_ref(), fields)
}

#[tokio::test]
async fn tls_takes_any_name_but_only_the_instances_authority() {
    let first = secure(1, json!({}));
    let acceptor = acceptor(&first);
    let (port, _) = serve(Some(acceptor), resp).await;
    let right = secure(port, json!({ "resp": ["ECHO", "a"] }));
    std::fs::create_dir(right.dir.path().join("tls")).unwrap();
    std::fs::copy(first.dir.path().join("tls/ca.crt"), right.dir.path().join("tls/ca.crt")).unwrap();
    assert_eq!(right.ask().await, Ok(json!(["a", 7])));
    let wrong = secure(port, json!({ "resp": ["ECHO", "a"] }));
    certificates(&wrong);
    let error = wrong.ask().await.unwrap_err();
    assert!(error.contains("TLS with 127.0.0.1") && error.contains("certificate"), "{error}");
    let none = secure(port, json!({ "resp": ["ECHO", "a"] }));
    let error = none.ask().await.unwrap_err();
    assert!(error.contains("tls/ca.crt"), "{error}");
}

/// Answers every request with the same.
async fn http(mut stream: Box<dyn Stream>) -> std::io::Result<()> {
    let mut request = Vec::new();
    let mut buffer = [0; 4096];
    while !request.windows(4).any(|end| end == b"\r\n\r\n") {
        let got = stream.read(&mut buffer).await?;
        if got == 0 {
            return Ok(());
        }
        request.extend_from_slice(&buffer[..got]);
    }
    let request = String::from_utf8_lossy(&request).into_owned();
    let (status, body) = match request.split(' ').nth(1).unwrap_or_default() {
        "/sick" => ("503 Service Unavailable", "starting up\n".to_owned()),
        _ => ("200 OK", json!({ "request": request }).to_string()),
    };
    let answer = format!("HTTP/1.1 {status}\r\nx-kind: test\r\ncontent-length: {}\r\n\r\n{body}", body.len());
    stream.write_all(answer.as_bytes()).await
}

#[tokio::test]
async fn http_sends_what_the_step_says_and_reads_the_answer() {
    let (port, _) = serve(None, http).await;
    let step = json!({ "http": { "path": "/a?b={{ 1 + 1 }}", "method": "post", "headers": { "X-Mine": "{{ component }}" },
        "body": { "n": 1 }, "login": true } });
    let mut fields = operation(port, step);
    fields["context"] = json!({ "component": "db" });
    let answer = Stage::new("/none".as_ref(), fields).ask().await.unwrap();
    assert_eq!((&answer["status"], &answer["headers"]["x-kind"]), (&json!(200), &json!("test")));
    let request = answer["json"]["request"].as_str().unwrap().to_lowercase();
    for part in ["post /a?b=2 http/1.1", "x-mine: db", "content-type: application/json", "authorization: basic "] {
        assert!(request.contains(part), "{part}: {request}");
    }
    assert_eq!(ask(port, json!({ "http": "/sick" })).await, failed("http", "answered 503: starting up"));
    let told = ask(port, json!({ "http": "sick", "expect": "reply.status == 503 and not reply.json" })).await.unwrap();
    assert_eq!(told["body"], "starting up\n");
    let error = ask(1, json!({ "http": "/" })).await.unwrap_err();
    assert!(error.contains("http://127.0.0.1:1/") && error.contains("refused"), "{error}");
}

/// Answers a question of five letters with a line.
async fn line(mut stream: Box<dyn Stream>) -> std::io::Result<()> {
    let mut asked = [0; 5];
    stream.read_exact(&mut asked).await?;
    stream.write_all(b"imok\r\nmore").await
}

#[tokio::test]
async fn a_port_that_is_never_tls_is_asked_in_the_clear_where_others_are_not() {
    let (plain, _) = serve(None, http).await;
    let answer = secure(plain, json!({ "http": { "path": "/", "tls": false } })).ask().await.unwrap();
    assert_eq!(answer["status"], 200);
    let (plain, _) = serve(None, line).await;
    let step = |tls: &Value| json!({ "tcp": { "port": "client", "send": "ruok\n", "read": 100, "tls": tls } });
    assert_eq!(secure(plain, step(&json!(false))).ask().await, Ok(json!("imok")));
    for left_out in [json!(null), json!(true)] {
        let stage = secure(plain, step(&left_out));
        certificates(&stage);
        let error = stage.ask().await.unwrap_err();
        assert!(error.contains("TLS with 127.0.0.1"), "{error}");
    }
}

#[tokio::test]
async fn tcp_connects_and_reads_a_line() {
    let (port, _) = serve(None, line).await;
    assert_eq!(ask(port, json!({ "tcp": "client" })).await, Ok(Value::Null));
    let step = json!({ "tcp": { "port": "client", "send": "ruok\n", "read": 100 }, "expect": "reply == 'imok'" });
    assert_eq!(ask(port, step).await, Ok(json!("imok")));
    let error = ask(1, json!({ "tcp": "client" })).await.unwrap_err();
    assert!(error.contains("cannot connect to 127.0.0.1:1: Connection refused"), "{error}");
}
