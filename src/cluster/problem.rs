//! What can be wrong between us and the API server, in words that say what to do about it.

use std::error::Error as StdError;
use std::time::Duration;
use std::{fmt, io};

use kube::client::AuthError;
use kube::config::KubeconfigError;
use rustls::CertificateError;

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

    pub fn kubeconfig(place: &str, error: &KubeconfigError) -> Self {
        let what = match error {
            // what stands around the mistake may be a token
            KubeconfigError::Parse(error) => shown(&error.without_snippet().to_string()),
            KubeconfigError::ParseNoProxy(error) => {
                return Self::new(
                    format!("NO_PROXY cannot be read: {}", causes(error)),
                    "separate addresses, networks and names by single commas, such as 10.0.0.0/8,.example.com",
                )
                .at("NO_PROXY");
            }
            other => causes(other),
        };
        Self::new(
            format!("the kubeconfig cannot be used: {what}"),
            "check the file, or name another one with --kubeconfig or KUBECONFIG",
        )
        .at(place)
    }

    pub fn no_kubeconfig(place: &str) -> Self {
        Self::new(
            "no cluster is named that could be used: there is no kubeconfig",
            "name a kubeconfig with --kubeconfig or KUBECONFIG, or run inside a pod with a ServiceAccount",
        )
        .at(place)
    }

    /// A credential plugin that did not end in time.
    pub fn plugin_late(plugin: &str, patience: Duration) -> Self {
        Self::new(
            format!("the credential plugin {plugin:?} did not answer within {patience:?}"),
            "run it by hand to see what it waits for",
        )
    }

    pub fn own_account(error: &dyn StdError) -> Self {
        Self::new(
            format!("the pod's own account cannot be used: {}", causes(error)),
            "give the pod a ServiceAccount whose token is mounted (automountServiceAccountToken), or name a kubeconfig",
        )
        .at("/var/run/secrets/kubernetes.io/serviceaccount")
    }

    pub fn from_kube(error: &kube::Error) -> Self {
        Self::from_connecting(error, None)
    }

    /// The same, where the name of the program is known that is run for credentials.
    pub fn from_connecting(error: &kube::Error, plugin: Option<&str>) -> Self {
        match error {
            kube::Error::Api(status) if status.code == 401 => Self::new(
                "the API server does not accept these credentials",
                "renew the credentials of your kubeconfig (they may have expired), or log in again",
            ),
            kube::Error::Api(status) if status.code == 403 => Self::forbidden(&status.message),
            kube::Error::Api(status) if status.code == 404 => Self::new(
                format!("not found: {}", status.message),
                "check the name and the namespace; if a whole kind is unknown, `midship doctor` says how to install Midship's definitions",
            ),
            kube::Error::Api(status) => Self::new(
                format!("the API server refused: {}", status.message),
                "read the reason above; try again if it is passing",
            ),
            kube::Error::RustlsTls(error) => Self::new(
                format!("the certificates of the kubeconfig cannot be used: {}", causes(error)),
                "check client-certificate, client-key and certificate-authority, with or without -data, of this context",
            ),
            kube::Error::InferKubeconfig(error) => Self::new(
                format!("the kubeconfig cannot be used: {}", causes(error)),
                "check client-certificate, client-key and certificate-authority, with or without -data, of this context",
            ),
            other => {
                let tls = find::<rustls::Error>(other).map(Self::tls);
                let credentials = || find::<AuthError>(other).map(|error| Self::credentials(error, plugin));
                tls.or_else(credentials).unwrap_or_else(|| {
                    Self::new(
                        format!("the API server cannot be reached: {}", causes(other)),
                        "check that the cluster runs, that its address is right and that no firewall is in between",
                    )
                })
            }
        }
    }

    /// Whether what is forbidden in these words would be allowed to somebody else.
    pub fn lacks_permission(message: &str) -> bool {
        let words = [" cannot ", "attempting to grant", "not permitted"];
        words.iter().any(|words| message.contains(words)) || message.is_empty() || message == "Forbidden"
    }

    /// One status for four things: a missing permission, a quota, a namespace that goes, and a rule of the cluster.
    fn forbidden(message: &str) -> Self {
        if message.contains("exceeded quota") {
            return Self::new(
                format!("the namespace's quota is used up: {message}"),
                "free some of it or have it raised: kubectl describe resourcequota",
            );
        }
        if message.contains("because it is being terminated") {
            return Self::new(
                format!("the namespace is being deleted: {message}"),
                "wait until it is gone and make it anew, or take what belongs there out of it",
            );
        }
        if Self::lacks_permission(message) {
            return Self::new(
                format!("not permitted: {message}"),
                "ask for the permission named above; the Helm chart's roles hold what Midship needs",
            );
        }
        Self::new(
            format!("the cluster's rules refuse it: {message}"),
            "change what is named above, or ask those who run the cluster for an exception",
        )
    }

    fn tls(error: &rustls::Error) -> Self {
        use rustls::Error;
        let (what, remedy) = match error {
            Error::InvalidCertificate(CertificateError::UnknownIssuer) => (
                "the API server's certificate is signed by nobody the kubeconfig trusts".to_owned(),
                "check certificate-authority-data of this cluster; a proxy that opens TLS shows a certificate of its own",
            ),
            Error::InvalidCertificate(
                error @ (CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. }),
            ) => (
                format!("the API server's certificate is not for this address: {error}"),
                "use an address that the certificate names, or set tls-server-name in the kubeconfig",
            ),
            Error::InvalidCertificate(
                error @ (CertificateError::Expired
                | CertificateError::ExpiredContext { .. }
                | CertificateError::NotValidYet
                | CertificateError::NotValidYetContext { .. }),
            ) => (
                format!("the API server's certificate is out of its time: {error}"),
                "have it renewed, and check this machine's clock",
            ),
            Error::InvalidCertificate(error) => (
                format!("the API server's certificate cannot be trusted: {error}"),
                "check certificate-authority-data of this cluster in the kubeconfig",
            ),
            Error::AlertReceived(alert) => (
                format!("the API server ended the connection: {alert:?}"),
                "check the client certificate of this user: it may have expired, or be signed by another authority",
            ),
            Error::InvalidMessage(_) => (
                "what answers there does not speak TLS".to_owned(),
                "check the port of the server's address in the kubeconfig",
            ),
            other => (
                format!("no TLS connection comes about: {other}"),
                "check the server's address and the certificates in the kubeconfig",
            ),
        };
        Self::new(what, remedy)
    }

    fn credentials(error: &AuthError, plugin: Option<&str>) -> Self {
        let plugin =
            plugin.map_or_else(|| "the credential plugin".to_owned(), |name| format!("the credential plugin {name:?}"));
        let (what, remedy) = match error {
            AuthError::AuthExecStart(error) => (
                format!("{plugin} cannot be run: {error}"),
                "install it, or correct the command of this user's exec in the kubeconfig",
            ),
            // neither what was run nor what it printed: both may hold secrets
            AuthError::AuthExecRun { out, .. } => {
                let complaint = String::from_utf8_lossy(&out.stderr);
                let complaint =
                    complaint.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or("it does not say why");
                (format!("{plugin} failed ({}): {complaint}", out.status), "run it by hand, or log in again")
            }
            AuthError::AuthExecParse(error) => (
                format!("{plugin} printed no credentials: {}", shown(&error.without_snippet().to_string())),
                "run it by hand: it has to print an ExecCredential",
            ),
            AuthError::ReadTokenFile(error, path) => (
                format!("the token cannot be read: {error} ({})", path.display()),
                "correct tokenFile of this user in the kubeconfig, or write the token there",
            ),
            AuthError::AuthExec(_) => (format!("{plugin} could not be used"), "run it by hand, or log in again"),
            other => (
                format!("there are no credentials to be had: {other}"),
                "check this user in the kubeconfig, or log in again",
            ),
        };
        Self::new(what, remedy)
    }
}

/// The error of this type among the causes. What an I/O error wraps is no cause of its own to the standard library.
fn find<'a, E: StdError + 'static>(error: &'a (dyn StdError + 'static)) -> Option<&'a E> {
    let mut next = Some(error);
    while let Some(cause) = next {
        if let Some(found) = cause.downcast_ref() {
            return Some(found);
        }
        next = match cause.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
            Some(wrapped) => Some(wrapped),
            None => cause.source(),
        };
    }
    None
}

/// The first line of what a parser says, without the values it quotes: they may be secrets.
fn shown(text: &str) -> String {
    let mut line = text.lines().next().unwrap_or_default().to_owned();
    for said in ["invalid type: ", "invalid value: ", "unknown variant ", "duplicate entry "] {
        let Some(start) = line.find(said).map(|at| at + said.len()) else { continue };
        let end = line.rfind(", expected").filter(|end| *end >= start).unwrap_or(line.len());
        let kind = line[start..end].split([' ', '`', '"']).next().unwrap_or_default().to_owned();
        line.replace_range(start..end, if kind.is_empty() { "a value" } else { &kind });
    }
    let quoted = |(at, piece): (usize, &str)| if at % 2 == 1 { "…".to_owned() } else { piece.to_owned() };
    line.split('"').enumerate().map(quoted).collect::<Vec<_>>().join("\"")
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

    #[test]
    fn values_in_a_parsers_words_stay_out() {
        assert_eq!(
            shown("line 4 column 9: invalid type: string \"s3cret\", expected struct AuthInfo\n 3 | token: s3cret"),
            "line 4 column 9: invalid type: string, expected struct AuthInfo"
        );
        assert_eq!(
            shown("invalid type: integer `4711`, expected a string"),
            "invalid type: integer, expected a string"
        );
        assert_eq!(shown("missing field `name`"), "missing field `name`");
        assert_eq!(shown("bad \"s3cret\" there"), "bad \"…\" there");
    }

    fn api(code: u16, message: &str) -> Problem {
        let status =
            serde_json::json!({ "status": "Failure", "code": code, "reason": "Forbidden", "message": message });
        Problem::from_kube(&kube::Error::Api(serde_json::from_value(status).expect("a status")))
    }

    #[test]
    fn what_is_forbidden_is_not_always_a_missing_permission() {
        let missing = api(403, "pods is forbidden: User \"me\" cannot list resource \"pods\" in API group \"\"");
        assert!(missing.remedy.starts_with("ask for the permission"), "{missing}");
        let quota =
            api(403, "pods \"x\" is forbidden: exceeded quota: q, requested: pods=1, used: pods=1, limited: pods=1");
        assert!(quota.remedy.contains("kubectl describe resourcequota"), "{quota}");
        let going = api(
            403,
            "pods \"x\" is forbidden: unable to create new content in namespace y because it is being terminated",
        );
        assert!(going.what.starts_with("the namespace is being deleted: pods"), "{going}");
        let policy = api(403, "pods \"x\" is forbidden: violates PodSecurity \"restricted:latest\"");
        assert!(!policy.remedy.contains("permission"), "{policy}");
    }

    #[test]
    fn certificates_and_credentials_are_no_matter_of_firewalls() {
        let service = |error: io::Error| Problem::from_kube(&kube::Error::Service(Box::new(error)));
        let wrapped = |error: rustls::Error| service(io::Error::new(io::ErrorKind::InvalidData, error));
        let issuer = wrapped(rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer));
        assert!(
            issuer.what.contains("signed by nobody") && issuer.remedy.contains("certificate-authority"),
            "{issuer}"
        );
        let expired = wrapped(rustls::Error::InvalidCertificate(CertificateError::Expired));
        assert!(expired.remedy.contains("renewed"), "{expired}");
        let refused = service(io::Error::from(io::ErrorKind::ConnectionRefused));
        assert!(refused.remedy.contains("firewall"), "{refused}");
        let plugin = kube::Error::Auth(AuthError::AuthExecStart(io::Error::from(io::ErrorKind::NotFound)));
        let plugin = Problem::from_connecting(&plugin, Some("login-helper"));
        assert!(plugin.what.contains("\"login-helper\" cannot be run"), "{plugin}");
    }

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
