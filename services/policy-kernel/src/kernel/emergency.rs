//! An emergency that a person declared: kept in memory, so that it dies with this program, and on record for ever.
//!
//! | step | after a crash |
//! |---|---|
//! | the record that it begins is durable | no emergency; the next start records its end |
//! | it counts | the same |
//! | the record of a use is durable | the decision was not told; the next start records the end |
//! | the record of its end is durable | it has ended |

use aios_identity::Peer;
use aios_policy::{Override, OverrideRefusal};
use aios_wire::policy::{Decision, OverrideView};
use serde_json::json;
use tokio::sync::Mutex;

use super::{Kernel, KernelError, Result};
use crate::evidence::EvidenceError;

/// The kind of record that tells of it.
const OVERRIDE: &str = "override";

/// The emergency, if there is one.
pub(super) type Kept = Mutex<Option<Override>>;

impl Kernel {
    /// A person declares an emergency, proving again who they are.
    pub(crate) async fn start_override(
        &self,
        by: &Peer,
        minutes: u32,
        reason: &str,
        pass_phrase: &str,
    ) -> Result<OverrideView> {
        let declare = |before: Option<&Override>| Override::declare(by, minutes, reason, before, (self.clock)().0);
        let possible = declare(self.emergency.lock().await.as_ref());
        if let Err(refusal @ OverrideRefusal::NotAPerson(_)) = &possible {
            self.attempted(by, "start-override", "OverrideByPersonOnly", "hd.ai_override").await?;
            return Err(refusal.clone().into());
        }
        possible?;
        self.confirm(by, pass_phrase, "override").await?;
        let mut kept = self.emergency.lock().await;
        let declared = declare(kept.as_ref())?;
        self.end_what_lasted(&mut kept).await?;
        let payload = json!({"what": "started", "by": by, "minutes": minutes, "reason": reason});
        self.evidence.append(OVERRIDE, "", &payload).await?;
        let view = self.told(&declared);
        *kept = Some(declared);
        Ok(view)
    }

    /// Any person ends it, whoever declared it.
    pub(crate) async fn end_override(&self, by: &Peer) -> Result<()> {
        if !matches!(by, Peer::Operator { .. }) {
            return Err(OverrideRefusal::NotAPerson(by.to_string()).into());
        }
        let mut kept = self.emergency.lock().await;
        let Some(lasting) = kept.take() else { return Ok(()) };
        // It is over even if that cannot be recorded.
        let payload = json!({"what": "ended", "by": by, "of": lasting.by, "why": "person", "uses": lasting.uses});
        self.evidence.append(OVERRIDE, "", &payload).await?;
        Ok(())
    }

    /// What lasts now.
    pub(crate) async fn override_now(&self) -> Option<OverrideView> {
        let kept = self.emergency.lock().await;
        kept.as_ref().filter(|kept| !kept.is_over((self.clock)().0)).map(|kept| self.told(kept))
    }

    fn told(&self, kept: &Override) -> OverrideView {
        let left_ms = kept.until_ms.saturating_sub((self.clock)().0);
        OverrideView {
            by: kept.by.clone(),
            reason: kept.reason.clone(),
            left_s: left_ms.div_ceil(1000),
            uses: kept.uses,
        }
    }

    /// What it is to who asks now.
    pub(super) async fn emergency_of(&self, subject: &Peer) -> aios_policy::Emergency {
        let kept = self.emergency.lock().await;
        kept.as_ref().map(|kept| kept.of(subject, (self.clock)().0)).unwrap_or_default()
    }

    /// Records that a decision came out as it did only because of it, before the decision is told.
    pub(super) async fn record_use(
        &self,
        decision: &Decision,
        action_type: &str,
        action: &str,
    ) -> std::result::Result<(), EvidenceError> {
        if !aios_policy::is_override(decision) {
            return Ok(());
        }
        let payload = json!({
            "what": "used",
            "by": decision.subject,
            "type": action_type,
            "digest": decision.digest,
            "epoch": decision.epoch,
        });
        self.evidence.append(OVERRIDE, action, &payload).await?;
        if let Some(kept) = self.emergency.lock().await.as_mut() {
            kept.uses = kept.uses.saturating_add(1);
        }
        Ok(())
    }

    /// Ends it when its time has run out.
    pub(super) async fn end_override_in_time(&self) -> Result<()> {
        let mut kept = self.emergency.lock().await;
        self.end_what_lasted(&mut kept).await
    }

    async fn end_what_lasted(&self, kept: &mut Option<Override>) -> Result<()> {
        let Some(over) = kept.as_ref().filter(|kept| kept.is_over((self.clock)().0)) else { return Ok(()) };
        let payload = json!({"what": "ended", "by": over.by, "of": over.by, "why": "time", "uses": over.uses});
        self.evidence.append(OVERRIDE, "", &payload).await?;
        *kept = None;
        Ok(())
    }

    /// Records the end of an emergency that an earlier process of this program did not outlive.
    pub(super) async fn end_override_of_before(&self) -> std::result::Result<(), EvidenceError> {
        let Some(newest) = self.evidence.newest(OVERRIDE).await? else { return Ok(()) };
        if newest["what"] == "ended" {
            return Ok(());
        }
        let payload = json!({"what": "ended", "by": newest["by"], "of": newest["by"], "why": "restart"});
        self.evidence.append(OVERRIDE, "", &payload).await?;
        Ok(())
    }
}

impl From<OverrideRefusal> for KernelError {
    fn from(refusal: OverrideRefusal) -> Self {
        Self::Override(refusal)
    }
}
