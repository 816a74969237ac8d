//! Bundles.

use std::path::PathBuf;

use clap::{Args, Subcommand};

/// `khactl bundle …`
#[derive(Debug, Subcommand)]
pub enum BundleCommand {
    /// Fetch the programs of a version and make a bundle of them; run again, it goes on where it stopped
    Create(BundleCreateArgs),
    /// Put a bundle where this host's components are run from; the other hosts fetch it from this one
    Import(BundleImportArgs),
    /// Show the bundles of this host
    List {
        /// The folder of bundles
        #[arg(long, value_name = "DIR", default_value = BUNDLES)]
        store: PathBuf,
    },
}

/// Where bundles lie when nothing else is said.
const BUNDLES: &str = "/var/lib/khactl/bundles";

/// `khactl bundle create`
#[derive(Debug, Args)]
pub struct BundleCreateArgs {
    /// Which Kubernetes, for example v1.30.1
    #[arg(long, value_name = "VERSION")]
    pub kubernetes: String,
    /// Which etcd, for example v3.5.16
    #[arg(long, value_name = "VERSION")]
    pub etcd: String,
    /// A folder with the programs, or a mirror with upstream's paths [default: upstream]
    #[arg(long, value_name = "DIR|URL")]
    pub from: Option<String>,
    /// For which processor
    #[arg(long, value_name = "ARCH", default_value = "amd64")]
    pub arch: String,
    /// The file to make; in a folder it gets a name with its digest
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,
}

/// `khactl bundle import`
#[derive(Debug, Args)]
pub struct BundleImportArgs {
    /// What `khactl bundle create` made
    pub file: PathBuf,
    /// Refuse any other bundle than the one with this digest
    #[arg(long, value_name = "SHA256")]
    pub digest: Option<String>,
    /// The name of its folder [default: the version of Kubernetes]
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,
    /// The folder of bundles
    #[arg(long, value_name = "DIR", default_value = BUNDLES)]
    pub store: PathBuf,
}
