//! Reading a package out of the objects that hold its files, and judging it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::FutureExt as _;
use futures::future::{BoxFuture, Shared};
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::{Api, Client};

use crate::api::ExtensionSpec;
use crate::api::extension::{PackagePart, PartKind};
use crate::cluster::problem::Problem;
use crate::controller::packages::UNCHECKED;
use crate::cue::Cue;
use crate::extension::cue::CueCheck;
use crate::extension::problem::TOO_LONG;
use crate::extension::{Package, cases, install, proof};

/// How long a package is judged at most: well within the deadline of a reconcile, so that its status tells of it.
const JUDGED_WITHIN: Duration = Duration::from_mins(2);
/// How many problems of a package are told.
const LISTED: usize = 50;

/// The reason of what could not be judged in time: that is the machine's fault as well as the package's.
pub const TOO_SLOW: &str = "TooSlow";

/// Why a package cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unusable {
    /// The reason in one word.
    pub reason: &'static str,
    pub message: String,
    /// As `path:line: reason`.
    pub errors: Vec<String>,
    /// Whether it may pass by itself.
    pub passing: bool,
}

impl Unusable {
    /// Nothing is known to be wrong with the package, and nothing to be right with its rules.
    pub fn unchecked(why: &str) -> Self {
        let message =
            format!("{why}; nothing begins to use this version until they were, which is tried again by itself");
        Self::new(UNCHECKED, message, true)
    }

    fn late() -> Self {
        Self::new(TOO_SLOW, format!("{TOO_LONG}; it is tried again by itself"), true)
    }

    fn new(reason: &'static str, message: impl Into<String>, passing: bool) -> Self {
        Self { reason, message: message.into(), errors: Vec::new(), passing }
    }

    fn wrong(reason: &'static str, errors: Vec<String>) -> Self {
        // they repeat what a package says, which may be anything
        let errors: Vec<String> = errors.into_iter().map(cut).collect();
        let first = errors.first().cloned().unwrap_or_default();
        let more = match errors.len() {
            0 | 1 => String::new(),
            number => format!(" (and {} more in status.errors)", number - 1),
        };
        let errors = errors.into_iter().take(LISTED).collect();
        Self { reason, message: format!("{first}{more}"), errors, passing: false }
    }
}

/// Letters of an error that people read; a status holds no more than so many of them.
const LONGEST: usize = 1000;

fn cut(text: String) -> String {
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

/// A package that what runs on it can be worked with, and what was found of it.
#[derive(Clone, Debug)]
pub struct Judged {
    pub package: Arc<Package>,
    /// What is wrong with it.
    pub wrong: Option<Unusable>,
    /// Why its rules could not be checked.
    pub unchecked: Option<String>,
}

/// The files of a package, by the objects that hold them.
type Parts = Vec<(String, BTreeMap<String, Vec<u8>>)>;

/// A judgement under way. It goes on when nobody waits for it, and several can.
pub type Judging = Shared<BoxFuture<'static, Result<Judged, Unusable>>>;

/// Reads what is to be judged.
pub async fn read(client: &Client, spec: &ExtensionSpec) -> Result<Parts, Unusable> {
    let mut parts = Vec::with_capacity(spec.parts.len());
    for part in &spec.parts {
        parts.push((name_of(part), keys(client, part).await?));
    }
    Ok(parts)
}

/// Begins to judge a package.
pub fn begin(spec: ExtensionSpec, parts: Parts, rules: Arc<Cue>) -> Judging {
    let begun = Instant::now();
    let time_is_left = move || begun.elapsed() < JUDGED_WITHIN;
    let work = tokio::task::spawn_blocking(move || judge(&spec, &parts, rules.as_ref(), &time_is_left));
    let judged = work.map(|judged| {
        judged.unwrap_or_else(|_| {
            let reason = "reading the package panicked; this is a defect of Midship, please report it";
            Err(Unusable::new("Panic", reason, false))
        })
    });
    judged.boxed().shared()
}

fn name_of(part: &PackagePart) -> String {
    let kind = match part.kind {
        PartKind::ConfigMap => "ConfigMap",
        PartKind::Secret => "Secret",
    };
    format!("{kind} {}/{}", part.namespace, part.name)
}

async fn keys(client: &Client, part: &PackagePart) -> Result<BTreeMap<String, Vec<u8>>, Unusable> {
    let (namespace, name) = (part.namespace.as_str(), part.name.as_str());
    let found = match part.kind {
        PartKind::ConfigMap => {
            let api: Api<ConfigMap> = Api::namespaced(client.clone(), namespace);
            api.get_opt(name).await.map(|found| {
                found.map(|map| {
                    let texts = map.data.into_iter().flatten().map(|(key, text)| (key, text.into_bytes()));
                    texts.chain(map.binary_data.into_iter().flatten().map(|(key, bytes)| (key, bytes.0))).collect()
                })
            })
        }
        PartKind::Secret => {
            let api: Api<Secret> = Api::namespaced(client.clone(), namespace);
            api.get_opt(name).await.map(|found| {
                found.map(|secret| secret.data.into_iter().flatten().map(|(key, bytes)| (key, bytes.0)).collect())
            })
        }
    };
    match found {
        Ok(Some(keys)) => Ok(keys),
        Ok(None) => Err(Unusable::new(
            "PartMissing",
            format!("{} is not there; install the package again", name_of(part)),
            true,
        )),
        Err(error) => {
            let problem = Problem::from_kube(&error).at(name_of(part));
            Err(Unusable::new("PartUnreadable", problem.to_string(), true))
        }
    }
}

/// Pure: everything that can be said of files without a cluster.
fn judge(
    spec: &ExtensionSpec,
    parts: &[(String, BTreeMap<String, Vec<u8>>)],
    rules: &dyn CueCheck,
    time_is_left: &dyn Fn() -> bool,
) -> Result<Judged, Unusable> {
    let lines = |problems: &[crate::extension::Problem]| problems.iter().map(ToString::to_string).collect();
    let files = install::files(parts).map_err(|problems| Unusable::wrong("InvalidPackage", lines(&problems)))?;
    let digest = files.digest();
    if digest != spec.digest {
        let message = format!(
            "the files have the digest {digest}, but {} {} was installed as {}; a version never changes: publish other \
             content under a new version, or put the files back",
            spec.type_, spec.version, spec.digest
        );
        return Err(Unusable::new("DigestMismatch", message, false));
    }
    let examined = Package::examine(files);
    let (package, problems) = examined.map_err(|problems| Unusable::wrong("InvalidPackage", lines(&problems.0)))?;
    let manifest = &package.manifest;
    if manifest.type_ != spec.type_ || manifest.version != spec.version {
        let message = format!(
            "extension.yaml is {} {}, but the Extension says {} {}; make them agree",
            manifest.type_, manifest.version, spec.type_, spec.version
        );
        return Err(Unusable::new("AnotherPackage", message, false));
    }
    let tried = if problems.0.is_empty() {
        try_out(&package, rules, time_is_left)
    } else {
        Err(Unusable::wrong("InvalidPackage", lines(&problems.0)))
    };
    let package = Arc::new(package);
    Ok(match tried {
        Ok(unchecked) => Judged { package, wrong: None, unchecked },
        Err(wrong) => Judged { package, wrong: Some(wrong), unchecked: None },
    })
}

/// What only rendering and the package's own tests show; something where its rules could not be checked.
fn try_out(
    package: &Package,
    rules: &dyn CueCheck,
    time_is_left: &dyn Fn() -> bool,
) -> Result<Option<String>, Unusable> {
    let proof = proof::check_while(package, rules, time_is_left);
    if !proof.problems.is_empty() {
        if proof.problems.iter().all(|problem| problem.reason == TOO_LONG) {
            return Err(Unusable::late());
        }
        return Err(Unusable::wrong("InvalidPackage", proof.problems.iter().map(ToString::to_string).collect()));
    }
    let mut outcomes = cases::run_while(package, rules, time_is_left);
    if outcomes.last().is_some_and(|last| last.failures == [TOO_LONG])
        && outcomes.iter().rev().skip(1).all(cases::Outcome::passed)
    {
        return Err(Unusable::late());
    }
    let unchecked = proof.unchecked.or_else(|| outcomes.iter_mut().find_map(|outcome| outcome.unchecked.take()));
    let failed = outcomes.into_iter().filter(|outcome| !outcome.passed()).map(|outcome| {
        let why = outcome.failures.join("; ");
        format!("{}:{}: {}: {why}", outcome.path, outcome.line, outcome.name)
    });
    let failed: Vec<String> = failed.collect();
    if failed.is_empty() { Ok(unchecked) } else { Err(Unusable::wrong("TestsFailed", failed)) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::extension::cue::Nobody;
    use crate::extension::{PackageFiles, describe};
    use crate::names::{ExtensionType, NamespaceName};

    fn installed(change: impl Fn(&str, String) -> String) -> (ExtensionSpec, Parts) {
        let plain = describe::scaffold(&ExtensionType::parse("demo").expect("a type"));
        let namespace = NamespaceName::parse("home").expect("a name");
        let package = Package::load(plain.clone()).unwrap_or_else(|problems| panic!("{problems}"));
        let spec = install::objects(&package, &namespace, None).expect("plain").extension.spec;
        let changed = plain.iter().map(|(path, bytes)| {
            let text = change(path, String::from_utf8_lossy(bytes).into_owned());
            (install::key(path), text.into_bytes())
        });
        (spec, vec![("ConfigMap home/part".to_owned(), changed.collect())])
    }

    fn wrong(judged: Result<Judged, Unusable>) -> Unusable {
        judged.and_then(|judged| judged.wrong.map_or(Ok(()), Err)).expect_err("something is wrong")
    }

    fn digest(parts: &Parts) -> String {
        let files: PackageFiles = install::files(parts).expect("plain");
        files.digest()
    }

    #[test]
    fn a_package_that_is_right_is_ready() {
        let (spec, parts) = installed(|_, text| text);
        let judged = judge(&spec, &parts, &Nobody, &|| true).expect("right");
        assert_eq!((judged.wrong, judged.unchecked), (None, None));
        assert_eq!(judged.package.digest, spec.digest);
    }

    #[test]
    fn other_content_under_the_same_version_is_refused_with_both_digests() {
        let (spec, parts) = installed(|_, text| text + "\n");
        let refused = judge(&spec, &parts, &Nobody, &|| true).expect_err("changed");
        assert_eq!(refused.reason, "DigestMismatch");
        assert!(refused.message.contains(&spec.digest) && refused.message.contains(&digest(&parts)));
    }

    #[test]
    fn what_is_wrong_is_told_with_its_place() {
        let (mut spec, parts) = installed(|_, text| text.replace("connections = {{ params", "connections = {{ parms"));
        spec.digest = digest(&parts);
        let judged = judge(&spec, &parts, &Nobody, &|| true);
        assert!(judged.is_ok(), "what runs on it can be worked with");
        let refused = wrong(judged);
        assert_eq!(refused.reason, "InvalidPackage");
        assert!(refused.errors[0].starts_with("config/server.conf.j2:2"), "{:?}", refused.errors);
    }

    #[test]
    fn without_a_template_there_is_a_package_and_without_its_parameters_there_is_none() {
        let (mut spec, parts) = installed(|path, text| match path {
            "config/server.conf.j2" => text + "{{ 'x' * 99999999 }}",
            _ => text,
        });
        spec.digest = digest(&parts);
        let judged = judge(&spec, &parts, &Nobody, &|| true).expect("what runs on it can be worked with");
        assert_eq!(judged.wrong.expect("it is refused").reason, "InvalidPackage");

        let (mut spec, parts) = installed(|_, text| text.replace("minimum: 1,", "minimum: 9999999999,"));
        spec.digest = digest(&parts);
        let refused = judge(&spec, &parts, &Nobody, &|| true).expect_err("what it would make lacks settings");
        assert_eq!(refused.reason, "InvalidPackage");
    }

    #[test]
    fn an_installed_package_is_not_held_to_what_only_new_ones_are() {
        let (mut spec, parts) = installed(|path, text| match path {
            "config/server.conf.j2" => text + "{% if pod.ordinal == 0 %}# first\n{% endif %}",
            _ => text,
        });
        spec.digest = digest(&parts);
        assert_eq!(judge(&spec, &parts, &Nobody, &|| true).expect("it can be used").wrong, None);
        assert!(Package::load(install::files(&parts).expect("plain")).is_err(), "a new one is refused");
    }

    #[test]
    fn a_package_whose_own_tests_fail_is_not_ready() {
        let (mut spec, parts) = installed(|path, text| match path {
            "tests/render.yaml" => text.replace("connections = 7", "connections = 8"),
            _ => text,
        });
        spec.digest = digest(&parts);
        let refused = wrong(judge(&spec, &parts, &Nobody, &|| true));
        assert_eq!(refused.reason, "TestsFailed");
        assert!(refused.message.starts_with("tests/render.yaml:2: connections are in"), "{}", refused.message);
    }

    #[test]
    fn what_could_not_be_judged_in_time_is_judged_again() {
        let (spec, parts) = installed(|_, text| text);
        let late = wrong(judge(&spec, &parts, &Nobody, &|| false));
        assert_eq!((late.reason, late.passing, late.errors.len()), (TOO_SLOW, true, 0), "{}", late.message);
    }

    #[test]
    fn an_extension_that_names_another_package_is_refused() {
        let (mut spec, parts) = installed(|_, text| text);
        spec.type_ = ExtensionType::parse("other").expect("a type");
        let refused = judge(&spec, &parts, &Nobody, &|| true).expect_err("another");
        assert_eq!(
            refused.message,
            "extension.yaml is demo 0.1.0, but the Extension says other 0.1.0; make them agree"
        );
    }
}
