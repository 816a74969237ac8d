//! The codes of the problems that planning finds; each has a row in `docs/errors.md`.

/// etcd's data folder was in service and holds no member any more.
pub const ETCD_DATA_LOST: &str = "KHA3101";
/// A process ends again and again soon after its start.
pub const KEEPS_ENDING: &str = "KHA3102";
/// An even number of hosts.
pub const EVEN_HOSTS: &str = "KHA3103";
/// A host is recorded as an etcd member, and etcd does not know it.
pub const ETCD_MEMBER_UNKNOWN: &str = "KHA3104";
/// A member of etcd belongs to no host.
pub const ETCD_MEMBER_FOREIGN: &str = "KHA3105";
/// A certificate of this host has ended.
pub const CERTIFICATE_ENDED: &str = "KHA3106";
/// The file of `balancer.health.caFile` cannot be read on a host, or holds no certificate.
pub const HEALTH_CA_UNUSABLE: &str = "KHA3107";
/// An API server that something else runs does not pass the balancers' checks.
pub const BACKEND_UNHEALTHY: &str = "KHA3108";
/// A process lives and does not answer.
pub const HANGS: &str = "KHA3120";
/// Other arguments of a component made it end again and again, and were taken back.
pub const ARGUMENTS_TAKEN_BACK: &str = "KHA3130";
