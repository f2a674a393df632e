//! Checks a package against itself: everything it names is there, every template compiles and reads only what exists.

mod actions;
mod amounts;
mod backup;
mod bounds;
mod component;
mod incremental;
mod places;
mod pods;
mod shells;
mod structure;
mod templates;
mod texts;
mod upgrades;
mod words;

pub(super) use structure::image_of;

use super::package::Package;
use super::problem::Problem;

/// Everything that is wrong.
pub fn check(package: &Package) -> Vec<Problem> {
    let mut lint = Lint { package, problems: Vec::new() };
    structure::check(&mut lint);
    amounts::check(&mut lint);
    bounds::check(&mut lint);
    places::check(&mut lint);
    shells::check(&mut lint);
    upgrades::check(&mut lint);
    actions::check(&mut lint);
    templates::check(&mut lint);
    texts::check(&mut lint);
    lint.problems
}

/// What new packages are held to as well. Installed ones may have done it all along, and restores and drills make instances of
/// them: none are to be refused by a Midship that is newer.
pub fn check_new(package: &Package) -> Vec<Problem> {
    let mut lint = Lint { package, problems: Vec::new() };
    pods::check(&mut lint);
    lint.problems
}

struct Lint<'a> {
    package: &'a Package,
    problems: Vec<Problem>,
}

impl Lint<'_> {
    fn at(&mut self, field: &str, reason: impl Into<String>) {
        self.problems.push(self.package.at(field, reason));
    }

    /// A file the manifest names has to be there.
    fn needs_file(&mut self, field: &str, path: &str) {
        if self.package.files.get(path).is_none() {
            let reason = super::problem::unknown("file", path, self.package.files.paths());
            self.at(field, reason);
        }
    }
}
