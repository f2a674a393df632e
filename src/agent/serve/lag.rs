//! How far this pod is behind the one it follows. Where the package cannot tell, the agent beside that one is asked how far
//! it is: the difference is the lag.

use std::sync::Arc;
use std::time::Duration;

use super::peers;
use super::shared::Shared;

/// Between two questions.
const EVERY: Duration = Duration::from_secs(10);

pub async fn run(shared: Arc<Shared>) {
    loop {
        let lag = look(&shared).await;
        shared.find(|findings| findings.lag = lag);
        tokio::time::sleep(EVERY).await;
    }
}

/// Nothing where this pod follows nobody, tells its lag itself, or the other one does not answer. What is known of this
/// pod is up to one probe older than the answer, so that the lag is never told too small.
async fn look(shared: &Shared) -> Option<i64> {
    let place = shared.place();
    let (leader, position) = {
        let findings = shared.findings.borrow();
        let observed = findings.role.as_ref().filter(|observed| !observed.exclusive && observed.lag.is_none())?;
        let holder = || findings.summary.as_ref().filter(|summary| !summary.holds)?.holder.clone();
        let leader = observed.follows.clone().filter(|name| !name.is_empty()).or_else(holder)?;
        (leader, observed.position?)
    };
    let reached = peers::position(shared, &place, &leader).await?;
    Some(reached.saturating_sub(position).max(0))
}
