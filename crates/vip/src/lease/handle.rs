//! The other threads' end of the lease thread.
