//! `cargo xtask run`, `vm`, `qa` and `bench`: hands what was built to the crate `qa`.

use std::path::PathBuf;

use qa::vm::{Options, SecureBoot};
use qa::{Context, DiskOrder, Extent, Payload, ReleaseOrder, Scenario, Set};

use crate::cache::Cache;
use crate::check::Scenarios;
use crate::error::{Error, Result};
use crate::iso::{self, Iso};
use crate::keys::Keys;
use crate::output::Draft;
use crate::programs::Programs;
use crate::system::{Order, Start, System};
use crate::{disk, firmware, format, kernel, peers, policy, project, release, uki};

/// Boots the live ISO, or what the options name.
pub(crate) fn vm(mut options: Options) -> Result<()> {
    let (cache, keys) = (Cache::open()?, Keys::open()?);
    {
        if options.iso.is_none() && options.disk.is_empty() && options.direct.is_none() {
            options.iso = Some(iso::make(&cache, &keys, project::VERSION, &[])?.path);
        }
        if options.secure_boot != SecureBoot::Off {
            options.enrolled_vars = Some(firmware::enrolled(&cache, &keys)?);
        }
    }
    qa::vm::vm(&options).map_err(|source| Error::library("the machine did not end well", source))
}

/// Prints every scenario.
pub(crate) fn list() {
    for scenario in qa::scenarios() {
        let set = if scenario.set == Set::Ci { "ci" } else { "long" };
        println!("{:<20} {set:<5} {}", scenario.name, scenario.promise);
    }
}

/// Runs the scenarios with these names, or all of them.
pub(crate) fn run_named(names: &[String], all: bool, extent: Extent) -> Result<()> {
    for name in names {
        if !qa::scenarios().any(|scenario| scenario.name == name) {
            return Err(Error::refused(
                format!("there is no scenario {name}"),
                "`cargo xtask qa list` shows the scenarios",
            ));
        }
    }
    run(|scenario| all || names.iter().any(|name| scenario.name == name), extent)
}

/// The machines of `cargo xtask test`.
pub(crate) fn test(scenarios: Scenarios) -> Result<()> {
    match scenarios {
        Scenarios::Ci => run(|scenario| scenario.set == Set::Ci, Extent::Usual),
        Scenarios::All => run(|_| true, Extent::Long),
    }
}

/// Measures and prints the table.
pub(crate) fn bench(names: &[String], extent: Extent) -> Result<()> {
    let table =
        qa::bench::run(&context(extent)?, names).map_err(|source| Error::library("could not measure", source))?;
    println!("{table}");
    if table.holds() { Ok(()) } else { Err(Error::refused("a measurement is over its limit", "see the table above")) }
}

fn run(wanted: impl Fn(&Scenario) -> bool, extent: Extent) -> Result<()> {
    let scenarios: Vec<&Scenario> = qa::scenarios().filter(|scenario| wanted(scenario)).collect();
    if scenarios.is_empty() {
        return Err(Error::refused("no scenario was named", "name some, or give --all"));
    }
    let summary = qa::run(&scenarios, &context(extent)?);
    if summary.failed == 0 {
        return Ok(());
    }
    Err(Error::refused(
        format!("{} of {} scenarios failed", summary.failed, summary.failed + summary.passed),
        "the console logs are named above; `cargo xtask qa NAME` runs one alone",
    ))
}

fn context(extent: Extent) -> Result<Context> {
    let (cache, keys) = (Cache::open()?, Keys::open()?);
    let Iso { path, system, .. } = iso::make(&cache, &keys, project::VERSION, &[])?;
    Ok(Context {
        version: system.version,
        extent,
        iso: path,
        kernel: system.kernel.image,
        enrolled_vars: firmware::enrolled(&cache, &keys)?,
        ordinary_vars: firmware::ORDINARY.into(),
        owner_vars: firmware::of_owner(&cache, &keys)?,
        manifest: project::output()?.join("manifest.json"),
        variable_editor: firmware::editor(&cache)?,
        programs: Programs::folder(),
        workspace: project::root().to_owned(),
        kernel_line: uki::HARDENING,
        debian_kernel: Box::new(|| {
            Cache::open().and_then(|cache| kernel::debian_image(&cache)).map_err(|error| error.to_string())
        }),
        output: project::output()?,
        // It keeps the cache open, so nothing that machines use is removed from it by other builds.
        make_release: Box::new(move |order| make_release(&cache, &keys, order).map_err(|error| error.to_string())),
        container_runtime: Box::new(|| {
            Cache::open().and_then(|cache| peers::container_runtime(&cache)).map_err(|e| e.to_string())
        }),
        supervisors: Box::new(|| Cache::open().and_then(|cache| peers::supervisors(&cache)).map_err(|e| e.to_string())),
        make_debian: Box::new(|| Cache::open().and_then(|cache| peers::debian(&cache)).map_err(|e| e.to_string())),
        make_bundle: Box::new(|sources| {
            Keys::open().and_then(|keys| policy::pack(&keys, sources)).map_err(|error| error.to_string())
        }),
        make_disk: Box::new(|order| make_disk(order).map_err(|error| error.to_string())),
        make_standalone: Box::new(|| make_standalone().map_err(|error| error.to_string())),
    })
}

fn make_disk(order: &DiskOrder) -> Result<()> {
    disk::make(&Cache::open()?, &Keys::open()?, &disk::Options::ordered(order)?).map(|_| ())
}

fn make_standalone() -> Result<PathBuf> {
    let (cache, keys) = (Cache::open()?, Keys::open()?);
    let system = System::build(&cache, &keys, &Order::working(project::VERSION))?;
    let draft = Draft::begin()?;
    let path = format::standalone(&cache, &keys, &system, draft.folder())?;
    draft.finish()?;
    Ok(project::output()?.join(path.file_name().unwrap_or_default()))
}

fn make_release(cache: &Cache, keys: &Keys, order: &ReleaseOrder) -> Result<()> {
    let start = match order.payload {
        Payload::Works => Start::Works,
        Payload::PanicsAtBoot => Start::Panics,
    };
    let wanted = Order { version: order.version.clone(), start };
    release::write(cache, keys, &wanted, &order.out)
}
