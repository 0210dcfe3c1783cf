//! The program that searches: libFuzzer around one target, which `AIOS_FUZZ_TARGET` names. `cargo xtask fuzz` builds it with
//! the compiler's counters and starts it; `AIOS_FUZZ_SEEDS` names a folder that gets the target's seeds first.

#![no_main]

use std::sync::OnceLock;

use fuzz::Target;
use libfuzzer_sys::fuzz_target;

static TARGET: OnceLock<&'static Target> = OnceLock::new();

fn begin() -> Result<&'static Target, String> {
    let name = std::env::var("AIOS_FUZZ_TARGET").map_err(|_| "AIOS_FUZZ_TARGET names no target".to_owned())?;
    let target = fuzz::find(&name).ok_or_else(|| format!("there is no target '{name}'"))?;
    if let Some(folder) = std::env::var_os("AIOS_FUZZ_SEEDS") {
        for (number, seed) in (target.seeds)().into_iter().enumerate() {
            let path = std::path::Path::new(&folder).join(format!("seed-{number}"));
            std::fs::write(&path, seed).map_err(|error| format!("cannot write {}: {error}", path.display()))?;
        }
    }
    Ok(target)
}

fuzz_target!(
    init: {
        match begin() {
            Ok(target) => TARGET.get_or_init(|| target),
            Err(why) => {
                eprintln!("fuzz: {why}; cargo xtask fuzz starts it as it must be");
                std::process::exit(2);
            }
        };
    },
    |input: &[u8]| {
        if let Some(target) = TARGET.get() {
            (target.run)(input);
        }
    }
);
