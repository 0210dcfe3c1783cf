//! aios-action
