//! A kubeconfig with everything inside it: no file beside it is needed.

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

/// What a kubeconfig says.
#[derive(Clone, Copy)]
pub struct Kubeconfig<'a> {
    /// The cluster's name.
    pub cluster: &'a str,
    /// The API's URL, for example `https://10.77.0.100:6443`.
    pub server: &'a str,
    /// The authority `kubernetes` as PEM.
    pub authority_pem: &'a str,
    /// The user's name in this file, for example `kubernetes-admin`.
    pub user: &'a str,
    /// The user's certificate as PEM.
    pub certificate_pem: &'a str,
    /// The user's key as PEM.
    pub key_pem: &'a str,
}

impl Kubeconfig<'_> {
    /// The text as YAML; it holds the key, so its file is 0600.
    pub fn render(&self) -> Zeroizing<String> {
        let context = quoted(&format!("{}@{}", self.user, self.cluster));
        let (cluster, user, server) =
            (quoted(self.cluster), quoted(self.user), quoted(self.server));
        let key = Zeroizing::new(STANDARD.encode(self.key_pem));
        Zeroizing::new(format!(
            "apiVersion: v1\n\
             kind: Config\n\
             preferences: {{}}\n\
             clusters:\n\
             - name: {cluster}\n\
             \x20 cluster:\n\
             \x20   server: {server}\n\
             \x20   certificate-authority-data: {authority}\n\
             users:\n\
             - name: {user}\n\
             \x20 user:\n\
             \x20   client-certificate-data: {certificate}\n\
             \x20   client-key-data: {key}\n\
             contexts:\n\
             - name: {context}\n\
             \x20 context:\n\
             \x20   cluster: {cluster}\n\
             \x20   user: {user}\n\
             current-context: {context}\n",
            authority = STANDARD.encode(self.authority_pem),
            certificate = STANDARD.encode(self.certificate_pem),
            key = *key,
        ))
    }
}

/// A double-quoted YAML scalar: names like `system:kube-scheduler` or `123` must stay text.
fn quoted(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for character in text.chars() {
        match character {
            '"' | '\\' => {
                quoted.push('\\');
                quoted.push(character);
            }
            _ if character.is_control() => {
                // Writing to a string cannot fail.
                let _ = write!(quoted, "\\U{:08X}", u32::from(character));
            }
            _ => quoted.push(character),
        }
    }
    quoted.push('"');
    quoted
}

impl std::fmt::Debug for Kubeconfig<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Kubeconfig({} as {}, secret)", self.server, self.user)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kubeconfig_holds_all_that_kubectl_needs() {
        let text = Kubeconfig {
            cluster: "prod",
            server: "https://10.77.0.100:6443",
            authority_pem: "authority",
            user: "kubernetes-admin",
            certificate_pem: "certificate",
            key_pem: "key",
        };
        insta::assert_snapshot!(*text.render());
        assert!(!format!("{text:?}").contains("key_pem"));
    }

    #[test]
    fn odd_names_stay_text() {
        assert_eq!(quoted("a\"b\\c\n"), "\"a\\\"b\\\\c\\U0000000A\"");
    }
}
