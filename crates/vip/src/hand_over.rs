//! The one-shot `khavip hand-over`, for the host's shutdown while its network is still up: the khavip that runs gives
//! the VIP up in order (rule P9) and stands back for a while, so that the host does not take it again on its way down.

use std::path::Path;
use std::time::Duration;

use khactl_proto::v1::VipHandOverRequest;
use khactl_proto::v1::vip_client::VipClient;
use tonic::Request;
use tonic::transport::Endpoint;

use crate::error::VipError;

/// khavip itself waits 3 s at the most until the VIP is gone.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Asks the khavip at that socket; says whether it held the VIP. Returns once it does not.
pub fn hand_over(socket: &Path, rest: Duration) -> Result<bool, VipError> {
    let failed = |cause: Box<dyn std::error::Error + Send + Sync>| VipError::HandOver {
        path: socket.to_owned(),
        cause,
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|cause| failed(cause.into()))?;
    let ask = async {
        let channel = Endpoint::from_shared(format!("unix:{}", socket.display()))?
            .connect_timeout(TIMEOUT)
            .connect()
            .await?;
        let mut request = Request::new(VipHandOverRequest {
            successor_id: 0,
            rest_ms: u32::try_from(rest.as_millis()).unwrap_or(u32::MAX),
        });
        request.set_timeout(TIMEOUT);
        let answer = VipClient::new(channel).hand_over(request).await?;
        Ok(answer.into_inner().held)
    };
    runtime.block_on(ask).map_err(failed)
}
