//! aios-verity
