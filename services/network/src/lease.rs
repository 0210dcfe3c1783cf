//! What a DHCP client does next (RFC 2131, 4.4), as a function of what happened.
//!
//! | state | until | then |
//! |---|---|---|
//! | `Down` | the link is up | `Selecting` |
//! | `Selecting` | an offer; asks again after 2, 4, 8 … 64 s | `Requesting` |
//! | `Requesting` | ack; nak; three silences | `Checking`; `Paused`; `Selecting` |
//! | `Checking` | nobody has the address; somebody has | `Bound`; `Paused` |
//! | `Paused` | a time that grows with each nak, ten seconds at least for an address that is taken | `Selecting` |
//! | `Bound` | T1 | `Renewing` |
//! | `Renewing` | ack; nak; T2 | `Bound`; `Selecting`; `Rebinding` |
//! | `Rebinding` | ack; nak or the end of the lease | `Bound`; `Selecting` |
//!
//! An ack with another address than before is checked like the first one. Every state goes to `Down` with the link. Times are milliseconds of a clock that never goes back.

use std::net::Ipv4Addr;

use aios_settings::Subnet;

use crate::dhcp::Mac;

/// How often a request is sent before its offer is given up.
const REQUESTS: u32 = 3;

/// The longest wait between two discoveries.
const LONGEST_WAIT_MS: u64 = 64_000;

/// The shortest wait between two renewals.
const SHORTEST_RENEWAL_MS: u64 = 60_000;

/// How long to leave a server alone after its address was declined (RFC 2131, 3.1).
const AFTER_DECLINE_MS: u64 = 10_000;

/// Checking takes less than a second; whoever was to say what came of it is not there any more.
const CHECK_MS: u64 = 5_000;

/// What a server grants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    /// The machine's address in its network.
    pub address: Subnet,
    /// The way out of the network.
    pub gateway: Option<Ipv4Addr>,
    /// Name servers.
    pub dns: Vec<Ipv4Addr>,
    /// Time servers.
    pub time: Vec<Ipv4Addr>,
    /// Who grants it.
    pub server: Ipv4Addr,
    /// How long it lasts, in seconds.
    pub seconds: u32,
    /// T1: when to ask the server for more, in seconds.
    pub renew_after: u32,
    /// T2: when to ask any server for more, in seconds.
    pub rebind_after: u32,
}

/// What a server says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// It could grant this.
    Offer(Lease),
    /// It grants this.
    Ack(Lease),
    /// It grants nothing.
    Nak,
}

/// What the client says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Question {
    /// To all: who grants something?
    Discover,
    /// To all: this one's offer is taken.
    Request {
        /// The offered address.
        address: Ipv4Addr,
        /// Whose offer.
        server: Ipv4Addr,
    },
    /// To the server that granted it: the address is still in use.
    Renew {
        /// The address.
        address: Ipv4Addr,
        /// Who granted it.
        server: Ipv4Addr,
    },
    /// To all: the same.
    Rebind {
        /// The address.
        address: Ipv4Addr,
    },
    /// To all: the granted address is somebody else's.
    Decline {
        /// The address.
        address: Ipv4Addr,
        /// Who granted it.
        server: Ipv4Addr,
    },
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// The link has a carrier.
    Up,
    /// The link lost its carrier.
    Down,
    /// A time came; nothing happens when it is not [`Client::wake_at`] yet.
    Time,
    /// A server answered this client's current transaction.
    Answer(Answer),
    /// Nobody has the address of [`Output::Check`].
    Free,
    /// It is another's.
    Taken {
        /// Whose.
        by: Mac,
    },
}

/// What is to be done, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// Say it.
    Say(Question),
    /// Find out whether somebody on the link has this address.
    Check(Ipv4Addr),
    /// Make the link have this.
    Set(Lease),
    /// Make the link not have it any more.
    Unset(Lease),
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum State {
    Down,
    Selecting { tries: u32 },
    Requesting { offer: Lease, tries: u32 },
    Checking { lease: Lease },
    Paused,
    Bound { lease: Lease, since: u64 },
    Renewing { lease: Lease, since: u64 },
    Rebinding { lease: Lease, since: u64 },
}

/// One link's client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Client {
    state: State,
    wake_at: Option<u64>,
    jitter_ms: u64,
    /// How often a server took its offer back since the last lease.
    refusals: u32,
    /// The last address that was declined since the last lease, and whose it is.
    taken: Option<(Ipv4Addr, Mac)>,
}

/// How far a client without a lease came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// It asks; so often nobody answered.
    Asking {
        /// How often.
        unanswered: u32,
    },
    /// A server says no.
    Refused {
        /// How often.
        times: u32,
    },
    /// A server gave an address that somebody has.
    Taken {
        /// The address.
        address: Ipv4Addr,
        /// Whose it is.
        by: Mac,
    },
}

impl Client {
    /// A client whose link is down. `jitter_ms`, a random number below a second, keeps the machines of a building that got
    /// its power back from asking in chorus.
    pub fn new(jitter_ms: u64) -> Self {
        Self { state: State::Down, wake_at: None, jitter_ms, refusals: 0, taken: None }
    }

    /// When to come back with [`Input::Time`].
    pub fn wake_at(&self) -> Option<u64> {
        self.wake_at
    }

    /// The lease that the link has.
    pub fn lease(&self) -> Option<&Lease> {
        match &self.state {
            State::Bound { lease, .. } | State::Renewing { lease, .. } | State::Rebinding { lease, .. } => Some(lease),
            State::Down
            | State::Selecting { .. }
            | State::Requesting { .. }
            | State::Checking { .. }
            | State::Paused => None,
        }
    }

    /// How far it came, while it has no lease and the link is up.
    pub fn progress(&self) -> Option<Progress> {
        match self.state {
            State::Down | State::Bound { .. } | State::Renewing { .. } | State::Rebinding { .. } => None,
            _ if let Some((address, by)) = self.taken => Some(Progress::Taken { address, by }),
            _ if self.refusals > 0 => Some(Progress::Refused { times: self.refusals }),
            State::Selecting { tries } => Some(Progress::Asking { unanswered: tries }),
            State::Requesting { .. } | State::Checking { .. } | State::Paused => {
                Some(Progress::Asking { unanswered: 0 })
            }
        }
    }

    /// The one place where the state changes.
    #[must_use]
    pub fn step(self, now: u64, input: Input) -> (Self, Vec<Output>) {
        match (self.state.clone(), input) {
            (State::Down, Input::Up) => self.select(now, 0, Vec::new()),
            (State::Down, _) => (self, Vec::new()),
            (_, Input::Down) => {
                let outputs = self.unset();
                (Self { state: State::Down, wake_at: None, refusals: 0, taken: None, ..self }, outputs)
            }
            (_, Input::Time) if self.wake_at.is_none_or(|wake| now < wake) => (self, Vec::new()),

            (State::Selecting { tries }, Input::Time) => self.select(now, tries + 1, Vec::new()),
            (State::Selecting { .. }, Input::Answer(Answer::Offer(offer))) => self.request(now, offer, 0),

            (State::Requesting { offer, tries }, Input::Time) if tries + 1 < REQUESTS => {
                self.request(now, offer, tries + 1)
            }
            (State::Requesting { .. } | State::Paused, Input::Time) => self.select(now, 0, Vec::new()),
            // A server that offers and refuses would be asked without end.
            (State::Requesting { .. }, Input::Answer(Answer::Nak)) => self.pause(now),
            // Only the server whose offer was taken may grant it.
            (State::Requesting { offer, .. }, Input::Answer(Answer::Ack(lease))) if lease.server == offer.server => {
                self.check(now, lease)
            }

            // Silence is what a free address sounds like.
            (State::Checking { lease }, Input::Free | Input::Time) => self.bind(now, lease),
            (State::Checking { lease }, Input::Taken { by }) => self.decline(now, &lease, by),

            (State::Bound { lease, since } | State::Renewing { lease, since }, Input::Time)
                if now < since + seconds(lease.rebind_after) =>
            {
                self.renew(now, lease, since)
            }
            (
                State::Bound { lease, since } | State::Renewing { lease, since } | State::Rebinding { lease, since },
                Input::Time,
            ) => self.rebind_or_end(now, lease, since),
            (
                State::Renewing { lease: old, .. } | State::Rebinding { lease: old, .. },
                Input::Answer(Answer::Ack(lease)),
            ) => {
                if old.address == lease.address {
                    self.bind(now, lease)
                } else {
                    self.check(now, lease)
                }
            }
            (State::Renewing { .. } | State::Rebinding { .. }, Input::Answer(Answer::Nak)) => {
                let outputs = self.unset();
                self.select(now, 0, outputs)
            }

            // Answers that come late or twice, and a link that is up already.
            (_, Input::Answer(_) | Input::Up | Input::Free | Input::Taken { .. }) => (self, Vec::new()),
        }
    }

    fn select(self, now: u64, tries: u32, mut outputs: Vec<Output>) -> (Self, Vec<Output>) {
        let wait = self.wait(tries);
        outputs.push(Output::Say(Question::Discover));
        (Self { state: State::Selecting { tries }, wake_at: Some(now + wait), ..self }, outputs)
    }

    fn pause(self, now: u64) -> (Self, Vec<Output>) {
        let refusals = self.refusals.saturating_add(1);
        let wake_at = Some(now + self.wait(refusals));
        (Self { state: State::Paused, wake_at, refusals, ..self }, Vec::new())
    }

    fn request(self, now: u64, offer: Lease, tries: u32) -> (Self, Vec<Output>) {
        let question = Question::Request { address: offer.address.address(), server: offer.server };
        let wake_at = Some(now + self.wait(tries));
        (Self { state: State::Requesting { offer, tries }, wake_at, ..self }, vec![Output::Say(question)])
    }

    /// What is no longer granted goes before.
    fn check(self, now: u64, lease: Lease) -> (Self, Vec<Output>) {
        let mut outputs = self.unset();
        outputs.push(Output::Check(lease.address.address()));
        (Self { state: State::Checking { lease }, wake_at: Some(now + CHECK_MS), ..self }, outputs)
    }

    fn decline(self, now: u64, lease: &Lease, by: Mac) -> (Self, Vec<Output>) {
        let address = lease.address.address();
        let refusals = self.refusals.saturating_add(1);
        let wake_at = Some(now + self.wait(refusals).max(AFTER_DECLINE_MS));
        let outputs = vec![Output::Say(Question::Decline { address, server: lease.server })];
        (Self { state: State::Paused, wake_at, refusals, taken: Some((address, by)), ..self }, outputs)
    }

    fn bind(self, now: u64, lease: Lease) -> (Self, Vec<Output>) {
        // Setting the same again refreshes it; another way out goes first.
        let mut outputs = match self.lease() {
            Some(old) if old.gateway != lease.gateway => self.unset(),
            _ => Vec::new(),
        };
        outputs.push(Output::Set(lease.clone()));
        let wake_at = Some(now + seconds(lease.renew_after));
        (Self { state: State::Bound { lease, since: now }, wake_at, refusals: 0, taken: None, ..self }, outputs)
    }

    fn renew(self, now: u64, lease: Lease, since: u64) -> (Self, Vec<Output>) {
        let question = Question::Renew { address: lease.address.address(), server: lease.server };
        let wake_at = Some(halfway(now, since + seconds(lease.rebind_after)));
        (Self { state: State::Renewing { lease, since }, wake_at, ..self }, vec![Output::Say(question)])
    }

    fn rebind_or_end(self, now: u64, lease: Lease, since: u64) -> (Self, Vec<Output>) {
        let end = since + seconds(lease.seconds);
        if now >= end {
            let outputs = self.unset();
            return self.select(now, 0, outputs);
        }
        let question = Question::Rebind { address: lease.address.address() };
        let wake_at = Some(halfway(now, end));
        (Self { state: State::Rebinding { lease, since }, wake_at, ..self }, vec![Output::Say(question)])
    }

    fn unset(&self) -> Vec<Output> {
        self.lease().cloned().map(Output::Unset).into_iter().collect()
    }

    fn wait(&self, tries: u32) -> u64 {
        (2_000 << tries.min(8)).min(LONGEST_WAIT_MS) + self.jitter_ms
    }
}

fn seconds(seconds: u32) -> u64 {
    u64::from(seconds) * 1000
}

/// Half of what is left, at least a minute, at most all of it.
fn halfway(now: u64, end: u64) -> u64 {
    let left = end.saturating_sub(now);
    now + (left / 2).max(SHORTEST_RENEWAL_MS).min(left)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SERVER: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 2);

    fn lease(host: u8) -> Lease {
        Lease {
            address: Subnet::new(Ipv4Addr::new(10, 0, 2, host), 24).expect("a host"),
            gateway: Some(SERVER),
            dns: vec![Ipv4Addr::new(10, 0, 2, 3)],
            time: Vec::new(),
            server: SERVER,
            seconds: 3600,
            renew_after: 1800,
            rebind_after: 3150,
        }
    }

    fn discover() -> Vec<Output> {
        vec![Output::Say(Question::Discover)]
    }

    fn bound() -> Client {
        let (client, _) = Client::new(0).step(0, Input::Up);
        let (client, _) = client.step(10, Input::Answer(Answer::Offer(lease(15))));
        let (client, said) = client.step(20, Input::Answer(Answer::Ack(lease(15))));
        assert_eq!(said, [Output::Check(lease(15).address.address())]);
        client.step(20, Input::Free).0
    }

    #[test]
    fn up_discover_offer_request_ack_sets_the_address() {
        let (client, said) = Client::new(0).step(0, Input::Up);
        assert_eq!(said, discover());
        let (client, said) = client.step(10, Input::Answer(Answer::Offer(lease(15))));
        let address = lease(15).address.address();
        assert_eq!(said, [Output::Say(Question::Request { address, server: SERVER })]);
        let (client, said) = client.step(15, Input::Answer(Answer::Ack(lease(15))));
        assert_eq!((said, client.lease()), (vec![Output::Check(address)], None));
        let (client, said) = client.step(20, Input::Free);
        assert_eq!(said, [Output::Set(lease(15))]);
        assert_eq!((client.lease(), client.wake_at()), (Some(&lease(15)), Some(20 + 1_800_000)));
    }

    #[test]
    fn silence_is_asked_into_ever_more_slowly() {
        let (mut client, _) = Client::new(7).step(0, Input::Up);
        let mut waits = Vec::new();
        let mut now = 0;
        for _ in 0..8 {
            let wake = client.wake_at().expect("it asks again");
            waits.push(wake - now);
            now = wake;
            let (next, said) = client.step(now, Input::Time);
            assert_eq!(said, discover());
            client = next;
        }
        assert_eq!(waits, [2_007, 4_007, 8_007, 16_007, 32_007, 64_007, 64_007, 64_007]);
    }

    #[test]
    fn an_offer_whose_server_is_silent_or_says_no_is_given_up() {
        let (client, _) = Client::new(0).step(0, Input::Up);
        let (asked, _) = client.step(0, Input::Answer(Answer::Offer(lease(15))));
        let (paused, said) = asked.clone().step(1, Input::Answer(Answer::Nak));
        assert_eq!((said, paused.progress()), (vec![], Some(Progress::Refused { times: 1 })));
        let (paused, said) = paused.step(2, Input::Answer(Answer::Offer(lease(15))));
        assert_eq!(said, [], "it is not asked in circles");
        let (asking, said) = paused.step(4_001, Input::Time);
        assert_eq!((said, asking.progress()), (discover(), Some(Progress::Refused { times: 1 })));

        let (asked, said) = asked.clone().step(asked.wake_at().expect("a time"), Input::Time);
        assert!(matches!(said[..], [Output::Say(Question::Request { .. })]));
        let (asked, _) = asked.clone().step(asked.wake_at().expect("a time"), Input::Time);
        let (_, said) = asked.clone().step(asked.wake_at().expect("a time"), Input::Time);
        assert_eq!(said, discover());
    }

    #[test]
    fn only_the_chosen_server_can_grant() {
        let (client, _) = Client::new(0).step(0, Input::Up);
        let (client, _) = client.step(0, Input::Answer(Answer::Offer(lease(15))));
        let other = Lease { server: Ipv4Addr::new(10, 0, 2, 66), ..lease(66) };
        assert_eq!(client.step(1, Input::Answer(Answer::Ack(other))).1, []);
    }

    #[test]
    fn a_lease_is_renewed_rebound_and_in_the_end_given_back() {
        let client = bound();
        let address = lease(15).address.address();
        let (client, said) = client.step(20 + 1_800_000, Input::Time);
        assert_eq!(said, [Output::Say(Question::Renew { address, server: SERVER })]);
        let (renewed, said) = client.clone().step(2_000_000, Input::Answer(Answer::Ack(lease(15))));
        assert_eq!(said, [Output::Set(lease(15))]);
        assert_eq!(renewed.wake_at(), Some(2_000_000 + 1_800_000));

        let (client, said) = client.step(20 + 3_150_000, Input::Time);
        assert_eq!(said, [Output::Say(Question::Rebind { address })]);
        let (_, said) = client.step(20 + 3_600_000, Input::Time);
        assert_eq!(said, [Output::Unset(lease(15)), Output::Say(Question::Discover)]);
    }

    #[test]
    fn another_address_replaces_the_old_one() {
        let (client, _) = bound().step(20 + 1_800_000, Input::Time);
        let (checking, said) = client.clone().step(1_900_000, Input::Answer(Answer::Ack(lease(16))));
        assert_eq!(said, [Output::Unset(lease(15)), Output::Check(lease(16).address.address())]);
        assert_eq!(checking.step(1_900_600, Input::Free).1, [Output::Set(lease(16))]);
        let (_, said) = client.step(1_900_000, Input::Answer(Answer::Nak));
        assert_eq!(said, [Output::Unset(lease(15)), Output::Say(Question::Discover)]);
    }

    #[test]
    fn an_address_that_somebody_has_is_declined_and_the_server_left_alone() {
        let (client, _) = Client::new(0).step(0, Input::Up);
        let (client, _) = client.step(10, Input::Answer(Answer::Offer(lease(15))));
        let (client, _) = client.step(20, Input::Answer(Answer::Ack(lease(15))));
        let (address, by) = (lease(15).address.address(), [2, 0, 0, 0, 0, 9]);
        let (paused, said) = client.clone().step(620, Input::Taken { by });
        assert_eq!(said, [Output::Say(Question::Decline { address, server: SERVER })]);
        assert_eq!((paused.lease(), paused.progress()), (None, Some(Progress::Taken { address, by })));
        assert_eq!(paused.clone().step(10_619, Input::Time).1, []);
        let (asking, said) = paused.step(10_620, Input::Time);
        assert_eq!((said, asking.progress()), (discover(), Some(Progress::Taken { address, by })));
        // Who was to find out and says nothing does not keep the machine without a network.
        assert_eq!(client.step(20 + CHECK_MS, Input::Time).1, [Output::Set(lease(15))]);
    }

    #[test]
    fn a_link_that_goes_down_has_no_address() {
        let (down, said) = bound().step(30, Input::Down);
        assert_eq!((said, down.lease(), down.wake_at()), (vec![Output::Unset(lease(15))], None, None));
        assert_eq!(down.step(40, Input::Up).1, discover());
    }

    fn any_input() -> impl Strategy<Value = Input> {
        prop_oneof![
            Just(Input::Up),
            Just(Input::Down),
            Just(Input::Time),
            (1..4_u8).prop_map(|host| Input::Answer(Answer::Offer(lease(host)))),
            (1..4_u8).prop_map(|host| Input::Answer(Answer::Ack(lease(host)))),
            Just(Input::Answer(Answer::Nak)),
            Just(Input::Free),
            Just(Input::Taken { by: [2; 6] }),
        ]
    }

    proptest! {
        #[test]
        fn the_link_has_what_the_client_says_and_never_two_addresses(
            steps in proptest::collection::vec((any_input(), 0..4_000_000_u64), 0..60),
        ) {
            let mut client = Client::new(0);
            let mut on_link: Option<Lease> = None;
            let mut now = 0;
            for (input, passed) in steps {
                now += passed;
                let (next, outputs) = client.step(now, input);
                for output in outputs {
                    match output {
                        Output::Set(lease) => {
                            prop_assert!(on_link.as_ref().is_none_or(|old| old.address == lease.address));
                            on_link = Some(lease);
                        }
                        Output::Unset(lease) => prop_assert_eq!(on_link.take(), Some(lease)),
                        Output::Say(_) | Output::Check(_) => {}
                    }
                }
                prop_assert_eq!(next.lease(), on_link.as_ref());
                prop_assert_eq!(next.wake_at().is_none(), next.state == State::Down);
                client = next;
            }
        }
    }
}
