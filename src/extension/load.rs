//! From files to a package that was found right.

use super::files::PackageFiles;
use super::lint;
use super::package::Package;
use super::problem::Problems;

impl Package {
    /// Reads a package and checks all that can be checked without an instance. Every problem is reported, not just the
    /// first.
    pub fn load(files: PackageFiles) -> Result<Self, Problems> {
        let mut problems = Vec::new();
        let package = Self::read(files, &mut problems).map_err(Problems)?;
        problems.extend(lint::check(&package));
        problems.sort();
        problems.dedup();
        if problems.is_empty() { Ok(package) } else { Err(Problems(problems)) }
    }
}
