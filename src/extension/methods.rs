//! The ways of making backups that a package declares, and the one that is meant.

use super::contract::BackupMethod;
use super::problem::{Code, Refusal};
use super::resolved::ResolvedComponent;
use super::{Package, Resolved, install};

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MethodError {
    #[error("{0} declares no way of making backups: its package has no backup.methods")]
    None(String),
    #[error("{package} has no backup method {wanted:?}; it has {there}")]
    Unknown { package: String, wanted: String, there: String },
    #[error("{0} has several backup methods and no default: name one of {1}")]
    NoDefault(String, String),
}

/// The method of this name, or the package's default.
pub fn choose<'a>(package: &'a Package, wanted: Option<&str>) -> Result<(&'a str, &'a BackupMethod), MethodError> {
    let called = install::name(&package.manifest.type_, &package.manifest.version);
    let backup = package.manifest.backup.as_ref().filter(|backup| !backup.methods.is_empty());
    let backup = backup.ok_or_else(|| MethodError::None(called.clone()))?;
    let there = || backup.methods.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
    let found = match wanted.or(backup.default.as_deref()) {
        Some(name) => backup.methods.get_key_value(name).ok_or_else(|| MethodError::Unknown {
            package: called,
            wanted: name.to_owned(),
            there: there(),
        })?,
        None => match backup.methods.iter().next() {
            Some(only) if backup.methods.len() == 1 => only,
            _ => return Err(MethodError::NoDefault(called, there())),
        },
    };
    Ok((found.0, found.1))
}

/// Whether a pod with this role is to get its data from another one and gets it from none: what it has may be old.
pub fn is_detached(package: &Package, component: &str, role: Option<&str>, follows: bool) -> bool {
    let declared = package.manifest.components.iter().find(|(name, _)| name.as_str() == component);
    declared.is_some_and(|(_, declared)| {
        let tells = declared.role.as_ref().is_some_and(|probe| probe.follows.is_some());
        let first = declared.roles.iter().find(|role| role.exclusive);
        let second = first.is_some_and(|first| role.is_some_and(|role| role != first.name.as_str()));
        tells && second && !follows
    })
}

/// The component whose groups each have a part of the data, where it has several, and whether its package can put parts that
/// were made together into them.
fn split<'r>(package: &Package, resolved: &'r Resolved) -> Option<(&'r ResolvedComponent, bool)> {
    let (methods, main) = (&package.manifest.backup.as_ref()?.methods, package.main_component());
    resolved.components.iter().filter(|component| component.groups.len() > 1).find_map(|component| {
        let of_it = |method: &&BackupMethod| method.component.as_ref().or(main) == Some(&component.name);
        let of_it: Vec<&BackupMethod> = methods.values().filter(of_it).collect();
        let each = !of_it.is_empty() && of_it.iter().all(|method| method.each_group);
        each.then(|| (component, of_it.iter().all(|method| method.set.is_some())))
    })
}

/// The component whose groups are each to be filled from a part of a backup.
pub fn filled<'r>(package: &Package, resolved: &'r Resolved) -> Option<&'r ResolvedComponent> {
    resolved.restore.as_ref()?;
    split(package, resolved).filter(|(_, together)| *together).map(|(component, _)| component)
}

/// The component whose groups each have a part of the data, where it has several.
pub fn parted<'r>(package: &Package, resolved: &'r Resolved) -> Option<&'r ResolvedComponent> {
    split(package, resolved).map(|(component, _)| component)
}

/// Whether backups of the package may be parts of a whole.
pub fn makes_parts(package: &Package) -> bool {
    package.manifest.backup.iter().flat_map(|backup| backup.methods.values()).any(|method| method.each_group)
}

/// Why an instance cannot be filled from a backup: each of its groups has a part of the data, and a backup holds one part.
pub fn in_parts(package: &Package, resolved: &Resolved) -> Option<Refusal> {
    resolved.restore.as_ref()?;
    let (split, _) = split(package, resolved).filter(|(_, together)| !together)?;
    let reason = format!(
        "{} has {} groups, each with a part of the data, a backup is of one of them, and its package does not say how parts are \
         put together (backup.methods.<name>.set). Restore each part into an instance of its own that has one group \
         (spec.restore.id names the backup), and bring the data over with the middleware's own tools",
        split.name,
        split.groups.len()
    );
    Some(Refusal::new("spec.restore", Code::Invalid, reason))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::extension::tests::{sample, shipped};

    #[test]
    fn shards_are_not_filled_from_a_backup_of_one_of_them() {
        let (mut refused, mut put_together) = (Vec::new(), 0);
        for (name, package) in shipped() {
            let version = package.manifest.versions.first().expect("a version").version.clone();
            let methods = package.manifest.backup.iter().flat_map(|backup| backup.methods.values());
            let split = methods.clone().count() > 0 && methods.clone().all(|method| method.each_group);
            let together = methods.clone().all(|method| method.set.is_some());
            for topology in package.manifest.topologies.keys() {
                let mut spec = json!({ "type": package.manifest.type_, "extensionVersion": package.manifest.version,
                    "version": version, "topology": topology });
                let (whole, _) = sample(&package, spec.clone());
                assert_eq!(in_parts(&package, &whole), None, "{name}: it is not to be restored");
                spec["restore"] = json!({ "repository": "vault", "instance": { "name": "orders" } });
                let (wanted, _) = sample(&package, spec);
                let several = wanted.components.iter().any(|component| component.groups.len() > 1);
                let refusal = in_parts(&package, &wanted);
                assert_eq!(refusal.is_some(), several && split && !together, "{name} {topology}");
                assert_eq!(filled(&package, &wanted).is_some(), several && split && together, "{name} {topology}");
                put_together += usize::from(several && split && together);
                refused.extend(refusal);
            }
        }
        assert!(put_together > 0, "a package puts shards together");
        let first = refused.first().expect("a package with shards").to_string();
        assert!(first.starts_with("spec.restore: ") && first.contains(" has 3 groups, each with a part"), "{first}");
    }
}
