//! The file names through whole lives of releases: updates, failing starts, marks and ways back.

use aios_slots::{
    Counter, NameError, Slot, SlotError, TRIES, UkiName, Version, bless, loader_choice, plan_update, rollback,
    slot_with,
};
use proptest::prelude::*;

fn names(list: &[&str]) -> Vec<UkiName> {
    list.iter().map(|name| name.parse().expect("a name")).collect()
}

fn version(text: &str) -> Version {
    text.parse().expect("a version")
}

fn choice(list: &[&str]) -> Option<String> {
    loader_choice(&names(list)).map(ToString::to_string)
}

/// What the loader does with the names when it starts its choice.
fn start(names: &mut [UkiName]) -> Option<Version> {
    let chosen = loader_choice(names)?.clone();
    let entry = names.iter_mut().find(|name| **name == chosen)?;
    if let Some(counter) = &mut entry.counter {
        *counter = Counter { left: counter.left - 1, done: counter.done + 1 };
    }
    Some(chosen.version)
}

#[test]
fn versions_are_ordered_by_number() {
    let sorted = ["0.1", "0.1.0", "0.1.9", "0.1.10", "0.2.0", "1", "1.0.0.1", "10"];
    for pair in sorted.windows(2) {
        assert!(version(pair[0]) < version(pair[1]), "{pair:?}");
    }
    for wrong in
        ["", ".", "1.", "01", "1.2.3.4.5", "4294967296", "1.0-rc1", "1 ", "1234567.1234567.1234567.1", "+1", "١"]
    {
        assert!(wrong.parse::<Version>().is_err(), "{wrong:?}");
    }
}

#[test]
fn names_of_other_files_are_not_entries() {
    for wrong in ["aios_1.efi.tmp", "aios_+3.efi", "aios_1+.efi", "aios_1+3-.efi", "aios_1++3.efi", "linux.efi", ""] {
        assert!(wrong.parse::<UkiName>().is_err(), "{wrong:?}");
    }
    assert!(matches!("AIOS_X.EFI".parse::<UkiName>(), Err(NameError::Version(_))));
    assert_eq!("AIOS_1.2+2-1.EFI".parse::<UkiName>().expect("case is lost on FAT").to_string(), "aios_1.2+2-1.efi");
}

#[test]
fn the_loader_takes_the_newest_that_may_be_tried() {
    assert_eq!(choice(&["aios_1.efi", "aios_2+3.efi"]).as_deref(), Some("aios_2+3.efi"));
    assert_eq!(choice(&["aios_1.efi", "aios_2+0-3.efi"]).as_deref(), Some("aios_1.efi"));
    assert_eq!(choice(&["aios_0.9.efi", "aios_0.10.efi"]).as_deref(), Some("aios_0.10.efi"));
    assert_eq!(choice(&["aios_2+0-3.efi"]), None);
}

#[test]
fn going_back_needs_somewhere_to_go() {
    let back = rollback(&names(&["aios_1.efi", "aios_2.efi"])).expect("a way back");
    assert_eq!((back.from.to_string(), back.to.to_string()), ("aios_2.efi".into(), "aios_2+0-3.efi".into()));
    for alone in [&["aios_2.efi"][..], &["aios_2.efi", "aios_1+0-3.efi"], &[]] {
        assert_eq!(rollback(&names(alone)), Err(SlotError::NothingToReturnTo), "{alone:?}");
    }
}

#[test]
fn an_update_is_refused_unless_it_is_newer_and_the_way_back_is_safe() {
    let good = names(&["aios_1.efi", "aios_2.efi"]);
    let plan = |running: &str, offered: &str, least: &str, names: &[UkiName]| {
        plan_update(&version(running), &version(offered), &version(least), names)
    };
    assert!(matches!(plan("2", "2", "1", &good), Err(SlotError::NotNewer { .. })));
    assert!(matches!(plan("2", "1.9", "1", &good), Err(SlotError::NotNewer { .. })));
    assert!(matches!(plan("2", "4", "3", &good), Err(SlotError::TooOld { .. })));
    assert!(matches!(plan("2", "3", "1", &names(&["aios_1.efi", "aios_2+2-1.efi"])), Err(SlotError::OnTrial { .. })));
    assert!(matches!(plan("3", "4", "1", &good), Err(SlotError::NoEntry { .. })));
    let accepted = plan("2", "3", "1", &good).expect("an update");
    assert_eq!(accepted.remove, names(&["aios_1.efi"]));
    assert_eq!(accepted.add.to_string(), "aios_3+3.efi");
}

#[test]
fn a_slot_is_found_only_when_one_matches() {
    assert_eq!(slot_with("AB", "ab", "cd"), Some(Slot::A));
    assert_eq!(slot_with("ab", "cd", "ab"), Some(Slot::B));
    assert_eq!(slot_with("ab", "ab", "ab"), None);
    assert_eq!(slot_with("ab", "c", "d"), None);
}

fn any_name() -> impl Strategy<Value = UkiName> {
    (prop::collection::vec(0_u32..12, 1..4), prop::option::of((0_u32..5, 0_u32..5))).prop_map(|(numbers, counter)| {
        let text: Vec<String> = numbers.iter().map(ToString::to_string).collect();
        UkiName { version: version(&text.join(".")), counter: counter.map(|(left, done)| Counter { left, done }) }
    })
}

proptest! {
    #[test]
    fn names_read_back(name in any_name()) {
        prop_assert_eq!(name.to_string().parse::<UkiName>().expect("our own form"), name);
    }

    #[test]
    fn foreign_names_never_panic(text in ".{0,40}", tail in "aios_[0-9+.-]{0,20}\\.efi") {
        let _ = text.parse::<UkiName>();
        let _ = text.parse::<Version>();
        if let Ok(name) = tail.parse::<UkiName>() {
            prop_assert_eq!(name.to_string().parse::<UkiName>().expect("canonical"), name);
        }
    }

    /// However an update ends, the machine runs a release after at most its tries and one more start, and going back
    /// never leaves the loader without an entry.
    #[test]
    fn a_release_that_never_comes_up_is_left_behind(releases in 1_u32..20, failing in prop::collection::vec(any::<bool>(), 20)) {
        let mut running = version("1");
        let mut names = names(&["aios_1.efi"]);
        for number in 2..2 + releases {
            let offered = version(&number.to_string());
            let plan = plan_update(&running, &offered, &version("1"), &names).expect("newer and good");
            prop_assert!(plan.remove.iter().all(|name| name.version != running));
            names.retain(|name| !plan.remove.contains(name));
            prop_assert_eq!(loader_choice(&names).map(|name| name.version.clone()), Some(running.clone()));
            names.push(plan.add);
            if failing[number as usize % failing.len()] {
                for _ in 0..TRIES {
                    prop_assert_eq!(start(&mut names), Some(offered.clone()));
                }
                prop_assert_eq!(start(&mut names), Some(running.clone()));
            } else {
                prop_assert_eq!(start(&mut names), Some(offered.clone()));
                let rename = bless(&offered, &names).expect("its entry").expect("it was on trial");
                names.iter_mut().filter(|name| **name == rename.from).for_each(|name| *name = rename.to.clone());
                prop_assert_eq!(bless(&offered, &names), Ok(None));
                let back = rollback(&names).expect("the old release is there");
                prop_assert!(back.to.is_spent() && back.from.version == offered);
                running = offered;
            }
        }
    }
}
