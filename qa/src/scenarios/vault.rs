//! The vault on whole machines.

use crate::scenario::{Failure, Scenario, Set, Stage, ensure};
use crate::steps::{Aios, install, services, vault};
use crate::vm::{Options, SecureBoot};

pub(super) const ALL: &[Scenario] = &[
    Scenario {
        name: "vault",
        promise: "only listed hosts are asked, a secret goes to its hosts alone and stands in no answer, record, log or object",
        set: Set::Long,
        boots: 1,
        show: used,
    },
    Scenario {
        name: "vault-sealed",
        promise: "a TPM takes the vault's key over and gives it to this disk's system alone; with another TPM nothing opens",
        set: Set::Long,
        boots: 4,
        show: sealed,
    },
];

fn used(stage: &Stage<'_>) -> Result<(), Failure> {
    let mut aios = Aios::live(stage, "live")?;
    services::all_ready(&mut aios)?;
    vault::used_and_never_shown(&mut aios, stage)?;
    aios.power_off()
}

fn sealed(stage: &Stage<'_>) -> Result<(), Failure> {
    let disk = install::unattended(stage)?;
    let friend = vault::friend(stage)?;
    let mut aios = install::start(stage, &disk, "no-tpm")?;
    services::all_ready(&mut aios)?;
    vault::put_without_a_tpm(&mut aios, &friend)?;
    aios.power_off()?;
    let key = disk.data_file("/system/vault/key")?;
    ensure!(key.len() == 32 && disk.holds(&key)?, "the disk holds no key: {} bytes", key.len());

    let with = |memory: &str| Options {
        secure_boot: SecureBoot::On,
        timeout: 1500,
        tpm_memory: Some(stage.folder.join(memory)),
        ..Options::default()
    };
    let mut aios = install::start_on(stage, &disk, "tpm", with("tpm"))?;
    services::all_ready(&mut aios)?;
    vault::used_with_the_tpm(&mut aios, &friend)?;
    aios.power_off()?;
    ensure!(disk.data_file("/system/vault/key.tpm")?.len() > 100, "there is no sealed key");
    ensure!(!disk.holds(&key)?, "the disk still holds the key");

    let mut aios = install::start_on(stage, &disk, "another", with("another"))?;
    vault::refused_by_another_tpm(&mut aios, &friend)?;
    aios.power_off()
}
