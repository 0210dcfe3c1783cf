//! aios-evidence
