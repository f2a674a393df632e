//! What controllers ask agents about backups.

use std::time::Duration;

use futures::{Stream, TryStreamExt as _};
use tonic::transport::Channel;

use super::backup::{ArchiveOrder, ArchiveStatus, BackupOrder, JobProgress, RestoreOrder};
use super::client::{Client, asked};
use super::problem::Problem;
use super::proto::lifecycle_client::LifecycleClient;
use super::proto::{ArchiveRequest, BackupRequest, CancelBackupRequest, ProveRequest, RestoreRequest};

impl Client {
    /// Makes a backup, or follows the one that runs or ran under the same job. `within` is for the beginning alone. The
    /// last of the stream has an outcome; a stream that ends without one was cut off: ask again.
    pub async fn backup(
        &self,
        order: &BackupOrder,
        within: Duration,
    ) -> Result<impl Stream<Item = Result<JobProgress, Problem>> + Send + 'static, Problem> {
        let request = BackupRequest::from(order);
        let ask = |mut client: LifecycleClient<Channel>, within| {
            let request = asked(request.clone(), within);
            async move { client.backup(request).await }
        };
        let stream = self.call(within, true, ask).await?;
        Ok(stream.map_err(Problem::from).and_then(|progress| std::future::ready(JobProgress::try_from(progress))))
    }

    /// Ends a backup or a restore; how it ended. Not found where there is no such job.
    pub async fn cancel_backup(&self, job: &str, within: Duration) -> Result<JobProgress, Problem> {
        let request = CancelBackupRequest { job: job.to_owned() };
        let ask = |mut client: LifecycleClient<Channel>, within| {
            let request = asked(request.clone(), within);
            async move { client.cancel_backup(request).await }
        };
        self.call(within, true, ask).await?.try_into()
    }

    /// Has the log archived from now on, as the order says, or no more. Ask again whenever the agent's status says that
    /// it does not archive: an agent that was started anew has forgotten the order.
    pub async fn archive(&self, order: Option<&ArchiveOrder>, within: Duration) -> Result<ArchiveStatus, Problem> {
        let request = order.map(ArchiveRequest::from).unwrap_or_default();
        let ask = |mut client: LifecycleClient<Channel>, within| {
            let request = asked(request.clone(), within);
            async move { client.archive(request).await }
        };
        self.call(within, true, ask).await?.try_into()
    }

    /// Runs the checks of the method by which the pod was restored; false where there was nothing to check.
    pub async fn prove(&self, within: Duration) -> Result<bool, Problem> {
        let ask = |mut client: LifecycleClient<Channel>, within| async move {
            client.prove(asked(ProveRequest {}, within)).await
        };
        Ok(self.call(within, true, ask).await?.ran)
    }

    /// Puts a backup back, or follows the restore under the same job, as [`Self::backup`] does.
    pub async fn restore(
        &self,
        order: &RestoreOrder,
        within: Duration,
    ) -> Result<impl Stream<Item = Result<JobProgress, Problem>> + Send + 'static, Problem> {
        let request = RestoreRequest::from(order);
        let ask = |mut client: LifecycleClient<Channel>, within| {
            let request = asked(request.clone(), within);
            async move { client.restore(request).await }
        };
        let stream = self.call(within, true, ask).await?;
        Ok(stream.map_err(Problem::from).and_then(|progress| std::future::ready(JobProgress::try_from(progress))))
    }
}
