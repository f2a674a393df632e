//! Who we are to a Git server and whom we trust to be one: secrets that cannot be printed.

use std::collections::BTreeMap;

pub use crate::secret::Secret;

/// How we prove who we are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Credentials {
    #[default]
    Anonymous,
    /// HTTPS: user name and password, or a forge's access token as the password.
    Basic { username: String, password: Secret },
    /// HTTPS: `Authorization: Bearer`.
    Bearer(Secret),
    /// SSH: a private key without passphrase, and the host keys we accept (`known_hosts` lines).
    Ssh { private_key: Secret, known_hosts: String },
}

/// A client certificate and its key, both PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientCertificate {
    pub certificate: String,
    pub key: Secret,
}

/// An HTTP(S) proxy for HTTPS remotes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proxy {
    pub url: String,
    pub login: Option<(String, Secret)>,
}

/// The user name that goes with a forge's access token. All but one forge take any, and that one takes this.
const TOKEN_USER: &str = "x-token-auth";

/// Everything that is needed beside the address to speak to a repository.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Access {
    pub credentials: Credentials,
    /// PEM certificates. When given, these and no others are trusted.
    pub ca: Option<String>,
    pub client_certificate: Option<ClientCertificate>,
    pub proxy: Option<Proxy>,
}

/// What is wrong with a set of credentials, named by key, never by value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CredentialsError {
    #[error("`{0}` in the credentials is not text")]
    NotText(String),
    #[error("the credentials have `{has}` but not `{lacks}`; both are needed")]
    Incomplete { has: &'static str, lacks: &'static str },
    #[error("the credentials name more than one way to log in ({0}); keep one")]
    Ambiguous(String),
    #[error("`{0}` in the credentials contains a line break or control character")]
    ControlCharacter(&'static str),
    #[error("`{0}` in the credentials is empty")]
    Empty(&'static str),
}

impl Access {
    /// Reads the keys people put into a Secret: `username` + `password`, `token`, `bearerToken`, `identity` +
    /// `known_hosts`, `ca.crt`, `tls.crt` + `tls.key`. Keys that are none of these are left alone.
    pub fn from_keys(keys: &BTreeMap<String, Vec<u8>>) -> Result<Self, CredentialsError> {
        let text = |name: &'static str| -> Result<Option<&str>, CredentialsError> {
            match keys.get(name).map(|bytes| std::str::from_utf8(bytes)) {
                None => Ok(None),
                Some(Err(_)) => Err(CredentialsError::NotText(name.to_owned())),
                Some(Ok(text)) if text.trim().is_empty() => Err(CredentialsError::Empty(name)),
                Some(Ok(text)) => Ok(Some(text)),
            }
        };
        // one line values usually get their line break from `echo` or an editor
        let line = |name: &'static str| -> Result<Option<&str>, CredentialsError> {
            match text(name)?.map(|t| t.trim_end_matches(['\r', '\n'])) {
                Some(t) if t.chars().any(char::is_control) => Err(CredentialsError::ControlCharacter(name)),
                other => Ok(other),
            }
        };
        let mut ways = Vec::new();
        let basic = both(("username", line("username")?), ("password", line("password")?))?;
        if let Some((username, password)) = basic {
            ways.push((
                "username",
                Credentials::Basic { username: username.to_owned(), password: Secret::new(password) },
            ));
        }
        if let Some(token) = line("token")? {
            let username = TOKEN_USER.to_owned();
            ways.push(("token", Credentials::Basic { username, password: Secret::new(token) }));
        }
        if let Some(token) = line("bearerToken")? {
            ways.push(("bearerToken", Credentials::Bearer(Secret::new(token))));
        }
        let ssh = both(("identity", text("identity")?), ("known_hosts", text("known_hosts")?))?;
        if let Some((identity, known_hosts)) = ssh {
            ways.push((
                "identity",
                Credentials::Ssh { private_key: Secret::new(identity), known_hosts: known_hosts.to_owned() },
            ));
        }
        if ways.len() > 1 {
            let names: Vec<_> = ways.iter().map(|(name, _)| *name).collect();
            return Err(CredentialsError::Ambiguous(names.join(", ")));
        }
        let client = both(("tls.crt", text("tls.crt")?), ("tls.key", text("tls.key")?))?;
        Ok(Self {
            credentials: ways.pop().map(|(_, way)| way).unwrap_or_default(),
            ca: text("ca.crt")?.map(str::to_owned),
            client_certificate: client.map(|(certificate, key)| ClientCertificate {
                certificate: certificate.to_owned(),
                key: Secret::new(key),
            }),
            proxy: None,
        })
    }
}

type Named<'a> = (&'static str, Option<&'a str>);

fn both<'a>(a: Named<'a>, b: Named<'a>) -> Result<Option<(&'a str, &'a str)>, CredentialsError> {
    match (a, b) {
        ((_, Some(a)), (_, Some(b))) => Ok(Some((a, b))),
        ((_, None), (_, None)) => Ok(None),
        ((has, Some(_)), (lacks, None)) | ((lacks, None), (has, Some(_))) => {
            Err(CredentialsError::Incomplete { has, lacks })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(pairs: &[(&str, &str)]) -> BTreeMap<String, Vec<u8>> {
        pairs.iter().map(|(k, v)| ((*k).to_owned(), v.as_bytes().to_vec())).collect()
    }

    #[test]
    fn nothing_secret_is_ever_printed() {
        let access = Access::from_keys(&keys(&[
            ("username", "me"),
            ("password", "s3cret\n"),
            ("tls.crt", "public"),
            ("tls.key", "s3cret"),
        ]))
        .expect("good keys");
        let shown = format!("{access:?} {access:#?} {}", Secret::new("s3cret"));
        assert!(!shown.contains("s3cret"), "{shown}");
        assert!(shown.contains("[redacted]"));
        let Credentials::Basic { password, .. } = access.credentials else { panic!("basic expected") };
        assert_eq!(password.expose(), "s3cret", "the line break of an editor is not part of it");
    }

    #[test]
    fn half_a_pair_names_what_is_missing() {
        let lacking = |pairs: &[(&str, &str)]| Access::from_keys(&keys(pairs)).expect_err("incomplete").to_string();
        assert!(lacking(&[("username", "me")]).contains("`password`"));
        assert!(lacking(&[("identity", "key")]).contains("`known_hosts`"));
        assert!(lacking(&[("tls.key", "key")]).contains("`tls.crt`"));
    }

    #[test]
    fn two_ways_to_log_in_are_refused() {
        let error = Access::from_keys(&keys(&[("username", "a"), ("password", "b"), ("bearerToken", "c")]));
        assert_eq!(error, Err(CredentialsError::Ambiguous("username, bearerToken".into())));
    }

    #[test]
    fn a_token_of_a_forge_is_the_password_of_nobody_in_particular() {
        let access = Access::from_keys(&keys(&[("token", "abc\n")])).expect("good keys");
        let expected = Credentials::Basic { username: TOKEN_USER.into(), password: Secret::new("abc") };
        assert_eq!(access.credentials, expected);
    }

    #[test]
    fn a_header_cannot_be_smuggled_in() {
        let error = Access::from_keys(&keys(&[("bearerToken", "a\r\nX-Evil: 1")]));
        assert_eq!(error, Err(CredentialsError::ControlCharacter("bearerToken")));
    }
}
