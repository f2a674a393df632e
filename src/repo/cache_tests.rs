//! The cache against real repositories: what it fetches, and that nothing on disk can break it for good.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::PathBuf;

use super::fixture::{Fixture, bounds, git_in, id};
use super::*;

struct Scene {
    fixture: Fixture,
    cache: Cache,
    _folder: tempfile::TempDir,
}

impl Scene {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self { fixture: Fixture::new(), cache: Cache::new(folder.path().join("cache")), _folder: folder }
    }

    fn with_history() -> Self {
        let mut scene = Self::new();
        scene.cache = Cache::with_history(scene.cache.dir());
        scene
    }

    fn fetch(&self, commit: ObjectId) -> Result<Fetched, CacheError> {
        let session = self.fixture.remote().open(&bounds()).unwrap();
        self.cache.fetch(session, commit)
    }

    /// All files of a commit with their contents, read through the cache.
    fn contents(&self, commit: ObjectId) -> (Vec<(String, String)>, Option<Fetched>) {
        self.cache
            .read(&self.fixture.remote(), commit, &bounds(), |tree| {
                let limits = Limits::default();
                let listing = tree.list(&limits, None)?;
                let mut all = Vec::new();
                for (path, file) in listing.files() {
                    let text = String::from_utf8(tree.read(&path, file, &limits)?).unwrap();
                    all.push((path, text));
                }
                Ok(all)
            })
            .unwrap()
    }

    /// Whether one commit came after another, read through the cache.
    fn follows(&self, tip: ObjectId, ancestor: ObjectId) -> (bool, Option<Fetched>) {
        let read = |history: &History| follows(history, tip, ancestor, &bounds());
        self.cache.read_history(&self.fixture.remote(), tip, &bounds(), read).unwrap()
    }

    fn packs(&self) -> Vec<PathBuf> {
        fs::read_dir(self.cache.dir().join("objects/pack"))
            .unwrap()
            .map(|e| e.unwrap().path())
            .filter(|p| p.extension().is_some_and(|e| e == "pack"))
            .collect()
    }
}

const FILES: &[(&str, &str)] = &[("a.yaml", "a: 1\n"), ("dir/b.yaml", "b: 2\n"), ("dir/deep/c.yaml", "c: 3\n")];

fn expected(files: &[(&str, &str)]) -> Vec<(String, String)> {
    files.iter().map(|(p, c)| ((*p).to_owned(), (*c).to_owned())).collect()
}

#[test]
fn an_object_that_is_too_large_is_told_with_the_setting_that_allows_it() {
    let scene = Scene::new();
    let commit = scene.fixture.commit(&[("large", &"x".repeat(50_000))]);
    let bounds = bounds().object_bytes(10_000);
    let session = scene.fixture.remote().open(&bounds).unwrap();
    let error = scene.cache.fetch(session, commit).unwrap_err();
    assert_eq!(error.code(), "too-large", "{error}");
    assert!(error.to_string().contains("larger than 10000 bytes; raise spec.limits.objectSize"), "{error}");
    assert!(matches!(scene.fetch(commit), Ok(Fetched::New { .. })));
}

#[test]
fn one_commit_is_fetched_shallow_and_only_once() {
    let scene = Scene::new();
    scene.fixture.commit(&[("old.yaml", "gone: true\n")]);
    let commit = scene.fixture.commit(FILES);
    assert!(matches!(scene.fetch(commit).unwrap(), Fetched::New { bytes } if bytes > 0));
    assert_eq!(scene.fetch(commit).unwrap(), Fetched::Present);
    assert_eq!(scene.contents(commit), (expected(FILES), None));
    let dir = scene.cache.dir().to_owned();
    git_in(&dir, &["fsck", "--strict", "--full"], b"");
    assert_eq!(git_in(&dir, &["rev-list", "--count", &commit.to_string()], b""), "1");
    assert!(!dir.join("index").exists(), "there is no work tree");
}

#[test]
fn the_next_commit_brings_only_what_changed() {
    let scene = Scene::new();
    let many: Vec<(String, String)> =
        (0..300).map(|n| (format!("d{}/f{n}.yaml", n % 10), format!("n: {n}\n"))).collect();
    let mut files: Vec<(&str, &str)> = many.iter().map(|(p, c)| (p.as_str(), c.as_str())).collect();
    let first = scene.fixture.commit(&files);
    let Fetched::New { bytes: whole } = scene.fetch(first).unwrap() else { panic!("new") };
    files[7].1 = "n: changed\n";
    let second = scene.fixture.commit(&files);
    let Fetched::New { bytes: part } = scene.fetch(second).unwrap() else { panic!("new") };
    assert!(part * 5 < whole, "{part} of {whole} bytes for one changed file");
    assert_eq!(scene.contents(second).0.len(), 300);
    git_in(scene.cache.dir(), &["fsck", "--full", &second.to_string()], b"");
}

#[test]
fn an_unrelated_history_is_fetched_like_any_other() {
    let scene = Scene::new();
    let first = scene.fixture.commit(FILES);
    scene.fetch(first).unwrap();
    scene.fixture.git(&["update-ref", "-d", "refs/heads/main"]);
    let other = scene.fixture.commit(&[("new.yaml", "n: 1\n")]);
    assert!(matches!(scene.fetch(other).unwrap(), Fetched::New { .. }));
    assert_eq!(scene.contents(other).0, expected(&[("new.yaml", "n: 1\n")]));
}

#[test]
fn many_fetches_do_not_pile_up() {
    let scene = Scene::new();
    for n in 0..45 {
        let text = format!("n: {n}\n");
        let commit = scene.fixture.commit(&[("a.yaml", &text)]);
        scene.fetch(commit).unwrap();
        assert_eq!(scene.contents(commit).0, expected(&[("a.yaml", &text)]));
    }
    assert!(scene.packs().len() <= 41, "{} packs", scene.packs().len());
    let shallow = fs::read_to_string(scene.cache.dir().join("shallow")).unwrap();
    assert!(shallow.lines().count() <= 2, "{shallow}");
}

type Harm = fn(&Scene);
/// The same, told which packs hold what came before.
type HarmToOld = fn(&Scene, &[PathBuf]);

/// Every way to break a cache.
const HARMS: &[(&str, Harm)] = &[
    ("a truncated pack", |s| {
        for pack in s.packs() {
            let bytes = fs::read(&pack).unwrap();
            overwrite(&pack, &bytes[..bytes.len() / 2]);
        }
    }),
    ("an empty pack", |s| s.packs().iter().for_each(|p| overwrite(p, b""))),
    ("flipped bits in the middle of a pack", |s| {
        for pack in s.packs() {
            let mut bytes = fs::read(&pack).unwrap();
            let length = bytes.len();
            bytes[length / 3..length / 3 * 2].iter_mut().for_each(|b| *b ^= 0x55);
            overwrite(&pack, &bytes);
        }
    }),
    ("a missing pack", |s| s.packs().iter().for_each(|p| fs::remove_file(p).unwrap())),
    ("a missing index", |s| {
        s.packs().iter().for_each(|p| fs::remove_file(p.with_extension("idx")).unwrap());
    }),
    ("a garbage index", |s| s.packs().iter().for_each(|p| overwrite(&p.with_extension("idx"), b"garbage"))),
    ("a truncated index", |s| {
        for pack in s.packs() {
            let index = pack.with_extension("idx");
            let bytes = fs::read(&index).unwrap();
            overwrite(&index, &bytes[..bytes.len() - 30]);
        }
    }),
    ("no objects at all", |s| fs::remove_dir_all(s.cache.dir().join("objects")).unwrap()),
    ("a garbage HEAD", |s| fs::write(s.cache.dir().join("HEAD"), "\0\0").unwrap()),
    ("a missing top file", |s| fs::remove_file(s.cache.dir().join("HEAD")).unwrap()),
    ("a garbage config", |s| fs::write(s.cache.dir().join("config"), "[[[").unwrap()),
    ("a folder in place of the config", |s| {
        fs::remove_file(s.cache.dir().join("config")).unwrap();
        fs::create_dir(s.cache.dir().join("config")).unwrap();
    }),
    ("nothing at all", |s| fs::remove_dir_all(s.cache.dir()).unwrap()),
    ("a file in place of the cache", |s| {
        fs::remove_dir_all(s.cache.dir()).unwrap();
        fs::write(s.cache.dir(), "hello").unwrap();
    }),
];

/// What has to be true after any of them: the same files are read.
#[test]
fn any_damage_is_mended_by_fetching_anew() {
    for (what, harm) in HARMS {
        let scene = Scene::new();
        let commit = scene.fixture.commit(FILES);
        scene.fetch(commit).unwrap();
        harm(&scene);
        let (files, mended) = scene.contents(commit);
        assert_eq!(files, expected(FILES), "{what}");
        let still_readable = what.contains("HEAD");
        assert_eq!(matches!(mended, Some(Fetched::Mended { .. })), !still_readable, "{what}: {mended:?}");
        assert_eq!(scene.contents(commit).1, None, "{what}: mended once is enough");
    }
}

/// The same when the next fetch is the first to notice.
#[test]
fn damage_met_by_a_fetch_is_mended_as_well() {
    let harms: &[(&str, Harm)] = &[
        ("a garbage tip", |s| fs::write(s.cache.dir().join("refs/midship/tip"), "garbage").unwrap()),
        ("a tip that names nothing", |s| {
            fs::write(s.cache.dir().join("refs/midship/tip"), "1".repeat(40)).unwrap();
        }),
        ("a folder in place of the tip", |s| {
            fs::remove_file(s.cache.dir().join("refs/midship/tip")).unwrap();
            fs::create_dir(s.cache.dir().join("refs/midship/tip")).unwrap();
        }),
        ("a garbage shallow file", |s| fs::write(s.cache.dir().join("shallow"), "garbage").unwrap()),
        ("a missing shallow file", |s| fs::remove_file(s.cache.dir().join("shallow")).unwrap()),
        ("a stale lock", |s| fs::write(s.cache.dir().join("shallow.lock"), "").unwrap()),
        ("a stale temporary pack", |s| {
            fs::write(s.cache.dir().join("objects/pack/.tmpabc"), "half").unwrap();
        }),
        ("a truncated pack", |s| s.packs().iter().for_each(|p| overwrite(p, b"PACK"))),
        ("a garbage HEAD", |s| fs::write(s.cache.dir().join("HEAD"), "\0\0").unwrap()),
        ("no objects", |s| fs::remove_dir_all(s.cache.dir().join("objects")).unwrap()),
    ];
    for (what, harm) in harms {
        let scene = Scene::new();
        let first = scene.fixture.commit(FILES);
        scene.fetch(first).unwrap();
        harm(&scene);
        let mut files = FILES.to_vec();
        files[0].1 = "a: changed\n";
        let second = scene.fixture.commit(&files);
        scene.fetch(second).unwrap_or_else(|error| panic!("{what}: {error}"));
        assert_eq!(scene.contents(second).0, expected(&files), "{what}");
        assert!(!scene.cache.dir().join("objects/pack/.tmpabc").exists(), "{what}");
    }
}

/// The same where it counts what came before: the newest commit alone may be whole.
#[test]
fn damaged_history_is_mended_by_fetching_anew() {
    let ancestors: &[(&str, HarmToOld)] = &[
        ("ancestors that are gone", |_, old| {
            for pack in old {
                fs::remove_file(pack.with_extension("idx")).unwrap();
                fs::remove_file(pack).unwrap();
            }
        }),
        ("ancestors that are cut off", |_, old| {
            for pack in old {
                let bytes = fs::read(pack).unwrap();
                overwrite(pack, &bytes[..40]);
            }
        }),
        ("flipped bits in all ancestors", |_, old| {
            for pack in old {
                let mut bytes = fs::read(pack).unwrap();
                let objects = 12..bytes.len() - 20;
                bytes[objects].iter_mut().for_each(|b| *b ^= 0x55);
                overwrite(pack, &bytes);
            }
        }),
        ("a garbage shallow file", |s, _| fs::write(s.cache.dir().join("shallow"), "garbage").unwrap()),
    ];
    for (what, harm) in ancestors {
        let past = Past::new();
        harm(&past.scene, &past.packs);
        let newest = past.scene.fetch(past.last).unwrap();
        assert_eq!(newest, Fetched::Present, "{what}: the newest commit is whole");
        let mended = past.is_read(what);
        assert!(matches!(mended, Some(Fetched::Mended { .. })), "{what}: {mended:?}");
    }
    for (what, harm) in HARMS {
        let past = Past::new();
        harm(&past.scene);
        past.is_read(what);
    }
}

/// A cache with three commits, of which the last lies in a pack of its own.
struct Past {
    scene: Scene,
    first: ObjectId,
    last: ObjectId,
    /// What holds the first two.
    packs: Vec<PathBuf>,
}

impl Past {
    fn new() -> Self {
        let scene = Scene::with_history();
        let first = scene.fixture.commit(&[("a.yaml", "a: 0\n")]);
        let second = scene.fixture.commit(&[("a.yaml", "a: 0\n"), ("dir/b.yaml", "b: 0\n")]);
        scene.fetch(second).unwrap();
        let packs = scene.packs();
        let last = scene.fixture.commit(FILES);
        assert!(matches!(scene.fetch(last).unwrap(), Fetched::New { .. }));
        Self { scene, first, last, packs }
    }

    /// All of it can be read; whether it was mended for that.
    fn is_read(&self, what: &str) -> Option<Fetched> {
        let Self { scene, first, last, .. } = self;
        let (follows, mended) = scene.follows(*last, *first);
        assert!(follows, "{what}");
        let stranger = id(&scene.fixture.git(&["commit-tree", &format!("{last}^{{tree}}"), "-m", "other"]));
        assert_eq!(scene.follows(*last, stranger), (false, None), "{what}: mended once is enough");
        assert_eq!(scene.contents(*last).0, expected(FILES), "{what}");
        mended
    }
}

#[test]
fn a_missing_blob_deep_inside_is_mended() {
    let scene = Scene::new();
    let first = scene.fixture.commit(FILES);
    scene.fetch(first).unwrap();
    let mut files = FILES.to_vec();
    files[0].1 = "a: changed\n";
    let second = scene.fixture.commit(&files);
    let before = scene.packs();
    scene.fetch(second).unwrap();
    // the pack of the first fetch has what did not change since
    for pack in before {
        fs::remove_file(pack.with_extension("idx")).unwrap();
        fs::remove_file(pack).unwrap();
    }
    let (contents, mended) = scene.contents(second);
    assert_eq!(contents, expected(&files));
    assert!(matches!(mended, Some(Fetched::Mended { .. })));
}

#[test]
fn a_server_without_the_objects_is_told_apart_from_a_broken_cache() {
    let scene = Scene::new();
    let commit = scene.fixture.commit(FILES);
    let blob = scene.fixture.git(&["rev-parse", "main:dir/deep/c.yaml"]);
    let missing = "1".repeat(40);
    let error = scene.fetch(id(&missing)).unwrap_err();
    assert!(error.to_string().contains("not in the repository"), "{error}");
    assert_eq!(error.code(), "server-error");
    let error = scene.fetch(id(&blob)).unwrap_err();
    assert_eq!(error.code(), "not-a-commit", "{error}");
    assert!(matches!(scene.fetch(commit).unwrap(), Fetched::New { .. }));
}

#[test]
fn the_pack_the_objects_and_the_time_are_bounded() {
    let scene = Scene::new();
    let big = "x: yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy\n".repeat(100_000);
    let commit = scene.fixture.commit(&[("big.yaml", &big)]);
    let fetch = |bounds: Bounds| {
        let session = scene.fixture.remote().open(&bounds)?;
        scene.cache.fetch(session, commit)
    };
    let error = fetch(bounds().object_bytes(1 << 20)).unwrap_err();
    assert_eq!((error.code(), error.to_string().contains("an object")), ("too-large", true), "{error}");
    let error = fetch(bounds().pack_bytes(2000)).unwrap_err();
    assert_eq!(error.code(), "too-large", "{error}");
    let error = fetch(Bounds::new(std::time::Duration::ZERO)).unwrap_err();
    assert_eq!(error.code(), "deadline", "{error}");
    assert!(matches!(fetch(bounds()).unwrap(), Fetched::New { .. }), "the limits left nothing broken");
}

#[test]
fn a_cache_that_cannot_be_written_says_so() {
    let scene = Scene::new();
    let commit = scene.fixture.commit(FILES);
    let cache = Cache::new("/proc/midship/cache");
    let error = cache.fetch(scene.fixture.remote().open(&bounds()).unwrap(), commit).unwrap_err();
    assert_eq!(error.code(), "cache-storage", "{error}");
}

#[test]
fn two_at_once_share_one_fetch() {
    let scene = Scene::new();
    let commit = scene.fixture.commit(FILES);
    let results: Vec<Fetched> = std::thread::scope(|scope| {
        let all: Vec<_> = (0..4).map(|_| scope.spawn(|| scene.fetch(commit).unwrap())).collect();
        all.into_iter().map(|t| t.join().unwrap()).collect()
    });
    let new = results.iter().filter(|r| matches!(r, Fetched::New { .. })).count();
    assert_eq!(new, 1, "{results:?}");
}

#[test]
fn a_local_repository_that_is_not_there_is_not_found() {
    let remote = Remote::new(RemoteUrl::parse("/nowhere/at/all", true).unwrap(), Access::default());
    assert_eq!(remote.open(&bounds()).unwrap_err().code(), "repository-not-found");
}

#[test]
fn every_way_to_name_a_commit_leads_to_it() {
    let scene = Scene::new();
    let first = scene.fixture.commit(FILES);
    scene.fixture.git(&["tag", "-a", "-m", "one", "v1.0.0", "main"]);
    let second = scene.fixture.commit(&[("b.yaml", "b: 1\n")]);
    scene.fixture.git(&["tag", "v1.1.0", "main"]);
    scene.fixture.git(&["branch", "feature/x", &first.to_string()]);
    let resolve = |follow: Result<Follow, ResolveError>| {
        scene.fixture.remote().open(&bounds()).unwrap().resolve(&follow.unwrap())
    };
    let found = resolve(Ok(Follow::Head)).unwrap();
    assert_eq!((found.commit, found.reference.as_deref()), (second, Some("refs/heads/main")));
    assert_eq!(resolve(Follow::branch("feature/x")).unwrap().commit, first);
    let tag = resolve(Follow::tag("v1.0.0")).unwrap();
    assert_eq!(tag.commit, first, "an annotated tag stands for its commit");
    assert!(tag.tag.is_some());
    let range = resolve(Follow::versions(">=1.0, <2")).unwrap();
    assert_eq!((range.commit, range.version.map(|v| v.to_string()).as_deref()), (second, Some("1.1.0")));
    assert_eq!(resolve(Follow::versions("~1.0")).unwrap().commit, first);
    assert_eq!(resolve(Follow::commit(&first.to_string())).unwrap().commit, first);
    let error = resolve(Follow::branch("feature")).unwrap_err();
    assert_eq!(error.code(), "no-such-ref", "a prefix of a branch is not that branch");
    assert_eq!(resolve(Follow::versions("^7")).unwrap_err().code(), "no-version");
}

#[test]
fn an_empty_repository_is_told_apart_from_a_missing_branch() {
    let fixture = Fixture::new();
    let error = fixture.remote().open(&bounds()).unwrap().resolve(&Follow::Head).unwrap_err();
    assert_eq!(error.code(), "empty-repository", "{error}");
}

fn overwrite(path: &std::path::Path, bytes: &[u8]) {
    // packs are read-only, and a new file keeps what others have mapped intact
    fs::remove_file(path).unwrap();
    fs::write(path, bytes).unwrap();
}
