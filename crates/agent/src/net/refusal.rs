//! Refusals on the wire: a gRPC status whose details are an encoded `Refusal`.

use khactl_proto::v1::Refusal;
use prost::Message;
use tonic::{Code, Status};

/// Details and message travel in trailers, which HTTP/2 peers cap at 16 KiB in all; base64
/// makes the details a third larger.
const TEXT_BYTES_MAX: usize = 8 * 1024;
const MESSAGE_BYTES_MAX: usize = 512;

/// A status that carries the refusal. Long texts are cut, and say so.
pub fn status(code: Code, refusal: &Refusal) -> Status {
    let refusal = Refusal {
        code: cut(&refusal.code, MESSAGE_BYTES_MAX),
        doing: cut(&refusal.doing, MESSAGE_BYTES_MAX),
        wrong: cut(&refusal.wrong, TEXT_BYTES_MAX),
        advice: cut(&refusal.advice, MESSAGE_BYTES_MAX * 2),
    };
    let first = refusal.wrong.lines().next().unwrap_or_default();
    let message = cut(
        &format!("{}: {first} ({})", refusal.doing, refusal.code),
        MESSAGE_BYTES_MAX,
    );
    Status::with_details(code, message, refusal.encode_to_vec().into())
}

/// The refusal in a status; `None` where the status came from the transport or a stranger.
pub fn refusal(status: &Status) -> Option<Refusal> {
    if status.details().is_empty() {
        return None;
    }
    Refusal::decode(status.details())
        .ok()
        .filter(|refusal| !refusal.code.is_empty())
}

fn cut(text: &str, bytes_max: usize) -> String {
    const MARK: &str = " … (cut)";
    if text.len() <= bytes_max {
        return text.to_owned();
    }
    let end = text.floor_char_boundary(bytes_max - MARK.len());
    format!("{}{MARK}", &text[..end])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn example(wrong: &str) -> Refusal {
        Refusal {
            code: "KHA0123".into(),
            doing: "admit host cp2".into(),
            wrong: wrong.into(),
            advice: "Use another name".into(),
        }
    }

    #[test]
    fn refusal_survives_its_way_through_a_status() {
        let sent = example("the name is taken\nby 10.77.0.12");
        let status = status(Code::AlreadyExists, &sent);
        assert_eq!(status.code(), Code::AlreadyExists);
        assert_eq!(
            status.message(),
            "admit host cp2: the name is taken (KHA0123)"
        );
        assert_eq!(refusal(&status), Some(sent));
    }

    #[test]
    fn huge_refusal_is_cut_to_what_trailers_hold() {
        let status = status(Code::InvalidArgument, &example(&"ä".repeat(100_000)));
        assert!(status.details().len() < 11 * 1024);
        let read = refusal(&status).unwrap();
        assert!(read.wrong.ends_with("… (cut)"));
        assert_eq!(read.advice, "Use another name");
    }

    #[test]
    fn status_of_a_stranger_holds_no_refusal() {
        assert_eq!(refusal(&Status::unavailable("gone")), None);
        let noise = Status::with_details(Code::Internal, "x", b"\xff\xff\xff".to_vec().into());
        assert_eq!(refusal(&noise), None);
    }
    proptest! {
        #[test]
        fn arbitrary_details_are_no_refusal_or_one_with_a_code(
            details in prop::collection::vec(any::<u8>(), 0..300),
        ) {
            let status = Status::with_details(Code::Internal, "x", details.into());
            prop_assert!(refusal(&status).is_none_or(|refusal| !refusal.code.is_empty()));
        }

        #[test]
        fn no_text_is_cut_within_a_character(text in "\\PC{0,80}", bytes_max in 20..100_usize) {
            let short = cut(&text, bytes_max);
            prop_assert!(short.len() <= bytes_max);
            prop_assert_eq!(short == text, text.len() <= bytes_max);
        }
    }
}
