//! Clients of the control socket that take their time, all of it, or too much of everything.

use std::io::Read;

use super::*;

fn serve(server: &mut Server, now: Millis) -> Vec<(Key, Request)> {
    let mut fds = Vec::new();
    server.watched(now, &mut fds);
    super::super::sys::poll(&mut fds, Some(50)).unwrap();
    server.serve(&fds, now)
}

fn connect_and_ask(server: &mut Server, path: &Path, line: &str) -> (UnixStream, Vec<(Key, Request)>) {
    let mut stream = UnixStream::connect(path).unwrap();
    stream.write_all(line.as_bytes()).unwrap();
    let asked = serve(server, 1);
    (stream, asked)
}

fn listening() -> (tempfile::TempDir, PathBuf, Server) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s");
    let mut server = Server::new(&path);
    server.listen().unwrap();
    (dir, path, server)
}

#[test]
fn a_follower_that_never_reads_is_dropped_and_others_go_on() {
    let (_dir, path, mut server) = listening();
    let (_deaf, asked) = connect_and_ask(&mut server, &path, "{\"op\":\"events\"}\n");
    assert_eq!(asked[0].1.op, Op::Events);
    server.follow(asked[0].0, &Response::done(0, serde_json::json!({})), &[], 1);
    let (keen, asked) = connect_and_ask(&mut server, &path, "{\"op\":\"events\"}\n");
    server.follow(asked[0].0, &Response::done(0, serde_json::json!({})), &[], 1);
    keen.set_nonblocking(true).unwrap();
    let (mut keen, mut heard, mut buffer) = (keen, 0, [0; 16_000]);
    for _ in 0..10_000 {
        server.publish(&"x".repeat(99), 1);
        heard += keen.read(&mut buffer).unwrap_or(0);
    }
    assert_eq!(server.clients.len(), 1);
    assert!(heard > 900_000, "{heard}");
}

#[test]
fn nobody_is_taken_for_another_one_that_was_dropped_meanwhile() {
    let (_dir, path, mut server) = listening();
    let (_deaf, asked) = connect_and_ask(&mut server, &path, "{\"op\":\"events\"}\n");
    server.follow(asked[0].0, &Response::done(0, serde_json::json!({})), &[], 1);
    let (mut asks, asked) = connect_and_ask(&mut server, &path, "{\"op\":\"status\"}\n");
    server.answer(asked[0].0, &Response::done(0, serde_json::json!({})), 1);
    let (_waits, asked) = connect_and_ask(&mut server, &path, "{\"op\":\"stop\"}\n");
    let waits = asked[0].0;
    asks.write_all(b"{\"op\":\"ready\"}\n").unwrap();
    let mut fds = Vec::new();
    server.watched(1, &mut fds);
    super::super::sys::poll(&mut fds, Some(50)).unwrap();
    (0..10_000).for_each(|_| server.publish(&"x".repeat(99), 1));
    assert_eq!(server.clients.len(), 2, "whoever never reads is dropped");
    let asked = server.serve(&fds, 1);
    assert_eq!(asked.iter().map(|(_, request)| request.op).collect::<Vec<_>>(), [Op::Ready]);
    assert!(server.has(waits), "it waits for its answer");
}

#[test]
fn what_one_client_leaves_unread_is_bounded() {
    let (_dir, path, mut server) = listening();
    let (_stream, asked) = connect_and_ask(&mut server, &path, &"{\"op\":\"status\"}\n".repeat(200));
    let (mut answered, mut next) = (0, asked);
    while let Some((key, request)) = next.pop() {
        server.answer(key, &Response::done(request.id, serde_json::json!("y".repeat(10_000))), 1);
        answered += 1;
        next = serve(&mut server, 1);
    }
    // what the kernel takes, and one answer that it does not take any more
    assert!((2..60).contains(&answered), "{answered}");
    let held: usize = server.clients.iter().map(|client| client.output.len() + client.input.len()).sum();
    assert!(held < 20_000, "{held}");
    assert_eq!(server.due(1), Some(1 + UNREAD));
    serve(&mut server, 1 + UNREAD);
    assert!(server.clients.is_empty(), "it had its time");
}

#[test]
fn a_silent_client_makes_room_for_one_that_asks() {
    let (_dir, path, mut server) = listening();
    let silent: Vec<_> = (0..100).map(|_| UnixStream::connect(&path).unwrap()).collect();
    serve(&mut server, 1);
    serve(&mut server, 1);
    assert_eq!(server.clients.len(), MAX_CLIENTS);
    let (_stream, asked) = connect_and_ask(&mut server, &path, "{\"op\":\"ready\"}\n");
    assert_eq!(asked.len(), 1);
    drop(silent);
    serve(&mut server, 1);
    assert_eq!(server.clients.len(), 1);
    assert_eq!(server.due(1), None, "nothing is due while the one client waits");
}

#[test]
fn clients_that_wait_or_follow_keep_nobody_from_asking() {
    let (_dir, path, mut server) = listening();
    let mut open = Vec::new();
    for n in 0..40 {
        let line = if n % 2 == 0 { "{\"op\":\"stop\"}\n" } else { "{\"op\":\"events\"}\n" };
        let (stream, asked) = connect_and_ask(&mut server, &path, line);
        for (key, request) in asked.into_iter().filter(|(_, request)| request.op == Op::Events) {
            server.follow(key, &Response::done(request.id, serde_json::json!({})), &[], 1);
        }
        open.push(stream);
    }
    let count = |server: &Server, stage| server.clients.iter().filter(|client| client.stage == stage).count();
    serve(&mut server, 1);
    assert_eq!((count(&server, Stage::Waiting), count(&server, Stage::Following)), (MAX_WAITING, MAX_FOLLOWING));
    let (_stream, asked) = connect_and_ask(&mut server, &path, "{\"op\":\"ready\"}\n");
    assert_eq!(asked.len(), 1);
    let mut answer = [0; 1000];
    let got = open[38].read(&mut answer).unwrap();
    assert!(String::from_utf8_lossy(&answer[..got]).contains("too-many"));
    assert!(open[1].read(&mut answer).unwrap() > 0, "the oldest follower got its answer");
    assert_eq!(open[1].read(&mut answer).unwrap(), 0, "and then made room for a newer one");
}

#[test]
fn a_silent_client_is_cut_off_in_time() {
    let (_dir, path, mut server) = listening();
    let (_stream, asked) = connect_and_ask(&mut server, &path, "{\"op\":");
    assert!(asked.is_empty());
    assert_eq!(server.due(1), Some(1 + FIRST_REQUEST));
    serve(&mut server, 1 + FIRST_REQUEST);
    assert!(server.clients.is_empty());
}
