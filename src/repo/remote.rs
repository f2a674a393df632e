//! A remote repository: its address and how we get in.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::{Duration, Instant};

use super::bounds::Bounds;
use super::credentials::Access;
use super::error::RemoteError;
use super::http_client::HttpClient;
use super::url::RemoteUrl;

/// How often whoever waits for a turn looks at the time.
const AT_LEAST_EVERY: Duration = Duration::from_millis(50);

/// Where a repository is and how we get in. Cheap to clone; clones share kept connections, and connect one at a time.
#[derive(Clone, Debug)]
pub struct Remote {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    url: RemoteUrl,
    access: Access,
    http: OnceLock<HttpClient>,
    door: Mutex<Door>,
    /// Rung when nobody is connected any more.
    free: Condvar,
}

#[derive(Debug, Default)]
struct Door {
    /// Whether somebody is connected.
    taken: bool,
    /// When somebody last found nobody there, and what that was like.
    away: Option<(Instant, RemoteError)>,
}

impl Remote {
    pub fn new(url: RemoteUrl, access: Access) -> Self {
        let (http, door, free) = (OnceLock::new(), Mutex::default(), Condvar::new());
        Self { inner: Arc::new(Inner { url, access, http, door, free }) }
    }

    pub fn url(&self) -> &RemoteUrl {
        &self.inner.url
    }

    pub fn access(&self) -> &Access {
        &self.inner.access
    }

    /// The name of the other side for messages.
    pub fn host(&self) -> String {
        self.url().host().map_or_else(|| self.url().to_string(), str::to_owned)
    }

    pub(super) fn http_client(&self) -> Result<HttpClient, RemoteError> {
        if let Some(client) = self.inner.http.get() {
            return Ok(client.clone());
        }
        let client = HttpClient::new(self.access())?;
        Ok(self.inner.http.get_or_init(|| client).clone())
    }

    /// Waits until nobody else is connected, not longer than the bounds allow. A folder is no connection and needs no turn.
    pub(super) fn turn(&self, bounds: &Bounds) -> Result<Turn, RemoteError> {
        self.turn_of(Instant::now(), bounds)
    }

    /// The turn of somebody who came then. What others found meanwhile need not be found again by each who waits.
    fn turn_of(&self, came: Instant, bounds: &Bounds) -> Result<Turn, RemoteError> {
        if self.url().local_path().is_some() {
            return Ok(Turn(None));
        }
        let mut door = held(&self.inner.door);
        loop {
            if let Some((_, error)) = door.away.as_ref().filter(|(at, _)| *at >= came) {
                return Err(error.clone());
            }
            if !door.taken {
                door.taken = true;
                return Ok(Turn(Some(self.clone())));
            }
            bounds.check()?;
            let waited = self.inner.free.wait_timeout(door, AT_LEAST_EVERY);
            door = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

/// The right to be connected, until it is dropped.
#[derive(Debug)]
pub(super) struct Turn(Option<Remote>);

impl Turn {
    /// Connecting failed like this. Where nobody is there, that is so for all who wait.
    pub(super) fn failed(&self, error: &RemoteError) {
        if let (Some(Remote { inner }), RemoteError::Unreachable { .. }) = (&self.0, error) {
            held(&inner.door).away = Some((Instant::now(), error.clone()));
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if let Some(Remote { inner }) = &self.0 {
            held(&inner.door).taken = false;
            inner.free.notify_one();
        }
    }
}

/// The remotes in use: all who go to the same address with the same credentials, authorities and proxy have one of them.
#[derive(Debug, Default)]
pub struct Remotes {
    known: Mutex<Vec<Weak<Inner>>>,
}

impl Remotes {
    /// The remote at this address with exactly this access, which somebody may be using already.
    pub fn get(&self, url: RemoteUrl, access: Access) -> Remote {
        let mut known = held(&self.known);
        known.retain(|inner| inner.strong_count() > 0);
        let found = known.iter().filter_map(Weak::upgrade).find(|inner| inner.url == url && inner.access == access);
        if let Some(inner) = found {
            return Remote { inner };
        }
        let remote = Remote::new(url, access);
        known.push(Arc::downgrade(&remote.inner));
        remote
    }
}

fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::repo::credentials::{Credentials, Proxy, Secret};

    const URL: &str = "https://git.example.com/team/app.git";

    fn url(text: &str) -> RemoteUrl {
        RemoteUrl::parse(text, true).expect("an address")
    }

    fn token(text: &str) -> Access {
        Access { credentials: Credentials::Bearer(Secret::new(text)), ..Access::default() }
    }

    #[test]
    fn only_those_who_go_the_same_way_share_a_remote_and_only_while_somebody_has_it() {
        let remotes = Remotes::default();
        let one = remotes.get(url(URL), token("a"));
        assert!(Arc::ptr_eq(&one.inner, &remotes.get(url(URL), token("a")).inner));
        let proxy = Some(Proxy { url: "http://proxy.example.com".into(), login: None });
        let others = [
            remotes.get(url("https://git.example.com/team/other.git"), token("a")),
            remotes.get(url(URL), token("b")),
            remotes.get(url(URL), Access::default()),
            remotes.get(url(URL), Access { ca: Some("authority".into()), ..token("a") }),
            remotes.get(url(URL), Access { proxy, ..token("a") }),
        ];
        for (n, other) in others.iter().enumerate() {
            assert!(!Arc::ptr_eq(&one.inner, &other.inner), "{n}");
            assert_eq!(others.iter().filter(|another| Arc::ptr_eq(&other.inner, &another.inner)).count(), 1, "{n}");
        }
        assert_eq!(held(&remotes.known).len(), 6);
        drop((one, others));
        let _fresh = remotes.get(url(URL), token("c"));
        assert_eq!(held(&remotes.known).len(), 1, "nobody has the others any more");
    }

    #[test]
    fn one_at_a_time_is_connected_to_a_server_and_nobody_waits_for_ever() {
        let short = || Bounds::new(Duration::from_millis(60));
        let remote = Remote::new(url(URL), token("a"));
        let turn = remote.turn(&short()).expect("nobody is there");
        let waiting = remote.clone().turn(&short());
        assert_eq!(waiting.expect_err("somebody is there").code(), "deadline");
        let next = std::thread::spawn(move || remote.turn(&Bounds::new(Duration::from_mins(1))).map(drop));
        drop(turn);
        assert_eq!(next.join().expect("no panic"), Ok(()));

        let (remote, came) = (Remote::new(url(URL), token("a")), Instant::now());
        let turn = remote.turn(&short()).expect("nobody is there");
        turn.failed(&RemoteError::Unreachable { host: "git.example.com".into(), reason: "refused".into() });
        let code = |came: Instant| remote.turn_of(came, &short()).map_err(|error| error.code()).map(drop);
        assert_eq!(code(came), Err("unreachable"), "it is away for all who wait");
        assert_eq!(code(Instant::now()), Err("deadline"), "whoever comes later has to see for himself");
        drop(turn);
        assert_eq!(code(Instant::now()), Ok(()));

        let folder = Remote::new(url("/srv/app.git"), Access::default());
        let both = (folder.turn(&short()), folder.turn(&short()));
        assert!(both.0.is_ok() && both.1.is_ok(), "a folder is no connection");
    }
}
