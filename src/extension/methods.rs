//! The ways of making backups that a package declares, and the one that is meant.

use super::contract::BackupMethod;
use super::{Package, install};

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
