//! How full the volumes are that outlive the pod. It is told from a threshold on and in steps, so that a steady instance
//! writes nothing.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use nix::sys::statvfs::statvfs;

use super::disk::Disk;
use super::place::Place;
use super::shared::Shared;

/// Between two looks.
const EVERY: Duration = Duration::from_secs(30);
/// What is told, in percent: the last of these that was reached.
const STEPS: [i32; 4] = [85, 90, 95, 99];
/// One is taken back once more than this less than it is used: what goes up and down at its edge is told once.
const SLACK: i32 = 5;

/// The steps that volumes have reached, by name; a volume with room enough is not among them.
type Reached = BTreeMap<String, i32>;

pub async fn run(shared: Arc<Shared>) {
    // its own thread: a volume that hangs holds up no mark
    let disk = match Disk::new() {
        Ok(disk) => disk,
        Err(error) => {
            tracing::warn!(%error, "nobody looks how full the volumes are");
            return;
        }
    };
    let mut told: Option<Reached> = None;
    let mut said = String::new();
    loop {
        let (reached, problem) = look(&disk, &shared.place(), told.as_ref()).await;
        if problem.is_none() || told.is_some() || !reached.is_empty() {
            shared.find(|findings| findings.filling = Some(reached.clone()));
            told = Some(reached);
        }
        let problem = problem.unwrap_or_default();
        if said != problem {
            if !problem.is_empty() {
                tracing::warn!(problem, "nobody can tell how full a volume is");
            }
            said = problem;
        }
        tokio::time::sleep(EVERY).await;
    }
}

/// What volumes have reached, and why that is not known of one of them: it is taken to be as it was then.
async fn look(disk: &Disk, place: &Place, told: Option<&Reached>) -> (Reached, Option<String>) {
    let (mut reached, mut problem) = (Reached::new(), None);
    for (name, path) in lasting(place) {
        let before = told.and_then(|told| told.get(&name)).copied();
        let now = match used(disk, path).await {
            Ok(used) => step(before, used),
            Err(error) => {
                problem = Some(format!("{name}: {error}"));
                before
            }
        };
        reached.extend(now.map(|step| (name, step)));
    }
    (reached, problem)
}

/// The volumes that outlive the pod, and where they lie.
fn lasting(place: &Place) -> Vec<(String, String)> {
    let config = &place.config;
    let sizes = &config.context["storage"];
    let lasting = config.volumes.iter().filter(|(name, _)| sizes.get(name.as_str()).is_some());
    lasting.map(|(name, path)| (name.to_string(), path.clone())).collect()
}

async fn used(disk: &Disk, path: String) -> Result<i32, String> {
    let asked = disk.ask(move || {
        let found = statvfs(path.as_str())?;
        Ok::<_, nix::Error>(percent(found.blocks(), found.blocks_free(), found.blocks_available()))
    });
    asked.await.map_err(|error| error.to_string())?.map_err(|error| error.to_string())
}

/// How much is used of what can be, in percent: what is kept free for root is no room.
fn percent(blocks: u64, free: u64, available: u64) -> i32 {
    let used = u128::from(blocks.saturating_sub(free));
    let percent = (used * 100).checked_div(used + u128::from(available));
    i32::try_from(percent.unwrap_or_default()).unwrap_or(100)
}

/// The step that is told, after the one that was told before.
fn step(before: Option<i32>, used: i32) -> Option<i32> {
    let stays = |step: i32| before.is_some_and(|before| step <= before && used >= step - SLACK);
    STEPS.into_iter().rev().find(|step| used >= *step || stays(*step))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::agent::facts::PodFacts;
    use crate::extension::agent::AgentConfig;

    /// A pod with these volumes, of which `data` outlives it.
    fn place(volumes: &[(&str, &str)]) -> Place {
        let volumes: BTreeMap<&str, &str> = volumes.iter().copied().collect();
        let config = json!({
            "instance": "shop", "namespace": "here", "component": "store", "group": "default", "port": 7440,
            "ports": {}, "tls": false, "login": false, "failover": false, "volumes": volumes,
            "context": { "storage": { "data": { "size": 1024 } } },
        });
        let config: AgentConfig = serde_json::from_value(config).unwrap();
        let facts = PodFacts::from_environment(&config);
        Place { config: config.into(), pod: "shop-store-0".to_owned(), uid: "u".to_owned(), facts }
    }

    #[test]
    fn a_volume_is_told_of_in_steps_and_not_again_and_again_at_their_edges() {
        let mut told = None;
        let mut tell = |used| {
            told = step(told, used);
            told
        };
        assert_eq!([0, 84].map(&mut tell), [None, None]);
        assert_eq!([85, 84, 86, 80, 89].map(&mut tell), [Some(85); 5]);
        assert_eq!([90, 89, 85, 94].map(&mut tell), [Some(90); 4]);
        assert_eq!([95, 100, 98, 94].map(&mut tell), [Some(95), Some(99), Some(99), Some(99)]);
        assert_eq!([93, 90, 89].map(&mut tell), [Some(95), Some(95), Some(90)], "step by step");
        assert_eq!([84, 80].map(&mut tell), [Some(85); 2]);
        assert_eq!([79, 80, 84].map(&mut tell), [None; 3], "taken back, and not told again below the first");
        assert_eq!([97, 3].map(&mut tell), [Some(95), None], "it was made larger");
    }

    #[test]
    fn what_root_alone_may_write_is_no_room() {
        assert_eq!(percent(100, 15, 15), 85);
        assert_eq!(percent(100, 5, 0), 100, "nobody else can write any more");
        assert_eq!(percent(1000, 151, 151), 84, "no more than is used");
        assert_eq!(percent(0, 0, 0), 0, "a file system that counts nothing");
        assert_eq!(percent(u64::MAX, 0, 0), 100);
    }

    #[tokio::test]
    async fn a_volume_that_cannot_be_looked_at_is_as_it_was() {
        let disk = Disk::new().unwrap();
        let found = used(&disk, "/".to_owned()).await.unwrap();
        assert!((0..=100).contains(&found), "{found}");
        let error = used(&disk, "/nowhere/at/all".to_owned()).await.unwrap_err();
        assert_eq!(error, "ENOENT: No such file or directory");

        let place = place(&[("data", "/nowhere/at/all"), ("scratch", "/")]);
        let told = Reached::from([("data".to_owned(), 90)]);
        let problem = Some("data: ENOENT: No such file or directory".to_owned());
        assert_eq!(look(&disk, &place, Some(&told)).await, (told.clone(), problem.clone()));
        assert_eq!(look(&disk, &place, None).await, (Reached::new(), problem));
    }
}
