//! The Unix socket's callers: needs root, because only root is let in.

use hyper_util::rt::TokioIo;
use khactl_agent::net::{UnixSocket, caller, require_admin, require_local};
use khactl_proto::v1::vip_client::VipClient;
use khactl_proto::v1::vip_server::{Vip, VipServer};
use khactl_proto::v1::{
    VipFeedRequest, VipFeedResponse, VipHandOverRequest, VipHandOverResponse, VipStatusRequest,
    VipStatusResponse,
};
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use tokio::net::UnixStream;
use tokio::task::JoinSet;
use tonic::service::Routes;
use tonic::transport::Endpoint;
use tonic::{Request, Response, Status};
use tower::service_fn;

struct Doors;

#[tonic::async_trait]
impl Vip for Doors {
    async fn feed(
        &self,
        request: Request<VipFeedRequest>,
    ) -> Result<Response<VipFeedResponse>, Status> {
        require_local(&request)?;
        let name = require_admin(&request)?;
        let address = caller(&request).address;
        Ok(Response::new(VipFeedResponse {
            problems: vec![format!("{name} {address:?}")],
        }))
    }

    async fn status(
        &self,
        _: Request<VipStatusRequest>,
    ) -> Result<Response<VipStatusResponse>, Status> {
        Ok(Response::new(VipStatusResponse::default()))
    }

    async fn hand_over(
        &self,
        _: Request<VipHandOverRequest>,
    ) -> Result<Response<VipHandOverResponse>, Status> {
        Ok(Response::new(VipHandOverResponse::default()))
    }
}

#[tokio::test]
async fn root_is_admin_on_the_unix_socket_and_nobody_else_is_served() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("khad.sock");
    let socket = UnixSocket::bind(&path).unwrap();
    let mut tasks = JoinSet::new();
    tasks.spawn(socket.serve(
        Routes::new(VipServer::new(Doors)),
        std::future::pending::<()>(),
    ));

    let connect_to = path.clone();
    let channel = Endpoint::from_static("http://khad")
        .connect_with_connector(service_fn(move |_| {
            let path = connect_to.clone();
            async move { UnixStream::connect(path).await.map(TokioIo::new) }
        }))
        .await
        .unwrap();
    let answer = VipClient::new(channel)
        .feed(VipFeedRequest::default())
        .await
        .unwrap();
    assert_eq!(answer.into_inner().problems, ["root None"]);

    // Even where the file's mode lets another user in, the credentials do not.
    let open = |path: &std::path::Path, mode| {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    open(folder.path(), 0o755);
    open(&path, 0o666);
    let read = tokio::task::spawn_blocking(move || {
        // This changes the one thread alone, which ends with the closure.
        std::thread::spawn(move || {
            let nobody = rustix::process::Uid::from_raw(65534);
            rustix::thread::set_thread_res_uid(nobody, nobody, nobody).unwrap();
            let mut stream = std::os::unix::net::UnixStream::connect(&path).unwrap();
            let mut read = Vec::new();
            let ended = stream.read_to_end(&mut read);
            (ended.is_ok(), read)
        })
        .join()
        .unwrap()
    })
    .await
    .unwrap();
    assert_eq!(read, (true, Vec::new()));
}
