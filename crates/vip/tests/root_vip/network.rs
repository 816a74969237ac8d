//! Hosts in network namespaces for khavip's own tests: a bridge, some hosts with one interface
//! each, a client. Needs root and the `ip` program. What a crashed run left is removed first.

use std::fs::File;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use hyper_util::rt::TokioIo;
use khactl_proto::v1;
use khactl_proto::v1::vip_client::VipClient;
use khactl_sys::clock::monotonic;
use khactl_sys::process_stat::ProcessStat;
use rustix::process::{Pid, Signal, kill_process};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use tonic::transport::{Channel, Endpoint};

/// Longer than any start takes on a busy machine; reached only by a failure.
pub(crate) const PATIENCE: Duration = Duration::from_mins(1);

pub(crate) const VIP: &str = "10.99.0.100";
pub(crate) const API_PORT: u16 = 6443;

pub(crate) struct Network {
    name: &'static str,
    pub(crate) hosts: Vec<Host>,
}

/// IPv6's VIP, for tests that add an address of its network to the hosts.
pub(crate) const VIP6: &str = "fd00:99::100";

/// A host is numbered from 1; it has 10.99.0.1N on `eth0`.
pub(crate) struct Host {
    pub(crate) id: u64,
    namespace: String,
    run_dir: tempfile::TempDir,
    khavip: Option<Child>,
}

pub(crate) fn ip(arguments: &str) -> Output {
    Command::new("ip")
        .args(arguments.split_whitespace())
        .output()
        .expect("the ip program")
}

fn ip_done(arguments: &str) {
    let output = ip(arguments);
    assert!(output.status.success(), "ip {arguments}: {output:?}");
}

/// Waits for a condition; panics with what it was after `PATIENCE`.
pub(crate) fn until(what: &str, mut reached: impl FnMut() -> bool) {
    let deadline = monotonic() + PATIENCE;
    while !reached() {
        assert!(monotonic() < deadline, "never: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

impl Network {
    /// `name` sets apart the tests of one machine; at most four characters, since interfaces have fifteen.
    pub(crate) fn new(name: &'static str, hosts: u64) -> Self {
        let mut network = Self {
            name,
            hosts: Vec::new(),
        };
        network.delete(9);
        let switch = network.switch();
        ip_done(&format!("netns add {switch}"));
        ip_done(&format!("-n {switch} link add br0 type bridge"));
        ip_done(&format!("-n {switch} link set br0 up"));
        network.attach("c", 200);
        for id in 1..=hosts {
            network.attach(&id.to_string(), 10 + id);
            network.hosts.push(Host {
                id,
                namespace: network.namespace(&id.to_string()),
                // In memory, wherever /run is.
                run_dir: tempfile::tempdir_in("/dev/shm").expect("run folder"),
                khavip: None,
            });
        }
        network
    }

    fn switch(&self) -> String {
        self.namespace("sw")
    }

    fn namespace(&self, host: &str) -> String {
        format!("khvip-{}-{host}", self.name)
    }

    fn attach(&self, host: &str, last: u64) {
        let (switch, namespace) = (self.switch(), self.namespace(host));
        let port = format!("p{host}");
        ip_done(&format!("netns add {namespace}"));
        ip_done(&format!(
            "-n {switch} link add {port} type veth peer name eth0 netns {namespace}"
        ));
        ip_done(&format!("-n {switch} link set {port} master br0 up"));
        ip_done(&format!(
            "-n {namespace} addr add 10.99.0.{last}/24 dev eth0"
        ));
        ip_done(&format!("-n {namespace} link set lo up"));
        ip_done(&format!("-n {namespace} link set eth0 up"));
    }

    /// Pulls or plugs the host's cable at the switch.
    pub(crate) fn cable(&self, id: u64, plugged: bool) {
        let state = if plugged { "up" } else { "down" };
        let switch = self.switch();
        ip_done(&format!("-n {switch} link set p{id} {state}"));
    }

    pub(crate) fn host(&mut self, id: u64) -> &mut Host {
        self.hosts
            .iter_mut()
            .find(|host| host.id == id)
            .expect("a host of this network")
    }

    pub(crate) fn client<T: Send + 'static>(&self, act: impl FnOnce() -> T + Send + 'static) -> T {
        within(&self.namespace("c"), act)
    }

    pub(crate) fn client_ip(&self, arguments: &str) -> String {
        let output = ip(&format!("-n {} {arguments}", self.namespace("c")));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// The name that a backend behind the VIP tells a fresh connection of the client.
    pub(crate) fn ask_vip(&self) -> Option<String> {
        self.connect_to_vip().map(|(_, name)| name)
    }

    /// A connection of the client through the VIP that was answered once, and the name that it was told.
    pub(crate) fn connect_to_vip(&self) -> Option<(TcpStream, String)> {
        self.client(|| {
            let address: SocketAddr = format!("{VIP}:{API_PORT}").parse().expect("address");
            let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(1)).ok()?;
            stream.set_read_timeout(Some(Duration::from_secs(2))).ok()?;
            stream.write_all(b"who\n").ok()?;
            let mut name = [0; 16];
            let read = stream.read(&mut name).ok().filter(|read| *read > 0)?;
            Some((stream, String::from_utf8_lossy(&name[..read]).into_owned()))
        })
    }

    /// The hosts that have the VIP in the kernel.
    pub(crate) fn with_address(&self) -> Vec<u64> {
        self.hosts
            .iter()
            .filter(|host| host.has_vip())
            .map(|host| host.id)
            .collect()
    }

    fn delete(&self, hosts: u64) {
        for host in (1..=hosts).map(|id| id.to_string()) {
            ip(&format!("netns del {}", self.namespace(&host)));
        }
        ip(&format!("netns del {}", self.namespace("c")));
        ip(&format!("netns del {}", self.switch()));
    }
}

/// What khad would feed host `id` when these are the members, each with its own backend.
pub(crate) fn feed_for(id: u64, members: &[u64]) -> v1::VipFeedRequest {
    v1::VipFeedRequest {
        cluster_id: vec![7; 16].into(),
        host_id: id,
        bind: format!("10.99.0.1{id}:9443"),
        lease_key: vec![9; 32].into(),
        epoch: 1,
        confirmed: true,
        members: members
            .iter()
            .map(|id| v1::VipMember {
                id: *id,
                host: format!("h{id}"),
                address: format!("10.99.0.1{id}:9443"),
                preference: 0,
                proposer: true,
            })
            .collect(),
        lease_ms: 400,
        addresses: vec![v1::VipAddress {
            cidr: format!("{VIP}/24"),
            interface: "auto".to_owned(),
        }],
        balancer: Some(v1::VipBalancer {
            port: API_PORT.into(),
            method: "round-robin".to_owned(),
            health: Some(v1::VipHealth {
                scheme: "http".to_owned(),
                path: "/readyz".to_owned(),
                period_ms: 200,
                timeout_ms: 2000,
                rise: 1,
                fall: 2,
                ..v1::VipHealth::default()
            }),
            backends: members
                .iter()
                .map(|id| v1::VipBackend {
                    host: format!("h{id}"),
                    address: format!("10.99.0.1{id}:{API_PORT}"),
                    ..v1::VipBackend::default()
                })
                .collect(),
            ..v1::VipBalancer::default()
        }),
        fenced: Vec::new(),
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        for host in &mut self.hosts {
            host.kill();
        }
        self.delete(self.hosts.len() as u64);
    }
}

/// Acts on a thread inside the namespace; sockets made there stay there.
fn within<T: Send + 'static>(namespace: &str, act: impl FnOnce() -> T + Send + 'static) -> T {
    let file = File::open(format!("/run/netns/{namespace}")).expect("namespace");
    std::thread::spawn(move || {
        move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network)).expect("setns");
        act()
    })
    .join()
    .expect("no panic in the namespace")
}

impl Host {
    pub(crate) fn ip(&self, arguments: &str) -> String {
        let output = ip(&format!("-n {} {arguments}", self.namespace));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    pub(crate) fn has_vip(&self) -> bool {
        self.has_address(VIP)
    }

    pub(crate) fn has_address(&self, address: &str) -> bool {
        self.ip("-o addr show").contains(&format!(" {address}/"))
    }

    pub(crate) fn mac(&self) -> String {
        let shown = self.ip("-o link show dev eth0");
        let words: Vec<&str> = shown.split_whitespace().collect();
        let place = words.iter().position(|word| *word == "link/ether");
        words[place.expect("an Ethernet address") + 1].to_owned()
    }

    /// Acts on a thread inside the host's namespace.
    pub(crate) fn inside<T: Send + 'static>(&self, act: impl FnOnce() -> T + Send + 'static) -> T {
        within(&self.namespace, act)
    }

    /// Why it does not hold the VIP.
    pub(crate) fn reason(&self) -> String {
        self.status().lease.expect("lease").reason
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.run_dir.path().join("khavip.sock")
    }

    pub(crate) fn pid(&self) -> Option<u32> {
        self.khavip.as_ref().map(Child::id)
    }

    /// Every thread of its khavip.
    pub(crate) fn threads(&self) -> Vec<ProcessStat> {
        let pid = self.pid().expect("running");
        let threads = std::fs::read_dir(format!("/proc/{pid}/task")).expect("threads");
        threads
            .filter_map(|thread| thread.ok()?.file_name().to_str()?.parse().ok())
            .filter_map(|thread| ProcessStat::of_thread(pid, thread))
            .collect()
    }

    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        self.command_under(&[], arguments)
    }

    fn command_under(&self, wrapper: &[&str], arguments: &[&str]) -> Command {
        let mut command = Command::new("ip");
        command
            .args(["netns", "exec", &self.namespace])
            .args(wrapper)
            .arg(env!("CARGO_BIN_EXE_khavip"))
            .args(arguments)
            .arg("--run-dir")
            .arg(self.run_dir.path());
        command
    }

    pub(crate) fn start(&mut self) {
        self.start_under(&[]);
    }

    /// Starts it by a program that takes something away from it.
    pub(crate) fn start_under(&mut self, wrapper: &[&str]) {
        let mut command = self.command_under(wrapper, &["run"]);
        command.arg("--socket").arg(self.socket());
        self.khavip = Some(command.spawn().expect("khavip starts"));
        until("khavip's socket answers", || self.try_status().is_some());
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let pid = self.pid().and_then(|pid| Pid::from_raw(pid.cast_signed()));
        kill_process(pid.expect("running"), signal).expect("signalled");
    }

    /// SIGTERM, and its exit code.
    pub(crate) fn terminate(&mut self) -> Option<i32> {
        self.signal(Signal::TERM);
        let mut child = self.khavip.take().expect("running");
        child.wait().expect("waited for").code()
    }

    /// SIGKILL; nothing cleans up.
    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.khavip.take() {
            child.kill().expect("killed");
            child.wait().expect("waited for");
        }
    }

    /// Runs `khavip release` with this feed.
    pub(crate) fn release(&self, feed: &[u8]) -> bool {
        let mut child = self
            .command(&["release"])
            .stdin(Stdio::piped())
            .spawn()
            .expect("khavip starts");
        let mut input = child.stdin.take().expect("piped");
        input.write_all(feed).expect("written");
        drop(input);
        child.wait().expect("waited for").success()
    }

    /// A tiny apiserver on the host's own address that tells the host's name; ready at once.
    pub(crate) fn serve(&self) {
        let (id, address) = (self.id, format!("10.99.0.1{}:{API_PORT}", self.id));
        let listener = within(&self.namespace, move || {
            TcpListener::bind(address).expect("bind")
        });
        // Ends with the test's process.
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                std::thread::spawn(move || answer(stream, id));
            }
        });
    }

    pub(crate) fn feed(&self, feed: v1::VipFeedRequest) -> Vec<String> {
        self.try_feed(feed).expect("fed")
    }

    pub(crate) fn try_feed(&self, feed: v1::VipFeedRequest) -> Result<Vec<String>, tonic::Status> {
        let answer = self.call(async |mut client| client.feed(feed).await);
        answer.map(|answer| answer.into_inner().problems)
    }

    pub(crate) fn hand_over(&self, successor_id: u64) -> bool {
        let request = v1::VipHandOverRequest {
            successor_id,
            rest_ms: 0,
        };
        let answer = self.call(async |mut client| client.hand_over(request).await);
        answer.expect("handed over").into_inner().held
    }

    pub(crate) fn status(&self) -> v1::VipStatusResponse {
        self.try_status().expect("khavip answers")
    }

    pub(crate) fn try_status(&self) -> Option<v1::VipStatusResponse> {
        let request = v1::VipStatusRequest {};
        let answer = self.call(async |mut client| client.status(request).await);
        answer.ok().map(tonic::Response::into_inner)
    }

    pub(crate) fn is_holding(&self) -> bool {
        let status = self.try_status();
        status
            .and_then(|status| status.lease)
            .is_some_and(|lease| lease.holding)
    }

    fn call<T>(
        &self,
        ask: impl AsyncFnOnce(VipClient<Channel>) -> Result<T, tonic::Status>,
    ) -> Result<T, tonic::Status> {
        let socket = self.socket();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("runtime");
        runtime.block_on(async {
            let connector = tower::service_fn(move |_| {
                let socket = socket.clone();
                async move {
                    tokio::net::UnixStream::connect(socket)
                        .await
                        .map(TokioIo::new)
                }
            });
            let channel = Endpoint::from_static("http://khavip")
                .connect_with_connector(connector)
                .await
                .map_err(|error| tonic::Status::unavailable(error.to_string()))?;
            ask(VipClient::new(channel)).await
        })
    }
}

fn answer(mut stream: TcpStream, id: u64) {
    let mut buffer = [0; 1024];
    while let Ok(read) = stream.read(&mut buffer) {
        let answer = match &buffer[..read] {
            b"" => return,
            b"who\n" => format!("h{id}"),
            _ => "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok".to_owned(),
        };
        if stream.write_all(answer.as_bytes()).is_err() {
            return;
        }
    }
}
