//! What nobody should send, and many at once.

use tokio::task::JoinSet;

use super::*;

#[tokio::test]
async fn what_is_no_envelope_is_refused_before_anything_is_recorded() {
    let machine = Machine::start().await;
    let good = envelope(&live(), 1, "object.put", json!({"name": "x", "content": "y"})).canonical();
    let deep = |depth: usize| format!("{}1{}", "[".repeat(depth), "]".repeat(depth));
    let huge = "x".repeat(10 << 20);
    for (what, text) in [
        ("nothing", String::new()),
        ("no object", "[]".into()),
        ("cut off", good[..good.len() - 1].to_owned()),
        ("followed by more", format!("{good} {good}")),
        ("a key twice", good.replacen("\"schema\"", "\"subject\":\"operator:ada\",\"schema\"", 1)),
        ("a key twice by escapes", good.replacen("\"schema\"", "\"s\\u0075bject\":\"operator:ada\",\"schema\"", 1)),
        ("a field too many", good.replacen("\"schema\"", "\"approved\":true,\"schema\"", 1)),
        ("an array a thousand deep", deep(1000)),
        ("a parameter a million deep", good.replacen("\"y\"", &deep(1_000_000), 1)),
        ("ten megabytes", good.replacen("\"y\"", &format!("\"{huge}\""), 1)),
        ("half a character", good.replacen("\"y\"", "\"\\ud800\"", 1)),
        ("a number that is none", good.replacen("\"y\"", "1e999", 1)),
    ] {
        let error = machine.kernel.decide(&text, live()).await.expect_err(what);
        assert!(matches!(error, KernelError::Envelope(_) | KernelError::Form(_)), "{what}: {error:?}");
        assert!(error.to_string().len() < 1000, "{what}: {error}");
    }
    assert!(machine.log.kinds().is_empty());
    assert_eq!(
        machine.asked(&live(), 2, "object.put", json!({"name": "x", "content": "y"})).await.reason,
        "PermittedByRule"
    );
}

#[tokio::test]
async fn a_policy_of_ten_megabytes_is_refused_and_the_old_one_decides_on() {
    let machine = Machine::start().await;
    let before = machine.kernel.policy().epoch;
    let mut bytes = packed(&[], 2);
    bytes.resize(10 << 20, b' ');
    let refused = machine.kernel.offer(bytes).await.expect_err("ten megabytes");
    assert!(refused.to_string().contains("at most"), "{refused}");
    assert_eq!(machine.kernel.policy().epoch, before);
}

/// Every decision of a policy whose rule cannot be evaluated is a denial that names the rule.
#[tokio::test]
async fn a_policy_that_always_fails_denies_everybody_everything() {
    let rules = "@id(\"everything\") permit (principal, action, resource);\n@id(\"fails\")\n\
                 forbid (principal, action, resource) when { 9223372036854775807 + 1 == 0 };\n";
    let about =
        "epoch = 1\n[[case]]\nwho = 'operator:ada'\ntype = 'node.reboot'\nexpect = 'denied'\nreason = 'PolicyError'\n";
    let bytes = pack([("rules.cedar", rules), ("bundle.toml", about)], &SEED).expect("packs");
    let machine = Machine::start_with(Ok(Bundle::open(&bytes, &public_key(&SEED)).expect("opens"))).await;
    for (place, entry) in aios_action::CATALOGUE.iter().enumerate() {
        for who in [live(), agent()] {
            let decision = machine.asked(&who, place as u64, entry.name, entry.example().into()).await;
            assert_eq!(decision.verdict, Verdict::Denied, "{who} {}: {decision:?}", entry.name);
            let by_rule = decision.reason == "PolicyError" && decision.rules == ["fails"];
            assert!(by_rule || decision.rules.iter().all(|rule| rule.starts_with("hd.")), "{decision:?}");
        }
    }
}

/// The approval of one action, shown by 64 callers at once through the service: one action runs with it, whoever is first,
/// and that is one record. Half of them are the action itself, asked again; the others are actions of their own.
#[tokio::test]
async fn of_sixty_four_callers_at_once_one_uses_an_approval_and_one_use_is_recorded() {
    let machine = Machine::start().await;
    let (envelope, id) = machine.waiting().await;
    machine.approve(&id, &live(), "").await.expect("granted");
    let epoch = machine.kernel.policy().epoch;
    let mut callers = JoinSet::new();
    for number in 0..64u64 {
        let own = super::envelope(&agent(), 100 + number, "service.restart", json!({"name": "network"}));
        let shown = if number % 2 == 0 { envelope.clone() } else { own };
        let (kernel, id, epoch) = (Arc::clone(&machine.kernel), id.clone(), epoch.clone());
        callers.spawn(async move {
            let digest = shown.digest().to_string();
            (number, kernel.consume(id.as_str(), &digest, &epoch, shown.id.as_str()).await.ok())
        });
    }
    let answers = callers.join_all().await;
    let tokens: Vec<_> = answers.iter().filter_map(|(_, token)| *token).collect();
    assert_eq!(tokens.len(), 32, "the action itself, each time it asks");
    assert!(tokens.iter().all(|token| *token == tokens[0]), "the same use has the same token");
    assert!(answers.iter().all(|(number, token)| token.is_none() || number % 2 == 0));
    let used = machine.log.kinds().iter().filter(|kind| *kind == "approval-consumed").count();
    assert_eq!(used, 1);
}

/// The same with people: 64 who say yes at once are one yes, recorded once.
#[tokio::test]
async fn of_sixty_four_who_approve_at_once_one_does() {
    let machine = Machine::start().await;
    let (_, id) = machine.waiting().await;
    let mut people = JoinSet::new();
    for _ in 0..64 {
        let (kernel, id) = (Arc::clone(&machine.kernel), id.clone());
        people.spawn(async move { kernel.approve(id.as_str(), &live(), "", "").await.is_ok() });
    }
    let yes = people.join_all().await.into_iter().filter(|yes| *yes).count();
    let granted = machine.log.kinds().iter().filter(|kind| *kind == "approval-granted").count();
    assert_eq!((yes, granted), (1, 1));
}
