//! What a tree may define and nobody can tell, because something in it cannot be read: what was applied of it stays.

use std::collections::BTreeSet;

use super::object::ObjectId;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Unknown {
    /// Files and folders with mistakes. A folder, or what stands where one was, is all that is below it.
    pub places: BTreeSet<String>,
    /// Objects that a mistake is about, whatever file they were in before.
    pub objects: BTreeSet<ObjectId>,
    /// Those of the places of which nobody can tell which objects they define.
    pub unclear: BTreeSet<String>,
}

impl Unknown {
    /// Whether nobody can tell what becomes of an object that was applied from `path`.
    pub fn covers(&self, id: &ObjectId, path: Option<&str>) -> bool {
        self.objects.contains(id) || path.is_some_and(|path| within(&self.places, path))
    }

    /// The first place that may define anything: nothing was applied from it that would tell what it is about.
    pub fn anything<'a>(&self, applied_from: impl Iterator<Item = &'a str> + Clone) -> Option<&String> {
        let known = |place: &String| applied_from.clone().any(|path| is_at(path, place));
        self.unclear.iter().find(|place| !known(place))
    }

    /// The same with paths seen from elsewhere.
    #[must_use]
    pub fn seen_from(self, elsewhere: impl Fn(String) -> String) -> Self {
        let moved = |places: BTreeSet<String>| places.into_iter().map(&elsewhere).collect();
        Self { places: moved(self.places), unclear: moved(self.unclear), objects: self.objects }
    }
}

/// Whether a path is one of the places, or below one.
fn within(places: &BTreeSet<String>, path: &str) -> bool {
    let above = path.match_indices('/').map(|(end, _)| &path[..end]);
    above.chain([path]).any(|place| places.contains(place))
}

fn is_at(path: &str, place: &str) -> bool {
    path.strip_prefix(place).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::source::ObjectKind;

    fn places<const N: usize>(places: [&str; N]) -> BTreeSet<String> {
        places.map(str::to_owned).into()
    }

    #[test]
    fn a_place_is_all_that_is_below_it() {
        let id = |name: &str| ObjectId { kind: ObjectKind::Instance, namespace: None, name: name.into() };
        let unknown = Unknown { places: places(["sub", "a.yaml"]), objects: [id("x")].into(), ..Unknown::default() };
        for (name, path, covered) in [
            ("a", "sub/deep/a.yaml", true),
            ("a", "subway/a.yaml", false),
            ("a", "a.yaml", true),
            ("a", "other/a.yaml", false),
            ("x", "other/a.yaml", true),
        ] {
            assert_eq!(unknown.covers(&id(name), Some(path)), covered, "{name} {path}");
        }
        assert!(!unknown.covers(&id("a"), None));
    }

    #[test]
    fn a_file_of_which_something_was_applied_is_about_that_alone() {
        let unknown = Unknown { unclear: places(["known.yaml", "new.yaml"]), ..Unknown::default() };
        assert_eq!(unknown.anything(["known.yaml"].into_iter()).map(String::as_str), Some("new.yaml"));
        assert_eq!(unknown.anything(["known.yaml", "new.yaml"].into_iter()), None);
    }
}
