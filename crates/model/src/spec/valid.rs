//! A spec that has passed validation.

use std::ops::Deref;

use serde::{Serialize, Serializer};

use super::cluster::{
    API_VERSION, BalancerSpec, ClusterSpec, ControlPlaneSpec, KIND, Mode, NetworkSpec, RaftSpec,
    VipSpec,
};
use super::position::Positions;
use super::problem::SpecProblems;
use super::{reading, validation};

/// A cluster's spec without a mistake that can be seen in the file alone. Made by [`ClusterSpec::parse`] only.
#[derive(Debug, Clone)]
pub struct ValidSpec {
    spec: ClusterSpec,
    pub(super) positions: Positions,
}

impl ClusterSpec {
    /// Reads and validates a file's text. The error holds every problem, not only the first.
    pub fn parse(text: &str) -> Result<ValidSpec, SpecProblems> {
        let reading::Reading { spec, mut reader } = reading::read(text);
        validation::validate(&spec, &mut reader);
        if reader.problems.is_empty() {
            Ok(ValidSpec {
                spec,
                positions: reader.positions,
            })
        } else {
            Err(SpecProblems::new(reader.problems))
        }
    }
}

impl ValidSpec {
    /// The canonical text: every field in its order with its default written out. Parsing it gives the same spec.
    pub fn to_yaml(&self) -> String {
        serde_saphyr::to_string(self).expect("a spec has only text keys and finite numbers")
    }
}

impl Deref for ValidSpec {
    type Target = ClusterSpec;

    fn deref(&self) -> &ClusterSpec {
        &self.spec
    }
}

/// Where the fields stood in the file is no part of the spec.
impl PartialEq for ValidSpec {
    fn eq(&self, other: &Self) -> bool {
        self.spec == other.spec
    }
}

impl Eq for ValidSpec {}

impl Serialize for ValidSpec {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let ClusterSpec {
            name,
            vip,
            balancer,
            raft,
            control_plane,
            network,
        } = &self.spec;
        Document {
            api_version: API_VERSION,
            kind: KIND,
            metadata: Metadata { name },
            spec: Body {
                vip,
                balancer,
                raft,
                control_plane,
                network: (control_plane.mode == Mode::Managed).then_some(network),
            },
        }
        .serialize(serializer)
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Document<'a> {
    api_version: &'static str,
    kind: &'static str,
    metadata: Metadata<'a>,
    spec: Body<'a>,
}

#[derive(Serialize)]
struct Metadata<'a> {
    name: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Body<'a> {
    vip: &'a VipSpec,
    balancer: &'a BalancerSpec,
    raft: &'a RaftSpec,
    control_plane: &'a ControlPlaneSpec,
    /// None where it is refused: in external mode.
    #[serde(skip_serializing_if = "Option::is_none")]
    network: Option<&'a NetworkSpec>,
}
