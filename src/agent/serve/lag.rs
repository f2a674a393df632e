//! How far this pod is behind the one it follows. Where the package cannot tell, the agent beside that one is asked how far
//! it is: the difference is the lag.

use std::sync::Arc;
use std::time::Duration;

use super::peers;
use super::shared::Shared;

/// Between two questions.
const EVERY: Duration = Duration::from_secs(10);
/// After so long the process has been asked again how far it is.
const PROBED: Duration = Duration::from_millis(1200);

pub async fn run(shared: Arc<Shared>) {
    loop {
        let lag = look(&shared).await;
        shared.find(|findings| findings.lag = lag);
        tokio::time::sleep(EVERY).await;
    }
}

/// Nothing where this pod follows no other, tells its lag itself, or the other one does not answer. What is known of this
/// pod is newer than the answer, so that one that keeps up has no lag however much is written.
async fn look(shared: &Shared) -> Option<i64> {
    let place = shared.place();
    let reached = peers::position(shared, &place, &leader(shared)?).await?;
    tokio::time::sleep(PROBED).await;
    let position = shared.findings.borrow().role.as_ref()?.position?;
    Some(reached.saturating_sub(position).max(0))
}

/// The other pod that this one gets its data from.
fn leader(shared: &Shared) -> Option<String> {
    let findings = shared.findings.borrow();
    let observed = findings.role.as_ref().filter(|observed| !observed.exclusive && observed.lag.is_none())?;
    let holder = || findings.summary.as_ref().filter(|summary| !summary.holds)?.holder.clone();
    let leader = observed.follows.clone().filter(|name| !name.is_empty()).or_else(holder)?;
    observed.position.filter(|_| shared.place().others().contains(&leader))?;
    Some(leader)
}
