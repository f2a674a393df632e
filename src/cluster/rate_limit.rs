//! A limit on requests to the API server, so that no burst of work here becomes a problem there.

use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::future::BoxFuture;
use tokio::sync::Mutex;
use tokio::time::Instant;
use tower::{Layer, Service};

/// Requests per second, and how many may go at once after a quiet time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Limits {
    pub per_second: f64,
    pub burst: u32,
}

/// A bucket of permits that fills steadily.
struct Bucket {
    limits: Limits,
    permits: f64,
    filled_at: Instant,
}

impl Bucket {
    /// Takes a permit, now or from the future, and says how long to wait for it.
    fn take(&mut self, now: Instant) -> Duration {
        let gained = now.saturating_duration_since(self.filled_at).as_secs_f64() * self.limits.per_second;
        self.permits = (self.permits + gained).min(f64::from(self.limits.burst)) - 1.0;
        self.filled_at = now;
        if self.permits >= 0.0 {
            Duration::ZERO
        } else {
            Duration::from_secs_f64(-self.permits / self.limits.per_second)
        }
    }
}

/// Puts the limit around a client.
#[derive(Clone)]
pub struct RateLimit {
    bucket: Arc<Mutex<Bucket>>,
}

impl RateLimit {
    pub fn new(limits: Limits) -> Self {
        let bucket = Bucket { limits, permits: f64::from(limits.burst), filled_at: Instant::now() };
        Self { bucket: Arc::new(Mutex::new(bucket)) }
    }
}

impl<S> Layer<S> for RateLimit {
    type Service = Limited<S>;

    fn layer(&self, inner: S) -> Limited<S> {
        Limited { inner, bucket: self.bucket.clone() }
    }
}

/// A service whose calls wait for a permit.
#[derive(Clone)]
pub struct Limited<S> {
    inner: S,
    bucket: Arc<Mutex<Bucket>>,
}

impl<S, R> Service<R> for Limited<S>
where
    S: Service<R> + Clone + Send + 'static,
    S::Future: Send,
    R: Send + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<S::Response, S::Error>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: R) -> Self::Future {
        let spare = self.inner.clone();
        let mut ready = std::mem::replace(&mut self.inner, spare);
        let bucket = self.bucket.clone();
        Box::pin(async move {
            let wait = bucket.lock().await.take(Instant::now());
            if !wait.is_zero() {
                tokio::time::sleep(wait).await;
            }
            ready.call(request).await
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_passes_and_the_rest_is_spread_out() {
        let start = Instant::now();
        let limits = Limits { per_second: 10.0, burst: 3 };
        let mut bucket = Bucket { limits, permits: 3.0, filled_at: start };
        let waits: Vec<u128> = (0..5).map(|_| bucket.take(start).as_millis()).collect();
        assert_eq!(waits, [0, 0, 0, 100, 200]);
    }

    #[test]
    fn a_quiet_time_fills_the_bucket_but_never_over_its_brim() {
        let start = Instant::now();
        let limits = Limits { per_second: 10.0, burst: 2 };
        let mut bucket = Bucket { limits, permits: 0.0, filled_at: start };
        let later = start + Duration::from_mins(1);
        let waits: Vec<u128> = (0..3).map(|_| bucket.take(later).as_millis()).collect();
        assert_eq!(waits, [0, 0, 100]);
    }
}
