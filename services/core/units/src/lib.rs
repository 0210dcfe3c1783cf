//! aios-units
