//! What stands around a machine on the build machine: file systems, web servers, caches. Everything runs without root.

pub(crate) mod capture;
pub mod disk;
pub(crate) mod echo;
pub mod fat;
pub(crate) mod figures;
pub mod guest;
pub mod initramfs;
pub mod iso;
pub mod made_calls;
pub mod nix_cache;
pub mod probe_image;
pub(crate) mod time;
pub mod web;
