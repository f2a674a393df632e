//! Whether a delivery comes from whoever knows the secret. Decided over the bytes as they came, before anything is read
//! from them.

use axum::http::HeaderMap;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// Who sent a delivery, by the way it is signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sender {
    GitHub,
    GitLab,
    Gitea,
    /// Anything that sends `X-Midship-Signature: sha256=<hex HMAC-SHA-256 of the body>`.
    Generic,
}

/// Why a delivery does not count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    #[error(
        "the delivery is not signed; set the secret in the forge, or send X-Midship-Signature: sha256=<hex HMAC-SHA-256 of the body>"
    )]
    Unsigned,
    #[error("the signature does not fit; use the secret that spec.webhook.secret of the GitSource names")]
    Wrong,
}

/// The headers of each sender, in the order they are looked for: Gitea sends GitHub's too.
const HEADERS: [(&str, Sender); 5] = [
    ("x-gitea-signature", Sender::Gitea),
    ("x-forgejo-signature", Sender::Gitea),
    ("x-hub-signature-256", Sender::GitHub),
    ("x-gitlab-token", Sender::GitLab),
    ("x-midship-signature", Sender::Generic),
];

/// Checks a delivery. The first header that is there decides.
pub fn verify(headers: &HeaderMap, body: &[u8], secret: &[u8]) -> Result<Sender, Refused> {
    let found = HEADERS.iter().find_map(|(name, sender)| Some((headers.get(*name)?, *sender)));
    let (value, sender) = found.ok_or(Refused::Unsigned)?;
    let good = match sender {
        Sender::GitLab => same(value.as_bytes(), secret),
        Sender::GitHub | Sender::Generic => {
            value.as_bytes().strip_prefix(b"sha256=").is_some_and(|hex| signed(hex, body, secret))
        }
        Sender::Gitea => signed(value.as_bytes(), body, secret),
    };
    if good { Ok(sender) } else { Err(Refused::Wrong) }
}

fn mac(key: &[u8]) -> Hmac<Sha256> {
    Hmac::<Sha256>::new_from_slice(key).expect("any length will do")
}

/// Whether `hex` is the HMAC of the body; takes as long for a wrong one as for the right one.
fn signed(hex: &[u8], body: &[u8], secret: &[u8]) -> bool {
    let Ok(given) = hex::decode(hex) else { return false };
    let mut mac = mac(secret);
    mac.update(body);
    mac.verify_slice(&given).is_ok()
}

/// Whether two texts are the same, without telling by time how much of them is.
fn same(given: &[u8], secret: &[u8]) -> bool {
    let mut expected = mac(b"compare");
    expected.update(secret);
    let expected = expected.finalize().into_bytes();
    let mut mac = mac(b"compare");
    mac.update(given);
    mac.verify_slice(&expected).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &[u8] = b"It's a Secret to Everybody";
    const BODY: &[u8] = b"Hello, World!";
    // from GitHub's own documentation
    const HEX: &str = "757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";

    fn verified(headers: &[(&'static str, &str)], body: &[u8]) -> Result<Sender, Refused> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.insert(*name, value.parse().expect("a header"));
        }
        verify(&map, body, SECRET)
    }

    #[test]
    fn each_forge_signs_in_its_own_way() {
        let prefixed = format!("sha256={HEX}");
        assert_eq!(verified(&[("x-hub-signature-256", &prefixed)], BODY), Ok(Sender::GitHub));
        assert_eq!(verified(&[("x-midship-signature", &prefixed)], BODY), Ok(Sender::Generic));
        assert_eq!(
            verified(&[("x-gitea-signature", HEX), ("x-hub-signature-256", "sha256=0")], BODY),
            Ok(Sender::Gitea)
        );
        assert_eq!(verified(&[("x-gitlab-token", "It's a Secret to Everybody")], BODY), Ok(Sender::GitLab));
    }

    #[test]
    fn everything_else_is_a_no() {
        assert_eq!(verified(&[], BODY), Err(Refused::Unsigned));
        assert_eq!(verified(&[("x-hub-signature", "sha1=00")], BODY), Err(Refused::Unsigned));
        for (name, value) in [
            ("x-hub-signature-256", HEX),
            ("x-hub-signature-256", "sha256="),
            ("x-hub-signature-256", "sha256=zz"),
            ("x-gitea-signature", ""),
            ("x-gitea-signature", &HEX[2..]),
            ("x-gitlab-token", ""),
            ("x-gitlab-token", "It's a Secret"),
        ] {
            assert_eq!(verified(&[(name, value)], BODY), Err(Refused::Wrong), "{name}: {value}");
        }
        let prefixed = format!("sha256={HEX}");
        assert_eq!(verified(&[("x-hub-signature-256", &prefixed)], b"Hello, World?"), Err(Refused::Wrong));
    }
}
