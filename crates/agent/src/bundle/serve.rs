//! Gives this host's bundle to the others: the one that the spec names and no other file.

use khactl_host::bundle::Manifest;
use khactl_host::digest;
use khactl_proto::v1::{self, bundle_server::Bundle};
use std::io::SeekFrom;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use tokio::fs::File;
use tokio::io::{AsyncReadExt as _, AsyncSeekExt as _};
use tokio_stream::Stream;
use tonic::{Request, Response, Status};

use super::Wanted;
use crate::node::Node;
use crate::refused::{Refused, chain};
use crate::standing::require_standing;

const DOING: &str = "give a bundle to another host";
/// Far below what a message may have, and enough that a program takes some hundred.
const CHUNK: usize = 256 * 1024;

/// Answers the other agents.
#[derive(Debug)]
pub struct BundleService {
    node: Arc<Node>,
}

impl BundleService {
    /// For that member.
    pub fn new(node: Arc<Node>) -> Self {
        Self { node }
    }

    fn wanted(&self) -> Option<Wanted> {
        Wanted::of_state(&self.node.state())
    }
}

#[tonic::async_trait]
impl Bundle for BundleService {
    async fn describe(
        &self,
        request: Request<v1::DescribeBundleRequest>,
    ) -> Result<Response<v1::DescribeBundleResponse>, Status> {
        require_standing(&self.node, &request)?;
        let manifest = match self.wanted() {
            Some(wanted) => wanted.manifest().await.unwrap_or_default(),
            None => Vec::new(),
        };
        Ok(Response::new(v1::DescribeBundleResponse {
            manifest: manifest.into(),
        }))
    }

    type PullStream = Pin<Box<dyn Stream<Item = Result<v1::ProgramChunk, Status>> + Send>>;

    async fn pull(
        &self,
        request: Request<v1::PullProgramRequest>,
    ) -> Result<Response<Self::PullStream>, Status> {
        let caller = require_standing(&self.node, &request)?;
        let request = request.into_inner();
        let wanted = self.wanted().ok_or_else(|| gone("no bundle is wanted"))?;
        let text = wanted.manifest().await.unwrap_or_default();
        if digest::of_bytes(&text) != request.digest {
            return Err(gone("this host has another bundle now, or none").into());
        }
        let manifest = Manifest::parse(&text).map_err(gone)?;
        let entry = manifest
            .programs
            .get(&request.program)
            .ok_or_else(|| gone("its manifest does not list that program"))?;
        let path = wanted.folder.join(&entry.file);
        let file = open(&path, request.offset)
            .await
            .map_err(|error| gone(chain(&error)))?;
        tracing::info!(
            caller,
            program = request.program,
            offset = request.offset,
            "gives a program of the bundle"
        );
        Ok(Response::new(Box::pin(chunks(file))))
    }
}

async fn open(path: &Path, offset: u64) -> std::io::Result<File> {
    let mut file = File::open(path).await?;
    file.seek(SeekFrom::Start(offset)).await?;
    Ok(file)
}

fn chunks(file: File) -> impl Stream<Item = Result<v1::ProgramChunk, Status>> + Send {
    futures::stream::unfold(Some(file), |file| async move {
        let mut file = file?;
        let mut buffer = vec![0; CHUNK];
        match file.read(&mut buffer).await {
            Ok(0) => None,
            Ok(count) => {
                buffer.truncate(count);
                let chunk = v1::ProgramChunk {
                    data: buffer.into(),
                };
                Some((Ok(chunk), Some(file)))
            }
            Err(error) => Some((Err(gone(chain(&error)).into()), None)),
        }
    })
}

fn gone(wrong: impl std::fmt::Display) -> Refused {
    Refused::new(
        "KHA3070",
        DOING,
        wrong,
        "the host that asks goes on with another one by itself",
    )
}
