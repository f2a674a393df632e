//! What is wrong with a package or an instance: where, why, and what was probably meant.

use std::fmt;

/// What is said of a package that nobody can be done with.
pub const TOO_LONG: &str = "judging the package takes too long; give its templates less to do, or it fewer of them, of topologies, versions and tests";

/// Something wrong in a package's file.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    /// The file, as the package names it.
    pub path: String,
    /// The line, from 1; 0 where the whole file is meant.
    pub line: usize,
    /// The column, from 1; 0 where it is not known.
    pub column: usize,
    pub reason: String,
}

impl Problem {
    pub fn new(path: impl Into<String>, line: usize, column: usize, reason: impl Into<String>) -> Self {
        Self { path: path.into(), line, column, reason: reason.into() }
    }

    pub fn in_file(path: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::new(path, 0, 0, reason)
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.path)?;
        if self.line > 0 {
            write!(f, ":{}", self.line)?;
            if self.column > 0 {
                write!(f, ":{}", self.column)?;
            }
        }
        write!(f, ": {}", self.reason)
    }
}

impl std::error::Error for Problem {}

/// Everything wrong that was found at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problems(pub Vec<Problem>);

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        lines(f, &self.0)
    }
}

impl std::error::Error for Problems {}

/// Something wrong with an instance, or with what a package makes of it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Refusal {
    /// The field of the instance, such as `spec.components[cache].replicas`; empty where no single field is to blame.
    pub field: String,
    /// The kind of refusal, for machines.
    pub code: Code,
    pub reason: String,
}

/// The kinds of refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Code {
    /// The instance names something the package does not have.
    Unknown,
    /// A value is not allowed.
    Invalid,
    /// A change is not allowed.
    Immutable,
    /// A version cannot be reached from where the instance stands.
    UpgradePath,
    /// The package's own templates failed.
    Package,
    /// Something the controller had to bring along is missing.
    Missing,
    /// Nothing is known to be wrong: a check could not be made.
    Unchecked,
}

impl Refusal {
    pub fn new(field: impl Into<String>, code: Code, reason: impl Into<String>) -> Self {
        Self { field: field.into(), code, reason: reason.into() }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.field.is_empty() {
            write!(f, "{}: ", self.field)?;
        }
        f.write_str(&self.reason)
    }
}

impl std::error::Error for Refusal {}

/// Every reason why an instance cannot be what it asks to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusals(pub Vec<Refusal>);

impl fmt::Display for Refusals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        lines(f, &self.0)
    }
}

impl std::error::Error for Refusals {}

fn lines<T: fmt::Display>(f: &mut fmt::Formatter<'_>, items: &[T]) -> fmt::Result {
    for (place, item) in items.iter().enumerate() {
        if place > 0 {
            f.write_str("\n")?;
        }
        item.fmt(f)?;
    }
    Ok(())
}

/// Longer than this no name is, and nothing is close to it.
const LONGEST_NAME: usize = 100;

/// The known name closest to what was written, where one is close.
pub fn closest<'a>(written: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    known
        .into_iter()
        .filter(|name| name.len().max(written.len()) <= LONGEST_NAME)
        .map(|name| (strsim::damerau_levenshtein(&written.to_lowercase(), &name.to_lowercase()), name))
        .filter(|(distance, name)| {
            let length = name.len().max(written.len());
            *distance <= (length / 3).max(usize::from(length > 2))
        })
        .min()
        .map(|(_, name)| name)
}

/// `no such thing "x"`, with the closest name or, failing that, all names.
pub fn unknown<'a>(what: &str, written: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    let known: Vec<&str> = known.into_iter().collect();
    let mut shown: String = written.escape_default().take(LONGEST_NAME).collect();
    if shown.len() == LONGEST_NAME {
        shown.push('…');
    }
    let written = shown;
    match closest(&written, known.iter().copied()) {
        Some(name) => format!("there is no {what} \"{written}\"; did you mean \"{name}\"?"),
        None if known.is_empty() => format!("there is no {what} \"{written}\"; there are none at all"),
        None => format!("there is no {what} \"{written}\"; there is {}", listed(known)),
    }
}

/// A way as people read it: of a long one the beginning and the end.
pub fn way(steps: &[&str], joint: &str) -> String {
    match steps {
        [first @ .., last] if first.len() > 12 => format!("{}{joint}…{joint}{last}", first[..10].join(joint)),
        _ => steps.join(joint),
    }
}

/// Names as people list them: `a, b and c`.
pub fn listed<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    let names: Vec<&str> = names.into_iter().collect();
    match names.as_slice() {
        [] => "nothing".to_owned(),
        [one] => (*one).to_owned(),
        [first @ .., last] if names.len() <= 20 => format!("{} and {last}", first.join(", ")),
        _ => format!("{} and {} more", names[..20].join(", "), names.len() - 20),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_reads_as_path_line_column_reason() {
        assert_eq!(Problem::new("extension.yaml", 3, 5, "no").to_string(), "extension.yaml:3:5: no");
        assert_eq!(Problem::in_file("params/a.json", "no").to_string(), "params/a.json: no");
    }

    #[test]
    fn a_slip_of_the_finger_gets_a_suggestion_and_a_stranger_the_list() {
        assert_eq!(
            unknown("component", "brokr", ["broker", "controller"]),
            "there is no component \"brokr\"; did you mean \"broker\"?"
        );
        assert_eq!(
            unknown("component", "queue", ["broker", "controller"]),
            "there is no component \"queue\"; there is broker and controller"
        );
    }

    #[test]
    fn a_name_without_end_is_cut_and_compared_with_nothing() {
        let told = unknown("component", &"broker".repeat(100_000), ["broker"]);
        assert_eq!(told, format!("there is no component \"{}brok…\"; there is broker", "broker".repeat(16)));
    }
}
