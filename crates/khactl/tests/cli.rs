//! What the program prints and returns, held by snapshots. The agent behind the socket is a fake
//! that knows a few answers: what is tested here is the command line alone.

use std::path::Path;
use std::process::{Command, Output};

use clap::CommandFactory;
use khactl_model::command::{OperationKind, StepState};
use khactl_model::state::{Operation, OperationState, Step};
use khactl_model::status::{ClusterStatus, HostStatus, JournalEntry, Problem, VipStatus};
use khactl_proto::v1::admin_server::{Admin, AdminServer};
use khactl_proto::v1::progress::State;
use khactl_proto::v1::{
    AbortOperationRequest, AbortOperationResponse, ApplyConfigRequest, ApplyConfigResponse,
    BackendsRequest, BackendsResponse, ConfigChange, CreateTokenRequest, CreateTokenResponse,
    EndComponentsRequest, EndComponentsResponse, Finding, InitRequest, JoinClusterRequest,
    KubeconfigRequest, KubeconfigResponse, LeaveRequest, ListTokensRequest, ListTokensResponse,
    LogChunk, LogsRequest, PreflightRequest, PreflightResponse, Progress, ReadConfigRequest,
    ReadConfigResponse, ReadJournalRequest, ReadJournalResponse, Refusal, RemoveHostRequest,
    ResetRequest, ResetResponse, RevokeTokenRequest, RevokeTokenResponse, SpecRevision,
    StatusRequest, StatusResponse, TransferRequest, TransferResponse, VipBackendStatus,
    apply_config_request::Mode, finding::Level,
};
use prost::Message;
use tempfile::TempDir;
use tokio::net::UnixListener;
use tokio_stream::wrappers::UnixListenerStream;
use tokio_stream::{Stream, StreamExt};
use tonic::{Code, Request, Response, Status};

/// Answers by what it is asked: the spec's text or the member's address chooses the story.
struct Fake;

type Pinned<T> = std::pin::Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

fn refused(code: Code) -> Status {
    let refusal = Refusal {
        code: "KHA0123".into(),
        doing: "check spec.yaml".into(),
        wrong: "spec.yaml:7:16: the VIP is this host's own\nspec.yaml:9:3: no such field".into(),
        advice: "mend both, then run it again".into(),
    };
    Status::with_details(code, "refused", refusal.encode_to_vec().into())
}

fn step(step: &str, state: State, text: &str, resumed: bool) -> Progress {
    Progress {
        step: step.into(),
        state: state.into(),
        text: text.into(),
        resumed,
    }
}

fn story(name: &str) -> Pinned<Progress> {
    let begin = vec![
        step("authorities", State::Started, "", false),
        step("authorities", State::Finished, "", true),
        step("etcd", State::Started, "", false),
    ];
    let end = match name {
        "good" => vec![
            step("etcd", State::Waiting, "for its first leader", false),
            step("cluster", State::Warning, "one host bears no loss", false),
            step("done", State::Done, "the API answers at the VIP", false),
        ],
        _ => vec![],
    };
    let refusal = match name {
        "refused" => Some(Err(refused(Code::FailedPrecondition))),
        "late" => Some(Err(refused(Code::DeadlineExceeded))),
        _ => None,
    };
    let steps = begin.into_iter().chain(end).map(Ok);
    let told = tokio_stream::iter(steps.chain(refusal));
    if name == "endless" {
        return Box::pin(told.chain(tokio_stream::pending()));
    }
    Box::pin(told)
}

fn cluster() -> ClusterStatus {
    ClusterStatus {
        cluster: "prod".into(),
        cluster_id: "0123".into(),
        revision: 1,
        leader: Some("cp1".into()),
        term: 3,
        vip: VipStatus {
            addresses: vec!["10.77.0.100/24".into()],
            port: 6443,
            holder: Some("cp1".into()),
            epoch: 1,
            fencing: String::new(),
            ..VipStatus::default()
        },
        hosts: vec![HostStatus {
            name: "cp1".into(),
            address: "10.77.0.11".into(),
            role: "control-plane".into(),
            state: "ready".into(),
            raft: "voter".into(),
            etcd: "voter".into(),
            lease: true,
            vip: "holds".into(),
            version: "0.1.0".into(),
        }],
        problems: vec![Problem {
            code: "KHA3100".into(),
            host: String::new(),
            text: "one host alone bears no loss".into(),
            advice: "let two more join".into(),
        }],
        seen_by: "cp1".into(),
        ..ClusterStatus::default()
    }
}

#[tonic::async_trait]
impl Admin for Fake {
    async fn preflight(
        &self,
        _: Request<PreflightRequest>,
    ) -> Result<Response<PreflightResponse>, Status> {
        Ok(Response::new(PreflightResponse {
            findings: vec![Finding {
                level: Level::Blocking.into(),
                check: "ports".into(),
                finding: "6443 is taken".into(),
                cure: "stop what listens there".into(),
                code: "KHA2110".into(),
            }],
        }))
    }

    type InitStream = Pinned<Progress>;

    async fn init(
        &self,
        request: Request<InitRequest>,
    ) -> Result<Response<Self::InitStream>, Status> {
        Ok(Response::new(story(request.into_inner().spec_yaml.trim())))
    }

    type JoinStream = Pinned<Progress>;

    async fn join(
        &self,
        request: Request<JoinClusterRequest>,
    ) -> Result<Response<Self::JoinStream>, Status> {
        let request = request.into_inner();
        assert_eq!(request.token, "the-token");
        Ok(Response::new(story(&request.endpoint)))
    }

    type RemoveStream = Pinned<Progress>;

    async fn remove(
        &self,
        request: Request<RemoveHostRequest>,
    ) -> Result<Response<Self::RemoveStream>, Status> {
        Ok(Response::new(story(&request.into_inner().host)))
    }

    type LeaveStream = Pinned<Progress>;

    async fn leave(
        &self,
        request: Request<LeaveRequest>,
    ) -> Result<Response<Self::LeaveStream>, Status> {
        let force = request.into_inner().force;
        Ok(Response::new(story(if force { "good" } else { "refused" })))
    }

    async fn reset(&self, _: Request<ResetRequest>) -> Result<Response<ResetResponse>, Status> {
        Err(refused(Code::FailedPrecondition))
    }

    async fn end_components(
        &self,
        _: Request<EndComponentsRequest>,
    ) -> Result<Response<EndComponentsResponse>, Status> {
        Err(refused(Code::FailedPrecondition))
    }

    async fn read_journal(
        &self,
        _: Request<ReadJournalRequest>,
    ) -> Result<Response<ReadJournalResponse>, Status> {
        let operation = Operation {
            kind: OperationKind::Leave,
            host_name: "cp2".into(),
            actor: "root@cp2".into(),
            started_at_ms: 1_700_000_000_000,
            steps: vec![Step {
                name: "aborted".into(),
                state: StepState::Failed,
                text: "by root@cp1".into(),
                started_at_ms: 1_700_000_001_000,
                changed_at_ms: 1_700_000_001_000,
            }],
            state: OperationState::Failed,
        };
        Ok(Response::new(ReadJournalResponse {
            json: serde_json::to_string(&[JournalEntry { id: 7, operation }]).unwrap(),
        }))
    }

    async fn abort_operation(
        &self,
        request: Request<AbortOperationRequest>,
    ) -> Result<Response<AbortOperationResponse>, Status> {
        match request.into_inner().operation {
            7 => Ok(Response::new(AbortOperationResponse {})),
            _ => Err(refused(Code::FailedPrecondition)),
        }
    }

    async fn create_token(
        &self,
        request: Request<CreateTokenRequest>,
    ) -> Result<Response<CreateTokenResponse>, Status> {
        let request = request.into_inner();
        if request.uses > 16 {
            return Err(refused(Code::InvalidArgument));
        }
        assert_eq!(request.ttl_ms, 5_400_000);
        Ok(Response::new(CreateTokenResponse {
            token: "abc123.secret.pin".into(),
            id: "abc123".into(),
            expires_at_ms: 1_700_000_000_000,
        }))
    }

    async fn list_tokens(
        &self,
        _: Request<ListTokensRequest>,
    ) -> Result<Response<ListTokensResponse>, Status> {
        Ok(Response::new(ListTokensResponse::default()))
    }

    async fn revoke_token(
        &self,
        _: Request<RevokeTokenRequest>,
    ) -> Result<Response<RevokeTokenResponse>, Status> {
        Ok(Response::new(RevokeTokenResponse {}))
    }

    async fn status(&self, _: Request<StatusRequest>) -> Result<Response<StatusResponse>, Status> {
        Ok(Response::new(StatusResponse {
            json: serde_json::to_string(&cluster()).unwrap(),
        }))
    }

    async fn kubeconfig(
        &self,
        _: Request<KubeconfigRequest>,
    ) -> Result<Response<KubeconfigResponse>, Status> {
        Ok(Response::new(KubeconfigResponse {
            yaml: "apiVersion: v1\nkind: Config\n".into(),
        }))
    }

    async fn transfer_vip(
        &self,
        request: Request<TransferRequest>,
    ) -> Result<Response<TransferResponse>, Status> {
        transferred(&request.into_inner().host)
    }

    async fn transfer_leader(
        &self,
        request: Request<TransferRequest>,
    ) -> Result<Response<TransferResponse>, Status> {
        transferred(&request.into_inner().host)
    }

    async fn backends(
        &self,
        _: Request<BackendsRequest>,
    ) -> Result<Response<BackendsResponse>, Status> {
        let backend = |host: &str, last: u8| VipBackendStatus {
            host: host.into(),
            address: format!("10.77.0.{last}:6443"),
            healthy: true,
            weight: 1,
            connections_open: 3,
            connections_total: 1200,
            bytes_to_backend: 4096,
            bytes_to_client: 3 << 20,
            ..VipBackendStatus::default()
        };
        let lost = VipBackendStatus {
            healthy: false,
            reason: "no answer within 500 ms".into(),
            connections_open: 0,
            connects_failed: 7,
            connections_unanswered: 2,
            ..backend("cp3", 13)
        };
        Ok(Response::new(BackendsResponse {
            backends: vec![backend("cp1", 11), backend("cp2", 12), lost],
            connections: 7,
            connections_max: 20_000,
            half_open: 1,
            half_open_ended: 5,
        }))
    }

    async fn read_config(
        &self,
        _: Request<ReadConfigRequest>,
    ) -> Result<Response<ReadConfigResponse>, Status> {
        let revision = |revision, profile: &str| SpecRevision {
            revision,
            yaml: format!("spec:\n  vip:\n    profile: {profile}\n"),
            actor: "root@cp1".into(),
            at_ms: 1_700_000_000_000,
        };
        Ok(Response::new(ReadConfigResponse {
            revisions: vec![revision(3, "lan"), revision(4, "fast")],
        }))
    }

    async fn apply_config(
        &self,
        request: Request<ApplyConfigRequest>,
    ) -> Result<Response<ApplyConfigResponse>, Status> {
        let request = request.into_inner();
        let change =
            |path: &str, before: &str, after: &str, code: &str, reason: &str| ConfigChange {
                path: path.into(),
                before: before.into(),
                after: after.into(),
                code: code.into(),
                reason: reason.into(),
            };
        let mut changes = vec![change("spec.vip.leaseMs", "", "100", "", "")];
        match (request.mode(), request.spec_yaml.trim()) {
            (_, "same") => changes.clear(),
            (Mode::Compare, _) => changes.push(change(
                "spec.network.podCidr",
                "10.244.0.0/16",
                "10.245.0.0/16",
                "KHA2319",
                "networks stay",
            )),
            (Mode::Apply, "spec:\n  vip:\n    profile: lan") => assert_eq!(request.based_on, 4),
            (_, "refused") => return Err(refused(Code::FailedPrecondition)),
            _ => {}
        }
        Ok(Response::new(ApplyConfigResponse {
            revision: if request.mode() == Mode::Apply { 5 } else { 4 },
            changes,
            notes: vec!["spec.vip.preference names cp9, which is no host".into()],
        }))
    }

    type LogsStream = Pinned<LogChunk>;

    async fn logs(
        &self,
        request: Request<LogsRequest>,
    ) -> Result<Response<Self::LogsStream>, Status> {
        let request = request.into_inner();
        let chunk = |data: Vec<u8>| Ok(LogChunk { data: data.into() });
        let chunks = vec![
            chunk(format!("{} {} ", request.component, request.lines).into_bytes()),
            chunk(b"\xff no text\n".to_vec()),
        ];
        Ok(Response::new(Box::pin(tokio_stream::iter(chunks))))
    }
}

fn transferred(host: &str) -> Result<Response<TransferResponse>, Status> {
    match host {
        "cp1" | "cp2" => Ok(Response::new(TransferResponse {
            moved: host == "cp2",
            from: "cp1".into(),
        })),
        "late" => Err(refused(Code::DeadlineExceeded)),
        _ => Err(refused(Code::FailedPrecondition)),
    }
}

/// The fake behind a socket; it ends with the value.
struct Bench {
    folder: TempDir,
    _runtime: tokio::runtime::Runtime,
}

impl Bench {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let listener = {
            let _inside = runtime.enter();
            UnixListener::bind(folder.path().join("khad.sock")).unwrap()
        };
        runtime.spawn(
            tonic::transport::Server::builder()
                .add_service(AdminServer::new(Fake))
                .serve_with_incoming(UnixListenerStream::new(listener)),
        );
        Self {
            folder,
            _runtime: runtime,
        }
    }

    /// Runs `khactl` against the fake, in the folder; gives stdout, stderr and the exit code as
    /// people see them.
    fn khactl(&self, line: &str) -> String {
        self.shown(&self.raw(line))
    }

    fn raw(&self, line: &str) -> Output {
        self.raw_at("khad.sock", line)
    }

    fn raw_at(&self, socket: &str, line: &str) -> Output {
        Command::new(env!("CARGO_BIN_EXE_khactl"))
            .args(["--socket", socket])
            .args(line.split_whitespace())
            .current_dir(self.folder.path())
            .env_remove("KHACTL_TOKEN")
            .output()
            .unwrap()
    }

    fn shown(&self, output: &Output) -> String {
        let folder = self.folder.path().display().to_string();
        let text = format!(
            "{}--- stderr\n{}--- exit {}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr),
            output.status.code().unwrap()
        );
        without_times(&text.replace(&folder, "FOLDER"))
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).unwrap();
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        Path::new(self.folder.path()).join(name)
    }
}

/// `finished (1.2 s)` differs from run to run.
fn without_times(text: &str) -> String {
    let lines: Vec<_> = text
        .lines()
        .map(|line| match line.split_once("finished (") {
            Some((before, _)) => format!("{before}finished (TIME)"),
            None => line.to_owned(),
        })
        .collect();
    lines.join("\n")
}

#[test]
fn help_of_every_command() {
    fn collect(command: &mut clap::Command, path: &str, all: &mut String) {
        use std::fmt::Write as _;
        let help = command.render_help();
        write!(all, "$ {path} --help\n{help}\n").unwrap();
        for sub in command.get_subcommands_mut() {
            if sub.get_name() != "help" {
                let path = format!("{path} {}", sub.get_name());
                collect(sub, &path, all);
            }
        }
    }
    let mut command = khactl::cli::Cli::command().term_width(100);
    command.build();
    let mut all = String::new();
    collect(&mut command, "khactl", &mut all);
    insta::assert_snapshot!(all);
}

#[test]
fn leaving_is_told_like_joining_and_the_journal_shows_who_gave_it_up() {
    let bench = Bench::new();
    insta::assert_snapshot!(bench.khactl("leave --yes --force"));
    insta::assert_snapshot!(bench.khactl("leave"));
    insta::assert_snapshot!(bench.khactl("operation list"));
    insta::assert_snapshot!(bench.khactl("operation show 7"));
    insta::assert_snapshot!(bench.khactl("operation show 8"));
    insta::assert_snapshot!(bench.khactl("operation abort 7"));
}

#[test]
fn a_reset_asks_first_and_passes_the_agents_refusal_on() {
    let bench = Bench::new();
    insta::assert_snapshot!(bench.khactl("reset"));
    insta::assert_snapshot!(bench.khactl("reset --yes"));
}

#[test]
fn missing_agent_says_how_to_start_it() {
    let bench = Bench::new();
    insta::assert_snapshot!(bench.shown(&bench.raw_at("gone.sock", "status")));
    insta::assert_snapshot!(bench.shown(&bench.raw_at("gone.sock", "status -o json")));
}

#[test]
fn socket_of_something_else_is_told_from_an_agent() {
    let bench = Bench::new();
    let other = std::os::unix::net::UnixListener::bind(bench.path("other.sock")).unwrap();
    // Ends with the test's process, whether or not somebody called.
    std::thread::spawn(move || {
        use std::io::Write as _;
        while let Ok((mut stream, _)) = other.accept() {
            stream
                .write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n")
                .unwrap();
        }
    });
    let output = bench.raw_at("other.sock", "status");
    assert_eq!(output.status.code(), Some(1));
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(stderr.contains("KHA090"), "{stderr}");
    assert!(stderr.contains("\n  try: "), "{stderr}");
}

#[test]
fn wrong_use_ends_with_2() {
    let bench = Bench::new();
    insta::assert_snapshot!(bench.khactl("status --nonsense -o json"));
    insta::assert_snapshot!(bench.khactl("--endpoint cp1:9443 status"));
    assert_eq!(bench.raw("init").status.code(), Some(2));
    assert_eq!(bench.raw("token create --ttl soon").status.code(), Some(2));
    assert_eq!(bench.raw("--help").status.code(), Some(0));
}

#[test]
fn unusable_identity_is_named() {
    let bench = Bench::new();
    bench.write("nobody.pem", "no PEM");
    insta::assert_snapshot!(bench.khactl("--endpoint cp1:9443 --identity nobody.pem status"));
    insta::assert_snapshot!(bench.khactl("--endpoint cp1:9443 --identity gone.pem status"));
}

#[test]
fn init_shows_every_step_as_a_line() {
    let bench = Bench::new();
    bench.write("spec.yaml", "good");
    insta::assert_snapshot!(bench.khactl("init -f spec.yaml"));
}

#[test]
fn init_that_is_refused_shows_the_agents_own_words() {
    let bench = Bench::new();
    bench.write("spec.yaml", "refused");
    insta::assert_snapshot!(bench.khactl("init -f spec.yaml"));
    insta::assert_snapshot!(bench.khactl("init -f spec.yaml -o json"));
}

#[test]
fn init_that_is_not_ready_in_time_ends_with_3() {
    let bench = Bench::new();
    bench.write("spec.yaml", "late");
    assert_eq!(bench.raw("init -f spec.yaml").status.code(), Some(3));
    bench.write("spec.yaml", "endless");
    insta::assert_snapshot!(bench.khactl("init -f spec.yaml --timeout 300ms"));
}

#[test]
fn init_whose_agent_stops_says_how_to_go_on() {
    let bench = Bench::new();
    bench.write("spec.yaml", "broken off");
    insta::assert_snapshot!(bench.khactl("init -f spec.yaml"));
}

#[test]
fn spec_that_cannot_be_read_is_named() {
    let bench = Bench::new();
    insta::assert_snapshot!(bench.khactl("init -f gone.yaml"));
    std::fs::write(bench.path("binary.yaml"), b"\xff\xfe").unwrap();
    insta::assert_snapshot!(bench.khactl("preflight -f binary.yaml"));
}

#[test]
fn join_shows_every_step_as_a_line() {
    let bench = Bench::new();
    insta::assert_snapshot!(bench.khactl("join good --token the-token"));
}

#[test]
fn status_in_every_format() {
    let bench = Bench::new();
    insta::assert_snapshot!(bench.khactl("status"));
    insta::assert_snapshot!(bench.khactl("status -o json"));
    insta::assert_snapshot!(bench.khactl("status -o yaml"));
}

#[test]
fn token_alone_is_on_stdout() {
    let bench = Bench::new();
    let output = bench.raw("token create --ttl 1h30m");
    assert_eq!(output.stdout, b"abc123.secret.pin\n");
    insta::assert_snapshot!(bench.shown(&output));
    insta::assert_snapshot!(bench.khactl("token create --ttl 1h30m -o json"));
    insta::assert_snapshot!(bench.khactl("token create --uses 17"));
    insta::assert_snapshot!(bench.khactl("token list"));
    insta::assert_snapshot!(bench.khactl("token revoke abc123"));
}

#[test]
fn log_is_passed_on_byte_for_byte() {
    let bench = Bench::new();
    let output = bench.raw("logs etcd --lines 7");
    assert_eq!(output.stdout, b"etcd 7 \xff no text\n");
}

#[test]
fn kubeconfig_is_yaml_and_for_programs_json() {
    let bench = Bench::new();
    let output = bench.raw("kubeconfig");
    assert_eq!(output.stdout, b"apiVersion: v1\nkind: Config\n");
    insta::assert_snapshot!(bench.khactl("kubeconfig -o json"));
}

#[test]
fn blocking_finding_ends_with_1() {
    let bench = Bench::new();
    insta::assert_snapshot!(bench.khactl("preflight"));
    insta::assert_snapshot!(bench.khactl("preflight -o json"));
}

#[test]
fn closed_output_is_no_failure() {
    let bench = Bench::new();
    let mut child = Command::new(env!("CARGO_BIN_EXE_khactl"))
        .args(["completion", "bash"])
        .current_dir(bench.folder.path())
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    assert_eq!(output.status.code(), Some(0));
}

#[test]
fn probe_prints_a_sample_for_each_connection_until_its_input_closes() {
    use khactl_lab::measure::{Measurement, SampleKind};

    let bench = Bench::new();
    let probe = |target: std::net::SocketAddr| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_khactl"));
        command
            .args(["lab", "probe", "--every-ms", "1", "--target"])
            .arg(target.to_string())
            .current_dir(bench.folder.path());
        Measurement::start(command).unwrap()
    };
    let open = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let to_open = probe(open.local_addr().unwrap());
    // One after the other, so that the closed port is not given out again.
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let closed_address = closed.local_addr().unwrap();
    drop(closed);
    let to_closed = probe(closed_address);
    for _ in 0..5 {
        open.accept().unwrap();
    }
    let good = to_open.stop().unwrap();
    assert!(good.len() >= 5, "{good:?}");
    assert!(good.iter().all(|s| s.ok && s.kind == SampleKind::Connect));
    assert!(to_closed.stop().unwrap().iter().all(|s| !s.ok));
}

#[test]
fn what_is_handed_over_is_told_with_both_hosts() {
    let bench = Bench::new();
    let all: Vec<_> = [
        "vip transfer cp2",
        "vip transfer cp1",
        "leader transfer cp2",
        "leader transfer cp1",
        "-o json vip transfer cp2",
        "vip transfer cp9",
        "leader transfer late",
    ]
    .iter()
    .map(|line| format!("$ khactl {line}\n{}", bench.khactl(line)))
    .collect();
    insta::assert_snapshot!(all.join("\n"));
}

#[test]
fn the_balancers_backends_are_shown_with_what_they_had() {
    let bench = Bench::new();
    let all: Vec<_> = ["vip backends", "-o json vip backends"]
        .iter()
        .map(|line| format!("$ khactl {line}\n{}", bench.khactl(line)))
        .collect();
    insta::assert_snapshot!(all.join("\n"));
}

#[test]
fn the_spec_is_shown_compared_applied_and_put_back() {
    let bench = Bench::new();
    bench.write("new.yaml", "new");
    bench.write("same.yaml", "same");
    bench.write("refused.yaml", "refused");
    let all: Vec<_> = [
        "config show",
        "-o json config show",
        "config history",
        "config diff -f new.yaml",
        "config diff -f same.yaml",
        "config apply -f new.yaml --dry-run",
        "config apply -f new.yaml",
        "-o json config apply -f new.yaml",
        "config apply -f refused.yaml",
        "config rollback 3",
        "config rollback 2",
    ]
    .iter()
    .map(|line| format!("$ khactl {line}\n{}", bench.khactl(line)))
    .collect();
    insta::assert_snapshot!(all.join("\n"));
}
