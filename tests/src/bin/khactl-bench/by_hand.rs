//! A control plane without khactl: the same programs with the same arguments and ready certificates, each
//! started as soon as what it needs is there, as a quick person with a script would.

use std::process::Child;

use anyhow::{Context, ensure};
use khactl_lab::measure::now_us;
use khactl_tests::{Cluster, LONG, Outcome, until};
use serde::Deserialize;

use crate::forming::{Stage, Values};
use crate::milestone::{Milestone, authorities_of, seconds_between};
use crate::recipe::Recipe;

/// Who may ask the etcd of a host, inside it.
const ETCD_CLIENT: [&str; 4] = [
    "--endpoints=https://127.0.0.1:2379",
    "--cacert=/var/lib/khactl/pki/kube-apiserver/etcd-ca.crt",
    "--cert=/var/lib/khactl/pki/kube-apiserver/apiserver-etcd-client.crt",
    "--key=/var/lib/khactl/pki/kube-apiserver/apiserver-etcd-client.key",
];

/// What `etcdctl member add -w json` prints.
#[derive(Deserialize)]
struct Added {
    member: Member,
}

#[derive(Deserialize)]
struct Member {
    #[serde(rename = "ID")]
    id: u64,
}

/// Hosts whose agents are dead, and what was started on them.
#[derive(Debug)]
pub(crate) struct ByHand<'a> {
    cluster: Cluster,
    /// One for each host, the first one's first.
    recipes: &'a [Recipe],
    running: Vec<Child>,
}

impl<'a> ByHand<'a> {
    /// Hosts with certificates and nothing else, one for each recipe.
    pub(crate) fn boot(recipes: &'a [Recipe]) -> anyhow::Result<Self> {
        let cluster = Cluster::boot("benchhand", recipes.len());
        for (name, recipe) in cluster.names().iter().zip(recipes) {
            cluster.kill_agent(name);
            recipe.lay_out(cluster.host(name))?;
        }
        Ok(Self {
            cluster,
            recipes,
            running: Vec::new(),
        })
    }

    /// The first host.
    pub(crate) fn init(&mut self, values: &mut Values) -> anyhow::Result<()> {
        let host = self.cluster.host("cp1").clone();
        let etcd = Milestone::etcd(&host)?;
        let api = Milestone::api(
            self.cluster.lab().client(),
            host.address(),
            authorities_of(&host),
        )?;
        let controllers = Milestone::leads(&host, "kube-controller-manager")?;
        let scheduler = Milestone::leads(&host, "kube-scheduler")?;

        let began_us = now_us();
        self.start(0, "etcd")?;
        let etcd_us = etcd.at_us()?;
        self.start(0, "kube-apiserver")?;
        let api_us = api.at_us()?;
        self.start(0, "kube-controller-manager")?;
        self.start(0, "kube-scheduler")?;

        values.add(Stage::InitEtcd, seconds_between(began_us, etcd_us));
        values.add(Stage::InitApi, seconds_between(began_us, api_us));
        let led_us = controllers.at_us()?;
        values.add(Stage::InitControllers, seconds_between(began_us, led_us));
        let led_us = scheduler.at_us()?;
        values.add(Stage::InitScheduler, seconds_between(began_us, led_us));
        Ok(())
    }

    /// The next host, by its place: its etcd member learns, gets its vote, and the rest is started.
    pub(crate) fn join(&mut self, place: usize, values: &mut Values) -> anyhow::Result<()> {
        let name = format!("cp{}", place + 1);
        let host = self.cluster.host(&name).clone();
        let client = self.cluster.lab().client();
        let api = Milestone::api(client, host.address(), authorities_of(&host))?;

        let began_us = now_us();
        let peer = format!("--peer-urls=https://{}:2380", host.address());
        let add = ["member", "add", &name, &peer, "--learner", "-w", "json"];
        let added = until(&format!("etcd takes {name} as a learner"), LONG, || {
            Some(self.etcdctl(&add)).filter(Outcome::is_ok)
        });
        let added: Added = serde_json::from_str(&added.stdout)
            .with_context(|| format!("`etcdctl member add` printed {:?}", added.stdout))?;
        self.start(place, "etcd")?;
        let id = format!("{:x}", added.member.id);
        until(&format!("the member of {name} has a vote"), LONG, || {
            self.etcdctl(&["member", "promote", &id])
                .is_ok()
                .then_some(())
        });
        self.start(place, "kube-apiserver")?;
        let api_us = api.at_us()?;
        self.start(place, "kube-controller-manager")?;
        self.start(place, "kube-scheduler")?;
        values.add(Stage::JoinApi, seconds_between(began_us, api_us));
        Ok(())
    }

    /// The hosts.
    pub(crate) fn cluster(&self) -> &Cluster {
        &self.cluster
    }

    /// Starts a component again that was killed on a host.
    pub(crate) fn start_on(&mut self, host: &str, component: &str) -> anyhow::Result<()> {
        let place = self.cluster.names().iter().position(|name| name == host);
        self.start(place.context("there is no such host")?, component)
    }

    /// A host that lost power boots, and everything on it is started; returns when its API is ready.
    pub(crate) fn revive(&mut self, name: &str) -> anyhow::Result<()> {
        let host = self.cluster.host(name).clone();
        host.boot()?;
        let client = self.cluster.lab().client();
        let api = Milestone::api(client, host.address(), authorities_of(&host))?;
        for component in ["etcd", "kube-apiserver"] {
            self.start_on(name, component)?;
        }
        api.at_us()?;
        for component in ["kube-controller-manager", "kube-scheduler"] {
            self.start_on(name, component)?;
        }
        Ok(())
    }

    fn start(&mut self, place: usize, component: &str) -> anyhow::Result<()> {
        let recipe = self.recipes.get(place).context("there are fewer recipes")?;
        let command = recipe.command(component, place == 0)?;
        let (program, arguments) = command.split_first().context("a program has no name")?;
        let host = format!("cp{}", place + 1);
        let child = self
            .cluster
            .start_logged(&host, component, program, arguments);
        self.running.push(child);
        Ok(())
    }

    fn etcdctl(&self, arguments: &[&str]) -> Outcome {
        let all: Vec<_> = ETCD_CLIENT.iter().chain(arguments).copied().collect();
        self.cluster.run("cp1", "etcdctl", &all)
    }

    /// Everything ends; panics are for a machine on which nothing can be killed.
    pub(crate) fn down(mut self) -> anyhow::Result<()> {
        for child in &mut self.running {
            ensure!(
                child.try_wait().context("a program is lost")?.is_none(),
                "a program that was started by hand has ended by itself: see {}",
                self.cluster.host("cp1").log_dir().display()
            );
        }
        Ok(())
    }
}

impl Drop for ByHand<'_> {
    fn drop(&mut self) {
        for child in &mut self.running {
            // One that has ended already says so, and that is all right.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
