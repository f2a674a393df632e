//! The packages that are installed, read and found right: in memory, shared by all controllers.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, RwLock, RwLockReadGuard, RwLockWriteGuard};

use crate::api::Instance;
use crate::cluster::Key;
use crate::extension::{Package, install};

/// The reason of an instance, and of an Extension, whose rules could not be checked.
pub const UNCHECKED: &str = "RulesUnchecked";

/// How an installed version stands.
#[derive(Clone, Debug)]
pub enum State {
    Ready(Arc<Package>),
    /// Its rules could not be checked, for this reason: what runs on it goes on, and nothing begins to.
    Unchecked(Arc<Package>, String),
    /// It was found right once, and is found wrong now, as by a Midship that is newer: what runs on it goes on, and nothing
    /// begins to.
    Refused(Arc<Package>, String),
    /// It is installed and cannot be used, for this reason.
    Broken(String),
}

impl State {
    fn package(&self) -> Option<&Arc<Package>> {
        match self {
            Self::Ready(package) | Self::Unchecked(package, _) | Self::Refused(package, _) => Some(package),
            Self::Broken(_) => None,
        }
    }
}

/// All versions that were looked at, by the name of their Extension.
#[derive(Debug, Default)]
pub struct Packages {
    by_name: RwLock<BTreeMap<String, State>>,
}

impl Packages {
    pub fn state(&self, name: &str) -> Option<State> {
        self.read().get(name).cloned()
    }

    /// A version that can be worked with, be it only by what runs on it already.
    pub fn ready(&self, name: &str) -> Option<Arc<Package>> {
        self.read().get(name)?.package().cloned()
    }

    /// The versions of a type that can be worked with.
    pub fn of_type(&self, type_: &str) -> Vec<Arc<Package>> {
        let all = self.read();
        let ready = all.values().filter_map(|state| state.package().cloned());
        ready.filter(|package| package.manifest.type_.as_str() == type_).collect()
    }

    /// Whether this changes what instances can use.
    pub fn put(&self, name: &str, state: State) -> bool {
        let told = |state: &State| {
            let why = match state {
                State::Ready(_) => None,
                State::Unchecked(_, reason) | State::Refused(_, reason) | State::Broken(reason) => Some(reason.clone()),
            };
            (state.package().map(|package| package.digest.clone()), why)
        };
        let new = told(&state);
        self.write().insert(name.to_owned(), state).is_none_or(|old| told(&old) != new)
    }

    pub fn remove(&self, name: &str) -> bool {
        self.write().remove(name).is_some()
    }

    fn read(&self) -> RwLockReadGuard<'_, BTreeMap<String, State>> {
        self.by_name.read().expect("no panic while it is held")
    }

    fn write(&self) -> RwLockWriteGuard<'_, BTreeMap<String, State>> {
        self.by_name.write().expect("no panic while it is held")
    }
}

impl Packages {
    /// The package that is in force for an instance, where it can be used.
    pub fn in_force(&self, instance: &Instance) -> Option<Arc<Package>> {
        let resolved = instance.status.as_ref()?.resolved.as_ref()?;
        let version = resolved.extension_version.as_ref()?;
        let end = format!("-{}", version.to_lowercase());
        self.ready(&used_by(instance).into_iter().find(|name| name.ends_with(&end))?)
    }
}

/// The names of the Extensions an instance uses: the one it asks for, and the one that is in force.
pub fn used_by(instance: &Instance) -> BTreeSet<String> {
    let spec = &instance.spec;
    let mut names = BTreeSet::from([install::name(&spec.type_, &spec.extension_version)]);
    names.extend(runs_on(instance));
    names
}

/// The names of the Extensions that are in force for an instance: one, or two while it goes from one to the other.
pub fn runs_on(instance: &Instance) -> BTreeSet<String> {
    let resolved = instance.status.as_ref().and_then(|status| status.resolved.as_ref());
    let target = resolved.and_then(|resolved| resolved.target.as_ref()?.extension_version.as_ref());
    let versions = resolved.and_then(|resolved| resolved.extension_version.as_ref()).into_iter().chain(target);
    versions.map(|version| format!("{}-{version}", instance.spec.type_).to_lowercase()).collect()
}

/// Which Extensions each instance uses, so that those it leaves hear of it.
#[derive(Debug, Default)]
pub struct Uses {
    by_instance: Mutex<BTreeMap<Key, BTreeSet<String>>>,
}

impl Uses {
    /// The Extensions that an instance begins or ends to use.
    pub fn changed(&self, key: &Key, now: BTreeSet<String>) -> Vec<String> {
        let mut all = self.by_instance.lock().expect("no panic while it is held");
        let before = if now.is_empty() { all.remove(key) } else { all.insert(key.clone(), now.clone()) };
        before.unwrap_or_default().symmetric_difference(&now).cloned().collect()
    }
}
