//! aios-daemon
