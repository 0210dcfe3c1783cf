//! Another policy: what is refused, what a person is shown, and what is in force after a crash at each step.

use aios_policy::public_key;
use aios_wire::policy::{Ended, PolicyOrigin};

use super::*;

/// Agents may restart everything without a person.
const WIDER: &str = "@id(\"wider\") permit (principal is Agent, action == Action::\"agent.run\", resource);\n";

/// Agents may not write files any more.
const NARROWER: &str =
    "@id(\"narrower\") @says(\"no\") forbid (principal is Agent, action == Action::\"object.put\", resource);\n";

fn narrower(epoch: u64) -> Vec<u8> {
    // The shipped cases say that agents may, so this bundle has a case of its own only.
    let case = format!(
        "epoch = {epoch}\n[[case]]\nwho = 'agent:helper'\ntype = 'object.put'\nparameters = {{ name = 'x', content = '' }}\n\
         expect = 'denied'\n"
    );
    let shipped = shipped().text();
    pack([("shipped.cedar", shipped.as_str()), ("more.cedar", NARROWER), ("bundle.toml", case.as_str())], &SEED)
        .expect("packs")
}

async fn load(machine: &Machine, number: u64, bytes: Vec<u8>) -> Result<PolicyView> {
    let report = machine.kernel.offer(bytes).await?;
    let digest = report.digest.to_string();
    let action = machine.ready(&live(), number, "policy.load", json!({ "digest": digest })).await;
    machine.kernel.load(&digest, action.id.as_str()).await
}

fn epoch_number(machine: &Machine) -> String {
    machine.kernel.policy().epoch.split('-').next().expect("a number").to_owned()
}

async fn an_agents_put(machine: &Machine, number: u64) -> (Verdict, String) {
    let decision = machine.asked(&agent(), number, "object.put", json!({"name": "x", "content": ""})).await;
    (decision.verdict, decision.reason)
}

#[tokio::test]
async fn a_loaded_policy_decides_at_once_and_after_a_restart() {
    let machine = Machine::start().await;
    assert_eq!(machine.kernel.policy().origin, PolicyOrigin::Image);
    let view = load(&machine, 10, narrower(2)).await.expect("loaded");
    assert_eq!((view.origin, epoch_number(&machine).as_str()), (PolicyOrigin::Loaded, "2"));
    assert_eq!(an_agents_put(&machine, 1).await, (Verdict::Denied, "ForbiddenByRule".into()));
    let record =
        machine.log.kept().records.iter().find(|(kind, _)| kind == "policy-loaded").expect("a record").1.clone();
    assert_eq!(record["epoch"], view.epoch);
    assert_eq!((&record["bundle"], &record["by"]["name"]), (&json!(view.digest), &json!("live")));

    let machine = machine.restarted("boot-2").await;
    assert_eq!((machine.kernel.policy().epoch, machine.kernel.policy().origin), (view.epoch, PolicyOrigin::Loaded));
    assert_eq!(an_agents_put(&machine, 2).await.0, Verdict::Denied);
    assert!(machine.kernel.test().iter().all(|case| case.wrong.is_none()));
}

#[tokio::test]
async fn a_person_is_shown_what_agents_gain_and_what_is_loaded_is_exactly_that() {
    let machine = Machine::start().await;
    let gains = "every agent, agent.run: denied -> allowed";
    // The shipped cases forbid it, so they have to go.
    let about = "epoch = 2\n[[case]]\nwho = 'agent:helper'\ntype = 'agent.run'\nparameters = { name = 'x' }\nexpect = 'allowed'\n";
    let text = shipped().text();
    let wide = pack([("s.cedar", text.as_str()), ("w.cedar", WIDER), ("bundle.toml", about)], &SEED).expect("packs");
    let report = machine.kernel.check(wide.clone()).await.expect("a good bundle");
    assert_eq!((report.widens_agents.as_slice(), report.refused), ([gains.to_owned()].as_slice(), None));

    let digest = report.digest.to_string();
    let denied = machine.asked(&live(), 1, "policy.load", json!({ "digest": digest })).await;
    assert_eq!(denied.reason, "NotOffered", "checking keeps nothing: {denied:?}");
    machine.kernel.offer(wide).await.expect("a good bundle");
    let (envelope, id) = machine.requested(&live(), 2, "policy.load", json!({ "digest": digest })).await;
    let shown = machine.kernel.approvals().expect("read").into_iter().find(|a| a.id == id).expect("kept").shows;
    assert!(shown.contains(&"AGENTS GET MORE:".to_owned()) && shown.contains(&gains.to_owned()), "{shown:?}");

    let unapproved = machine.kernel.load(&digest, envelope.id.as_str()).await;
    assert!(matches!(unapproved, Err(KernelError::NotApproved(_))), "{unapproved:?}");
    machine.approve(&id, &live(), "").await.expect("approved");
    machine.consume(&envelope, &id).await.expect("granted");
    let other = machine.kernel.offer(narrower(2)).await.expect("a good bundle").digest.to_string();
    let swapped = machine.kernel.load(&other, envelope.id.as_str()).await;
    assert!(matches!(swapped, Err(KernelError::NotApproved(_))), "{swapped:?}");
    machine.kernel.load(&digest, envelope.id.as_str()).await.expect("what was approved");
    let again = machine.kernel.load(&digest, envelope.id.as_str()).await;
    assert!(matches!(again, Err(KernelError::NotApproved(_))), "{again:?}");
}

#[tokio::test]
async fn what_waits_under_the_old_policy_ends_with_it_and_a_grant_is_worth_nothing() {
    let machine = Machine::start().await;
    let (_, waits) = machine.waiting().await;
    let (granted, id) = machine.requested(&agent(), 2, "service.restart", json!({"name": "settings"})).await;
    machine.approve(&id, &live(), "").await.expect("granted");
    load(&machine, 10, narrower(2)).await.expect("loaded");
    let ended = machine.kernel.await_approval(waits.as_str()).await.expect("an approval").state;
    assert_eq!(ended, ApprovalState::Expired { why: Ended::Policy });
    let used = machine.consume(&granted, &id).await.expect_err("another policy");
    assert!(used.to_string().contains("EpochMismatch"), "{used}");
}

#[tokio::test]
async fn the_number_only_grows_whatever_is_restarted_or_put_back() {
    let machine = Machine::start().await;
    load(&machine, 10, narrower(3)).await.expect("loaded");
    let third = std::fs::read_dir(machine.folder.path().join("bundles"))
        .expect("a folder")
        .next()
        .expect("one")
        .expect("a file");
    for (number, old) in [(11, narrower(2)), (12, packed(&[], 3)), (13, packed(&[], 1))] {
        let report = machine.kernel.offer(old).await.expect("well made");
        assert!(report.refused.is_some_and(|why| why.starts_with("PolicyOlder")));
        let denied = machine.asked(&live(), number, "policy.load", json!({ "digest": report.digest })).await;
        assert_eq!((denied.verdict, denied.reason.as_str()), (Verdict::Denied, "PolicyOlder"), "{}", denied.text);
    }
    let same = machine.kernel.offer(narrower(3)).await.expect("well made");
    assert!(same.refused.is_some_and(|why| why.starts_with("PolicyInForce")));

    // An older file that somebody puts in the folder decides nothing, and a file nobody loaded neither.
    let planted = Bundle::open(&narrower(9), &public_key(&SEED)).expect("opens");
    let folder = machine.folder.path().join("bundles");
    std::fs::write(folder.join(format!("{}.bundle", planted.epoch())), narrower(9)).expect("planted");
    let machine = machine.restarted("boot-2").await;
    assert_eq!(epoch_number(&machine), "3");
    assert!(third.path().exists() && std::fs::read_dir(&folder).expect("a folder").count() == 1);
}

#[tokio::test]
async fn without_the_newest_policy_people_are_served_and_agents_are_not_until_it_is_back() {
    let machine = Machine::start().await;
    load(&machine, 10, narrower(2)).await.expect("loaded");
    let folder = machine.folder.path().join("bundles");
    let file = std::fs::read_dir(&folder).expect("a folder").next().expect("one").expect("a file").path();
    for damage in [None, Some(b"nonsense".to_vec()), Some(narrower(3))] {
        match damage {
            None => std::fs::remove_file(&file).expect("removed"),
            Some(bytes) => std::fs::write(&file, bytes).expect("written"),
        }
    }
    let machine = machine.restarted("boot-2").await;
    let view = machine.kernel.policy();
    assert!(view.note.contains("is not there"), "{view:?}");
    assert_eq!(an_agents_put(&machine, 1).await, (Verdict::Denied, "PolicyBehind".into()));
    let person = machine.asked(&live(), 2, "object.put", json!({"name": "x", "content": ""})).await;
    assert_eq!(person.verdict, Verdict::Allowed);
    let report = machine.kernel.offer(packed(&[], 2)).await.expect("well made");
    assert!(report.refused.is_some_and(|why| why.starts_with("PolicyOlder")), "another one of that number");
    load(&machine, 11, narrower(2)).await.expect("the very one that was lost");
    assert_eq!(an_agents_put(&machine, 3).await, (Verdict::Denied, "ForbiddenByRule".into()));
}

#[tokio::test]
async fn a_newer_image_decides_and_an_older_one_does_not() {
    let machine = Machine::start().await;
    load(&machine, 10, narrower(2)).await.expect("loaded");
    let open = |epoch| Bundle::open(&packed(&[], epoch), &public_key(&SEED)).expect("opens");
    let machine = machine.restarted_with("boot-2", Ok(open(3))).await;
    assert_eq!((epoch_number(&machine).as_str(), machine.kernel.policy().origin), ("3", PolicyOrigin::Image));
    let machine = machine.restarted_with("boot-3", Ok(open(1))).await;
    assert_eq!((epoch_number(&machine).as_str(), machine.kernel.policy().origin), ("2", PolicyOrigin::Loaded));
}

/// Each durable step of a load, cut off after it: before the record the old policy decides, from the record on the new.
#[tokio::test]
async fn a_crash_at_each_step_of_a_load_leaves_one_policy_or_the_other() {
    let machine = Machine::start().await;
    load(&machine, 10, narrower(2)).await.expect("loaded");
    // After the file: the record is refused, and the process ends.
    machine.log.refuse(&["policy-loaded"]);
    assert!(load(&machine, 11, narrower(3)).await.is_err());
    let folder = machine.folder.path().join("bundles");
    assert_eq!(std::fs::read_dir(&folder).expect("a folder").count(), 2, "the file is there");
    machine.log.refuse(&[]);
    let machine = machine.restarted("boot-1").await;
    assert_eq!(epoch_number(&machine), "2");
    assert_eq!(std::fs::read_dir(&folder).expect("a folder").count(), 1, "and is gone");

    // After the record: nothing of the memory is left, and the older file still lies there.
    let third = Bundle::open(&narrower(3), &public_key(&SEED)).expect("opens");
    std::fs::write(folder.join(format!("{}.bundle", third.epoch())), narrower(3)).expect("durable");
    machine.log.kept().records.push(("policy-loaded".into(), json!({"epoch": third.epoch()})));
    let machine = machine.restarted("boot-1").await;
    assert_eq!(epoch_number(&machine), "3");

    // A half-written file is a temporary one and nobody's policy.
    std::fs::write(folder.join(".tmp-4-aaaaaaaaaaaa.bundle"), b"half").expect("written");
    let machine = machine.restarted("boot-2").await;
    assert_eq!(epoch_number(&machine), "3");
    assert_eq!(std::fs::read_dir(&folder).expect("a folder").count(), 1);
}

#[tokio::test]
async fn while_the_log_does_not_tell_nothing_is_decided() {
    let machine = Machine::start().await;
    load(&machine, 10, narrower(2)).await.expect("loaded");
    let (_, waits) = machine.waiting().await;
    machine.log.refuse(&["query"]);
    let machine = machine.restarted("boot-1").await;
    let decision = machine.asked(&live(), 1, "object.put", json!({"name": "x", "content": ""})).await;
    assert_eq!((decision.verdict, decision.reason.as_str()), (Verdict::Denied, "NoPolicy"));
    machine.kernel.end_what_is_over().await.expect("looked through");
    machine.log.refuse(&[]);
    assert_eq!(an_agents_put(&machine, 2).await.1, "ForbiddenByRule");
    let state = machine.kernel.await_approval(waits.as_str());
    let still = tokio::time::timeout(std::time::Duration::from_millis(50), state).await;
    assert!(still.is_err(), "it waits, because the policy is the same: {still:?}");
}

#[tokio::test]
async fn a_bundle_that_is_not_sound_is_refused_with_its_reason() {
    let machine = Machine::start().await;
    let good = narrower(2);
    let about = "epoch = 2\n[[case]]\nwho = 'operator:ada'\ntype = 'node.reboot'\nexpect = 'allowed'\n";
    let permit = "@id(\"a\") permit (principal is Operator, action == Action::\"node.reboot\", resource);\n";
    let foreign = pack([("a.cedar", permit), ("bundle.toml", about)], &[8; 32]).expect("packs");
    let unsigned = [
        b"{\"signer\":\"\",\"signature\":\"\"}\n",
        &good[good.iter().position(|b| *b == b'\n').expect("a line") + 1..],
    ]
    .concat();
    let mut flipped = good.clone();
    let last = flipped.len() - 10;
    flipped[last] ^= 1;
    for (bytes, expected) in [
        (foreign, "is signed by"),
        (unsigned, "is signed by"),
        (flipped, "signature does not fit"),
        (vec![b' '; 10 * 1024 * 1024], "at most"),
        (b"nonsense".to_vec(), "not a policy bundle"),
        (Vec::new(), "not a policy bundle"),
        (other_schema(&good), "another schema"),
        (always_failing(), "PolicyError"),
    ] {
        let refused = machine.kernel.offer(bytes).await.expect_err(expected);
        let text = aios_daemon::error_chain(&refused);
        assert!(text.starts_with("BundleUnusable") && text.contains(expected), "{expected}: {text}");
    }
    assert_eq!(epoch_number(&machine), "1");
}

/// Signed by the right key, for words of another release.
fn other_schema(bundle: &[u8]) -> Vec<u8> {
    let text = std::str::from_utf8(bundle).expect("text");
    let content = text.lines().nth(1).expect("two lines");
    let mut value: Value = serde_json::from_str(content).expect("JSON");
    value["schema"] = json!("ab".repeat(32));
    sealed(&value.to_string())
}

/// Signed by the right key, with a rule that fails whenever it is asked and a case that expects otherwise. What is packed is
/// opened at once, so this is put together by hand.
fn always_failing() -> Vec<u8> {
    let text = std::str::from_utf8(&packed(&[], 2)).expect("text").to_owned();
    let mut value: Value = serde_json::from_str(text.lines().nth(1).expect("two lines")).expect("JSON");
    let failing = "@id(\"fails\") forbid (principal, action, resource) when { 9223372036854775807 + 1 == 0 };";
    value["rules"].as_array_mut().expect("rules").push(json!({"name": "z.cedar", "text": failing}));
    sealed(&value.to_string())
}

fn sealed(content: &str) -> Vec<u8> {
    use ed25519_dalek::{Signer, SigningKey};
    let signature = SigningKey::from_bytes(&SEED).sign(format!("aios policy bundle v1\n{content}").as_bytes());
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let seal =
        format!("{{\"signer\":\"{}\",\"signature\":\"{}\"}}", hex(&public_key(&SEED)), hex(&signature.to_bytes()));
    format!("{seal}\n{content}\n").into_bytes()
}
