//! Keys of people, and answers that they signed elsewhere: whose answer it is, and every way in which it is none.

use aios_policy::keys::NAMESPACE;
use ssh_key::private::Ed25519Keypair;
use ssh_key::{HashAlg, LineEnding, PrivateKey};

use super::*;

fn key(number: u8) -> PrivateKey {
    PrivateKey::from(Ed25519Keypair::from_seed(&[number; 32]))
}

fn public(key: &PrivateKey) -> String {
    key.public_key().to_openssh().expect("a line")
}

fn fingerprint(key: &PrivateKey) -> String {
    key.fingerprint(HashAlg::Sha256).to_string()
}

/// As `ssh-keygen -Y sign` does it.
fn signed(key: &PrivateKey, namespace: &str, text: &str) -> String {
    let signature = key.sign(namespace, HashAlg::Sha512, text.as_bytes()).expect("signed");
    signature.to_pem(LineEnding::LF).expect("a text")
}

fn name(name: &str) -> aios_ids::UnitName {
    name.parse().expect("a name")
}

fn grace() -> Peer {
    Peer::Operator { name: "grace".into(), strength: SessionStrength::PassPhrase }
}

impl Machine {
    /// Lets 'ada', with the key number 1, and 'grace', with the key number 2, log in.
    fn with_keys(&self) {
        self.with_people_and_a_key(&public(&key(1)));
        self.change_list(|list| list.with_key(&name("grace"), public(&key(2)).parse().expect("a key")).expect("room"));
    }

    /// Lets 'ada', with this key, and 'grace' log in; both have the same pass phrase.
    pub(super) fn with_people_and_a_key(&self, line: &str) {
        self.with_ada();
        self.change_list(|list| {
            let list = list.with(&name("grace"), list.all()[0].argon2id.clone()).expect("room");
            list.with_key(&name("ada"), line.parse().expect("a key")).expect("room")
        });
    }

    fn change_list(&self, change: impl FnOnce(Operators) -> Operators) {
        let path = self.folder.path().join("operators.json");
        let list = Operators::parse(&std::fs::read(&path).expect("written")).expect("a list");
        std::fs::write(path, change(list).to_json()).expect("written");
    }

    fn to_sign(&self, id: &ApprovalId) -> String {
        let all = self.kernel.approvals().expect("read");
        let found = all.into_iter().find(|approval| approval.id == *id);
        found.and_then(|approval| approval.to_sign).expect("it waits")
    }

    /// A signature for this request, as it stands now.
    fn signed(&self, id: &ApprovalId, number: u8) -> String {
        signed(&key(number), NAMESPACE, &self.to_sign(id))
    }

    fn state(&self, id: &ApprovalId) -> ApprovalState {
        self.kernel.approvals.get(id).expect("kept").state
    }

    fn keys_of(&self, name: &str) -> Vec<String> {
        let people = self.kernel.people(&live()).expect("read").operators;
        let person = people.into_iter().find(|person| person.name == name).expect("listed");
        person.keys.into_iter().map(|key| key.fingerprint).collect()
    }
}

#[tokio::test]
async fn who_signed_is_who_answers_whoever_brings_it() {
    let machine = Machine::start().await;
    machine.with_keys();
    let (envelope, id) = machine.waiting().await;
    let signature = machine.signed(&id, 1);
    machine.kernel.approve_signed(id.as_str(), &grace(), &signature).await.expect("ada said yes");
    let record = machine.log.last();
    assert_eq!((&record["by"]["name"], &record["by"]["strength"]), (&json!("ada"), &json!("signature")), "{record}");
    assert_eq!(
        (&record["carrier"]["name"], &record["key"]),
        (&json!("grace"), &json!(fingerprint(&key(1)))),
        "{record}"
    );
    assert_eq!(record["confirmation"], false);
    machine.consume(&envelope, &id).await.expect("granted");
    let again = machine.kernel.approve_signed(id.as_str(), &grace(), &signature).await.expect_err("used");
    assert!(again.to_string().starts_with("AlreadyAnswered"), "{again}");

    // Of a high risk too: the text that was signed has the whole digest, of which the code is a part.
    let (envelope, own) = machine.requested(&ada(), 2, "node.reboot", json!({})).await;
    machine.kernel.approve_signed(own.as_str(), &ada(), &machine.signed(&own, 1)).await.expect("her own");
    assert_eq!(machine.log.last()["confirmation"], true);
    machine.consume(&envelope, &own).await.expect("granted");
}

#[tokio::test]
async fn a_signature_makes_nobody_two_people() {
    let machine = Machine::where_several_are_wanted().await;
    machine.with_keys();
    let (envelope, id) = machine.waiting().await;
    let signature = machine.signed(&id, 1);
    machine.kernel.approve_signed(id.as_str(), &ada(), &signature).await.expect("the first");
    for carrier in [ada(), grace(), live()] {
        let again =
            machine.kernel.approve_signed(id.as_str(), &carrier, &signature).await.expect_err("the same person");
        assert!(again.to_string().starts_with("SaidAlready"), "{again}");
    }
    let again = machine.approve(&id, &ada(), "correct horse").await.expect_err("the same person at the machine");
    assert!(again.to_string().starts_with("SaidAlready"), "{again}");
    assert!(machine.consume(&envelope, &id).await.is_err(), "one is not two");
    machine.kernel.approve_signed(id.as_str(), &ada(), &machine.signed(&id, 2)).await.expect("the second");
    machine.consume(&envelope, &id).await.expect("both said yes");

    // Who asks is not another person because another person brings the signature.
    let (_, own) = machine.requested(&ada(), 2, "node.reboot", json!({})).await;
    let refused = machine.kernel.approve_signed(own.as_str(), &grace(), &machine.signed(&own, 1)).await;
    assert!(refused.expect_err("who asks").to_string().starts_with("OwnRequest"));
    machine.kernel.approve_signed(own.as_str(), &ada(), &machine.signed(&own, 2)).await.expect("grace said yes");
}

#[tokio::test]
async fn a_signature_for_anything_else_changes_nothing_and_is_recorded() {
    let machine = Machine::start().await;
    machine.with_keys();
    let (_, id) = machine.waiting().await;
    let (_, other) = machine.requested(&agent(), 2, "service.restart", json!({"name": "settings"})).await;
    let text = machine.to_sign(&id);
    let ours = |text: &str| signed(&key(1), NAMESPACE, text);
    let of_another_epoch = text.replace(&machine.kernel.policy().epoch, "9-000000000000");
    assert_ne!(of_another_epoch, text);
    for (what, signature, reason) in [
        ("another request", machine.signed(&other, 1), "SignatureWrong"),
        ("another boot", ours(&text.replace("boot boot-1\n", "boot boot-0\n")), "SignatureWrong"),
        ("another policy", ours(&of_another_epoch), "SignatureWrong"),
        ("another answer", ours(&text.replace("answer approve", "answer reject")), "SignatureWrong"),
        ("another purpose", signed(&key(1), "file", &text), "SignatureForOther"),
        ("nobody's key", signed(&key(9), NAMESPACE, &text), "SignerUnknown"),
    ] {
        let refused = machine.kernel.approve_signed(id.as_str(), &ada(), &signature).await.expect_err(what);
        assert!(refused.to_string().starts_with(reason), "{what}: {refused}");
        let record = machine.log.last();
        assert_eq!((&record["verdict"], &record["reason"]), (&json!("denied"), &json!(reason)), "{what}: {record}");
        assert_eq!(record["approval"], id.as_str(), "{what}");
        assert!(record["key"].as_str().is_some_and(|key| key.starts_with("SHA256:")), "{what}: {record}");
        assert_eq!(machine.state(&id), ApprovalState::Waiting, "{what}");
    }
    let records = machine.log.kinds().len();
    let good = machine.signed(&id, 1);
    for (what, signature) in [
        ("nothing", ""),
        ("cut off", &good[..good.len() / 2]),
        ("a mebibyte", &"A".repeat(1 << 20)),
        ("no armour", "yes"),
    ] {
        let refused = machine.kernel.approve_signed(id.as_str(), &ada(), signature).await.expect_err(what);
        assert!(refused.to_string().starts_with("SignatureUnreadable"), "{what}: {refused}");
    }
    assert_eq!(machine.log.kinds().len(), records, "what is no signature says nothing of anybody");

    // What was signed in this boot is worth nothing in the next, although the request still waits there.
    let machine = machine.restarted("boot-2").await;
    let late = machine.kernel.approve_signed(id.as_str(), &ada(), &good).await.expect_err("of the boot before");
    assert!(late.to_string().starts_with("SignatureWrong"), "{late}");
    machine.kernel.approve_signed(id.as_str(), &ada(), &machine.signed(&id, 1)).await.expect("signed again");
}

#[tokio::test]
async fn an_agent_that_brings_a_right_signature_is_refused_and_recorded() {
    let machine = Machine::start().await;
    machine.with_keys();
    let (_, id) = machine.waiting().await;
    let signature = machine.signed(&id, 1);
    let error = machine.kernel.refuse_agents(&agent(), "approve-signed", id.as_str()).await.expect_err("an agent");
    assert!(error.to_string().starts_with("AiSelfApprovalBlocked"), "{error}");
    let record = machine.log.last();
    assert_eq!((&record["reason"], &record["verb"]), (&json!("AiSelfApprovalBlocked"), &json!("approve-signed")));
    let service = Peer::Service { name: "agent-door".into() };
    for carrier in [agent(), service] {
        let refused = machine.kernel.approve_signed(id.as_str(), &carrier, &signature).await.expect_err("no person");
        assert!(matches!(refused, KernelError::Blocked(_)), "the second fence: {refused}");
        assert_eq!(machine.state(&id), ApprovalState::Waiting);
    }
    machine.kernel.approve_signed(id.as_str(), &live(), &signature).await.expect("a person brings it");
}

#[tokio::test]
async fn a_signed_answer_that_cannot_be_recorded_is_none() {
    let machine = Machine::start().await;
    machine.with_keys();
    let (_, id) = machine.waiting().await;
    machine.log.refuse(&["approval-granted"]);
    assert!(machine.kernel.approve_signed(id.as_str(), &ada(), &machine.signed(&id, 1)).await.is_err());
    assert_eq!(machine.state(&id), ApprovalState::Waiting);
    machine.log.refuse(&[]);
    machine.kernel.approve_signed(id.as_str(), &ada(), &machine.signed(&id, 1)).await.expect("recorded");
}

#[tokio::test]
async fn a_key_counts_from_its_approval_until_it_is_taken_away() {
    let machine = Machine::start().await;
    machine.with_keys();
    let (_, id) = machine.waiting().await;
    let new = format!("{} ada@phone", public(&key(3)));
    let parameters = json!({"name": "ada", "key": new});
    let (envelope, request) = machine.requested(&ada(), 2, "user.key.add", parameters).await;
    let shown = machine.kernel.approvals.get(&request).expect("kept").shows.join(" ");
    assert!(shown.contains(&fingerprint(&key(3))) && shown.contains("ada@phone"), "{shown}");
    // Not before somebody said yes, not for another person, and no other key than the one that was shown.
    let action = envelope.id.as_str();
    let not_approved = |result: Result<()>| assert!(matches!(result, Err(KernelError::NotApproved(_))), "{result:?}");
    not_approved(machine.kernel.add_key("ada", &new, action).await);
    machine
        .kernel
        .approve_signed(request.as_str(), &ada(), &machine.signed(&request, 1))
        .await
        .expect("by her other key");
    not_approved(machine.kernel.add_key("ada", &new, action).await);
    machine.consume(&envelope, &request).await.expect("granted");
    not_approved(machine.kernel.add_key("grace", &new, action).await);
    not_approved(machine.kernel.add_key("ada", &public(&key(4)), action).await);
    not_approved(machine.kernel.remove_key("ada", &fingerprint(&key(1)), action).await);
    let early = signed(&key(3), NAMESPACE, &machine.to_sign(&id));
    machine.kernel.approve_signed(id.as_str(), &ada(), &early).await.expect_err("no key yet");
    machine.log.refuse(&["operator"]);
    machine.kernel.add_key("ada", &new, action).await.expect_err("no record, no key");
    assert_eq!(machine.keys_of("ada"), [fingerprint(&key(1))]);
    machine.log.refuse(&[]);
    machine.kernel.add_key("ada", &new, action).await.expect("added");
    assert_eq!(machine.log.last()["key"], fingerprint(&key(3)));
    assert_eq!(machine.keys_of("ada"), [fingerprint(&key(1)), fingerprint(&key(3))]);
    let twice = machine.kernel.add_key("ada", &new, action).await.expect_err("it is there");
    assert!(twice.to_string().starts_with("KeyTaken"), "{twice}");

    // Grace takes it away, and what it signed before is worth nothing from then on.
    let gone = json!({"name": "ada", "fingerprint": fingerprint(&key(3))});
    let (envelope, request) = machine.requested(&grace(), 3, "user.key.remove", gone).await;
    machine.approve(&request, &grace(), "correct horse").await.expect("as her phrase was set");
    machine.consume(&envelope, &request).await.expect("granted");
    machine.kernel.remove_key("ada", &fingerprint(&key(3)), envelope.id.as_str()).await.expect("removed");
    let late = machine.kernel.approve_signed(id.as_str(), &ada(), &early).await.expect_err("taken away");
    assert!(late.to_string().starts_with("SignerUnknown"), "{late}");
    assert_eq!(machine.state(&id), ApprovalState::Waiting);
    // The pass phrases are as they were.
    machine.kernel.confirm(&ada(), "correct horse", "approval").await.expect("her phrase");
}
