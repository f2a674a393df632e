//! What can be wrong between us and the API server, in words that say what to do about it.

use std::error::Error as StdError;
use std::fmt;
use std::path::Path;

/// Three parts: what is wrong, where, and what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    pub what: String,
    pub place: Option<String>,
    pub remedy: String,
}

impl Problem {
    pub fn new(what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { what: what.into(), place: None, remedy: remedy.into() }
    }

    #[must_use]
    pub fn at(mut self, place: impl Into<String>) -> Self {
        self.place = Some(place.into());
        self
    }

    pub fn kubeconfig(path: &Path, error: &dyn StdError) -> Self {
        Self::new(
            format!("the kubeconfig cannot be used: {}", causes(error)),
            "check the file, or name another one with --kubeconfig or KUBECONFIG",
        )
        .at(path.display().to_string())
    }

    pub fn no_kubeconfig(place: &str, error: &dyn StdError) -> Self {
        Self::new(
            format!("no cluster is named that could be used: {}", causes(error)),
            "name a kubeconfig with --kubeconfig or KUBECONFIG, or run inside a pod with a ServiceAccount",
        )
        .at(place)
    }

    pub fn own_account(error: &dyn StdError) -> Self {
        Self::new(
            format!("the pod's own account cannot be used: {}", causes(error)),
            "give the pod a ServiceAccount whose token is mounted (automountServiceAccountToken), or name a kubeconfig",
        )
        .at("/var/run/secrets/kubernetes.io/serviceaccount")
    }

    pub fn from_kube(error: &kube::Error) -> Self {
        match error {
            kube::Error::Api(status) if status.code == 401 => Self::new(
                "the API server does not accept these credentials",
                "renew the credentials of your kubeconfig (they may have expired), or log in again",
            ),
            kube::Error::Api(status) if status.code == 403 => Self::new(
                format!("not permitted: {}", status.message),
                "ask for the permission named above; the Helm chart's roles hold what Midship needs",
            ),
            kube::Error::Api(status) if status.code == 404 => Self::new(
                format!("not found: {}", status.message),
                "check the name and the namespace; if a whole kind is unknown, install Midship's definitions: midship crds | kubectl apply --server-side -f -",
            ),
            kube::Error::Api(status) => Self::new(
                format!("the API server refused: {}", status.message),
                "read the reason above; try again if it is passing",
            ),
            other => Self::new(
                format!("the API server cannot be reached: {}", causes(other)),
                "check that the cluster runs, that its address is right and that no firewall is in between",
            ),
        }
    }
}

impl From<&kube::Error> for Problem {
    fn from(error: &kube::Error) -> Self {
        Self::from_kube(error)
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)?;
        if let Some(place) = &self.place {
            write!(f, " ({place})")?;
        }
        write!(f, "; {}", self.remedy)
    }
}

impl StdError for Problem {}

/// An error with its causes, each said once: libraries like to repeat what they wrap.
pub fn causes(error: &dyn StdError) -> String {
    let mut said = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let text = cause.to_string();
        if !said.contains(&text) {
            said = format!("{said}: {text}");
        }
        next = cause.source();
    }
    said
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("outer: inner")]
    struct Outer(#[source] Inner);

    #[derive(Debug, thiserror::Error)]
    #[error("inner")]
    struct Inner(#[source] std::io::Error);

    #[test]
    fn each_cause_is_said_once() {
        let error = Outer(Inner(std::io::Error::other("connection refused")));
        assert_eq!(causes(&error), "outer: inner: connection refused");
    }
}
