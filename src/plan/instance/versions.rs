//! The way from the versions that run to those that are asked for: one upgrade at a time, each to its end or back.

use crate::extension::Refusal;
use crate::extension::contract::Manifest;
use crate::extension::gates::{self, Step};

/// Versions of package and middleware.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stand {
    pub extension: String,
    pub version: String,
}

/// What decides.
#[derive(Clone, Copy, Debug)]
pub struct Situation<'a> {
    /// Installed versions of the type.
    pub installed: &'a [&'a Manifest],
    /// What the whole instance runs; nothing where it is new.
    pub runs: Option<&'a Stand>,
    /// Where an upgrade that was begun leads to.
    pub target: Option<&'a Stand>,
    pub wanted: &'a Stand,
    /// Every pod is as it was last asked for, and well; or there are to be none.
    pub settled: bool,
    /// Some pod of it served once.
    pub served: bool,
}

/// What to do about versions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Course {
    /// The wanted versions are to be in force now.
    Go {
        runs: Stand,
        /// Where the upgrade leads that is under way.
        target: Option<Stand>,
        /// The upgrade that begins now.
        begins: Option<Step>,
    },
    /// Nothing of the instance is touched until then.
    Wait(String),
}

/// Decides, or says why not.
pub fn course(situation: Situation<'_>) -> Result<Course, Refusal> {
    let Situation { installed, runs, target, wanted, settled, served } = situation;
    let Some(mut runs) = runs else {
        return Ok(Course::Go { runs: wanted.clone(), target: None, begins: None });
    };
    let step = |from: &Stand| gates::step(installed, gate(from), gate(wanted));
    if let Some(target) = target.filter(|target| *target != runs) {
        if settled {
            runs = target;
        } else if target == wanted {
            return Ok(Course::Go { runs: runs.clone(), target: Some(target.clone()), begins: None });
        } else if runs == wanted {
            // pods that went ahead already have to be able to come back
            let begins = step(target)?;
            return Ok(Course::Go { runs: runs.clone(), target: None, begins: Some(begins) });
        } else {
            return Ok(Course::Wait(format!(
                "the upgrade {} is under way; {} follows once every pod has it",
                between(runs, target),
                named(target, wanted)
            )));
        }
    }
    match step(runs)? {
        Step::None => Ok(Course::Go { runs: runs.clone(), target: None, begins: None }),
        Step::Version { .. } if served && !settled => Ok(Course::Wait(format!(
            "the upgrade {} begins once every pod runs and is well, or after the instance was stopped; what is not well can \
             be mended on version {} first",
            between(runs, wanted),
            runs.version
        ))),
        begins => Ok(Course::Go { runs: runs.clone(), target: Some(wanted.clone()), begins: Some(begins) }),
    }
}

fn gate(stand: &Stand) -> gates::Stand<'_> {
    gates::Stand { extension: &stand.extension, version: &stand.version }
}

/// `from 7.0 to 7.2`, of whichever version differs.
pub fn between(from: &Stand, to: &Stand) -> String {
    if from.version == to.version {
        format!("of the extension from {} to {}", from.extension, to.extension)
    } else {
        format!("from {} to {}", from.version, to.version)
    }
}

fn named(from: &Stand, to: &Stand) -> String {
    if from.version == to.version {
        format!("the change to extension {}", to.extension)
    } else {
        format!("the change to {}", to.version)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stand(extension: &str, version: &str) -> Stand {
        Stand { extension: extension.to_owned(), version: version.to_owned() }
    }

    /// Package 1.0.0 and 1.1.0; versions 1 to 2, back again, and 2 to 3 for good.
    fn decide(runs: Option<&str>, target: Option<&str>, wanted: &str, settled: bool) -> String {
        let manifest = |version: &str, from: &str| -> Manifest {
            let text = format!(
                "type: t\nversion: {version}\nupgradableFrom: [{from}]\n\
                 versions: [{{version: '1', image: a}}, {{version: '2', image: a}}, {{version: '3', image: a}}]\n\
                 upgrades: [{{from: '1', to: '2'}}, {{from: '2', to: '3', rollback: false}}]\n\
                 components: {{a: {{command: [a]}}}}\n"
            );
            serde_saphyr::from_str(&text).expect("a manifest")
        };
        let all = [manifest("1.0.0", ""), manifest("1.1.0", "1.0.0")];
        let installed: Vec<&Manifest> = all.iter().collect();
        let read = |text: &str| {
            let (extension, version) = text.split_once('/').unwrap_or(("1.0.0", text));
            stand(extension, version)
        };
        let (runs, target, wanted) = (runs.map(read), target.map(read), read(wanted));
        let situation = Situation {
            installed: &installed,
            runs: runs.as_ref(),
            target: target.as_ref(),
            wanted: &wanted,
            settled,
            served: true,
        };
        let short = |stand: &Stand| format!("{}/{}", stand.extension, stand.version);
        match course(situation) {
            Ok(Course::Go { runs, target, begins }) => {
                let to = target.map(|target| format!(" on the way to {}", short(&target))).unwrap_or_default();
                let begins = if begins.is_some() { ", begins" } else { "" };
                format!("{}{to}{begins}", short(&runs))
            }
            Ok(Course::Wait(reason)) => format!("wait: {reason}"),
            Err(refusal) => format!("no: {}", refusal.reason),
        }
    }

    #[test]
    fn a_new_instance_begins_anywhere() {
        assert_eq!(decide(None, None, "3", false), "1.0.0/3");
    }

    #[test]
    fn an_upgrade_begins_runs_and_arrives() {
        assert_eq!(decide(Some("1"), None, "2", true), "1.0.0/1 on the way to 1.0.0/2, begins");
        assert_eq!(decide(Some("1"), Some("2"), "2", false), "1.0.0/1 on the way to 1.0.0/2");
        assert_eq!(decide(Some("1"), Some("2"), "2", true), "1.0.0/2");
        assert_eq!(decide(Some("2"), None, "2", true), "1.0.0/2");
    }

    #[test]
    fn an_upgrade_can_be_taken_back_while_it_runs_where_there_is_a_way_back() {
        assert_eq!(decide(Some("1"), Some("2"), "1", false), "1.0.0/1, begins");
        let no_way_back =
            "no: 2 cannot read what 3 wrote, so there is no way back from 3 to 2: restore a backup instead";
        assert_eq!(decide(Some("2"), Some("3"), "2", false), no_way_back);
    }

    #[test]
    fn the_next_upgrade_waits_for_the_one_that_runs() {
        let wait = "wait: the upgrade from 1 to 2 is under way; the change to 3 follows once every pod has it";
        assert_eq!(decide(Some("1"), Some("2"), "3", false), wait);
        assert_eq!(decide(Some("1"), Some("2"), "3", true), "1.0.0/2 on the way to 1.0.0/3, begins");
    }

    #[test]
    fn nothing_skips_a_step() {
        assert!(decide(Some("1"), None, "3", true).starts_with("no: 1 to 3 is 2 steps"));
        assert!(decide(Some("1"), None, "1.1.0/2", true).starts_with("no: extension version (1.0.0 to 1.1.0) and"));
    }

    #[test]
    fn what_is_not_well_is_not_upgraded_but_may_get_another_package() {
        assert!(decide(Some("1"), None, "2", false).starts_with("wait: the upgrade from 1 to 2 begins once every pod"));
        let other = decide(Some("1"), None, "1.1.0/1", false);
        assert_eq!(other, "1.0.0/1 on the way to 1.1.0/1, begins");
    }
}
