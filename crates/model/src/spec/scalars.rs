//! What a single value may be: numbers with their ranges, names, paths, addresses. Each refusal says what to
//! write instead.

use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;

use super::AddressPrefix;
use super::cluster::{BalanceMethod, HealthScheme, Interface, KubernetesVersion, Mode, Profile};
use super::fields::{Refusal, Scalar};

/// Longest DNS label (RFC 1035, 2.3.4).
const LABEL_BYTES_MAX: usize = 63;
/// Longest DNS name.
const NAME_BYTES_MAX: usize = 253;
/// Longest name of an interface: IFNAMSIZ less the closing zero.
const INTERFACE_BYTES_MAX: usize = 15;

pub(crate) fn text(scalar: Scalar<'_>) -> Result<String, Refusal> {
    if scalar.text.chars().any(char::is_control) {
        return Err(Refusal::malformed(
            "holds a control character",
            "Write it on one line, in printable characters.",
        ));
    }
    Ok(scalar.text.to_owned())
}

pub(crate) fn flag(scalar: Scalar<'_>) -> Result<bool, Refusal> {
    match (scalar.text, scalar.plain) {
        ("true", true) => Ok(true),
        ("false", true) => Ok(false),
        _ => Err(Refusal::malformed(
            "is neither true nor false",
            "Write true or false, without quotes.",
        )),
    }
}

/// A whole number in a range, with the name of what it counts.
pub(crate) fn number<T>(
    what: &'static str,
    range: RangeInclusive<T>,
) -> impl Fn(Scalar<'_>) -> Result<T, Refusal>
where
    T: TryFrom<u64> + Into<u64> + Copy,
{
    let (low, high): (u64, u64) = ((*range.start()).into(), (*range.end()).into());
    move |scalar| {
        let cure = format!("Write {what} of {low} to {high}, without quotes.");
        let digits = scalar.plain
            && !scalar.text.is_empty()
            && scalar.text.bytes().all(|b| b.is_ascii_digit());
        let negative = scalar
            .text
            .strip_prefix('-')
            .is_some_and(|rest| rest.parse::<u64>().is_ok());
        if !digits && !negative {
            return Err(Refusal::malformed("is not a whole number", cure));
        }
        scalar
            .text
            .parse::<u64>()
            .ok()
            .filter(|value| (low..=high).contains(value))
            .and_then(|value| T::try_from(value).ok())
            .ok_or_else(|| Refusal::out_of_range(format!("is not {what} of {low} to {high}"), cure))
    }
}

pub(crate) fn port(scalar: Scalar<'_>) -> Result<u16, Refusal> {
    number("a port", 1..=u16::MAX)(scalar)
}

/// Lower-case letters, digits and dashes, none of them at an end (RFC 1123).
pub(crate) fn is_dns_label(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= LABEL_BYTES_MAX
        && !text.starts_with('-')
        && !text.ends_with('-')
        && text
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
}

/// DNS labels with dots between them.
pub(crate) fn is_dns_name(text: &str) -> bool {
    text.len() <= NAME_BYTES_MAX && text.split('.').all(is_dns_label)
}

pub(crate) fn cluster_name(scalar: Scalar<'_>) -> Result<String, Refusal> {
    if is_dns_label(scalar.text) {
        return Ok(scalar.text.to_owned());
    }
    Err(Refusal::malformed(
        "is not a DNS label",
        "Use 1 to 63 lower-case letters, digits and dashes, with a letter or a digit at both ends, for example prod.",
    ))
}

pub(crate) fn host_name(scalar: Scalar<'_>) -> Result<String, Refusal> {
    if is_dns_name(scalar.text) {
        return Ok(scalar.text.to_owned());
    }
    Err(Refusal::malformed(
        "is not a host name",
        "Write the name as `khactl status` shows it: lower-case letters, digits, dashes and dots.",
    ))
}

pub(crate) fn dns_domain(scalar: Scalar<'_>) -> Result<String, Refusal> {
    if is_dns_name(scalar.text) {
        return Ok(scalar.text.to_owned());
    }
    Err(Refusal::malformed(
        "is not a DNS domain",
        "Use lower-case labels with dots between them and none at the end, for example cluster.local.",
    ))
}

/// A name or an address for a certificate; a name may begin with a `*.` label.
pub(crate) fn alternative_name(scalar: Scalar<'_>) -> Result<String, Refusal> {
    let name = scalar.text.strip_prefix("*.").unwrap_or(scalar.text);
    if scalar.text.parse::<IpAddr>().is_ok() || is_dns_name(name) {
        return Ok(scalar.text.to_owned());
    }
    Err(Refusal::malformed(
        "is neither a DNS name nor an address",
        "Write it as api.example.org or 192.0.2.10, without a port.",
    ))
}

pub(crate) fn vip(scalar: Scalar<'_>) -> Result<AddressPrefix, Refusal> {
    let example = match scalar.text.parse::<IpAddr>() {
        Ok(address) if address.is_ipv6() => format!("{address}/64"),
        Ok(address) => format!("{address}/24"),
        Err(_) => "10.77.0.100/24".to_owned(),
    };
    scalar.text.parse().map_err(|_| {
        Refusal::malformed(
            "is not an address with a prefix",
            format!("Write it as ADDRESS/PREFIX, for example {example}."),
        )
    })
}

pub(crate) fn network(
    example: &'static str,
) -> impl Fn(Scalar<'_>) -> Result<AddressPrefix, Refusal> {
    move |scalar| {
        let network: AddressPrefix = scalar.text.parse().map_err(|_| {
            Refusal::malformed(
                "is not a network",
                format!("Write it as ADDRESS/PREFIX, for example {example}."),
            )
        })?;
        if network.address() != network.network() {
            return Err(Refusal::malformed(
                format!(
                    "has bits set behind its prefix: its network begins at {}",
                    network.network()
                ),
                format!("Write {}/{}.", network.network(), network.prefix()),
            ));
        }
        Ok(network)
    }
}

pub(crate) fn socket_address(scalar: Scalar<'_>) -> Result<SocketAddr, Refusal> {
    let address: Option<SocketAddr> = scalar.text.parse().ok();
    address
        .filter(|address| {
            address.port() != 0 && !address.ip().is_unspecified() && !address.ip().is_multicast()
        })
        .ok_or_else(|| {
            Refusal::malformed(
                "is not the address and port of an API server",
                "Write it as 10.77.0.11:6443 or [fd00::11]:6443.",
            )
        })
}

pub(crate) fn absolute_path(scalar: Scalar<'_>) -> Result<String, Refusal> {
    let inside = scalar.text.split('/').skip(1).all(|part| part != "..");
    let printable = !scalar.text.chars().any(char::is_control);
    if scalar.text.starts_with('/') && inside && printable {
        return Ok(scalar.text.to_owned());
    }
    Err(Refusal::malformed(
        "is not an absolute path",
        "Begin with a slash and leave out \"..\", for example /opt/khactl/bundles/v1.20.2.",
    ))
}

pub(crate) fn absolute_path_or_empty(scalar: Scalar<'_>) -> Result<String, Refusal> {
    if scalar.text.is_empty() {
        return Ok(String::new());
    }
    absolute_path(scalar)
}

/// The path of an HTTP request, as it goes on the wire.
pub(crate) fn request_path(scalar: Scalar<'_>) -> Result<String, Refusal> {
    if scalar.text.starts_with('/')
        && scalar
            .text
            .bytes()
            .all(|b| b.is_ascii_graphic() && b != b'#')
    {
        return Ok(scalar.text.to_owned());
    }
    Err(Refusal::malformed(
        "is not the path of a request",
        "Begin with a slash and use printable ASCII without spaces, for example /readyz.",
    ))
}

pub(crate) fn interface(scalar: Scalar<'_>) -> Result<Interface, Refusal> {
    let name = scalar.text;
    if name == "auto" {
        return Ok(Interface::Auto);
    }
    let graphic = name
        .bytes()
        .all(|b| b.is_ascii_graphic() && !matches!(b, b'/' | b':'));
    if name.is_empty() || name.len() > INTERFACE_BYTES_MAX || !graphic || matches!(name, "." | "..")
    {
        return Err(Refusal::malformed(
            "is not the name of an interface",
            "Write auto, or a name of at most 15 characters as `ip link` shows it.",
        ));
    }
    if name == "lo" {
        return Err(Refusal::malformed(
            "is the loopback interface, which no other host can reach",
            "Write auto, or the interface that faces the clients.",
        ));
    }
    Ok(Interface::Named(name.to_owned()))
}

/// The name of a component's argument.
pub(crate) fn argument_name(scalar: Scalar<'_>) -> Result<String, Refusal> {
    let name = scalar.text;
    let first = name.bytes().next().is_some_and(|b| b.is_ascii_lowercase());
    if first
        && name
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
    {
        return Ok(name.to_owned());
    }
    Err(Refusal::malformed(
        "is not the name of an argument",
        "Write it without leading dashes, for example audit-log-maxage.",
    ))
}

pub(crate) fn kubernetes_version(scalar: Scalar<'_>) -> Result<KubernetesVersion, Refusal> {
    /// The oldest release whose arguments are rendered.
    const OLDEST: KubernetesVersion = KubernetesVersion {
        major: 1,
        minor: 20,
        patch: 0,
    };
    let version = KubernetesVersion::parse(scalar.text).ok_or_else(|| {
        Refusal::malformed(
            "is not a released version",
            "Write it as vMAJOR.MINOR.PATCH, for example v1.20.2.",
        )
    })?;
    if version < OLDEST || version.major > 1 {
        return Err(Refusal::out_of_range(
            format!(
                "is not a version that can be run here: the oldest is {OLDEST}, and of v2 nothing is known"
            ),
            "Take a bundle of another version.",
        ));
    }
    Ok(version)
}

/// One of a few words.
fn word<T: Copy>(
    scalar: Scalar<'_>,
    words: &[(&'static str, T)],
    what: &str,
) -> Result<T, Refusal> {
    words
        .iter()
        .find(|(name, _)| *name == scalar.text)
        .map(|(_, value)| *value)
        .ok_or_else(|| {
            let names: Vec<&str> = words.iter().map(|(name, _)| *name).collect();
            Refusal::malformed(
                format!("is not {what}"),
                format!("Write one of {}.", names.join(", ")),
            )
        })
}

pub(crate) fn profile(scalar: Scalar<'_>) -> Result<Profile, Refusal> {
    let words = [
        ("lan", Profile::Lan),
        ("fast", Profile::Fast),
        ("wan", Profile::Wan),
    ];
    word(scalar, &words, "a profile of lease times")
}

pub(crate) fn method(scalar: Scalar<'_>) -> Result<BalanceMethod, Refusal> {
    let words = [
        BalanceMethod::RoundRobin,
        BalanceMethod::WeightedRoundRobin,
        BalanceMethod::LeastConnections,
        BalanceMethod::SourceHash,
    ]
    .map(|method| (method.name(), method));
    word(scalar, &words, "a way to balance")
}

pub(crate) fn scheme(scalar: Scalar<'_>) -> Result<HealthScheme, Refusal> {
    let words = [HealthScheme::Https, HealthScheme::Http].map(|scheme| (scheme.name(), scheme));
    word(scalar, &words, "a scheme")
}

pub(crate) fn mode(scalar: Scalar<'_>) -> Result<Mode, Refusal> {
    word(
        scalar,
        &[("managed", Mode::Managed), ("external", Mode::External)],
        "a mode",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(text: &str) -> Scalar<'_> {
        Scalar { text, plain: true }
    }

    #[test]
    fn numbers_are_whole_unquoted_and_in_range() {
        assert_eq!(port(plain("6443")).unwrap(), 6443);
        for text in ["0", "65536", "-1", "99999999999999999999999"] {
            assert_eq!(
                port(plain(text)).unwrap_err().code,
                super::super::Code::OutOfRange,
                "{text}"
            );
        }
        for text in ["", "6443.0", "0x10", "+1", "six"] {
            assert_eq!(
                port(plain(text)).unwrap_err().code,
                super::super::Code::Malformed,
                "{text}"
            );
        }
        let quoted = Scalar {
            text: "6443",
            plain: false,
        };
        assert!(port(quoted).is_err());
    }

    #[test]
    fn names_follow_dns() {
        for good in ["a", "prod", "a-1", "0"] {
            assert!(is_dns_label(good), "{good}");
        }
        let long = "x".repeat(64);
        for bad in ["", "-a", "a-", "A", "a.b", "a_b", "ä", long.as_str()] {
            assert!(!is_dns_label(bad), "{bad}");
        }
        assert!(dns_domain(plain("cluster.local")).is_ok());
        assert!(dns_domain(plain("cluster.local.")).is_err());
        assert!(alternative_name(plain("*.example.org")).is_ok());
        assert!(alternative_name(plain("example.org:6443")).is_err());
    }

    #[test]
    fn versions_are_releases_from_1_20_on() {
        assert_eq!(
            kubernetes_version(plain("v1.20.2")).unwrap().to_string(),
            "v1.20.2"
        );
        assert!(kubernetes_version(plain("v1.34.0")).is_ok());
        for text in [
            "1.20.2",
            "v1.20",
            "v1.20.2-rc.0",
            "v1.020.2",
            "v1.19.16",
            "v2.0.0",
            "v1.20.2.1",
            "v1..2",
        ] {
            assert!(kubernetes_version(plain(text)).is_err(), "{text}");
        }
    }

    #[test]
    fn paths_are_absolute_and_stay_where_they_say() {
        assert!(absolute_path(plain("/opt/khactl/bundles/v1.20.2")).is_ok());
        for text in ["", "opt", "/opt/../etc", "/a\nb"] {
            assert!(absolute_path(plain(text)).is_err(), "{text}");
        }
        assert!(request_path(plain("/readyz?verbose")).is_ok());
        assert!(request_path(plain("/a b")).is_err());
    }
}
