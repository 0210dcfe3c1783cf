//! What a permit wants besides, as its annotations say it. Where several permits apply, what each wants holds: one permit
//! never takes away what another one asks for.

use std::fmt;

use aios_action::{Constraints, Request};
use aios_wire::policy::{Wanted, Whom};

use crate::window::{TimeOfDay, Window};

/// The most people that a rule can want: more are not found on one machine.
const PERSONS_LIMIT: u8 = 9;

/// One thing that a permit wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Term {
    /// `@approval("person")`: people have to say yes.
    Approval(Wanted),
    /// `@window("08:00-18:00")`: only in this part of the day.
    Window(Window),
    /// `@budget("cpu_ms=500")`: only if the request itself allows no more than this.
    Budget(Constraints),
    /// `@plan("first")`: only if it was planned before, word for word.
    PlanFirst,
    /// `@mode("recovery")`: only in the recovery image, which is not what runs here.
    Recovery,
}

/// Everything that the permits of an action want.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Terms(Vec<Term>);

/// What a decision has to know besides rules, envelope and subject. Who knows nothing, as the default, gets nothing that
/// depends on it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Circumstances {
    /// The time of day; nothing while the clock was never set.
    pub time: Option<TimeOfDay>,
    /// Whether this request was planned before.
    pub plan: Plan,
    /// Whether the person who asks has an emergency.
    pub emergency: Emergency,
}

/// Whether a request was planned, with `--dry-run`, before it was asked for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Plan {
    /// Nobody has seen what would become of it.
    #[default]
    Unseen,
    /// Who asks has seen it, word for word, a short while ago.
    Seen,
}

/// Whether a person lifted the denials of what no rule permits, for what they ask themselves.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Emergency {
    /// The rules are all there is.
    #[default]
    None,
    /// What no rule speaks of is permitted to this person.
    Declared {
        /// For so many more milliseconds.
        left_ms: u64,
    },
}

/// Why a permit does not count now.
pub(crate) struct Unmet {
    /// The stable reason code.
    pub(crate) code: &'static str,
    /// How the sentence goes on after the rule's name, with what to try.
    pub(crate) says: String,
}

impl Term {
    /// What an annotation of a permit wants, if it is one of ours and well formed.
    pub(crate) fn read(key: &str, text: &str) -> Option<Self> {
        match (key, text) {
            ("approval", text) => wanted(text).map(Self::Approval),
            ("window", text) => Window::parse(text).map(Self::Window),
            ("budget", text) => budget(text).map(Self::Budget),
            ("plan", "first") => Some(Self::PlanFirst),
            ("mode", "recovery") => Some(Self::Recovery),
            _ => None,
        }
    }

    fn unmet(&self, request: &Request, circumstances: &Circumstances) -> Option<Unmet> {
        match self {
            Self::Window(window) => match circumstances.time {
                Some(now) if window.left_ms(now).is_some() => None,
                Some(now) => Some(Unmet { code: "OutsideWindow", says: format!("only {window}, and it is {now}") }),
                None => Some(Unmet {
                    code: "OutsideWindow",
                    says: format!(
                        "only {window}, and the machine's clock was never set: 'aios action submit time.set'"
                    ),
                }),
            },
            Self::Budget(most) => {
                let over = limits(most)
                    .into_iter()
                    .zip(limits(&request.constraints))
                    .any(|((_, most), (_, asked))| most.is_some_and(|most| asked.is_none_or(|asked| asked > most)));
                over.then(|| Unmet {
                    code: "BudgetTooLarge",
                    says: format!("only with a budget of {}; ask with '{}'", words(most), options(most)),
                })
            }
            Self::PlanFirst => (circumstances.plan == Plan::Unseen).then(|| Unmet {
                code: "PlanFirst",
                says: "only after a plan: ask with --dry-run first, then once more with the same words".into(),
            }),
            Self::Recovery => Some(Unmet {
                code: "RecoveryOnly",
                says: "only in the recovery image, and this is the running system: 'recovery' starts it".into(),
            }),
            Self::Approval(_) => None,
        }
    }
}

impl Terms {
    pub(crate) fn of(terms: impl IntoIterator<Item = Term>) -> Self {
        terms.into_iter().fold(Self::default(), Self::with)
    }

    /// The same with one more.
    pub(crate) fn with(mut self, term: Term) -> Self {
        if !self.0.contains(&term) {
            self.0.push(term);
        }
        self
    }

    /// What satisfies both.
    pub(crate) fn and(self, other: Self) -> Self {
        other.0.into_iter().fold(self, Self::with)
    }

    /// Who has to say yes, if anybody has to: the strictest of all that is wanted.
    pub(crate) fn wanted(&self) -> Option<Wanted> {
        let all = self.0.iter().filter_map(|term| match term {
            Term::Approval(wanted) => Some(*wanted),
            _ => None,
        });
        all.reduce(strictest)
    }

    /// The first of them that does not hold.
    pub(crate) fn unmet(&self, request: &Request, circumstances: &Circumstances) -> Option<Unmet> {
        self.0.iter().find_map(|term| term.unmet(request, circumstances))
    }

    /// How long it goes on holding, where a window closes.
    pub(crate) fn left_ms(&self, now: Option<TimeOfDay>) -> Option<u64> {
        let left = |term: &Term| match term {
            Term::Window(window) => window.left_ms(now?),
            _ => None,
        };
        self.0.iter().filter_map(left).min()
    }

    /// Whether something that `before` wants is not wanted here, or of fewer people. Another window or budget counts as
    /// such, whichever is the narrower one: a person should look.
    pub(crate) fn want_less_than(&self, before: &Self) -> bool {
        let missing = |term: &&Term| !matches!(term, Term::Approval(_)) && !self.0.contains(term);
        let fewer = match (before.wanted(), self.wanted()) {
            (None, _) => false,
            (Some(_), None) => true,
            (Some(old), Some(new)) => {
                new.persons < old.persons || (old.whom == Whom::Others && new.whom == Whom::Anybody)
            }
        };
        fewer || before.0.iter().any(|term| missing(&term))
    }

    /// Whether both want the same, in whatever order.
    pub(crate) fn are_the_same_as(&self, other: &Self) -> bool {
        self.wanted() == other.wanted() && !self.want_less_than(other) && !other.want_less_than(self)
    }
}

/// For the one who reads what changes: `allowed`, or what is wanted.
impl fmt::Display for Terms {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.wanted() {
            None => f.write_str("allowed")?,
            Some(wanted) => write!(f, "needs {wanted}")?,
        }
        for term in &self.0 {
            match term {
                Term::Approval(_) => {}
                Term::Window(window) => write!(f, ", {window}")?,
                Term::Budget(most) => write!(f, ", with {} at most", words(most))?,
                Term::PlanFirst => f.write_str(", after a plan")?,
                Term::Recovery => f.write_str(", in recovery only")?,
            }
        }
        Ok(())
    }
}

/// What satisfies both.
fn strictest(one: Wanted, other: Wanted) -> Wanted {
    let whom = if one.whom == Whom::Others { one.whom } else { other.whom };
    Wanted { persons: one.persons.max(other.persons), whom }
}

/// Who has to say yes, in the words of `@approval`.
fn wanted(text: &str) -> Option<Wanted> {
    let (persons, whom) = match text {
        "person" => (1, Whom::Anybody),
        "another person" => (1, Whom::Others),
        _ => {
            let (count, people) = text.split_once(' ')?;
            let whom = match people {
                "persons" => Whom::Anybody,
                "other persons" => Whom::Others,
                _ => return None,
            };
            let persons = (2..=PERSONS_LIMIT).find(|number| number.to_string() == count)?;
            (persons, whom)
        }
    };
    Some(Wanted { persons, whom })
}

/// The limits in the words of `@budget`, each once, in the form in which they are told.
fn budget(text: &str) -> Option<Constraints> {
    let budget = Constraints::from_words(text.split(' ')).ok()?;
    let mut given: Vec<&str> = text.split(' ').collect();
    given.sort_unstable();
    let told = words(&budget);
    let mut told: Vec<&str> = told.split(' ').collect();
    told.sort_unstable();
    (given == told).then_some(budget)
}

fn words(budget: &Constraints) -> String {
    let set = limits(budget).into_iter().filter_map(|(name, limit)| Some(format!("{name}={}", limit?)));
    set.collect::<Vec<_>>().join(" ")
}

fn options(budget: &Constraints) -> String {
    words(budget).split(' ').map(|word| format!("--at-most {word}")).collect::<Vec<_>>().join(" ")
}

fn limits(budget: &Constraints) -> [(&'static str, Option<u32>); 6] {
    let Constraints { deadline_ms, time_ms, cpu_ms, memory, output, written } = *budget;
    [
        ("deadline_ms", deadline_ms),
        ("time_ms", time_ms),
        ("cpu_ms", cpu_ms),
        ("memory", memory),
        ("output", output),
        ("written", written),
    ]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn term(key: &str, text: &str) -> Term {
        Term::read(key, text).unwrap_or_else(|| panic!("@{key}(\"{text}\")"))
    }

    #[test]
    fn what_is_not_exactly_a_term_is_none() {
        for (key, text) in [
            ("approval", ""),
            ("approval", "Person"),
            ("approval", "1 persons"),
            ("approval", "10 persons"),
            ("approval", "02 persons"),
            ("window", "always"),
            ("window", "08:00-08:00"),
            ("budget", ""),
            ("budget", "cpu_ms=0"),
            ("budget", "cpu_ms=500 cpu_ms=900"),
            ("budget", "cpu_ms=500  memory=1"),
            ("budget", "cpu_ms=+500"),
            ("budget", "cpu=500"),
            ("budget", "cpu_ms=4294967296"),
            ("plan", ""),
            ("plan", "later"),
            ("mode", "normal"),
            ("aproval", "person"),
            ("redact", "parameters"),
            ("", ""),
        ] {
            assert_eq!(Term::read(key, text), None, "@{key}(\"{text}\")");
        }
    }

    #[test]
    fn the_strictest_of_several_counts_and_nothing_is_taken_away() {
        let one = Terms::of([term("approval", "2 persons"), term("window", "08:00-18:00")]);
        let other = Terms::of([term("approval", "another person"), term("budget", "memory=5 cpu_ms=7")]);
        let both = one.clone().and(other.clone());
        assert_eq!(both.wanted(), Some(Wanted { persons: 2, whom: Whom::Others }));
        assert_eq!(both.to_string(), "needs 2 other persons, from 08:00 to 18:00 UTC, with cpu_ms=7 memory=5 at most");
        assert!(both.are_the_same_as(&other.clone().and(one.clone())));
        for part in [&one, &other, &Terms::default()] {
            assert!(part.want_less_than(&both) && !both.want_less_than(part), "{part}");
        }
        assert_eq!(both.left_ms(TimeOfDay::parse("17:00")), Some(3_600_000));
        assert_eq!(both.left_ms(None), None);
    }

    proptest! {
        #[test]
        fn no_annotation_makes_the_reader_panic(key in "approval|window|budget|plan|mode|[a-z]{0,8}", text in ".{0,40}") {
            let _ = Term::read(&key, &text);
        }

        #[test]
        fn a_budget_is_kept_by_those_who_ask_for_no_more(most in 1u32.., asked in proptest::option::of(1u32..)) {
            let terms = Terms::of([Term::Budget(Constraints { cpu_ms: Some(most), ..Constraints::default() })]);
            let request = Request {
                constraints: Constraints { cpu_ms: asked, ..Constraints::default() },
                ..Request::new("node.reboot", serde_json::Map::new())
            };
            let met = terms.unmet(&request, &Circumstances::default()).is_none();
            prop_assert_eq!(met, asked.is_some_and(|asked| asked <= most));
        }
    }
}
