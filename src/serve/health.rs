//! `/livez` and `/readyz`: whether the controller is well, and what it waits for.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::get;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// What has to be in order before the controller is ready, and what each waits for.
#[derive(Clone, Default)]
pub struct Readiness {
    gates: Arc<Mutex<BTreeMap<&'static str, Option<String>>>>,
}

impl Readiness {
    /// Says what `gate` waits for. True where that is news.
    pub fn waits(&self, gate: &'static str, reason: impl Into<String>) -> bool {
        let reason = Some(reason.into());
        let mut gates = self.gates.lock().expect("no panic while it is held");
        gates.insert(gate, reason.clone()) != Some(reason)
    }

    pub fn passed(&self, gate: &'static str) {
        self.gates.lock().expect("no panic while it is held").insert(gate, None);
    }

    /// A gate that has nothing to do with being ready for now.
    pub fn forget(&self, gate: &'static str) {
        self.gates.lock().expect("no panic while it is held").remove(gate);
    }

    pub fn is_ready(&self) -> bool {
        let gates = self.gates.lock().expect("no panic while it is held");
        !gates.is_empty() && gates.values().all(Option::is_none)
    }

    /// One line for each gate, as people know it from Kubernetes' own endpoints.
    pub fn report(&self) -> String {
        use std::fmt::Write;
        let gates = self.gates.lock().expect("no panic while it is held");
        let mut text = String::new();
        for (gate, waits) in gates.iter() {
            let _ = match waits {
                None => writeln!(text, "[+] {gate} ok"),
                Some(reason) => writeln!(text, "[-] {gate}: {reason}"),
            };
        }
        text
    }
}

/// Serves the two endpoints until told to stop. They tell no more than the state of the process.
pub async fn serve(address: SocketAddr, readiness: Readiness, stop: CancellationToken) -> std::io::Result<()> {
    let listener = TcpListener::bind(address).await?;
    tracing::info!(address = %listener.local_addr()?, "serving health checks");
    let routes =
        Router::new().route("/livez", get(|| async { "ok\n" })).route("/readyz", get(ready)).with_state(readiness);
    tokio::spawn(async move {
        if let Err(error) = axum::serve(listener, routes).with_graceful_shutdown(stop.cancelled_owned()).await {
            tracing::error!(%error, "the health endpoint ended");
        }
    });
    Ok(())
}

async fn ready(State(readiness): State<Readiness>) -> (StatusCode, String) {
    if readiness.is_ready() {
        (StatusCode::OK, format!("{}ready\n", readiness.report()))
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, format!("{}not ready\n", readiness.report()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readiness_says_what_it_waits_for() {
        let readiness = Readiness::default();
        assert!(!readiness.is_ready(), "nothing is known yet");
        assert!(readiness.waits("caches", "instances are being listed"));
        assert!(!readiness.waits("caches", "instances are being listed"), "no news");
        readiness.passed("definitions");
        assert_eq!(readiness.report(), "[-] caches: instances are being listed\n[+] definitions ok\n");
        readiness.passed("caches");
        assert!(readiness.is_ready());
        readiness.waits("lease", "nobody answers");
        assert!(!readiness.is_ready());
        readiness.forget("lease");
        assert!(readiness.is_ready());
    }
}
