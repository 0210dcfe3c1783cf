//! What is fetched, for whom, and what becomes of a secret on the way.

use std::time::Duration;

use super::{Aios, COMMAND, Status, list, text};
use crate::host::echo::{self, Echo, Speech};
use crate::scenario::{Failure, Stage, ensure};

/// The secret of the scenario: nobody but its hosts may ever have it.
const CANARY: &str = "canary-5e0f-91ab-77c2";

/// How long a lease takes on a slow host.
const LEASE: Duration = Duration::from_secs(120);

/// Only hosts of the list are asked, the secret goes to its own alone and is nowhere else.
pub(crate) fn used_and_never_shown(aios: &mut Aios, stage: &Stage<'_>) -> Result<(), Failure> {
    aios.until("network status", "a lease", LEASE, |status| status["links"][0]["state"] == "leased")?;
    let friend = Echo::serve(&stage.folder, "friend", Speech::Clear)?;
    let stranger = Echo::serve(&stage.folder, "stranger", Speech::Clear)?;
    let proved = Echo::serve(&stage.folder, "proved", Speech::Tls)?;
    only_the_list(aios, &friend, &stranger, &proved)?;

    let mut seen = add(aios, &format!("--host {} --host {}", friend.origin(), proved.origin()))?;
    seen += &aios.ok("secret list")?;
    ensure!(seen.contains(friend.origin()), "the secret is not listed with its host:\n{seen}");

    // To its hosts, in the clear because that was said, and in TLS once the root is believed.
    let sent = |server: &Echo| Ok::<_, Failure>(server.asked()?.contains(&format!("Authorization: Bearer {CANARY}")));
    let unproved = aios.json_of(&with_secret(&proved, "/"), Status::Failed)?;
    ensure!(unproved.to_string().contains("did not prove"), "a host that nobody vouches for was asked: {unproved:#}");
    aios.ok(&format!("settings set fetch.roots {}", echo::root()))?;
    for server in [&friend, &proved] {
        let view = aios.json(&with_secret(server, "/"))?;
        super::actions::receipts(aios, &view)?;
        seen += &view.to_string();
        let kept = aios.ok("object get web/x")?;
        ensure!(kept.contains("Bearer [secret]"), "what came back is not what was sent without the secret:\n{kept}");
        seen += &kept;
        ensure!(sent(server)?, "{} did not get the secret", server.origin());
    }
    // To nobody else, asked for or pointed to.
    for line in [with_secret(&stranger, "/"), with_secret(&friend, &format!("/to?{}/", stranger.origin()))] {
        let refused = aios.json_of(&line, Status::Failed)?;
        ensure!(refused.to_string().contains("is not for"), "'{line}' was not refused for its host: {refused:#}");
        seen += &refused.to_string();
    }
    ensure!(!sent(&stranger)?, "a host that it is not for got the secret");

    // It is there after a restart of the service, and gone once it was removed.
    aios.ok("service restart vault")?;
    seen += &aios.ok(&with_secret(&friend, "/again"))?;
    recorded(aios)?;
    seen += &aios.ok("--json evidence query")?;
    seen += &aios.ok("--json action list")?;
    seen += &aios.ok("service logs vault")?;
    ensure!(!seen.contains(CANARY), "the secret was shown:\n{seen}");
    aios.ok("secret remove push")?;
    aios.json_of(&with_secret(&friend, "/"), Status::Failed)?;
    Ok(())
}

/// Puts the secret for these hosts; gives what the console showed.
fn add(aios: &mut Aios, hosts: &str) -> Result<String, Failure> {
    let line = format!("secret add push {hosts}");
    aios.machine.console.start(&line, COMMAND)?;
    aios.machine.console.wait_for("value of push: ", COMMAND)?;
    // What is typed before the terminal stops showing it is thrown away.
    std::thread::sleep(Duration::from_millis(500));
    aios.machine.console.type_line(CANARY)?;
    let added = aios.machine.console.finish(&line, COMMAND)?;
    ensure!(added.status == 0, "'{line}' ended with status {} and said:\n{}", added.status, added.text);
    Ok(added.text)
}

/// A secret goes to its host from an installed machine; its key lies beside it there.
pub(crate) fn put_without_a_tpm(aios: &mut Aios, friend: &Echo) -> Result<(), Failure> {
    says(aios, "their key lies beside them")?;
    aios.until("network status", "a lease", LEASE, |status| status["links"][0]["state"] == "leased")?;
    aios.ok(&format!("settings set fetch.allow 'GET {}'", friend.origin()))?;
    add(aios, &format!("--host {}", friend.origin()))?;
    goes(aios, friend)
}

/// The TPM keeps the key, and the secret still goes to its host.
pub(crate) fn used_with_the_tpm(aios: &mut Aios, friend: &Echo) -> Result<(), Failure> {
    says(aios, "their key is sealed by the TPM")?;
    aios.until("network status", "a lease", LEASE, |status| status["links"][0]["state"] == "leased")?;
    goes(aios, friend)?;
    // The register holds another word than when the vault began.
    aios.ok("service restart vault")?;
    says(aios, "their key is sealed by the TPM")?;
    goes(aios, friend)
}

/// On a machine with another TPM the secret is of no use, and who asks is told why.
pub(crate) fn refused_by_another_tpm(aios: &mut Aios, friend: &Echo) -> Result<(), Failure> {
    says(aios, "another TPM sealed it")?;
    let refused = aios.json_of(&with_secret(friend, "/"), Status::Failed)?;
    ensure!(refused.to_string().contains("another TPM sealed it"), "it is not said why: {refused:#}");
    Ok(())
}

fn says(aios: &mut Aios, words: &str) -> Result<(), Failure> {
    let shown = aios.json("status")?;
    ensure!(shown["vault"].to_string().contains(words), "the vault does not say '{words}': {shown:#}");
    Ok(())
}

fn goes(aios: &mut Aios, friend: &Echo) -> Result<(), Failure> {
    let before = friend.asked()?.matches(CANARY).count();
    aios.json(&with_secret(friend, "/"))?;
    ensure!(friend.asked()?.matches(CANARY).count() > before, "{} did not get the secret", friend.origin());
    Ok(())
}

/// Another machine that asks for nothing but to be asked.
pub(crate) fn friend(stage: &Stage<'_>) -> Result<Echo, Failure> {
    Echo::serve(&stage.folder, "friend", Speech::Clear)
}

fn only_the_list(aios: &mut Aios, friend: &Echo, stranger: &Echo, proved: &Echo) -> Result<(), Failure> {
    let plain = |server: &Echo| format!("action submit http.fetch url={}/plain object=web/plain", server.origin());
    let refused = aios.json_of(&plain(friend), Status::Failed)?;
    ensure!(refused.to_string().contains("settings set fetch.allow"), "the refusal says nothing to try: {refused:#}");
    ensure!(friend.asked()?.is_empty(), "a host was asked that nobody allowed");
    let allow: Vec<_> = [friend, stranger, proved].iter().map(|server| format!("GET {}", server.origin())).collect();
    aios.ok(&format!("settings set fetch.allow '{}'", allow.join("; ")))?;
    let view = aios.json(&plain(friend))?;
    super::actions::receipts(aios, &view)?;
    let kept = aios.ok("object get web/plain")?;
    ensure!(kept.contains("GET /plain"), "another answer was kept:\n{kept}");
    aios.json_of(&format!("{} method=POST body=x", plain(friend)), Status::Failed)?;
    ensure!(!friend.asked()?.contains("POST"), "a method was used that nobody allowed");
    Ok(())
}

fn with_secret(server: &Echo, path: &str) -> String {
    format!("action submit http.fetch url={}{path} object=web/x secret=push", server.origin())
}

/// Each use and each refusal is a record under its action.
fn recorded(aios: &mut Aios) -> Result<(), Failure> {
    let records = aios.json("evidence query --kind secret")?;
    let mut whats = Vec::new();
    for record in list(&records)? {
        ensure!(record["writer"] == "service:vault", "somebody else wrote {record:#}");
        ensure!(record["action"] != "", "a record names no action: {record:#}");
        whats.push(text(&record["payload"], "what")?);
    }
    let count = |what: &str| whats.iter().filter(|known| **known == what).count();
    // Sent: without a proof (recorded and then not sent), twice to friends, before the redirection, after the restart.
    ensure!((count("put"), count("used"), count("refused")) == (1, 5, 2), "the records of the secret are {whats:?}");
    Ok(())
}
