//! The HTTP client of a remote: its credentials, certificates and proxy, and nobody else's.

use std::time::Duration;

use reqwest::header::HeaderValue;

use super::credentials::{Access, Credentials};
use super::error::{RemoteError, chain};

/// A client made for one set of credentials, with its kept connections.
#[derive(Clone, Debug)]
pub(super) struct HttpClient {
    pub client: reqwest::Client,
    pub authorization: Option<HeaderValue>,
}

impl HttpClient {
    pub fn new(access: &Access) -> Result<Self, RemoteError> {
        let unfit = |what: &str, error: &reqwest::Error| RemoteError::Unfit(format!("{what}: {}", chain(error)));
        let mut builder = reqwest::Client::builder()
            .user_agent(concat!("git/midship-", env!("CARGO_PKG_VERSION")))
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .referer(false)
            .connect_timeout(Duration::from_secs(20))
            .pool_max_idle_per_host(1)
            // servers close idle connections after five seconds and more; a push must not be sent into one that is closing,
            // because nobody could say whether it arrived
            .pool_idle_timeout(Duration::from_secs(4))
            .http1_only();
        if let Some(ca) = &access.ca {
            let certificates = reqwest::Certificate::from_pem_bundle(ca.as_bytes())
                .map_err(|e| unfit("the CA certificates (ca.crt)", &e))?;
            if certificates.is_empty() {
                return Err(RemoteError::Unfit("ca.crt contains no certificate".into()));
            }
            builder = builder.tls_certs_only(certificates);
        }
        if let Some(client) = &access.client_certificate {
            let pem = zeroize::Zeroizing::new(format!("{}\n{}", client.key.expose(), client.certificate));
            let identity = reqwest::Identity::from_pem(pem.as_bytes())
                .map_err(|e| unfit("the client certificate (tls.crt, tls.key)", &e))?;
            builder = builder.identity(identity);
        }
        if let Some(proxy) = &access.proxy {
            let mut to = reqwest::Proxy::all(&proxy.url).map_err(|e| unfit("the proxy address", &e))?;
            if let Some((user, password)) = &proxy.login {
                to = to.basic_auth(user, password.expose());
            }
            builder = builder.proxy(to);
        }
        let client = builder.build().map_err(|e| unfit("TLS settings", &e))?;
        Ok(Self { client, authorization: authorization(&access.credentials)? })
    }
}

fn authorization(credentials: &Credentials) -> Result<Option<HeaderValue>, RemoteError> {
    use base64::Engine;
    let text = match credentials {
        Credentials::Anonymous => return Ok(None),
        Credentials::Basic { username, password } => {
            let plain = zeroize::Zeroizing::new(format!("{username}:{}", password.expose()));
            format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(plain.as_bytes()))
        }
        Credentials::Bearer(token) => format!("Bearer {}", token.expose()),
        Credentials::Ssh { .. } => {
            return Err(RemoteError::Unfit(
                "an SSH key cannot log in to an https address; use username and password, or an ssh:// address".into(),
            ));
        }
    };
    let mut value = HeaderValue::from_str(&text)
        .map_err(|_| RemoteError::Unfit("the token or password contains characters a header cannot carry".into()))?;
    value.set_sensitive(true);
    Ok(Some(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ssh_key_does_not_log_in_over_https() {
        let access = Access {
            credentials: Credentials::Ssh { private_key: crate::repo::Secret::new("x"), known_hosts: String::new() },
            ..Access::default()
        };
        assert!(matches!(HttpClient::new(&access), Err(RemoteError::Unfit(_))));
    }

    #[test]
    fn a_ca_that_is_none_is_named() {
        let access = Access { ca: Some("hello".into()), ..Access::default() };
        let error = HttpClient::new(&access).expect_err("no certificate inside").to_string();
        assert!(error.contains("ca.crt"), "{error}");
    }
}
