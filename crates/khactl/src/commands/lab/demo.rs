//! `khactl lab demo`: a cluster that goes on when a host dies, with numbers.

use std::fmt::Write as _;
use std::net::IpAddr;
use std::thread;
use std::time::Duration;

use khactl_lab::measure::{Measurement, Sample, SampleKind, Tally, micros, now_us, tally};
use khactl_lab::{Lab, VIP};
use serde::Serialize;

use super::cluster::{KUBECONFIG, PORT, boot, form, how_to_use, status, write_private};
use super::failed;
use crate::cli::{Format, LabDemoArgs};
use crate::failure::{Failure, chain};
use crate::output::{Output, line, table};

const HOSTS: usize = 3;
/// Writes that must be acknowledged after an event before the next one: the cluster serves.
const WRITES_AFTER: usize = 50;
const LOOK_EVERY: Duration = Duration::from_millis(100);
const SERVING_WITHIN: Duration = Duration::from_mins(2);
const READY_WITHIN: Duration = Duration::from_mins(5);
const WRITTEN: &str = "written.jsonl";

/// What users had during one event.
#[derive(Debug, Serialize)]
struct Event {
    name: String,
    connects: Tally,
    writes: Tally,
    reads: Tally,
}

#[derive(Debug, Serialize)]
struct Report {
    events: Vec<Event>,
    acknowledged: usize,
    lost: Vec<String>,
}

pub(super) fn run(args: &LabDemoArgs, output: Output) -> Result<(), Failure> {
    let lab = boot(&args.lab.name, HOSTS, args.bundle.as_deref(), !args.down)?;
    form(&lab)?;
    say("kubectl get namespaces, from outside the cluster through the VIP:")?;
    kubectl(&lab, &["get", "namespaces"])?;
    kubectl(&lab, &["get", "--raw", "/readyz"])?;
    say("")?;
    let report = measure(&lab)?;
    output.show(&report, || render(&report))?;
    if !report.lost.is_empty() {
        return Err(Failure::new(
            "KHA0928",
            "compare what was acknowledged with what is there",
            format!("{} acknowledged writes are lost", report.lost.len()),
            "keep the lab as it is and report this as a bug",
        ));
    }
    if args.down {
        return lab.down().map_err(failed("take the lab down"));
    }
    match output.format {
        Format::Table => line(&how_to_use(&lab)),
        Format::Json | Format::Yaml => Ok(()),
    }
}

fn measure(lab: &Lab) -> Result<Report, Failure> {
    let doing = failed("measure");
    let mut probe = lab.client().exec("khactl").map_err(&doing)?;
    probe.args(["lab", "probe", "--target", &format!("{VIP}:{PORT}")]);
    let probe = Measurement::start(probe).map_err(&doing)?;
    let mut write = lab.client().exec("khactl").map_err(&doing)?;
    write.args(["lab", "write", "--kubeconfig", KUBECONFIG]);
    let write = Measurement::start(write).map_err(&doing)?;
    serving(&write, now_us())?;

    let mut moments = Vec::new();
    let holder = wait("a host holds the VIP", SERVING_WITHIN, || holder(lab))?;
    fall(lab, &write, &holder, "holds the VIP", &mut moments)?;
    let leader = wait("the agents have a leader", SERVING_WITHIN, || leader(lab))?;
    fall(lab, &write, &leader, "leads the agents", &mut moments)?;

    let connects = probe.stop().map_err(&doing)?;
    let written = write.stop().map_err(&doing)?;
    let events = moments
        .windows(2)
        .map(|pair| {
            let (from, to) = (pair[0].1, pair[1].1);
            Event {
                name: pair[0].0.clone(),
                connects: tally(&connects, SampleKind::Connect, from, to),
                writes: tally(&written, SampleKind::Write, from, to),
                reads: tally(&written, SampleKind::Read, from, to),
            }
        })
        .filter(|event| !event.name.is_empty())
        .collect();
    let (acknowledged, lost) = verify(lab, &written)?;
    Ok(Report {
        events,
        acknowledged,
        lost,
    })
}

/// Cuts a host's power and gives it back, each until the cluster serves again. A moment without
/// a name ends the one before it.
fn fall(
    lab: &Lab,
    write: &Measurement,
    host: &str,
    role: &str,
    moments: &mut Vec<(String, u64)>,
) -> Result<(), Failure> {
    let doing = failed("cut a host's power");
    say(&format!("killing {host}, which {role}"))?;
    moments.push((format!("{host} killed ({role})"), now_us()));
    lab.kill(host).map_err(&doing)?;
    serving(write, now_us())?;
    wait("another host holds the VIP", SERVING_WITHIN, || holder(lab))?;
    moments.push((String::new(), now_us()));

    say(&format!("bringing {host} back"))?;
    moments.push((format!("{host} back"), now_us()));
    lab.start(host).map_err(&doing)?;
    wait("all hosts are ready", READY_WITHIN, || {
        let status = lab.hosts().iter().find_map(|h| status(lab, h.name()))?;
        let ready = status.hosts.iter().filter(|h| h.state == "ready").count();
        (status.leader.is_some() && ready == HOSTS).then_some(())
    })?;
    serving(write, now_us())?;
    moments.push((String::new(), now_us()));
    Ok(())
}

fn serving(write: &Measurement, from_us: u64) -> Result<(), Failure> {
    wait(
        "writes through the VIP are acknowledged",
        SERVING_WITHIN,
        || (write.successes_since(SampleKind::Write, from_us) >= WRITES_AFTER).then_some(()),
    )
}

/// The host on whose interface the VIP is.
fn holder(lab: &Lab) -> Option<String> {
    lab.hosts()
        .iter()
        .find(|host| {
            host.addresses()
                .is_ok_and(|addresses| addresses.contains(&IpAddr::V4(VIP)))
        })
        .map(|host| host.name().to_owned())
}

fn leader(lab: &Lab) -> Option<String> {
    lab.hosts()
        .iter()
        .find_map(|host| status(lab, host.name())?.leader)
}

fn verify(lab: &Lab, written: &[Sample]) -> Result<(usize, Vec<String>), Failure> {
    let doing = "look for lost writes";
    let acknowledged = written
        .iter()
        .filter(|sample| sample.ok && sample.kind == SampleKind::Write)
        .count();
    let mut lines = String::new();
    for sample in written {
        // Writing into a string does not fail.
        let _ = writeln!(lines, "{}", super::probe::json(sample));
    }
    let unusable =
        |wrong: String| Failure::new("KHA0928", doing, wrong, "run khactl lab verify again");
    write_private(&lab.client().etc_dir().join(WRITTEN), &lines)
        .map_err(|error| unusable(chain(&error)))?;
    let answer = lab
        .client()
        .exec("khactl")
        .map_err(failed(doing))?
        .args(["-o", "json", "lab", "verify", "--kubeconfig", KUBECONFIG])
        .arg(format!("/etc/khactl/{WRITTEN}"))
        .output()
        .map_err(|error| unusable(chain(&error)))?;
    let verdict: serde_json::Value = serde_json::from_slice(&answer.stdout)
        .map_err(|_| unusable(String::from_utf8_lossy(&answer.stderr).into_owned()))?;
    let lost = verdict["lost"]
        .as_array()
        .ok_or_else(|| unusable("it gave no verdict".into()))?
        .iter()
        .filter_map(|name| name.as_str().map(ToOwned::to_owned))
        .collect();
    Ok((acknowledged, lost))
}

fn kubectl(lab: &Lab, arguments: &[&str]) -> Result<(), Failure> {
    let answer = lab
        .client()
        .exec("kubectl")
        .map_err(failed("run kubectl"))?
        .env("KUBECONFIG", KUBECONFIG)
        .args(arguments)
        .output()
        .map_err(|error| {
            Failure::new(
                "KHA0924",
                "run kubectl",
                chain(&error),
                "build the bundle anew",
            )
        })?;
    if !answer.status.success() {
        return Err(Failure::new(
            "KHA0924",
            "run kubectl",
            String::from_utf8_lossy(&answer.stderr).trim(),
            "khactl lab exec cp1 -- khactl status shows the cluster",
        ));
    }
    say(String::from_utf8_lossy(&answer.stdout).trim_end())
}

/// For whoever watches; results alone go to stdout.
fn say(text: &str) -> Result<(), Failure> {
    use std::io::Write as _;
    writeln!(std::io::stderr(), "{text}").map_err(|error| Failure::unwritten(&error))
}

fn wait<T>(
    what: &str,
    within: Duration,
    mut look: impl FnMut() -> Option<T>,
) -> Result<T, Failure> {
    let deadline_us = now_us() + micros(within);
    loop {
        if let Some(found) = look() {
            return Ok(found);
        }
        if now_us() >= deadline_us {
            return Err(Failure::new(
                "KHA0929",
                format!("wait until {what}"),
                format!("it did not come about in {} s", within.as_secs()),
                "khactl lab exec cp1 -- khactl status shows what is wrong",
            )
            .not_ready());
        }
        thread::sleep(LOOK_EVERY);
    }
}

fn render(report: &Report) -> String {
    let ms = |tally: &Tally| {
        format!(
            "{:.0} ms",
            Duration::from_micros(tally.gap_us).as_secs_f64() * 1000.0
        )
    };
    let counts = |tally: &Tally| format!("{} / {}", tally.ok, tally.failed);
    let rows = report.events.iter().map(|event| {
        vec![
            event.name.clone(),
            ms(&event.connects),
            counts(&event.connects),
            ms(&event.writes),
            counts(&event.writes),
            counts(&event.reads),
        ]
    });
    format!(
        "\n{}\n\noutage: the longest time between two successes; counts: good / failed\n\
         {} writes acknowledged, {} lost",
        table(
            &[
                "EVENT",
                "VIP OUTAGE",
                "CONNECTS",
                "WRITE OUTAGE",
                "WRITES",
                "READS"
            ],
            rows
        ),
        report.acknowledged,
        report.lost.len()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn report_of_the_demo() {
        let counted = |ok, failed, gap_us| Tally { ok, failed, gap_us };
        let report = Report {
            events: vec![
                Event {
                    name: "cp1 killed (holds the VIP)".into(),
                    connects: counted(900, 130, 271_400),
                    writes: counted(50, 1, 1_204_000),
                    reads: counted(50, 0, 1_210_000),
                },
                Event {
                    name: "cp1 back".into(),
                    connects: counted(9000, 0, 4_000),
                    writes: counted(400, 0, 61_000),
                    reads: counted(400, 0, 63_000),
                },
            ],
            acknowledged: 450,
            lost: vec![],
        };
        insta::assert_snapshot!(render(&report));
    }
}
