//! Another policy: offered, compared, approved by a person, put in force.
//!
//! The steps of loading and what a crash leaves:
//!
//! | step | after a crash |
//! |---|---|
//! | the bundle's file is durable | the old policy decides; the file was never loaded and is removed |
//! | the record `policy-loaded` is durable | the new policy decides |
//! | it takes the place of the old one, waiting approvals end, older files go | the same at the next start |

use std::sync::Arc;

use aios_ids::{ActionId, Digest};
use aios_policy::{Bundle, Epoch, compare};
use aios_wire::policy::{Approval, BundleReport, CaseReport, PolicyView};
use serde_json::{Value, json};

use super::{Kernel, KernelError, Result};
use crate::offers::OfferedBundle;

/// The kind of record that says which policy was loaded.
const LOADED: &str = "policy-loaded";

/// A person is shown all that agents gain. What is more than this nobody judges.
const MOST_SHOWN: usize = 200;

impl Kernel {
    /// Finds out from the evidence log which policy is in force. While the log does not tell, nothing is.
    pub(crate) async fn settle(&self) {
        if self.policy.is_settled() {
            return;
        }
        let _turn = self.turn.write().await;
        if self.policy.is_settled() {
            return;
        }
        let newest = match self.evidence.newest(LOADED).await {
            Ok(None) => None,
            Ok(Some(payload)) => match payload["epoch"].as_str().and_then(Epoch::parse) {
                Some(epoch) => Some(epoch),
                None => return eprintln!("the newest record of kind '{LOADED}' names no epoch: {payload}"),
            },
            Err(error) => {
                return eprintln!("it is not known which policy is in force: {}", aios_daemon::error_chain(&error));
            }
        };
        // Whoever reads the log sees the end all the same: a boot, or a restart of this program, comes after it.
        if let Err(error) = self.end_override_of_before().await {
            eprintln!("the end of an earlier emergency is not recorded: {}", aios_daemon::error_chain(&error));
        }
        self.policy.settle(newest);
        let policy = self.policy.now();
        if let Some(note) = policy.note() {
            eprintln!("{note}");
        }
        // Only people are told by this; who needs the epoch asks.
        let _ = aios_daemon::status(&format!("policy epoch {}", policy.epoch()));
        if let Err(error) = self.sweep(&policy) {
            eprintln!("approvals of an earlier policy are left: {}", aios_daemon::error_chain(&error));
        }
    }

    /// What a bundle would do. Nothing is kept.
    pub(crate) async fn check(self: &Arc<Self>, bytes: Vec<u8>) -> Result<BundleReport> {
        let offered = self.compared(bytes).await?;
        Ok(self.report(&offered))
    }

    /// The same, and keeps the bundle in memory for an action `policy.load` that names it.
    pub(crate) async fn offer(self: &Arc<Self>, bytes: Vec<u8>) -> Result<BundleReport> {
        let offered = self.compared(bytes).await?;
        let report = self.report(&offered);
        self.offers.add_bundle(offered);
        Ok(report)
    }

    async fn compared(self: &Arc<Self>, bytes: Vec<u8>) -> Result<OfferedBundle> {
        self.settle().await;
        let kernel = Arc::clone(self);
        // Opening and comparing takes up to seconds, which decisions should not wait for.
        let compared = tokio::task::spawn_blocking(move || {
            let bundle = kernel.policy.open(&bytes)?;
            Ok(kernel.against_what_decides(Arc::new(bytes), bundle))
        });
        compared.await.map_err(|_| KernelError::Bundle("the check was broken off".into()))?.map_err(KernelError::Bundle)
    }

    fn against_what_decides(&self, bytes: Arc<Vec<u8>>, bundle: Arc<Bundle>) -> OfferedBundle {
        let policy = self.policy.now();
        let comparison = compare(policy.bundle(), &bundle);
        OfferedBundle { bytes, instead_of: policy.epoch().to_owned(), comparison, bundle }
    }

    fn report(&self, offered: &OfferedBundle) -> BundleReport {
        let (rules, cases) = offered.bundle.counts();
        let refused = self.refused(offered).err().map(|error| aios_daemon::error_chain(&error));
        let comparison = offered.comparison.clone().unwrap_or_default();
        BundleReport {
            digest: offered.bundle.digest(),
            epoch: offered.bundle.epoch().into(),
            signer: offered.bundle.signer().into(),
            rules,
            cases,
            instead_of: offered.instead_of.clone(),
            refused,
            widens_agents: comparison.widens_agents,
            changes: comparison.changes,
        }
    }

    fn refused(&self, offered: &OfferedBundle) -> Result<()> {
        self.policy.may_follow(&offered.bundle)?;
        match &offered.comparison {
            Err(error) => Err(KernelError::Bundle(error.to_string())),
            Ok(comparison) if comparison.widens_agents.len() > MOST_SHOWN => {
                let text = format!(
                    "it gives agents {} things, and nobody judges more than {MOST_SHOWN} at once; load it in steps",
                    comparison.widens_agents.len()
                );
                Err(KernelError::Bundle(text))
            }
            Ok(_) => Ok(()),
        }
    }

    fn offered(&self, digest: &str) -> Result<OfferedBundle> {
        let digest: Digest = digest.parse()?;
        let offered = self.offers.bundle(&digest).ok_or_else(|| {
            let text =
                format!("nobody offered a bundle {digest} since the policy kernel started; 'aios policy load FILE'");
            KernelError::NotOffered(text)
        })?;
        if offered.instead_of == self.policy.now().epoch() {
            return Ok(offered);
        }
        let offered = self.against_what_decides(offered.bytes, offered.bundle);
        self.offers.add_bundle(offered.clone());
        Ok(offered)
    }

    /// The list that a person says yes or no to.
    pub(super) fn what_a_load_changes(&self, digest: &str) -> Result<Vec<String>> {
        let offered = self.offered(digest)?;
        self.refused(&offered)?;
        let comparison = offered.comparison.unwrap_or_default();
        let mut lines = vec![format!("policy {} takes the place of {}", offered.bundle.epoch(), offered.instead_of)];
        if comparison.widens_agents.is_empty() {
            lines.push("agents get nothing that they do not have".into());
        } else {
            lines.push("AGENTS GET MORE:".into());
            lines.extend(comparison.widens_agents);
        }
        let more = comparison.changes.len().saturating_sub(MOST_SHOWN);
        lines.extend(comparison.changes.into_iter().take(MOST_SHOWN));
        if more > 0 {
            lines.push(format!("and {more} more changes for others; 'aios policy check FILE' lists all"));
        }
        Ok(lines)
    }

    /// Puts an offered bundle in force for an action that a person has approved.
    pub(crate) async fn load(&self, digest: &str, action: &str) -> Result<PolicyView> {
        self.settle().await;
        let _turn = self.turn.write().await;
        let action: ActionId = action.parse()?;
        let approval = self.used_approval(&action, "policy.load", &[("digest", digest)])?;
        let offered = self.offered(digest)?;
        self.refused(&offered)?;
        self.policy.keep(&offered.bundle, &offered.bytes)?;
        let payload = json!({
            "epoch": offered.bundle.epoch(),
            "bundle": offered.bundle.digest(),
            "signer": offered.bundle.signer(),
            "instead_of": offered.instead_of,
            "by": approval.yes.last(),
            "approval": approval.id,
        });
        if let Err(error) = self.evidence.append(LOADED, action.as_str(), &payload).await {
            // Whether it is in the log is not certain: the log is asked before anything else is decided.
            self.policy.forget_the_newest();
            return Err(error.into());
        }
        self.policy.switch_to(offered.bundle);
        let policy = self.policy.now();
        // Only people are told by this.
        let _ = aios_daemon::status(&format!("policy epoch {}", policy.epoch()));
        self.sweep(&policy)?;
        self.tell_change();
        Ok(policy.view())
    }

    /// The approval of an action whose effect is in this program, if it was used up for exactly this. The runtime uses it
    /// right before it starts the adapter; without it neither the runtime nor anybody else changes who decides.
    pub(super) fn used_approval(
        &self,
        action: &ActionId,
        action_type: &str,
        wanted: &[(&str, &str)],
    ) -> Result<Approval> {
        let not_approved = || KernelError::NotApproved(action.clone());
        let approval = self.approvals.of_action(action)?.ok_or_else(not_approved)?;
        let parameters: Value = serde_json::from_str(&approval.parameters).unwrap_or_default();
        let same = wanted.iter().all(|(name, value)| parameters[*name] == *value);
        let fits = approval.action_type == action_type && same;
        let used = aios_policy::approval::was_used_now(&approval, self.at(&self.policy.now()));
        if fits && used { Ok(approval) } else { Err(not_approved()) }
    }

    /// The test cases of the policy in force.
    pub(crate) fn test(&self) -> Vec<CaseReport> {
        self.policy.now().bundle().map(Bundle::test).unwrap_or_default()
    }
}
