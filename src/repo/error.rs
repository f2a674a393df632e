//! What can go wrong with a remote, told apart by what a person has to do about it.

use std::error::Error as StdError;
use std::time::Duration;

/// Why a remote could not be used. Every message says what, where and what to do; none contains a
/// secret or a control character.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RemoteError {
    #[error("{host} cannot be reached: {reason}")]
    Unreachable { host: String, reason: String },
    #[error("{host} asks for credentials; name a Secret with username and password, a token or an SSH key")]
    CredentialsMissing { host: String },
    #[error("{host} did not accept the credentials: {reason}; renew the token or key in the Secret")]
    CredentialsRefused { host: String, reason: String },
    #[error("the credentials do not allow this on {host}: {reason}")]
    Forbidden { host: String, reason: String },
    #[error("there is no repository at {url}, or the credentials do not allow to see it")]
    NotFound { url: String },
    #[error("the TLS certificate of {host} is not trusted: {reason}; add its CA to the Secret as ca.crt")]
    Tls { host: String, reason: String },
    #[error("the SSH host key of {host} is not in known_hosts or has changed: {reason}")]
    HostKey { host: String, reason: String },
    #[error("{from} redirects to {to}; credentials are not sent to another place, use that address if you trust it")]
    Redirected { from: String, to: String },
    #[error("{host} answered: {reason}")]
    Server { host: String, reason: String },
    #[error("{host} does not speak Git as expected: {reason}")]
    Protocol { host: String, reason: String },
    #[error("{what} is larger than {}; raise {setting} of the GitSource, or make the repository smaller", in_bytes(*limit))]
    TooLarge { what: &'static str, setting: &'static str, limit: u64 },
    #[error("not finished within {}", in_words(*time))]
    Deadline { time: Duration },
    #[error("interrupted")]
    Interrupted,
    #[error("the credentials do not fit: {0}")]
    Unfit(String),
    #[error("{what}: {reason}")]
    Local { what: String, reason: String },
}

impl RemoteError {
    /// A short name that does not change, for conditions and metrics.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Unreachable { .. } => "unreachable",
            Self::CredentialsMissing { .. } => "credentials-missing",
            Self::CredentialsRefused { .. } => "credentials-refused",
            Self::Forbidden { .. } => "forbidden",
            Self::NotFound { .. } => "repository-not-found",
            Self::Tls { .. } => "tls",
            Self::HostKey { .. } => "host-key",
            Self::Redirected { .. } => "redirected",
            Self::Server { .. } => "server-error",
            Self::Protocol { .. } => "protocol",
            Self::TooLarge { .. } => "too-large",
            Self::Deadline { .. } => "deadline",
            Self::Interrupted => "interrupted",
            Self::Unfit(_) => "credentials-unfit",
            Self::Local { .. } => "local",
        }
    }

    /// Whether a push that ended with this was refused: the other side answered, and does not want it from us.
    pub(super) fn is_refusal(&self) -> bool {
        matches!(
            self,
            Self::Forbidden { .. }
                | Self::CredentialsMissing { .. }
                | Self::CredentialsRefused { .. }
                | Self::NotFound { .. }
        )
    }

    /// Whether trying again later, with nothing changed, may help.
    pub fn is_transient(&self) -> bool {
        matches!(
            self,
            Self::Unreachable { .. }
                | Self::Server { .. }
                | Self::Deadline { .. }
                | Self::Interrupted
                | Self::Local { .. }
        )
    }
}

/// A number of bytes as people say it.
pub(super) fn in_bytes(number: u64) -> String {
    format!("{number} byte{}", if number == 1 { "" } else { "s" })
}

fn in_words(time: Duration) -> String {
    if time.as_secs() >= 1 { format!("{} s", time.as_secs()) } else { format!("{} ms", time.as_millis()) }
}

/// The whole chain of causes as one line; libraries like to hide the interesting part deep down.
pub(super) fn chain(error: &(dyn StdError + 'static)) -> String {
    let mut parts: Vec<String> = Vec::new();
    let mut next = Some(error);
    while let Some(error) = next {
        let text = error.to_string();
        if !parts.iter().any(|part| part.contains(&text)) {
            parts.push(text);
        }
        next = error.source();
    }
    clean(&parts.join(": "), 400)
}

/// Whether nobody sees this character, though it changes what is seen.
pub(super) fn is_hidden(c: char) -> bool {
    matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

/// Text from outside without what nobody sees: control characters, terminal escapes, bidirectional tricks. Its lines stay.
pub fn plain(text: &str) -> String {
    text.chars().filter(|c| *c == '\n' || *c == '\t' || !(c.is_control() || is_hidden(*c))).collect()
}

/// Text from outside made fit for a status line: one line, no control characters or terminal
/// escapes, no bidirectional tricks, bounded.
pub(super) fn clean(text: &str, limit: usize) -> String {
    let mut out = String::new();
    for c in text.chars() {
        let c = match c {
            c if c.is_control() || c.is_whitespace() => ' ',
            c if is_hidden(c) => continue,
            c => c,
        };
        if c == ' ' && (out.is_empty() || out.ends_with(' ')) {
            continue;
        }
        if out.len() + c.len_utf8() > limit {
            out.push('…');
            break;
        }
        out.push(c);
    }
    out.trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_from_outside_becomes_one_harmless_line() {
        assert_eq!(clean("  a\x1b[31mb\r\n\tc\u{202e}d ", 100), "a [31mb cd");
        assert_eq!(clean(&"x".repeat(50), 10), format!("{}…", "x".repeat(10)));
    }

    #[test]
    fn what_nobody_sees_is_taken_out_and_lines_stay() {
        assert_eq!(plain("a\u{202e}b\x1b[2J\n\tc\u{200b}\u{feff}ü"), "ab[2J\n\tcü");
    }

    #[test]
    fn short_times_are_told_in_milliseconds() {
        let error = RemoteError::Deadline { time: Duration::from_millis(20) };
        assert_eq!(error.to_string(), "not finished within 20 ms");
    }
}
