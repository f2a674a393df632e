//! Pushing one reference as compare-and-swap: the other side moves it from the old id or not at all.

use std::io::{Read, Write};

use gix::ObjectId;
use gix::objs::Kind;
use gix_transport::Service;
use gix_transport::client::{MessageKind, WriteMode};

use super::bounds::Bounds;
use super::error::{RemoteError, chain, clean};
use super::remote::Remote;
use super::session::Session;

/// How a push ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PushOutcome {
    Pushed,
    /// Somebody else moved the reference; where it is now.
    LostRace {
        now: Option<ObjectId>,
    },
    /// The server does not want it: protected branch, hook, no permission. Its own words.
    Refused {
        reason: String,
    },
    /// It could not be tried, nobody knows how it ended, or somebody else was about to move the reference: it may go well later.
    Unreachable(RemoteError),
}

/// What servers answer where they could not move a reference, without saying why.
const NOT_MOVED: [&str; 3] = ["failed to update ref", "atomic transaction failed", "failed to lock"];
/// What git says of a reference that somebody else has locked, or moved before it could be locked.
const TAKEN: [&str; 2] = [": File exists", " but expected "];

/// Moves `reference` from `old` (none creates it) to `new`, sending the pack with what is new.
pub(super) fn push(
    remote: &Remote,
    reference: &str,
    old: Option<ObjectId>,
    new: ObjectId,
    pack: &[u8],
    bounds: &Bounds,
) -> PushOutcome {
    match try_push(remote, reference, old, new, pack, bounds) {
        Ok(outcome) => outcome,
        Err(error) if error.is_refusal() => PushOutcome::Refused { reason: error.to_string() },
        Err(error) => PushOutcome::Unreachable(error),
    }
}

fn try_push(
    remote: &Remote,
    reference: &str,
    old: Option<ObjectId>,
    new: ObjectId,
    pack: &[u8],
    bounds: &Bounds,
) -> Result<PushOutcome, RemoteError> {
    let mut session = Session::open(remote.clone(), Service::ReceivePack, bounds)?;
    let now = session.find(reference)?;
    if now != old {
        return Ok(PushOutcome::LostRace { now });
    }
    let report = send(&mut session, reference, old, new, pack)?;
    let Err(reason) = report.verdict(reference) else { return Ok(PushOutcome::Pushed) };
    // a reference that moved while we were sending is refused like any other
    drop(session);
    let now = Session::open(remote.clone(), Service::ReceivePack, bounds)?.find(reference)?;
    match now {
        now if now == Some(new) => Ok(PushOutcome::Pushed),
        now if now != old => Ok(PushOutcome::LostRace { now }),
        _ if report.is_busy(reference) => Err(RemoteError::Server {
            host: remote.host(),
            reason: format!("somebody else moves {reference}, or left a lock behind: {reason}"),
        }),
        _ => Ok(PushOutcome::Refused { reason }),
    }
}

/// What the server said about a push.
#[derive(Debug, Default)]
struct Report {
    lines: Vec<String>,
    /// What hooks print for people.
    messages: Vec<String>,
}

impl Report {
    /// Whether the reference was moved, or why not.
    fn verdict(&self, reference: &str) -> Result<(), String> {
        let unpacked = self.lines.iter().any(|line| line == "unpack ok");
        if unpacked && self.lines.iter().any(|line| line == &format!("ok {reference}")) {
            return Ok(());
        }
        let mut reasons: Vec<String> = Vec::new();
        for line in &self.lines {
            if let Some(reason) = line.strip_prefix(&format!("ng {reference} ")) {
                reasons.push(reason.to_owned());
            } else if let Some(reason) = line.strip_prefix("unpack ").filter(|reason| *reason != "ok") {
                reasons.push(format!("unpack {reason}"));
            }
        }
        if reasons.is_empty() {
            reasons.push("the server did not say what became of the push".to_owned());
        }
        reasons.extend(self.messages.iter().cloned());
        Err(clean(&reasons.join(": "), 600))
    }

    /// Whether the reference stayed because somebody else was about to move it, and not because it may not be moved.
    fn is_busy(&self, reference: &str) -> bool {
        let prefix = format!("ng {reference} ");
        let Some(reason) = self.lines.iter().find_map(|line| line.strip_prefix(&prefix)) else { return false };
        let told = || std::iter::once(reason).chain(self.messages.iter().map(String::as_str));
        if told().any(|text| text.contains("cannot lock ref")) {
            return told().any(|text| TAKEN.iter().any(|words| text.contains(words)));
        }
        // git tells why in such a message, where the server passes it on; all others are of hooks
        NOT_MOVED.contains(&reason) && !told().any(|text| text.starts_with("error: ") || text.starts_with("fatal: "))
    }
}

fn send(
    session: &mut Session,
    reference: &str,
    old: Option<ObjectId>,
    new: ObjectId,
    pack: &[u8],
) -> Result<Report, RemoteError> {
    let can = |name: &str| session.handshake.capabilities.contains(name);
    if !can("report-status") {
        return Err(RemoteError::Protocol {
            host: session.remote.host(),
            reason: "the server cannot report how a push ended".into(),
        });
    }
    let side_band = can("side-band-64k");
    let mut wishes = String::from("report-status");
    if side_band {
        wishes.push_str(" side-band-64k");
    }
    if can("atomic") {
        wishes.push_str(" atomic");
    }
    wishes.push_str(concat!(" agent=git/midship-", env!("CARGO_PKG_VERSION")));
    let old = old.unwrap_or_else(|| ObjectId::null(new.kind()));
    let command = format!("{old} {new} {reference}\0{wishes}");
    let result = exchange(session, command.as_bytes(), pack, side_band);
    match session.wire.take_failure() {
        Some(failure) => Err(failure),
        None => result.map_err(|reason| RemoteError::Protocol { host: session.remote.host(), reason }),
    }
}

fn exchange(session: &mut Session, command: &[u8], pack: &[u8], side_band: bool) -> Result<Report, String> {
    let in_words = |e: &(dyn std::error::Error + 'static)| chain(e);
    let mut writer =
        session.transport.request(WriteMode::Binary, MessageKind::Flush, false).map_err(|e| in_words(&e))?;
    writer.write_all(command).map_err(|e| in_words(&e))?;
    writer.write_message(MessageKind::Flush).map_err(|e| in_words(&e))?;
    let (mut raw, mut reader) = writer.into_parts();
    raw.write_all(pack).and_then(|()| raw.flush()).map_err(|e| in_words(&e))?;
    drop(raw);
    let messages = std::rc::Rc::new(std::cell::RefCell::new(Vec::new()));
    let mut bytes = Vec::new();
    let mut lines = Vec::new();
    if side_band {
        let heard = std::rc::Rc::clone(&messages);
        reader.set_progress_handler(Some(Box::new(move |_is_error, text| {
            let text = clean(&String::from_utf8_lossy(text), 300);
            let mut messages = heard.borrow_mut();
            if !text.is_empty() && messages.len() < 20 {
                messages.push(text);
            }
            std::ops::ControlFlow::Continue(())
        })));
        reader.read_to_end(&mut bytes).map_err(|e| in_words(&e))?;
        lines = packet_lines(&bytes);
    } else {
        while let Some(line) = reader.readline() {
            let line = line.map_err(|e| in_words(&e))?.map_err(|e| in_words(&e))?;
            if let Some(text) = line.as_bstr() {
                lines.push(clean(&text.to_string(), 300));
            }
        }
    }
    drop(reader);
    Ok(Report { lines, messages: messages.take() })
}

/// The lines inside the first band, which are packets themselves.
fn packet_lines(mut bytes: &[u8]) -> Vec<String> {
    let mut lines = Vec::new();
    while let Some((length, rest)) = bytes.split_at_checked(4) {
        let length = std::str::from_utf8(length).ok().and_then(|hex| usize::from_str_radix(hex, 16).ok());
        let Some((line, rest)) = length.and_then(|l| l.checked_sub(4)).and_then(|l| rest.split_at_checked(l)) else {
            break;
        };
        lines.push(clean(&String::from_utf8_lossy(line), 300));
        bytes = rest;
    }
    lines
}

/// A pack of whole objects.
pub(super) fn packed(objects: &[(Kind, Vec<u8>)]) -> Vec<u8> {
    use gix::zlib::{Compression, stream::deflate};
    let mut out = b"PACK\0\0\0\x02".to_vec();
    out.extend_from_slice(&u32::try_from(objects.len()).unwrap_or(u32::MAX).to_be_bytes());
    for (kind, data) in objects {
        let kind = match kind {
            Kind::Commit => 1_u8,
            Kind::Tree => 2,
            Kind::Blob => 3,
            Kind::Tag => 4,
        };
        let mut size = data.len();
        let mut byte = (kind << 4) | low_bits(size, 4);
        size >>= 4;
        while size > 0 {
            out.push(byte | 0x80);
            byte = low_bits(size, 7);
            size >>= 7;
        }
        out.push(byte);
        let mut deflate = deflate::Write::new(&mut out, Compression::BEST_SPEED);
        // writing into memory cannot fail
        let _ = deflate.write_all(data).and_then(|()| deflate.flush());
    }
    let mut hasher = gix::hash::hasher(gix::hash::Kind::Sha1);
    hasher.update(&out);
    if let Ok(id) = hasher.try_finalize() {
        out.extend_from_slice(id.as_slice());
    }
    out
}

fn low_bits(number: usize, bits: u32) -> u8 {
    u8::try_from(number & ((1 << bits) - 1)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(lines: &[&str], messages: &[&str]) -> Report {
        let own = |texts: &[&str]| texts.iter().map(|t| (*t).to_owned()).collect();
        Report { lines: own(lines), messages: own(messages) }
    }

    fn report(lines: &[&str], messages: &[&str]) -> Result<(), String> {
        said(lines, messages).verdict("refs/heads/a")
    }

    #[test]
    fn only_a_clear_yes_is_a_yes() {
        assert!(report(&["unpack ok", "ok refs/heads/a"], &[]).is_ok());
        assert!(report(&["unpack ok", "ok refs/heads/ab"], &[]).is_err());
        assert!(report(&["ok refs/heads/a"], &[]).is_err());
        assert!(report(&[], &[]).is_err());
        assert_eq!(
            report(&["unpack ok", "ng refs/heads/a pre-receive hook declined"], &["frozen until Monday"]),
            Err("pre-receive hook declined: frozen until Monday".into())
        );
        assert_eq!(report(&["unpack index-pack abnormal exit"], &[]), Err("unpack index-pack abnormal exit".into()));
    }

    #[test]
    fn a_reference_that_others_have_locked_is_told_from_one_that_may_not_be_moved() {
        let busy = |reason: &str, messages: &[&str]| {
            said(&["unpack ok", &format!("ng refs/heads/a {reason}")], messages).is_busy("refs/heads/a")
        };
        let lock =
            "error: cannot lock ref 'refs/heads/a': Unable to create '/srv/a.git/./refs/heads/a.lock': File exists.";
        let moved = "cannot lock ref 'refs/heads/a': is at 1111111 but expected 2222222";
        let taken: [(&str, &[&str]); 7] = [
            ("atomic transaction failed", &[lock, "Another git process seems to be running in this repository"]),
            ("failed to update ref", &[lock]),
            ("failed to update ref", &[moved]),
            (moved, &[]),
            ("failed to update ref", &[]),
            ("failed to update ref", &["the branch will move on Monday"]),
            ("failed to lock", &[]),
        ];
        for (reason, messages) in taken {
            assert!(busy(reason, messages), "{reason}: {messages:?}");
        }
        let folder = "error: cannot lock ref 'refs/heads/a': 'refs/heads/a/b' exists; cannot create 'refs/heads/a'";
        let denied = "error: cannot lock ref 'refs/heads/a': Unable to create '/srv/a.git/./refs/heads/a.lock': Permission denied";
        let refused: [(&str, &[&str]); 5] = [
            ("pre-receive hook declined", &["frozen until Monday"]),
            ("protected branch hook declined", &[]),
            ("atomic transaction failed", &[folder]),
            ("failed to update ref", &[denied]),
            ("failed to update ref", &["error: ref updates aborted by hook"]),
        ];
        for (reason, messages) in refused {
            assert!(!busy(reason, messages), "{reason}: {messages:?}");
        }
        assert!(!said(&["unpack ok", "ng refs/heads/ab failed to update ref"], &[]).is_busy("refs/heads/a"));
    }

    #[test]
    fn packets_inside_packets_are_read_and_garbage_is_not() {
        assert_eq!(packet_lines(b"000eunpack ok\n0016ok refs/heads/main0000"), ["unpack ok", "ok refs/heads/main"]);
        for garbage in [&b"zzzz"[..], b"00", b"ffffx", b"0003", b"\xff\xff\xff\xff"] {
            assert!(packet_lines(garbage).is_empty());
        }
    }
}
