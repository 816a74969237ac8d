//! How far a bundle is: a bar on a terminal, plain lines elsewhere.
//!
//! Results for programs stand on stdout alone; then, and where output goes nowhere, there are no lines.

use indicatif::{ProgressBar, ProgressStyle};
use khactl_bundle::Progress;

use crate::cli::Format;
use crate::output::{Output, line};

/// The progress of one command.
pub(super) struct Bar {
    live: bool,
    lines: bool,
    current: Option<ProgressBar>,
}

impl Bar {
    pub(super) fn new(output: Output) -> Self {
        Self {
            live: output.is_live(),
            lines: output.format == Format::Table,
            current: None,
        }
    }

    pub(super) fn show(&mut self, progress: Progress<'_>) {
        match progress {
            Progress::Begins { file, done, total } if self.live => {
                let bar = self.current.get_or_insert_with(|| bar(file));
                bar.set_length(total.unwrap_or(done));
                bar.set_position(done);
            }
            Progress::Grows { done } => {
                if let Some(bar) = &self.current {
                    bar.set_position(done);
                }
            }
            Progress::Verified { .. } => self.clear(),
            _ => {}
        }
        if let Some(text) = text(&progress).filter(|_| self.lines) {
            let print = || line(&text);
            let printed = match &self.current {
                Some(bar) => bar.suspend(print),
                None => print(),
            };
            // Whoever read has gone; the bundle is made all the same, and its result says so.
            self.lines &= printed.is_ok();
        }
    }

    fn clear(&mut self) {
        if let Some(bar) = self.current.take() {
            bar.finish_and_clear();
        }
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.clear();
    }
}

fn bar(file: &str) -> ProgressBar {
    let bar = ProgressBar::new(0).with_message(file.to_owned());
    let form = "{msg} {wide_bar} {bytes}/{total_bytes} ({bytes_per_sec}, {eta})";
    if let Ok(style) = ProgressStyle::with_template(form) {
        bar.set_style(style);
    }
    bar
}

/// The fixed form, as other commands' steps have it: `bundle: kubectl: finished (36 MiB)`.
fn text(progress: &Progress<'_>) -> Option<String> {
    Some(match progress {
        Progress::Begins { file, done: 0, .. } => format!("bundle: {file}: started"),
        Progress::Begins { file, done, .. } => {
            format!("bundle: {file}: goes on after {} MiB", done >> 20)
        }
        Progress::BrokenOff { file, reason } => format!("bundle: {file}: waiting: {reason}"),
        Progress::Verified { file, size } => {
            format!("bundle: {file}: finished ({} MiB)", size >> 20)
        }
        Progress::Packing => "bundle: pack: started".to_owned(),
        Progress::Grows { .. } => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_lines_have_the_form_of_other_commands_steps() {
        let file = "kubectl";
        let begins = |done| Progress::Begins {
            file,
            done,
            total: None,
        };
        let verified = Progress::Verified {
            file,
            size: 36 << 20,
        };
        let lines = [begins(0), begins(5 << 20), verified].map(|progress| text(&progress));
        assert_eq!(
            lines.map(Option::unwrap_or_default),
            [
                "bundle: kubectl: started",
                "bundle: kubectl: goes on after 5 MiB",
                "bundle: kubectl: finished (36 MiB)"
            ]
        );
        assert_eq!(text(&Progress::Grows { done: 1 }), None);
    }
}
