//! Decides everything an instance leaves open, and refuses what its package does not allow.

mod components;
mod merge;
mod parameters;
mod pods;

use std::collections::{BTreeMap, BTreeSet};

use sha2::{Digest as _, Sha256};

use super::budget::Budget;
use super::contract::Topology;
use super::defaults::Defaults;
use super::naming;
use super::package::Package;
use super::problem::{Code, Refusal, Refusals, listed, unknown};
use super::resolved::Resolved;
use crate::api::instance::{ClientCertificates, DesiredState, InstanceSpec, RestoreSource, Tls, TlsIssuer};
use crate::api::values::DeletionPolicy;
use crate::names::{ComponentName, EnvironmentName, InstanceName, NamespaceName, ObjectName, TopologyName};

/// Pods of one instance: what is told of them grows with the square of their number.
const MOST_PODS: usize = 2000;
/// What somebody has to know who asks for one.
const NO_WINDOWS: &str =
    "spec.maintenance is not built yet: what disturbs clients is done at once, whatever the window";

/// What else decides, besides the instance and its package.
#[derive(Clone, Debug, Default)]
pub struct Surroundings {
    /// The environment that the repository assumes for an instance that names none.
    pub environment: Option<EnvironmentName>,
    /// Defaults of the repository for the instance's environment, the weaker first.
    pub defaults: Vec<Defaults>,
    /// Replicas that `kubectl scale` or an autoscaler chose for components whose number the instance leaves free.
    pub replicas: BTreeMap<ComponentName, u16>,
    /// Whether what the instance is to be restored from was restored: its pods wait no more.
    pub restored: bool,
    /// Whether what the package does once for a new instance was done.
    pub created: bool,
    /// Who collects logs, where that is known; otherwise the policy that the instance names is taken to.
    pub collectors: Option<Collectors>,
}

/// Policies that collect the logs of what they back up.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Collectors {
    /// One of them chose the instance, by its name or by its labels.
    pub chose_it: bool,
    /// Those that instances may name.
    pub names: BTreeSet<ObjectName>,
}

/// An instance as it is asked for.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    pub name: &'a InstanceName,
    pub namespace: &'a NamespaceName,
    pub spec: &'a InstanceSpec,
}

/// Decides everything, or says everything that is wrong.
pub fn resolve(package: &Package, asked: Asked<'_>, surroundings: &Surroundings) -> Result<Resolved, Refusals> {
    let mut resolver = Resolver {
        package,
        asked,
        environment: environment(package, asked, surroundings),
        layers: Vec::new(),
        refusals: Vec::new(),
        warnings: Vec::new(),
        budget: Budget::default(),
    };
    resolver.versions();
    resolver.layers(surroundings);
    let topology = resolver.topology();
    let Some((topology_name, topology)) = topology.filter(|_| resolver.refusals.is_empty()) else {
        return Err(Refusals(resolver.refusals));
    };
    let spec = asked.spec;
    let (tls, network) =
        (resolver.tls(), resolver.pick(spec.network.as_ref(), |d| d.network.as_ref()).unwrap_or_default());
    let monitoring = resolver.pick(spec.monitoring.as_ref(), |d| d.monitoring.as_ref()).unwrap_or_default();
    let failover = resolver.pick(spec.failover.as_ref(), |d| d.failover.as_ref()).unwrap_or_default();
    let backup = resolver.pick(spec.backup.as_ref(), |d| d.backup.as_ref());
    resolver.check_extras(&monitoring, backup.is_some());
    let components = resolver.components(topology_name, topology, surroundings);
    let mut resolved = Resolved {
        name: asked.name.clone(),
        namespace: asked.namespace.clone(),
        type_: spec.type_.clone(),
        extension_version: spec.extension_version.clone(),
        extension_digest: package.digest.clone(),
        version: spec.version.clone(),
        topology: topology_name.clone(),
        environment: resolver.environment.clone(),
        stopped: spec.state == Some(DesiredState::Stopped),
        deletion_policy: resolver
            .pick(spec.deletion_policy.as_ref(), |d| d.deletion_policy.as_ref())
            .unwrap_or(DeletionPolicy::Retain),
        components,
        tls,
        monitoring,
        network,
        failover,
        restore: spec.restore.as_ref().filter(|_| !surroundings.restored).map(restore_name),
        created: surroundings.created,
        log_collected: match &surroundings.collectors {
            Some(collectors) => {
                collectors.chose_it || backup.as_ref().is_some_and(|own| collectors.names.contains(&own.policy))
            }
            None => backup.is_some(),
        },
        backup_policy: backup.map(|backup| backup.policy),
        credentials: spec.credentials.as_ref().map(|credentials| credentials.secret_name.clone()),
        image_pull_secrets: spec.image_pull_secrets.clone(),
        warnings: Vec::new(),
    };
    resolver.number_of_pods(&resolved);
    resolver.confirmations(&resolved, topology);
    resolver.name_lengths(&resolved);
    if resolver.refusals.is_empty() {
        resolver.parameters(&mut resolved);
    } else {
        resolver.what_is_said(&resolved);
    }
    if spec.maintenance.is_some() {
        resolver.warnings.push(NO_WINDOWS.to_owned());
    }
    resolved.warnings = std::mem::take(&mut resolver.warnings);
    if resolver.refusals.is_empty() { Ok(resolved) } else { Err(Refusals(resolver.refusals)) }
}

/// What the instance says, or what its repository assumes. A name that means nothing to the package, and for which the
/// repository assumes nothing either, is no mistake of an instance that does not name it.
fn environment(package: &Package, asked: Asked<'_>, surroundings: &Surroundings) -> Option<EnvironmentName> {
    let means =
        |name: &EnvironmentName| !surroundings.defaults.is_empty() || package.manifest.environments.contains_key(name);
    asked.spec.environment.clone().or_else(|| surroundings.environment.clone().filter(means))
}

/// Tells one restore from another.
fn restore_name(source: &RestoreSource) -> String {
    let mut name = hex::encode(Sha256::digest(serde_json::to_vec(source).unwrap_or_default()));
    name.truncate(16);
    name
}

struct Resolver<'a> {
    package: &'a Package,
    asked: Asked<'a>,
    environment: Option<EnvironmentName>,
    /// Defaults that apply, the weaker first.
    layers: Vec<Defaults>,
    refusals: Vec<Refusal>,
    warnings: Vec<String>,
    /// What is left for the templates of defaults.
    budget: Budget,
}

impl<'a> Resolver<'a> {
    fn refuse(&mut self, field: impl Into<String>, code: Code, reason: impl Into<String>) {
        self.refusals.push(Refusal::new(field, code, reason));
    }

    /// What the instance says, else the strongest default that says anything.
    fn pick<T: Clone>(&self, said: Option<&T>, of: impl Fn(&Defaults) -> Option<&T>) -> Option<T> {
        said.or_else(|| self.layers.iter().rev().find_map(of)).cloned()
    }

    fn versions(&mut self) {
        let (manifest, spec) = (&self.package.manifest, self.asked.spec);
        if spec.type_ != manifest.type_ || spec.extension_version != manifest.version {
            let reason = format!(
                "asks for {} {}, but this package is {} {}",
                spec.type_, spec.extension_version, manifest.type_, manifest.version
            );
            let field = if spec.type_ == manifest.type_ { "spec.extensionVersion" } else { "spec.type" };
            self.refuse(field, Code::Invalid, reason);
            return;
        }
        match manifest.version(spec.version.as_str()) {
            None => {
                let known = manifest.versions.iter().map(|version| version.version.as_str());
                let reason = format!(
                    "{} {} does not run version {}; it runs {}",
                    manifest.type_,
                    manifest.version,
                    spec.version,
                    listed(known)
                );
                self.refuse("spec.version", Code::Unknown, reason);
            }
            Some(version) => {
                if let Some(why) = &version.deprecated {
                    self.warnings.push(format!("version {} should not be used for long: {why}", version.version));
                }
            }
        }
    }

    fn layers(&mut self, surroundings: &Surroundings) {
        let own = &self.package.manifest.environments;
        if let Some(environment) = self.environment.clone() {
            match own.get(&environment) {
                Some(defaults) => self.layers.push(defaults.clone()),
                None if surroundings.defaults.is_empty() => {
                    let known = own.keys().map(AsRef::as_ref);
                    self.refuse("spec.environment", Code::Unknown, unknown("environment", environment.as_str(), known));
                }
                None => {}
            }
        }
        self.layers.extend(surroundings.defaults.iter().cloned());
    }

    fn topology(&mut self) -> Option<(&'a TopologyName, &'a Topology)> {
        let manifest = &self.package.manifest;
        match self.pick(self.asked.spec.topology.as_ref(), |d| d.topology.as_ref()) {
            None => manifest.default_topology(),
            Some(name) => {
                let found = manifest.topologies.get_key_value(&name);
                if found.is_none() {
                    let known = manifest.topologies.keys().map(AsRef::as_ref);
                    self.refuse("spec.topology", Code::Unknown, unknown("topology", name.as_str(), known));
                }
                found
            }
        }
    }

    fn tls(&mut self) -> Option<Tls> {
        let tls = self
            .pick(self.asked.spec.tls.as_ref(), |d| d.tls.as_ref())
            .filter(|tls| tls.issuer != Some(TlsIssuer::None))?;
        match &self.package.manifest.tls {
            None => {
                let reason = format!("{} {} has no TLS", self.package.manifest.type_, self.package.manifest.version);
                self.refuse("spec.tls", Code::Invalid, reason);
            }
            Some(support) => {
                let asks = tls.client_certificates.is_some_and(|asked| asked != ClientCertificates::None);
                if asks && !support.client_certificates {
                    self.refuse(
                        "spec.tls.clientCertificates",
                        Code::Invalid,
                        format!("{} cannot ask clients for certificates", self.package.manifest.type_),
                    );
                }
            }
        }
        Some(tls)
    }

    fn check_extras(&mut self, monitoring: &crate::api::instance::Monitoring, backed_up: bool) {
        let manifest = &self.package.manifest;
        let known = manifest.monitoring.as_ref();
        for (name, value) in monitoring.thresholds.iter().flatten() {
            let field = format!("spec.monitoring.thresholds.{name}");
            if !known.is_some_and(|monitoring| monitoring.thresholds.contains_key(name)) {
                let names = known.iter().flat_map(|monitoring| monitoring.thresholds.keys().map(String::as_str));
                self.refuse(field, Code::Unknown, unknown("threshold", name, names.collect::<Vec<_>>()));
            } else if !value.is_number() {
                self.refuse(field, Code::Invalid, format!("threshold {name}: {value} is no number"));
            }
        }
        if backed_up && manifest.backup.is_none() {
            self.refuse("spec.backup", Code::Invalid, format!("{} declares no way to back it up", manifest.type_));
        }
        if self.asked.spec.credentials.is_some() && manifest.credentials.is_none() {
            let reason = format!("{} knows no administrator", manifest.type_);
            self.refuse("spec.credentials", Code::Invalid, reason);
        }
    }

    /// Each group is told of every pod there is.
    fn number_of_pods(&mut self, resolved: &Resolved) {
        let groups = resolved.components.iter().flat_map(|component| &component.groups);
        let pods: usize = groups.map(|group| usize::from(group.replicas)).sum();
        if pods > MOST_PODS {
            let reason = format!("{pods} pods are asked for; an instance has at most {MOST_PODS}");
            self.refuse("spec.components", Code::Invalid, reason);
        }
    }

    /// A write that more pods are to confirm than there are would wait for ever. Refused is what the instance itself says,
    /// where the topology has room for more pods; elsewhere packages may have their reasons not to heed it, and what runs
    /// is not to be left alone for that.
    fn confirmations(&mut self, resolved: &Resolved, topology: &Topology) {
        let package = self.package;
        let wanted = resolved.failover.synchronous.and_then(|count| u16::try_from(count).ok()).unwrap_or(0);
        let confirms = |name: &ComponentName| {
            let declared = package.component(name.as_str());
            declared.is_some_and(|declared| declared.roles.iter().any(|role| role.exclusive))
        };
        let followed = resolved.components.iter().filter(|component| confirms(&component.name));
        let groups =
            followed.flat_map(|component| component.groups.iter().map(move |group| (component, group.replicas)));
        let short = groups.filter(|(_, pods)| (1..=wanted).contains(pods)).min_by_key(|(_, pods)| *pods);
        let Some((component, pods)) = short.filter(|_| topology.failover_by_midship()) else { return };
        let confirming = if wanted == 1 { "1 replica is".to_owned() } else { format!("{wanted} replicas are") };
        let number = if pods == 1 {
            "1 pod, the primary".to_owned()
        } else {
            format!("{pods} pods with the primary among them")
        };
        let reason = format!("{confirming} to confirm each write, and {} has {number}", component.name);
        let own = self.asked.spec.failover.as_ref().is_some_and(|failover| failover.synchronous.is_some());
        if own && component.allowed_replicas.max > 1 {
            let remedy = format!("no write would ever end; ask for at most {}, or give it more pods", pods - 1);
            self.refuse("spec.failover.synchronous", Code::Invalid, format!("{reason}: {remedy}"));
        } else {
            let doubt = "no write ends, unless the package leaves that out here; say spec.failover.synchronous: 0";
            self.warnings.push(format!("failover.synchronous: {reason}: {doubt}"));
        }
    }

    /// Kubernetes cuts names at 63 characters; nothing is to be cut.
    fn name_lengths(&mut self, resolved: &Resolved) {
        let services = resolved.components.iter().flat_map(|component| {
            let headless = naming::headless(resolved.name.as_str(), component.name.as_str());
            let declared = self.package.component(component.name.as_str());
            let own = declared.and_then(|declared| declared.services.as_ref());
            let own = own.into_iter().flatten().map(|(name, _)| naming::service(resolved.name.as_str(), name));
            std::iter::once(headless).chain(own)
        });
        let longest = resolved.pods().into_iter().chain(services).max_by_key(String::len);
        if let Some(name) = longest.filter(|name| name.len() > 63) {
            let reason = format!(
                "is too long: {name} would have {} characters, and Kubernetes allows 63; use a name shorter by {}",
                name.len(),
                name.len() - 63
            );
            self.refuse("metadata.name", Code::Invalid, reason);
        }
    }
}
