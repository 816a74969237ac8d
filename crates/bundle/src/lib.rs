//! Bundles: the programs of a control plane in one file, with a manifest that says what each must be.
//!
//! ```text
//! create: upstream, mirror or folder ─► verified programs ─► one file, named by its digest
//! import: that file ─► staging ─► every program verified ─► renamed into the store
//! ```
//!
//! Nothing becomes visible under its name before all of it was verified. It never runs a program, and it knows
//! nothing of clusters.

mod access;
mod archive;
mod create;
pub mod digest;
mod download;
mod elf;
mod error;
mod manifest;
mod source;
mod staging;
mod store;

pub use access::Access;
pub use create::{Made, Order, create};
pub use download::{Patience, Progress};
pub use error::BundleError;
pub use manifest::{MANIFEST, MANIFEST_BYTES_MAX, Manifest, ProgramEntry, host_arch};
pub use source::Source;
pub use staging::Staging;
pub use store::{Imported, Store};
