//! A repository at one moment: the objects its files define, its packages, and what it says of environments.

use std::cell::{OnceCell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

use crate::api::git_source::{AppliedSettings, FileError};
use crate::api::values::KeyRef;
use crate::api::{BackupPolicy, Instance};
use crate::controller::repositories::coverage::collectors;
use crate::extension::problem::{listed, unknown};
use crate::extension::{Collectors, Package, PackageFiles, Surroundings};
use crate::names::{EnvironmentName, NamespaceName};
use crate::plan::source::manifest::SETTINGS;
use crate::plan::source::{Manifest, ObjectKind, Placement, RepositorySettings, settings};
use crate::repo::{FileTree, Limits, ObjectId, ParseLimits, TreeError, parse};
use crate::sops;
use crate::source::{self, Defined};

/// The folder of a repository that holds packages, as `<type>/<version>/…`.
pub const EXTENSIONS: &str = "extensions";

/// A repository at one moment.
#[derive(Default)]
pub struct Snapshot {
    pub defined: Defined,
    pub shelf: Shelf,
    /// The files that define instances and policies.
    texts: BTreeMap<String, Vec<u8>>,
    /// Encrypted files and the ids of what they hold: what is in them is not known here.
    pub sealed: BTreeMap<String, ObjectId>,
    /// Files that nobody reads, and would be read if their endings were in small letters.
    pub in_capitals: Vec<String>,
    /// Why some of them could not be opened with any key.
    pub unopenable: Vec<FileError>,
    /// What the repository says of environments.
    settings: Option<AppliedSettings>,
    /// All it says of itself; none where that cannot be read.
    pub own: Option<Arc<RepositorySettings>>,
    /// The environment that the GitSource names, where one is known.
    pub environment: Option<EnvironmentName>,
    /// Its policies, as far as they can be read: looked for once, and not for each instance.
    policies: OnceCell<Vec<BackupPolicy>>,
}

/// Reads everything of a tree. Paths that it lists begin with the placement's folder.
pub fn read(tree: &impl FileTree, placement: &Placement) -> Result<Snapshot, TreeError> {
    let limits = Limits::default();
    let contents = source::read(tree, &limits, placement, None)?;
    let listing = tree.list(&limits, None)?;
    let mut shelf = Shelf::default();
    for (path, file) in listing.files() {
        let inside = path.strip_prefix(placement.folder.as_str()).unwrap_or(&path);
        if contents.leaves_out(&path) {
            continue;
        }
        if let Some(rest) = inside.strip_prefix(EXTENSIONS).and_then(|rest| rest.strip_prefix('/')) {
            shelf.put(rest, tree.read(&path, file, &limits)?);
        }
    }
    let defined = contents.defined();
    let mut texts = BTreeMap::new();
    let told_by_field = [ObjectKind::Instance, ObjectKind::BackupPolicy];
    for manifest in defined.objects.iter().filter(|manifest| told_by_field.contains(&manifest.id.kind)) {
        if let Some(file) = listing.get(&manifest.path).filter(|_| !texts.contains_key(&*manifest.path)) {
            texts.insert(manifest.path.to_string(), tree.read(&manifest.path, file, &limits)?);
        }
    }
    let (mut sealed, mut unopenable) = (BTreeMap::new(), Vec::new());
    for manifest in defined.objects.iter().filter(|manifest| manifest.id.kind == ObjectKind::Secret) {
        let Some(file) = listing.get(&manifest.path) else { continue };
        let documents = parse(&manifest.path, &tree.read(&manifest.path, file, &limits)?, &ParseLimits::default());
        let documents = documents.unwrap_or_default();
        if documents.iter().any(|document| sops::is_sealed(&document.value))
            && sealed.insert(manifest.path.to_string(), file.id).is_none()
        {
            unopenable.extend(source::unopenable(&manifest.path, &documents));
        }
    }
    let own = contents.settings().cloned();
    let settings = own.as_ref().and_then(|settings| settings.applied());
    let in_capitals = contents.in_capitals();
    Ok(Snapshot { defined, shelf, texts, sealed, in_capitals, unopenable, settings, own, ..Snapshot::default() })
}

impl Snapshot {
    /// The same with paths seen from elsewhere.
    #[must_use]
    pub fn seen_from(mut self, elsewhere: impl Fn(&str) -> String) -> Self {
        self.texts = self.texts.into_iter().map(|(path, text)| (elsewhere(&path), text)).collect();
        self.sealed = self.sealed.into_iter().map(|(path, id)| (elsewhere(&path), id)).collect();
        self.in_capitals = self.in_capitals.into_iter().map(|path| elsewhere(&path)).collect();
        for error in &mut self.unopenable {
            error.path = elsewhere(&error.path);
        }
        let defined = &mut self.defined;
        for manifest in &mut defined.objects {
            manifest.path = elsewhere(&manifest.path).into();
        }
        for error in &mut defined.errors {
            error.path = elsewhere(&error.path);
        }
        defined.unknown = std::mem::take(&mut defined.unknown).seen_from(|path| elsewhere(&path));
        defined.wrong = defined.wrong.iter().map(|(id, path)| (id.clone(), elsewhere(path))).collect();
        let ignored = std::mem::take(&mut defined.ignored);
        defined.ignored = ignored.iter().map(|(path, place)| (elsewhere(path), elsewhere(place))).collect();
        self
    }

    /// The file that defines an instance or a policy, as it was read.
    pub fn text(&self, path: &str) -> Option<&[u8]> {
        self.texts.get(path).map(Vec::as_slice)
    }

    /// What is wrong with the repository's own settings.
    pub fn settings_error(&self) -> Option<&FileError> {
        let is_settings = |path: &str| path == SETTINGS || path.ends_with(&format!("/{SETTINGS}"));
        self.defined.errors.iter().find(|error| is_settings(&error.path))
    }

    /// What holds for everything while the repository's own settings cannot be read; nothing where they can.
    pub fn unsettled(&self) -> Option<&'static str> {
        match (&self.own, self.defined.may_be_ignored) {
            (Some(_), _) => None,
            (None, true) => Some(
                "until it can be read, nothing is applied from a new file, nothing is deleted, and instances keep the settings they had",
            ),
            (None, false) => Some("until it can be read, nothing is deleted, and instances keep the settings they had"),
        }
    }

    /// Takes over what the repository said of itself before, where what it says now cannot be read.
    pub fn keep_settings(&mut self, before: &Self) {
        if self.own.is_none() {
            self.own.clone_from(&before.own);
            self.settings.clone_from(&before.settings);
        }
    }

    /// What the repository assumes for an instance that names this environment, or none.
    pub fn surroundings(
        &self,
        own: Option<&EnvironmentName>,
        namespace: &NamespaceName,
    ) -> Result<Surroundings, String> {
        settings::surroundings(self.settings.as_ref(), namespace.as_str(), own, self.environment.as_ref())
    }

    /// A key of a ConfigMap of the repository.
    pub fn key(&self, namespace: &NamespaceName, place: &KeyRef) -> Option<String> {
        let mut maps = self.defined.objects.iter().filter(|object| object.id.kind == ObjectKind::ConfigMap);
        let map = maps.find(|map| {
            map.id.name == place.name.as_str() && map.id.namespace.as_deref() == Some(namespace.as_str())
        })?;
        map.body["data"][place.key.as_str()].as_str().map(str::to_owned)
    }

    /// The policies of the repository that collect logs, as far as they can be read.
    pub fn collectors(&self, instance: &Manifest) -> Option<Collectors> {
        let instance: Instance = serde_json::from_value(instance.body.as_ref().clone()).ok()?;
        let policies = self.policies.get_or_init(|| {
            let policies = self.defined.objects.iter().filter(|object| object.id.kind == ObjectKind::BackupPolicy);
            policies.filter_map(|policy| serde_json::from_value(policy.body.as_ref().clone()).ok()).collect()
        });
        Some(collectors(policies, &instance))
    }
}

/// Packages by type and version, or why one cannot be loaded.
type Loaded = BTreeMap<(String, String), Result<Rc<Package>, String>>;

/// Packages by type and version, each loaded when it is first asked for.
#[derive(Default)]
pub struct Shelf {
    files: BTreeMap<(String, String), BTreeMap<String, Vec<u8>>>,
    loaded: RefCell<Loaded>,
}

impl Shelf {
    /// Adds a file by its path below the folder of packages.
    fn put(&mut self, path: &str, content: Vec<u8>) {
        if let [type_, version, inside] = path.splitn(3, '/').collect::<Vec<_>>()[..] {
            let files = self.files.entry((type_.to_owned(), version.to_owned())).or_default();
            files.insert(inside.to_owned(), content);
        }
    }

    /// The packages of a folder as `<type>/<version>/…`.
    pub fn read(tree: &impl FileTree) -> Result<Self, TreeError> {
        let limits = Limits::default();
        let listing = tree.list(&limits, None)?;
        let mut shelf = Self::default();
        for (path, file) in listing.files() {
            shelf.put(&path, tree.read(&path, file, &limits)?);
        }
        Ok(shelf)
    }

    /// Type and version of every package.
    pub fn names(&self) -> impl Iterator<Item = (&str, &str)> {
        self.files.keys().map(|(type_, version)| (type_.as_str(), version.as_str()))
    }

    /// The package an instance asks for, or why there is none, in a sentence.
    pub fn get(&self, type_: &str, version: &str) -> Result<Rc<Package>, String> {
        let key = (type_.to_owned(), version.to_owned());
        if let Some(known) = self.loaded.borrow().get(&key) {
            return known.clone();
        }
        let loaded = match self.files.get(&key) {
            None => Err(self.missing(type_, version)),
            Some(files) => PackageFiles::new(files.clone())
                .map_err(crate::extension::Problems)
                .and_then(Package::load)
                .map(Rc::new)
                .map_err(|problems| format!("the package {type_} {version} is wrong: {}", in_one_line(&problems))),
        };
        self.loaded.borrow_mut().insert(key, loaded.clone());
        loaded
    }

    fn missing(&self, type_: &str, version: &str) -> String {
        let versions: Vec<&str> =
            self.files.keys().filter(|(known, _)| known == type_).map(|(_, version)| version.as_str()).collect();
        if versions.is_empty() {
            let mut types: Vec<&str> = self.files.keys().map(|(known, _)| known.as_str()).collect();
            types.dedup();
            return format!("no package: {}", unknown("type", type_, types));
        }
        format!("there is no version {version} of the package {type_}; there is {}", listed(versions))
    }
}

fn in_one_line(problems: &crate::extension::Problems) -> String {
    let shown: Vec<String> = problems.0.iter().take(3).map(ToString::to_string).collect();
    let more = problems.0.len() - shown.len();
    let rest = if more > 0 { format!(" and {more} more") } else { String::new() };
    format!("{}{rest}; `midship extension lint` names each", shown.join("; "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::repo::MemoryTree;

    fn placement() -> Placement {
        Placement { default_namespace: "default".into(), allowed: None, folder: String::new(), sources: true }
    }

    #[test]
    fn packages_settings_and_objects_are_told_apart() {
        let instance = "apiVersion: midship.dev/v1alpha1\nkind: Instance\nmetadata: {name: a}\n\
                        spec: {type: demo, extensionVersion: 1.0.0, version: '1.0'}\n";
        let tree = MemoryTree::default()
            .with("midship.yaml", "namespaces: {shop: {environment: production}}\nenvironments: {production: {}}\n")
            .with("instances/shop/a.yaml", instance)
            .with("extensions/demo/1.0.0/extension.yaml", "type: demo\n");
        let Ok(snapshot) = read(&tree, &placement()) else { panic!("it can be read") };
        assert_eq!(snapshot.defined.objects.len(), 1, "{:?}", snapshot.defined.errors);
        assert_eq!(snapshot.shelf.names().collect::<Vec<_>>(), [("demo", "1.0.0")]);
        let shop = NamespaceName::parse("shop").expect("a name");
        let surroundings = snapshot.surroundings(None, &shop).expect("good settings");
        assert_eq!(surroundings.environment.map(|name| name.to_string()).as_deref(), Some("production"));
        assert_eq!(surroundings.defaults.len(), 1);
    }

    #[test]
    fn a_package_that_is_not_there_is_named_with_those_that_are() {
        let tree = MemoryTree::default().with("demo/1.0.0/extension.yaml", "type: demo\n");
        let Ok(shelf) = Shelf::read(&tree) else { panic!("it can be read") };
        let reason = |type_: &str, version: &str| shelf.get(type_, version).expect_err("it is not there");
        assert_eq!(reason("demo", "2.0.0"), "there is no version 2.0.0 of the package demo; there is 1.0.0");
        assert_eq!(reason("dema", "1.0.0"), "no package: there is no type \"dema\"; did you mean \"demo\"?");
        assert!(reason("demo", "1.0.0").starts_with("the package demo 1.0.0 is wrong: extension.yaml:"));
    }
}
