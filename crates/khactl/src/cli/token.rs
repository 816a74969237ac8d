//! Tokens.

use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};

use crate::timespan;

/// `khactl token …`
#[derive(Debug, Subcommand)]
pub enum TokenCommand {
    /// Make a token; it is shown this once and never stored
    Create(TokenCreateArgs),
    /// Show all tokens, without their secrets
    List,
    /// Make a token useless
    Revoke {
        /// As `khactl token list` shows it
        id: String,
    },
}

/// `khactl token create`
#[derive(Debug, Args)]
pub struct TokenCreateArgs {
    /// What the joining host will be
    #[arg(long, value_enum, default_value = "control-plane")]
    pub role: TokenRole,
    /// How long it may be used
    #[arg(long, value_name = "TIME", default_value = "1h", value_parser = timespan::parse)]
    pub ttl: Duration,
    /// How many hosts may join with it
    #[arg(long, value_name = "NUMBER", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    pub uses: u32,
    /// The only host that may use it
    #[arg(long, value_name = "NAME")]
    pub host: Option<String>,
}

/// What a token admits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum TokenRole {
    /// A full member
    ControlPlane,
    /// An agent and an etcd member without apiserver
    Witness,
}

impl TokenRole {
    /// As the agent names it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ControlPlane => "control-plane",
            Self::Witness => "witness",
        }
    }
}
