//! Records that wait while they cannot be pushed: in memory, and in the cluster, whose store has little room.

use std::collections::BTreeMap;

use super::{apply, record};
use crate::repo::{ObjectId as GitId, Record};

/// How many may wait, and how much they may hold together. Beyond that they are told as one.
const MOST: usize = 1000;
const MOST_BYTES: usize = 64 << 20;

/// A record that is not pushed yet, and the number it is kept under in the cluster, where it is.
pub struct Waiting {
    pub record: Record,
    pub kept: Option<u64>,
}

impl Waiting {
    /// What it says to machines.
    fn told(&self) -> Option<&[u8]> {
        let Record { marker, draft, .. } = &self.record;
        draft.edits.iter().find(|edit| edit.path == *marker)?.content.as_deref()
    }

    /// The commit that it tells of.
    pub fn commit(&self) -> Option<String> {
        record::commit_of(self.told()?)
    }

    /// The record that it follows.
    pub fn previous(&self) -> Option<String> {
        record::previous_of(self.told()?)
    }

    /// The source whose end it tells.
    pub fn ended(&self) -> Option<String> {
        record::ended_of(self.told()?)
    }

    fn bytes(&self) -> usize {
        let edits = &self.record.draft.edits;
        edits.iter().map(|edit| edit.path.len() + edit.content.as_ref().map_or(0, Vec::len)).sum()
    }
}

/// Whether all of them may wait.
pub fn may_wait(queue: &[Waiting]) -> bool {
    may_be_kept(queue.iter().map(Waiting::bytes))
}

/// Whether there is room for so much. One alone always may wait: there is nothing it could be told with.
fn may_be_kept(sizes: impl ExactSizeIterator<Item = usize>) -> bool {
    let number = sizes.len();
    number <= 1 || (number <= MOST && sizes.sum::<usize>() <= MOST_BYTES)
}

/// The files that a branch has through them, whatever else is on it.
pub fn files_of(queue: &[Waiting]) -> BTreeMap<String, GitId> {
    let mut files = BTreeMap::new();
    for waiting in queue {
        apply(&mut files, &waiting.record.draft.edits);
    }
    files
}

/// The commits that they tell of, the newest of them where there are very many.
pub fn commits_of(queue: &[Waiting]) -> Vec<String> {
    let mut commits = Vec::new();
    for waiting in queue {
        let trailers = waiting.record.draft.trailers.iter();
        commits.extend(trailers.filter(|(name, _)| name == record::ALSO).map(|(_, commit)| commit.clone()));
        commits.extend(waiting.commit());
    }
    commits.drain(..commits.len().saturating_sub(MOST));
    commits
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::repo::{Draft, Edit, Person, blob_id};

    const MARKER: &str = "shop/main/record.json";

    fn waiting(commit: &str, more: &[(&str, Option<&str>)]) -> Waiting {
        let person = Person { name: "Ada".into(), email: "ada@example.com".into(), seconds: 0, offset_minutes: 0 };
        let told = format!(r#"{{"commit": "{commit}", "previous": "before {commit}"}}"#);
        let all = [(MARKER, Some(told.as_str()))].into_iter().chain(more.iter().copied());
        let edit = |(path, text): (&str, Option<&str>)| Edit {
            path: path.to_owned(),
            content: text.map(|text| text.as_bytes().to_vec()),
        };
        let draft = Draft {
            author: person.clone(),
            committer: person,
            message: "What was done".into(),
            trailers: Vec::new(),
            edits: all.map(edit).collect(),
        };
        Waiting { record: Record { id: commit.into(), marker: MARKER.into(), draft }, kept: None }
    }

    #[test]
    fn the_commits_of_records_are_known_also_where_one_tells_of_several() {
        let mut second = waiting("2", &[]);
        second.record.draft.trailers.push((record::ALSO.to_owned(), "folded".to_owned()));
        second.record.draft.trailers.push(("Midship-Result".to_owned(), "applied".to_owned()));
        assert_eq!((second.commit().as_deref(), second.previous().as_deref()), (Some("2"), Some("before 2")));
        assert_eq!(commits_of(&[waiting("1", &[]), second]), ["1", "folded", "2"]);
        let many: Vec<Waiting> = (0..=MOST).map(|number| waiting(&number.to_string(), &[])).collect();
        let commits = commits_of(&many);
        assert_eq!((commits.len(), commits[0].as_str()), (MOST, "1"), "the newest are named");
    }

    #[test]
    fn neither_many_small_records_nor_a_few_large_ones_wait_without_end() {
        let kept = |sizes: &[usize]| may_be_kept(sizes.iter().copied());
        assert!(kept(&[10; MOST]) && !kept(&[10; MOST + 1]));
        assert!(kept(&[MOST_BYTES / 2; 2]) && !kept(&[MOST_BYTES / 2 + 1; 2]));
        assert!(kept(&[]) && kept(&[MOST_BYTES * 3]), "one alone always may");
        let two = [waiting("1", &[]), waiting("2", &[("a", Some("text"))])];
        assert_eq!(two[1].bytes() - two[0].bytes(), "a".len() + "text".len());
        assert!(may_wait(&two));
    }

    #[test]
    fn what_waits_is_on_the_branch_for_whoever_comes_next() {
        let queue = [
            waiting("1", &[("a", Some("1")), ("b", Some("1"))]),
            waiting("2", &[("a", Some("2")), ("b", None), ("c", Some("1"))]),
        ];
        let mut files = files_of(&queue);
        assert!(files.remove(MARKER).is_some());
        let expected = [("a", "2"), ("c", "1")].map(|(path, text)| (path.to_owned(), blob_id(text.as_bytes())));
        assert_eq!(files, BTreeMap::from(expected));
    }
}
