//! The order of the steps: topological, and otherwise as written.

use std::collections::BTreeSet;

/// How one step waits for another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Edge {
    /// By `after`: it goes on when the other succeeded.
    Success,
    /// By `when`: it looks at how the other ended.
    Condition,
}

/// Steps by their place in the file; for each, what it waits for.
pub(crate) type Edges = [Vec<(usize, Edge)>];

/// Some steps wait for each other; each waits for the next and the last one for the first.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Circle(pub(crate) Vec<(usize, Edge)>);

/// The places of the steps in the order in which they run: of those that could be next, the one that was written first.
pub(crate) fn order(edges: &Edges) -> Result<Vec<usize>, Circle> {
    // What is wrong without conditions is told without them.
    sort(edges, |edge| edge == Edge::Success).and_then(|_| sort(edges, |_| true))
}

fn sort(edges: &Edges, counts: impl Fn(Edge) -> bool) -> Result<Vec<usize>, Circle> {
    let waits_for = |step: usize| edges[step].iter().filter(|(_, edge)| counts(*edge));
    let mut open: Vec<usize> = (0..edges.len()).map(|step| waits_for(step).count()).collect();
    let mut followers = vec![Vec::new(); edges.len()];
    for step in 0..edges.len() {
        for (other, _) in waits_for(step) {
            followers[*other].push(step);
        }
    }
    let mut ready: BTreeSet<usize> = (0..edges.len()).filter(|step| open[*step] == 0).collect();
    let mut sorted = Vec::with_capacity(edges.len());
    while let Some(step) = ready.pop_first() {
        sorted.push(step);
        for follower in &followers[step] {
            open[*follower] -= 1;
            if open[*follower] == 0 {
                ready.insert(*follower);
            }
        }
    }
    let Some(start) = (0..edges.len()).find(|step| open[*step] > 0) else { return Ok(sorted) };
    // Each step that is left waits for one that is left, so going on from any of them comes back sooner or later.
    let mut way: Vec<(usize, Edge)> = Vec::new();
    let mut step = start;
    loop {
        if let Some(begin) = way.iter().position(|(passed, _)| *passed == step) {
            return Err(Circle(way.split_off(begin)));
        }
        let next = waits_for(step).find(|(other, _)| open[*other] > 0).expect("a step that is left waits for one");
        way.push((step, next.1));
        step = next.0;
    }
}

#[cfg(test)]
mod tests {
    use super::Edge::{Condition, Success};
    use super::*;

    #[test]
    fn what_could_be_next_runs_as_it_was_written() {
        let edges = [vec![(3, Success)], vec![], vec![(1, Condition)], vec![]];
        assert_eq!(order(&edges), Ok(vec![1, 2, 3, 0]));
        assert_eq!(order(&[]), Ok(vec![]));
    }

    #[test]
    fn a_circle_is_told_without_what_only_follows_it() {
        let edges = [vec![(1, Success)], vec![(2, Success)], vec![(1, Success)]];
        assert_eq!(order(&edges), Err(Circle(vec![(1, Success), (2, Success)])));
        assert_eq!(order(&[vec![(0, Success)]]), Err(Circle(vec![(0, Success)])));
    }

    #[test]
    fn a_condition_on_what_comes_later_closes_a_circle() {
        let edges = [vec![(1, Condition)], vec![(0, Success)]];
        assert_eq!(order(&edges), Err(Circle(vec![(0, Condition), (1, Success)])));
    }
}
