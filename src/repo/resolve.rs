//! From what a person wrote (branch, tag, version range, commit) to one commit id.

use std::fmt;
use std::str::FromStr;

use gix::ObjectId;
use gix::protocol::handshake::Ref;

use super::error::{RemoteError, clean, is_hidden};
use super::session::{Session, full_name};

/// What is followed in a repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Follow {
    /// The default branch of the repository.
    Head,
    Branch(String),
    Tag(String),
    /// The highest tag (`1.2.3` or `v1.2.3`) inside a range of versions.
    Versions(semver::VersionReq),
    /// Always this commit.
    Commit(ObjectId),
}

/// What following led to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resolved {
    pub commit: ObjectId,
    /// The full name of the reference; none for a fixed commit.
    pub reference: Option<String>,
    /// The id of the annotated tag itself, where there is one.
    pub tag: Option<ObjectId>,
    pub version: Option<semver::Version>,
}

/// Why a reference led nowhere.
#[derive(Debug, thiserror::Error)]
pub enum ResolveError {
    #[error(transparent)]
    Remote(#[from] RemoteError),
    #[error("{url} is empty: nothing was ever pushed to it")]
    Empty { url: String },
    #[error("there is no {what} in {url}")]
    NoSuchRef { what: String, url: String },
    #[error("no tag of {url} is a version inside `{range}`; {} tags were looked at", seen)]
    NoVersion { range: String, url: String, seen: usize },
    #[error("`{0}` is not a valid {1}")]
    Invalid(String, &'static str),
}

impl ResolveError {
    /// A short name that does not change, for conditions and metrics.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Remote(error) => error.code(),
            Self::Empty { .. } => "empty-repository",
            Self::NoSuchRef { .. } => "no-such-ref",
            Self::NoVersion { .. } => "no-version",
            Self::Invalid(..) => "invalid-ref",
        }
    }
}

impl Follow {
    pub fn branch(name: &str) -> Result<Self, ResolveError> {
        let short = name.strip_prefix("refs/heads/").unwrap_or(name);
        check_name(short, "branch name")?;
        Ok(Self::Branch(short.to_owned()))
    }

    pub fn tag(name: &str) -> Result<Self, ResolveError> {
        let short = name.strip_prefix("refs/tags/").unwrap_or(name);
        check_name(short, "tag name")?;
        Ok(Self::Tag(short.to_owned()))
    }

    pub fn versions(range: &str) -> Result<Self, ResolveError> {
        semver::VersionReq::parse(range)
            .map(Self::Versions)
            .map_err(|_| ResolveError::Invalid(clean(range, 80), "range of versions (like `>=1.2, <2` or `~1.4`)"))
    }

    /// A full commit id of 40 digits; short ones are ambiguous and refused.
    pub fn commit(id: &str) -> Result<Self, ResolveError> {
        ObjectId::from_str(id)
            .map(Self::Commit)
            .map_err(|_| ResolveError::Invalid(clean(id, 80), "commit id: all 40 hexadecimal digits are needed"))
    }

    fn prefixes(&self) -> Vec<String> {
        match self {
            Self::Head => vec!["HEAD".into()],
            Self::Branch(name) => vec![format!("refs/heads/{name}")],
            Self::Tag(name) => vec![format!("refs/tags/{name}")],
            Self::Versions(_) => vec!["refs/tags/".into()],
            Self::Commit(_) => Vec::new(),
        }
    }
}

impl fmt::Display for Follow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Head => f.write_str("default branch"),
            Self::Branch(name) => write!(f, "branch `{name}`"),
            Self::Tag(name) => write!(f, "tag `{name}`"),
            Self::Versions(range) => write!(f, "tag within `{range}`"),
            Self::Commit(id) => write!(f, "commit {id}"),
        }
    }
}

fn check_name(name: &str, what: &'static str) -> Result<(), ResolveError> {
    let full = format!("refs/heads/{name}");
    let good = !name.starts_with('-')
        && name.len() <= 250
        && !name.chars().any(|c| c.is_control() || c.is_whitespace() || is_hidden(c))
        && gix::refs::FullName::try_from(full.as_str()).is_ok();
    if good { Ok(()) } else { Err(ResolveError::Invalid(clean(name, 80), what)) }
}

impl Session {
    /// Finds the commit that `follow` names now, with one question to the server at most.
    pub fn resolve(&mut self, follow: &Follow) -> Result<Resolved, ResolveError> {
        if let Follow::Commit(id) = follow {
            return Ok(Resolved { commit: *id, reference: None, tag: None, version: None });
        }
        let references = self.references(&follow.prefixes())?;
        let url = || self.remote.url().to_string();
        if let Follow::Versions(range) = follow {
            let highest = highest(&references, range).ok_or_else(|| ResolveError::NoVersion {
                range: range.to_string(),
                url: url(),
                seen: references.len(),
            });
            return highest.and_then(named_well);
        }
        let wanted = match follow {
            Follow::Head => "HEAD".to_owned(),
            Follow::Branch(name) => format!("refs/heads/{name}"),
            Follow::Tag(name) => format!("refs/tags/{name}"),
            Follow::Versions(_) | Follow::Commit(_) => String::new(),
        };
        let found = references.iter().find(|r| full_name(r) == wanted.as_str());
        match found.and_then(resolved) {
            Some(resolved) => named_well(resolved),
            None if matches!(follow, Follow::Head) => Err(ResolveError::Empty { url: url() }),
            None => Err(ResolveError::NoSuchRef { what: follow.to_string(), url: url() }),
        }
    }
}

/// What the server calls a branch gets into statuses, logs and the messages of commits: it is a name, and nothing else.
fn named_well(resolved: Resolved) -> Result<Resolved, ResolveError> {
    if let Some(name) = &resolved.reference {
        let short = name.strip_prefix("refs/heads/").or_else(|| name.strip_prefix("refs/tags/"));
        check_name(short.unwrap_or(name), "name of a branch or a tag")?;
    }
    Ok(resolved)
}

fn resolved(reference: &Ref) -> Option<Resolved> {
    let (name, commit, tag) = match reference {
        Ref::Peeled { full_ref_name, tag, object } => (full_ref_name, *object, Some(*tag)),
        Ref::Direct { full_ref_name, object } => (full_ref_name, *object, None),
        // HEAD is told by the name of the branch it stands for
        Ref::Symbolic { target, tag, object, .. } => (target, *object, *tag),
        Ref::Unborn { .. } => return None,
    };
    Some(Resolved { commit, reference: Some(name.to_string()), tag, version: None })
}

fn highest(references: &[Ref], range: &semver::VersionReq) -> Option<Resolved> {
    references
        .iter()
        .filter_map(|reference| {
            let name = full_name(reference).to_string();
            let text = name.strip_prefix("refs/tags/")?;
            let version = semver::Version::parse(text.strip_prefix('v').unwrap_or(text)).ok()?;
            range.matches(&version).then_some(())?;
            Some((version, resolved(reference)?))
        })
        .max_by(|(a, _), (b, _)| a.cmp_precedence(b))
        .map(|(version, resolved)| Resolved { version: Some(version), ..resolved })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_could_do_harm_are_refused() {
        for name in ["", "-x", "a..b", "a b", "a\nb", "a~1", "a:b", "a^", "a.lock", "/a", "a/", "@{u}", "a//b"] {
            assert!(Follow::branch(name).is_err(), "{name:?} was accepted");
            assert!(Follow::tag(name).is_err(), "{name:?} was accepted");
        }
        assert_eq!(Follow::branch("refs/heads/a/b").ok(), Some(Follow::Branch("a/b".into())));
    }

    #[test]
    fn what_a_server_calls_a_branch_is_a_name_and_nothing_else() {
        let named = |name: &str| {
            let target = Ref::Symbolic {
                full_ref_name: "HEAD".into(),
                target: name.into(),
                tag: None,
                object: ObjectId::from_str(&"1".repeat(40)).expect("an id"),
            };
            named_well(resolved(&target).expect("it leads to a commit")).map(|resolved| resolved.reference)
        };
        for name in ["refs/heads/main", "refs/heads/team/ü-1", "HEAD"] {
            assert_eq!(named(name).ok(), Some(Some(name.to_owned())));
        }
        for name in ["refs/heads/a\n\nMidship-Result: applied", "refs/heads/\u{1b}[2J", "refs/heads/a\u{202e}b"] {
            assert_eq!(named(name).expect_err("it is refused").code(), "invalid-ref", "{name:?}");
        }
        let told = named("refs/heads/a\n\nMidship-Result: applied").expect_err("it is refused").to_string();
        assert_eq!(told, "`a Midship-Result: applied` is not a valid name of a branch or a tag");
    }

    #[test]
    fn a_commit_needs_all_its_digits() {
        assert!(Follow::commit("abc123").is_err());
        assert!(Follow::commit("0123456789012345678901234567890123456789").is_ok());
    }

    #[test]
    fn the_highest_version_in_range_wins_and_previews_do_not() {
        let tag = |name: &str, digit: &str| Ref::Direct {
            full_ref_name: format!("refs/tags/{name}").into(),
            object: ObjectId::from_str(&digit.repeat(40)).expect("an id"),
        };
        let tags =
            [tag("v1.9.0", "1"), tag("1.10.0", "2"), tag("v2.0.0", "3"), tag("v1.11.0-rc.1", "4"), tag("latest", "5")];
        let range = semver::VersionReq::parse("1").expect("a range");
        let found = highest(&tags, &range).expect("found");
        assert_eq!(found.version, Some(semver::Version::new(1, 10, 0)));
        assert_eq!(found.reference.as_deref(), Some("refs/tags/1.10.0"));
    }
}
