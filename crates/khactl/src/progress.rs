//! A long operation's progress: a spinner for each step on a terminal, plain lines elsewhere.
//!
//! Other programs read the plain lines; their form is fixed.

use std::collections::HashMap;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use khactl_proto::v1::Progress;
use khactl_proto::v1::progress::State;

use crate::failure::Failure;
use crate::output::line;

const SPIN_EVERY: Duration = Duration::from_millis(100);

/// Shows the steps of one operation.
pub(crate) struct Steps {
    operation: &'static str,
    began: HashMap<String, Duration>,
    spinner: Option<ProgressBar>,
    live: bool,
    now: fn() -> Duration,
}

impl Steps {
    /// `now` is the clock for the steps' times: the time since some fixed moment.
    pub(crate) fn new(operation: &'static str, live: bool, now: fn() -> Duration) -> Self {
        Self {
            operation,
            began: HashMap::new(),
            spinner: None,
            live,
            now,
        }
    }

    /// Shows one message of the operation.
    pub(crate) fn show(&mut self, progress: &Progress) -> Result<(), Failure> {
        let took = self.time(progress);
        if self.live {
            self.show_live(progress, took)
        } else {
            line(&plain(self.operation, progress, took))
        }
    }

    fn time(&mut self, progress: &Progress) -> Duration {
        match progress.state() {
            State::Started => {
                self.began.insert(progress.step.clone(), (self.now)());
                Duration::ZERO
            }
            _ => self
                .began
                .get(&progress.step)
                .map(|began| (self.now)().saturating_sub(*began))
                .unwrap_or_default(),
        }
    }

    fn show_live(&mut self, progress: &Progress, took: Duration) -> Result<(), Failure> {
        let Progress { step, text, .. } = progress;
        match progress.state() {
            State::Started => {
                self.stop_spinner();
                self.spinner = Some(spinner(step));
                Ok(())
            }
            State::Waiting => {
                if let Some(spinner) = &self.spinner {
                    spinner.set_message(format!("{step}: {text}"));
                }
                Ok(())
            }
            State::Finished => {
                self.stop_spinner();
                if progress.resumed {
                    line(&format!("✓ {step} (earlier)"))
                } else {
                    line(&format!("✓ {step} ({})", seconds(took)))
                }
            }
            State::Warning => self.aside(&format!("! {step}: {text}")),
            State::Done => {
                self.stop_spinner();
                line(text)
            }
        }
    }

    /// A line above the spinner.
    fn aside(&self, text: &str) -> Result<(), Failure> {
        match &self.spinner {
            Some(spinner) => spinner.suspend(|| line(text)),
            None => line(text),
        }
    }

    fn stop_spinner(&mut self) {
        if let Some(spinner) = self.spinner.take() {
            spinner.finish_and_clear();
        }
    }
}

impl Drop for Steps {
    fn drop(&mut self) {
        self.stop_spinner();
    }
}

fn spinner(step: &str) -> ProgressBar {
    let spinner = ProgressBar::new_spinner().with_message(step.to_owned());
    if let Ok(style) = ProgressStyle::with_template("{spinner} {msg} ({elapsed})") {
        spinner.set_style(style);
    }
    spinner.enable_steady_tick(SPIN_EVERY);
    spinner
}

fn seconds(took: Duration) -> String {
    format!("{:.1} s", took.as_secs_f64())
}

/// The fixed form: `init: etcd: finished (1.2 s)`.
fn plain(operation: &str, progress: &Progress, took: Duration) -> String {
    let Progress { step, text, .. } = progress;
    // One message is one line, whatever the text holds.
    let text = text.replace('\n', "; ");
    let what = match progress.state() {
        State::Started => "started".into(),
        State::Finished if progress.resumed => "finished earlier".into(),
        State::Finished => format!("finished ({})", seconds(took)),
        State::Warning => format!("warning: {text}"),
        State::Waiting => format!("waiting: {text}"),
        State::Done => format!("done: {text}"),
    };
    format!("{operation}: {step}: {what}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(state: State, text: &str, resumed: bool) -> Progress {
        Progress {
            step: "etcd".into(),
            state: state.into(),
            text: text.into(),
            resumed,
        }
    }

    #[test]
    fn plain_lines_have_the_fixed_form() {
        let shown = |state, text, resumed| {
            plain(
                "init",
                &message(state, text, resumed),
                Duration::from_millis(1234),
            )
        };
        assert_eq!(shown(State::Started, "", false), "init: etcd: started");
        assert_eq!(
            shown(State::Finished, "", false),
            "init: etcd: finished (1.2 s)"
        );
        assert_eq!(
            shown(State::Finished, "", true),
            "init: etcd: finished earlier"
        );
        assert_eq!(
            shown(State::Warning, "two hosts", false),
            "init: etcd: warning: two hosts"
        );
        assert_eq!(
            shown(State::Waiting, "for\na quorum", false),
            "init: etcd: waiting: for; a quorum"
        );
        assert_eq!(
            shown(State::Done, "use it", false),
            "init: etcd: done: use it"
        );
    }
}
