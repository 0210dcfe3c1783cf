//! From a list to a program for the kernel: a search tree over ranges of numbers.
//!
//! The kernel asks a filter about every number when it is installed, and makes machine code of it whose constants are
//! hidden one by one. Both take as long as the program is; a tree needs one comparison for each border between what is
//! allowed and what is not, in place of several instructions for each call.

use std::collections::BTreeMap;

use seccompiler::{BpfProgram, SeccompRule, sock_filter};

/// Allowed calls by number; a call without rules is allowed whatever its arguments are.
pub(crate) type Allowed = BTreeMap<u32, Vec<SeccompRule>>;

/// A comparison reaches 255 instructions far; one is left for the jump that the other branch may need.
const FAR: usize = 254;

/// What the kernel takes.
const LENGTH_LIMIT: usize = 4096;

/// `AUDIT_ARCH_X86_64` of `linux/audit.h`.
const ARCHITECTURE: u32 = 0xc000_003e;
/// Where `struct seccomp_data` has the call's number and its architecture.
const NUMBER_OFFSET: u32 = 0;
const ARCHITECTURE_OFFSET: u32 = 4;

/// From `linux/bpf_common.h`.
const LOAD: u16 = 0x20;
const JUMP: u16 = 0x05;
const JUMP_IF_EQUAL: u16 = 0x15;
const JUMP_IF_AT_LEAST: u16 = 0x35;
const RETURN: u16 = 0x06;

/// What a range of numbers gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Answer<'a> {
    Allow,
    Otherwise,
    /// Allowed when one of the rules fits.
    If(&'a [SeccompRule]),
}

/// The program that allows `allowed` and answers `otherwise` to all other calls; none if it would be too long.
/// Another architecture's calls end the program.
pub(crate) fn program(allowed: &Allowed, otherwise: u32) -> Option<BpfProgram> {
    let mut writer = Writer { otherwise, backwards: Vec::new(), answers: BTreeMap::new() };
    let search = writer.search(&ranges(allowed));
    // The load goes on with what was written last before it, so the search has to be that.
    writer.goes_on_at(search);
    writer.push(instruction(LOAD, NUMBER_OFFSET));
    writer.push(instruction(RETURN, libc::SECCOMP_RET_KILL_PROCESS));
    writer.push(sock_filter { jt: 1, ..instruction(JUMP_IF_EQUAL, ARCHITECTURE) });
    writer.push(instruction(LOAD, ARCHITECTURE_OFFSET));
    writer.backwards.reverse();
    (writer.backwards.len() <= LENGTH_LIMIT).then_some(writer.backwards)
}

/// Every range by its first number; neighbours differ. The first begins at 0, the last has no end.
fn ranges(allowed: &Allowed) -> Vec<(u32, Answer<'_>)> {
    let mut ranges = vec![(0, Answer::Otherwise)];
    let mut add = |start, answer| {
        match ranges.last_mut() {
            Some(last) if last.0 == start => last.1 = answer,
            _ => ranges.push((start, answer)),
        }
        // Setting a range anew may have made it like the one before.
        if let [.., before, last] = &ranges[..]
            && before.1 == last.1
        {
            ranges.pop();
        }
    };
    for (number, rules) in allowed {
        add(*number, if rules.is_empty() { Answer::Allow } else { Answer::If(rules) });
        add(number + 1, Answer::Otherwise);
    }
    ranges
}

/// A program as it grows. Jumps only lead forward, so it is written from its end.
struct Writer {
    otherwise: u32,
    backwards: BpfProgram,
    /// The instruction written last for each plain answer: many places can jump to one.
    answers: BTreeMap<u32, Place>,
}

/// An instruction, counted from the program's end.
type Place = usize;

impl Writer {
    fn push(&mut self, instruction: sock_filter) -> Place {
        self.backwards.push(instruction);
        self.backwards.len() - 1
    }

    /// How many instructions the next one has to skip to get to `place`.
    fn distance(&self, place: Place) -> usize {
        self.backwards.len() - place - 1
    }

    /// Writes the search through `ranges`, which expects the number in the accumulator, and says where it begins.
    fn search(&mut self, ranges: &[(u32, Answer<'_>)]) -> Place {
        match ranges {
            [] => self.answer(self.otherwise),
            [(_, Answer::Otherwise)] => self.answer(self.otherwise),
            [(_, Answer::Allow)] => self.answer(libc::SECCOMP_RET_ALLOW),
            [(_, Answer::If(rules))] => self.rules(rules),
            _ => {
                let (low, high) = ranges.split_at(ranges.len() / 2);
                let (below, from) = (self.search(low), self.search(high));
                // Each may need a jump of its own, which moves the other one instruction away.
                let below = self.near(below);
                let from = self.near(from);
                let fork = instruction(JUMP_IF_AT_LEAST, high[0].0);
                let (jt, jf) = (self.distance(from), self.distance(below));
                let short = |distance| u8::try_from(distance).expect("`near` leaves at most 255");
                self.push(sock_filter { jt: short(jt), jf: short(jf), ..fork })
            }
        }
    }

    /// The rules of one call, one after the other.
    fn rules(&mut self, rules: &[SeccompRule]) -> Place {
        let mut place = self.push(instruction(RETURN, self.otherwise));
        for rule in rules.iter().rev() {
            // What a rule compiles to goes on behind itself when it fits and skips one instruction when it does not.
            self.goes_on_at(place);
            self.push(instruction(RETURN, libc::SECCOMP_RET_ALLOW));
            let compiled = BpfProgram::from(rule.clone());
            self.backwards.extend(compiled.into_iter().rev());
            place = self.backwards.len() - 1;
        }
        place
    }

    /// An instruction that gives `answer`, near enough to be jumped to.
    fn answer(&mut self, answer: u32) -> Place {
        let known = self.answers.get(&answer).copied();
        known.filter(|place| self.distance(*place) < FAR).unwrap_or_else(|| {
            let place = self.push(instruction(RETURN, answer));
            self.answers.insert(answer, place);
            place
        })
    }

    /// `place`, or a jump to it when it is too far for a comparison.
    fn near(&mut self, place: Place) -> Place {
        if self.distance(place) < FAR { place } else { self.jump(place) }
    }

    fn jump(&mut self, place: Place) -> Place {
        let distance = u32::try_from(self.distance(place)).unwrap_or(u32::MAX);
        self.push(instruction(JUMP, distance))
    }

    /// Makes sure that whatever is written next goes on at `place` by itself.
    fn goes_on_at(&mut self, place: Place) {
        if self.distance(place) > 0 {
            self.jump(place);
        }
    }
}

fn instruction(code: u16, k: u32) -> sock_filter {
    sock_filter { code, jt: 0, jf: 0, k }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;
    use seccompiler::{SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, TargetArch};

    use super::*;

    const OTHERWISE: u32 = libc::SECCOMP_RET_ERRNO | 1;
    /// No call of a 64-bit program has this bit; those of the x32 table do.
    const X32: u32 = 0x4000_0000;

    /// A call as a filter sees it.
    struct Call {
        architecture: u32,
        number: u32,
        arguments: [u64; 6],
    }

    impl Call {
        fn word(&self, offset: u32) -> u32 {
            match offset {
                0 => self.number,
                4 => self.architecture,
                _ => {
                    let at = offset as usize - 16;
                    (self.arguments[at / 8] >> (8 * (at % 8))) as u32
                }
            }
        }
    }

    /// What the kernel's interpreter does with the few instructions that filters are made of.
    fn answer(program: &[sock_filter], call: &Call) -> u32 {
        let (mut at, mut accumulator) = (0, 0);
        loop {
            let sock_filter { code, jt, jf, k } = program[at];
            at += 1;
            let jump = |condition: bool| usize::from(if condition { jt } else { jf });
            match code {
                LOAD => accumulator = call.word(k),
                0x54 => accumulator &= k,
                JUMP => at += k as usize,
                JUMP_IF_EQUAL => at += jump(accumulator == k),
                0x25 => at += jump(accumulator > k),
                JUMP_IF_AT_LEAST => at += jump(accumulator >= k),
                RETURN => return k,
                other => panic!("no filter has the instruction {other:#x}"),
            }
        }
    }

    /// The same list as another hand compiles it: call after call.
    fn linear(allowed: &Allowed) -> BpfProgram {
        let rules = allowed.iter().map(|(number, rules)| (i64::from(*number), rules.clone())).collect();
        SeccompFilter::new(rules, SeccompAction::Errno(1), SeccompAction::Allow, TargetArch::x86_64)
            .and_then(TryInto::try_into)
            .expect("short enough")
    }

    /// Compares for every number near one that is used, with every combination of arguments that could matter.
    fn check(allowed: &Allowed, values: &BTreeSet<u64>) {
        let (tree, line) = (program(allowed, OTHERWISE).expect("short enough"), linear(allowed));
        let numbers = (0..1024).chain([u32::MAX, u32::MAX / 2, 1 << 31]);
        for number in numbers.flat_map(|number| [number, number | X32]) {
            let mut calls: Vec<[u64; 6]> = vec![[0; 6]];
            if allowed.get(&number).is_some_and(|rules| !rules.is_empty()) {
                for place in 0..6 {
                    for value in values {
                        for other in [0, *value] {
                            let mut arguments = [other; 6];
                            arguments[place] = *value;
                            calls.push(arguments);
                        }
                    }
                }
            }
            for arguments in calls {
                for architecture in [ARCHITECTURE, 0x4000_0003] {
                    let call = Call { architecture, number, arguments };
                    let (found, expected) = (answer(&tree, &call), answer(&line, &call));
                    assert_eq!(found, expected, "call {number} of {architecture:#x} with {arguments:x?}");
                }
            }
        }
    }

    #[test]
    fn the_lists_that_ship_mean_the_same_as_a_tree_and_take_a_quarter_of_the_room() {
        let service = include_str!("../../../../rootfs/seccomp/service.list");
        let network = include_str!("../../../../rootfs/seccomp/network.list");
        let action = include_str!("../../../../rootfs/seccomp/action.list");
        for list in [service, action, &format!("{service}\n{network}")] {
            let allowed = super::super::read(list).expect("it ships");
            let mut values: BTreeSet<u64> = (0..64).flat_map(|bit| [1 << bit, !(1 << bit)]).collect();
            let numbers = list.split(['=', '&', ' ', '\n']).filter_map(super::super::number);
            values.extend(numbers.flat_map(|number| [u64::from(number), u64::from(number) | 7 << 32, !0, 0]));
            check(&allowed, &values);
            let (tree, line) = (program(&allowed, OTHERWISE).expect("short"), linear(&allowed));
            assert!(tree.len() * 4 <= line.len(), "{} of {}", tree.len(), line.len());
        }
    }

    proptest! {
        #[test]
        fn any_list_means_the_same_as_a_tree(
            calls in prop::collection::btree_map(
                0_u32..500,
                prop::collection::vec((0_u8..6, 0_u64..8, 0_u64..8), 0..4),
                0..200,
            )
        ) {
            let rule = |(argument, mask, value): &(u8, u64, u64)| {
                let operator = SeccompCmpOp::MaskedEq(*mask);
                let condition = SeccompCondition::new(*argument, SeccompCmpArgLen::Dword, operator, *value);
                SeccompRule::new(vec![condition.expect("six arguments")]).expect("one condition")
            };
            let allowed: Allowed =
                calls.iter().map(|(number, rules)| (*number, rules.iter().map(rule).collect())).collect();
            check(&allowed, &(0..16).collect());
        }
    }
}
