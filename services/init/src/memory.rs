//! How much memory there is, what to say when it is too little, and what a key may take.

use aios_luks::Room;

use crate::terminals;

/// What a machine should have.
const NEEDED_MIB: u64 = 256;

/// What the kernel has left for programs on a machine with [`NEEDED_MIB`] is above this; the firmware and the kernel
/// itself take the rest.
const LEAST_MIB: u64 = 176;

/// Says on every console when there is too little. The start goes on: a person at the console can still look around.
pub(crate) fn say_if_too_little() {
    let system = rustix::system::sysinfo();
    let bytes = system.totalram.saturating_mul(u64::from(system.mem_unit));
    if let Some(line) = too_little(bytes >> 20) {
        terminals::say_everywhere(&line);
    }
}

/// What is left beside this for everything else while a key is computed.
const RESERVE_KIB: u64 = 24 << 10;

/// How much memory computing a key may take without anything being ended for it.
pub(crate) fn room() -> Room {
    Room { kib: aios_linux::memory::available_kib().saturating_sub(RESERVE_KIB) }
}

fn too_little(mib: u64) -> Option<String> {
    (mib < LEAST_MIB).then(|| {
        format!(
            "init: programs have {mib} MiB of memory, which is too little: services may be ended at any time; switch the \
             machine off and give it at least {NEEDED_MIB} MiB"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_small_machine_is_told_and_a_usual_one_is_not() {
        let line = too_little(97).expect("a line");
        assert!(line.contains("97 MiB of memory") && line.contains("at least 256 MiB"), "{line}");
        assert_eq!(too_little(215), None);
    }
}
