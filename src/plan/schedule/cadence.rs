//! Full or incremental: what was asked for, unless there is nothing it could add to.

/// As the schedule says, and as it comes out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Type {
    Full,
    Incremental,
}

/// The newest backup of the instance that was made by the same method.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parent {
    /// It and all it adds to are there, and not known to be damaged.
    pub sound: bool,
    /// It waits to be removed.
    pub condemned: bool,
    /// Encrypted to the same keys, so that who opens the one opens the other.
    pub fits: bool,
    /// Backups from the full one to it.
    pub length: usize,
}

/// What to make, and why it is another one than was asked for.
pub fn type_to_make(wanted: Type, newest: Option<Parent>, longest: usize) -> (Type, Option<&'static str>) {
    let why = match (wanted, newest) {
        (Type::Full, _) => return (Type::Full, None),
        (_, None) => "there is no backup by this method yet that it could add to",
        (_, Some(parent)) if !parent.sound => "the newest backup is damaged or adds to one that is",
        (_, Some(parent)) if parent.condemned => "the newest backup is about to be removed",
        (_, Some(parent)) if !parent.fits => "the newest backup is encrypted to other keys",
        (_, Some(parent)) if parent.length >= longest => "the chain is as long as it may become",
        _ => return (Type::Incremental, None),
    };
    (Type::Full, Some(why))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_incremental_backup_needs_something_to_add_to() {
        let parent = Parent { sound: true, condemned: false, fits: true, length: 3 };
        let made = |parent| type_to_make(Type::Incremental, parent, 7).0;
        assert_eq!(made(Some(parent)), Type::Incremental);
        assert_eq!(made(None), Type::Full);
        for unfit in [
            Parent { sound: false, ..parent },
            Parent { condemned: true, ..parent },
            Parent { fits: false, ..parent },
            Parent { length: 7, ..parent },
        ] {
            assert_eq!(made(Some(unfit)), Type::Full);
        }
        assert_eq!(type_to_make(Type::Full, Some(parent), 7), (Type::Full, None));
    }
}
