//! What a replayed seed prints. Nothing is formatted in other runs.

use crate::{Effect, Input, Message, NackReason};

/// A time in nanoseconds, shown in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Milliseconds(pub(super) u64);

impl std::fmt::Display for Milliseconds {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(&format!("{}.{:06}", self.0 / 1_000_000, self.0 % 1_000_000))
    }
}

pub(super) fn effect(effect: &Effect) -> String {
    match effect {
        Effect::CloseGate => "closes the gate".into(),
        Effect::RemoveAddress => "removes the address".into(),
        Effect::Record => "records".into(),
        Effect::OpenGate(until) => {
            format!("opens the gate until {} of its clock", Milliseconds(*until))
        }
        Effect::AddAddress => "adds the address".into(),
        Effect::Announce => "announces".into(),
        Effect::Send { to, message } => format!("to {to}: {}", said(message)),
        Effect::Answer(message) => format!("answers: {}", said(message)),
    }
}

pub(super) fn input(input: &Input) -> String {
    match input {
        Input::Tick => "its time has come".into(),
        Input::Datagram {
            sender, message, ..
        } => format!("from {sender}: {}", said(message)),
        Input::Feed {
            configuration,
            timing,
            confirmed,
        } => {
            let ids: Vec<_> = configuration.members().iter().map(|m| m.id).collect();
            let (epoch, lease) = (configuration.epoch(), Milliseconds(timing.lease()));
            let word = if *confirmed {
                "confirmed"
            } else {
                "unconfirmed"
            };
            format!("is fed epoch {epoch} {ids:?}, T {lease}, {word}")
        }
        Input::Fit { fit, .. } => format!("is {}fit", if *fit { "" } else { "un" }),
        Input::HandOver { successor } => format!("is to hand over to {successor:?}"),
        Input::ClockJump => "sees its clock jump".into(),
        Input::OpenFailed => "could not open its gate".into(),
    }
}

fn said(message: &Message) -> String {
    match message {
        Message::Prepare { ballot, epoch } => format!("prepare {ballot} epoch {epoch}"),
        Message::Promise { ballot, .. } => format!("promise {ballot}"),
        Message::Propose {
            ballot, seq, epoch, ..
        } => format!("propose {ballot} seq {seq} epoch {epoch}"),
        Message::Accepted {
            ballot,
            seq,
            fitness,
        } => format!("accepted {ballot} seq {seq} fitness {fitness}"),
        Message::Nack {
            ballot,
            reason,
            holder,
            left,
            ..
        } => match reason {
            NackReason::Leased => {
                format!(
                    "nack {ballot}: leased to {holder} for {}",
                    Milliseconds(*left)
                )
            }
            NackReason::Ballot => format!("nack {ballot}: an old ballot"),
            NackReason::Epoch => format!("nack {ballot}: an old epoch"),
        },
        Message::Query { .. } => "query".into(),
        Message::State { lock, left, .. } => {
            format!("state: lock {lock} for {}", Milliseconds(*left))
        }
        Message::Release { ballot, successor } => format!("release {ballot} for {successor}"),
    }
}
