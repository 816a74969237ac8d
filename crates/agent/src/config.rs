//! What khad is started with: the command line over `khad.yaml` over defaults.

use serde::Deserialize;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

/// The agent's command line.
#[derive(Debug, Clone, clap::Parser)]
#[command(
    name = "khad",
    version,
    about = "The agent of a khactl control-plane host"
)]
pub struct Arguments {
    /// The agent's configuration; need not exist.
    #[arg(long, default_value = "/etc/khactl/khad.yaml")]
    pub config: PathBuf,
    /// Where this host's state lives.
    #[arg(long)]
    pub data_dir: Option<PathBuf>,
    /// Sockets and what may be lost at a reboot; a tmpfs.
    #[arg(long)]
    pub run_dir: Option<PathBuf>,
    /// This host's name; the machine's by default.
    #[arg(long)]
    pub host_name: Option<String>,
    /// This host's own address; by default the one that its default route uses.
    #[arg(long)]
    pub advertise_address: Option<IpAddr>,
    /// Instead of running in the foreground.
    #[command(subcommand)]
    pub once: Option<Once>,
}

/// What khad does at once and ends.
#[derive(Debug, Clone, clap::Subcommand)]
pub enum Once {
    /// What `khactl reset` runs where no khad does: takes away everything that khactl made on this host.
    Reset {
        /// Also if this host is a member of a cluster, as far as its disk tells.
        #[arg(long)]
        force: bool,
    },
    /// For the host's shutdown, after `khavip hand-over`: ends its components in order, whether a khad runs or not. The
    /// next khad starts them again.
    EndComponents,
}

/// `khad.yaml`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
struct File {
    data_dir: Option<PathBuf>,
    run_dir: Option<PathBuf>,
    host_name: Option<String>,
    advertise_address: Option<IpAddr>,
}

/// The agent's configuration.
#[derive(Debug, Clone)]
pub struct Config {
    /// `/var/lib/khactl`
    pub data_dir: PathBuf,
    /// `/run/khactl`
    pub run_dir: PathBuf,
    /// `/var/log/khactl`
    pub log_dir: PathBuf,
    /// This host's name.
    pub host_name: String,
    /// This host's own address; `None`: there is no default route, and nobody said.
    pub advertise_address: Option<IpAddr>,
}

/// Why the configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file is there and cannot be read.
    #[error("reading {path}: give khad a readable file, or none")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The file does not hold what it should.
    #[error("reading {path}: {text}")]
    Parse {
        /// The file.
        path: PathBuf,
        /// What is wrong, with line and column.
        text: String,
    },
    /// No usable host name.
    #[error(
        "this host's name is `{name}`, which is no DNS label: lower-case letters, digits and hyphens, 63 at most; start khad with --host-name NAME"
    )]
    HostName {
        /// What it is.
        name: String,
    },
}

impl Config {
    /// Puts the configuration together. `machine_name` and `default_address` are what the
    /// machine says of itself.
    ///
    /// # Errors
    /// A file that cannot be used, or a host name that cannot be one.
    pub fn load(
        arguments: &Arguments,
        machine_name: &str,
        default_address: Option<IpAddr>,
    ) -> Result<Self, ConfigError> {
        let file = read(&arguments.config)?;
        let host_name = arguments
            .host_name
            .clone()
            .or(file.host_name)
            .unwrap_or_else(|| machine_name.to_owned());
        if !is_dns_label(&host_name) {
            return Err(ConfigError::HostName { name: host_name });
        }
        Ok(Self {
            data_dir: arguments
                .data_dir
                .clone()
                .or(file.data_dir)
                .unwrap_or_else(|| "/var/lib/khactl".into()),
            run_dir: arguments
                .run_dir
                .clone()
                .or(file.run_dir)
                .unwrap_or_else(|| "/run/khactl".into()),
            log_dir: "/var/log/khactl".into(),
            host_name,
            advertise_address: arguments
                .advertise_address
                .or(file.advertise_address)
                .or(default_address),
        })
    }

    /// The Unix socket for root.
    pub fn socket(&self) -> PathBuf {
        self.run_dir.join("khad.sock")
    }

    /// khavip's Unix socket.
    pub fn vip_socket(&self) -> PathBuf {
        self.run_dir.join("khavip.sock")
    }

    /// A folder below the data folder.
    pub fn data(&self, below: &str) -> PathBuf {
        self.data_dir.join(below)
    }
}

fn read(path: &Path) -> Result<File, ConfigError> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(File::default()),
        Err(source) => {
            return Err(ConfigError::Read {
                path: path.to_owned(),
                source,
            });
        }
    };
    if text.trim().is_empty() {
        return Ok(File::default());
    }
    serde_saphyr::from_str(&text).map_err(|error| ConfigError::Parse {
        path: path.to_owned(),
        text: error.to_string(),
    })
}

/// Whether a text can be a host's name.
pub(crate) fn is_dns_label(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= 63
        && !name.starts_with('-')
        && !name.ends_with('-')
        && name
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    fn arguments(config: &Path, more: &[&str]) -> Arguments {
        let mut all = vec!["khad", "--config", config.to_str().unwrap()];
        all.extend(more);
        Arguments::parse_from(all)
    }

    #[test]
    fn the_command_line_wins_over_the_file_and_the_file_over_the_machine() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("khad.yaml");
        std::fs::write(&path, "hostName: from-file\ndataDir: /srv/khactl\n").unwrap();
        let config = Config::load(&arguments(&path, &[]), "machine", None).unwrap();
        assert_eq!(config.host_name, "from-file");
        assert_eq!(config.data_dir, Path::new("/srv/khactl"));
        assert_eq!(config.run_dir, Path::new("/run/khactl"));
        let config =
            Config::load(&arguments(&path, &["--host-name", "cp1"]), "machine", None).unwrap();
        assert_eq!(config.host_name, "cp1");
    }

    #[test]
    fn a_file_that_is_not_there_means_the_defaults() {
        let config = Config::load(&arguments(Path::new("/nowhere"), &[]), "machine", None).unwrap();
        assert_eq!(config.host_name, "machine");
        assert_eq!(config.socket(), Path::new("/run/khactl/khad.sock"));
    }

    #[test]
    fn an_unknown_field_and_a_bad_host_name_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("khad.yaml");
        std::fs::write(&path, "hostNam: cp1\n").unwrap();
        assert!(matches!(
            Config::load(&arguments(&path, &[]), "machine", None),
            Err(ConfigError::Parse { .. })
        ));
        assert!(matches!(
            Config::load(&arguments(Path::new("/nowhere"), &[]), "My_Host", None),
            Err(ConfigError::HostName { .. })
        ));
    }
}
