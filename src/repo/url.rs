//! Repository addresses: parsed once, only schemes that are safe, never with a secret inside.

use std::fmt;
use std::path::{Path, PathBuf};

/// The longest address that is accepted.
const MAX_LENGTH: usize = 2048;

/// The address of a repository that passed the allow-list.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum RemoteUrl {
    /// `https://`, or `http://` where insecure addresses were allowed.
    Http { tls: bool, host: String, port: Option<u16>, path: String },
    /// `ssh://user@host:port/path` or `user@host:path`.
    Ssh { user: String, host: String, port: Option<u16>, path: String },
    /// `file:///path` or `/path`, for development.
    File(PathBuf),
}

/// Why an address was refused. The message never repeats what may be a secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UrlError {
    #[error("the repository address is empty; write https://host/path.git or ssh://git@host/path.git")]
    Empty,
    #[error("the repository address is longer than {MAX_LENGTH} characters")]
    TooLong,
    #[error("the repository address starts with `-`, which programs read as an option; write https://… or ssh://…")]
    LeadingDash,
    #[error("the repository address contains {0}, which no address needs; remove it")]
    Character(String),
    #[error("`{0}://` is not allowed; use https:// or ssh://")]
    Scheme(String),
    #[error(
        "`{0}` addresses are not protected and only allowed for development (allow insecure addresses); use https:// or ssh://"
    )]
    Insecure(&'static str),
    #[error(
        "the repository address contains credentials; remove them and put them into the Secret that the source names"
    )]
    EmbeddedCredentials,
    #[error("`{0}` is not a host name")]
    Host(String),
    #[error("`{0}` is not a user name")]
    User(String),
    #[error("`{0}` is not a port")]
    Port(String),
    #[error("the repository address has no path; write {0}/path/to/repository.git")]
    NoPath(String),
    #[error("the path of the repository address contains `{0}`, which is not allowed there")]
    Path(String),
    #[error("`{0}` is not an absolute path; local repositories are named by file:///path or /path")]
    RelativePath(String),
}

impl RemoteUrl {
    /// Parses an address and holds it against the allow-list: https and ssh always, http and local
    /// paths only with `allow_insecure`.
    pub fn parse(text: &str, allow_insecure: bool) -> Result<Self, UrlError> {
        check_characters(text)?;
        let url = match text.split_once("://") {
            Some((scheme, rest)) => match scheme.to_ascii_lowercase().as_str() {
                "https" => parse_http(true, rest)?,
                "http" => parse_http(false, rest)?,
                "ssh" => parse_ssh(rest)?,
                "file" => parse_file(rest)?,
                other => return Err(UrlError::Scheme(other.chars().take(20).collect())),
            },
            None if text.starts_with('/') || text.starts_with('.') => parse_file(text)?,
            None => parse_scp_like(text)?,
        };
        match url {
            Self::Http { tls: false, .. } if !allow_insecure => Err(UrlError::Insecure("http://")),
            Self::File(_) if !allow_insecure => Err(UrlError::Insecure("file://")),
            url => Ok(url),
        }
    }

    /// The host, where there is one.
    pub fn host(&self) -> Option<&str> {
        match self {
            Self::Http { host, .. } | Self::Ssh { host, .. } => Some(host),
            Self::File(_) => None,
        }
    }

    /// The local folder, for `file://`.
    pub fn local_path(&self) -> Option<&Path> {
        match self {
            Self::File(path) => Some(path),
            _ => None,
        }
    }
}

impl fmt::Display for RemoteUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let port = |port: &Option<u16>| port.map(|p| format!(":{p}")).unwrap_or_default();
        match self {
            Self::Http { tls, host, port: p, path } => {
                let scheme = if *tls { "https" } else { "http" };
                write!(f, "{scheme}://{host}{}{path}", port(p))
            }
            Self::Ssh { user, host, port: p, path } => write!(f, "ssh://{user}@{host}{}{}{path}", port(p), slash(path)),
            Self::File(path) => write!(f, "file://{}", path.display()),
        }
    }
}

/// scp-like paths are relative to the home folder and have no leading slash.
fn slash(path: &str) -> &'static str {
    if path.starts_with('/') { "" } else { "/" }
}

fn check_characters(text: &str) -> Result<(), UrlError> {
    if text.is_empty() {
        return Err(UrlError::Empty);
    }
    if text.len() > MAX_LENGTH {
        return Err(UrlError::TooLong);
    }
    if text.starts_with('-') {
        return Err(UrlError::LeadingDash);
    }
    let bad = text.chars().find(|c| c.is_control() || c.is_whitespace() || "'\"`\\<>|;$&*(){}^".contains(*c));
    match bad {
        Some(c) if c.is_control() || c.is_whitespace() => {
            Err(UrlError::Character(format!("the character U+{:04X}", u32::from(c))))
        }
        Some(c) => Err(UrlError::Character(format!("`{c}`"))),
        None => Ok(()),
    }
}

fn parse_http(tls: bool, rest: &str) -> Result<RemoteUrl, UrlError> {
    let (authority, path) = split_authority(rest);
    if authority.contains('@') {
        return Err(UrlError::EmbeddedCredentials);
    }
    let (host, port) = parse_host_and_port(authority)?;
    if path.trim_matches('/').is_empty() {
        return Err(UrlError::NoPath(format!("https://{host}")));
    }
    check_path(path)?;
    Ok(RemoteUrl::Http { tls, host, port, path: path.trim_end_matches('/').to_owned() })
}

fn parse_ssh(rest: &str) -> Result<RemoteUrl, UrlError> {
    let (authority, path) = split_authority(rest);
    let (user, host_and_port) = split_user(authority)?;
    let (host, port) = parse_host_and_port(host_and_port)?;
    if path.trim_matches('/').is_empty() {
        return Err(UrlError::NoPath(format!("ssh://{user}@{host}")));
    }
    check_path(path)?;
    // ssh://host/~user/x means the home folder of that user
    let path = if path.starts_with("/~") { &path[1..] } else { path };
    Ok(RemoteUrl::Ssh { user, host, port, path: path.to_owned() })
}

fn parse_scp_like(text: &str) -> Result<RemoteUrl, UrlError> {
    let (authority, path) = match text.split_once("]:") {
        Some((host, path)) => (format!("{host}]"), path),
        None => match text.split_once(':') {
            Some((host, path)) => (host.to_owned(), path),
            None => return Err(UrlError::RelativePath(text.chars().take(80).collect())),
        },
    };
    if authority.contains('/') {
        return Err(UrlError::RelativePath(text.chars().take(80).collect()));
    }
    if path.starts_with(':') {
        // helper::address would run a program
        return Err(UrlError::Scheme(format!("{authority}:")));
    }
    if path.contains('@') && !authority.contains('@') {
        return Err(UrlError::EmbeddedCredentials);
    }
    let (user, host) = split_user(&authority)?;
    let (host, _) = parse_host_and_port(host)?;
    if path.is_empty() {
        return Err(UrlError::NoPath(format!("{user}@{host}:")));
    }
    check_path(path)?;
    Ok(RemoteUrl::Ssh { user, host, port: None, path: path.to_owned() })
}

fn parse_file(path: &str) -> Result<RemoteUrl, UrlError> {
    if !path.starts_with('/') {
        return Err(UrlError::RelativePath(path.chars().take(80).collect()));
    }
    check_path(path)?;
    Ok(RemoteUrl::File(PathBuf::from(path)))
}

fn split_authority(rest: &str) -> (&str, &str) {
    rest.find('/').map_or((rest, ""), |at| rest.split_at(at))
}

fn split_user(authority: &str) -> Result<(String, &str), UrlError> {
    match authority.rsplit_once('@') {
        None => Ok(("git".to_owned(), authority)),
        Some((user, _)) if user.contains(':') => Err(UrlError::EmbeddedCredentials),
        Some((user, host)) => {
            let good = !user.is_empty()
                && !user.starts_with('-')
                && user.chars().all(|c| c.is_ascii_alphanumeric() || "._-+".contains(c));
            if good { Ok((user.to_owned(), host)) } else { Err(UrlError::User(user.chars().take(40).collect())) }
        }
    }
}

fn parse_host_and_port(text: &str) -> Result<(String, Option<u16>), UrlError> {
    let (host, port) = if text.starts_with('[') {
        match text.split_once(']') {
            Some((host, "")) => (format!("{host}]"), None),
            Some((host, rest)) if rest.starts_with(':') => (format!("{host}]"), Some(&rest[1..])),
            _ => return Err(UrlError::Host(text.chars().take(80).collect())),
        }
    } else {
        match text.split_once(':') {
            Some((host, port)) => (host.to_owned(), Some(port)),
            None => (text.to_owned(), None),
        }
    };
    if !is_host(&host) {
        return Err(UrlError::Host(host.chars().take(80).collect()));
    }
    let port = port
        .map(|port| match port.parse::<u16>() {
            Ok(number) if number > 0 && !port.starts_with('+') => Ok(number),
            _ => Err(UrlError::Port(port.chars().take(20).collect())),
        })
        .transpose()?;
    Ok((host, port))
}

fn is_host(host: &str) -> bool {
    if let Some(address) = host.strip_prefix('[').and_then(|h| h.strip_suffix(']')) {
        return address.parse::<std::net::Ipv6Addr>().is_ok();
    }
    !host.is_empty()
        && host.len() <= 253
        && !host.starts_with(['-', '.'])
        && host.chars().all(|c| c.is_ascii_alphanumeric() || ".-_".contains(c))
}

fn check_path(path: &str) -> Result<(), UrlError> {
    if let Some(c) = path.chars().find(|c| "?#!".contains(*c)) {
        return Err(UrlError::Path(c.to_string()));
    }
    if path.split('/').any(|part| part == ".." || part == ".") {
        return Err(UrlError::Path("..".to_owned()));
    }
    if path.starts_with('-') {
        return Err(UrlError::LeadingDash);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> String {
        RemoteUrl::parse(text, false).expect(text).to_string()
    }

    #[test]
    fn https_and_ssh_are_allowed_in_every_spelling() {
        assert_eq!(shown("https://forge.example/a/b.git"), "https://forge.example/a/b.git");
        assert_eq!(shown("HTTPS://forge.example:8443/a/b/"), "https://forge.example:8443/a/b");
        assert_eq!(shown("https://[::1]:8443/a"), "https://[::1]:8443/a");
        assert_eq!(shown("ssh://forge.example/a.git"), "ssh://git@forge.example/a.git");
        assert_eq!(shown("ssh://me@forge.example:2222/a"), "ssh://me@forge.example:2222/a");
        assert_eq!(shown("git@forge.example:a/b.git"), "ssh://git@forge.example/a/b.git");
        assert_eq!(shown("forge.example:a/b.git"), "ssh://git@forge.example/a/b.git");
        assert_eq!(shown("ssh://forge.example/~me/a"), "ssh://git@forge.example/~me/a");
    }

    #[test]
    fn http_and_local_paths_need_the_flag() {
        for text in ["http://forge.example/a", "file:///srv/a", "/srv/a"] {
            assert!(matches!(RemoteUrl::parse(text, false), Err(UrlError::Insecure(_))), "{text}");
            assert!(RemoteUrl::parse(text, true).is_ok(), "{text}");
        }
    }

    #[test]
    fn everything_else_is_refused_whatever_the_flag() {
        let long = format!("https://forge.example/{}", "a".repeat(3000));
        for text in [
            "",
            "-oProxyCommand=touch /tmp/x",
            "--upload-pack=x",
            "ext::sh -c id",
            "ext::sh",
            "git://forge.example/a",
            "ftp://forge.example/a",
            "https://forge.example/a\nb",
            "https://forge.example/a\0b",
            "https://forge.example/a b",
            "https://forge.example/$(id)",
            "https://forge.example/`id`",
            "https://forge.example",
            "https://forge.example/",
            "https:///a",
            "https://-forge/a",
            "https://forge.example:0/a",
            "https://forge.example:99999/a",
            "https://forge.example:+1/a",
            "https://forge.example/../a",
            "https://forge.example/a?x=1",
            "https://forge.example/a#x",
            "ssh://-oProxyCommand=x/a",
            "ssh://-x@forge.example/a",
            "ssh://forge.example",
            "git@forge.example:-x",
            "git@forge.example:",
            "git@-forge:a",
            "some/where",
            "./here",
            "file://host/a",
            long.as_str(),
        ] {
            assert!(RemoteUrl::parse(text, true).is_err(), "{text:?} was accepted");
        }
    }

    #[test]
    fn credentials_in_an_address_are_refused_and_not_repeated() {
        for text in [
            "https://me:s3cret@forge.example/a",
            "https://s3cret@forge.example/a",
            "ssh://me:s3cret@forge.example/a",
            "me:s3cret@forge.example:a",
        ] {
            let error = RemoteUrl::parse(text, true).expect_err(text);
            assert_eq!(error, UrlError::EmbeddedCredentials, "{text}");
            assert!(!error.to_string().contains("s3cret"));
        }
    }
}
