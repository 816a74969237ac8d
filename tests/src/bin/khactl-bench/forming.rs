//! From idle hosts to a control plane: `init` and `join` beside the same by hand. The two sides take
//! turns, so that whatever else the machine does meets both.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;

use anyhow::Context;
use khactl_lab::VIP;
use khactl_lab::measure::now_us;
use khactl_tests::Cluster;

use crate::by_hand::ByHand;
use crate::figure::{Figure, Target, Unit};
use crate::milestone::{Milestone, authorities_of, seconds_between};
use crate::recipe::Recipe;

const HOSTS: usize = 3;

/// Against by hand: what khactl adds to the programs' own time.
const INIT_RATIO_MAX: f64 = 1.25;

/// A moment that is timed, from the start of the command or of the first program.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Stage {
    /// The first etcd member is healthy.
    InitEtcd,
    /// The first apiserver is ready.
    InitApi,
    /// The controller-manager leads.
    InitControllers,
    /// The scheduler leads.
    InitScheduler,
    /// The API is ready at the VIP, seen from outside.
    InitVip,
    /// `khactl init` ends.
    InitEnd,
    /// The joined host's apiserver is ready.
    JoinApi,
    /// `khactl join` ends.
    JoinEnd,
}

impl Stage {
    const ALL: [Self; 8] = [
        Self::InitEtcd,
        Self::InitApi,
        Self::InitControllers,
        Self::InitScheduler,
        Self::InitVip,
        Self::InitEnd,
        Self::JoinApi,
        Self::JoinEnd,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::InitEtcd => "init: etcd healthy",
            Self::InitApi => "init: API ready",
            Self::InitControllers => "init: controller-manager leads",
            Self::InitScheduler => "init: scheduler leads",
            Self::InitVip => "init: API ready at the VIP",
            Self::InitEnd => "init: the command ends",
            Self::JoinApi => "join: the host serves the API",
            Self::JoinEnd => "join: the command ends",
        }
    }
}

/// Seconds by stage, over all rounds.
#[derive(Debug, Default)]
pub(crate) struct Values(BTreeMap<Stage, Vec<f64>>);

impl Values {
    pub(crate) fn add(&mut self, stage: Stage, seconds: f64) {
        self.0.entry(stage).or_default().push(seconds);
    }

    fn take(&mut self, stage: Stage) -> Vec<f64> {
        self.0.remove(&stage).unwrap_or_default()
    }
}

/// What the rounds gave so far.
#[derive(Debug, Default)]
pub(crate) struct Forming {
    khactl: Values,
    by_hand: Values,
}

impl Forming {
    /// So many whole clusters, and as many by hand.
    pub(crate) fn measure(&mut self, rounds: usize) -> anyhow::Result<()> {
        let mut recipes = Vec::new();
        for round in 1..=rounds {
            eprintln!("init and join, round {round} of {rounds}: khactl");
            let cluster = Cluster::boot("bench", HOSTS);
            if recipes.is_empty() {
                warm(&cluster)?;
            }
            by_khactl(&cluster, &mut self.khactl)?;
            if recipes.is_empty() {
                for name in cluster.names() {
                    recipes.push(Recipe::of(&cluster, &name)?);
                }
            }
            drop(cluster);

            eprintln!("init and join, round {round} of {rounds}: by hand");
            let mut hosts = ByHand::boot(&recipes)?;
            hosts.init(&mut self.by_hand)?;
            for place in 1..HOSTS {
                hosts.join(place, &mut self.by_hand)?;
            }
            hosts.down()?;
        }
        Ok(())
    }

    pub(crate) fn figures(mut self) -> Vec<Figure> {
        let figure = |stage: Stage| {
            let figure = Figure::new(stage.name(), Unit::Seconds, self.khactl.take(stage))
                .beside(self.by_hand.take(stage));
            match stage {
                Stage::InitApi => figure.target(Target::RatioMax(INIT_RATIO_MAX)),
                _ => figure,
            }
        };
        Stage::ALL.into_iter().map(figure).collect()
    }
}

fn by_khactl(cluster: &Cluster, values: &mut Values) -> anyhow::Result<()> {
    let client = cluster.lab().client();
    let first = cluster.host("cp1");
    let authorities = authorities_of(first);
    let milestones = [
        (Stage::InitEtcd, Milestone::etcd(first)?),
        (
            Stage::InitApi,
            Milestone::api(client, first.address(), authorities.clone())?,
        ),
        (
            Stage::InitControllers,
            Milestone::leads(first, "kube-controller-manager")?,
        ),
        (
            Stage::InitScheduler,
            Milestone::leads(first, "kube-scheduler")?,
        ),
        (
            Stage::InitVip,
            Milestone::api(client, VIP, authorities.clone())?,
        ),
    ];
    let began_us = now_us();
    cluster.init("cp1").ok();
    values.add(Stage::InitEnd, seconds_between(began_us, now_us()));
    for (stage, milestone) in milestones {
        values.add(stage, seconds_between(began_us, milestone.at_us()?));
    }

    let token = cluster.token("cp1", &["--uses", &(HOSTS - 1).to_string()]);
    for (before, name) in cluster.names().iter().enumerate().skip(1) {
        cluster.await_ready(before);
        let address = cluster.host(name).address();
        let api = Milestone::api(client, address, authorities.clone())?;
        let began_us = now_us();
        cluster.join(name, "cp1", &token).ok();
        values.add(Stage::JoinEnd, seconds_between(began_us, now_us()));
        values.add(Stage::JoinApi, seconds_between(began_us, api.at_us()?));
    }
    cluster.await_ready(HOSTS);
    Ok(())
}

/// Reads the programs once: whoever came first would otherwise wait for the disk.
fn warm(cluster: &Cluster) -> anyhow::Result<()> {
    let inside = cluster
        .lab()
        .bundle_inside()
        .context("the lab has no bundle")?;
    let root = cluster.host("cp1").root_dir()?;
    let bundle = root.join(inside.strip_prefix("/").unwrap_or(&inside));
    let doing = || format!("cannot read the bundle in {}", bundle.display());
    for entry in fs::read_dir(&bundle).with_context(doing)? {
        let path = entry.with_context(doing)?.path();
        let mut program = File::open(path).with_context(doing)?;
        io::copy(&mut program, &mut io::sink()).with_context(doing)?;
    }
    Ok(())
}
