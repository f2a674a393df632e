//! Listeners that answer as a test wants, and a proxy among them.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc;

/// Serves each connection with `answer` until the test ends; what was asked for is sent to the receiver.
pub fn server(answer: impl Fn(&mut TcpStream, &str) + Send + Clone + 'static) -> (SocketAddr, mpsc::Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    let (told, asked) = mpsc::channel();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let (answer, told) = (answer.clone(), told.clone());
            std::thread::spawn(move || {
                let request = read_request(&mut stream);
                let _ = told.send(request.clone());
                answer(&mut stream, &request);
            });
        }
    });
    (address, asked)
}

/// What a client sends before it waits for an answer.
pub fn read_request(stream: &mut TcpStream) -> String {
    let mut request = Vec::new();
    let mut chunk = [0; 1024];
    while !request.windows(4).any(|w| w == b"\r\n\r\n") {
        match stream.read(&mut chunk) {
            Ok(count) if count > 0 => request.extend_from_slice(&chunk[..count]),
            _ => break,
        }
    }
    String::from_utf8_lossy(&request).into_owned()
}

/// A proxy that asks for a login, and connects to where `leads` says that somebody is. What it was asked for is sent to
/// the receiver.
pub fn proxy(leads: impl Fn(&str) -> String + Send + Clone + 'static) -> (SocketAddr, mpsc::Receiver<String>) {
    server(move |stream, request| {
        if !request.contains("roxy-") {
            let _ = stream.write_all(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n");
            return;
        }
        let target = request.split_whitespace().nth(1).unwrap_or_default();
        let Ok(upstream) = TcpStream::connect(leads(target)) else { return };
        let _ = stream.write_all(b"HTTP/1.1 200 Connected\r\n\r\n");
        let (mut from, mut to) = (stream.try_clone().expect("a copy"), upstream.try_clone().expect("a copy"));
        std::thread::spawn(move || std::io::copy(&mut from, &mut to));
        let _ = std::io::copy(&mut &upstream, stream);
    })
}
