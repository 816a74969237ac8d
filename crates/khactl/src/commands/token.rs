//! `khactl token`.

use std::io::Write as _;

use jiff::Timestamp;
use khactl_proto::v1::{CreateTokenRequest, ListTokensRequest, RevokeTokenRequest, Token};
use serde::Serialize;

use crate::cli::{Format, TokenCommand, TokenCreateArgs};
use crate::connection::Agent;
use crate::failure::Failure;
use crate::moment;
use crate::output::{Output, line, table};
use crate::refusal::failure;

#[derive(Serialize)]
struct Created {
    token: String,
    id: String,
    role: &'static str,
    expires_at: String,
    uses: u32,
}

#[derive(Serialize)]
struct Shown {
    id: String,
    role: String,
    host: String,
    state: &'static str,
    expires_at: String,
    uses_left: u32,
    used_by: Vec<String>,
}

#[derive(Serialize)]
struct Tokens {
    tokens: Vec<Shown>,
}

pub(super) async fn run(
    agent: &Agent,
    command: &TokenCommand,
    output: Output,
) -> Result<(), Failure> {
    match command {
        TokenCommand::Create(args) => create(agent, args, output).await,
        TokenCommand::List => list(agent, output).await,
        TokenCommand::Revoke { id } => revoke(agent, id).await,
    }
}

async fn create(agent: &Agent, args: &TokenCreateArgs, output: Output) -> Result<(), Failure> {
    let request = CreateTokenRequest {
        role: args.role.as_str().into(),
        ttl_ms: u64::try_from(args.ttl.as_millis()).unwrap_or(u64::MAX),
        uses: args.uses,
        host_name: args.host.clone().unwrap_or_default(),
    };
    let answer = agent
        .connect()
        .await?
        .create_token(request)
        .await
        .map_err(|status| failure(agent, "create a token", &status))?
        .into_inner();
    let created = Created {
        token: answer.token,
        id: answer.id,
        role: args.role.as_str(),
        expires_at: time(answer.expires_at_ms),
        uses: args.uses,
    };
    output.show(&created, || created.token.clone())?;
    if output.format == Format::Table {
        // Apart from the token, so that scripts can take stdout as it is.
        let _ = writeln!(
            std::io::stderr(),
            "valid until {}; on the new host:\n  khactl join THIS-HOST:9443 --token {}",
            created.expires_at,
            created.token
        );
    }
    Ok(())
}

async fn list(agent: &Agent, output: Output) -> Result<(), Failure> {
    let answer = agent
        .connect()
        .await?
        .list_tokens(ListTokensRequest {})
        .await
        .map_err(|status| failure(agent, "list the tokens", &status))?
        .into_inner();
    let now_ms = moment::now().as_millisecond();
    let tokens = Tokens {
        tokens: answer
            .tokens
            .into_iter()
            .map(|token| shown(token, now_ms))
            .collect(),
    };
    output.show(&tokens, || render(&tokens.tokens))
}

async fn revoke(agent: &Agent, id: &str) -> Result<(), Failure> {
    agent
        .connect()
        .await?
        .revoke_token(RevokeTokenRequest { id: id.into() })
        .await
        .map_err(|status| failure(agent, "revoke a token", &status))?;
    line(&format!("token {id} is revoked"))
}

fn shown(token: Token, now_ms: i64) -> Shown {
    let state = if token.revoked {
        "revoked"
    } else if token.uses_left == 0 {
        "used"
    } else if token.expires_at_ms <= now_ms {
        "expired"
    } else {
        "usable"
    };
    Shown {
        id: token.id,
        role: token.role,
        host: token.host_name,
        state,
        expires_at: time(token.expires_at_ms),
        uses_left: token.uses_left,
        used_by: token.used_by,
    }
}

fn time(since_epoch_ms: i64) -> String {
    Timestamp::from_millisecond(since_epoch_ms)
        .map(|time| time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string())
        .unwrap_or_default()
}

fn render(tokens: &[Shown]) -> String {
    if tokens.is_empty() {
        return "no tokens".into();
    }
    let rows = tokens.iter().map(|token| {
        vec![
            token.id.clone(),
            token.role.clone(),
            or_dash(&token.host),
            token.state.into(),
            token.expires_at.clone(),
            token.uses_left.to_string(),
            or_dash(&token.used_by.join(", ")),
        ]
    });
    table(
        &[
            "ID",
            "ROLE",
            "HOST",
            "STATE",
            "EXPIRES",
            "USES LEFT",
            "USED BY",
        ],
        rows,
    )
}

fn or_dash(text: &str) -> String {
    if text.is_empty() { "-" } else { text }.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(id: &str) -> Token {
        Token {
            id: id.into(),
            role: "control-plane".into(),
            host_name: String::new(),
            expires_at_ms: 1_700_000_000_000,
            uses_left: 1,
            revoked: false,
            used_by: vec![],
        }
    }

    #[test]
    fn token_that_nobody_can_use_says_why() {
        let tokens: Vec<_> = [
            token("aaaaaa"),
            Token {
                uses_left: 0,
                used_by: vec!["cp2".into()],
                ..token("bbbbbb")
            },
            Token {
                revoked: true,
                host_name: "cp3".into(),
                ..token("cccccc")
            },
            Token {
                expires_at_ms: 1_600_000_000_000,
                ..token("dddddd")
            },
        ]
        .into_iter()
        .map(|token| shown(token, 1_650_000_000_000))
        .collect();
        insta::assert_snapshot!(render(&tokens));
    }
}
