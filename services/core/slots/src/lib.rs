//! aios-slots
