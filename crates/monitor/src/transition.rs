//! What happens next to a supervised container: a pure function from state
//! and event to state and actions. Time is part of the events (since the
//! monitor began), so that back-off is tested without sleeping.
//!
//! ```text
//!            Go            Started            Ended, policy says again
//!  Created ──────► Starting ──────► Running ─────────────────────────► Waiting
//!     │               │  ▲             │                                │   │
//!     │ launcher gone │  └─────────────┼──────────── Tick, time is up ──┘   │ stop requested
//!     ▼               ▼ failed         ▼ Ended                              ▼
//!  Finished        Finished         Finished                            Finished
//! ```
//!
//! When probes are due and what they mean is in [`crate::health`]; here an
//! unhealthy container is only one more reason to end.

use std::time::Duration;

use state::{Departure, ExitStatus, HealthAction, RestartPolicy, StopConfig};
use sys::Error;

/// The first wait before a restart; doubles with each that follows.
const BACKOFF_FIRST: Duration = Duration::from_millis(100);
/// No wait is longer.
const BACKOFF_MAX: Duration = Duration::from_mins(1);
/// Whoever ran for so long starts again with the first wait.
const BACKOFF_RESET: Duration = Duration::from_secs(10);

/// What is supervised, as far as decisions depend on it.
#[derive(Clone, Debug, PartialEq)]
pub struct Supervised {
    pub phase: Phase,
    /// How often the policy has started it again.
    pub restarts: u32,
    pub stop_requested: bool,
    /// Its processes are on the disk and are being ended here.
    pub leaving: Option<Departure>,
    /// It is being ended because it is unhealthy.
    ending: Option<Ending>,
    policy: RestartPolicy,
    /// The wait before the last restart; zero if none counts.
    backoff: Duration,
}

/// Where it is in its life.
#[derive(Clone, Debug, PartialEq)]
pub enum Phase {
    /// At the gate, until the launching engine says go.
    Created,
    Starting,
    Running {
        since: Duration,
    },
    /// To be started again at `until`.
    Waiting {
        until: Duration,
        last: End,
    },
    Finished,
}

/// An end that we brought about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Ending {
    /// When patience is over; none if it was.
    kill_at: Option<Duration>,
    again: bool,
}

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct End {
    pub status: ExitStatus,
    pub out_of_memory: bool,
    /// Bytes that it was allowed, if it ran out of them.
    pub memory_limit: Option<u64>,
}

/// What happened.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    Go,
    /// The engine that launched us closed its connection.
    LauncherGone,
    Started {
        at: Duration,
    },
    StartFailed(Error),
    /// The process is reaped and its output read to the end.
    Ended {
        end: End,
        at: Duration,
    },
    StopRequested,
    /// Its processes were written down, and shall not go on here.
    Leave(Departure),
    /// `update --restart`.
    PolicyChanged(RestartPolicy),
    /// It turned unhealthy, and that has consequences.
    Unhealthy {
        action: HealthAction,
        stop: StopConfig,
        at: Duration,
    },
    Tick {
        at: Duration,
    },
}

/// What to do about it, in order.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Open the gate of what was created.
    Start,
    /// Create it once more and start it.
    StartAgain,
    /// Kill what was created: nobody waits for it any more.
    Abandon,
    /// Write down that it runs and tell the clients.
    AnnounceStart,
    /// Write down anew what is known (a stop is under way).
    UpdateFacts,
    /// Write down that it ended and will be started again.
    AnnounceWait(End),
    Signal(i32),
    /// Kill everything in it.
    EndAll,
    /// Tell the clients that it is suspended; there is no exit.
    AnnounceSuspension,
    /// Tell the launching engine that there will be no container.
    ReportFailure(Error),
    /// Write the exit record and tell the clients; `error` if the last start
    /// failed.
    Record {
        end: End,
        error: Option<Error>,
    },
}

impl Supervised {
    /// Something created that waits for its start.
    pub fn new(policy: RestartPolicy) -> Self {
        Self {
            phase: Phase::Created,
            restarts: 0,
            stop_requested: false,
            leaving: None,
            ending: None,
            policy,
            backoff: Duration::ZERO,
        }
    }

    /// When a [`Event::Tick`] is due.
    pub fn wake_at(&self) -> Option<Duration> {
        match self.phase {
            Phase::Waiting { until, .. } => Some(until),
            Phase::Running { .. } => self.ending.and_then(|ending| ending.kill_at),
            _ => None,
        }
    }

    /// False if this run is the last one for sure.
    pub fn may_restart(&self) -> bool {
        self.policy != RestartPolicy::No && !self.stop_requested
    }

    pub fn policy(&self) -> RestartPolicy {
        self.policy
    }

    pub fn is_finished(&self) -> bool {
        self.phase == Phase::Finished
    }
}

/// The state after `event`, and what has to be done.
pub fn next(now: &Supervised, event: Event) -> (Supervised, Vec<Action>) {
    let mut then = now.clone();
    let actions = match (&now.phase, event) {
        (Phase::Created, Event::Go) => {
            then.phase = Phase::Starting;
            vec![Action::Start]
        }
        (Phase::Created, Event::LauncherGone) => {
            then.phase = Phase::Finished;
            vec![Action::Abandon]
        }
        (Phase::Starting, Event::Started { at }) => {
            then.phase = Phase::Running { since: at };
            vec![Action::AnnounceStart]
        }
        // It may fail before anybody said go.
        (Phase::Created | Phase::Starting, Event::StartFailed(error)) => {
            then.phase = Phase::Finished;
            vec![failed_start(now, error)]
        }
        (Phase::Running { .. }, Event::Ended { end, .. }) if now.leaving.is_some() => {
            let end = End {
                status: ExitStatus::Code(0),
                ..end
            };
            if now.leaving == Some(Departure::Checkpointed) {
                finish(&mut then, end)
            } else {
                then.phase = Phase::Finished;
                vec![Action::AnnounceSuspension]
            }
        }
        (Phase::Running { since }, Event::Ended { end, at }) => {
            then.ending = None;
            match wait_before_restart(now, end.status, at.saturating_sub(*since)) {
                Some(backoff) => {
                    then.backoff = backoff;
                    let until = at + backoff;
                    then.phase = Phase::Waiting { until, last: end };
                    vec![Action::AnnounceWait(end)]
                }
                None => finish(&mut then, end),
            }
        }
        (Phase::Waiting { until, .. }, Event::Tick { at }) if at >= *until => {
            then.restarts = then.restarts.saturating_add(1);
            then.phase = Phase::Starting;
            vec![Action::StartAgain]
        }
        (Phase::Running { .. }, Event::Unhealthy { action, stop, at })
            if now.ending.is_none() && action != HealthAction::None =>
        {
            let again = action == HealthAction::Restart;
            then.stop_requested |= !again;
            let kill_at = at.checked_add(stop.timeout);
            then.ending = Some(Ending { kill_at, again });
            vec![Action::UpdateFacts, Action::Signal(stop.signal)]
        }
        (Phase::Running { .. }, Event::Tick { at })
            if now.wake_at().is_some_and(|wake| at >= wake) =>
        {
            if let Some(ending) = &mut then.ending {
                ending.kill_at = None;
            }
            vec![Action::Signal(9)]
        }
        (Phase::Running { .. }, Event::Leave(departure)) => {
            then.leaving = Some(departure);
            then.stop_requested |= departure == Departure::Checkpointed;
            vec![Action::EndAll]
        }
        (Phase::Waiting { last, .. }, Event::PolicyChanged(RestartPolicy::No)) => {
            then.policy = RestartPolicy::No;
            finish(&mut then, *last)
        }
        (_, Event::PolicyChanged(policy)) => {
            then.policy = policy;
            Vec::new()
        }
        (Phase::Waiting { last, .. }, Event::StopRequested) => {
            then.stop_requested = true;
            finish(&mut then, *last)
        }
        (Phase::Created | Phase::Starting | Phase::Running { .. }, Event::StopRequested) => {
            then.stop_requested = true;
            // Without a policy the note would change nothing for anybody.
            if matches!(now.phase, Phase::Running { .. }) && now.policy != RestartPolicy::No {
                vec![Action::UpdateFacts]
            } else {
                Vec::new()
            }
        }
        // All else says nothing new in the phase that it comes in.
        _ => Vec::new(),
    };
    (then, actions)
}

fn finish(then: &mut Supervised, end: End) -> Vec<Action> {
    then.phase = Phase::Finished;
    vec![Action::Record { end, error: None }]
}

/// The first start is the launching engine's affair; a later one happens
/// alone, so its failure goes into the record. As in Docker it is not tried
/// again: what cannot be started now could not be started in a loop either.
fn failed_start(now: &Supervised, error: Error) -> Action {
    if now.restarts == 0 {
        return Action::ReportFailure(error);
    }
    let end = End {
        status: ExitStatus::Code(state_code(&error)),
        out_of_memory: false,
        memory_limit: None,
    };
    let error = Some(error);
    Action::Record { end, error }
}

fn state_code(error: &Error) -> u8 {
    match error.kind() {
        sys::ErrorKind::CommandNotFound => 127,
        sys::ErrorKind::CommandNotExecutable => 126,
        _ => 125,
    }
}

/// `None` if the policy lets it rest.
fn wait_before_restart(now: &Supervised, status: ExitStatus, ran: Duration) -> Option<Duration> {
    let again = !now.stop_requested
        && (now.ending.is_some_and(|ending| ending.again)
            || match now.policy {
                RestartPolicy::No => false,
                RestartPolicy::Always | RestartPolicy::UnlessStopped => true,
                // As in Docker, at most 0 times means without a limit.
                RestartPolicy::OnFailure { at_most } => {
                    let limit = at_most.filter(|limit| *limit > 0);
                    status.code() != 0 && limit.is_none_or(|limit| now.restarts < limit)
                }
            });
    if !again {
        return None;
    }
    if now.backoff.is_zero() || ran >= BACKOFF_RESET {
        return Some(BACKOFF_FIRST);
    }
    Some((now.backoff * 2).min(BACKOFF_MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    const FAILED: End = End {
        status: ExitStatus::Code(3),
        out_of_memory: false,
        memory_limit: None,
    };
    const DONE: End = End {
        status: ExitStatus::Code(0),
        out_of_memory: false,
        memory_limit: None,
    };

    fn millis(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    fn error() -> Error {
        Error::new(sys::ErrorKind::CommandNotFound, "no such file")
    }

    fn record(end: End) -> Vec<Action> {
        vec![Action::Record { end, error: None }]
    }

    /// Feeds events and gives the actions of each.
    fn play(policy: RestartPolicy, events: Vec<Event>) -> (Supervised, Vec<Vec<Action>>) {
        let mut state = Supervised::new(policy);
        let mut all = Vec::new();
        for event in events {
            let (then, actions) = next(&state, event);
            state = then;
            all.push(actions);
        }
        (state, all)
    }

    fn started() -> Vec<Event> {
        vec![Event::Go, Event::Started { at: millis(5) }]
    }

    fn ended(end: End, at: u64) -> Event {
        Event::Ended {
            end,
            at: millis(at),
        }
    }

    #[test]
    fn runs_once_without_a_policy() {
        let mut events = started();
        events.push(ended(FAILED, 100));
        let (state, actions) = play(RestartPolicy::No, events);
        assert!(state.is_finished());
        assert_eq!(
            actions,
            [
                vec![Action::Start],
                vec![Action::AnnounceStart],
                record(FAILED)
            ]
        );
    }

    #[test]
    fn what_is_on_the_disk_is_not_started_again_and_its_end_is_no_failure() {
        let killed = End {
            status: ExitStatus::Signal(9),
            ..FAILED
        };
        for (departure, last) in [
            (Departure::Suspended, vec![Action::AnnounceSuspension]),
            (Departure::Checkpointed, record(DONE)),
        ] {
            let mut events = started();
            events.extend([Event::Leave(departure), ended(killed, 100)]);
            let (state, actions) = play(RestartPolicy::Always, events);
            assert!(state.is_finished());
            assert_eq!(actions[2], [Action::EndAll]);
            assert_eq!(actions[3], last);
            // `unless-stopped` does not start it at the next boot.
            assert_eq!(state.stop_requested, departure == Departure::Checkpointed);
        }
    }

    #[test]
    fn a_launcher_matters_only_before_go() {
        let (state, actions) = play(RestartPolicy::Always, vec![Event::LauncherGone]);
        assert!(state.is_finished());
        assert_eq!(actions, [vec![Action::Abandon]]);
        let mut events = started();
        events.push(Event::LauncherGone);
        let (state, actions) = play(RestartPolicy::No, events);
        assert_eq!(state.phase, Phase::Running { since: millis(5) });
        assert!(actions[2].is_empty());
    }

    #[test]
    fn a_first_start_that_fails_is_reported_and_a_later_one_recorded() {
        let (state, actions) = play(
            RestartPolicy::Always,
            vec![Event::Go, Event::StartFailed(error())],
        );
        assert!(state.is_finished());
        assert_eq!(actions[1], [Action::ReportFailure(error())]);
        let mut events = started();
        events.extend([
            ended(FAILED, 10),
            Event::Tick { at: millis(110) },
            Event::StartFailed(error()),
        ]);
        let (state, actions) = play(RestartPolicy::Always, events);
        assert!(state.is_finished());
        assert_eq!(actions[3], [Action::StartAgain]);
        let end = End {
            status: ExitStatus::Code(127),
            out_of_memory: false,
            memory_limit: None,
        };
        let error = Some(error());
        assert_eq!(actions[4], [Action::Record { end, error }]);
    }

    #[test]
    fn each_policy_decides_by_the_exit() {
        let on_failure = |at_most| RestartPolicy::OnFailure { at_most };
        for (policy, end, again) in [
            (RestartPolicy::No, FAILED, false),
            (RestartPolicy::Always, DONE, true),
            (RestartPolicy::UnlessStopped, DONE, true),
            (on_failure(None), DONE, false),
            (on_failure(None), FAILED, true),
            (on_failure(Some(0)), FAILED, true),
            (on_failure(Some(1)), FAILED, true),
        ] {
            let mut events = started();
            events.push(ended(end, 50));
            let (state, _) = play(policy, events);
            assert_eq!(state.wake_at(), again.then_some(millis(150)), "{policy:?}");
        }
    }

    #[test]
    fn on_failure_counts_its_restarts() {
        let mut events = started();
        events.extend([
            ended(FAILED, 10),
            Event::Tick { at: millis(110) },
            Event::Started { at: millis(111) },
            ended(FAILED, 120),
        ]);
        let policy = RestartPolicy::OnFailure { at_most: Some(1) };
        let (state, actions) = play(policy, events);
        assert!(state.is_finished());
        assert_eq!(state.restarts, 1);
        assert_eq!(actions[5], record(FAILED));
    }

    #[test]
    fn waits_double_up_to_a_minute_and_begin_anew_after_ten_seconds() {
        let mut state = Supervised::new(RestartPolicy::Always);
        let mut at = Duration::ZERO;
        let mut waits = Vec::new();
        let mut round = |state: &mut Supervised, ran: Duration| {
            *state = next(state, Event::Go).0;
            *state = next(state, Event::Started { at }).0;
            at += ran;
            *state = next(state, Event::Ended { end: FAILED, at }).0;
            let until = state.wake_at().unwrap();
            waits.push(until.saturating_sub(at).as_millis());
            // Too early is too early.
            let early = until.saturating_sub(millis(1));
            assert!(next(state, Event::Tick { at: early }).1.is_empty());
            at = until;
            *state = next(state, Event::Tick { at }).0;
            assert_eq!(state.phase, Phase::Starting);
        };
        for _ in 0..11 {
            round(&mut state, millis(9999));
        }
        round(&mut state, millis(10_000));
        assert_eq!(waits[..4], [100, 200, 400, 800]);
        assert_eq!(waits[9..], [51_200, 60_000, 100]);
        assert_eq!(state.restarts, 12);
    }

    #[test]
    fn a_stop_ends_the_restarts() {
        let mut events = started();
        events.extend([Event::StopRequested, ended(FAILED, 10)]);
        let (state, actions) = play(RestartPolicy::Always, events);
        assert!(state.is_finished());
        assert_eq!(actions[2..], [vec![Action::UpdateFacts], record(FAILED)]);
        // Also while it waits.
        let mut events = started();
        events.extend([ended(FAILED, 10), Event::StopRequested]);
        let (state, actions) = play(RestartPolicy::Always, events);
        assert!(state.is_finished());
        assert_eq!(actions[3], record(FAILED));
    }

    #[test]
    fn a_changed_policy_counts_from_then_on() {
        let mut events = started();
        events.extend([
            Event::PolicyChanged(RestartPolicy::Always),
            ended(DONE, 10),
            Event::PolicyChanged(RestartPolicy::No),
        ]);
        let (state, actions) = play(RestartPolicy::No, events);
        assert_eq!(actions[3], [Action::AnnounceWait(DONE)]);
        assert!(state.is_finished());
        assert_eq!(actions[4], record(DONE));
    }

    #[test]
    fn an_unhealthy_container_is_ended_patiently() {
        let stop = StopConfig {
            signal: 15,
            timeout: millis(100),
        };
        let unhealthy = |action| Event::Unhealthy {
            action,
            stop: stop.clone(),
            at: millis(50),
        };
        let mut events = started();
        events.extend([
            unhealthy(HealthAction::Restart),
            // Again: it is being ended already.
            unhealthy(HealthAction::Restart),
            Event::Tick { at: millis(149) },
            Event::Tick { at: millis(150) },
            ended(FAILED, 151),
        ]);
        let (state, actions) = play(RestartPolicy::No, events);
        assert_eq!(actions[2], [Action::UpdateFacts, Action::Signal(15)]);
        assert!(actions[3].is_empty() && actions[4].is_empty());
        assert_eq!(actions[5], [Action::Signal(9)]);
        assert_eq!(actions[6], [Action::AnnounceWait(FAILED)]);
        assert_eq!(state.wake_at(), Some(millis(251)));
        // The next run is not ended for it.
        let mut events = started();
        events.extend([unhealthy(HealthAction::Stop), ended(DONE, 60)]);
        let (state, actions) = play(RestartPolicy::Always, events);
        assert!(state.is_finished());
        assert_eq!(actions[3], record(DONE));
        let mut events = started();
        events.push(unhealthy(HealthAction::None));
        let (_, actions) = play(RestartPolicy::Always, events);
        assert!(actions[2].is_empty());
    }

    #[test]
    fn nothing_happens_after_the_end() {
        let mut events = started();
        events.extend([
            ended(FAILED, 10),
            Event::StopRequested,
            Event::Go,
            Event::LauncherGone,
            Event::Tick { at: millis(9000) },
            ended(DONE, 9001),
        ]);
        let (state, actions) = play(RestartPolicy::No, events);
        assert!(state.is_finished());
        assert!(actions[3..].iter().all(Vec::is_empty));
    }
}
