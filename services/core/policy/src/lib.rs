//! aios-policy
