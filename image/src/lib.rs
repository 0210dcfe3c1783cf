//! aios-image
