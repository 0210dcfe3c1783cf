//! aios-linux
