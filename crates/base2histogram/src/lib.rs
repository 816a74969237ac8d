//! Histograms for openraft, in place of the crate of that name: that one makes tables of 24 MiB at its first use, nearly
//! half of all the memory of an agent, for statistics that openraft shows with its feature `runtime-stats` alone. Here
//! are the parts of its interface that openraft uses, and no table.
//!
//! A value is known to within a factor of two. Nothing here decides anything.

mod chart;
mod histogram;
mod percentiles;

pub use chart::AsciiChart;
pub use histogram::Histogram;
pub use percentiles::PercentileStats;
