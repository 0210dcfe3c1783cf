//! The forms in which AIOS is shipped and laid out: initial RAM file systems, unified kernel images, the hybrid ISO,
//! partitions and release files. What builds them and what reads them on a machine share this code.

pub mod cpio;
pub mod iso;
pub mod uki;
