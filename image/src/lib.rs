//! The forms in which AIOS is shipped and laid out: initial RAM file systems, unified kernel images, the hybrid ISO,
//! partitions and release files. What builds them and what reads them on a machine share this code.

pub mod authenticode;
pub mod bios;
pub mod cpio;
pub mod data;
pub mod disk;
pub mod esp;
pub mod fat;
pub mod gpt;
pub mod guid;
pub mod iso;
pub mod layout;
pub mod medium;
pub mod pcr;
pub mod qcow2;
pub mod release;
pub mod sbat;
pub mod second_reader;
pub mod slot;
pub mod sparse;
pub mod uki;
pub mod vhdx;
