//! What the answers to a component's probes come to: a pure state machine over results and their times, kept by
//! whoever asks. It says what to ask next and what is known; what follows is planned from that fact.
//!
//! ```text
//!  process seen ──▶ coming up ──startup passes──▶ asked for liveness and readiness
//!                       │                             │            ▲
//!                       │ not within its patience     │ failures   │ one good answer
//!                       └────────────▶ hung ◀─────────┘ in a row ──┘
//! ```

use khactl_model::facts::ProbeFact;
use khactl_model::spec::{ProbeSpec, Probes};

/// Until the first good answer a process is asked so often, whatever the period: how soon a control plane serves
/// hangs on it. In milliseconds.
const EAGER_MS: u64 = 100;

/// Which question.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum ProbeKind {
    /// Has it come up?
    Startup,
    /// Is it alive?
    Liveness,
    /// Does it serve?
    Readiness,
}

/// The probes of one process, from the moment at which it was first seen.
#[derive(Debug, Clone)]
pub struct Probing {
    probes: Probes,
    started_at_ms: u64,
    seen_at_ms: u64,
    up: bool,
    ready: bool,
    /// It was ready, or has run for so long that it should be.
    served: bool,
    failing: bool,
    detail: String,
    hung: Option<String>,
    startup: Course,
    liveness: Course,
    readiness: Course,
}

/// One question's past.
#[derive(Debug, Clone, Copy, Default)]
struct Course {
    asked_ms: Option<u64>,
    in_flight: bool,
    passed: bool,
    successes: u16,
    failures: u16,
}

impl Probing {
    /// Of a process that was started then and is seen now, in milliseconds of CLOCK_BOOTTIME. One that has run for
    /// longer than it may take to come up is up: whoever asks was started anew, not the process.
    pub fn new(probes: Probes, started_at_ms: u64, now_ms: u64) -> Self {
        let up = probes
            .startup
            .as_ref()
            .is_none_or(|startup| now_ms >= started_at_ms.saturating_add(patience_ms(startup)));
        let mut probing = Self {
            probes,
            started_at_ms,
            seen_at_ms: now_ms,
            up: false,
            ready: false,
            served: up,
            failing: false,
            detail: "it was not probed yet".to_owned(),
            hung: None,
            startup: Course::default(),
            liveness: Course::default(),
            readiness: Course::default(),
        };
        if up {
            probing.come_up();
        }
        probing
    }

    /// Whoever asked before has seen it serve: that it is asked with other settings is no reason to forget that.
    pub fn has_served(&mut self) {
        self.served = true;
    }

    /// What to ask next and when; `None` while every question is on its way, or none is to be asked.
    pub fn next(&self) -> Option<(ProbeKind, u64)> {
        [
            ProbeKind::Startup,
            ProbeKind::Liveness,
            ProbeKind::Readiness,
        ]
        .into_iter()
        .filter_map(|kind| Some((kind, self.due_ms(kind)?)))
        .min_by_key(|(kind, due_ms)| (*due_ms, *kind))
    }

    /// How it is asked.
    pub fn spec(&self, kind: ProbeKind) -> Option<&ProbeSpec> {
        match kind {
            ProbeKind::Startup => self.probes.startup.as_ref(),
            ProbeKind::Liveness => self.probes.liveness.as_ref(),
            ProbeKind::Readiness => self.probes.readiness.as_ref(),
        }
    }

    /// Notes that a question is on its way.
    pub fn asked(&mut self, kind: ProbeKind, now_ms: u64) {
        let course = self.course_mut(kind);
        course.asked_ms = Some(now_ms);
        course.in_flight = true;
    }

    /// Notes its answer; an error says what was wrong with it, for people.
    pub fn answered(&mut self, kind: ProbeKind, now_ms: u64, answer: Result<(), String>) {
        let course = self.course_mut(kind);
        course.in_flight = false;
        if answer.is_ok() {
            course.passed = true;
            course.successes = course.successes.saturating_add(1);
            course.failures = 0;
        } else {
            course.successes = 0;
            course.failures = course.failures.saturating_add(1);
        }
        let course = *course;
        let Some(spec) = self.spec(kind).cloned() else {
            return;
        };
        match (kind, answer) {
            (ProbeKind::Startup, Ok(())) => self.come_up(),
            (ProbeKind::Startup, Err(why)) => {
                let waited_ms = now_ms.saturating_sub(self.seen_at_ms);
                if waited_ms >= patience_ms(&spec) {
                    self.hung = Some(format!("it did not come up within {waited_ms} ms: {why}"));
                }
                self.detail = why;
            }
            (ProbeKind::Liveness, Ok(())) => self.hung = None,
            (ProbeKind::Liveness, Err(why)) => {
                if course.failures >= spec.failure_threshold {
                    self.hung = Some(format!(
                        "it failed its liveness probe {} times in a row: {why}",
                        course.failures
                    ));
                }
            }
            (ProbeKind::Readiness, Ok(())) => {
                if course.successes >= spec.success_threshold {
                    self.ready = true;
                    self.served = true;
                    self.failing = false;
                    self.detail.clear();
                }
            }
            (ProbeKind::Readiness, Err(why)) => {
                let fails = course.failures >= spec.failure_threshold;
                self.failing |= fails && self.served;
                if !self.ready || fails {
                    self.ready = false;
                    self.detail = why;
                }
            }
        }
    }

    /// What is known now.
    pub fn fact(&self) -> ProbeFact {
        ProbeFact {
            ready: self.ready,
            detail: self.detail.clone(),
            hung: self.hung.clone(),
            failing: self.failing,
        }
    }

    fn come_up(&mut self) {
        self.up = true;
        self.hung = None;
        if self.probes.readiness.is_none() {
            self.ready = true;
            self.detail.clear();
        }
    }

    fn due_ms(&self, kind: ProbeKind) -> Option<u64> {
        let spec = self.spec(kind)?;
        let course = self.course(kind);
        if course.in_flight || self.up == (kind == ProbeKind::Startup) {
            return None;
        }
        let period_ms = u64::from(spec.period_ms);
        let eager = kind != ProbeKind::Liveness && !course.passed;
        Some(match course.asked_ms {
            None => self.started_at_ms + u64::from(spec.initial_delay_ms),
            Some(asked_ms) if eager => asked_ms + period_ms.min(EAGER_MS),
            Some(asked_ms) => asked_ms + period_ms,
        })
    }

    fn course(&self, kind: ProbeKind) -> &Course {
        match kind {
            ProbeKind::Startup => &self.startup,
            ProbeKind::Liveness => &self.liveness,
            ProbeKind::Readiness => &self.readiness,
        }
    }

    fn course_mut(&mut self, kind: ProbeKind) -> &mut Course {
        match kind {
            ProbeKind::Startup => &mut self.startup,
            ProbeKind::Liveness => &mut self.liveness,
            ProbeKind::Readiness => &mut self.readiness,
        }
    }
}

/// How long a process may take to come up: as Kubernetes counts it, although it is asked more often.
fn patience_ms(startup: &ProbeSpec) -> u64 {
    u64::from(startup.initial_delay_ms) + startup.patience_ms()
}

#[cfg(test)]
mod tests {
    use super::*;
    use ProbeKind::{Liveness, Readiness, Startup};
    use khactl_model::component::ComponentName;
    use proptest::prelude::*;

    const START: u64 = 50_000;

    fn apiserver() -> Probes {
        Probes::of(ComponentName::KubeApiserver)
    }

    fn fail() -> Result<(), String> {
        Err("no answer".to_owned())
    }

    /// Asks and answers until `until_ms`; a failure takes the whole timeout, a good answer none. Gives the time at
    /// which it passed for hung.
    fn run(
        probing: &mut Probing,
        from_ms: u64,
        until_ms: u64,
        good: impl Fn(ProbeKind) -> bool,
    ) -> Option<u64> {
        // Answers on their way, by their time.
        let mut coming: Vec<(u64, ProbeKind)> = Vec::new();
        loop {
            let ask = probing
                .next()
                .map(|(kind, at)| (at.max(from_ms), kind, true));
            let hear = coming.iter().min().map(|(at, kind)| (*at, *kind, false));
            let (at, kind, asks) = ask.into_iter().chain(hear).min_by_key(|(at, ..)| *at)?;
            if at > until_ms {
                return None;
            }
            if asks {
                probing.asked(kind, at);
                let timeout = u64::from(probing.spec(kind)?.timeout_ms);
                coming.push((if good(kind) { at } else { at + timeout }, kind));
            } else {
                coming.retain(|entry| *entry != (at, kind));
                probing.answered(kind, at, if good(kind) { Ok(()) } else { fail() });
                if probing.fact().hung.is_some() {
                    return Some(at);
                }
            }
        }
    }

    #[test]
    fn a_process_is_asked_eagerly_until_it_serves_and_in_its_period_from_then_on() {
        let mut probing = Probing::new(apiserver(), START, START);
        assert_eq!(probing.next(), Some((Startup, START)));
        probing.asked(Startup, START);
        assert_eq!(probing.next(), None, "one question at a time");
        probing.answered(Startup, START + 5, fail());
        assert_eq!(probing.next(), Some((Startup, START + 100)));
        probing.asked(Startup, START + 100);
        probing.answered(Startup, START + 105, Ok(()));
        assert!(!probing.fact().ready);
        assert_eq!(probing.next(), Some((Liveness, START)));
        probing.asked(Liveness, START + 105);
        probing.asked(Readiness, START + 105);
        probing.answered(Liveness, START + 106, Ok(()));
        probing.answered(Readiness, START + 106, Ok(()));
        assert!(probing.fact().ready);
        assert_eq!(probing.next(), Some((Liveness, START + 2_105)));
    }

    #[test]
    fn a_hung_apiserver_is_found_within_ten_seconds() {
        for phase in 0..20 {
            let mut probing = Probing::new(apiserver(), START, START);
            let hangs = START + 60_000 + phase * 100;
            assert_eq!(run(&mut probing, START, hangs, |_| true), None);
            assert!(probing.fact().ready);
            let found = run(&mut probing, hangs, u64::MAX, |_| false).unwrap();
            assert!(found - hangs <= 10_000, "{}", found - hangs);
            assert!(!probing.fact().ready, "it was taken out of service before");
        }
    }

    #[test]
    fn one_failure_too_few_is_forgotten_by_a_good_answer() {
        let mut probing = Probing::new(apiserver(), START, START + 400_000);
        for _ in 0..5 {
            for _ in 0..3 {
                probing.answered(Liveness, START, fail());
            }
            probing.answered(Liveness, START, Ok(()));
        }
        assert_eq!(probing.fact().hung, None);
        for _ in 0..4 {
            probing.answered(Liveness, START, fail());
        }
        assert!(probing.fact().hung.unwrap().contains("4 times"));
        probing.answered(Liveness, START, Ok(()));
        assert_eq!(probing.fact().hung, None, "it came back by itself");
    }

    #[test]
    fn one_that_never_comes_up_is_found_after_its_patience_and_not_before() {
        let mut probing = Probing::new(apiserver(), START, START);
        let found = run(&mut probing, START, u64::MAX, |_| false).unwrap();
        assert!((300_000..310_000).contains(&(found - START)), "{found}");
    }

    #[test]
    fn an_adopted_process_has_as_much_patience_as_a_new_one() {
        let mut probing = Probing::new(apiserver(), START, START + 200_000);
        let found = run(&mut probing, START + 200_000, u64::MAX, |_| false).unwrap();
        assert!(found - START >= 500_000, "{found}");
        let old = Probing::new(apiserver(), START, START + 300_000);
        assert_eq!(old.next().map(|(kind, _)| kind), Some(Liveness));
    }

    #[test]
    fn thresholds_of_readiness_count_in_a_row() {
        let mut probes = apiserver();
        probes.readiness.as_mut().unwrap().success_threshold = 2;
        let mut probing = Probing::new(probes, START, START + 300_000);
        let mut seen = Vec::new();
        for good in [true, false, true, true, false, true, false, false] {
            probing.answered(Readiness, START, if good { Ok(()) } else { fail() });
            seen.push(probing.fact().ready);
        }
        assert_eq!(seen, [false, false, false, true, true, true, true, false]);
    }

    #[test]
    fn what_has_served_fails_until_it_serves_again_and_what_comes_up_does_not_fail() {
        let mut probes = apiserver();
        probes.readiness.as_mut().unwrap().success_threshold = 2;
        let answers = [
            false, false, false, true, true, false, false, true, false, true, true,
        ];
        let failing = |seen_ms: u64| {
            let mut probing = Probing::new(probes.clone(), START, seen_ms);
            answers.map(|good| {
                probing.answered(Readiness, START, if good { Ok(()) } else { fail() });
                probing.fact().failing
            })
        };
        let new = [
            false, false, false, false, false, false, true, true, true, true, false,
        ];
        assert_eq!(failing(START), new);
        // It was up long before there was anybody who asked.
        let adopted = [
            false, true, true, true, false, false, true, true, true, true, false,
        ];
        assert_eq!(failing(START + 300_000), adopted);

        // It was seen to serve, and is asked otherwise from now on.
        let mut probing = Probing::new(probes.clone(), START, START);
        probing.has_served();
        for failing in [false, true] {
            probing.answered(Readiness, START, fail());
            assert_eq!(probing.fact().failing, failing);
        }
    }

    #[test]
    fn what_is_not_asked_holds() {
        let probing = Probing::new(Probes::NONE, START, START);
        assert_eq!(probing.next(), None);
        assert_eq!((probing.fact().ready, probing.fact().hung), (true, None));
        assert!(!probing.fact().failing);
    }

    proptest! {
        #[test]
        fn while_liveness_is_answered_nothing_passes_for_hung(readiness: Vec<bool>) {
            let mut probing = Probing::new(apiserver(), START, START + 300_000);
            for good in readiness {
                probing.answered(Readiness, START, if good { Ok(()) } else { fail() });
                probing.answered(Liveness, START, Ok(()));
                prop_assert_eq!(probing.fact().hung, None);
            }
        }
    }
}
