//! Reads the file of `balancer.health.caFile` on this host. What was good once is kept while the file is not: an
//! operator who replaces it must not take every backend out.

use khactl_model::facts::HealthCaFact;
use khactl_model::spec::ClusterSpec;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use std::io::Read;

/// What khavip takes (some dozens of certificates).
const BYTES_MAX: u64 = 256 * 1024;

/// The file as it was last good.
#[derive(Debug, Default)]
pub struct HealthCa {
    good: Option<(String, String)>,
}

impl HealthCa {
    /// Looks at the file; `None`: the spec names none.
    pub fn look(&mut self, spec: &ClusterSpec) -> Option<HealthCaFact> {
        let path = &spec.balancer.health.ca_file;
        if path.is_empty() {
            self.good = None;
            return None;
        }
        let wrong = match read(path) {
            Ok(pem) => {
                self.good = Some((path.clone(), pem));
                String::new()
            }
            Err(wrong) => wrong,
        };
        let kept = self.good.as_ref().filter(|(of, _)| of == path);
        Some(HealthCaFact {
            pem: kept.map(|(_, pem)| pem.clone()).unwrap_or_default(),
            wrong,
        })
    }
}

/// The certificates in a file.
///
/// # Errors
/// For people: it cannot be read, is too large, or holds no certificate.
pub fn read(path: &str) -> Result<String, String> {
    // Opening something else, a pipe for example, could wait for ever.
    if std::fs::metadata(path).is_ok_and(|found| !found.is_file()) {
        return Err(format!("{path} is no file"));
    }
    let mut pem = String::new();
    std::fs::File::open(path)
        .and_then(|file| file.take(BYTES_MAX + 1).read_to_string(&mut pem))
        .map_err(|error| format!("{path}: {error}"))?;
    if u64::try_from(pem.len()).is_ok_and(|bytes| bytes > BYTES_MAX) {
        return Err(format!("{path} is larger than {} KiB", BYTES_MAX >> 10));
    }
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem.as_bytes()).collect();
    match certificates {
        Ok(certificates) if !certificates.is_empty() => Ok(pem),
        Ok(_) => Err(format!("{path} holds no certificate in PEM")),
        Err(error) => Err(format!("{path} is no PEM: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SPEC: &str = "apiVersion: khactl.io/v1alpha1\nkind: Cluster\nmetadata: {name: prod}\nspec:\n  \
        vip: {addresses: [10.77.0.100/24]}\n  balancer: {port: 8443, health: {caFile: PATH}}\n  \
        controlPlane: {mode: external}\n";

    #[test]
    fn a_file_that_turns_bad_is_told_and_what_was_good_stays_in_use() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ca.crt");
        let text = SPEC.replace("PATH", &path.to_string_lossy());
        let spec = ClusterSpec::parse(&text).unwrap_or_else(|problems| panic!("{problems}"));
        let mut file = HealthCa::default();

        let absent = file.look(&spec).unwrap();
        assert!(absent.pem.is_empty() && absent.wrong.contains("ca.crt"));

        let key = rcgen::KeyPair::generate().unwrap();
        let pem = rcgen::CertificateParams::default()
            .self_signed(&key)
            .unwrap()
            .pem();
        std::fs::write(&path, &pem).unwrap();
        let good = file.look(&spec).unwrap();
        assert_eq!((good.pem.as_str(), good.wrong.as_str()), (pem.as_str(), ""));

        std::fs::write(&path, "no certificate").unwrap();
        let bad = file.look(&spec).unwrap();
        assert_eq!(bad.pem, pem);
        assert!(bad.wrong.contains("no certificate"));
    }
}
