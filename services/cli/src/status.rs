//! `aios status`: the machine on one screen. What cannot be reached is said in its line, and the rest is shown.

use aios_identity::SessionStrength;
use aios_wire::init::{FirmwareKeys, Measured, Origin, Reply, Request, ServiceState, SigningKeys, System};
use aios_wire::policy::{Approval, ApprovalState, OverrideView, PolicyView};
use serde_json::{Value, json};

use crate::failure::Failure;
use crate::previous::How;
use crate::show::{Format, harmless, read};
use crate::{boot, evidence, network, policy, previous, service, settings};

pub(crate) async fn run(format: Format) -> Result<(), Failure> {
    let system = system()?;
    let services = service::services()?;
    let not_ready: Vec<_> = services
        .iter()
        .filter(|s| matches!(s.state, ServiceState::Failed | ServiceState::Restarting | ServiceState::Frozen))
        .map(|s| format!("{} is {}", s.name, service::state_word(s.state)))
        .collect();
    // What it says of itself: how many secrets there are, and what keeps their key.
    let vault = services.iter().find(|service| service.name == "vault").map(|vault| harmless(&vault.note));
    let vault = vault.filter(|note| !note.is_empty());
    let policy = policy_line().await;
    let lasting = emergency().await.ok().flatten();
    let evidence = evidence::head().await;
    let hostname = hostname().await;
    let memory = memory_used();
    let network = network::status();
    let slow = boot::slow(&system.boot_id).await;
    let previous = previous::ask(&system.boot_id).await.ok().flatten();
    let shown = json!({
        "system": system,
        "hostname": hostname.as_ref().ok(),
        "services": {"total": services.len(), "attention": not_ready},
        "policy": policy.as_ref().ok(),
        "override": lasting,
        "evidence": evidence.as_ref().ok(),
        "vault": vault,
        "network": network.as_ref().ok(),
        "memory_used_mib": memory,
        "slow": slow,
        "previous": previous,
    });
    format.print(&shown, |_| {
        let or_why = |line: Result<String, Failure>| line.unwrap_or_else(|failure| failure.to_string());
        println!("AIOS {}  {}", system.version, origin_text(&system.origin));
        println!("  host       {}", or_why(hostname));
        println!("  up         {} s; boot {}", system.uptime_s, system.boot_id);
        println!("  root       verified, {}…; secure boot {}", short(&system.root_hash), secure_boot_text(&system));
        println!("  measured   {}", measured_text(&system.measured));
        let good = |state| matches!(state, ServiceState::Ready | ServiceState::Finished | ServiceState::OnCall);
        let ready = services.iter().filter(|s| good(s.state)).count();
        // An agent that nobody started is no fault, so the rest is told apart.
        let stopped = services.iter().filter(|s| s.state == ServiceState::Stopped).count();
        println!("  services   {ready} of {} ready, done or on call, {stopped} stopped", services.len() - stopped);
        println!("  policy     {}", or_why(policy.map(|p| p["text"].as_str().unwrap_or_default().to_owned())));
        println!("  evidence   {}", or_why(evidence.map(|head| head.line())));
        if let Some(vault) = &vault {
            println!("  vault      {vault}");
        }
        match &network {
            Ok(network) => println!("  network    {}", network::line(network)),
            Err(failure) => println!("  network    {failure}"),
        }
        if let Some(memory) = memory {
            println!("  memory     {memory} MiB used");
        }
        if system.keys == SigningKeys::Development {
            println!(
                "  ! signed with development keys: whoever has that build machine's key folder can sign for this system"
            );
        }
        if let Some(why) = &system.frozen {
            println!("  ! actions are frozen: {why}");
        }
        if let Some(lasting) = &lasting {
            println!("  ! {}: 'aios policy override end' ends it", policy::override_line(lasting));
        }
        for name in &system.degraded {
            println!("  ! the machine is degraded: the restarts of {name} are spent; 'aios service history {name}'");
        }
        if let Some(previous) = previous.iter().find(|previous| previous.how != How::Clean) {
            println!("  ! the boot before {}; 'aios service logs --boot -1'", previous.told());
        }
        if let Some(slow) = slow {
            println!("  ! {}: 'aios boot'", boot::slow_text(slow));
        }
        for line in network.iter().flat_map(|network| &network.attention) {
            println!("  ! {}", harmless(line));
        }
        for line in &not_ready {
            println!("  ! {line}: 'aios service list'");
        }
    });
    Ok(())
}

/// The state of the system, as PID 1 tells.
pub(crate) fn system() -> Result<System, Failure> {
    match aios_daemon::init::ask(&Request::Status)? {
        Reply::Status(system) => Ok(system),
        other => Err(Failure::failed(format!("PID 1 answered something else: {other:?}"))),
    }
}

/// What the sessions of this machine prove at their beginning; unknown when PID 1 is not there.
pub(crate) fn session_strength() -> Option<SessionStrength> {
    system().ok().map(|system| match system.origin {
        Origin::Live | Origin::Install => SessionStrength::Presence,
        Origin::Disk { .. } => SessionStrength::PassPhrase,
    })
}

fn measured_text(measured: &Measured) -> String {
    match measured {
        Measured::NoTpm => "not: this machine has no TPM".into(),
        Measured::Ongoing { words } => format!("up to now: {}", words.join(", ")),
        Measured::Done { pcr11: Some(value), words } => format!("PCR 11 {}…; {}", short(value), words.join(", ")),
        Measured::Done { pcr11: None, words } => format!("{}; the TPM has no bank of SHA-256", words.join(", ")),
        Measured::Failed { why } => format!("not: {why}"),
    }
}

fn origin_text(origin: &Origin) -> String {
    match origin {
        Origin::Live => "live: nothing outlives this boot".into(),
        Origin::Install => "started to install".into(),
        Origin::Disk { disk, slot } => format!("slot {slot} of {disk}"),
    }
}

async fn policy_line() -> Result<Value, Failure> {
    let policy = policy::connect().await?;
    let shown: PolicyView = read("policy-kernel", &policy.show().await?)?;
    let approvals: Vec<Approval> = read("policy-kernel", &policy.approvals().await?)?;
    let waiting = approvals.iter().filter(|a| a.state == ApprovalState::Waiting).count();
    let text = format!("epoch {}; {waiting} waiting for a person", shown.epoch);
    Ok(json!({"epoch": shown.epoch, "waiting": waiting, "text": text}))
}

/// An emergency that somebody declared; a policy kernel that does not answer is told of in the policy's line.
async fn emergency() -> Result<Option<OverrideView>, Failure> {
    policy::override_now(&policy::connect().await?).await
}

async fn hostname() -> Result<String, Failure> {
    let value: Value = read("settings", &settings::connect().await?.get("hostname").await?)?;
    Ok(value.as_str().unwrap_or_default().to_owned())
}

/// Memory that is not available to programs, in MiB.
fn memory_used() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let kib = |name: &str| -> Option<u64> {
        text.lines().find_map(|line| line.strip_prefix(name))?.trim().trim_end_matches(" kB").trim().parse().ok()
    };
    Some((kib("MemTotal:")? - kib("MemAvailable:")?) / 1024)
}

fn short(hash: &str) -> &str {
    hash.get(..12).unwrap_or(hash)
}

fn secure_boot_text(system: &System) -> &'static str {
    match (system.secure_boot, system.firmware_keys) {
        (true, _) => "on",
        (false, FirmwareKeys::None) => "off: no keys are enrolled in the firmware (setup mode)",
        (false, FirmwareKeys::Enrolled | FirmwareKeys::Unknown) => "off",
    }
}
