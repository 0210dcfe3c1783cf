//! What stands around a machine on the build machine: file systems, web servers, caches. Everything runs without root.

pub mod initramfs;
