//! Whose turn it is when more backups are due than may run at the same time.

use jiff::Timestamp;

/// A backup that is due.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waiting {
    pub instance: String,
    pub due_at: Timestamp,
    /// Somebody waits for it.
    pub by_hand: bool,
}

/// Who may begin: those that people asked for first, then who is due longest; one for each instance, and none whose
/// instance is being backed up already.
pub fn admit<'a>(waiting: &'a [Waiting], running: &[String], at_once: usize) -> Vec<&'a Waiting> {
    let mut order: Vec<&Waiting> = waiting.iter().collect();
    order.sort_by_key(|one| (!one.by_hand, one.due_at, &one.instance));
    let mut admitted: Vec<&Waiting> = Vec::new();
    for one in order {
        let busy = running.contains(&one.instance) || admitted.iter().any(|other| other.instance == one.instance);
        if !busy && running.len() + admitted.len() < at_once {
            admitted.push(one);
        }
    }
    admitted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_due_longest_goes_first_and_nobody_twice() {
        let one = |instance: &str, second, by_hand| Waiting {
            instance: instance.into(),
            due_at: Timestamp::from_second(second).expect("a time"),
            by_hand,
        };
        let waiting =
            [one("a", 3, false), one("b", 1, false), one("b", 2, false), one("c", 9, true), one("d", 0, false)];
        let names = |running: &[String], at_once| {
            admit(&waiting, running, at_once).iter().map(|one| one.instance.clone()).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(names(&[], 10), "c d b a");
        assert_eq!(names(&["d".into()], 3), "c b");
        assert_eq!(names(&["x".into(), "y".into()], 2), "");
    }
}
