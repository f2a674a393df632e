//! From files to a package that was found right.

use super::files::{PackageFiles, is_template};
use super::lint;
use super::package::Package;
use super::problem::Problems;

impl Package {
    /// Reads a package and checks all that can be checked without an instance. Every problem is reported, not just the
    /// first.
    pub fn load(files: PackageFiles) -> Result<Self, Problems> {
        let (package, mut problems) = Self::examine(files)?;
        problems.0.extend(lint::check_new(&package));
        problems.0.sort();
        problems.0.dedup();
        if problems.0.is_empty() { Ok(package) } else { Err(problems) }
    }

    /// The same of one that is installed, and the package beside what is wrong with it, where what runs on it can be worked with all the same: nothing is
    /// missing of it but templates, and what they would make is refused when it is to be made.
    pub fn examine(files: PackageFiles) -> Result<(Self, Problems), Problems> {
        let mut problems = Vec::new();
        let package = Self::read(files, &mut problems).map_err(Problems)?;
        let whole = problems.iter().all(|problem| is_template(&problem.path));
        problems.extend(lint::check(&package));
        problems.sort();
        problems.dedup();
        if whole { Ok((package, Problems(problems))) } else { Err(Problems(problems)) }
    }
}
