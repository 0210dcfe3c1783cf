//! `org.aios.Policy1`: what callers may ask, and the words they get when it fails.

use std::os::fd::AsFd;
use std::sync::Arc;

use aios_daemon::{Caller, error_chain};
use aios_identity::Peer;
use aios_policy::keys::SignatureError;
use serde::Serialize;
use zbus::{Fd, fdo};

use crate::kernel::{Asking, Kernel, KernelError};

/// The policy kernel as one caller sees it.
pub(crate) struct Policy1 {
    caller: Caller,
    kernel: Arc<Kernel>,
}

impl Policy1 {
    pub(crate) fn new(caller: Caller, kernel: Arc<Kernel>) -> Self {
        Self { caller, kernel }
    }

    fn require(&self, verb: &str) -> fdo::Result<()> {
        self.caller.require("policy-kernel", verb)
    }
}

#[zbus::interface(name = "org.aios.Policy1")]
impl Policy1 {
    /// Decides on an envelope, records the decision, and makes a request for approval if one is needed. `subject` is a
    /// pidfd of who asked.
    async fn decide(&self, envelope: &str, subject: Fd<'_>) -> fdo::Result<String> {
        self.require("decide")?;
        let subject = resolve(&subject)?;
        json(self.kernel.decide(envelope, subject).await)
    }

    /// What [`Self::decide`] would say. Nothing is recorded and nothing can be approved. The runtime asks for a plan, which
    /// is remembered for a while.
    async fn explain(&self, envelope: &str, subject: Fd<'_>) -> fdo::Result<String> {
        self.require("explain")?;
        let subject = resolve(&subject)?;
        self.kernel.settle().await;
        let asking = match &self.caller.peer {
            Peer::Service { name } if name == "action-runtime" => Asking::Planning,
            _ => Asking::Now,
        };
        json(self.kernel.explain(envelope, &subject, asking).await)
    }

    /// What would be decided now on an envelope and a subject that are in the evidence log. Nothing is recorded, and nothing
    /// can be approved: the subject is a record's word here, which is good enough for a comparison and for nothing else.
    async fn decide_again(&self, envelope: &str, subject: &str) -> fdo::Result<String> {
        self.require("decide-again")?;
        let subject = serde_json::from_str(subject)
            .map_err(|error| fdo::Error::InvalidArgs(format!("the subject is no peer: {error}")))?;
        self.kernel.settle().await;
        json(self.kernel.explain(envelope, &subject, Asking::Again).await)
    }

    /// Every request for approval that is kept, oldest first.
    async fn approvals(&self) -> fdo::Result<String> {
        self.require("approvals")?;
        json(self.kernel.approvals())
    }

    /// A person says yes, with the code beside the request where its risk is high.
    async fn approve(&self, id: &str, code: &str, pass_phrase: &str) -> fdo::Result<()> {
        self.kernel.refuse_agents(&self.caller.peer, "approve", id).await.map_err(told)?;
        self.require("approve")?;
        self.kernel.approve(id, &self.caller.peer, code, pass_phrase).await.map_err(told)
    }

    /// A person said yes elsewhere, by a signature; who calls is a person too and only brings it.
    async fn approve_signed(&self, id: &str, signature: &str) -> fdo::Result<()> {
        self.kernel.refuse_agents(&self.caller.peer, "approve-signed", id).await.map_err(told)?;
        self.require("approve-signed")?;
        self.kernel.approve_signed(id, &self.caller.peer, signature).await.map_err(told)
    }

    /// A person says no.
    async fn reject(&self, id: &str, reason: &str) -> fdo::Result<()> {
        self.kernel.refuse_agents(&self.caller.peer, "reject", id).await.map_err(told)?;
        self.require("reject")?;
        self.kernel.reject(id, &self.caller.peer, reason).await.map_err(told)
    }

    /// The approval as soon as it does not wait any more.
    async fn await_approval(&self, id: &str) -> fdo::Result<String> {
        self.require("await-approval")?;
        json(self.kernel.await_approval(id).await)
    }

    /// Uses a granted approval, once; the same use again has the same answer.
    async fn consume(&self, approval: &str, digest: &str, epoch: &str, action: &str) -> fdo::Result<String> {
        self.require("consume")?;
        let token = self.kernel.consume(approval, digest, epoch, action).await.map_err(told)?;
        Ok(token.to_string())
    }

    /// The action that this was asked for is cancelled: nobody is asked any more.
    async fn withdraw(&self, approval: &str) -> fdo::Result<()> {
        self.require("withdraw")?;
        self.kernel.withdraw(approval).await.map_err(told)
    }

    /// Checks a person's pass phrase and has PID 1 start their session on `terminal`.
    async fn login(&self, name: &str, pass_phrase: &str, terminal: &str) -> fdo::Result<()> {
        self.require("login")?;
        self.kernel.log_in(name, pass_phrase, terminal).await.map_err(told)
    }

    /// What a bundle would do in the place of the policy in force. Nothing is kept.
    async fn check(&self, bundle: Vec<u8>) -> fdo::Result<String> {
        self.require("check")?;
        json(self.kernel.check(bundle).await)
    }

    /// The same, and the bundle can be named by an action `policy.load`.
    async fn offer(&self, bundle: Vec<u8>) -> fdo::Result<String> {
        self.require("offer")?;
        json(self.kernel.offer(bundle).await)
    }

    /// Puts an offered bundle in force, for the action of this id.
    async fn load(&self, digest: &str, action: &str) -> fdo::Result<String> {
        self.require("load")?;
        json(self.kernel.load(digest, action).await)
    }

    /// What comes of the test cases of the policy in force.
    async fn test(&self) -> fdo::Result<String> {
        self.require("test")?;
        self.kernel.settle().await;
        json(Ok(self.kernel.test()))
    }

    /// Who can log in.
    async fn people(&self) -> fdo::Result<String> {
        self.require("people")?;
        json(self.kernel.people(&self.caller.peer))
    }

    /// Keeps the hash of a pass phrase for an action of this caller that names the person.
    async fn offer_pass_phrase(&self, name: &str, pass_phrase: &str) -> fdo::Result<()> {
        self.require("offer-pass-phrase")?;
        self.kernel.offer_pass_phrase(&self.caller.peer, name, pass_phrase).await.map_err(told)
    }

    /// Lets one more person log in, for the action of this id.
    async fn add_operator(&self, name: &str, action: &str) -> fdo::Result<()> {
        self.require("add-operator")?;
        self.kernel.add_operator(name, action).await.map_err(told)
    }

    /// Changes a person's pass phrase, for the action of this id.
    async fn change_pass_phrase(&self, name: &str, action: &str) -> fdo::Result<()> {
        self.require("change-pass-phrase")?;
        self.kernel.change_pass_phrase(name, action).await.map_err(told)
    }

    /// Takes what a key signs as a person's answer, for the action of this id.
    async fn add_key(&self, name: &str, key: &str, action: &str) -> fdo::Result<()> {
        self.require("add-key")?;
        self.kernel.add_key(name, key, action).await.map_err(told)
    }

    /// Takes a key from a person, for the action of this id.
    async fn remove_key(&self, name: &str, fingerprint: &str, action: &str) -> fdo::Result<()> {
        self.require("remove-key")?;
        self.kernel.remove_key(name, fingerprint, action).await.map_err(told)
    }

    /// A person declares an emergency of their own, for so many minutes.
    async fn start_override(&self, minutes: u32, reason: &str, pass_phrase: &str) -> fdo::Result<String> {
        // Who is no person is refused, and recorded, by the kernel itself, whatever the table says.
        if matches!(self.caller.peer, Peer::Operator { .. }) {
            self.require("start-override")?;
        }
        json(self.kernel.start_override(&self.caller.peer, minutes, reason, pass_phrase).await)
    }

    /// Ends the emergency, whoever declared it.
    async fn end_override(&self) -> fdo::Result<()> {
        self.require("end-override")?;
        self.kernel.end_override(&self.caller.peer).await.map_err(told)
    }

    /// The emergency that lasts, or null.
    async fn override_now(&self) -> fdo::Result<String> {
        self.require("override-now")?;
        json(Ok(self.kernel.override_now().await))
    }

    /// The policy that decides now.
    async fn show(&self) -> fdo::Result<String> {
        self.require("show")?;
        self.kernel.settle().await;
        json(Ok(self.kernel.policy()))
    }
}

fn resolve(subject: &Fd<'_>) -> fdo::Result<Peer> {
    aios_daemon::identify(subject.as_fd()).map_err(|error| {
        fdo::Error::AccessDenied(format!("SubjectUnknown: it cannot be said who asks: {}", error_chain(&error)))
    })
}

fn json(result: Result<impl Serialize, KernelError>) -> fdo::Result<String> {
    let value = result.map_err(told)?;
    Ok(serde_json::to_string(&value).expect("the messages have only text keys"))
}

fn told(error: KernelError) -> fdo::Error {
    let text = error_chain(&error);
    match error {
        KernelError::Input { .. }
        | KernelError::Envelope(_)
        | KernelError::Form(_)
        | KernelError::Key(_)
        | KernelError::Fingerprint(_)
        | KernelError::Signature(SignatureError::Size(_) | SignatureError::Form(_)) => fdo::Error::InvalidArgs(text),
        KernelError::Signature(_) | KernelError::Signer(_) => fdo::Error::AccessDenied(text),
        KernelError::Blocked(_) | KernelError::Login(_) | KernelError::NotApproved(_) | KernelError::Override(_) => {
            fdo::Error::AccessDenied(text)
        }
        KernelError::Approvals(_)
        | KernelError::Evidence(_)
        | KernelError::Session(_)
        | KernelError::Random(_)
        | KernelError::People(_)
        | KernelError::Bundle(_)
        | KernelError::NotNewer(_)
        | KernelError::Keep(_)
        | KernelError::NotTried(_)
        | KernelError::NotOffered(_) => fdo::Error::Failed(text),
    }
}
