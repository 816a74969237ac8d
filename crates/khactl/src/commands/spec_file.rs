//! The spec's file, sent as it is: the agent judges it.

use std::path::Path;

use crate::failure::{Failure, chain};

/// Far more than a spec needs; guards against a wrong file name.
const BYTES_MAX: u64 = 1 << 20;

/// The file's text and its name for messages.
pub(super) fn read(path: &Path) -> Result<(String, String), Failure> {
    let name = path.display().to_string();
    let unreadable = |wrong: String| {
        Failure::new(
            "KHA0903",
            format!("read {name}"),
            wrong,
            "check the file's name, its owner and its mode",
        )
    };
    let size = std::fs::metadata(path)
        .map_err(|error| unreadable(chain(&error)))?
        .len();
    if size > BYTES_MAX {
        return Err(unreadable(format!(
            "it is too large for a spec: {size} bytes"
        )));
    }
    let text = std::fs::read(path).map_err(|error| unreadable(chain(&error)))?;
    let text = String::from_utf8(text).map_err(|_| unreadable("it is not text (UTF-8)".into()))?;
    Ok((text, name))
}
