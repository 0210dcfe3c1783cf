//! Sets of entries as runs, for what was removed when its time was over and for the records that say so.

use serde_json::Value;

/// Runs of indices, in order and apart from each other; both ends belong to a run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Runs(Vec<(u64, u64)>);

impl Runs {
    /// Adds an index that is greater than all before.
    pub fn push(&mut self, index: u64) {
        match self.0.last_mut() {
            Some((_, last)) if *last + 1 == index => *last = index,
            _ => self.0.push((index, index)),
        }
    }

    /// Adds the runs of a `pruned` record's payload; what is not two numbers in order is left out and so covers nothing.
    pub fn add_ranges(&mut self, ranges: Option<&Value>) {
        for range in ranges.and_then(Value::as_array).into_iter().flatten() {
            if let Some([first, last]) = range.as_array().map(Vec::as_slice)
                && let (Some(first), Some(last)) = (first.as_u64(), last.as_u64())
                && first <= last
            {
                self.0.push((first, last));
            }
        }
        self.sort();
    }

    /// Puts runs in order that several records named.
    pub(crate) fn sort(&mut self) {
        self.0.sort_unstable();
    }

    /// Adds all runs of `later`, which come after these.
    pub fn extend(&mut self, later: &Self) {
        for (first, last) in &later.0 {
            match self.0.last_mut() {
                Some((_, end)) if *end + 1 == *first => *end = *last,
                _ => self.0.push((*first, *last)),
            }
        }
    }

    /// The runs as a `pruned` record has them.
    pub fn ranges(&self) -> impl Iterator<Item = [u64; 2]> + '_ {
        self.0.iter().map(|(first, last)| [*first, *last])
    }

    /// How many indices there are.
    pub fn count(&self) -> u64 {
        self.0.iter().map(|(first, last)| last - first + 1).sum()
    }

    /// The first index of these that is not in `cover`.
    pub fn first_outside(&self, cover: &Self) -> Option<u64> {
        let mut cover = cover.0.iter().peekable();
        for (first, last) in &self.0 {
            let mut at = *first;
            while at <= *last {
                while cover.next_if(|(_, end)| *end < at).is_some() {}
                match cover.peek() {
                    Some((begin, end)) if *begin <= at => at = end + 1,
                    _ => return Some(at),
                }
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn of(indices: &BTreeSet<u64>) -> Runs {
        let mut runs = Runs::default();
        indices.iter().for_each(|index| runs.push(*index));
        runs
    }

    #[test]
    fn what_a_record_says_wrongly_covers_nothing() {
        let mut cover = Runs::default();
        cover.add_ranges(Some(&json!([[3, 5], [9, 7], [1], "x", [10, -1], [12, 12]])));
        assert_eq!(cover.count(), 4);
        cover.add_ranges(None);
        assert_eq!(of(&BTreeSet::from([3, 5, 12])).first_outside(&cover), None);
        assert_eq!(of(&BTreeSet::from([3, 9])).first_outside(&cover), Some(9));
    }

    proptest! {
        #[test]
        fn runs_are_sets(one in prop::collection::btree_set(0u64..40, 0..30), other in prop::collection::btree_set(0u64..40, 0..30)) {
            let (a, b) = (of(&one), of(&other));
            prop_assert_eq!(a.count(), one.len() as u64);
            prop_assert_eq!(a.first_outside(&b), one.difference(&other).next().copied());
            let mut read = Runs::default();
            read.add_ranges(Some(&json!(a.ranges().collect::<Vec<_>>())));
            prop_assert_eq!(&read, &a);
            let (low, high): (BTreeSet<u64>, BTreeSet<u64>) = one.iter().partition(|index| **index < 20);
            let mut joined = of(&low);
            joined.extend(&of(&high));
            prop_assert_eq!(joined, a);
        }
    }
}
