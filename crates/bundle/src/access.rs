//! The way to a release site: whom TLS believes there, and through which proxy.
//!
//! The environment is read here and nowhere below, once for an order.

use rustls::pki_types::CertificateDer;
use ureq::http::Uri;
use ureq::{Proxy, ProxyProtocol};

use crate::error::BundleError;
use crate::source::Source;

/// The variables that ureq takes a proxy from, the first of them that is one.
const PROXY_VARIABLES: [&str; 6] = [
    "ALL_PROXY",
    "all_proxy",
    "HTTPS_PROXY",
    "https_proxy",
    "HTTP_PROXY",
    "http_proxy",
];

/// How a site is reached. The default believes nobody, which is enough for a folder and for a site without TLS.
#[derive(Debug, Clone, Default)]
pub struct Access {
    pub(crate) authorities: Vec<CertificateDer<'static>>,
    pub(crate) proxy: Option<Proxy>,
}

impl Access {
    /// What the system says of the way to that source: the authorities of `SSL_CERT_FILE`, `SSL_CERT_DIR` or else
    /// the system's own, the proxy of `HTTPS_PROXY` and its like, and what `NO_PROXY` excepts. A folder needs none of it.
    ///
    /// # Errors
    /// [`BundleError::Argument`] if there is a proxy that cannot be used: without it a site would only be waited for. One
    /// that is not for that site is none of its concern.
    pub fn to(source: &Source) -> Result<Self, BundleError> {
        if matches!(source, Source::Folder(_)) {
            return Ok(Self::default());
        }
        let asked = PROXY_VARIABLES
            .into_iter()
            .find(|name| std::env::var_os(name).is_some_and(|value| !value.is_empty()));
        let found = Proxy::try_from_env();
        let proxy = if found.as_ref().is_some_and(|proxy| excepts(proxy, source)) {
            found
        } else {
            usable(found, asked)?
        };
        Ok(Self {
            // A system without any has its say at the handshake.
            authorities: rustls_native_certs::load_native_certs().certs,
            proxy,
        })
    }

    /// Straight to a site whose certificate is by one of these authorities.
    pub fn trusting(authorities: impl IntoIterator<Item = CertificateDer<'static>>) -> Self {
        Self {
            authorities: authorities.into_iter().collect(),
            proxy: None,
        }
    }

    /// The same through a proxy, such as `http://proxy.example.org:3128`.
    ///
    /// # Errors
    /// [`BundleError::Argument`] if that is none, or none that can be used.
    pub fn through(mut self, proxy: &str) -> Result<Self, BundleError> {
        self.proxy = usable(Proxy::new(proxy).ok(), Some("the proxy"))?;
        Ok(self)
    }
}

/// Whether `NO_PROXY` has that mirror asked directly.
fn excepts(proxy: &Proxy, source: &Source) -> bool {
    let Source::Mirror(site) = source else {
        return false;
    };
    let site = site.parse::<Uri>();
    site.is_ok_and(|site| proxy.is_no_proxy(&site))
}

/// What was asked for may hold a password, and is not repeated.
fn usable(proxy: Option<Proxy>, asked: Option<&'static str>) -> Result<Option<Proxy>, BundleError> {
    let refused = |value: &str| BundleError::Argument {
        what: asked.unwrap_or("the proxy"),
        value: value.to_owned(),
        advice: "write it as http://proxy.example.org:3128; the proxy has to allow CONNECT",
    };
    match proxy.as_ref().map(Proxy::protocol) {
        Some(ProxyProtocol::Http | ProxyProtocol::Https) => Ok(proxy),
        Some(other) => Err(refused(&other.to_string())),
        None if asked.is_some() => Err(refused("…")),
        None => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proxy_that_cannot_be_used_is_refused_without_its_password() {
        let through = |proxy: &str| Access::default().through(proxy);
        assert!(through("http://ann:secret@proxy:3128").is_ok());
        for proxy in [
            "socks5://ann:secret@proxy:1080",
            "ftp://ann:secret@proxy:21",
        ] {
            let error = through(proxy).unwrap_err();
            assert_eq!(error.code(), "KHA1201", "{proxy}");
            assert!(!error.to_string().contains("secret"), "{error}");
        }
        assert!(usable(None, None).unwrap().is_none());
    }

    #[test]
    fn a_folder_is_reached_whatever_the_environment_says() {
        let access = Access::to(&Source::Folder("/srv/programs".into())).unwrap();
        assert!(access.authorities.is_empty() && access.proxy.is_none());
    }
}
