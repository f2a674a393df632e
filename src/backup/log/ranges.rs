//! Runs of numbers without a gap, and what is missing between them.

/// From `first` to `last`, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    pub first: u64,
    pub last: u64,
}

impl Range {
    pub fn len(&self) -> u64 {
        (self.last - self.first).saturating_add(1)
    }

    pub fn is_empty(&self) -> bool {
        false
    }

    pub fn contains(&self, number: u64) -> bool {
        (self.first..=self.last).contains(&number)
    }
}

/// The runs in these numbers, in order.
pub fn ranges(numbers: impl Iterator<Item = u64>) -> Vec<Range> {
    let mut numbers: Vec<u64> = numbers.collect();
    numbers.sort_unstable();
    numbers.dedup();
    let mut found: Vec<Range> = Vec::new();
    for number in numbers {
        match found.last_mut() {
            Some(run) if run.last.checked_add(1) == Some(number) => run.last = number,
            _ => found.push(Range { first: number, last: number }),
        }
    }
    found
}

/// What of `first` to `last` is in none of the runs.
pub fn missing(runs: &[Range], first: u64, last: u64) -> Vec<Range> {
    let mut gaps = Vec::new();
    let mut next = first;
    for run in runs.iter().filter(|run| run.last >= first && run.first <= last) {
        if run.first > next {
            gaps.push(Range { first: next, last: run.first - 1 });
        }
        match run.last.checked_add(1) {
            Some(after) => next = after,
            None => return gaps,
        }
    }
    if next <= last {
        gaps.push(Range { first: next, last });
    }
    gaps
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn gaps_are_found() {
        let runs = ranges([5, 3, 4, 9, 10, 3].into_iter());
        assert_eq!(runs, [Range { first: 3, last: 5 }, Range { first: 9, last: 10 }]);
        assert_eq!(missing(&runs, 4, 10), [Range { first: 6, last: 8 }]);
        assert_eq!(missing(&runs, 1, 12).len(), 3);
        assert!(missing(&runs, 9, 10).is_empty());
        assert_eq!(ranges([u64::MAX].into_iter())[0].last, u64::MAX);
    }

    proptest! {
        #![proptest_config(crate::chance::fixed())]

        #[test]
        fn every_number_is_in_a_run_or_missing(numbers in proptest::collection::vec(0u64..60, 0..40)) {
            let runs = ranges(numbers.iter().copied());
            let gaps = missing(&runs, 0, 59);
            for number in 0..60 {
                let there = numbers.contains(&number);
                prop_assert_eq!(runs.iter().any(|run| run.contains(number)), there);
                prop_assert_eq!(gaps.iter().any(|gap| gap.contains(number)), !there);
            }
        }
    }
}
